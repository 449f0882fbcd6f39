package clustersql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/EnumApps/clustersql/internal/balance"
	"github.com/EnumApps/clustersql/internal/causal"
	"github.com/EnumApps/clustersql/internal/deadline"
	"github.com/EnumApps/clustersql/internal/gate"
	"github.com/EnumApps/clustersql/internal/health"
)

// connect opens on the cluster's nodes and returns the first fit connection,
// wrapped. The caller owns it. The caller's deadline bounds the whole open, or
// open_timeout if there is none. The open also ends when the actors' life ends;
// the error is ErrClosed then. closed may be nil; it is called once the conn
// has been closed.
func (m *manager) connect(ctx context.Context, closed func()) (driver.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	running, err := m.running()
	if err != nil {
		return nil, err
	}
	o := &opening{m: m, ended: running.Done(), session: causal.In(ctx)}
	if o.session != nil {
		m.tally.Sessions.Store(true)
	}
	if _, ok := ctx.Deadline(); !ok {
		o.timer.Last = time.Now().Add(m.cfg().OpenTimeout)
	}
	w, err := o.pass(ctx)
	switch {
	case err != nil && running.Err() != nil:
		return nil, ErrClosed
	case err != nil:
		return nil, err
	}
	conn := w.node.wrap(w, closed)
	if running.Err() == nil {
		return conn, nil
	}
	// The close came while the winner was on its way: whoever has closed the
	// cluster gets no connection of it any more.
	w.node.closeInTime(conn)
	return nil, ErrClosed
}

// beside opens a connection on one of the planned nodes, for a read that is under way
// on another one. There is one round.
func (m *manager) beside(ctx context.Context, plan []launch) (winner, bool) {
	running, err := m.running()
	if err != nil {
		return winner{}, false
	}
	o := &opening{m: m, ended: running.Done(), timer: deadline.Alarm{Last: time.Now().Add(m.cfg().AttemptTimeout)}}
	defer o.timer.Stop()
	return o.newRound(plan).run(ctx)
}

// At most opensAtOnce opens begin at the same time, unless they turn out to take
// longer than quickOpen. A herd of them would dial every node at once, and its
// cost per open would grow with its size: every goroutine that they need would
// be a new one.
const (
	opensAtOnce = 256
	quickOpen   = 100 * time.Millisecond
)

// pass runs the open when its turn has come. It waits with a small stack.
func (o *opening) pass(ctx context.Context) (winner, error) {
	pass := o.m.gate.Enter(ctx, o.ended)
	if pass == 0 {
		return winner{}, o.openError(*o.m.nodes.Load(), o.over(ctx))
	}
	defer o.m.gate.Leave(pass)
	return o.run(ctx)
}

// An opening is one open under way, from its beginning to its end. It consists
// of rounds of attempts. Between two rounds it waits until a node may be asked
// again.
type opening struct {
	m        *manager
	ended    <-chan struct{}    // closed when the actors' life ends
	timer    deadline.Alarm     // for whatever the open waits for next; at last for open_timeout, unless the caller has set a deadline
	session  *causal.Session    // of the caller; nil without one
	current  round              // the latest round
	failures map[*node]*failure // each node's latest failure in this open; nil while there is none

	dark  bool             // it was counted as one that found no usable node
	eager bool             // the open was called, or has begun to wait after a round; not woken with all others
	seat  gate.Seat[*node] // in the waiting room
}

// run asks the usable nodes as the strategy plans it. If none gives a
// connection, or none is usable, it waits until a node comes up and asks again,
// until ctx is done or open_timeout is over. It gives up earlier if waiting
// cannot help; see mayRecover.
func (o *opening) run(ctx context.Context) (winner, error) {
	defer o.m.room.Depart(o)
	defer o.timer.Stop()
	for {
		news := o.m.news.Next()
		nodes := *o.m.nodes.Load()
		if len(nodes) == 0 {
			if !o.m.cfg().discovers() {
				return winner{}, o.m.noNodes()
			}
			o.wait(ctx, nil, news) // for the first answer
			if cause := o.over(ctx); cause != nil && len(*o.m.nodes.Load()) == 0 {
				return winner{}, fmt.Errorf("%w: %w", o.m.noNodes(), cause)
			}
			continue
		}
		plan, err := o.plan(nodes)
		if err != nil {
			return winner{}, err
		}
		o.noteDark(nodes)
		switch {
		case len(plan) > 0:
			o.m.room.Leave(o)
			w, won := o.round(ctx, plan)
			if won {
				return w, nil
			}
		case !o.mayRecover(nodes):
			return winner{}, o.openError(nodes, nil)
		case o.m.room.Enter(o):
			o.eager = true
			// Changes are not missed from here on. There may have been one
			// since the look at the nodes.
		default:
			o.wait(ctx, nodes, news)
		}
		if cause := o.over(ctx); cause != nil {
			return winner{}, o.openError(nodes, cause)
		}
	}
}

