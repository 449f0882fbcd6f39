package clustersql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql/internal/fakedb"
)

// A heedingConnector's queries ask hook first.
type heedingConnector struct {
	driver.Connector
	hook func(ctx context.Context, query string) error
}

func (h heedingConnector) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := h.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return hookedConn{c.(*fakedb.Conn), h.hook}, nil
}

type hookedConn struct {
	*fakedb.Conn
	hook func(ctx context.Context, query string) error
}

func (c hookedConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if err := c.hook(ctx, query); err != nil {
		return nil, err
	}
	return c.Conn.QueryContext(ctx, query, args)
}

// heartbeatCluster returns a cluster of nodes whose check_query reads a table.
// Their connections can be cut. hook decides what becomes of n1's check_query.
func heartbeatCluster(t *testing.T, b *fakedb.Backend, nodes int, hook func(context.Context) error, opts ...Option) Driver {
	t.Helper()
	b.OnSocket(TrackSocket)
	opts = append([]Option{quiet, WithStrategy(Ordered), WithCheckQuery("SELECT fit FROM heartbeat")}, opts...)
	d := NewDriver(mysql.MySQLDriver{}, t.Name(), opts...)
	t.Cleanup(func() { d.Close() })
	for i := range nodes {
		name := nodeName(i)
		b.Node(name).SetMood(fakedb.Mood{})
		b.Node(name).OnQuery(func(query string) ([][]driver.Value, bool) {
			return [][]driver.Value{{int64(1)}}, strings.HasSuffix(query, "FROM heartbeat")
		})
		hooked := heedingConnector{connectorOf(t, b, name), func(ctx context.Context, query string) error {
			if i == 0 && strings.HasSuffix(query, "FROM heartbeat") {
				return hook(ctx)
			}
			return nil
		}}
		if err := d.AddConnector(name, asMySQL{hooked}); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// A check_query that waits for a lock on its table takes its node out of use.
// It says nothing about the sessions there: logins and DO 1 are answered all
// along.
func TestCheckThatWaitsForALockCutsNobody(t *testing.T) {
	for _, nodes := range []int{1, 3} {
		t.Run(fmt.Sprint(nodes), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				var told diary
				var locked atomic.Bool
				d := heartbeatCluster(t, b, nodes, func(ctx context.Context) error {
					if locked.Load() {
						<-ctx.Done()
					}
					return ctx.Err()
				}, WithOnEvent(told.write))
				db := openDB(t, d)
				time.Sleep(time.Second)
				fill(t, db, 4)
				conn, err := db.Conn(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				locked.Store(true)
				for range 40 {
					time.Sleep(500 * time.Millisecond)
					if _, err := conn.ExecContext(t.Context(), "INSERT"); err != nil {
						t.Fatalf("a good session: %v", err)
					}
				}
				s := d.Status().Nodes[0]
				if s.State != StateDown || !strings.Contains(s.Reason, "the rest of the check got no answer") || s.Generation != 0 {
					t.Errorf("%s, %q, generation %d", s.State, s.Reason, s.Generation)
				}
				if gone := told.of("n1", EventCut, EventRetired); len(gone) > 0 {
					t.Errorf("%+v", gone)
				}
				locked.Store(false)
				untilUp(t, d, 0)
			})
		})
	}
}

// The probe's check is refused, so the node takes no opens. The connection of
// the probe goes on and stays the witness of the sessions: when the node freezes
// after that, calls that hang on it end all the same.
func TestSilenceAfterARefusedCheckCuts(t *testing.T) {
	for _, no := range []uint16{1142, 1146, 1226, 1317} {
		t.Run(fmt.Sprint(no), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				var refused atomic.Bool
				d := heartbeatCluster(t, b, 2, func(context.Context) error {
					if refused.Load() {
						return &mysql.MySQLError{Number: no, SQLState: [5]byte{'4', '2', '0', '0', '0'}, Message: "refused"}
					}
					return nil
				})
				db := openDB(t, d)
				time.Sleep(time.Second)
				conn, err := db.Conn(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				refused.Store(true)
				time.Sleep(10 * time.Second)
				if _, err := conn.ExecContext(t.Context(), "INSERT"); err != nil {
					t.Fatalf("a good session: %v", err)
				}
				b.Node("n1").SetMood(fakedb.Mood{Silent: true})
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
				defer cancel()
				began := time.Now()
				_, err = conn.ExecContext(ctx, "INSERT")
				if took := time.Since(began); took > time.Minute || err == nil {
					t.Errorf("it hung for %v: %v", took, err)
				}
			})
		})
	}
}

