package clustersql

import (
	"context"
	"database/sql/driver"
	"sync/atomic"
	"time"

	"github.com/EnumApps/clustersql/internal/health"
	"github.com/EnumApps/clustersql/internal/socket"
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
	// began is when the attempt started; zero while it waits for a slot.
	// Only the node's loop touches it.
	began time.Time
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
	conn   driver.Conn
	socket *socket.Slot // what the backend dialled, if it has told
	node   *node
	born   uint64 // the node's generation when the attempt began
}

type outcomeKind uint8

const (
	outcomeWon      outcomeKind = iota // the conn was handed over
	outcomeLost                        // released, or its life ended
	outcomeFailed                      // refused, unfit, or past its deadline
	outcomeReturned                    // after one of the former: the backend has come back, a slot is free
	outcomeProbe                       // a probe has ended, or is past its deadline
)

// An outcome is what an attempt or a probe tells the loop.
type outcome struct {
	kind     outcomeKind
	took     time.Duration // dial, handshake and check of a fresh conn; 0 if they were not all done
	trip     time.Duration // a probe's check on its lasting conn; 0 if there was none
	evidence health.Evidence
	conn     driver.Conn // of a probe: handed back to the loop, nil if there is none
	// req is to be answered with failed once the loop has published what it
	// made of it; nil where nobody is.
	req    *request
	failed *dialError
}

// answer tells the open, if one is to be told.
func (o *outcome) answer() {
	if o.req != nil {
		o.req.fail(o.failed)
	}
}

// An attempt is one request on its way through the backend, in a goroutine of
// its own. It holds one of the node's slots until the backend has returned.
type attempt struct {
	node *node
	life *life
	req  *request
	born uint64

	told atomic.Bool // overdue, abandon or run has told the loop how it ended
}

// run dials, and offers what it got to the open or closes it. It is bounded by
// attempt_timeout, and ends loser_grace after the open let go of it, or its
// life ended. What waits for it does not depend on the backend's heeding that:
// the open and the loop are told at the deadline, and the loop at the end of
// the life, and the rest is done when the backend returns.
func (a *attempt) run() {
	n := a.node
	cause := attemptTimeout(n.cfg.AttemptTimeout)
	deadline, cancel := context.WithTimeoutCause(context.WithoutCancel(a.req.ctx), n.cfg.AttemptTimeout, cause)
	defer cancel()
	defer cancelAfter(n.cfg.LoserGrace, cancel, a.req.ctx, a.life.ctx)()
	alive := context.AfterFunc(a.life.ctx, a.abandon)
	inTime := context.AfterFunc(deadline, func() { a.overdue(deadline) })
	began := time.Now()
	dialled := new(socket.Slot)
	conn, found, failed := n.dial.open(socket.With(deadline, dialled), a.req.ctx.Done(), 0)
	o := outcome{kind: outcomeLost}
	if found != nil && failed == nil {
		o.took, o.evidence = max(time.Since(began), 1), found.Evidence()
		o.evidence.Took = o.took
	}
	// From here on everything is prompt, and this goroutine alone tells, unless
	// overdue or abandon had to already.
	lives, timely := alive(), inTime()
	if !timely {
		n.deaf.Add(-1)
	}
	switch {
	case !lives, !timely:
	case failed != nil:
		a.tellFailed(failed)
	case a.offer(winner{conn, dialled, n, a.born}):
		o.kind, conn = outcomeWon, nil
		a.tell(o)
	default:
		a.tell(o)
	}
	if conn != nil {
		n.dial.close(conn)
	}
	n.inflight.Add(-1)
	n.returned()
}

// offer is the handover: it reports whether the open took the conn, and owns
// it now. An open that has ended does not.
func (a *attempt) offer(w winner) bool {
	if n := a.node; n.draining.Load() {
		a.req.fail(n.dial.failure(health.Neutral, n.whyDrained()))
		return false
	}
	select {
	case a.req.won <- w:
		return true
	case <-a.req.ctx.Done():
	case <-a.life.ctx.Done():
		a.req.fail(a.node.dial.failure(health.Neutral, context.Cause(a.life.ctx)))
	}
	return false
}

