package clustersql

import (
	"context"
	"database/sql"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql/internal/fakedb"
	"github.com/EnumApps/clustersql/internal/galeratest"
	"github.com/EnumApps/clustersql/internal/health"
	"github.com/EnumApps/clustersql/internal/race"
	"github.com/EnumApps/clustersql/internal/seedtest"
)

// hungMost is the longest that a call may hang on a frozen node: late_after, the
// rest of the gap to the probe before, and two probes.
var hungMost = DefaultConfig().LateAfter + health.PromptGap + 2*confirmLeast

// hungCalls are the calls that may hang. Each prepares what it needs on a healthy
// node, and returns what is called while the node is frozen.
var hungCalls = map[string]func(t *testing.T, db *sql.DB) func(context.Context) error{
	"exec": func(_ *testing.T, db *sql.DB) func(context.Context) error {
		return func(ctx context.Context) error { _, err := db.ExecContext(ctx, "INSERT"); return err }
	},
	"query": func(_ *testing.T, db *sql.DB) func(context.Context) error {
		return func(ctx context.Context) error {
			rows, err := db.QueryContext(ctx, "SELECT")
			if err == nil {
				err = rows.Close()
			}
			return err
		}
	},
	"prepared": func(t *testing.T, db *sql.DB) func(context.Context) error {
		conn := connOf(t, db)
		s, err := conn.PrepareContext(t.Context(), "INSERT")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return func(ctx context.Context) error { _, err := s.ExecContext(ctx); return err }
	},
	"prepare": func(t *testing.T, db *sql.DB) func(context.Context) error {
		conn := connOf(t, db)
		return func(ctx context.Context) error { _, err := conn.PrepareContext(ctx, "INSERT"); return err }
	},
	"begin": func(t *testing.T, db *sql.DB) func(context.Context) error {
		conn := connOf(t, db)
		return func(ctx context.Context) error { _, err := conn.BeginTx(ctx, nil); return err }
	},
	"in a transaction": func(t *testing.T, db *sql.DB) func(context.Context) error {
		tx := txOf(t, db)
		return func(ctx context.Context) error { _, err := tx.ExecContext(ctx, "INSERT"); return err }
	},
	"commit": func(t *testing.T, db *sql.DB) func(context.Context) error {
		tx := txOf(t, db)
		return func(context.Context) error { return tx.Commit() }
	},
	"rollback": func(t *testing.T, db *sql.DB) func(context.Context) error {
		tx := txOf(t, db)
		return func(context.Context) error { return tx.Rollback() }
	},
	"ping": func(t *testing.T, db *sql.DB) func(context.Context) error {
		conn := connOf(t, db)
		return conn.PingContext
	},
}

func connOf(t *testing.T, db *sql.DB) *sql.Conn {
	t.Helper()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func txOf(t *testing.T, db *sql.DB) *sql.Tx {
	t.Helper()
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback() })
	return tx
}

// usedNodes returns nodes that answer in a millisecond, and a pool with connections of
// the first of them, whose cluster has probed them for a while. The diary has its events.
func usedNodes(t *testing.T, nodes, conns int, probed time.Duration, opts ...Option) (*fakedb.Backend, *diary, *sql.DB) {
	t.Helper()
	b, told := fakedb.New(), new(diary)
	b.OnSocket(TrackSocket)
	for i := range nodes {
		b.Node(nodeName(i)).SetMood(fakedb.Mood{Delay: time.Millisecond})
	}
	db := openDB(t, fakeCluster(t, b, nodes, append(opts, WithStrategy(Ordered), WithOnEvent(told.write))...))
	time.Sleep(probed)
	fill(t, db, conns)
	synctest.Wait()
	return b, told, db
}

// A call of any kind that hangs on a frozen node returns soon, whenever the node
// freezes between two probes, and nothing happens to the other nodes.
func TestHungCallsReturnSoon(t *testing.T) {
	step := 1
	if testing.Short() || race.Enabled { // without it all phases have a run of their own
		step = 7
	}
	for name, prepare := range hungCalls {
		t.Run(name, func(t *testing.T) {
			worst := time.Duration(0)
			for phase := 0; phase < 170; phase += step {
				synctest.Test(t, func(t *testing.T) {
					b, told, db := usedNodes(t, 3, 2, 3*time.Second+time.Duration(phase)*7*time.Millisecond, WithSeed(uint64(phase)+1))
					call := prepare(t, db)
					synctest.Wait()
					b.Node("n1").SetMood(fakedb.Mood{Silent: true})
					began := time.Now()
					err := call(t.Context())
					took := time.Since(began)
					worst = max(worst, took)
					if err == nil || took > hungMost {
						t.Errorf("phase %d: %v after %s; %s are allowed", phase, err, took, hungMost)
					}
					time.Sleep(3 * time.Second)
					for i := 1; i < 3; i++ {
						if bad := alarms(told, nodeName(i)); len(bad) > 0 {
							t.Errorf("phase %d: %v", phase, bad)
						}
					}
				})
			}
			t.Logf("%s at worst", worst)
		})
	}
}

