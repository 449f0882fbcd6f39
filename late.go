package clustersql

import (
	"context"
	"database/sql/driver"
	"errors"
	"time"

	"github.com/EnumApps/clustersql/internal/health"
	"github.com/EnumApps/clustersql/internal/session"
	"github.com/EnumApps/clustersql/internal/socket"
)

// A call that takes longer than late_after asks for a probe of its node. Most such
// calls are slow statements, and the probe is answered at once. On a frozen node it
// is not, and then the calls that hang there are to return soon. So the round of
// probes that a late call has asked for is prompt: its probes wait as long as this
// node has ever needed lately, and some more, and not for probe_timeout.
//
// A prompt round alone raises no alarm. The silence of the lasting connection is
// held back until a dial is silent too, and a fellow has answered during each of
// the two. If any of that is missing, the round goes on with a dial that has the
// usual time. An answer of the lasting connection, however late, ends the doubt.
// So a node that is slow, or a program that gets no turn, is judged as it would
// have been without the late call.

// confirmLeast is the least time that a probe of a prompt round may take. Two of
// them outlast a packet that was lost once: TCP sends it again after 200 ms. Within
// one of them a fellow answers, whose last probe may have just begun.
const confirmLeast = 140 * time.Millisecond

// promptGap is the shortest time between the start of a probe and that of a prompt
// round.
const promptGap = health.ProbeGap / 2

// Where most calls are late, their node would be probed all the time. So a node
// that has had promptBurst rounds in a row gets no more than one in promptEvery. A
// node whose calls are late now and then never comes to that.
const (
	promptBurst = 20
	promptEvery = 500 * time.Millisecond
)

// slowCalls is what a node's loop remembers of late calls.
type slowCalls struct {
	held  *heldSilence // of the lasting connection, until a dial decides; else nil
	asked time.Time    // when the present prompt round was asked for
	due   time.Time    // when the latest late call that had to wait asks again
	spent time.Time    // promptEvery after now for each round of late that is not made up for
}

// wait returns how long the next round has to wait.
func (s *slowCalls) wait(now time.Time) time.Duration {
	if s.spent.Before(now) {
		return 0
	}
	return s.spent.Sub(now) - (promptBurst-1)*promptEvery
}

// spend notes that a round begins.
func (s *slowCalls) spend(now time.Time) {
	if s.spent.Before(now) {
		s.spent = now
	}
	s.spent = s.spent.Add(promptEvery)
}

// A heldSilence is the evidence of a silent lasting connection that waits for a
// silent dial.
type heldSilence struct {
	evidence health.Evidence
	at       time.Time // when it was found silent
}

// held returns the silence that is held back, or nil.
func (n *node) held() *heldSilence {
	if n.loop.slow == nil {
		return nil
	}
	return n.loop.slow.held
}

// hearHeld forgets the silence that is held back if the evidence is an answer.
func (n *node) hearHeld(e *health.Evidence) {
	if e.Answered() {
		n.dropHeld()
	}
}

// dropHeld forgets the silence that is held back, if there is one.
func (n *node) dropHeld() {
	if n.loop.slow != nil {
		n.loop.slow.held = nil
	}
}

var _ session.Lateness = (*node)(nil)

// LateAfter returns how long a call may take before it counts as late. Anyone may
// call it.
func (n *node) LateAfter() time.Duration { return n.cfg().LateAfter }

// Late asks the actor for a prompt round of probes. It never waits. Anyone may
// call it.
func (n *node) Late() {
	if l := n.life.Load(); l != nil {
		select {
		case l.slow <- struct{}{}:
		default: // a request is there already
		}
	}
}

// onSlowCall starts a prompt round, or makes the one under way prompt. A down node
// has its backoff. Where no other node is usable there is nobody to compare this
// one with, and the probes have their usual time.
func (n *node) onSlowCall(l *life) {
	n.loop.learnt = false
	if n.loop.slow == nil {
		n.loop.slow = new(slowCalls)
	}
	slow, now := n.loop.slow, time.Now()
	wait := max(promptGap-now.Sub(n.loop.probeStart), slow.wait(now))
	switch {
	case n.leaving.Load(), n.loop.health.State == health.Down:
	case n.loop.probing:
		if !n.loop.prompt && !n.loop.fresh && n.mayHurry() {
			n.loop.prompt, slow.asked = true, now
			n.loop.hasten(n.confirmTimeout(false), errProbeTimeout)
			n.askAnswers()
		}
	case wait > 0:
		if !now.Before(slow.due) {
			slow.due = now.Add(wait)
			time.AfterFunc(wait, n.Late)
		}
	default:
		n.loop.prompt, slow.asked = n.mayHurry(), now
		slow.spend(now)
		n.startProbe(l)
	}
}

// mayHurry reports whether a round may be prompt: another node is usable, and this
// one's usual times are known.
func (n *node) mayHurry() bool {
	s := &n.loop.facts
	return s.probeLatency.Count() > 0 && s.openLatency.Count() > 0 && !n.alone()
}

// confirmTimeout returns how long a probe of a prompt round may take: a few times
// as long as the slowest of the latest ones has taken.
func (n *node) confirmTimeout(fresh bool) time.Duration {
	s := &n.loop.facts
	if fresh {
		return max(confirmLeast, 2*s.openLatency.Percentile(1))
	}
	return max(confirmLeast, 3*s.probeLatency.Percentile(1))
}

// promptDeadline returns how long the next probe may take, which has the usual time
// unless it is part of a prompt round. A dial is part of one only if it is to
// confirm a silence.
func (n *node) promptDeadline(lasting driver.Conn, usual time.Duration) time.Duration {
	n.loop.prompt = n.loop.prompt && (lasting != nil || n.held() != nil)
	if !n.loop.prompt {
		return usual
	}
	return min(usual, n.confirmTimeout(lasting == nil))
}

