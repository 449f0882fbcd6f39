package clustersql

import (
	"bytes"
	"context"
	"database/sql/driver"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql/internal/fakedb"
)

// promoted makes a cluster of writers whose first node is an old primary that is
// held, beside the new one.
func promoted(t *testing.T, b *fakedb.Backend, count int, opts ...Option) (Driver, []*pgScript) {
	t.Helper()
	nodes := pgNodes(b, count)
	nodes[1].set(func(p *pgScript) { p.standby, p.timeline = false, 2 })
	for _, p := range nodes[2:] {
		p.set(func(p *pgScript) { p.timeline = 2 })
	}
	d := fakeCluster(t, b, count, append([]Option{WithDialect(DialectPostgres)}, opts...)...)
	openDB(t, d)
	time.Sleep(5 * time.Second)
	if s, reason := stateOf(d, 0); s != StateDown || !strings.Contains(reason, "held") {
		t.Fatalf("the old primary is %s: %s", s, reason)
	}
	return d, nodes
}

// An old primary is held until it is a standby, whatever becomes of the new one:
// what is written on it is lost.
func TestOldPrimaryIsHeldWhateverBecomesOfTheNewOne(t *testing.T) {
	for name, trouble := range map[string]func(d Driver, n *fakedb.Node){
		"one slow probe": func(_ Driver, n *fakedb.Node) {
			n.SetHealth(nil, 0, true)
			time.AfterFunc(time.Second, func() { n.SetHealth(nil, 0, false) })
		},
		"a restart": func(_ Driver, n *fakedb.Node) {
			n.Set(fakedb.Script{Err: syscall.ECONNREFUSED})
			n.SetHealth(driver.ErrBadConn, 0, false)
			time.AfterFunc(15*time.Second, func() {
				n.Set(fakedb.Script{})
				n.SetHealth(nil, 0, false)
			})
		},
		"its death":   func(_ Driver, n *fakedb.Node) { kill(n) },
		"its silence": func(_ Driver, n *fakedb.Node) { n.SetHealth(nil, 0, true); n.Set(fakedb.Script{Silent: true}) },
		"a drain":     func(d Driver, _ *fakedb.Node) { _ = d.Drain("n2") },
	} {
		for _, word := range []Require{RequireReadWrite, RequirePrimary} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := fakedb.New()
					d, nodes := promoted(t, b, 2, WithRequire(word))
					trouble(d, b.Node("n2"))
					never(t, d, 0, 30*time.Second)
					// It may be used again when it has become the primary anew.
					nodes[0].set(func(p *pgScript) { p.timeline = 3 })
					time.Sleep(3 * time.Second)
					if s, reason := stateOf(d, 0); s != StateUp {
						t.Errorf("promoted anew it is %s: %s", s, reason)
					}
				})
			})
		}
	}
	t.Run("its removal", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := fakedb.New()
			d, _ := promoted(t, b, 2, WithRequire(RequireReadWrite))
			if err := d.DelNode("n2"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(3 * time.Second)
			if s, reason := stateOf(d, 0); s != StateUp {
				t.Errorf("%s: %s", s, reason)
			}
		})
	})
}

// The new primary becomes a standby of one that nobody has heard of. The standby's
// later timeline tells that the old primary is still an old one.
func TestOldPrimaryIsHeldWhileAStandbyIsOnALaterTimeline(t *testing.T) {
	for _, word := range []Require{RequireReadWrite, RequirePrimary} {
		synctest.Test(t, func(t *testing.T) {
			b := fakedb.New()
			d, nodes := promoted(t, b, 2, WithRequire(word))
			nodes[1].set(func(p *pgScript) { p.standby, p.streams, p.timeline = true, false, 3 })
			never(t, d, 0, 30*time.Second)
			if _, reason := stateOf(d, 0); !strings.Contains(reason, "n2 is on timeline 3, and this primary on 1: held until it is a standby") {
				t.Error(reason)
			}
			// The operator has made it a standby of the old primary.
			nodes[1].set(func(p *pgScript) { p.streams, p.timeline = true, 1 })
			time.Sleep(10 * time.Second)
			always(t, d, 0, 3*time.Second)
		})
	}
}