// alarms returns the events by which silence, or what follows from it, is told of.
func alarms(told *diary, node string) (bad []Event) {
	for _, e := range told.of(node, EventState, EventRetired, EventCut, EventLost) {
		if e.To == StateDown || e.Kind == EventCut || e.Kind == EventLost || e.Cause == health.Silent.String() {
			bad = append(bad, e)
		}
	}
	return bad
}

// Calls hang for 800 ms, and probes with them. Without late calls no probe would
// have been that long without an answer for two times. If all nodes are silent, or
// there is no other one, nothing is done that would not have been done then.
func TestShortSilenceOfAllIsNoAlarm(t *testing.T) {
	const pause = 800 * time.Millisecond
	for _, nodes := range []int{1, 3} {
		t.Run(nodeName(nodes-1), func(t *testing.T) {
			for phase := range 60 {
				synctest.Test(t, func(t *testing.T) {
					b, told, db := usedNodes(t, nodes, 2, 3*time.Second+time.Duration(phase)*20*time.Millisecond, WithSeed(uint64(phase)+1))
					set := func(m fakedb.Mood) {
						for i := range nodes {
							b.Node(nodeName(i)).SetMood(m)
						}
					}
					set(fakedb.Mood{Silent: true})
					time.AfterFunc(pause, func() { set(fakedb.Mood{Delay: time.Millisecond}) })
					if _, err := db.Exec("INSERT"); err != nil {
						t.Errorf("phase %d: %v", phase, err)
					}
					time.Sleep(5 * time.Second)
					for i := range nodes {
						for _, e := range alarms(told, nodeName(i)) {
							if e.To != StateSuspect {
								t.Errorf("phase %d: %+v", phase, e)
							}
						}
					}
				})
			}
		})
	}
}

// With late_after off nothing is asked for, and a reload turns it on for connections
// that are open.
func TestLateAfterIsLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		b.OnSocket(TrackSocket)
		for i := range 3 {
			b.Node(nodeName(i)).SetMood(fakedb.Mood{})
		}
		d := fakeCluster(t, b, 3, WithStrategy(Ordered), WithLateAfter(0), WithProbe(10*time.Second, 2*time.Second))
		db := openDB(t, d)
		time.Sleep(time.Minute)
		fill(t, db, 1)
		probes := d.Status().Nodes[0].Probes
		b.Node("n1").SetMood(fakedb.Mood{Delay: time.Second})
		ask := func() {
			if _, err := db.Exec("INSERT"); err != nil {
				t.Error(err)
			}
		}
		ask()
		if more := d.Status().Nodes[0].Probes - probes; more > 1 { // the regular one may be among them
			t.Errorf("%d probes more", more)
		}
		time.Sleep(10 * time.Second)
		b.Node("n1").SetMood(fakedb.Mood{})
		time.Sleep(15 * time.Minute) // more than 64 probes: the slow ones are forgotten
		if _, err := d.Apply(d.Describe().Nodes, WithLateAfter(40*time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		fill(t, db, 1)
		synctest.Wait()
		b.Node("n1").SetMood(fakedb.Mood{Silent: true})
		began := time.Now()
		if _, err := db.Exec("INSERT"); err == nil || time.Since(began) > hungMost {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
}

// An hour is a cluster of three nodes under callers of one node, while the
// answers of its nodes take what answer says.
type hour struct {
	callers int
	galera  bool // the nodes show their status: a check of it has two statements
	opts    []Option
	// answer returns how long a node takes for a connect (the query is empty then) or a statement.
	answer func(w *weather, node int, query string) time.Duration
	probes uint64        // of the first node, in all
	took   time.Duration // until they were counted
}

// A weather is what the answers of an hour depend on.
type weather struct {
	mu    sync.Mutex
	rand  *rand.Rand
	began time.Time
	until time.Time // of what goes on
	next  time.Time // when the next of that begins
}

func (w *weather) float() float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rand.Float64()
}

// spell returns how much is left of what goes on now: it begins about every gap and
// lasts for as long.
func (w *weather) spell(gap, lasts time.Duration) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if w.next.IsZero() {
		w.next = now.Add(gap)
	}
	if !now.Before(w.next) {
		w.until = w.next.Add(time.Duration(float64(lasts) * (0.5 + w.rand.Float64())))
		w.next = now.Add(time.Duration(float64(gap) * (0.5 + w.rand.Float64())))
	}
	return max(0, w.until.Sub(now))
}

