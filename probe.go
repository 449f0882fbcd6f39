package clustersql

import (
	"context"
	"database/sql/driver"
	"slices"
	"time"

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
	n.loop.waiting.dropReleased()
	n.fillSlots(l)
	n.flushLosses(l)
	n.rebalance(l)
	if !n.loop.probing {
		n.startProbe(l)
	}
}

// startProbe starts a probe in a goroutine of its own and gives it the probe
// connection. A suspect or down node is probed on a fresh connection instead,
// because it may be that only new connections fail. If the life is ending or
// the node was removed, there is no probe. If more than max_opens_per_node
// attempts and probes are past their deadline and have not returned, the node
// counts as silent without a new probe.
func (n *node) startProbe(l *life) {
	if l.ctx.Err() != nil {
		return
	}
	if n.leaving.Load() {
		n.schedule(n.drainLeft())
		return
	}
	n.loop.probeStart, n.loop.probeAgain = time.Now(), false
	timeout := n.probeDeadline()
	if int(n.deaf.Load()) > n.cfg.MaxOpensPerNode {
		n.loop.failures++
		n.settle(l, n.dial.failure(health.Silent, errProbeTimeout).evidence())
		return
	}
	conn, stale := n.loop.probeConn, driver.Conn(nil)
	if n.loop.health.State == health.Suspect || n.loop.health.State == health.Down {
		conn, stale = nil, conn
	}
	n.loop.probeConn = nil
	n.loop.probing = true
	want := n.want()
	l.start(func() {
		if stale != nil {
			defer n.dial.close(stale)
		}
		n.probe(l, conn, timeout, want)
	})
}

// probeDeadline returns how long the next probe may take. On the lasting
// connection that is probe_timeout. A probe that must dial also gets the time
// that opens of this node take, up to attempt_timeout in all. If the node is
// down or was never heard of, it is attempt_timeout, because nothing depends on
// a quick answer then.
func (n *node) probeDeadline() time.Duration {
	switch n.loop.health.State {
	case health.Unknown, health.Down:
		return n.cfg.AttemptTimeout
	case health.Up:
		if n.loop.probeConn != nil {
			return n.cfg.ProbeTimeout
		}
	}
	open := n.loop.facts.openLatency
	return min(n.cfg.ProbeTimeout+open.Mean()+4*open.Deviation(), n.cfg.AttemptTimeout)
}

// want returns what the next probe has to look at. Every fifth probe looks at
// status and view, and so does every probe of a node that is not up or is a
// donor. The probe of a down node also looks at what took it down.
func (n *node) want() health.Scope {
	h := &n.loop.health
	if h.State != health.Up || !h.DonorSince.IsZero() || n.loop.sinceStatus >= health.StatusEvery-1 {
		if h.State == health.Up && h.Conf == 0 && !n.loop.facts.viewAt.IsZero() {
			return h.Need | health.ScopeStatus // not a Galera node: it showed no view
		}
		return h.Need | health.ScopeStatus | health.ScopeView
	}
	return h.Need
}

// probe checks conn, or dials and checks a fresh one, and gives a good conn
// back to the loop. It runs in a goroutine of its own and owns conn meanwhile.
// It reports to the loop once: when it has ended, or when it is past its
// deadline. After the deadline nobody waits for it. When the life ends, it has
// loser_grace to finish, because it may be in a handshake.
func (n *node) probe(l *life, conn driver.Conn, timeout time.Duration, want health.Scope) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), timeout, errProbeTimeout)
	defer cancel()
	defer cancelAfter(n.cfg.LoserGrace, cancel, l.ctx)()
	if conn == nil {
		ctx = socket.With(ctx, new(socket.Slot)) // for what the name service does
	}
	reported := make(chan struct{})
	stopOverdue := context.AfterFunc(ctx, func() {
		defer close(reported)
		n.deaf.Add(1)
		l.send(outcome{kind: outcomeProbe, evidence: n.dial.judge(ctx, context.Cause(ctx), health.Silent).evidence()})
	})
	o := outcome{kind: outcomeProbe}
	began := time.Now()
	var found *health.Report
	var failed *dialError
	if conn == nil {
		conn, found, failed = n.dial.open(ctx, nil, want)
		o.took = max(time.Since(began), 1)
	} else {
		found, failed = n.dial.test(ctx, conn, want)
		o.trip = max(time.Since(began), 1)
	}
	if !stopOverdue() {
		<-reported
		if conn != nil {
			n.dial.close(conn)
		}
		n.deaf.Add(-1)
		return
	}
	if failed != nil {
		l.send(outcome{kind: outcomeProbe, evidence: failed.evidence()})
		if conn != nil {
			n.dial.close(conn)
		}
		return
	}
	o.conn = conn
	o.evidence = found.Evidence()
	o.evidence.Took = o.took
	select {
	case l.outcome <- o:
	case <-l.ctx.Done():
		n.dial.close(conn)
	}
}

