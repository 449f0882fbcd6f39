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

	"github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql/internal/balance"
	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/fakedb"
	"github.com/EnumApps/clustersql/internal/seedtest"
)

// A crowd is a number of workers that run a statement again and again.
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

// wantServed ends the work, none of which has failed.
func (c *crowd) wantServed(t *testing.T, least int64) {
	t.Helper()
	c.end()
	if c.failed.Load() != 0 || c.done.Load() < least {
		t.Errorf("%d of %d failed", c.failed.Load(), c.done.Load())
	}
}

// down makes a node refuse everything. well undoes that.
func down(b *fakedb.Backend, node string) {
	b.Node(node).Set(fakedb.Script{Err: errRefused})
	b.Node(node).SetHealth(errNotReady, 0, false)
}

func well(b *fakedb.Backend, node string) {
	b.Node(node).Set(fakedb.Script{Delay: time.Millisecond})
	b.Node(node).SetHealth(nil, 10*time.Millisecond, false)
}

// fill puts n used conns into the pool.
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

// mostGiven returns how many conns may give way in a second, when tooMany are
// too many on so many nodes. A fifth of them may do so in a second. A second
// has at most two ticks of a node. The first tick counts the time since the one
// before it, at most the longest wait. Each node carries over less than one.
func mostGiven(tooMany, nodes int) int {
	span := (mostWait(time.Second) + time.Second).Seconds()
	return int(float64(tooMany)/balance.PaceFifth*span + float64(nodes))
}

// A node that is back gets its share of a pool within 30 s, also of the idle
// conns. It happens gradually and without an error.
//
// Balanced draws which node gets a conn in place of one that gave way. While n1
// has 7 or fewer of 30, the others have so much more than 10 that each gives up
// one or more a second, in the 24 s after rebalance_after. Of three equally
// fast nodes two are drawn, and n1 has the smaller load. It therefore gets each
// conn with probability 2/3. It misses its share if 48 or more draws bring it 7
// or fewer, once in 10^13 runs.
func TestReturnedNodeGetsItsShare(t *testing.T) {
	for name, tc := range map[string]struct {
		strategy Strategy
		share    float64 // the share of n1
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
				told(d, dialect.Session{Single: true})
				db := openDB(t, d)
				time.Sleep(time.Second)
				down(b, "n1")
				time.Sleep(5 * time.Second)
				fill(t, db, 30)
				work := newCrowd(t, db, tc.workers, 40*time.Millisecond)
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
					if more := b.Node("n1").Stats().Opens - was; more > mostGiven(30, 2) {
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

// On a healthy cluster no conn moves for ten minutes, whatever the strategy,
// although the latencies alternate. After a return, race and hedged replace the
// older connections, once. The short run draws one strategy, and watches for
// twice as long as a cluster takes to settle.
func TestNothingMovesWithoutNeed(t *testing.T) {
	all := []Strategy{Race, Hedged, Balanced, Ordered, inOrder}
	if testing.Short() {
		one := seedtest.Rand(t).IntN(len(all))
		all = all[one : one+1]
	}
	for _, strategy := range all {
		name := strategy.String()
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				for i := range 3 {
					well(b, nodeName(i))
				}
				d := fakeCluster(t, b, 3, WithStrategy(strategy))
				told(d, dialect.Session{Single: true})
				db := openDB(t, d)
				time.Sleep(time.Second)
				fill(t, db, 30)
				newCrowd(t, db, 5, 250*time.Millisecond)
				time.Sleep(time.Minute)
				turns := 20
				if testing.Short() {
					turns = int(2 * rebalanceWindow / (30 * time.Second))
				}
				rests := func(what string) {
					before := b.Stats()
					for i := range turns {
						b.Node(nodeName(i%3)).SetHealth(nil, 22*time.Millisecond, false)
						b.Node(nodeName((i+1)%3)).SetHealth(nil, 10*time.Millisecond, false)
						time.Sleep(30 * time.Second)
					}
					if after := b.Stats(); after.Opens != before.Opens || after.Closes != before.Closes {
						t.Errorf("%s: %d opened and %d closed in %v", what, after.Opens-before.Opens, after.Closes-before.Closes, time.Duration(turns)*30*time.Second)
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
				if anew := name == "race" || name == "hedged"; anew && closed < older || name == inOrder.String() && closed > 6 {
					t.Errorf("%d closed after the return, of %d there were", closed, older)
				}
				fill(t, db, 30)
				time.Sleep(30 * time.Second)
				rests("after a return")
			})
		})
	}
}

// Ordered keeps its node until the better one has been up for failback_after.
// Before that one node has all connections, and after it the other.
func TestOrderedFailsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		var seen diary
		d := fakeCluster(t, b, 3, WithStrategy(Ordered), WithOnEvent(seen.write))
		told(d, dialect.Session{Single: true})
		db := openDB(t, d)
		time.Sleep(time.Second)
		newCrowd(t, db, 8, 50*time.Millisecond)
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

// A node that has just come back is used at once if the one in use fails. When
// a program starts, no node counts as having just come back.
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

// Connections older than max_age are replaced, not all at once. A connection in
// use is left alone.
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
		closes, seconds := b.Stats().Closes, 0
		for range 40 {
			time.Sleep(time.Second)
			now := b.Stats().Closes
			if int(now-closes) > mostGiven(19, 1) {
				t.Errorf("%d closed in a second", now-closes)
			}
			if now > closes {
				seconds++
			}
			closes = now
		}
		if conns := openConns(d); conns[0] != 1 {
			t.Errorf("%v after it", conns)
		}
		if fewest := 19 / mostGiven(19, 1); seconds < fewest {
			t.Errorf("all closed within %d different seconds", seconds)
		}
		if _, err := conn.ExecContext(t.Context(), "x"); err != nil {
			t.Errorf("the one in use: %v", err)
		}
		conn.Close()
		// One may give way in a second, so at every second tick at the latest.
		// It is closed when it is put back, or at the third tick after: the
		// first marks it, and the second may come before its turn.
		time.Sleep(3 * mostWait(time.Second))
		synctest.Wait()
		if conns := openConns(d); conns[0] != 0 {
			t.Errorf("%v after it was put back", conns)
		}
	})
}

