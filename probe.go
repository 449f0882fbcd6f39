package clustersql

import (
	"context"
	"database/sql/driver"
	"time"

	"github.com/EnumApps/clustersql/internal/deadline"
	"github.com/EnumApps/clustersql/internal/dialects"
	"github.com/EnumApps/clustersql/internal/health"
	"github.com/EnumApps/clustersql/internal/socket"
)

// probeNow starts a probe at once. If a probe is under way, the next one starts
// when that has ended. Two probes start at least health.ProbeGap apart. However
// often it is called meanwhile, one probe follows.
func (n *node) probeNow(l *life) {
	if n.loop.probing {
		n.loop.probeAgain = true
		return
	}
	if wait := health.ProbeGap - time.Since(n.loop.probeStart); wait > 0 {
		n.schedule(wait)
		return
	}
	n.startProbe(l)
}

// onTimer starts the probe that is due, and does the other work of each tick.
func (n *node) onTimer(l *life) {
	n.loop.waiting.DropEnded()
	n.fillSlots(l)
	n.flushLosses()
	n.rebalance(l)
	if !n.loop.probing {
		n.startProbe(l)
	}
}

// startProbe starts a probe in a goroutine of its own and gives it the
// connection to test. While the node is up, that is the lasting probe
// connection. Otherwise a round has two probes, one for each witness: the first
// tests the lasting connection, the second, at once after it, dials a fresh one,
// because it may be that only new connections fail. If the life is ending or the
// node was removed, there is no probe. If more than max_opens_per_node attempts
// and probes are past their deadline and have not returned, the node counts as
// silent without a new probe. If so many Closes do not return, no probe dials.
func (n *node) startProbe(l *life) {
	if l.ctx.Err() != nil {
		return
	}
	if n.leaving.Load() {
		n.schedule(n.drainLeft())
		return
	}
	n.loop.probeStart, n.loop.probeAgain = time.Now(), false
	conn := n.loop.probeConn
	if n.loop.tested {
		conn = nil
	}
	n.loop.fresh = conn == nil
	n.loop.prompt = n.loop.prompt && conn != nil
	timeout := n.probeDeadline(conn)
	if int(n.deaf.Load()) > n.cfg().MaxOpensPerNode {
		n.loop.failures++
		e := n.dial.failure(health.Silent, errProbeTimeout).evidence()
		e.Fresh, e.Need = true, health.ScopeDial
		n.loop.fresh = true
		n.hearDial(&e)
		n.settle(l, &e)
		return
	}
	if conn == nil && n.stuck() {
		n.loop.tested = false
		n.tellStuck()
		n.scheduleNext()
		return
	}
	if conn != nil {
		n.loop.probeConn = nil
	}
	n.loop.probing, n.loop.stuckTold = true, false
	n.loop.heard = conn == nil && n.answeredSince(n.loop.silentFrom)
	if n.loop.due.Due() {
		n.schedule(n.cfg().HangLimit) // the probe may outlast what is left of it
	}
	q := question{want: n.want(), settle: conn == nil, by: time.Now().Add(timeout)}
	q.brief, q.member = n.loop.role != nil && time.Now().Before(n.loop.role.BriefTill), n.loop.facts.part.Grouped()
	if n.tally.cluster.Sessions.Load() {
		site := n.site()
		q.site = &site
	}
	asks := conn != nil || n.loop.heard
	parent, giveUp := context.WithCancel(context.Background())
	if conn != nil {
		n.loop.giveUp, q.lasting = giveUp, n.loop.lasting
	}
	limit := deadline.New(parent, timeout, errProbeTimeout, nil)
	n.loop.hasten = limit.Shorten
	l.start(func() {
		defer giveUp()
		defer limit.Cancel()
		n.probe(l, parent, conn, limit, timeout, q, asks)
	})
}