// onProbe takes the outcome of a probe that has ended or is past its deadline.
func (n *node) onProbe(l *life, o outcome) {
	s := &n.loop.facts
	o.evidence.Began = n.loop.probeStart
	n.loop.health, o.evidence = n.loop.health.Outlasting(o.evidence, n.cfg.DonorAfter, time.Now())
	n.loop.probing = false
	n.loop.probeConn = o.conn
	s.probes++
	switch {
	case o.evidence.OK:
		n.loop.failures = 0
		n.loop.sinceStatus++
		n.allowRetry()
		if o.evidence.Saw&health.ScopeStatus != 0 {
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
			s.probeLatency = s.probeLatency.Add(o.trip)
		}
		if o.took > 0 {
			s.openLatency = s.openLatency.Add(o.took)
		}
	default:
		s.probeErrors++
		n.noteError(o.evidence)
		n.loop.failures++
	}
	n.settle(l, o.evidence)
}

// settle applies what a probe has learnt, and schedules the next probe.
func (n *node) settle(l *life, e health.Evidence) {
	e.Probe = true
	eff := n.apply(l, e)
	n.scheduleNext()
	if eff.Check || n.loop.probeAgain {
		n.probeNow(l)
	}
}

// scheduleNext arms the timer for the next regular probe. While the node is
// used, the wait is the probe interval. While it is down, the wait is the
// backoff. It is shorter in two cases: health.BackoffFirst after a down node's
// first good check, and the first backoff while opens wait. A removed node is
// not probed; the timer then fires when its drain is overdue.
func (n *node) scheduleNext() {
	switch {
	case n.leaving.Load():
		n.schedule(n.drainLeft())
	case n.loop.health.State != health.Down:
		n.schedule(health.Aligned(time.Now(), health.Jitter(n.cfg.ProbeInterval, n.loop.rand), n.cfg.ProbeInterval/health.ProbeTicks))
	case n.loop.health.Good > 0, !n.loop.health.Answered.IsZero():
		n.schedule(health.BackoffFirst)
	case n.waiting.Load() > 0:
		n.schedule(health.Backoff(0, n.loop.rand))
	default:
		n.schedule(health.Backoff(n.loop.failures, n.loop.rand))
	}
}

func (n *node) schedule(wait time.Duration) {
	n.loop.timer.Reset(wait)
	n.loop.facts.nextCheck = time.Now().Add(wait)
}

// views collects the views that the other up nodes of the group show. It asks a
// node for a new look if its last one is older than answered, the first good
// answer of this node.
func (n *node) views(group string, answered time.Time) *health.Peers {
	v := &health.Peers{Alone: n.alone(), Hold: n.cfg.SilenceHold}
	for _, other := range *n.members.Load() {
		s := other.snapshot.Load()
		if other == n || s.state != health.Up || s.view.Conf == 0 || s.view.Group != group {
			continue
		}
		v.Count++
		v.Conf = max(v.Conf, s.view.Conf)
		if !s.viewAt.After(answered) {
			v.Stale = true
			other.checkNow()
			continue
		}
		v.Seqno = max(v.Seqno, s.view.Seqno)
	}
	return v
}

// checkNow asks the actor to probe a down node soon, or to look at the status
// of one that is up. It never waits. Anyone may call it.
func (n *node) checkNow() {
	if l := n.life.Load(); l != nil {
		select {
		case l.check <- struct{}{}:
		default: // a request is there already
		}
	}
}

// onCheck moves the next probe of a down node forward, to when the first probe
// of its backoff would be: an open waits for the node. If the node is up,
// another node wants to know its view, so it is probed now.
func (n *node) onCheck(l *life) {
	switch {
	case n.loop.health.State == health.Up:
		n.loop.sinceStatus = health.StatusEvery
		n.probeNow(l)
		return
	case n.loop.health.State != health.Down, n.loop.probing:
		return
	}
	due := n.loop.probeStart.Add(health.Backoff(0, n.loop.rand))
	if due.Before(n.loop.facts.nextCheck) {
		n.schedule(max(time.Millisecond, time.Until(due)))
	}
}

// alone reports whether no other node of the cluster is usable.
func (n *node) alone() bool {
	return !slices.ContainsFunc(*n.members.Load(), func(other *node) bool {
		return other != n && other.snapshot.Load().state.Usable()
	})
}

// cancelAfter calls cancel a grace after the first of the contexts is done. The
// func that it returns stops that. cancel may still run once while it does.
func cancelAfter(grace time.Duration, cancel func(), ctxs ...context.Context) (off func()) {
	started := make(chan *time.Timer, len(ctxs))
	stops := make([]func() bool, len(ctxs))
	for i, ctx := range ctxs {
		stops[i] = context.AfterFunc(ctx, func() { started <- time.AfterFunc(grace, cancel) })
	}
	return func() {
		for _, stop := range stops {
			if !stop() {
				(<-started).Stop()
			}
		}
	}
}
