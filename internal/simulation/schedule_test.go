package simulation

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/fakedb"
)

// A schedule is all that a seed decides: the settings, and the steps in
// their order.
type schedule struct {
	seed     uint64
	settings settings
	steps    []step
	ending   ending
	lossless bool // of noFault: callers leave, and that is all
	unclosed bool // at the end a node's Close hangs for an hour
	hangs    bool // OnEvent does not return before the last Close
	hedged   bool // reads are hedged
	flavour  flavour
	sick     []string // the nodes that may have faults

	rand  *rand.Rand // while the steps are drawn
	calls int
}

type settings struct {
	nodes    int
	strategy string
	cfg      clustersql.Config
	cuttable bool // the backend tells its sockets
	single   bool // a call sends one statement
	pooled   int  // SetMaxOpenConns; 0: no bound
	idle     int
	pace     time.Duration // how fast a node is when it is well
	rows     int           // how many rows a query has
}

// A flavour is the kind of faults that a schedule has.
type flavour int

const (
	anyFault   flavour = iota
	freshFault         // faults of new connections alone
	noRoom             // nodes have no room for new connections now and then
	twoGroups          // some Galera nodes form a group of their own
	noFault            // single connections end, and callers leave: no fault of a node
)

// A step is one thing that happens, at a time since the start.
type step struct {
	at   time.Duration
	what string
	do   func(w *world)
}

func newSchedule(seed uint64) *schedule {
	s := &schedule{seed: seed, rand: rand.New(rand.NewPCG(seed, 0x51b))}
	s.flavour = []flavour{anyFault, anyFault, anyFault, freshFault, noFault}[s.rand.IntN(5)]
	if s.flavour == freshFault && s.oneIn(3) {
		s.flavour = noRoom
	}
	if s.flavour == anyFault && s.oneIn(6) {
		s.flavour = twoGroups
	}
	s.drawSettings()
	span := s.between(4*time.Second, 16*time.Second)
	for i := range s.settings.nodes {
		s.sick = append(s.sick, nodeName(i))
	}
	if s.flavour == twoGroups {
		s.drawGroups(s.within(span))
	}
	s.lossless = s.flavour == noFault && s.oneIn(2)
	if s.flavour != noRoom && s.oneIn(2) { // some are well all the time
		s.sick = s.sick[:1+s.rand.IntN(len(s.sick))]
	}
	for range 3 + s.rand.IntN(8) {
		if s.flavour == twoGroups {
			break
		}
		if s.flavour == noFault && s.lossless {
			s.drawCalls(s.within(span))
			continue
		}
		if s.flavour == noFault {
			s.drawEnd(s.within(span))
			continue
		}
		s.drawFault(s.within(span))
	}
	for range 4 + s.rand.IntN(9) {
		s.drawCalls(s.within(span))
	}
	for range s.rand.IntN(6) {
		if s.flavour == anyFault {
			s.drawMembership(s.within(span))
		}
	}
	for range s.rand.IntN(3) {
		s.drawReopen(s.within(span))
	}
	s.drawCalls(span + s.settings.back()) // when all has been well for long
	s.ending = []ending{endWell, endWell, endHealed, endHealed, endTwice, endBeside, endOwn}[s.rand.IntN(7)]
	if s.flavour == anyFault && s.oneIn(4) {
		s.drawSilence(s.within(span))
	}
	if s.flavour == anyFault && s.oneIn(4) {
		s.drawTimeouts(s.within(span) + time.Second)
	}
	if s.flavour == anyFault && s.oneIn(6) {
		s.hangs = s.oneIn(2)
		s.drawHurry(span)
	}
	s.unclosed = s.flavour == anyFault && s.oneIn(8)
	slices.SortStableFunc(s.steps, func(a, b step) int { return int(a.at - b.at) })
	return s
}

// String gives the seed and the settings.
func (s *schedule) String() string {
	c := &s.settings.cfg
	return fmt.Sprintf("seed %d: %d nodes, strategy %s, cuttable %t, single %t, pool %d, idle %d, idempotent %t, rise %d, fall %d, probe %s/%s, open_timeout %s, attempt_timeout %s, loser_grace %s, late_after %s, max_opens_per_node %d, require %q",
		s.seed, s.settings.nodes, s.settings.strategy, s.settings.cuttable, s.settings.single, s.settings.pooled, s.settings.idle,
		c.Idempotent, c.Rise, c.Fall, c.ProbeInterval, c.ProbeTimeout, c.OpenTimeout, c.AttemptTimeout, c.LoserGrace, c.LateAfter, c.MaxOpensPerNode, c.Require)
}

