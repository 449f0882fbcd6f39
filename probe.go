package clustersql

import (
	"context"
	"database/sql/driver"
	"time"
)

// probeNow probes at once, or as soon as the probe under way has ended and
// probeGap allows. However many ask, one probe follows.
func (n *node) probeNow(l *life) {
	if n.own.probing {
		n.own.probeAgain = true
		return
	}
	if wait := probeGap - time.Since(n.own.probeStart); wait > 0 {
		n.schedule(wait)
		return
	}
	n.startProbe(l)
}

// onTimer starts the probe that is due. A probe whose backend is deaf still
// holds the node's one probe slot: that it has not come back is one more
// sign of silence.
func (n *node) onTimer(l *life) {
	n.fillSlots(l)
	if !n.own.probing {
		n.startProbe(l)
		return
	}
	n.scheduleNext()
	if n.own.probeLate {
		n.learn(l, evidence{class: classSilent, reason: n.own.status.LastErrorMessage, probe: true})
	}
}

// startProbe lends the probe connection to a probe in a goroutine of its own.
// A suspect or down node is probed on a fresh one: what speaks against it may
// be that it takes no new ones. One whose life ends is not probed.
func (n *node) startProbe(l *life) {
	if l.ctx.Err() != nil {
		return
	}
	conn, timeout := n.own.probeConn, n.cfg.ProbeTimeout
	n.own.probeConn = nil
	stale := driver.Conn(nil)
	switch n.own.health.state {
	case StateSuspect:
		conn, stale = nil, conn
	case StateDown:
		conn, stale, timeout = nil, conn, n.cfg.AttemptTimeout
	case StateUnknown:
		timeout = n.cfg.AttemptTimeout
	}
	n.own.probing, n.own.probeLate, n.own.probeAgain = true, false, false
	n.own.probeStart = time.Now()
	n.scheduleNext()
	want := n.want()
	l.start(func() {
		if stale != nil {
			defer n.dial.close(stale)
		}
		n.probe(l, conn, timeout, want)
	})
}

// want is what the next probe has to look at: the status on every fifth, on
// those of a node that is not up or is a donor, and what a node that is down
// has to be seen to be rid of.
func (n *node) want() sight {
	h := &n.own.health
	if h.state != StateUp || !h.donorSince.IsZero() || n.own.blind >= statusEvery-1 {
		return h.need | sawStatus
	}
	return h.need
}

// probe checks conn, or dials and checks a fresh one, and hands the good one
// back to the loop. It runs in a goroutine of its own and owns conn meanwhile.
func (n *node) probe(l *life, conn driver.Conn, timeout time.Duration, want sight) {
	ctx, cancel := context.WithTimeoutCause(l.ctx, timeout, timeoutCause(timeout))
	defer cancel()
	inTime := context.AfterFunc(ctx, func() {
		n.deaf.Add(1)
		l.send(outcome{kind: outcomeProbeLate, evidence: n.evidence(n.dial.judge(ctx, context.Cause(ctx), classSilent))})
	})
	conn, found, took, failed := n.checkup(ctx, conn, want)
	o := outcome{kind: outcomeProbe, conn: conn, took: took}
	if failed != nil {
		o.evidence = n.evidence(failed)
	} else {
		o.evidence = found.evidence()
	}
	if !inTime() {
		n.deaf.Add(-1)
		if conn != nil {
			n.dial.close(conn)
		}
		o = outcome{kind: outcomeProbe, evidence: evidence{class: classNeutral}}
	}
	select {
	case l.outcome <- o:
	case <-l.ctx.Done():
		if o.conn != nil {
			n.dial.close(o.conn)
		}
	}
}

// checkup checks conn, or opens a conn where there is none; took is the time
// of a check on a lasting conn, 0 for a fresh one. A conn that failed is
// closed.
func (n *node) checkup(ctx context.Context, conn driver.Conn, want sight) (driver.Conn, *finding, time.Duration, *dialError) {
	if conn == nil {
		conn, found, failed := n.dial.open(ctx, nil, want)
		return conn, found, 0, failed
	}
	began := time.Now()
	found, failed := n.dial.test(ctx, conn, want)
	if failed != nil {
		return nil, nil, 0, failed
	}
	return conn, found, max(time.Since(began), 1), nil
}

// onProbe books a probe that has ended, or that is late.
func (n *node) onProbe(l *life, o outcome) {
	s := &n.own.status
	n.own.health, o.evidence = n.own.health.outlasting(o.evidence, n.cfg.DonorAfter, time.Now())
	late := o.kind == outcomeProbeLate
	if late {
		n.own.probeLate = true
	} else {
		n.own.probing = false
		n.own.probeConn = o.conn
	}
	switch {
	case o.evidence.ok:
		s.Probes++
		n.own.failures = 0
		n.own.blind++
		if o.evidence.saw&sawStatus != 0 {
			n.own.blind = 0
		}
		if o.took > 0 {
			s.ProbeLatency = s.ProbeLatency.add(o.took)
		}
	case late || !n.own.probeLate:
		s.Probes++
		if o.evidence.class != classNeutral {
			s.ProbeErrors++
			n.noteError(o.evidence.reason)
			n.own.failures++
		}
	}
	n.scheduleNext()
	o.evidence.probe = true
	n.learn(l, o.evidence)
	if n.own.probeAgain && !n.own.probing {
		n.probeNow(l)
	}
}

// scheduleNext arms the timer for the next regular probe: by the interval
// while the node is used, by the backoff while it is down, soon after the
// first good check of a node that is down.
func (n *node) scheduleNext() {
	switch {
	case n.own.health.state != StateDown:
		n.schedule(jitter(n.cfg.ProbeInterval))
	case n.own.health.good > 0:
		n.schedule(backoffFirst)
	default:
		n.schedule(backoff(n.own.failures))
	}
}

func (n *node) schedule(wait time.Duration) {
	n.own.timer.Reset(wait)
	n.own.status.NextCheck = time.Now().Add(wait)
}