// A primary falls silent, and its standby answers, which the cluster does not use.
// The silence is the primary's own: what hangs there returns, and does not wait for
// a promotion.
func TestStandbyIsAWitness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		b.OnSocket(TrackSocket)
		for i, role := range []string{"primary", "standby"} {
			b.Node(nodeName(i)).SetMood(fakedb.Mood{})
			b.Node(nodeName(i)).OnQuery(func(query string) ([][]driver.Value, bool) {
				return [][]driver.Value{{role}}, query == "ROLE"
			})
		}
		d := fakeCluster(t, b, 2, WithRequire(RequireReadWrite), WithRoleQueries("ROLE", ""), WithStrategy(Ordered))
		db := openDB(t, d)
		time.Sleep(3 * time.Second)
		fill(t, db, 2)
		b.Node("n1").SetMood(fakedb.Mood{Silent: true})
		began := time.Now()
		_, err := db.Exec("INSERT")
		// An interval, and then two probes: of the lasting connection and of a dial.
		if took := time.Since(began); took > 1200*time.Millisecond+2*650*time.Millisecond || !errors.Is(err, ErrUnknownOutcome) {
			t.Errorf("after %s: %v", took, err)
		}
	})
}

// What is wrong with the session of the lasting connection alone does not take
// the node down again and again: a new one takes its place.
func TestRefusedLastingConnectionIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		var told diary
		began := time.Now()
		var bad atomic.Pointer[fakedb.Conn] // the first connection that the check has run on
		check := func(_ context.Context, c driver.Conn) error {
			conn := c.(*fakedb.Conn)
			if conn.NodeName() != "n1" {
				return nil
			}
			if bad.CompareAndSwap(nil, conn); bad.Load() == conn && time.Since(began) > 5*time.Second {
				return &mysql.MySQLError{Number: 1046, Message: "No database selected"}
			}
			return nil
		}
		d := NewDriver(mysql.MySQLDriver{}, t.Name(), quiet, WithCheck(check), WithOnEvent(told.write))
		t.Cleanup(func() { d.Close() })
		for i := range 2 {
			if err := d.AddConnector(nodeName(i), asMySQL{connectorOf(t, b, nodeName(i))}); err != nil {
				t.Fatal(err)
			}
		}
		openDB(t, d)
		time.Sleep(time.Minute)
		if downs := told.downs("n1"); len(downs) > 1 || d.Status().Nodes[0].State != StateUp {
			t.Errorf("%s; downs %q", d.Status().Nodes[0].State, downs)
		}
	})
}

// All nodes fall silent at the same moment, and one of them is slower to answer
// than the others. That is the group's pause: nothing is cut.
func TestAllSilentWithOneSlower(t *testing.T) {
	cut := 0
	for seed := range 40 {
		synctest.Test(t, func(t *testing.T) {
			b := fakedb.New()
			b.OnSocket(TrackSocket)
			var told diary
			slow := fakedb.Mood{Delay: 300 * time.Millisecond}
			for i := range 3 {
				b.Node(nodeName(i)).SetMood(fakedb.Mood{})
			}
			d := fakeCluster(t, b, 3, WithStrategy(Ordered), WithSeed(uint64(seed)+1), WithOnEvent(told.write))
			db := openDB(t, d)
			time.Sleep(3 * time.Second)
			fill(t, db, 3)
			b.Node("n1").SetMood(slow)
			time.Sleep(5*time.Second + time.Duration(seed)*25*time.Millisecond)
			for i := range 3 {
				b.Node(nodeName(i)).SetMood(fakedb.Mood{Silent: true})
			}
			time.Sleep(6 * time.Second)
			b.Node("n1").SetMood(slow)
			for i := 1; i < 3; i++ {
				b.Node(nodeName(i)).SetMood(fakedb.Mood{})
			}
			time.Sleep(20 * time.Second)
			for i := range 3 {
				for _, e := range told.of(nodeName(i), EventCut) {
					cut++
					t.Log(seed, e)
				}
			}
		})
	}
	if cut > 0 {
		t.Errorf("cut in %d of 40 pauses", cut)
	}
}