// hedgedSchedule returns a schedule whose reads are hedged.
func hedgedSchedule(seed uint64) *schedule {
	s := newSchedule(seed)
	s.hedged, s.settings.cuttable = true, true
	s.settings.cfg.HedgeReads = true
	s.settings.cfg.HedgeAfter = []time.Duration{time.Millisecond, 5 * time.Millisecond, 20 * time.Millisecond}[seed%3]
	span := s.steps[len(s.steps)-1].at
	for range 60 { // reads, some of which meet a node that is slow or silent
		var calls []*call
		for range 1 + s.rand.IntN(8) {
			s.calls++
			calls = append(calls, &call{number: s.calls, kind: kindQuery, verb: 1 + s.rand.IntN(7), timeout: s.between(50*time.Millisecond, 5*time.Second)})
		}
		s.add(s.within(span), func(w *world) {
			for _, c := range calls {
				w.start(c)
			}
		}, "%d reads", len(calls))
	}
	for range 12 { // a node is silent for a moment
		if s.flavour != anyFault { // nothing of the kind happens there
			break
		}
		at, name := s.within(span), nodeName(s.rand.IntN(s.settings.nodes))
		s.add(at, func(w *world) {
			w.setMood([]string{name}, mood{"silent", fakedb.Mood{Silent: true, Delay: w.plan.settings.pace}, false})
		}, "%s is silent", name)
		for i := range 4 {
			s.calls++
			c := &call{number: s.calls, kind: kindQuery, verb: 1 + s.rand.IntN(7), timeout: 5 * time.Second}
			s.add(at+time.Duration(i+1), func(w *world) { w.start(c) }, "%s", c)
		}
		s.add(at+s.between(100*time.Millisecond, time.Second), func(w *world) { w.setMood([]string{name}, w.well()) }, "%s is not silent any more", name)
	}
	slices.SortStableFunc(s.steps, func(a, b step) int { return int(a.at - b.at) })
	return s
}

func (s *schedule) oneIn(n int) bool { return s.rand.IntN(n) == 0 }

// between draws a duration to the nanosecond: two events seldom meet.
func (s *schedule) between(least, most time.Duration) time.Duration {
	return least + time.Duration(s.rand.Int64N(int64(most-least)))
}

func (s *schedule) within(span time.Duration) time.Duration { return s.between(1, span) }

func (s *schedule) add(at time.Duration, do func(w *world), format string, args ...any) {
	s.steps = append(s.steps, step{at, fmt.Sprintf(format, args...), do})
}

func (s *schedule) drawSettings() {
	cfg := clustersql.DefaultConfig()
	cfg.Dialect = clustersql.DialectMySQL // its rules for statements and errors, over fakedb
	cfg.Idempotent = s.oneIn(3)
	cfg.Rise, cfg.Fall = 1+s.rand.IntN(3), 1+s.rand.IntN(3)
	cfg.ProbeInterval = s.between(200*time.Millisecond, 2*time.Second)
	cfg.ProbeTimeout = s.between(100*time.Millisecond, cfg.ProbeInterval)
	cfg.AttemptTimeout = s.between(300*time.Millisecond, 3*time.Second)
	cfg.OpenTimeout = s.between(cfg.AttemptTimeout, 6*time.Second)
	cfg.LoserGrace = s.between(50*time.Millisecond, time.Second)
	cfg.DrainTimeout = s.between(time.Second, 5*time.Second)
	cfg.MaxOpensPerNode = 1 + s.rand.IntN(8)
	cfg.LateAfter = []time.Duration{0, s.between(time.Millisecond, 100*time.Millisecond), cfg.LateAfter}[s.rand.IntN(3)]
	cfg.Check = clustersql.CheckDo1
	if s.oneIn(4) {
		cfg.Check = clustersql.CheckPing
	}
	if s.oneIn(4) {
		cfg.Require = clustersql.RequireWritable
	}
	names := []string{"race", "hedged", "balanced", "ordered"}
	s.settings = settings{
		nodes: 1 + s.rand.IntN(5), strategy: names[s.rand.IntN(len(names))], cfg: cfg,
		cuttable: s.oneIn(2), single: !s.oneIn(3), pooled: []int{0, 0, 1, 3, 8}[s.rand.IntN(5)],
		idle: []int{0, 2, 8, 16}[s.rand.IntN(4)], pace: s.between(time.Millisecond, 20*time.Millisecond),
		rows: 1 + s.rand.IntN(3),
	}
	if s.flavour == freshFault || s.flavour == noFault { // no connection has a reason to leave the pool
		s.settings.idle = 1000
		s.settings.cfg.Rebalance = clustersql.RebalanceOff
	}
	if s.flavour == twoGroups {
		s.drawGalera()
	}
	if err := s.settings.cfg.Strategy.UnmarshalText([]byte(s.settings.strategy)); err != nil {
		panic(err)
	}
}

func (s *schedule) drawReopen(at time.Duration) {
	overlap := s.oneIn(2)
	s.add(at, func(w *world) { w.reopen(overlap) }, "the database is closed and opened again, overlapping %t", overlap)
}

// drawCalls draws a burst of calls.
func (s *schedule) drawCalls(at time.Duration) {
	var texts []string
	var calls []*call
	kinds := []kind{kindExec, kindExec, kindExec, kindQuery, kindQuery, kindTx, kindTx, kindConn, kindPrepared, kindPing, kindLeave, kindRaw}
	for range []int{1, 1, 2, 4, 12}[s.rand.IntN(5)] {
		s.calls++
		c := &call{
			number: s.calls, kind: kinds[s.rand.IntN(len(kinds))], statements: 1 + s.rand.IntN(3),
			verb: s.rand.IntN(8), idempotent: s.oneIn(5), hold: s.between(1, 400*time.Millisecond), commit: !s.oneIn(3), stubborn: s.oneIn(3),
		}
		if !s.oneIn(6) {
			c.timeout = s.between(20*time.Millisecond, 5*time.Second)
		}
		if s.oneIn(6) {
			c.cancel = s.between(1, 500*time.Millisecond)
		}
		if c.kind == kindRaw {
			c.hold *= 8
		}
		calls = append(calls, c)
		texts = append(texts, c.String())
	}
	s.add(at, func(w *world) {
		for _, c := range calls {
			w.start(c)
		}
	}, "%s", strings.Join(texts, "; "))
}

func nodeName(i int) string { return fmt.Sprintf("n%d", i+1) }
