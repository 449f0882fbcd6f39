package clustersql

import (
	"context"
	"database/sql/driver"
	"fmt"
	"time"
)

// A request is one open's question to one node.
type request struct {
	// ctx is the open's: it carries the caller's values, and is done when the
	// open has ended, however it did. That releases the attempt.
	ctx context.Context
	// won is the open's one unbuffered channel. What is sent on it belongs to
	// the open from then on.
	won chan<- winner
	// failed has room for one, so that nobody waits for an open that left.
	failed chan *dialError
}

// fail answers the open; only the first answer counts.
func (r *request) fail(e *dialError) {
	select {
	case r.failed <- e:
	default:
	}
}

// A winner is a checked connection on its way to an open.
type winner struct {
	conn driver.Conn
	node *node
	born uint64 // the node's generation when the attempt began
}

type outcomeKind uint8

const (
	outcomeWon       outcomeKind = iota // the conn was handed over
	outcomeLost                         // released, or its life ended
	outcomeFailed                       // refused, unfit, or past its deadline
	outcomeReturned                     // after one of the former: the backend has come back, a slot is free
	outcomeProbe                        // a probe has ended
	outcomeProbeLate                    // a probe is past its deadline, and still under way
)

// An outcome is what an attempt or a probe tells the loop when it ends.
type outcome struct {
	kind     outcomeKind
	took     time.Duration // dial, handshake and check; 0 if they were not all done
	evidence evidence
	conn     driver.Conn // of a probe: handed back to the loop, nil if there is none
}

// An attempt is one request on its way through the backend, in a goroutine of
// its own. It holds one of the node's slots until the backend has returned.
type attempt struct {
	node *node
	life *life
	req  *request
	born uint64
}

// run dials, and offers what it got to the open or closes it. It sends the
// loop one outcome that is won, lost or failed, and does so at once when the
// life ends, whatever the backend does. It is bounded
// by attempt_timeout and ends early with the life, or loser_grace after the
// open let go of it. When the backend does not heed that, the open and the
// loop are told at the deadline, and the rest is done when it returns.
func (a *attempt) run() {
	n := a.node
	deadline, cancel := context.WithTimeoutCause(a.life.ctx, n.cfg.AttemptTimeout, timeoutCause(n.cfg.AttemptTimeout))
	defer cancel()
	grace := a.cancelWhenReleased(cancel)
	defer grace()
	began := time.Now()
	inTime := context.AfterFunc(deadline, func() { a.overdue(deadline) })
	conn, found, failed := n.dial.open(attemptContext{deadline, a.req.ctx}, a.req.ctx.Done(), 0)
	took := time.Since(began)
	if !inTime() {
		if conn != nil {
			n.dial.close(conn)
		}
		n.deaf.Add(-1)
		n.inflight.Add(-1)
		a.life.send(outcome{kind: outcomeReturned})
		return
	}
	if failed != nil {
		a.req.fail(failed)
		n.inflight.Add(-1)
		a.life.send(outcome{kind: outcomeFailed, evidence: n.evidence(failed)})
		return
	}
	o := outcome{kind: outcomeLost}
	if found != nil {
		o.took, o.evidence = max(took, 1), found.evidence()
	}
	a.offer(conn, o)
}

// offer is the handover: the open takes the conn, or has ended and the conn
// is closed here. The loop is told before the Close, which may take its time.
func (a *attempt) offer(conn driver.Conn, o outcome) {
	n := a.node
	select {
	case a.req.won <- winner{conn, n, a.born}:
		o.kind = outcomeWon
		n.inflight.Add(-1)
		a.life.send(o)
		return
	case <-a.req.ctx.Done():
	case <-a.life.ctx.Done():
		a.req.fail(&dialError{class: classNeutral, err: context.Cause(a.life.ctx)})
	}
	a.life.send(o)
	n.dial.close(conn)
	n.inflight.Add(-1)
	a.life.send(outcome{kind: outcomeReturned})
}

// overdue speaks for an attempt whose ctx is done while the backend is still
// at it: the deadline has passed, the open let go long ago, or the life ends.
func (a *attempt) overdue(ctx context.Context) {
	a.node.deaf.Add(1)
	o := outcome{kind: outcomeLost}
	failed := a.node.dial.judge(ctx, context.Cause(ctx), classSilent)
	if failed.class == classSilent {
		o = outcome{kind: outcomeFailed, evidence: a.node.evidence(failed)}
	}
	a.req.fail(failed)
	a.life.send(o)
}

// cancelWhenReleased cancels the attempt loser_grace after its open has ended.
// The func it returns calls that off.
func (a *attempt) cancelWhenReleased(cancel context.CancelFunc) (off func()) {
	released := make(chan *time.Timer, 1)
	stop := context.AfterFunc(a.req.ctx, func() {
		released <- time.AfterFunc(a.node.cfg.LoserGrace, cancel)
	})
	return func() {
		if !stop() {
			(<-released).Stop()
		}
	}
}

// evidence puts a failed dial or check into words for the loop.
func (n *node) evidence(e *dialError) evidence {
	return evidence{class: e.class, need: e.need, reason: fmt.Sprintf("%s: %s", e.class, n.dial.redact.text(e.err.Error()))}
}

// timeoutCause is both ErrAttemptTimeout and context.DeadlineExceeded.
func timeoutCause(d time.Duration) error {
	return fmt.Errorf("%w (%s): %w", ErrAttemptTimeout, d, context.DeadlineExceeded)
}

// attemptContext is cancelled by the attempt and has the caller's values: a
// caller that leaves must not cut a handshake short.
type attemptContext struct {
	context.Context
	values context.Context
}

// Value asks the attempt's own chain first: that is where package context
// finds what it needs to cancel children without a goroutine.
func (c attemptContext) Value(key any) any {
	if v := c.Context.Value(key); v != nil {
		return v
	}
	return c.values.Value(key)
}
