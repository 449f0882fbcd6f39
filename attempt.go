package clustersql

import (
	"context"
	"database/sql/driver"
	"sync"
	"sync/atomic"
	"time"

	"github.com/EnumApps/clustersql/internal/deadline"
	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/health"
	"github.com/EnumApps/clustersql/internal/socket"
)

// A request asks one node for a connection, for one open.
type request struct {
	// ctx is the open's: it carries the caller's values, and is done when the
	// open has ended, for any reason. That releases the attempt.
	ctx context.Context
	// values is the caller's context without its end. Attempts are made from it.
	values context.Context
	// won is the open's one unbuffered channel. A conn that is sent on it
	// belongs to the open from then on.
	won chan<- winner
	// why is the failure that the open is answered with, nil before that.
	// answered is closed then.
	why      atomic.Pointer[dialError]
	answered chan struct{}
	// refusedAt and retryEpoch are those of the answer. The open may take it
	// later: what has changed in between makes the node worth asking again.
	refusedAt  time.Time
	retryEpoch uint64
	node       *node
	// began is when the attempt started; zero while the request waits for a
	// slot. Only the node's loop touches it.
	began time.Time
	// attempt is nil while the request waits for a slot.
	attempt atomic.Pointer[attempt]
}

// release notifies the attempt, if it has started, that the open has ended. The
// request's ctx must be done: an attempt that starts meanwhile looks at that.
func (r *request) release() {
	if a := r.attempt.Load(); a != nil {
		a.hurry()
	}
}

// Ended reports whether the open has ended: an attempt that has not started by then
// never starts.
func (r *request) Ended() bool { return r.ctx.Err() != nil }

// fail answers the open. Only the first answer counts; later ones are dropped.
func (r *request) fail(why *dialError) {
	if r.why.CompareAndSwap(nil, why) {
		r.refusedAt = time.Now()
		if r.node != nil {
			r.retryEpoch = r.node.snapshot.Load().retryEpoch
		}
		close(r.answered)
	}
}

// A winner is a checked connection on its way to an open.
type winner struct {
	conn   driver.Conn
	socket *socket.Slot // the socket that the backend dialled, if it is known
	node   *node
	born   uint64 // the node's generation when the attempt began
}

type outcomeKind uint8

const (
	outcomeWon      outcomeKind = iota // the conn was handed over
	outcomeLost                        // the open had ended, or the attempt's life had
	outcomeFailed                      // refused, unfit, or past its deadline
	outcomeReturned                    // comes after one of the three above: the backend has returned, a slot is free
	outcomeProbe                       // a probe has ended, or is past its deadline
	outcomeLate                        // comes after that: the lasting connection got its answer late
	outcomeWaited                      // the wait of a doubt is over
	outcomeDialled                     // the dial of a doubt has ended
)

// An outcome is what an attempt or a probe reports to the loop.
type outcome struct {
	kind     outcomeKind
	took     time.Duration // time for dial, handshake and check of a fresh conn; 0 if not all were done
	trip     time.Duration // time for a probe's check on its lasting conn; 0 if there was none
	evidence health.Evidence
	layer    string         // of a probe that failed: where it did; see ProbeResult
	attempt  *attempt       // whose outcome it is if that is won, lost or failed; else nil
	conn     driver.Conn    // from a probe that got an answer: given back to the loop; else nil
	lasting  *socket.Slot   // of conn
	doubt    *doubt         // that has waited or dialled; else nil
	heard    time.Time      // of one that has waited: when the server last sent anything
	server   *health.Server // from a fresh probe that passed: which one it reached; else nil
	// req is answered with failed after the loop has published what it learnt.
	// It is nil if there is nobody to answer.
	req    *request
	failed *dialError
}

// answer answers the open, if there is one to answer.
func (o *outcome) answer() {
	if o.req != nil {
		o.req.fail(o.failed)
	}
}

// An attempt carries out one request in a goroutine of its own. It holds one of
// the node's slots until the backend has returned.
type attempt struct {
	node *node
	life *life
	req  *request
	born uint64

	began  time.Time
	ctx    context.Context    // what the backend gets
	limit  *deadline.Deadline // ends ctx, and calls overdue
	socket *socket.Slot       // what the backend dials

	mu       sync.Mutex // guards what follows; never held across a wait
	hurried  bool
	returned bool // the backend has returned
	late     bool // the backend had not returned when the ctx ended
	reported bool // somebody has taken it on to report to the loop
}

