package simulation

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/go-sql-driver/mysql"

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
	hangs    bool // OnEvent does not return before the last Close
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
	s.drawSettings()
	span := s.between(4*time.Second, 16*time.Second)
	for i := range s.settings.nodes {
		s.sick = append(s.sick, nodeName(i))
	}
	if s.flavour != noRoom && s.oneIn(2) { // some are well all the time
		s.sick = s.sick[:1+s.rand.IntN(len(s.sick))]
	}
	for range 3 + s.rand.IntN(8) {
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
	s.ending = []ending{endWell, endWell, endHealed, endHealed, endTwice, endBeside}[s.rand.IntN(6)]
	if s.flavour == anyFault && s.oneIn(4) {
		s.drawSilence(s.within(span))
	}
	if s.flavour == anyFault && s.oneIn(4) {
		s.drawTimeouts(s.within(span) + time.Second)
	}
	if s.flavour == anyFault && s.oneIn(6) {
		s.drawHurry(span)
	}
	slices.SortStableFunc(s.steps, func(a, b step) int { return int(a.at - b.at) })
	return s
}

// String gives the seed and the settings.
func (s *schedule) String() string {
	c := &s.settings.cfg
	return fmt.Sprintf("seed %d: %d nodes, strategy %s, cuttable %t, single %t, pool %d, idle %d, idempotent %t, rise %d, fall %d, probe %s/%s, open_timeout %s, attempt_timeout %s, loser_grace %s, max_opens_per_node %d, require %q",
		s.seed, s.settings.nodes, s.settings.strategy, s.settings.cuttable, s.settings.single, s.settings.pooled, s.settings.idle,
		c.Idempotent, c.Rise, c.Fall, c.ProbeInterval, c.ProbeTimeout, c.OpenTimeout, c.AttemptTimeout, c.LoserGrace, c.MaxOpensPerNode, c.Require)
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
	if err := s.settings.cfg.Strategy.UnmarshalText([]byte(s.settings.strategy)); err != nil {
		panic(err)
	}
}

var (
	errRefused   = &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	errReset     = &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	errSaturated = &mysql.MySQLError{Number: 1040, Message: "Too many connections"}
	errNotReady  = &mysql.MySQLError{Number: 1047, Message: "WSREP has not yet prepared node for application use"}
	errLeaving   = &mysql.MySQLError{Number: 1180, Message: "Got error 5 during COMMIT, provider status: Not connected to Primary Component"}
	errReadOnly  = &mysql.MySQLError{Number: 1290, Message: "The MariaDB server is running with the --read-only option"}
	errDenied    = &mysql.MySQLError{Number: 1045, Message: "Access denied"}
	errBlocked   = &mysql.MySQLError{Number: 1129, Message: "Host is blocked because of many connection errors"}
	errNoRoute   = &net.OpError{Op: "dial", Net: "tcp", Err: syscall.EHOSTUNREACH}
	errBoom      = errors.New("boom")
	errNil       = (*mysql.MySQLError)(nil) // its methods panic
)

// mood is one way of a node to be bad.
type mood struct {
	name     string
	mood     fakedb.Mood
	readOnly bool
}

// well is the mood of a node that is well.
func (s *schedule) well() mood {
	return mood{name: "well", mood: fakedb.Mood{Delay: s.settings.pace}}
}

// drawHarmless draws a way in which a node, or what is on the way to it, refuses
// new connections and leaves established ones alone.
func (s *schedule) drawHarmless() mood {
	unknown := &net.DNSError{Err: "no such host", Name: "db", IsNotFound: true}
	failing := &net.DNSError{Err: "server misbehaving", Name: "db", IsTimeout: true, IsTemporary: true}
	well := s.settings.pace
	moods := []mood{
		{"login refused", fakedb.Mood{Dial: errDenied, Delay: well}, false},
		{"host blocked", fakedb.Mood{Dial: errBlocked, Delay: well}, false},
		{"name unknown", fakedb.Mood{Dial: unknown, Delay: well}, false},
		{"name service fails", fakedb.Mood{Dial: failing, Delay: well}, false},
		{"no file left", fakedb.Mood{Dial: &net.OpError{Op: "dial", Net: "tcp", Err: syscall.EMFILE}, Delay: well}, false},
		{"full", fakedb.Mood{Dial: errSaturated, Delay: well}, false},
		{"bad luck", fakedb.Mood{Dial: errBoom, Delay: well}, false},
		{"name service silent", fakedb.Mood{Unnamed: true, Delay: well}, false},
		{"an address of nobody", fakedb.Mood{Dial: errNoRoute, Delay: well}, false},
	}
	return moods[s.rand.IntN(len(moods))]
}