// A standby on a later timeline is enough: the promoted one need not have been seen,
// and the old primary is asked at once.
func TestALaterTimelineOfAStandbyHoldsTheOldPrimary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		nodes := pgNodes(b, 3)
		kill(b.Node("n3"))
		d := fakeCluster(t, b, 3, WithDialect(DialectPostgres), WithRequire(RequireReadWrite), WithProbe(10*time.Second, time.Second))
		openDB(t, d)
		time.Sleep(time.Minute)
		nodes[1].set(func(p *pgScript) { p.timeline = 2 })
		role := func() uint64 { return d.Status().Nodes[1].Timeline }
		for role() != 2 {
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(200 * time.Millisecond)
		never(t, d, 0, 30*time.Second)
	})
}

// A standby may be on a timeline that nobody serves, from a promotion that was taken
// back long ago. It receives nothing, and says nothing against the primary, also when
// that was restarted.
func TestAStandbyOnADeadTimelineHoldsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		nodes := pgNodes(b, 3)
		nodes[2].set(func(p *pgScript) { p.timeline, p.streams = 9, false })
		d := fakeCluster(t, b, 3, WithDialect(DialectPostgres), WithRequire(RequireReadWrite))
		openDB(t, d)
		time.Sleep(5 * time.Second)
		always(t, d, 0, 10*time.Second)
		kill(b.Node("n1"))
		time.Sleep(20 * time.Second)
		revive(b.Node("n1"))
		time.Sleep(10 * time.Second)
		always(t, d, 0, 10*time.Second)
	})
}

// The old primary is asked as soon as the new one is heard of.
func TestOldPrimaryIsHeldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		nodes := pgNodes(b, 2)
		d := fakeCluster(t, b, 2, WithDialect(DialectPostgres), WithRequire(RequireReadWrite), WithProbe(10*time.Second, time.Second))
		openDB(t, d)
		time.Sleep(time.Minute)
		nodes[1].set(func(p *pgScript) { p.standby, p.timeline = false, 2 })
		for s, _ := stateOf(d, 1); s != StateUp; s, _ = stateOf(d, 1) {
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(200 * time.Millisecond)
		if s, reason := stateOf(d, 0); s != StateDown {
			t.Errorf("%s: %s", s, reason)
		}
	})
}

// A cluster that requires nothing holds the old primary through a slow probe of
// the new one. When that has gone for good, it uses what is left.
func TestHeldNodeServesWhenNobodyElseIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d, _ := promoted(t, b, 2)
		b.Node("n2").SetHealth(nil, 0, true)
		time.AfterFunc(time.Second, func() { b.Node("n2").SetHealth(nil, 0, false) })
		never(t, d, 0, 10*time.Second)
		kill(b.Node("n2"))
		never(t, d, 0, 5*time.Second)
		time.Sleep(15 * time.Second)
		if s, reason := stateOf(d, 0); s != StateUp {
			t.Errorf("%s: %s", s, reason)
		}
	})
}

// A node of other data is not let in by a pause in which nobody answers.
func TestOtherDataIsHeldThroughAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		nodes := pgNodes(b, 3)
		nodes[0].set(func(p *pgScript) { p.system = "88" })
		nodes[2].set(func(p *pgScript) { p.standby = false })
		d := fakeCluster(t, b, 3, WithDialect(DialectPostgres), WithSilenceHold(15*time.Second)) // and a backoff is 5 s at most
		openDB(t, d)
		time.Sleep(10 * time.Second)
		for i := range nodes {
			b.Node(nodeName(i)).SetHealth(nil, 0, true)
			b.Node(nodeName(i)).Set(fakedb.Script{Silent: true})
		}
		time.Sleep(4 * time.Second)
		b.Node("n1").SetHealth(nil, 0, false)
		b.Node("n1").Set(fakedb.Script{})
		never(t, d, 0, 2*time.Second)
		for i := range nodes {
			b.Node(nodeName(i)).SetHealth(nil, 0, false)
			b.Node(nodeName(i)).Set(fakedb.Script{})
		}
		never(t, d, 0, 10*time.Second)
		always(t, d, 1, time.Second)
	})
}

