package clustersql

import (
	"context"
	"database/sql/driver"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql/internal/fakedb"
	"github.com/EnumApps/clustersql/internal/galeratest"
	"github.com/EnumApps/clustersql/internal/health"
)

// heldCluster returns a cluster of three Galera nodes. n1 was silent for 12 s
// while the others went on in a new view. It answers again from now on, and
// still has the old view.
func heldCluster(t *testing.T, opts ...Option) (Driver, *fakedb.Backend, [3]*galeratest.Script) {
	t.Helper()
	b := fakedb.New()
	var g [3]*galeratest.Script
	for i := range g {
		g[i] = galeratest.Node(b.Node(nodeName(i)))
	}
	d := NewDriver(mysql.MySQLDriver{}, t.Name(), append([]Option{quiet, seeded(t)}, opts...)...)
	t.Cleanup(func() { d.Close() })
	for i := range g {
		c, err := b.Driver().(driver.DriverContext).OpenConnector(nodeName(i))
		if err != nil {
			t.Fatal(err)
		}
		if err := d.AddConnector(nodeName(i), asMySQL{c}); err != nil {
			t.Fatal(err)
		}
	}
	openDB(t, d)
	time.Sleep(time.Second)
	b.Node("n1").SetHealth(nil, 0, true)
	b.Node("n1").Set(fakedb.Script{Silent: true})
	time.Sleep(6 * time.Second)
	g[1].Conf.Store(4)
	g[2].Conf.Store(4)
	time.Sleep(6 * time.Second)
	if s := d.Status().Nodes[0].State; s != StateDown {
		t.Fatalf("the silent node is %v", s)
	}
	b.Node("n1").SetHealth(nil, 0, false)
	b.Node("n1").Set(fakedb.Script{})
	return d, b, g
}

// asMySQL makes a fake connector look like mysql's.
type asMySQL struct{ driver.Connector }

func (asMySQL) Driver() driver.Driver { return mysql.MySQLDriver{} }

// comesUp is the longest that a down node stays down which answers again: a
// probe under way still gets no answer, its backoff follows, and then rise good
// checks do. untilUp looks every 10 ms.
var comesUp = DefaultConfig().AttemptTimeout + health.BackoffMost + time.Duration(DefaultConfig().Rise)*health.BackoffFirst + 10*time.Millisecond

// untilUp returns when the node is up. It returns how long that took.
func untilUp(t *testing.T, d Driver, i int) time.Duration {
	t.Helper()
	began := time.Now()
	for d.Status().Nodes[i].State != StateUp {
		if time.Since(began) > time.Minute {
			t.Fatalf("%+v", d.Status().Nodes[i])
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(began)
}

// wantHeldUntil asserts that n1 stays down, although it answers, until come has
// been called.
func wantHeldUntil(t *testing.T, d Driver, what string, come func()) {
	t.Helper()
	time.Sleep(20 * time.Second)
	if s := d.Status().Nodes[0]; s.State != StateDown {
		t.Errorf("%v with the view %d, before %s", s.State, s.ConfID, what)
	}
	come()
	if took := untilUp(t, d, 0); took > time.Second {
		t.Errorf("up %v after %s", took, what)
	}
}

// A node that was silent is held until its view is that of the others. This
// holds however well it answers in the meantime, and for any check.
func TestSilentNodeIsHeldUntilItsViewIsTheOthers(t *testing.T) {
	for name, opts := range map[string][]Option{
		"default": nil,
		"galera":  {WithCheck(CheckGalera)},
		"ping":    {WithCheck(CheckPing)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, _, g := heldCluster(t, opts...)
				time.Sleep(30 * time.Second)
				s := d.Status().Nodes[0]
				if want := "silent before: held until its view of the group and its last transaction are the others'"; s.State != StateDown || s.Reason != want || s.ConfID != 3 {
					t.Errorf("%v, %q, view %d", s.State, s.Reason, s.ConfID)
				}
				wantHeldUntil(t, d, "its view was the others'", func() { g[0].Conf.Store(4) })
			})
		})
	}
}