// probeDeadline returns how long the next probe may take. On the lasting
// connection that is probe_timeout, and the time that probes of this node take: a
// check has several round trips, and a node may be far away. On a down node
// probe_timeout counts fall times, because there the silence of this one
// connection is not asked about again. Neither is above attempt_timeout. A
// probe that must dial also gets twice the time that opens of this node take, because
// it asks about twice as much, up to attempt_timeout in all. If the node is down or was never heard of, it is
// attempt_timeout, because nothing depends on a quick answer then, except twice
// after the lasting connection was silent: others may be hanging.
func (n *node) probeDeadline(lasting driver.Conn) time.Duration {
	h, s := &n.loop.health, &n.loop.facts
	down := h.State == health.Down
	switch {
	case lasting != nil:
		timeout := n.cfg().ProbeTimeout
		if down {
			timeout *= time.Duration(n.cfg().Fall)
		}
		usual := s.probeLatency
		if usual.Count() == 0 {
			usual = s.openLatency // of the same check, and more
		}
		return min(timeout+usual.Mean()+4*usual.Deviation(), max(n.cfg().AttemptTimeout, n.cfg().ProbeTimeout))
	case h.State == health.Unknown, down && (!h.Wordless() || n.loop.failures > 1):
		return n.cfg().AttemptTimeout
	}
	return min(n.cfg().ProbeTimeout+2*s.openLatency.Mean()+4*s.openLatency.Deviation(), n.cfg().AttemptTimeout)
}

// want returns what the next probe has to look at. Every fifth probe looks at
// status, view and role, and so does every probe of a node that is not up or is a
// donor. Where the settings ask for roles, every probe does. The nodes of a Galera
// group are all equal. The probe of a down node also looks at what took it down.
func (n *node) want() health.Scope {
	h := &n.loop.health
	roles, need := health.ScopeRole, h.Need
	switch {
	case n.loop.facts.view.Conf != 0:
		roles = 0
	case n.cfg().looksAtRoles(), n.loop.facts.part.Grouped():
		need |= roles
	case dialects.Unknown(n.dial.dialect):
		roles = 0
	}
	if h.State != health.Up || !h.DonorSince.IsZero() || h.Differs() || n.loop.sinceStatus >= health.StatusEvery-1 {
		if h.State == health.Up && h.Conf == 0 && !h.Differs() && !n.loop.facts.viewAt.IsZero() {
			return need | roles | health.ScopeStatus // not a Galera node: it showed no view
		}
		return need | roles | health.ScopeStatus | health.ScopeView
	}
	return need
}

// probe checks conn, or dials and checks a fresh one, and gives a good conn
// back to the loop. It runs in a goroutine of its own and owns conn meanwhile.
// It reports to the loop once: when it has ended, or when it is past its
// deadline. After the deadline nobody waits for it. A check of the lasting
// connection then goes on for hang_limit, unless parent ends: if it gets an answer
// after all, the connection comes back late. When the life ends, a probe has
// loser_grace to finish, because it may be in a handshake. With asks the other
// nodes are asked for an answer while it runs: if it turns out to be silent, it
// is to be known whether they were then.
func (n *node) probe(l *life, parent context.Context, conn driver.Conn, limit *deadline.Deadline, timeout time.Duration, q question, asks bool) {
	reported := make(chan struct{})
	fresh := conn == nil
	r := dialed{conn: conn, lasting: q.lasting}
	overdue, end := context.Context(limit), limit
	if fresh {
		slot := &socket.Slot{Resolver: n.cfg().resolver()}
		overdue, r.lasting = socket.With(overdue, slot), slot
	}
	ctx := overdue
	if !fresh {
		end = deadline.New(parent, timeout+n.cfg().HangLimit, errProbeTimeout, nil)
		defer end.Cancel()
		ctx = end
	}
	defer deadline.CancelAfter(n.cfg().LoserGrace, end.Cancel, l.ctx)()
	if asks {
		defer time.AfterFunc(timeout/3, n.askAnswers).Stop()
	}
	stopOverdue := context.AfterFunc(overdue, func() {
		defer close(reported)
		n.deaf.Add(1)
		failed := n.dial.judge(overdue, context.Cause(overdue), health.Silent)
		if failed.fresh = fresh; fresh {
			failed.need |= health.ScopeDial
		}
		l.send(outcome{kind: outcomeProbe, layer: layerOf(overdue, context.Cause(overdue)), evidence: failed.evidence()})
	})
	began, generation := time.Now(), n.generation.Load()
	defer func() { // also if the backend or the check ends this goroutine
		took := max(time.Since(began), 1)
		if r.place != nil {
			n.tally.seen.Place(generation, began, *r.place)
		}
		if stopOverdue() {
			n.endProbe(ctx, l, &r, took, fresh)
			return
		}
		<-reported
		n.deaf.Add(-1)
		n.returnLate(l, &r, took, fresh)
	}()
	if fresh {
		n.dial.open(ctx, nil, q, &r)
	} else {
		n.dial.test(ctx, q, &r)
	}
}