func (s *schedule) drawMood() mood {
	if s.flavour == noRoom {
		return mood{"full", fakedb.Mood{Dial: errSaturated, Delay: s.settings.pace}, false}
	}
	if s.flavour == freshFault || s.oneIn(5) {
		return s.drawHarmless()
	}
	slow := s.between(50*time.Millisecond, 3*time.Second)
	well := s.settings.pace
	moods := []mood{
		{"refuse", fakedb.Mood{Dial: errRefused, Delay: well}, false},
		{"silent", fakedb.Mood{Silent: true}, false},
		{"silent and deaf", fakedb.Mood{Silent: true, Deaf: true}, false},
		{"not ready", fakedb.Mood{Refuse: errNotReady, Delay: well}, false},
		{"not ready", fakedb.Mood{Refuse: errNotReady, Delay: well}, false}, // twice as likely
		{"read-only", fakedb.Mood{ReadOnly: errReadOnly, Delay: well}, true},
		{"full", fakedb.Mood{Dial: errSaturated, Delay: well}, false},
		{"slow " + slow.String(), fakedb.Mood{Delay: slow}, false},
		{"slow and deaf " + slow.String(), fakedb.Mood{Delay: slow, Deaf: true}, false},
		{"EOF at dials", fakedb.Mood{Dial: io.EOF, Delay: well}, false},
		{"bad conn at dials", fakedb.Mood{Dial: driver.ErrBadConn, Delay: well}, false},
		{"bad luck", fakedb.Mood{Dial: errBoom, Delay: well}, false},
		{"panics", fakedb.Mood{Panic: true, Delay: well}, false},
		{"leaving", fakedb.Mood{Late: errLeaving, Delay: well}, false},
		{"answers are lost", fakedb.Mood{Late: errReset, Delay: well}, false},
		{"times out", fakedb.Mood{Silent: true, Timeout: slow / 10}, false},
		{"a nil error", fakedb.Mood{Refuse: errNil, Delay: well}, false},
		{"nil errors at dials", fakedb.Mood{Dial: errNil, Delay: well}, false},
		{"no new connection gets an answer", fakedb.Mood{Filtered: true, Delay: well}, false},
	}
	return moods[s.rand.IntN(len(moods))]
}

// drawFault draws one fault and its end: of one node, of all, or flipping.
func (s *schedule) drawFault(at time.Duration) {
	m, lasts := s.drawMood(), s.between(50*time.Millisecond, 8*time.Second)
	nodes := []string{s.sick[s.rand.IntN(len(s.sick))]}
	if s.oneIn(5) || s.flavour == noRoom {
		nodes = s.sick
	}
	if s.flavour == noRoom && s.oneIn(2) {
		lasts /= 100
	}
	times := 1
	if s.oneIn(6) {
		times, lasts = 2+s.rand.IntN(8), 500*time.Millisecond
	}
	for range times {
		s.add(at, func(w *world) { w.setMood(nodes, m) }, "%s: %s", strings.Join(nodes, ", "), m.name)
		if s.oneIn(3) && s.flavour == anyFault {
			s.drawBreak(at, nodes)
		}
		if times == 1 { // before anybody has noticed
			s.drawCalls(at + s.between(1, 50*time.Millisecond))
		}
		s.add(at+lasts, func(w *world) { w.setMood(nodes, w.well()) }, "%s: well", strings.Join(nodes, ", "))
		at += 2 * lasts
	}
	if s.oneIn(2) && s.flavour == anyFault {
		s.drawBreak(at, nodes)
	}
}

