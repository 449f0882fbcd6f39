package clustersql

import (
	"context"
	"database/sql/driver"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql/internal/fakedb"
)

// A node that works and is not what is asked for is looked at like any other: what
// befalls it is seen and told, and it comes back.
func TestWhatBefallsAnUnsuitedNode(t *testing.T) {
	login := pgState("28P01")
	for name, tc := range map[string]struct {
		begin  func(d Driver, n *fakedb.Node)
		end    func(d Driver, n *fakedb.Node)
		during State
		reason string
	}{
		"refuses": {
			begin:  func(_ Driver, n *fakedb.Node) { kill(n) },
			end:    func(_ Driver, n *fakedb.Node) { n.Set(fakedb.Script{}); n.SetHealth(nil, 0, false) },
			during: StateDown, reason: "refused: ",
		},
		"is silent": {
			begin:  func(_ Driver, n *fakedb.Node) { n.Set(fakedb.Script{Silent: true}); n.SetHealth(nil, 0, true) },
			end:    func(_ Driver, n *fakedb.Node) { n.Set(fakedb.Script{}); n.SetHealth(nil, 0, false) },
			during: StateDown, reason: "silent: ",
		},
		"refuses logins": { // the sessions that are there work on, and it is not asked for
			begin:  func(_ Driver, n *fakedb.Node) { n.Set(fakedb.Script{Err: login}) },
			end:    func(_ Driver, n *fakedb.Node) { n.Set(fakedb.Script{}) },
			during: StateDown, reason: `read-only: require "read-write": the server takes no writes`,
		},
		"lost its sessions and refuses logins": {
			begin: func(_ Driver, n *fakedb.Node) {
				n.Set(fakedb.Script{Err: login})
				n.SetHealth(driver.ErrBadConn, 0, false)
			},
			end:    func(_ Driver, n *fakedb.Node) { n.Set(fakedb.Script{}); n.SetHealth(nil, 0, false) },
			during: StateDown, reason: "configuration: ",
		},
		"is drained": {
			begin:  func(d Driver, _ *fakedb.Node) { _ = d.Drain("n2") },
			end:    func(d Driver, _ *fakedb.Node) { _ = d.Undrain("n2") },
			during: StateDraining, reason: "",
		},
		"is removed and added": {
			begin:  func(d Driver, _ *fakedb.Node) { _ = d.DelNode("n2"); _ = d.AddNode("n2", "n2") },
			end:    func(Driver, *fakedb.Node) {},
			during: StateDown, reason: `read-only: require "read-write": the server takes no writes`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				nodes := pgNodes(b, 2)
				d := fakeCluster(t, b, 2, WithDialect(DialectPostgres), WithRequire(RequireReadWrite))
				db := openDB(t, d)
				time.Sleep(5 * time.Second)
				tc.begin(d, b.Node("n2"))
				time.Sleep(15 * time.Second)
				if s, reason := stateOf(d, 1); s != tc.during || !strings.HasPrefix(reason, tc.reason) {
					t.Errorf("meanwhile it is %s: %s", s, reason)
				}
				tc.end(d, b.Node("n2"))
				nodes[0].set(func(p *pgScript) { p.standby, p.streams, p.timeline = true, true, 2 })
				nodes[1].set(func(p *pgScript) { p.standby, p.timeline = false, 2 })
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				if _, err := db.ExecContext(ctx, "INSERT"); err != nil {
					t.Error(err)
				}
				time.Sleep(5 * time.Second)
				always(t, d, 1, time.Second)
				db.Close()
				synctest.Wait()
				wantNothingLeft(t, b)
			})
		})
	}
}

// What a node was is known when its cluster is opened again, and what it is now
// counts.
func TestClusterOpenedAgainAfterAPromotion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		nodes := pgNodes(b, 2)
		d := fakeCluster(t, b, 2, WithDialect(DialectPostgres), WithRequire(RequireReadWrite))
		db := openDB(t, d)
		time.Sleep(5 * time.Second)
		db.Close()
		time.Sleep(time.Hour)
		nodes[0].set(func(p *pgScript) { p.standby, p.streams, p.timeline = true, true, 2 })
		nodes[1].set(func(p *pgScript) { p.standby, p.timeline = false, 2 })
		db = openDB(t, d)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if _, err := db.ExecContext(ctx, "INSERT"); err != nil {
			t.Error(err)
		}
		if nodes[1].taken() != 1 {
			t.Error("the new primary has not got the write")
		}
	})
}