// The strategies of the package each have a rebalancing of their own. Other
// strategies have none.
func TestRebalanceByStrategy(t *testing.T) {
	var named Strategy
	if err := named.UnmarshalText([]byte("balanced")); err != nil {
		t.Fatal(err)
	}
	for want, s := range map[balance.Goal][]Strategy{
		balance.Shares: {Balanced, named}, balance.First: {Ordered}, balance.Refresh: {Race, Hedged},
		balance.Stay: {inOrder, NewStrategy("mine", Balanced.Plan)},
	} {
		for i := range s {
			if got := (&Config{Strategy: s[i]}).goal(); got != want {
				t.Errorf("%v: %v, want %v", s[i], got, want)
			}
			if got := (&Config{Strategy: s[i], Rebalance: RebalanceFirst}).goal(); got != balance.First {
				t.Errorf("set to first, it is %v", got)
			}
		}
	}
	cfg := DefaultConfig()
	cfg.Rebalance = "fast"
	if err := cfg.validate(); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("there is no %q", "fast")) {
		t.Error(err)
	}
}

// Sessions that worked while their node took no logins are not given up when it
// takes logins again.
func TestSessionsOutliveRefusedLogins(t *testing.T) {
	for _, s := range []Strategy{Ordered, Balanced, Race, Hedged} {
		t.Run(s.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				var told diary
				d := fakeCluster(t, b, 2, WithStrategy(s), WithOnEvent(told.write))
				db := openDB(t, d)
				time.Sleep(time.Second)
				fill(t, db, 4)
				b.Node("n1").Set(fakedb.Script{Err: &mysql.MySQLError{Number: 1045, Message: "Access denied"}})
				x, err := d.Connector().Connect(t.Context())
				if err == nil {
					defer x.Close()
				}
				time.Sleep(10 * time.Second)
				b.Node("n1").Set(fakedb.Script{})
				for range 90 {
					time.Sleep(time.Second)
					if _, err := db.Exec("INSERT"); err != nil {
						t.Error(err)
					}
				}
				for i := range 2 {
					for _, e := range told.of(nodeName(i), EventRetired) {
						t.Errorf("%s: %d retired at %v: %s", e.Node, e.Conns, e.Time.Format("04:05"), e.Reason)
					}
				}
			})
		})
	}
}
