package clustersql

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql/internal/fakedb"
)

// A crowd is workers that run a statement again and again.
type crowd struct {
	failed, done atomic.Int64
	stop         context.CancelFunc
	wg           sync.WaitGroup
}

func newCrowd(t *testing.T, db *sql.DB, workers int, pause time.Duration) *crowd {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	c := &crowd{stop: stop}
	for i := range workers {
		c.wg.Go(func() {
			time.Sleep(time.Duration(i+1) * time.Millisecond)
			for ctx.Err() == nil {
				if _, err := db.Exec("UPDATE work"); err != nil {
					c.failed.Add(1)
					t.Error(err)
				}
				c.done.Add(1)
				time.Sleep(pause)
			}
		})
	}
	t.Cleanup(c.end)
	return c
}

func (c *crowd) end() { c.stop(); c.wg.Wait() }

// down has a node refuse everything; well undoes that.
func down(b *fakedb.Backend, node string) {
	b.Node(node).Set(fakedb.Script{Err: errRefused})
	b.Node(node).SetHealth(errNotReady, 0, false)
}

func well(b *fakedb.Backend, node string) {
	b.Node(node).Set(fakedb.Script{Delay: time.Millisecond})
	b.Node(node).SetHealth(nil, 10*time.Millisecond, false)
}

// fill puts so many used conns into the pool.
func fill(t *testing.T, db *sql.DB, n int) {
	t.Helper()
	db.SetMaxIdleConns(n)
	var conns []*sql.Conn
	for range n {
		c, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := c.PingContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	for _, c := range conns {
		c.Close()
	}
}

func openConns(d Driver) []int {
	var conns []int
	for _, s := range d.Status().Nodes {
		conns = append(conns, s.OpenConns)
	}
	return conns
}

// A node that is back gets its share of a pool, the idle part of it included,
// within 30 s, gently, and without an error.
func TestReturnedNodeGetsItsShare(t *testing.T) {
	for name, tc := range map[string]struct {
		strategy Strategy
		share    float64 // of n1
		workers  int
		idle     int
	}{
		"balanced, busy":        {Balanced, 1. / 3, 30, 0},
		"balanced, mostly idle": {Balanced, 1. / 3, 9, 21},
		"ordered, busy":         {Ordered, 1, 30, 0},
		"ordered, mostly idle":  {Ordered, 1, 3, 27},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				for i := range 3 {
					well(b, nodeName(i))
				}
				var seen diary
				d := fakeCluster(t, b, 3, WithStrategy(tc.strategy), WithOnEvent(seen.write), WithFailbackAfter(10*time.Second))
				told(d, traits{single: true})
				db := openDB(t, d)
				time.Sleep(time.Second)
				down(b, "n1")
				time.Sleep(5 * time.Second)
				fill(t, db, 30)
				work := newCrowd(t, db, tc.workers, 10*time.Millisecond)
				time.Sleep(10 * time.Second)
				well(b, "n1")
				took := untilUp(t, d, 0)
				due := 30 * time.Second
				if tc.share == 1 {
					due += 10 * time.Second
				}
				before := b.Node("n1").Stats().Opens
				for range int(due / time.Second) {
					was := b.Node("n1").Stats().Opens
					time.Sleep(time.Second)
					if more := b.Node("n1").Stats().Opens - was; more > 15 { // two ticks of a fifth of 30 each, and a jitter of a quarter
						t.Errorf("%d connections in a second", more)
					}
				}
				conns := openConns(d)
				total := conns[0] + conns[1] + conns[2]
				target := tc.share * float64(total)
				if off := math.Abs(float64(conns[0]) - target); off > max(1, 0.2*target) {
					t.Errorf("n1 is to have %.1f of %v, back %v ago", target, conns, took+due)
				}
				if b.Node("n1").Stats().Opens == before {
					t.Error("no connection was moved")
				}
				if work.failed.Load() != 0 || work.done.Load() == 0 {
					t.Errorf("%d of %d failed", work.failed.Load(), work.done.Load())
				}
				if moved := slices.Concat(seen.of("n2", EventRetired), seen.of("n3", EventRetired)); len(moved) == 0 {
					t.Error("nobody was told")
				}
				work.end()
				db.Close()
				time.Sleep(time.Minute)
				wantNothingLeft(t, b)
			})
		})
	}
}