// tail draws a time with a heavy tail: median, and one in a hundred takes ten times
// as long.
func (w *weather) tail(median time.Duration) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Duration(float64(median) * math.Exp(w.rand.NormFloat64()))
}

func writes(query string) bool { return query == "INSERT" || query == "COMMIT" }

// hours are the nodes that a late call must not take for frozen.
var hours = map[string]hour{
	"the node is loaded": {callers: 16, answer: func(w *weather, node int, query string) time.Duration {
		if node > 0 {
			return w.tail(time.Millisecond)
		}
		return min(w.tail(20*time.Millisecond), 400*time.Millisecond)
	}},
	"the node is slow": {callers: 8, answer: func(w *weather, node int, query string) time.Duration {
		if node > 0 || time.Since(w.began) < 10*time.Minute {
			return time.Millisecond
		}
		return 100 * time.Millisecond // after ten minutes in which it was fast: 200 ms for a dial and its check
	}},
	"the node slows down by 100 ms": slowing(100*time.Millisecond, 8),
	"the node slows down by 150 ms": slowing(150*time.Millisecond, 8),
	"the node slows down by 200 ms": slowing(200*time.Millisecond, 8),
	"the node slows down by 250 ms": slowing(250*time.Millisecond, 8),
	"one call at a time":            slowing(150*time.Millisecond, 1),
	"the node is slow now and then": flapping(150*time.Millisecond, 8),
	"very slow now and then":        flapping(250*time.Millisecond, 8),
	"flow control": {callers: 8, answer: func(w *weather, node int, query string) time.Duration {
		if writes(query) {
			return time.Millisecond + w.spell(5*time.Second, 2*time.Second)
		}
		return time.Millisecond
	}},
	"the group's pause": {callers: 8, answer: func(w *weather, node int, query string) time.Duration {
		if writes(query) || query == "SELECT causal" {
			return time.Millisecond + w.spell(30*time.Second, 6*time.Second)
		}
		return time.Millisecond
	}},
	// A spell is 525 ms at most, and a probe has two answers of 31 ms: less than the 600 ms
	// after which any probe is silent, however late the calls are.
	"the client gets no turn": {callers: 16, answer: func(w *weather, node int, query string) time.Duration {
		return time.Millisecond + w.spell(3*time.Second, 350*time.Millisecond) + time.Duration(w.float()*float64(30*time.Millisecond))
	}},
}

// slowing returns an hour in which the first node was fast for ten minutes, and takes
// that much longer for every answer from then on.
func slowing(more time.Duration, callers int) hour {
	return hour{callers: callers, galera: true, answer: func(w *weather, node int, query string) time.Duration {
		if node > 0 || time.Since(w.began) < 10*time.Minute {
			return time.Millisecond
		}
		return answers(query) * (time.Millisecond + more)
	}}
}

// flapping is slowing that goes on for five seconds, each half a minute.
func flapping(more time.Duration, callers int) hour {
	return hour{callers: callers, galera: true, answer: func(w *weather, node int, query string) time.Duration {
		if node > 0 || w.spell(30*time.Second, 5*time.Second) == 0 {
			return time.Millisecond
		}
		return answers(query) * (time.Millisecond + more)
	}}
}

// answers returns how many answers of the server a connect or a statement takes: a
// connect has a greeting and the answer to the login.
func answers(query string) time.Duration {
	if query == "" {
		return 2
	}
	return 1
}

// An hour of late calls raises no alarm where no node is frozen.
func TestLateCallsRaiseNoFalseAlarm(t *testing.T) {
	lasts := time.Hour
	if testing.Short() || race.Enabled { // without it the hours have a run of their own
		lasts = 15 * time.Minute
	}
	for name, h := range hours {
		t.Run(name, func(t *testing.T) {
			seed := seedtest.Of(t)
			synctest.Test(t, func(t *testing.T) { h.pass(t, seed, lasts) })
		})
	}
}