// Which data most nodes have is known when all have been heard of. A node of other data
// that was heard of first is held then.
func TestOtherDataIsHeldWhenTheOthersAreHeardOf(t *testing.T) {
	for _, word := range []Require{RequireAny, RequireReadWrite} {
		synctest.Test(t, func(t *testing.T) {
			b := fakedb.New()
			nodes := pgNodes(b, 3)
			nodes[0].set(func(p *pgScript) { p.system = "11" })
			nodes[1].set(func(p *pgScript) { p.standby = false })
			for i, late := range []time.Duration{0, 100 * time.Millisecond, 300 * time.Millisecond} {
				b.Node(nodeName(i)).Set(fakedb.Script{Delay: late})
			}
			d := fakeCluster(t, b, 3, WithDialect(DialectPostgres), WithRequire(word), WithProbe(10*time.Second, time.Second))
			openDB(t, d)
			time.Sleep(700 * time.Millisecond)
			if s, reason := stateOf(d, 0); s != StateDown || !strings.Contains(reason, "other data") {
				t.Errorf("%q: %s: %s", word, s, reason)
			}
		})
	}
}

// Nodes of other data are held, also where all answer their first probes at once: of two
// nodes at least one sees the other.
func TestOtherDataIsHeldWhereAllAnswerAtOnce(t *testing.T) {
	const many, odd = 9, 4
	for round := range 200 {
		synctest.Test(t, func(t *testing.T) {
			b := fakedb.New()
			nodes := pgNodes(b, many)
			nodes[many-1].set(func(p *pgScript) { p.standby = false })
			for i := range odd {
				nodes[i].set(func(p *pgScript) { p.standby, p.system = false, "88" })
			}
			d := fakeCluster(t, b, many, WithDialect(DialectPostgres))
			openDB(t, d)
			time.Sleep(time.Second / 2)
			for i := range odd {
				if s, reason := stateOf(d, i); s != StateDown || !strings.Contains(reason, "held") {
					t.Fatalf("round %d: %s is %s: %s", round, nodeName(i), s, reason)
				}
			}
		})
	}
}

// A node that is held does not come in because it does not tell all any more.
func TestHeldStandsWhileTheServerDoesNotTellAll(t *testing.T) {
	for _, word := range []Require{RequireAny, RequireReadWrite} {
		for name, change := range map[string]func(p *pgScript){
			"another timeline": func(p *pgScript) { p.timeline = 1 },
			"other data":       func(p *pgScript) { p.system = "88" },
		} {
			t.Run(name+string(word), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := fakedb.New()
					nodes := pgNodes(b, 3)
					for _, p := range nodes {
						p.set(func(p *pgScript) { p.timeline = 2 })
					}
					nodes[1].set(func(p *pgScript) { p.standby = false })
					nodes[0].set(change)
					d := fakeCluster(t, b, 3, WithDialect(DialectPostgres), WithRequire(word))
					openDB(t, d)
					time.Sleep(5 * time.Second)
					if s, reason := stateOf(d, 0); s != StateDown || !strings.Contains(reason, "held") {
						t.Fatalf("%s: %s", s, reason)
					}
					b.Node("n1").OnStatement(func(_ context.Context, query string, _ []driver.NamedValue) error {
						if strings.HasPrefix(query, "SELECT r.standby") {
							return pgState("57014")
						}
						return nil
					})
					never(t, d, 0, 30*time.Second)
				})
			})
		}
	}
}

// Two names of one server become primaries at different probes. None of them is
// an old one.
func TestTwoNamesOfThePromotedServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		nodes := pgNodes(b, 3)
		d := fakeCluster(t, b, 3, WithDialect(DialectPostgres), WithRequire(RequireReadWrite))
		openDB(t, d)
		time.Sleep(10 * time.Second)
		kill(b.Node("n1"))
		for _, p := range nodes[1:] {
			p.set(func(p *pgScript) { p.standby, p.timeline = false, 2 })
			time.Sleep(2 * time.Second)
		}
		time.Sleep(3 * time.Second)
		for i := 1; i <= 2; i++ {
			always(t, d, i, 5*time.Second)
		}
	})
}