// A node whose silence was too short for a new view may lack what the others
// have committed.
func TestSilentNodeIsHeldUntilItHasTheirTransactions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _, g := heldCluster(t)
		g[0].Conf.Store(4)
		g[1].Seqno.Store(1001)
		g[2].Seqno.Store(1000)
		g[0].Seqno.Store(1000)
		wantHeldUntil(t, d, "it had what the others have", func() { g[0].Seqno.Store(1001) })
	})
}

// A node that has all that the others had is let in, however much they write
// since.
func TestHeldNodeIsNotHeldByWhatIsWrittenSince(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _, g := heldCluster(t)
		g[0].Conf.Store(4)
		ctx, stop := context.WithCancel(t.Context())
		var writer sync.WaitGroup
		defer writer.Wait()
		defer stop()
		writer.Go(func() {
			for n := uint64(1); ctx.Err() == nil; n++ { // always 5 ms behind
				g[1].Seqno.Store(n)
				g[2].Seqno.Store(n)
				time.Sleep(5 * time.Millisecond)
				g[0].Seqno.Store(n)
			}
		})
		if took := untilUp(t, d, 0); took > comesUp {
			t.Errorf("up after %v", took)
		}
	})
}

// A node of another group says nothing about the node that was silent. The
// databases may be replicated between the groups by other means.
func TestViewsOfAnotherGroupHoldNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _, g := heldCluster(t)
		g[2].Group.Store("22e2-b")
		g[2].Conf.Store(500)
		wantHeldUntil(t, d, "its view was its group's", func() { g[0].Conf.Store(4) })
	})
}

// A mysql server without wsrep is asked for its view once only. A server that
// refuses to tell is used like any other.
func TestServersWithoutAView(t *testing.T) {
	for name, refuse := range map[string]error{"no wsrep": nil, "refused": &mysql.MySQLError{Number: 1227, Message: "Access denied"}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				galeratest.Node(b.Node("n1")).Provider.Store(false)
				var asked atomic.Int64
				b.Node("n1").OnStatement(func(_ context.Context, query string, _ []driver.NamedValue) error {
					if !strings.HasPrefix(query, "SHOW GLOBAL STATUS") {
						return nil
					}
					asked.Add(1)
					return refuse
				})
				c, err := b.Driver().(driver.DriverContext).OpenConnector("n1")
				if err != nil {
					t.Fatal(err)
				}
				d := NewDriver(mysql.MySQLDriver{}, t.Name(), quiet)
				t.Cleanup(func() { d.Close() })
				if err := d.AddConnector("n1", asMySQL{c}); err != nil {
					t.Fatal(err)
				}
				openDB(t, d)
				time.Sleep(time.Minute)
				if s := d.Status().Nodes[0]; s.State != StateUp || s.ProbeErrors > 0 || s.ConfID != 0 {
					t.Errorf("%+v", s)
				}
				if n := asked.Load(); n != 1 {
					t.Errorf("asked %d times", n)
				}
			})
		})
	}
}

// The views of the others count as they are after the node's first good answer.
// An older one of theirs may be as old as the node's own.
func TestHeldNodeHasTheOthersLookAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		var g [2]*galeratest.Script
		for i := range g {
			g[i] = galeratest.Node(b.Node(nodeName(i)))
		}
		d := fakeCluster(t, b, 2, WithCheck(CheckGalera), WithProbe(time.Minute, time.Second))
		openDB(t, d)
		time.Sleep(time.Second)
		b.Node("n1").SetHealth(nil, 0, true)
		b.Node("n1").Set(fakedb.Script{Silent: true})
		time.Sleep(4 * time.Minute)
		looks := g[1].Statuses.Load()
		g[1].Conf.Store(4) // no probe of n2 has seen this
		b.Node("n1").SetHealth(nil, 0, false)
		b.Node("n1").Set(fakedb.Script{})
		time.Sleep(20 * time.Second)
		if s := d.Status().Nodes; s[0].State != StateDown || s[1].ConfID != 4 || g[1].Statuses.Load() == looks {
			t.Errorf("%v beside view %d", s[0].State, s[1].ConfID)
		}
		g[0].Conf.Store(4)
		if took := untilUp(t, d, 0); took > time.Second {
			t.Errorf("up after %v", took)
		}
	})
}

