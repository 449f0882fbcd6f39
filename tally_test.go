package clustersql

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"maps"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql/internal/counts"
	"github.com/EnumApps/clustersql/internal/fakedb"
	"github.com/EnumApps/clustersql/internal/socket"
)

// nodeOf returns the status of a node.
func nodeOf(t *testing.T, d Driver, name string) NodeStatus {
	t.Helper()
	for _, n := range d.Status().Nodes {
		if n.Name == name {
			return n
		}
	}
	t.Fatalf("there is no node %s", name)
	return NodeStatus{}
}

// A node refuses connections for ten seconds and comes back. The status counts
// that, and says on the way how far the node is and how its last probe went.
func TestStatusCountsTimesDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d := fakeCluster(t, b, 2)
		db := openDB(t, d)
		if err := db.Ping(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if n := nodeOf(t, d, "n1"); n.Downs != 0 || n.Downtime != 0 || !n.LastProbe.OK || n.LastProbe.Layer != "" || n.Rise != 2 || n.Fall != 2 {
			t.Errorf("while all is well: %+v", n)
		}
		b.Node("n1").SetHealth(errBoom, 0, false)
		b.Node("n1").Set(fakedb.Script{Err: errRefused})
		time.Sleep(8 * time.Second)
		synctest.Wait()
		n := nodeOf(t, d, "n1")
		down := time.Since(n.Since)
		if n.State != StateDown || n.Downs != 1 || n.Downtime != down {
			t.Errorf("%v for %v, %d times, %v in all", n.State, down, n.Downs, n.Downtime)
		}
		if p := n.LastProbe; p.OK || p.Layer != socket.LayerHandshake || !strings.Contains(p.Error, "refused") || p.Time.IsZero() {
			t.Errorf("the last probe: %+v", p) // the fake's error is of no dial
		}
		sum := uint64(0)
		for _, count := range n.ErrorsByClass {
			sum += count
		}
		if sum == 0 || sum != n.ProbeErrors+n.Errors {
			t.Errorf("errors by class: %v, of %d and %d", n.ErrorsByClass, n.ProbeErrors, n.Errors)
		}
		b.Node("n1").SetHealth(nil, 0, false)
		b.Node("n1").Set(fakedb.Script{})
		for n.Good == 0 {
			time.Sleep(10 * time.Millisecond)
			n = nodeOf(t, d, "n1")
		}
		if n.State != StateDown || n.Good != 1 || n.Rise != 2 {
			t.Errorf("on its way up: %v, %d of %d", n.State, n.Good, n.Rise)
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		n = nodeOf(t, d, "n1")
		if n.State != StateUp || n.Downs != 1 || n.Downtime < down || n.Downtime > down+10*time.Second || n.Good != 0 {
			t.Errorf("after it: %v, %d times, %v in all", n.State, n.Downs, n.Downtime)
		}
		if !n.Returning || time.Until(n.ReturnedAt) <= 0 {
			t.Errorf("returning %t until %v", n.Returning, n.ReturnedAt)
		}
	})
}

// The probe says at which layer it failed.
func TestLayerOfAProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d := fakeCluster(t, b, 2)
		openDB(t, d)
		time.Sleep(time.Second)
		b.Node("n1").SetHealth(errNotReady, 0, false)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if p := nodeOf(t, d, "n1").LastProbe; p.Layer != socket.LayerQuery {
			t.Errorf("%+v", p)
		}
	})
}

// Statements that a node refuses are counted by class. Those that database/sql
// sends to another node are moved; those of which nobody knows whether they ran
// are unknown.
func TestStatusCountsStatements(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		b.NameNodes(mysqlName)
		d := NewDriver(b.Driver(), t.Name(), quiet, seeded(t), WithStrategy(Ordered), WithDialect(DialectMySQL))
		defer d.Close()
		for _, name := range []string{"n1", "n2"} {
			if err := d.AddNode(name, "app:secret22@tcp("+name+":3306)/db"); err != nil {
				t.Fatal(err)
			}
		}
		if n := nodeOf(t, d, "n1"); n.Address != "n1:3306" || n.Origin != "code" {
			t.Errorf("address %q, origin %q", n.Address, n.Origin)
		}
		db := openDB(t, d)
		time.Sleep(time.Second)
		refuse := func(err error) {
			b.Node("n1").OnStatement(func(_ context.Context, query string, _ []driver.NamedValue) error {
				if strings.HasPrefix(query, "INSERT") {
					return err
				}
				return nil
			})
		}
		if _, err := db.Exec("INSERT 1"); err != nil {
			t.Fatal(err)
		}
		refuse(errNotReady)
		if _, err := db.Exec("INSERT 2"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		s, n := d.Status(), nodeOf(t, d, "n1")
		if s.Moved != 1 || n.Moved != 1 || s.Unknown != 0 || n.RefusedByClass["not ready"] != 1 {
			t.Errorf("moved %d, %d on n1, unknown %d, refused %v", s.Moved, n.Moved, s.Unknown, n.RefusedByClass)
		}
		refuse(io.ErrUnexpectedEOF)
		time.Sleep(time.Minute)
		fresh, err := d.Open("")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fresh.(driver.ExecerContext).ExecContext(t.Context(), "INSERT 3", nil); !errors.Is(err, ErrUnknownOutcome) {
			t.Errorf("%v", err)
		}
		fresh.Close()
		synctest.Wait()
		s, n = d.Status(), nodeOf(t, d, "n1")
		if s.Unknown != 1 || n.Unknown != 1 || n.RefusedByClass["connection lost"] != 1 || n.ClosedBy["error"] != 1 || n.ClosedBy["generation"] != 1 {
			t.Errorf("unknown %d, %d on n1, refused %v, closed %v", s.Unknown, n.Unknown, n.RefusedByClass, n.ClosedBy)
		}
		if err := d.DelNode("n1"); err != nil {
			t.Fatal(err)
		}
		if s := d.Status(); s.Moved != 1 || s.Unknown != 1 {
			t.Errorf("a removed node takes its part away: %+v", s)
		}
	})
}