// A session on a node that is a standby now hangs when that falls silent: it is cut
// as on any other node.
func TestUnsuitedNodeThatFallsSilentIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		var standby atomic.Bool
		b.Node("n1").OnQuery(func(query string) ([][]driver.Value, bool) {
			return row(map[bool]string{false: "primary", true: "standby"}[standby.Load()]), query == "ROLE"
		})
		b.Node("n2").OnQuery(func(query string) ([][]driver.Value, bool) { return row("primary"), query == "ROLE" })
		told := new(diary)
		d, c := pipeCluster(t, b, true, WithStrategy(Ordered), WithRequire(RequirePrimary), WithRoleQueries("ROLE", ""), WithOnEvent(told.write))
		addFellow(t, d)
		db := openDB(t, d)
		conn := usedConn(t, db)
		defer conn.Close()
		time.Sleep(3 * time.Second)
		standby.Store(true)
		time.Sleep(10 * time.Second)
		if s, reason := stateOf(d, 0); s != StateDown || !strings.HasPrefix(reason, "role: ") {
			t.Fatalf("%s: %s", s, reason)
		}
		if e := told.of("n1", EventCut); len(e) > 0 {
			t.Errorf("cut because of its role: %+v", e)
		}
		c.hangs.Store(true)
		began := time.Now()
		if _, err := conn.ExecContext(t.Context(), "UPDATE"); err == nil || time.Since(began) > 6*time.Second {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
		c.release()
	})
}

// While there is no primary, opens wait. The nodes are asked often, on the
// connections that are there, and the first primary serves all.
func TestOpensWaitForAPromotion(t *testing.T) {
	for _, strategy := range []Strategy{Race, Hedged, Balanced, Ordered} {
		synctest.Test(t, func(t *testing.T) {
			b := fakedb.New()
			nodes := pgNodes(b, 3)
			nodes[0].set(func(p *pgScript) { p.standby = true })
			d := fakeCluster(t, b, 3, WithDialect(DialectPostgres), WithRequire(RequireReadWrite), WithStrategy(strategy))
			db := openDB(t, d)
			time.Sleep(5 * time.Second)
			var opens sync.WaitGroup
			for range 50 {
				opens.Go(func() {
					if _, err := db.Exec("INSERT"); err != nil {
						t.Error(err)
					}
				})
			}
			connects, probes := b.Stats().Connects, d.Status().Nodes[1].Probes
			time.Sleep(8 * time.Second)
			if n := b.Stats().Connects - connects; n > 0 {
				t.Errorf("%s: %d connects while there is no primary", strategy, n)
			}
			if n := d.Status().Nodes[1].Probes - probes; n < 16 || n > 80 {
				t.Errorf("%s: %d probes in 8 s", strategy, n)
			}
			nodes[1].set(func(p *pgScript) { p.standby, p.timeline = false, 2 })
			began := time.Now()
			opens.Wait()
			if took := time.Since(began); took > time.Second {
				t.Errorf("%s: served after %s", strategy, took)
			}
		})
	}
}

// An open does not wait long for the preferred nodes when these give nothing.
func TestSecondChoiceServesInTime(t *testing.T) {
	for _, strategy := range []Strategy{Race, Hedged, Balanced, Ordered} {
		for name, tc := range map[string]struct {
			script fakedb.Script
			most   time.Duration
		}{
			"silent":  {fakedb.Script{Silent: true}, lastResortWait},
			"refuses": {fakedb.Script{Err: syscall.ECONNREFUSED}, 0},
			"full":    {fakedb.Script{Err: pgState("53300")}, 0},
		} {
			t.Run(fmt.Sprint(strategy, name), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := fakedb.New()
					pgNodes(b, 2)
					d := fakeCluster(t, b, 2, WithDialect(DialectPostgres), WithRequire(RequirePreferStandby), WithStrategy(strategy))
					db := openDB(t, d)
					time.Sleep(5 * time.Second)
					b.Node("n2").Set(tc.script)
					for range 5 {
						began := time.Now()
						conn, err := db.Conn(t.Context())
						if err != nil {
							t.Fatal(err)
						}
						defer conn.Close()
						if took := time.Since(began); took > tc.most {
							t.Errorf("after %s", took)
						}
					}
				})
			})
		}
	}
}