// A node that has said itself that it was out is believed when it says that it
// is back, whatever its last transaction is.
func TestNodeThatKnowsIsNotHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _, g := heldCluster(t)
		time.Sleep(10 * time.Second) // more than a probe and its backoff: it is heard by then, and probed every 250 ms
		g[0].Reject.Store(true)
		g[1].Seqno.Store(1000)
		time.Sleep(2 * time.Second)
		g[0].Reject.Store(false)
		g[0].Conf.Store(4)
		if took := untilUp(t, d, 0); took > comesUp {
			t.Errorf("up after %v", took)
		}
	})
}

// If no other node can be compared with, the node is held for silence_hold. If
// no other node is usable, it is let in at once.
func TestHeldNodeWithoutOthers(t *testing.T) {
	for _, state := range []State{StateSuspect, StateDown} {
		t.Run(fmt.Sprint("the others ", state), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, b, g := heldCluster(t, WithSilenceHold(5*time.Second))
				for i := 1; i < 3; i++ {
					if state == StateDown {
						b.Node(nodeName(i)).Set(fakedb.Script{Err: errRefused})
						b.Node(nodeName(i)).SetHealth(errRefused, 0, false)
						continue
					}
					// Slow before the node is suspected of it: its probe follows at once.
					b.Node(nodeName(i)).Set(fakedb.Script{Delay: 400 * time.Millisecond})
					g[i].Conf.Store(9)
					n := (*d.m.nodes.Load())[i]
					n.reportOutrun(outrun{&request{began: time.Now().Add(-100 * time.Millisecond)}, time.Millisecond, time.Now()})
				}
				took := untilUp(t, d, 0)
				if state == StateDown && took > comesUp || state == StateSuspect && (took < 5*time.Second || took > comesUp+5*time.Second) {
					t.Errorf("up after %v", took)
				}
			})
		})
	}
}

// Nodes that are no Galera nodes have no view and are not held.
func TestOnlyGaleraNodesAreHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d := fakeCluster(t, b, 2)
		openDB(t, d)
		time.Sleep(time.Second)
		b.Node("n1").SetHealth(nil, 0, true)
		b.Node("n1").Set(fakedb.Script{Silent: true})
		time.Sleep(10 * time.Second)
		b.Node("n1").SetHealth(nil, 0, false)
		b.Node("n1").Set(fakedb.Script{})
		if took := untilUp(t, d, 0); took > comesUp {
			t.Errorf("up after %v", took)
		}
	})
}

// A node that was silent while it was drained is held when it is used again.
func TestSilentNodeIsHeldAfterADrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		var g [2]*galeratest.Script
		for i := range g {
			g[i] = galeratest.Node(b.Node(nodeName(i)))
		}
		d := fakeCluster(t, b, 2, WithCheck(CheckGalera))
		openDB(t, d)
		time.Sleep(time.Second)
		if err := d.Drain("n1"); err != nil {
			t.Fatal(err)
		}
		b.Node("n1").SetHealth(nil, 0, true)
		b.Node("n1").Set(fakedb.Script{Silent: true})
		time.Sleep(12 * time.Second)
		g[1].Conf.Store(4)
		b.Node("n1").SetHealth(nil, 0, false)
		b.Node("n1").Set(fakedb.Script{})
		if err := d.Undrain("n1"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second)
		if s := d.Status().Nodes[0]; s.State != StateDown {
			t.Errorf("%v with the view %d", s.State, s.ConfID)
		}
		g[0].Conf.Store(4)
		if took := untilUp(t, d, 0); took > time.Second {
			t.Errorf("up after %v", took)
		}
	})
}