// What closes a connection is counted: every connection once.
func TestStatusCountsTheEndsOfConnections(t *testing.T) {
	for want, end := range map[string]func(t *testing.T, b *fakedb.Backend, d Driver){
		"pool":  func(*testing.T, *fakedb.Backend, Driver) {},
		"drain": func(_ *testing.T, _ *fakedb.Backend, d Driver) { d.Drain("n1") },
		"max_age": func(*testing.T, *fakedb.Backend, Driver) {
			time.Sleep(3 * time.Minute)
		},
		"generation": func(_ *testing.T, b *fakedb.Backend, _ Driver) {
			b.Node("n1").SetHealth(errNotReady, 0, false)
			time.Sleep(3 * time.Second)
		},
	} {
		t.Run(want, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				d := fakeCluster(t, b, 1, WithMaxAge(2*time.Minute))
				db := openDB(t, d)
				db.SetMaxIdleConns(8)
				conns := make([]interface{ Close() error }, 4)
				for i := range conns {
					c, err := db.Conn(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					conns[i] = c
				}
				for _, c := range conns[:3] {
					c.Close()
				}
				synctest.Wait()
				if n := nodeOf(t, d, "n1"); n.OpenConns != 4 || n.IdleConns != 3 || n.RetiredConns != 0 || n.MostConns != 4 || n.Won != 4 || n.Chosen != 4 {
					t.Errorf("%+v", n)
				}
				end(t, b, d)
				time.Sleep(10 * time.Second)
				if n := nodeOf(t, d, "n1"); want != "pool" && want != "max_age" && (n.OpenConns != 1 || n.RetiredConns != 1) {
					t.Errorf("%d open, %d of them retired", n.OpenConns, n.RetiredConns)
				}
				conns[3].Close()
				time.Sleep(10 * time.Second) // max_age has its pace: the conn may have to lie idle for two ticks
				db.Close()
				synctest.Wait()
				closed := nodeOf(t, d, "n1").ClosedBy
				if len(closed) != 1 || closed[want] != 4 {
					t.Errorf("closed: %v, want 4 by %s", closed, want)
				}
			})
		})
	}
}

// An open that gets a connection although a node has failed masks that.
func TestStatusCountsMaskedFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d := fakeCluster(t, b, 2, WithStrategy(Ordered))
		db := openDB(t, d)
		time.Sleep(time.Second)
		b.Node("n1").Set(fakedb.Script{Err: errRefused})
		if err := db.Ping(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if s := d.Status(); s.Masked != 1 || s.OpensAllDown != 0 || s.Usable != 1 {
			t.Errorf("%d masked, %d all down, %d usable", s.Masked, s.OpensAllDown, s.Usable)
		}
	})
}

// The times in a Histogram are in its buckets, and every Histogram has the same.
func TestHistogram(t *testing.T) {
	var p counts.Timings
	if h := (Histogram{p.Histogram()}); h.Count() != 0 || h.Sum() != 0 {
		t.Errorf("%+v", h)
	}
	for _, took := range []time.Duration{1, 500 * time.Microsecond, 501 * time.Microsecond, time.Second, time.Hour} {
		p.Observe(took)
	}
	h := Histogram{p.Histogram()}
	if h.Count() != 5 || h.Sum() != time.Hour+time.Second+1001*time.Microsecond+1 {
		t.Errorf("%d samples of %v", h.Count(), h.Sum())
	}
	got := map[time.Duration]uint64{}
	for most, atMost := range h.Buckets {
		got[most] = atMost
	}
	want := map[time.Duration]uint64{}
	for _, bound := range counts.Bounds {
		switch {
		case bound < time.Millisecond:
			want[bound] = 2
		case bound < time.Second:
			want[bound] = 3
		default:
			want[bound] = 4
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("%v", got)
	}
	for range h.Buckets {
		break // a range may end early
	}
}

// The samples of a Latency are in order, also when old ones are overwritten.
func TestLatencySamples(t *testing.T) {
	var l Latency
	var want []time.Duration
	for i := range 150 {
		if got := l.Samples(); !reflect.DeepEqual(got, want) {
			t.Fatalf("after %d: %v, want %v", i, got, want)
		}
		l.l = l.l.Add(time.Duration(i))
		if want = append(want, time.Duration(i)); len(want) > 64 {
			want = want[1:]
		}
	}
}

// around is a connection of a driver that wraps the cluster's.
type around struct{ driver.Conn }

func (a around) Raw() driver.Conn { return a.Conn }

// A connection says to which node it leads, also through a driver that wraps the
// cluster's.
func TestNodeOf(t *testing.T) {
	d := fakeCluster(t, fakedb.New(), 1)
	db := openDB(t, d)
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	err = conn.Raw(func(c any) error {
		for _, c := range []any{c, around{c.(driver.Conn)}, around{around{c.(driver.Conn)}}} {
			if node, generation, ok := NodeOf(c); node != "n1" || generation != 0 || !ok {
				t.Errorf("%T leads to %q, generation %d, %t", c, node, generation, ok)
			}
		}
		for _, c := range []any{nil, c.(Conn).Raw(), around{nil}, 7} {
			if node, _, ok := NodeOf(c); ok {
				t.Errorf("%T leads to %q", c, node)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