// overdue speaks for an attempt whose ctx is done while the backend is still
// at it: the deadline has passed, or the open let go long ago.
func (a *attempt) overdue(ctx context.Context) {
	a.node.deaf.Add(1)
	a.tellFailed(a.node.dial.judge(ctx, context.Cause(ctx), health.Silent))
}

// abandon speaks for an attempt whose life has ended: the loop does not wait
// for it.
func (a *attempt) abandon() {
	a.req.fail(a.node.dial.failure(health.Neutral, context.Cause(a.life.ctx)))
	a.tell(outcome{kind: outcomeLost})
}

// tell sends the loop the attempt's one won, lost or failed.
func (a *attempt) tell(o outcome) {
	if a.told.CompareAndSwap(false, true) {
		a.life.send(o)
	}
}

// tellFailed tells the loop, which then answers the open: by what the open
// sees of the node then, it decides whether it waits for it.
func (a *attempt) tellFailed(failed *dialError) {
	o := failed.outcome()
	o.req, o.failed = a.req, failed
	a.tell(o)
}

// outcome is a failed attempt's for the loop. A failure that says nothing
// about the node is our own doing: the open has ended, or the life has.
func (e *dialError) outcome() outcome {
	if e.class == health.Neutral && e.ours {
		return outcome{kind: outcomeLost}
	}
	return outcome{kind: outcomeFailed, evidence: e.evidence()}
}

// evidence is a failed dial or check for the transition function.
func (e *dialError) evidence() health.Evidence {
	return health.Evidence{Class: e.class, Need: e.need, Reason: e.reason(), Err: e.err}
}

// cancelAfter calls cancel a grace after the first of the contexts is done.
// The func it returns calls that off; cancel may run once more meanwhile.
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

// returned tells the loop that runs now, which need not be that of the
// attempt's own life, that a slot is free.
func (n *node) returned() { n.life.Load().send(outcome{kind: outcomeReturned}) }

// slots is how many attempts the node may have in flight now.
func (n *node) slots() int {
	switch f := &n.own.full; {
	case !n.own.health.State.Usable(), time.Now().Before(f.Until):
		return 0
	case f.Refused > 0:
		return 1
	}
	return n.cfg.MaxOpensPerNode
}

// refuseWaiting answers the requests that wait for a node that is down or
// full: no open pays for testing the one, and few for testing the other.
func (n *node) refuseWaiting() {
	if len(n.own.waiting) == 0 {
		return
	}
	why := n.own.fullWhy
	switch {
	case n.own.health.State == health.Draining:
		why = n.dial.failure(health.Neutral, n.whyDrained())
	case n.own.health.State == health.Down:
		why = known(n.snapshot.Load(), n.own.health.Reason)
	case why == nil:
		return
	}
	for _, r := range n.own.waiting {
		r.fail(why)
	}
	clear(n.own.waiting)
	n.own.waiting = n.own.waiting[:0]
}

// noteChance notes that an open which failed here may ask again, and wakes
// those that wait.
func (n *node) allowRetry() {
	n.own.facts.retryEpoch++
	n.own.changed = n.own.changed || n.waiting.Load() > 0
}

// overtaken tells the actor, and returns when its loop has taken it.
func (n *node) reportOutrun(e outrun) {
	l := n.life.Load()
	select {
	case l.outrun <- e:
	case <-l.ctx.Done():
	}
}

// onOvertaken makes a node suspect that was slower than it is used to be. A
// request that waited for a slot says nothing about the node, and neither
// does one whose sibling was pulled forward by the failure of a third.
func (n *node) onOutrun(l *life, e outrun) {
	if e.req.began.IsZero() {
		return
	}
	if took := e.at.Sub(e.req.began); took >= e.granted {
		n.learn(l, health.Evidence{Class: health.Slow, Took: took, Reason: health.SlowReason(took)})
	}
}