// On a cluster that is well nothing moves for ten minutes, whatever the
// strategy, and though the latencies take turns; and after a return race and
// hedged make the older connections anew, once.
func TestNothingMovesWithoutNeed(t *testing.T) {
	for name, strategy := range map[string]Strategy{"race": Race, "hedged": Hedged, "balanced": Balanced, "ordered": Ordered, "own": inOrder} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				for i := range 3 {
					well(b, nodeName(i))
				}
				d := fakeCluster(t, b, 3, WithStrategy(strategy))
				told(d, traits{single: true})
				db := openDB(t, d)
				time.Sleep(time.Second)
				fill(t, db, 30)
				newCrowd(t, db, 5, 50*time.Millisecond)
				time.Sleep(time.Minute)
				rests := func(what string) {
					before := b.Stats()
					for i := range 20 {
						b.Node(nodeName(i%3)).SetHealth(nil, 22*time.Millisecond, false)
						b.Node(nodeName((i+1)%3)).SetHealth(nil, 10*time.Millisecond, false)
						time.Sleep(30 * time.Second)
					}
					if after := b.Stats(); after.Opens != before.Opens || after.Closes != before.Closes {
						t.Errorf("%s: %d opened and %d closed in ten minutes", what, after.Opens-before.Opens, after.Closes-before.Closes)
					}
				}
				rests("at first")
				for i := range 3 {
					well(b, nodeName(i))
				}
				down(b, "n3")
				time.Sleep(10 * time.Second)
				before, older := b.Stats().Closes, 0
				for _, n := range openConns(d) {
					older += n
				}
				well(b, "n3")
				time.Sleep(2 * time.Minute)
				closed := int(b.Stats().Closes - before)
				if anew := name == "race" || name == "hedged"; anew && closed < older || name == "own" && closed > 6 {
					t.Errorf("%d closed after the return, of %d there were", closed, older)
				}
				fill(t, db, 30)
				time.Sleep(30 * time.Second)
				rests("after a return")
			})
		})
	}
}

// Ordered stays where it is until the better node has been up for
// failback_after: one node has all connections before, and one after.
func TestOrderedFailsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		var seen diary
		d := fakeCluster(t, b, 3, WithStrategy(Ordered), WithOnEvent(seen.write))
		told(d, traits{single: true})
		db := openDB(t, d)
		time.Sleep(time.Second)
		newCrowd(t, db, 8, 5*time.Millisecond)
		db.SetMaxIdleConns(8)
		time.Sleep(10 * time.Second)
		if conns := openConns(d); conns[1]+conns[2] != 0 {
			t.Errorf("%v at the start", conns)
		}
		b.Node("n1").Set(fakedb.Script{Err: errRefused})
		b.Node("n1").SetHealth(errNotReady, 0, false)
		time.Sleep(10 * time.Second)
		if conns := openConns(d); conns[0]+conns[2] != 0 || conns[1] == 0 {
			t.Errorf("%v without n1", conns)
		}
		b.Node("n1").Set(fakedb.Script{})
		b.Node("n1").SetHealth(nil, 0, false)
		untilUp(t, d, 0)
		back := time.Now()
		for time.Since(back) < 29*time.Second {
			db.SetMaxIdleConns(0) // so that there are new opens
			time.Sleep(time.Second)
			db.SetMaxIdleConns(8)
			if conns, s := openConns(d), d.Status().Nodes[0]; conns[0]+conns[2] != 0 || !s.Returning {
				t.Fatalf("%v %v after the return", conns, time.Since(back))
			}
		}
		time.Sleep(12 * time.Second)
		if conns := openConns(d); conns[1]+conns[2] != 0 || conns[0] == 0 {
			t.Errorf("%v after fail-back was due", conns)
		}
		events := seen.of("n1", EventFailback)
		if len(events) != 1 || events[0].Time.Sub(back) < 29900*time.Millisecond || events[0].Time.Sub(back) > 32*time.Second {
			t.Errorf("%+v", events)
		}
	})
}

// A node that has just come back is used at once when the one in use fails,
// and nothing is held back where a program starts.
func TestReturningNodeIsBetterThanNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		b.Node("n1").Set(fakedb.Script{Delay: 300 * time.Millisecond})
		d := fakeCluster(t, b, 2, WithStrategy(Ordered))
		db := openDB(t, d)
		time.Sleep(time.Second)
		if s := d.Status().Nodes; s[0].Returning || s[1].Returning {
			t.Errorf("held back at the start: %+v", s)
		}
		down(b, "n1")
		time.Sleep(5 * time.Second)
		well(b, "n1")
		untilUp(t, d, 0)
		down(b, "n2")
		if err := db.Ping(); err != nil {
			t.Error(err)
		}
		if conns := openConns(d); conns[0] != 1 {
			t.Errorf("%v", conns)
		}
	})
}