// An old primary is told of once, also while it is drained.
func TestDrainedOldPrimaryIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		told := new(diary)
		d, nodes := promoted(t, b, 2, WithRequire(RequireReadWrite), WithStrategy(Ordered), WithOnEvent(told.write))
		if err := d.Drain("n1"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if e := told.of("n1", EventHeld); len(e) != 1 {
			t.Errorf("%d events: %+v", len(e), e[len(e)-1])
		}
		if err := d.Undrain("n1"); err != nil {
			t.Fatal(err)
		}
		for range 20 {
			if _, err := openDB(t, d).Exec("INSERT"); err != nil {
				t.Error(err)
			}
		}
		if n := nodes[0].taken(); n > 0 {
			t.Errorf("%d writes on it", n)
		}
		never(t, d, 0, 10*time.Second)
		if e := told.of("n1", EventHeld); len(e) > 2 {
			t.Errorf("%d events", len(e))
		}
	})
}

// A standby that streams from an old primary gets what is written there, and not
// what the new one writes. Its place in the log says nothing.
func TestStandbyOfTheOldPrimaryLags(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		nodes := pgNodes(b, 3)
		d := fakeCluster(t, b, 3, WithDialect(DialectPostgres), WithRequire(RequirePreferStandby), WithMaxLag(5*time.Second))
		openDB(t, d)
		time.Sleep(10 * time.Second)
		nodes[1].set(func(p *pgScript) { p.standby, p.timeline = false, 2 })
		nodes[2].set(func(p *pgScript) { p.place, p.received = 5000, 5000 })
		time.Sleep(10 * time.Second)
		if s, reason := stateOf(d, 2); s != StateDown || !strings.HasPrefix(reason, "lagging: ") {
			t.Errorf("the standby of the old primary is %s: %s", s, reason)
		}
		nodes[2].set(func(p *pgScript) { p.place, p.received, p.timeline = 100, 100, 2 })
		time.Sleep(4 * time.Second)
		always(t, d, 2, 3*time.Second)
	})
}

// A standby that was frozen comes back with what it had before. It is used when
// it has caught up.
func TestFrozenStandbyComesBackBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		nodes := pgNodes(b, 2)
		d := fakeCluster(t, b, 2, WithDialect(DialectPostgres), WithRequire(RequirePreferStandby), WithMaxLag(10*time.Second))
		openDB(t, d)
		ctx, stop := context.WithCancel(t.Context())
		var writer sync.WaitGroup
		writer.Go(func() { writesAt(ctx, nodes[0], nodes[1:]...) })
		defer writer.Wait()
		defer stop()
		time.Sleep(20 * time.Second)
		frozen := b.Node("n2")
		nodes[1].set(func(p *pgScript) { p.paused, p.streams = true, false })
		frozen.SetHealth(nil, 0, true)
		frozen.Set(fakedb.Script{Silent: true})
		time.Sleep(10 * time.Minute)
		nodes[1].set(func(p *pgScript) { p.age, p.streams = 600, true })
		frozen.SetHealth(nil, 0, false)
		frozen.Set(fakedb.Script{})
		never(t, d, 1, 20*time.Second)
		nodes[1].set(func(p *pgScript) { p.paused, p.age = false, 0 })
		time.Sleep(4 * time.Second)
		always(t, d, 1, 5*time.Second)
	})
}

// A standby that is far behind when the program starts is not used.
func TestStandbyFarBehindFromTheStart(t *testing.T) {
	for _, withPrimary := range []bool{false, true} {
		for name, change := range map[string]func(p *pgScript){
			"it applies nothing":  func(p *pgScript) { p.place, p.received, p.age = 50, 100, 3600 },
			"it receives nothing": func(p *pgScript) { p.place, p.received, p.age, p.streams = 50, 50, 3600, false },
		} {
			if !withPrimary && name == "it receives nothing" {
				continue // nobody in sight has more
			}
			t.Run(fmt.Sprint(name, withPrimary), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := fakedb.New()
					nodes := pgNodes(b, 2)
					nodes[1].set(change)
					if !withPrimary {
						kill(b.Node("n1"))
					}
					d := fakeCluster(t, b, 2, WithDialect(DialectPostgres), WithRequire(RequireStandby), WithMaxLag(5*time.Second))
					openDB(t, d)
					never(t, d, 1, 10*time.Second)
				})
			})
		}
	}
}