// newAttempt returns the attempt for a request. Its time runs.
func (n *node) newAttempt(l *life, r *request) *attempt {
	a := &attempt{node: n, life: l, req: r, born: n.generation.Load(), began: r.began, socket: &socket.Slot{UserTimeout: n.cfg().TCPUserTimeout, Resolver: n.cfg().resolver()}}
	a.mu.Lock() // overdue waits for it before it reads what follows
	defer a.mu.Unlock()
	a.limit = deadline.New(r.values, n.cfg().AttemptTimeout, n.attemptTimeout(), a.overdue)
	a.ctx = socket.With(a.limit, a.socket)
	return a
}

// run dials. It offers the conn to the open, or closes it. attempt_timeout
// bounds it. It is cancelled loser_grace after the open has ended or the life
// has.
//
// Nobody waits for a backend that does not react to cancel. The loop is
// notified at the deadline, and answers the open then. At the end of the life
// the loop answers the open at once. The rest is done when the backend returns.
func (a *attempt) run() {
	n := a.node
	defer a.life.release()
	defer a.limit.Cancel()
	defer n.returned()
	var r dialed
	defer a.settle(time.Now(), &r) // also if the backend or the check ends this goroutine
	n.dial.open(a.ctx, a.req.ctx.Done(), question{causal: n.snapshot.Load().view.Conf != 0}, &r)
}

// settle reports what came of the attempt, and hands its conn over or closes
// it. It waits for no backend, except in that close.
func (a *attempt) settle(began time.Time, r *dialed) {
	o := outcome{kind: outcomeLost}
	if r.found != nil {
		o.took, o.evidence = max(time.Since(began), 1), r.found.Evidence()
		o.evidence.Took, o.evidence.Fresh = o.took, true
	}
	conn := r.conn
	switch {
	case !a.finish(): // overdue or the loop has reported
	case r.failed != nil:
		a.reportFailed(r.failed)
	case a.offer(winner{conn, a.socket, a.node, a.born}):
		o.kind, conn = outcomeWon, nil
		a.report(o)
	default:
		a.report(o)
	}
	if conn != nil {
		a.node.close(conn)
	}
}

// finish notes that the backend has returned. It reports whether the caller is
// the one to report to the loop.
func (a *attempt) finish() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.returned = true
	if a.late {
		a.node.deaf.Add(-1)
	}
	return a.claim()
}

// claim reports whether nobody else reports to the loop. The caller holds a.mu,
// and reports if it is true.
func (a *attempt) claim() bool {
	first := !a.reported
	a.reported = true
	return first
}

// hurry cancels the attempt loser_grace from now, unless its deadline comes
// earlier. Only the first call counts.
func (a *attempt) hurry() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.hurried || a.returned || a.late {
		return
	}
	a.hurried = true
	a.limit.Shorten(a.node.cfg().LoserGrace, context.Canceled)
}