// Connections older than max_age are renewed, not all at once, and not one in
// use is touched.
func TestMaxAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d := fakeCluster(t, b, 1, WithMaxAge(time.Minute))
		db := openDB(t, d)
		time.Sleep(time.Second)
		fill(t, db, 20)
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		time.Sleep(50 * time.Second)
		if conns := openConns(d); conns[0] != 20 {
			t.Errorf("%v before their time", conns)
		}
		closes := b.Stats().Closes
		for range 40 {
			time.Sleep(time.Second)
			now := b.Stats().Closes
			if now-closes > 5 {
				t.Errorf("%d closed in a second", now-closes)
			}
			closes = now
		}
		if conns := openConns(d); conns[0] != 1 {
			t.Errorf("%v after it", conns)
		}
		if _, err := conn.ExecContext(t.Context(), "x"); err != nil {
			t.Errorf("the one in use: %v", err)
		}
		conn.Close()
		if conns := openConns(d); conns[0] != 0 {
			t.Errorf("%v once it was put back", conns)
		}
	})
}

// Shares by hand.
func TestExcess(t *testing.T) {
	now := time.Unix(1000, 0)
	node := func(name string, current int, change func(*NodeStatus)) NodeStatus {
		s := NodeStatus{Name: name, State: StateUp, Since: now.Add(-time.Minute), Weight: 1, current: current,
			ProbeLatency: Latency{}.add(time.Millisecond)}
		if change != nil {
			change(&s)
		}
		return s
	}
	with := func(changes ...func(*NodeStatus)) func(*NodeStatus) {
		return func(s *NodeStatus) {
			for _, c := range changes {
				c(s)
			}
		}
	}
	young := func(s *NodeStatus) { s.Since = now.Add(-4 * time.Second) }
	heavy := func(s *NodeStatus) { s.Weight = 2 }
	later := func(s *NodeStatus) { s.Priority = 1 }
	suspect := func(s *NodeStatus) { s.State = StateSuspect }
	fallen := func(s *NodeStatus) { s.State = StateDown }
	returning := func(s *NodeStatus) { s.Returning = true }
	back := func(s *NodeStatus) { s.back, s.LastSuccess = now.Add(-time.Minute), now.Add(-time.Hour) }
	served := func(s *NodeStatus) { s.back, s.LastSuccess = now.Add(-time.Minute), now.Add(-time.Second) }
	donor := func(s *NodeStatus) { s.Donor = true }
	slow := func(d time.Duration) func(*NodeStatus) {
		return func(s *NodeStatus) { s.ProbeLatency = Latency{}.add(d) }
	}
	cases := []struct {
		name  string
		r     Rebalance
		nodes []NodeStatus
		want  []int
		begun bool
	}{
		{"even", RebalanceShares, []NodeStatus{node("a", 10, nil), node("b", 10, nil), node("c", 10, nil)}, []int{0, 0, 0}, false},
		{"one is back", RebalanceShares, []NodeStatus{node("a", 0, nil), node("b", 16, nil), node("c", 14, nil)}, []int{0, 6, 4}, false},
		{"back for a moment", RebalanceShares, []NodeStatus{node("a", 0, young), node("b", 16, nil), node("c", 14, nil)}, []int{0, 0, 0}, false},
		{"nearly even", RebalanceShares, []NodeStatus{node("a", 10, nil), node("b", 11, nil), node("c", 11, nil)}, []int{0, 0, 0}, false},
		{"and begun", RebalanceShares, []NodeStatus{node("a", 10, nil), node("b", 12, nil), node("c", 11, nil)}, []int{0, 1, 0}, true},
		{"many have a little too much", RebalanceShares, []NodeStatus{node("a", 12, nil), node("b", 22, nil), node("c", 22, nil), node("d", 22, nil), node("e", 22, nil)}, []int{0, 2, 2, 2, 2}, false},
		{"by weight", RebalanceShares, []NodeStatus{node("a", 0, heavy), node("b", 20, nil), node("c", 20, nil)}, []int{0, 10, 10}, false},
		{"few", RebalanceShares, []NodeStatus{node("a", 0, nil), node("b", 2, nil), node("c", 1, nil)}, []int{0, 1, 0}, false},
		{"one for three", RebalanceShares, []NodeStatus{node("a", 0, nil), node("b", 1, nil), node("c", 0, nil)}, []int{0, 0, 0}, false},
		{"none for the one that is back", RebalanceShares, []NodeStatus{node("a", 0, back), node("b", 1, nil), node("c", 1, nil)}, []int{0, 1, 1}, false},
		{"it has had one", RebalanceShares, []NodeStatus{node("a", 0, served), node("b", 1, nil), node("c", 1, nil)}, []int{0, 0, 0}, false},
		{"a later tier gives all", RebalanceShares, []NodeStatus{node("a", 0, nil), node("b", 7, later)}, []int{0, 7}, false},
		{"a suspect for long too", RebalanceShares, []NodeStatus{node("a", 3, nil), node("b", 7, suspect)}, []int{0, 7}, false},
		{"one of a moment not", RebalanceShares, []NodeStatus{node("a", 3, nil), node("b", 7, with(suspect, young))}, []int{0, 0}, false},
		{"nobody is up", RebalanceShares, []NodeStatus{node("a", 3, suspect), node("b", 7, suspect)}, []int{0, 0}, false},
		{"a fallen one counts for nobody", RebalanceShares, []NodeStatus{node("a", 9, fallen), node("b", 7, nil), node("c", 7, nil)}, []int{0, 0, 0}, false},
		{"a donor keeps what it has", RebalanceShares, []NodeStatus{node("a", 9, donor), node("b", 2, nil)}, []int{0, 0}, false},
		{"far slower gives all", RebalanceShares, []NodeStatus{node("a", 1, nil), node("b", 7, slow(time.Second))}, []int{0, 7}, false},
		{"somewhat slower keeps", RebalanceShares, []NodeStatus{node("a", 1, nil), node("b", 7, slow(20*time.Millisecond))}, []int{0, 0}, false},

		{"all on the first", RebalanceFirst, []NodeStatus{node("a", 0, nil), node("b", 7, nil), node("c", 2, suspect)}, []int{0, 7, 2}, false},
		{"the first is a donor", RebalanceFirst, []NodeStatus{node("a", 5, donor), node("b", 7, nil), node("c", 2, nil)}, []int{0, 0, 2}, false},
		{"not yet", RebalanceFirst, []NodeStatus{node("a", 0, returning), node("b", 7, nil)}, []int{0, 0}, false},
		{"strays come home meanwhile", RebalanceFirst, []NodeStatus{node("a", 1, returning), node("b", 7, nil), node("c", 2, nil)}, []int{1, 0, 2}, false},
		{"the first is young", RebalanceFirst, []NodeStatus{node("a", 0, young), node("b", 7, nil)}, []int{0, 0}, false},
		{"the first is down", RebalanceFirst, []NodeStatus{node("a", 5, fallen), node("b", 7, nil), node("c", 2, nil)}, []int{0, 0, 2}, false},

		{"off", RebalanceOff, []NodeStatus{node("a", 0, nil), node("b", 70, nil)}, []int{0, 0}, false},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			for i, s := range tc.nodes {
				got, why := excess(s.Name, tc.nodes, tc.r, 5*time.Second, now, tc.begun)
				if got != tc.want[i] || (why == "") != (got == 0) && got > 0 {
					t.Errorf("%s gives %d, want %d (%s)", s.Name, got, tc.want[i], why)
				}
			}
		})
	}
}