// round carries out one plan, and remembers how its launches failed.
func (o *opening) round(ctx context.Context, plan []launch) (winner, bool) {
	r := o.newRound(plan)
	w, won := r.run(ctx)
	if won {
		o.m.tally.Masked.Add(o.masked())
		return w, true
	}
	if o.failures == nil {
		o.failures = make(map[*node]*failure, len(plan))
	}
	for _, f := range r.failed() {
		o.failures[f.node] = f
	}
	return winner{}, false
}

// masked returns how many failures of nodes the open has met that the caller does
// not get to see, because there is a winner.
func (o *opening) masked() (n uint64) {
	failed := func(f *failure) {
		if f.why != nil && f.why.class != health.Neutral {
			n++
		}
	}
	for _, f := range o.failures {
		failed(f)
	}
	for _, f := range o.current.failures {
		failed(f)
	}
	return n
}

// A round is one plan of an open, carried out once.
//
//	Connect ── plan ──► launch loop ──► ask node 1 ──► its actor ──► attempt ─┐
//	                               ├──► ask node 2 ──► its actor ──► attempt ─┤
//	                               └──► ask node 3 ──► its actor ──► attempt ─┤
//	   conn ◄───────────── collect ◄──────────── won (unbuffered) ◄───────────┘
//
// The first attempt with a fit conn sends it on won to collect. From then on
// the open owns the conn. That ends the errgroup, and so cancels the group's
// context. The other attempts see that: each one closes the conn that it gets,
// and one that takes longer than loser_grace is cancelled.
type round struct {
	opening *opening
	plan    balance.Plan[*node] // its steps become failures, in this order
	won     chan winner
	kick    chan struct{} // one value for every failure: starts the next launch; nil if no launch waits
	left    atomic.Int64  // launches that have not failed

	winner winner // written by collect before the group's Wait returns

	// failures are the launches so far. Only run's goroutine adds. The
	// goroutine that asks a node writes how that launch failed; the group's Wait
	// hands it over.
	failures []*failure
	few      [4]*failure // what failures begins with
}

// A failure is a launch that gave no conn. While why is nil there is no answer
// yet.
type failure struct {
	node       *node
	req        request
	asked      time.Time
	at         time.Time
	retryEpoch uint64 // of the node's snapshot when the launch failed
	why        *dialError
}

// newRound begins the next round. The round before must have ended.
func (o *opening) newRound(plan []launch) *round {
	r := &o.current
	r.opening, r.plan, r.won, r.kick, r.winner = o, plan, make(chan winner), nil, winner{}
	if r.plan.Waits() {
		r.kick = make(chan struct{}, len(plan))
	}
	r.left.Store(int64(len(plan)))
	r.failures = r.few[:0]
	return r
}

// run carries out the plan. It returns when there is a winner, when every
// launch has failed, or when the open ends.
func (r *round) run(ctx context.Context) (winner, bool) {
	defer r.releaseLoad()
	group, released := errgroup.WithContext(ctx)
	values := ctx
	if ctx.Done() != nil {
		values = context.WithoutCancel(ctx)
	}
	group.Go(func() error { return r.collect(released) })
	if ended := r.launch(released, group, values); ended != nil {
		group.Go(func() error { return ended })
	}
	_ = group.Wait() // collect may take a conn after the open was told to end: the winner counts, not the error
	for _, f := range r.failures {
		f.req.release()
	}
	if r.winner.conn == nil {
		return winner{}, false
	}
	r.reportOutrun()
	return r.winner, true
}