// offer hands the conn over: if it returns true, the open owns the conn. If the
// open or the life has ended, or the node is draining, it returns false and the
// caller still owns the conn.
func (a *attempt) offer(w winner) bool {
	if n := a.node; n.draining.Load() {
		a.req.fail(n.dial.failure(health.Neutral, n.drainCause()))
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

// overdue reports for an attempt whose time is over while the backend has not
// returned: the deadline has passed, or the open or the life ended loser_grace
// ago.
func (a *attempt) overdue() {
	a.mu.Lock()
	if a.returned || a.late {
		a.mu.Unlock()
		return
	}
	a.late = true
	a.node.deaf.Add(1)
	reports := a.claim()
	a.mu.Unlock()
	if reports {
		failed := a.node.dial.judge(a.ctx, context.Cause(a.ctx), health.Silent)
		failed.fresh, failed.need = true, failed.need|health.ScopeDial
		a.reportFailed(failed)
	}
}

// abandon ends an attempt of a life that ends. It answers the open, unless
// somebody else does. It returns false if the attempt's report is still to
// come. Only the loop calls it.
func (a *attempt) abandon() bool {
	a.hurry()
	a.mu.Lock()
	mine := a.claim()
	a.mu.Unlock()
	if mine {
		a.req.fail(a.node.dial.failure(health.Neutral, context.Cause(a.life.ctx)))
	}
	return mine
}

// report sends the attempt's outcome (won, lost or failed) to the loop. Only
// whoever has claimed that calls it.
func (a *attempt) report(o outcome) {
	o.attempt, o.evidence.Began = a, a.began
	a.life.send(o)
}

// reportFailed reports a failure to the loop. The loop answers the open after
// it has published the node's new state. The open needs that state to decide
// whether to wait for the node.
func (a *attempt) reportFailed(failed *dialError) {
	o := failed.outcome()
	o.req, o.failed = a.req, failed
	a.report(o)
}

// outcome returns a failed attempt's outcome. If the failure says nothing about
// the node and we caused it ourselves, because the open or the life has ended,
// the attempt counts as lost.
func (e *dialError) outcome() outcome {
	if e.class == health.Neutral && e.ours {
		return outcome{kind: outcomeLost}
	}
	return outcome{kind: outcomeFailed, evidence: e.evidence()}
}

// evidence returns a failed dial or check as evidence for the transition
// function.
func (e *dialError) evidence() health.Evidence {
	return health.Evidence{Class: e.class, Need: e.need, Fresh: e.fresh, Goes: e.goes, Spoke: e.spoke, Reason: e.reason(), Err: e.err}
}

// returned frees an attempt's slot and notifies the loop. That is the loop that
// runs now, which may be that of a later life than the attempt's.
func (n *node) returned() {
	n.inflight.Add(-1)
	n.life.Load().send(outcome{kind: outcomeReturned})
}

// slots returns how many attempts the node may have in flight now.
func (n *node) slots() int {
	switch f := &n.loop.full; {
	case !n.loop.health.State.Usable(), time.Now().Before(f.Until):
		return 0
	case f.Refused > 0:
		return 1
	}
	return n.cfg().MaxOpensPerNode
}

// refuseWaiting answers the requests that wait for a draining, down or full
// node. Opens must not spend time on testing a down node, and only one at a
// time may test a full node.
func (n *node) refuseWaiting() {
	if n.loop.waiting.Empty() {
		return
	}
	why := n.loop.fullWhy
	switch {
	case n.loop.health.State == health.Draining:
		why = n.dial.failure(health.Neutral, n.drainCause())
	case n.loop.health.State == health.Down:
		why = stateError(n.snapshot.Load(), n.loop.health.Reason)
	case why == nil:
		return
	}
	n.refuseAll(why)
}

// refuseAll answers all requests that wait with the same failure.
func (n *node) refuseAll(why *dialError) {
	n.loop.waiting.Clear(func(r *request) { r.fail(why) })
}

// allowRetry grows the retry epoch: an open that failed here may ask again.
func (n *node) allowRetry() { n.loop.facts.retryEpoch++ }

// invite calls as many of the opens that wait as there are free slots. Each
// outcome makes the next ones come. So a crowd of opens comes bit by bit,
// however small the room is, and nobody else wakes.
func (n *node) invite() {
	n.loop.invites = false
	if n.room.Waiting() == 0 || !n.loop.waiting.Empty() {
		return
	}
	n.room.Invite(n, n.slots()-int(n.inflight.Load()))
}

// reportOutrun notifies the actor. It returns when the loop has taken the
// message or the life is to end.
func (n *node) reportOutrun(e outrun) {
	l := n.life.Load()
	select {
	case l.outrun <- e:
	case <-l.ctx.Done():
	}
}

// onOutrun makes a node suspect if it was slower than it usually is. It ignores
// two cases that say nothing about the node's speed. The request may still have
// waited for a slot. Or the node had less time than its headStart, because the
// failure of a third node started the winner early.
func (n *node) onOutrun(l *life, e outrun) {
	if e.req.began.IsZero() {
		return
	}
	if took := e.at.Sub(e.req.began); took >= e.headStart {
		n.tally.Outrun.Add(1)
		n.learn(l, health.Evidence{Class: health.Slow, Took: took, Reason: health.SlowReason})
	}
}

// askMembers asks one node who the members of its group are, on a connection of its own.
func (n *node) askMembers(ctx context.Context) ([]string, []dialect.Unaddressed, error) {
	ctx, cancel := context.WithTimeout(ctx, n.cfg().AttemptTimeout)
	defer cancel()
	var r dialed
	n.dial.connect(ctx, &r)
	if r.failed != nil {
		return nil, nil, r.failed.err
	}
	defer n.close(r.conn)
	return n.dial.dialect.Members(ctx, r.conn)
}