// A fifth of what was too many at first gives way in a second, at least one,
// whatever the tick; and what was missed does not pile up.
func TestPace(t *testing.T) {
	for _, tick := range []time.Duration{200 * time.Millisecond, time.Second, 1200 * time.Millisecond} {
		for _, start := range []int{1, 4, 5, 30, 100} {
			var p pace
			now := time.Unix(0, 0)
			left, spent := start, time.Duration(0)
			for left > 0 && spent < time.Minute {
				n := p.turns(left, now)
				if most := max(1, start/paceFifth) * 5 / 4; n > max(1, most) {
					t.Errorf("tick %v, %d at the start: %d turns at once", tick, start, n)
				}
				left -= n
				now, spent = now.Add(tick), spent+tick
			}
			if start > 5 && spent < 4*time.Second || spent > 7*time.Second {
				t.Errorf("tick %v, %d at the start: gone after %v", tick, start, spent)
			}
		}
	}
	var p pace
	now := time.Unix(0, 0)
	p.turns(100, now)
	if n := p.turns(100, now.Add(time.Hour)); n > 25 {
		t.Errorf("%d turns after an hour", n)
	}
}

// The strategies of the package have their own rebalancing, others none.
func TestRebalanceByStrategy(t *testing.T) {
	var named Strategy
	if err := named.UnmarshalText([]byte("balanced")); err != nil {
		t.Fatal(err)
	}
	for want, s := range map[Rebalance][]Strategy{
		RebalanceShares: {Balanced, named}, RebalanceFirst: {Ordered}, RebalanceRefresh: {Race, Hedged},
		RebalanceOff: {inOrder, func(n []NodeStatus) []Launch { return Balanced(n) }},
	} {
		for i := range s {
			if got := (&Config{Strategy: s[i]}).rebalance(); got != want {
				t.Errorf("%d: %q, want %q", i, got, want)
			}
			if got := (&Config{Strategy: s[i], Rebalance: RebalanceFirst}).rebalance(); got != RebalanceFirst {
				t.Errorf("set to first, it is %q", got)
			}
		}
	}
	cfg := DefaultConfig()
	cfg.Rebalance = "fast"
	if err := cfg.validate(); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("there is no %q", "fast")) {
		t.Error(err)
	}
}