// collect takes the first conn offered. It alone receives on won, and only
// once, so one open gets at most one conn.
func (r *round) collect(released context.Context) error {
	select {
	case r.winner = <-r.won:
		return errWon
	case <-released.Done():
		return nil
	}
}

// launch starts each launch when its wait is over, or at once when an earlier
// one has failed (RFC 8305, section 5). It returns when the round has ended, or
// with the reason why it has to end.
func (r *round) launch(released context.Context, group *errgroup.Group, values context.Context) error {
	for next := 0; ; {
		next = r.start(released, group, values, next)
		if goesOn, why := r.pause(released, next); !goesOn {
			return why
		}
	}
}

// pause returns true when the launch next is to start: when its wait is over, or
// when enough launches have failed. It returns false when the round has ended,
// or has to end for the reason that it returns. After the last launch only that
// can happen.
func (r *round) pause(released context.Context, next int) (bool, error) {
	due, enough := time.Time{}, 0
	if next < len(r.plan) {
		due, enough = time.Now().Add(r.plan[next].Wait), r.plan.Enough(next)
	}
	alarm := r.opening.timer.At(due)
	for {
		select {
		case <-r.kick:
			if r.left.Load() <= int64(enough) {
				return true, nil
			}
		case <-alarm:
			if r.opening.timer.Over() {
				return false, context.DeadlineExceeded
			}
			return true, nil
		case <-r.opening.ended:
			return false, ErrClosed
		case <-released.Done():
			return false, nil
		}
	}
}

// start starts the launch next and those that follow it without a wait. It
// returns the one that waits.
func (r *round) start(released context.Context, group *errgroup.Group, values context.Context, next int) int {
	for i := next; i < len(r.plan); i++ {
		n := r.plan[i].Node
		if i > next && r.plan[i].Wait > 0 {
			return i
		}
		n.load.Planned.Add(1)
		n.tally.Chosen.Add(1)
		f := &failure{
			node: n, asked: time.Now(),
			req: request{ctx: released, values: values, won: r.won, answered: make(chan struct{}), node: n},
		}
		r.failures = append(r.failures, f)
		group.Go(func() error { return r.ask(released, f) })
	}
	return len(r.plan)
}

// releaseLoad lowers the load of the nodes that this round launched on, except
// the winner's: wrap lowers that one.
func (r *round) releaseLoad() {
	for _, f := range r.failures {
		if f.node != r.winner.node {
			f.node.load.Planned.Add(-1)
		}
	}
}

// ask sends a request to one node's actor and waits for the answer, or for the
// end of the open. A conn does not come back this way; see collect. The last
// launch that fails ends the round.
func (r *round) ask(released context.Context, f *failure) error {
	l := f.node.life.Load()
	if l == nil {
		return r.fail(f, f.node.dial.failure(health.Neutral, errRemoved))
	}
	select {
	case l.open <- &f.req:
	case <-released.Done():
		return nil
	case <-l.ctx.Done():
		return r.fail(f, f.node.dial.failure(health.Neutral, context.Cause(l.ctx)))
	}
	select {
	case <-f.req.answered:
		f.why, f.at, f.retryEpoch = f.req.why.Load(), f.req.refusedAt, f.req.retryEpoch
		return r.oneLess()
	case <-released.Done():
		return nil
	}
}

// errExhausted ends a round in which every launch has failed.
var errExhausted = errors.New("every launch has failed")

func (r *round) fail(f *failure, why *dialError) error {
	f.fail(why)
	return r.oneLess()
}

// oneLess counts a launch that has failed.
func (r *round) oneLess() error {
	if r.left.Add(-1) == 0 {
		return errExhausted
	}
	if r.kick != nil {
		r.kick <- struct{}{} // never blocks: kick has room for every launch
	}
	return nil
}

func (f *failure) fail(why *dialError) {
	f.why, f.at, f.retryEpoch = why, time.Now(), f.node.snapshot.Load().retryEpoch
}

// errNoAnswer is of a node that had not answered when the open ended.
var errNoAnswer = errors.New("no answer before the open ended")

// failed returns how every launch failed. Launches that have no answer yet are
// given errNoAnswer. All goroutines of the round must have ended.
func (r *round) failed() []*failure {
	for _, f := range r.failures {
		if f.why == nil {
			f.fail(f.node.dial.failure(health.Neutral, errNoAnswer))
		}
	}
	return r.failures
}