func (s *schedule) drawBreak(at time.Duration, nodes []string) {
	errs := []error{mysql.ErrInvalidConn, io.ErrUnexpectedEOF, errReset}
	err, hidden := errs[s.rand.IntN(len(errs))], s.oneIn(3)
	s.add(at, func(w *world) {
		w.lose(nodes, err, hidden)
	}, "%s: conns break, hidden %t: %v", strings.Join(nodes, ", "), hidden, err)
}

// drawSilence draws a node, or all, that fall silent for long, half of them after
// another fault. Callers without a deadline hang there.
func (s *schedule) drawSilence(at time.Duration) {
	nodes := []string{s.sick[s.rand.IntN(len(s.sick))]}
	if s.oneIn(3) {
		nodes = s.sick
	}
	s.drawCalls(at - 1)
	if s.oneIn(2) {
		m := s.drawMood()
		s.add(at, func(w *world) { w.setMood(nodes, m) }, "%s: %s", strings.Join(nodes, ", "), m.name)
		at += s.between(1, 2*time.Second)
		s.drawCalls(at - 1)
	}
	end := at + s.between(30*time.Second, time.Minute)
	s.add(at, func(w *world) { w.setMood(nodes, mood{"silent", fakedb.Mood{Silent: true}, false}) }, "%s: silent for long", strings.Join(nodes, ", "))
	for ; at < end; at += 5 * time.Second {
		s.add(at, func(*world) {}, "time passes")
	}
	s.add(end, func(w *world) { w.setMood(nodes, w.well()) }, "%s: well", strings.Join(nodes, ", "))
}

// drawTimeouts draws nodes whose statements time out, and whose connections work
// on until the answer to what comes next is lost.
func (s *schedule) drawTimeouts(at time.Duration) {
	timeout := s.between(10*time.Millisecond, 300*time.Millisecond)
	steps := []mood{
		{"times out", fakedb.Mood{Silent: true, Timeout: timeout}, false},
		{"answers are lost", fakedb.Mood{Late: errReset, Delay: s.settings.pace}, false},
		s.well(),
	}
	for range 3 {
		s.drawCalls(at - s.between(1, 300*time.Millisecond))
	}
	for _, m := range steps {
		s.add(at, func(w *world) { w.setMood(s.sick, m) }, "%s: %s", strings.Join(s.sick, ", "), m.name)
		at += timeout + s.between(1, 100*time.Millisecond)
	}
}

// drawEnd draws that the server ends connections that no statement is on.
func (s *schedule) drawEnd(at time.Duration) {
	errs := []error{mysql.ErrInvalidConn, io.ErrUnexpectedEOF, errReset}
	err, hidden, one := errs[s.rand.IntN(len(errs))], s.oneIn(3), s.oneIn(2)
	s.add(at, func(w *world) { w.endIdle(err, hidden, one) }, "idle connections are ended, only one %t, hidden %t: %v", one, hidden, err)
}

// drawHurry draws a node that changes often.
func (s *schedule) drawHurry(at time.Duration) {
	name, m, times := nodeName(s.rand.IntN(s.settings.nodes)), s.drawMood(), 50+s.rand.IntN(100)
	s.add(at, func(w *world) { w.hurry(name, times, m) }, "%s: %d times %s, and well again", name, times, m.name)
}

func (s *schedule) drawMembership(at time.Duration) {
	name := nodeName(s.rand.IntN(s.settings.nodes))
	if s.oneIn(6) {
		s.add(at, func(w *world) { w.rivals(name) }, "%s: Undrain beside DelNode", name)
		return
	}
	away := s.between(1, 6*time.Second)
	if s.oneIn(2) {
		s.add(at, func(w *world) { w.drain(name) }, "Drain %s", name)
		s.add(at+away, func(w *world) { _ = w.driver.Undrain(name) }, "Undrain %s", name)
		return
	}
	s.add(at, func(w *world) { w.delNode(name) }, "DelNode %s", name)
	s.add(at+away, func(w *world) { w.addNode(name) }, "AddNode %s", name)
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