// endProbe reports what came of a probe in time, and gives a conn that got an
// answer back to the loop.
func (n *node) endProbe(ctx context.Context, l *life, r *dialed, took time.Duration, fresh bool) {
	o := outcome{kind: outcomeProbe, conn: r.conn, lasting: r.lasting}
	if r.failed != nil {
		o.evidence, o.layer = r.failed.evidence(), layerOf(ctx, r.failed.err)
		if !o.evidence.Alive() && !o.evidence.Goes {
			l.send(outcome{kind: outcomeProbe, layer: o.layer, evidence: o.evidence})
			if r.conn != nil {
				n.close(r.conn)
			}
			return
		}
	} else {
		o.evidence = r.found.Evidence()
		if o.evidence.Spent {
			o.conn = nil
			defer n.close(r.conn)
		}
		if fresh {
			o.took = took
		} else {
			o.trip = took
		}
		o.evidence.Took, o.evidence.Fresh = o.took, fresh
		o.server = &r.found.Server
		if port := socket.Of(ctx).Port(); port != "" && port != o.server.Port {
			o.server.Unique = false // an emulator, or behind a forwarded port: its word is not enough
		}
	}
	n.giveBack(l, o)
}

// onProbe takes the outcome of a probe that has ended or is past its deadline.
func (n *node) onProbe(l *life, o outcome) {
	s := &n.loop.facts
	o.evidence.Began, o.evidence.Probe = n.loop.probeStart, true
	n.loop.probing = false
	confirmed, counts := n.confirmed(l, &o)
	if !counts {
		return
	}
	if l.ctx.Err() == nil {
		n.loop.health.Unheard(&o.evidence)
	}
	if n.loop.fresh && !confirmed {
		n.hearDial(&o.evidence)
	}
	n.keepProbe(l, &o)
	if !n.loop.tested { // the second probe of a round is not another one
		s.probes++
		n.loop.charged = false
	}
	s.answers = o.evidence.OK
	if o.evidence.OK {
		n.loop.failures = 0
		if !n.loop.prompt { // or a busy node with slow statements would have to tell its status often
			n.loop.sinceStatus++
		}
		s.answered = time.Now()
		n.allowRetry()
		forStatus := health.ScopeStatus
		if s.view.Conf == 0 && !n.cfg().looksAtRoles() {
			forStatus |= health.ScopeRole
		}
		if o.evidence.Saw&forStatus != 0 {
			n.loop.sinceStatus = 0
		}
		if o.evidence.Saw&health.ScopeView != 0 {
			n.loop.sinceStatus = 0
			s.view, s.viewAt = health.View{}, time.Now()
			if v := o.evidence.View; v != nil {
				s.view = *v
			}
		}
		if o.trip > 0 {
			n.noteTrip(o.trip)
			n.tally.Trips.Observe(o.trip)
		}
		if o.took > 0 {
			s.openLatency = s.openLatency.Add(o.took)
			n.tally.Opens.Observe(o.took)
		}
		if n.loop.fresh {
			s.server = *o.server
		}
		if o.evidence.Spent {
			n.loop.memory().BriefTill, n.loop.probeAgain = time.Now().Add(n.loop.facts.part.BriefFor()), true
		}
		n.noteAlias()
		n.loop.tell = true
		n.compare(&o.evidence)
	}
	n.noteProbe(&o)
	if !o.evidence.OK {
		if !n.loop.charged {
			s.probeErrors++
			n.tally.Failed(o.evidence.Class)
			n.loop.charged = true
		}
		n.noteError(o.evidence)
		n.loop.failures++
		n.cfg().wanted(nil).Miss(&o.evidence, n.loop.facts.part, time.Now())
	}
	n.settle(l, &o.evidence)
}