// A primary that was restored from a backup is behind where it was seen. Its
// standbys, made anew from it, have all that it has.
func TestRestoredPrimaryIsWhereItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		nodes := pgNodes(b, 2)
		d := fakeCluster(t, b, 2, WithDialect(DialectPostgres), WithRequire(RequirePreferStandby), WithMaxLag(5*time.Second))
		openDB(t, d)
		time.Sleep(5 * time.Second)
		nodes[0].set(func(p *pgScript) { p.place = 9000 })
		time.Sleep(3 * time.Second) // the standby has not reached that
		nodes[0].set(func(p *pgScript) { p.place, p.timeline = 50, 2 })
		nodes[1].set(func(p *pgScript) { p.place, p.received, p.timeline = 50, 50, 2 })
		time.Sleep(10 * time.Second)
		always(t, d, 1, 5*time.Second)
	})
}

// A drained primary still tells how far its standbys are behind.
func TestDrainedPrimaryTellsTheLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		nodes := pgNodes(b, 2)
		d := fakeCluster(t, b, 2, WithDialect(DialectPostgres), WithRequire(RequirePreferStandby), WithMaxLag(5*time.Second))
		openDB(t, d)
		time.Sleep(5 * time.Second)
		if err := d.Drain("n1"); err != nil {
			t.Fatal(err)
		}
		nodes[1].set(func(p *pgScript) { p.streams = false })
		nodes[0].set(func(p *pgScript) { p.place = 9000 })
		time.Sleep(15 * time.Second)
		if s, reason := stateOf(d, 1); s != StateDown || !strings.HasPrefix(reason, "lagging: ") {
			t.Errorf("%s: %s", s, reason)
		}
	})
}

// After a switchover in which no node was down, connections leave the node that
// is not preferred any more, however long the cluster has been quiet.
func TestConnectionsFollowThePreferredRole(t *testing.T) {
	for _, strategy := range []Strategy{Race, Hedged, Balanced, Ordered} {
		t.Run(strategy.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				nodes := pgNodes(b, 2)
				d := fakeCluster(t, b, 2, WithDialect(DialectPostgres), WithRequire(RequirePreferStandby), WithStrategy(strategy))
				db := openDB(t, d)
				db.SetMaxIdleConns(4)
				time.Sleep(time.Hour)
				load := func() string {
					t.Helper()
					for range 60 {
						var held sync.WaitGroup
						for range 4 {
							held.Go(func() {
								conn, err := db.Conn(t.Context())
								if err != nil {
									t.Error(err)
									return
								}
								defer conn.Close()
								time.Sleep(10 * time.Millisecond)
							})
						}
						held.Wait()
						time.Sleep(time.Second)
					}
					s := d.Status().Nodes
					return fmt.Sprint(s[0].Load, s[1].Load)
				}
				if got := load(); got != "0 4" {
					t.Fatal(got)
				}
				nodes[0].set(func(p *pgScript) { p.standby, p.streams, p.timeline = true, true, 2 })
				nodes[1].set(func(p *pgScript) { p.standby, p.timeline = false, 2 })
				if got := load(); got != "4 0" {
					t.Errorf("after the switchover %s", got)
				}
				before := b.Stats().Opens
				load()
				if n := b.Stats().Opens - before; n > 0 {
					t.Errorf("%d connections made anew for nothing", n)
				}
			})
		})
	}
}

// One line tells that a node hides its lag, where somebody wants to know it.
func TestHiddenLagIsToldWhereItIsWanted(t *testing.T) {
	for _, lag := range []time.Duration{0, 5 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			b := fakedb.New()
			for _, m := range mysqlNodes(b, 2) {
				m.set(func(m *mysqlScript) { m.noRight = true })
			}
			var log bytes.Buffer
			d := NewDriver(b.Driver(), t.Name()+lag.String(), seeded(t), WithDialect(DialectMySQL), WithRequire(RequireWritable), WithMaxLag(lag), WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
			t.Cleanup(func() { d.Close() })
			for i := range 2 {
				if err := d.AddNode(nodeName(i), nodeName(i)); err != nil {
					t.Fatal(err)
				}
			}
			openDB(t, d)
			time.Sleep(time.Minute)
			synctest.Wait()
			if n := strings.Count(log.String(), "does not tell its lag"); n > 0 != (lag > 0) {
				t.Errorf("max_lag %s: %d lines:\n%s", lag, n, log.String())
			}
		})
	}
}