func (h *hour) pass(t *testing.T, seed uint64, lasts time.Duration) {
	b, told := fakedb.New(), new(diary)
	b.OnSocket(TrackSocket)
	w := &weather{rand: rand.New(rand.NewPCG(seed, 0)), began: time.Now()}
	d := NewDriver(b.Driver(), t.Name(), append([]Option{quiet, WithStrategy(Ordered), WithSeed(seed), WithOnEvent(told.write)}, h.opts...)...)
	defer d.Close()
	for i := range 3 {
		if h.galera {
			galeratest.Node(b.Node(nodeName(i)))
		}
		b.Node(nodeName(i)).SetMood(fakedb.Mood{Takes: func(query string) time.Duration { return h.answer(w, i, query) }})
		if err := d.AddNode(nodeName(i), nodeName(i)); err != nil {
			t.Fatal(err)
		}
	}
	db := openDB(t, d)
	db.SetMaxIdleConns(h.callers)
	var late, calls int
	var mu sync.Mutex
	var callers sync.WaitGroup
	end := time.Now().Add(lasts)
	for i := range h.callers {
		callers.Go(func() {
			for time.Now().Before(end) {
				began := time.Now()
				query := []string{"INSERT", "SELECT", "SELECT causal"}[i%3]
				if _, err := db.Exec(query); err != nil {
					t.Errorf("after %s: %v", time.Since(w.began), err)
				}
				mu.Lock()
				if calls++; time.Since(began) > d.Config().LateAfter {
					late++
				}
				mu.Unlock()
				time.Sleep(time.Duration(w.float() * float64(time.Second)))
			}
		})
	}
	callers.Wait()
	for i := range 3 {
		if bad := alarms(told, nodeName(i)); len(bad) > 0 {
			t.Errorf("%d alarms, the first: %+v", len(bad), bad[0])
		}
	}
	s := d.Status().Nodes[0]
	h.probes, h.took = s.Probes, time.Since(w.began)
	t.Logf("%d calls, %d late; %d probes of n1, the slowest %s", calls, late, s.Probes, s.ProbeLatency.Percentile(1))
	if late < 100 {
		t.Errorf("%d late calls in %s show nothing", late, lasts)
	}
}

// A node whose calls are always late is probed a little more often than without
// them: once in health.PromptEvery, after a burst.
func TestLateCallsAskForFewProbes(t *testing.T) {
	seed := seedtest.Of(t)
	synctest.Test(t, func(t *testing.T) {
		h := hour{callers: 8, answer: func(_ *weather, node int, query string) time.Duration {
			if writes(query) || query == "SELECT" {
				return 100 * time.Millisecond
			}
			return time.Millisecond
		}}
		lasts := time.Hour
		if testing.Short() {
			lasts = 15 * time.Minute
		}
		h.pass(t, seed, lasts)
		most := mostRegular(h.took) + int(h.took/health.PromptEvery) + health.PromptBurst
		if n := int(h.probes); n > most || n < int(lasts*5/3/time.Second) {
			t.Errorf("%d probes in %v, want at most %d", n, h.took, most)
		}
	})
}

// mostRegular returns how many regular probes a node has in a time, but for a chance of
// 1e-10. The first comes at once. The waits between them are drawn from 80 to 120
// percent of the interval, and shortened by less than a tick: that n of them together
// are shorter than their mean by x seconds has a chance of at most exp(-2x²/(n·0.4²)).
// See Hoeffding, "Probability Inequalities for Sums of Bounded Random Variables",
// 1963, theorem 2.
func mostRegular(took time.Duration) int {
	const chance, width, tick = 1e-10, 0.4, 1.0 / health.ProbeTicks
	for n := 1.0; ; n++ {
		x := n*(1-tick) - took.Seconds()
		if x > 0 && math.Exp(-2*x*x/(n*width*width)) < chance {
			return int(n)
		}
	}
}

// A node whose connections are silent and which takes no new one is not known to be
// frozen: it may be the network, which delays or loses packets. It is judged as if no
// call had been late.
func TestNoConnectionIsNoProof(t *testing.T) {
	for phase := range 20 {
		synctest.Test(t, func(t *testing.T) {
			b, told, db := usedNodes(t, 3, 4, 3*time.Second+time.Duration(phase)*50*time.Millisecond, WithSeed(uint64(phase)+1))
			b.Node("n1").SetMood(fakedb.Mood{Silent: true, Filtered: true})
			time.AfterFunc(DefaultConfig().ProbeTimeout, func() { b.Node("n1").SetMood(fakedb.Mood{Delay: time.Millisecond}) })
			if _, err := db.Exec("INSERT"); err != nil {
				t.Errorf("phase %d: %v", phase, err)
			}
			time.Sleep(5 * time.Second)
			for _, e := range alarms(told, "n1") {
				if e.To != StateSuspect {
					t.Errorf("phase %d: %+v", phase, e)
				}
			}
		})
	}
}

// A node that suddenly takes so much longer that it cannot be told from a frozen one is
// cut once. Then its times are known.
func TestOneMistakeIsEnough(t *testing.T) {
	for _, more := range []time.Duration{350 * time.Millisecond, 450 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			b, told, db := usedNodes(t, 3, 1, 10*time.Second)
			b.Node("n1").SetMood(fakedb.Mood{Delay: more})
			for range 600 {
				_, _ = db.Exec("INSERT")
				time.Sleep(100 * time.Millisecond)
			}
			if cuts := told.of("n1", EventCut); len(cuts) != 1 {
				t.Errorf("%s more: %d cuts: %+v", more, len(cuts), cuts)
			}
		})
	}
}