// holdsBack takes the outcome of a probe, before anything is learnt from it. It
// returns true if nothing is to be learnt yet, and the round goes on.
func (n *node) holdsBack(l *life, e *health.Evidence) bool {
	silent := !e.OK && e.Class == health.Silent
	switch {
	case !n.loop.prompt || !silent && !e.Spoke: // nothing to doubt
	case !n.loop.fresh:
		n.loop.facts.probes++
		n.loop.charged = false
		n.loop.slow.held = &heldSilence{*e, time.Now()}
		n.loop.silentFrom = n.loop.slow.asked
		n.loop.tested = true
		n.startProbe(l)
		return true
	case n.held() == nil: // the lasting connection has answered meanwhile
		n.loop.prompt, n.loop.tested = false, false
		n.scheduleNext()
		return true
	case e.Spoke || !n.loop.heard || !n.answeredSince(e.Began):
		n.loop.prompt = false
		n.startProbe(l)
		return true
	}
	n.applyHeld(l, e)
	return false
}

// applyHeld learns of the silence that was held back, unless e is an answer.
func (n *node) applyHeld(l *life, e *health.Evidence) {
	if held := n.held(); held != nil && !e.Answered() {
		n.dropHeld()
		n.applyAt(l, &held.evidence, held.at)
	}
}

// noteTrip remembers how long the check took on the lasting connection. Of prompt
// rounds, which may be many, it remembers only what was longer than any other.
func (n *node) noteTrip(trip time.Duration) {
	s := &n.loop.facts
	if !n.loop.prompt || trip > s.probeLatency.Percentile(1) {
		s.probeLatency = s.probeLatency.Add(trip)
	}
}

// scheduleAfter schedules the next regular probe after one that has ended. A prompt
// one that passed leaves it where it was.
func (n *node) scheduleAfter(e *health.Evidence) {
	prompt := n.loop.prompt
	n.loop.prompt = false
	if prompt && e.OK && n.loop.health.State == health.Up && n.loop.facts.nextCheck.After(time.Now()) {
		return
	}
	n.scheduleNext()
}

// A probe of the lasting connection that is past its deadline goes on, for
// hang_limit at most. While dials are refused, no other connection can be a
// witness of the established ones: a late answer then says that the node is slow,
// and not silent.

// giveBack gives the connection of a probe back to the loop.
func (n *node) giveBack(l *life, o outcome) {
	select {
	case l.outcome <- o:
	case <-l.ctx.Done():
		if o.conn != nil {
			n.close(o.conn)
		}
	}
}

// returnLate gives the lasting connection back if it got an answer after its
// deadline: it was slow, and not silent. Any other connection is closed.
func (n *node) returnLate(l *life, r *dialed, took time.Duration, fresh bool) {
	o := outcome{kind: outcomeLate, conn: r.conn, trip: took}
	if r.failed != nil {
		o.evidence = r.failed.evidence()
	} else {
		o.evidence = r.found.Evidence()
	}
	switch {
	case !fresh && !o.evidence.Spent && (o.evidence.OK || o.evidence.Alive()):
		n.giveBack(l, o)
	case r.conn != nil:
		n.close(r.conn)
	}
}

// onLate takes the lasting connection back after a late answer.
func (n *node) onLate(l *life, o outcome) {
	o.evidence.Probe = true
	if n.held() != nil { // it was slower than usual, and that is remembered
		n.noteTrip(o.trip)
	}
	n.keepProbe(l, o.conn, &o.evidence)
	n.learn(l, o.evidence)
}

// hearDial gives a late probe up once a dial was not refused: a connection of that
// dial takes its place, or there is none.
func (n *node) hearDial(e *health.Evidence) {
	if n.loop.giveUp != nil && e.Class != health.Refused {
		n.loop.giveUp()
		n.loop.giveUp = nil
	}
}

// keepProbe takes back the connection of a probe that got an answer. The oldest one
// stays the lasting one: it is what the program's connections are. Only where its
// check was refused, and that of a new one passes, the new one takes its place:
// it may be a fault of that one session.
func (n *node) keepProbe(l *life, conn driver.Conn, e *health.Evidence) {
	switch {
	case conn == nil:
	case n.loop.probeConn == nil:
		n.loop.probeConn, n.loop.refused = conn, e.Goes
	case n.loop.refused && e.OK:
		conn, n.loop.probeConn, n.loop.refused = n.loop.probeConn, conn, false
		fallthrough
	default:
		l.start(func() { n.close(conn) })
	}
}

// noteProbe remembers how a probe went, for the status. Only run calls it.
func (n *node) noteProbe(o *outcome) {
	r := &ProbeResult{Time: time.Now(), OK: o.evidence.OK}
	r.Took = r.Time.Sub(n.loop.probeStart)
	if !r.OK {
		r.Layer, r.Error = o.layer, o.evidence.Reason
		if r.Layer == "" { // it passed, and the node is not used for what it showed
			r.Layer = socket.LayerState
		}
	}
	n.tally.check.Store(r)
}

// layerOf returns the layer at which a probe got an error. ctx is the probe's.
func layerOf(ctx context.Context, err error) (layer string) {
	defer func() {
		if recover() != nil { // the methods of a backend's error
			layer = socket.LayerHandshake
		}
	}()
	var unfit *health.Unfit
	if errors.As(err, &unfit) {
		return socket.LayerState
	}
	return socket.LayerOf(ctx, err)
}
