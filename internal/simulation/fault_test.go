package simulation

import (
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql/internal/fakedb"
)

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
		{"an address where nobody listens", fakedb.Mood{Dial: errRefused, Delay: well}, false},
		{"no new connection gets an answer", fakedb.Mood{Filtered: true, Delay: well}, false},
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
	s.drawHolders(at - 1)
	if s.oneIn(2) {
		m := s.drawMood()
		s.add(at, func(w *world) { w.setMood(nodes, m) }, "%s: %s", strings.Join(nodes, ", "), m.name)
		at += s.between(1, time.Second)
		s.drawCalls(at - 1)
	}
	end := at + s.between(time.Minute, 2*time.Minute)
	s.add(at, func(w *world) { w.setMood(nodes, mood{"silent", fakedb.Mood{Silent: true}, false}) }, "%s: silent for long", strings.Join(nodes, ", "))
	for ; at < end; at += 5 * time.Second {
		s.add(at, func(*world) {}, "time passes")
	}
	s.add(end, func(w *world) { w.setMood(nodes, w.well()) }, "%s: well", strings.Join(nodes, ", "))
}

// drawHolders draws callers that keep a connection for some time, whatever comes
// of their statements, and have no deadline.
func (s *schedule) drawHolders(at time.Duration) {
	for range 4 {
		s.calls++
		c := &call{
			number: s.calls, kind: []kind{kindTx, kindConn}[s.rand.IntN(2)], statements: 3, verb: s.rand.IntN(8),
			hold: s.between(1, 400*time.Millisecond), commit: true, stubborn: true,
		}
		s.add(at, func(w *world) { w.start(c) }, "%s", c)
	}
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
	probes := s.oneIn(4) && s.settings.cfg.Fall > 1 // with 1 the one sign is enough
	s.add(at, func(w *world) { w.endIdle(err, hidden, one, probes) }, "idle connections are ended, only one %t, those of probes %t, hidden %t: %v", one, probes, hidden, err)
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
