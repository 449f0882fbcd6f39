package clustersql

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/EnumApps/clustersql/internal/deadline"
	"github.com/EnumApps/clustersql/internal/health"
	"github.com/EnumApps/clustersql/internal/session"
	"github.com/EnumApps/clustersql/internal/socket"
)

// A call that takes longer than late_after asks for a probe of its node. Most such
// calls are slow statements, and the probe is answered at once. On a frozen node it
// is not, and then the calls that hang there are to return soon: see doubt.

// slowCalls is what a node's loop remembers of late calls.
type slowCalls struct {
	doubt   *doubt        // under way; else nil
	dialing bool          // a dial of a doubt has not returned
	wronged bool          // the check under way was found silent by a doubt; its answer may come yet
	due     time.Time     // when the latest late call that had to wait asks again
	prompt  health.Prompt // its rounds of probes
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
// one with, and its silence raises no doubt.
func (n *node) onSlowCall(l *life) {
	n.loop.learnt = false
	if n.loop.slow == nil {
		n.loop.slow = new(slowCalls)
	}
	slow, now := n.loop.slow, time.Now()
	wait := slow.prompt.Wait(n.loop.probeStart, now)
	switch {
	case n.leaving.Load(), n.loop.health.State == health.Down, slow.doubt != nil:
	case n.loop.probing:
		if !n.loop.fresh && n.mayHurry() {
			n.loop.prompt = true
			n.beginDoubt(l, now)
		}
	case wait > 0:
		if !now.Before(slow.due) {
			slow.due = now.Add(wait)
			time.AfterFunc(wait, n.Late)
		}
	default:
		n.loop.prompt = n.mayHurry()
		slow.prompt.Begin(now)
		n.startProbe(l)
		if n.loop.prompt && n.loop.probing {
			n.beginDoubt(l, now)
		}
	}
}

// mayHurry reports whether a round may be prompt: another node is usable, and this
// one's usual times are known.
func (n *node) mayHurry() bool {
	s := &n.loop.facts
	return s.probeLatency.Count() > 0 && s.openLatency.Count() > 0 && !n.alone()
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

// A late call raises a doubt: is the node frozen? A doubt waits and looks on. It ends
// no check: that of the lasting connection has its usual time, as if there were no
// doubt, and so has the dial that the doubt makes. Drivers close a connection whose
// context ends in a call, and an answer that is only late would never be seen.
//
// First it waits for the lasting connection, then for the dial, each time as long as
// this node has ever needed lately, and some more. Anything that the server sends on
// any socket meanwhile ends the doubt: a frozen process sends nothing, and one that
// is slow does. So do an answer of the check and one of the dial, and a connection
// that is not made: it may be the network then, which delays or loses packets, and
// not the server, whose system makes connections for it while it is frozen. In all
// these cases the check under way goes on, and what comes of it is learnt as if no
// call had been late.
//
// Otherwise a fellow must have answered during each of the two waits. Then the check
// is over. Its silence and that of the dial are what a regular round would have
// learnt from, and have the same effect.
type doubt struct {
	from    time.Time          // the server has been silent since then, as far as is known
	asked   time.Time          // when a late call has raised it
	wait    *deadline.Deadline // is told by outcomeWaited
	ask     *time.Timer        // asks the fellows for an answer
	dial    *socket.Slot       // of the dial; nil before that
	began   time.Time          // when the dial did
	verdict *outcome           // of the dial, once the node is taken for frozen; else nil
	revoked bool               // the node has answered after that
}

// confirmLeast is the least time that a doubt waits for an answer. Two of them
// outlast a packet that was lost once: TCP sends it again after 200 ms. Within one of
// them a fellow answers, whose last probe may have just begun.
const confirmLeast = 140 * time.Millisecond

// confirmTimeout returns how long a doubt waits: a few times as long as the slowest of
// the latest answers has taken.
func (n *node) confirmTimeout(fresh bool) time.Duration {
	s := &n.loop.facts
	if fresh {
		return max(confirmLeast, 2*s.openLatency.Percentile(1))
	}
	return max(confirmLeast, 3*s.probeLatency.Percentile(1))
}

// beginDoubt raises a doubt. The check of the lasting connection is under way.
func (n *node) beginDoubt(l *life, now time.Time) {
	d := &doubt{from: now, asked: now}
	n.loop.slow.doubt, n.loop.slow.wronged = d, false
	n.look(l, d, context.Background(), n.confirmTimeout(false))
}

// look has the doubt wait, and then look whether the server was heard of. That is
// done by the timer's goroutine.
func (n *node) look(l *life, d *doubt, ctx context.Context, timeout time.Duration) {
	d.end()
	seen := []*socket.Slot{n.loop.lasting, d.dial}
	for _, a := range n.loop.attempts {
		seen = append(seen, a.socket)
	}
	d.ask = time.AfterFunc(timeout/3, n.askAnswers)
	d.wait = deadline.New(ctx, timeout, errProbeTimeout, func() {
		l.send(outcome{kind: outcomeWaited, doubt: d, heard: n.lastHeard(seen...)})
	})
}

// lastHeard returns when the server was last heard of on a conn of the node, or on one of
// these sockets.
func (n *node) lastHeard(others ...*socket.Slot) (heard time.Time) {
	for _, s := range append(others, n.conns.Older(math.MaxUint64)...) {
		if at := s.Heard(); at.After(heard) {
			heard = at
		}
	}
	return heard
}

// end ends the wait.
func (d *doubt) end() {
	if d.wait != nil {
		d.wait.Cancel()
		d.ask.Stop()
	}
}

// dropDoubt ends the doubt that is under way, and returns it; nil if there is none.
func (n *node) dropDoubt() *doubt {
	if n.loop.slow == nil || n.loop.slow.doubt == nil {
		return nil
	}
	d := n.loop.slow.doubt
	n.loop.slow.doubt = nil
	d.end()
	return d
}

// hearDoubt ends the doubt if the evidence is an answer. One that has brought the check
// to its end is only revoked: the check is not to count.
func (n *node) hearDoubt(e *health.Evidence) {
	switch {
	case !e.Answered() || n.loop.slow == nil || n.loop.slow.doubt == nil:
	case n.loop.slow.doubt.verdict != nil:
		n.loop.slow.doubt.revoked = true
	default:
		n.dropDoubt()
	}
}

// onDoubt takes what a doubt reports.
func (n *node) onDoubt(l *life, o outcome) {
	if o.kind == outcomeDialled {
		n.onDialled(l, o)
	} else {
		n.onWaited(l, o)
	}
}

// forgetDoubt ends what a life has of doubts.
func (n *node) forgetDoubt() {
	n.dropDoubt()
	if n.loop.slow != nil {
		n.loop.slow.dialing = false // its end is told to nobody
	}
}

// onWaited goes on with a doubt whose wait is over.
func (n *node) onWaited(l *life, o outcome) {
	d := o.doubt
	if n.loop.slow.doubt != d || d.verdict != nil { // it has ended meanwhile
		n.loop.learnt = false
		return
	}
	switch {
	case d.dial == nil && o.heard.After(d.from): // and the check may be answered soon
		d.from = o.heard
		n.look(l, d, context.Background(), max(time.Millisecond, n.confirmTimeout(false)-time.Since(d.from)))
	case d.dial == nil:
		n.confirm(l, d)
	case o.heard.After(d.began), !d.dial.Known(), !d.dial.Connecting(), !n.answeredSince(d.began):
		n.dropDoubt()
	default:
		n.decide(d)
	}
}

// confirm dials, to see whether that is answered.
func (n *node) confirm(l *life, d *doubt) {
	if n.loop.slow.dialing || n.stuck() || int(n.deaf.Load()) > n.cfg().MaxOpensPerNode || !n.answeredSince(d.asked) {
		n.dropDoubt()
		return
	}
	d.began, d.dial = time.Now(), &socket.Slot{Resolver: n.cfg().resolver()}
	n.loop.slow.dialing = true
	usual := n.probeDeadline(nil)
	n.look(l, d, socket.With(context.Background(), d.dial), min(usual, n.confirmTimeout(true)))
	l.start(func() { n.dialInDoubt(l, d, usual) })
}

// dialInDoubt makes the dial of a doubt. It runs in a goroutine of its own, and tells
// the loop what came of it, in time or not. The connection is not kept: the doubt is
// about the lasting one, which may be well.
func (n *node) dialInDoubt(l *life, d *doubt, timeout time.Duration) {
	overdue := make(chan struct{})
	limit := deadline.New(socket.With(context.Background(), d.dial), timeout, errProbeTimeout, nil)
	defer deadline.CancelAfter(n.cfg().LoserGrace, limit.Cancel, l.ctx)()
	stopOverdue := context.AfterFunc(limit, func() { n.deaf.Add(1); close(overdue) })
	var r dialed
	defer func() { // also if the backend or the check ends this goroutine
		if !stopOverdue() {
			<-overdue
			n.deaf.Add(-1)
		}
		limit.Cancel()
		o := outcome{kind: outcomeDialled, doubt: d}
		switch {
		case r.found != nil:
			o.evidence = r.found.Evidence()
			o.took = max(time.Since(d.began), 1)
			o.evidence.Took, o.evidence.Fresh = o.took, true
		case r.failed != nil:
			o.evidence = r.failed.evidence()
		}
		o.evidence.Began = d.began
		l.send(o)
		if r.conn != nil {
			n.close(r.conn)
		}
	}()
	n.dial.open(limit, nil, question{settle: true, by: time.Now().Add(timeout)}, &r)
}

// onDialled takes what came of the dial of a doubt. It may come when the doubt is long
// over. Silence is not learnt from here.
func (n *node) onDialled(l *life, o outcome) {
	n.loop.slow.dialing = false
	if o.took > 0 {
		s := &n.loop.facts
		s.openLatency = s.openLatency.Add(o.took)
		n.tally.Opens.Observe(o.took)
	}
	switch {
	case o.evidence.Answered():
		n.learn(l, o.evidence)
	case o.evidence.Class != health.Silent && n.loop.slow.doubt == o.doubt && o.doubt.verdict == nil:
		n.dropDoubt()
	}
}

// decide takes the node for frozen: the check under way ends as if its time were over.
// If its answer comes first, that counts.
func (n *node) decide(d *doubt) {
	failed := n.dial.judge(d.wait, context.Cause(d.wait), health.Silent)
	if failed.class != health.Silent {
		n.dropDoubt()
		return
	}
	failed.fresh, failed.need = true, failed.need|health.ScopeDial
	d.verdict = &outcome{kind: outcomeProbe, layer: layerOf(d.wait, context.Cause(d.wait)), evidence: failed.evidence()}
	d.verdict.evidence.Began, d.verdict.evidence.Probe = d.began, true
	n.loop.hasten(0, errDoubted)
}

// errDoubted is the cause of a check that a doubt has brought to its end. It reads as
// errProbeTimeout, and is another one.
var errDoubted error = &overdueError{probe: true}

// confirmed takes the outcome of a check, before anything is learnt from it. If a
// doubt has brought it to its end, the silence of the lasting connection is learnt, as
// of when it was found, and the outcome becomes that of the dial. It returns false as
// the second value if nothing is to be learnt.
func (n *node) confirmed(l *life, o *outcome) (dial, counts bool) {
	d := n.dropDoubt()
	e := &o.evidence
	if d == nil || d.verdict == nil || e.Err != errDoubted {
		return false, true
	}
	if d.revoked { // and the check goes on
		n.loop.prompt = false
		n.scheduleNext()
		return false, false
	}
	n.loop.facts.probes++
	n.loop.charged = false
	n.applyAt(l, e, d.began)
	n.loop.fresh, n.loop.tested, n.loop.heard, n.loop.slow.wronged = true, true, true, true
	*o = *d.verdict
	return true, true
}

// An outrun is an attempt that lost to an attempt launched later on another
// node. The node had the open to itself for headStart, and needed longer than
// that.
type outrun struct {
	req       *request
	headStart time.Duration
	at        time.Time
}

// reportOutrun notifies the actors of the nodes whose attempts were outrun.
// Launches of the same wave start together; none of them outruns another. All
// goroutines of the round must have ended.
func (r *round) reportOutrun() {
	won := slices.IndexFunc(r.failures, func(f *failure) bool { return f.node == r.winner.node })
	if r.plan.HeadStart(0, won) == 0 {
		return
	}
	now := time.Now()
	for i, f := range r.failures[:won] {
		if head := r.plan.HeadStart(i, won); f.why == nil && head > 0 {
			f.node.reportOutrun(outrun{&f.req, head, now})
		}
	}
}
