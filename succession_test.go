package clustersql

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql/internal/fakedb"
)

// A primary is frozen, with connections in the pool, and a standby is promoted. The
// old primary may come back before its next probe: it takes no write then.
func TestSuccessorEndsTheOldPrimarysConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		nodes := pgNodes(b, 2)
		told := new(diary)
		d := fakeCluster(t, b, 2, WithDialect(DialectPostgres), WithRequire(RequireReadWrite), WithStrategy(Ordered), WithOnEvent(told.write))
		db := openDB(t, d)
		if _, err := db.Exec("INSERT"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		b.Node("n1").Set(fakedb.Script{Silent: true})
		b.Node("n1").SetHealth(nil, 0, true)
		time.Sleep(4 * time.Second)
		if s := d.Status().Nodes[0]; s.State != StateDown {
			t.Errorf("%+v", s)
		}
		before := nodes[0].taken()
		nodes[1].set(func(p *pgScript) { p.standby, p.timeline = false, 2 })
		time.Sleep(1200*time.Millisecond + time.Millisecond) // the standby's next probe
		b.Node("n1").Set(fakedb.Script{})
		b.Node("n1").SetHealth(nil, 0, false)
		for range 50 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if _, err := db.ExecContext(ctx, "INSERT"); err != nil {
				t.Error(err)
			}
			cancel()
			time.Sleep(50 * time.Millisecond)
		}
		if n := nodes[0].taken() - before; n > 0 {
			t.Errorf("%d writes on the old primary", n)
		}
		synctest.Wait()
		if e := told.of("n1", EventRetired); len(e) == 0 {
			t.Error("its connections are still in the pool")
		}
	})
}

// In a switchover the old primary refuses writes first. Its connections retire by
// that. One that is still in use is not retired again when another node is the
// primary.
func TestSuccessorLeavesAloneWhatIsRetired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		nodes := mysqlNodes(b, 2)
		told := new(diary)
		d := fakeCluster(t, b, 2, WithDialect(DialectMySQL), WithRequire(RequireReadWrite), WithStrategy(Ordered), WithOnEvent(told.write))
		db := openDB(t, d)
		db.SetMaxIdleConns(4)
		held, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer held.Close()
		time.Sleep(10 * time.Second)
		if _, err := db.Exec("INSERT"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		nodes[0].set(func(m *mysqlScript) { m.readOnly = true })
		nodes[1].set(func(m *mysqlScript) { m.readOnly, m.source = false, 0 })
		if _, err := db.Exec("INSERT"); err == nil {
			t.Error("the old primary takes writes")
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if events := told.of("n1", EventRetired); len(events) != 1 || !strings.HasPrefix(events[0].Reason, "read-only: ") {
			t.Errorf("%d events: %+v", len(events), events)
		}
		if g := d.Status().Nodes[0].Generation; g != 1 {
			t.Errorf("retired %d times", g)
		}
	})
}

// Where nobody has seen the promotion, the new primary is the one that a replica
// follows. That is so also after its death, and after that of the replica: what was
// written on the new one is not on the old one.
func TestOldPrimaryIsHeldAfterTheFollowedOneDies(t *testing.T) {
	for name, also := range map[string]func(n *fakedb.Node){
		"the replica cannot reach it": func(*fakedb.Node) {},
		"the replica dies too":        kill,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				nodes := mysqlNodes(b, 3)
				nodes[1].set(func(m *mysqlScript) { m.readOnly, m.source = false, 0 })
				nodes[2].set(func(m *mysqlScript) { m.source = 2 })
				d := fakeCluster(t, b, 3, WithDialect(DialectMySQL), WithRequire(RequireReadWrite))
				openDB(t, d)
				time.Sleep(5 * time.Second)
				if s, reason := stateOf(d, 0); s != StateDown || !strings.Contains(reason, "n2 is the new primary") {
					t.Fatalf("%s: %s", s, reason)
				}
				synctest.Wait()
				nodes[2].set(func(m *mysqlScript) { m.stopped = true })
				kill(b.Node("n2"))
				also(b.Node("n3"))
				never(t, d, 0, 30*time.Second)
				// An operator has given the new one up, and made the replica follow the old one.
				revive(b.Node("n3"))
				nodes[2].set(func(m *mysqlScript) { m.stopped, m.source = false, 1 })
				time.Sleep(10 * time.Second)
				always(t, d, 0, 3*time.Second)
			})
		})
	}
}

// The new primary becomes a replica of one that nobody has seen yet. The old primary
// stays held until that one follows it, or it is a replica itself.
func TestOldPrimaryIsHeldWhileTheNewOneFollowsAnother(t *testing.T) {
	for name, then := range map[string]func(nodes []*mysqlScript){
		"the new one follows it": func(nodes []*mysqlScript) { nodes[1].set(func(m *mysqlScript) { m.source = 1 }) },
		"it is promoted anew": func(nodes []*mysqlScript) {
			nodes[0].set(func(m *mysqlScript) { m.readOnly, m.source = true, 2 })
			time.Sleep(5 * time.Second)
			nodes[0].set(func(m *mysqlScript) { m.readOnly, m.source = false, 0 })
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				nodes := mysqlNodes(b, 4)
				d := fakeCluster(t, b, 4, WithDialect(DialectMySQL), WithRequire(RequireReadWrite))
				openDB(t, d)
				time.Sleep(5 * time.Second)
				nodes[1].set(func(m *mysqlScript) { m.readOnly, m.source = false, 0 })
				time.Sleep(5 * time.Second)
				if s, reason := stateOf(d, 0); s != StateDown || !strings.Contains(reason, "n2 is the new primary") {
					t.Fatalf("%s: %s", s, reason)
				}
				kill(b.Node("n3")) // which is promoted before anybody looks at it
				nodes[1].set(func(m *mysqlScript) { m.readOnly, m.source = true, 3 })
				nodes[2].set(func(m *mysqlScript) { m.readOnly, m.source = false, 0 })
				never(t, d, 0, 30*time.Second)
				then(nodes)
				time.Sleep(10 * time.Second)
				always(t, d, 0, 3*time.Second)
			})
		})
	}
}

// After the primary's death the writers wait. They are on the new primary within half
// a second of its promotion where probes come every 200 ms, and within 1.5 s with the
// defaults.
func TestWritersFollowThePromotionInTime(t *testing.T) {
	for _, tc := range []struct {
		opts   []Option
		within time.Duration
	}{
		{nil, 1500 * time.Millisecond},
		{[]Option{WithProbe(200*time.Millisecond, 200*time.Millisecond)}, 500 * time.Millisecond},
	} {
		for at := range 10 { // the promotion comes at any time between two probes
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				nodes := pgNodes(b, 3)
				d := fakeCluster(t, b, 3, append([]Option{WithDialect(DialectPostgres), WithRequire(RequireReadWrite), WithStrategy(Ordered)}, tc.opts...)...)
				db := openDB(t, d)
				time.Sleep(10 * time.Second)
				kill(b.Node("n1"))
				time.Sleep(2*time.Second + time.Duration(at)*137*time.Millisecond)
				wrote := make(chan error)
				go func() {
					_, err := db.Exec("INSERT")
					wrote <- err
				}()
				time.Sleep(2 * time.Second)
				synctest.Wait()
				promoted := time.Now()
				nodes[1].set(func(p *pgScript) { p.standby, p.timeline = false, 2 })
				if err := <-wrote; err != nil {
					t.Error(err)
				}
				if took := time.Since(promoted); took > tc.within || nodes[1].taken() != 1 {
					t.Errorf("the write was on the new primary after %s, bound %s", took, tc.within)
				}
			})
		}
	}
}