// settle applies what a probe has learnt, and schedules the next probe. When the
// lasting connection of a node that is not up was tested, a fresh one follows at
// once, unless the node works and is not what the cluster asks for.
func (n *node) settle(l *life, e *health.Evidence) {
	e.Probe = true
	eff := n.apply(l, e)
	n.scheduleAfter(e)
	n.loop.tested = !n.loop.fresh && n.loop.health.State != health.Up && n.loop.health.State != health.Draining && !e.Class.Unsuited()
	switch {
	case n.loop.tested:
		n.startProbe(l)
	case eff.Check || n.loop.probeAgain:
		n.probeNow(l)
	}
}

// scheduleNext arms the timer for the next regular probe. While the node is
// used, or works and is not what the cluster asks for, the wait is the probe
// interval. While it is down for another reason, the wait is the backoff. It is
// shorter in two cases: health.BackoffFirst after a down node's first good check, and
// the first backoff while opens wait. A removed node is not probed; the timer then
// fires when its drain is overdue.
func (n *node) scheduleNext() {
	switch {
	case n.leaving.Load():
		n.schedule(n.drainLeft())
	case n.loop.health.State != health.Down:
		n.schedule(n.regular())
	case n.loop.health.Good > 0, !n.loop.health.Answered.IsZero():
		n.schedule(health.BackoffFirst)
	case n.room.Waiting() > 0:
		n.schedule(min(health.Backoff(0, n.loop.rand), n.regular()))
	case n.loop.health.Class.Unsuited() && n.loop.probeConn != nil:
		n.schedule(n.regular()) // it works, and may become what is asked for
	default:
		n.schedule(health.Backoff(n.loop.failures, n.loop.rand))
	}
}

// regular returns the wait between two probes of a node that works.
func (n *node) regular() time.Duration {
	return health.Aligned(time.Now(), health.Jitter(n.cfg().ProbeInterval, n.loop.rand), n.cfg().ProbeInterval/health.ProbeTicks)
}

func (n *node) schedule(wait time.Duration) {
	now := time.Now()
	wait = n.loop.due.Until(wait, n.cfg().HangLimit, now)
	n.loop.timer.Reset(wait)
	n.loop.facts.nextCheck = now.Add(wait)
}

// onCheck moves the next probe of a down node forward, to when the first probe
// of its backoff would be: an open waits for the node. A full node makes room
// for it. If the node is up, another node wants to know its view, so it is
// probed now.
func (n *node) onCheck(l *life) {
	n.retireOutranked(l)
	n.onRenewed(l)
	switch {
	case n.leaving.Load():
		n.schedule(n.drainLeft()) // drain_timeout may be another one
		return
	case n.crowded():
		n.makeRoom(l)
		return
	case n.loop.health.State == health.Up:
		n.loop.sinceStatus = health.StatusEvery
		n.probeNow(l)
		return
	case n.loop.health.State != health.Down, n.loop.probing:
		return
	}
	if due := n.loop.probeStart.Add(health.Backoff(0, n.loop.rand)); due.Before(n.loop.facts.nextCheck) {
		n.schedule(max(time.Millisecond, time.Until(due)))
	}
}
