package clustersql

import (
	"context"
	"database/sql/driver"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/EnumApps/clustersql/internal/health"
)

// A round is one round of an open under way: one plan, carried out once.
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
	won       chan winner
	kick      chan struct{} // one value for every failure: starts the next launch
	exhausted chan struct{} // closed when every launch has failed
	left      atomic.Int64  // launches that have not failed

	winner   winner  // written by collect before the group's Wait returns
	launched []*node // nodes whose load this round has raised; only run's goroutine touches it

	mu       sync.Mutex
	failures []failure
}

// A failure is a launch that gave no conn. While why is nil there is no answer
// yet.
type failure struct {
	node       *node
	req        *request
	asked      time.Time
	at         time.Time
	retryEpoch uint64 // of the node's snapshot when the launch failed
	why        *dialError
}

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
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(running, func() { cancel(ErrClosed) })()
	if _, ok := ctx.Deadline(); !ok {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, m.cfg.OpenTimeout)
		defer stop()
	}
	w, err := m.open(ctx)
	switch {
	case err != nil && running.Err() != nil:
		return nil, ErrClosed
	case err != nil:
		return nil, err
	}
	return w.node.wrap(w, closed), nil
}

func newRound(plan []launch) *round {
	o := &round{
		won:       make(chan winner),
		kick:      make(chan struct{}, len(plan)),
		exhausted: make(chan struct{}),
	}
	o.left.Store(int64(len(plan)))
	return o
}

// run carries out the plan. It returns when there is a winner, when every
// launch has failed, or when ctx is done.
func (o *round) run(ctx context.Context, plan []launch) (winner, bool) {
	defer o.releaseLoad()
	group, released := errgroup.WithContext(ctx)
	group.Go(func() error { return o.collect(released) })
	o.launch(released, group, plan)
	if err := group.Wait(); errors.Is(err, errWon) {
		o.tellOutrun(plan)
		return o.winner, true
	}
	return winner{}, false
}

// collect takes the first conn offered. It alone receives on won, and only
// once, so one open gets at most one conn.
func (o *round) collect(released context.Context) error {
	select {
	case o.winner = <-o.won:
		return errWon
	case <-o.exhausted:
	case <-released.Done():
	}
	return nil
}

// launch starts each launch when its wait is over, or at once when an earlier
// one has failed (RFC 8305, section 5). It stops when the open has ended.
func (o *round) launch(released context.Context, group *errgroup.Group, plan []launch) {
	for i, l := range plan {
		enough := len(plan)
		if l.reserve {
			enough -= i
		}
		if i > 0 && l.wait > 0 && !o.pause(released, l.wait, int64(enough)) {
			return
		}
		l.node.load.planned.Add(1)
		o.launched = append(o.launched, l.node)
		group.Go(func() error { o.ask(released, l.node); return nil })
	}
}

// releaseLoad lowers the load of the nodes that this round launched on, except
// the winner's: wrap lowers that one.
func (o *round) releaseLoad() {
	for _, n := range o.launched {
		if n != o.winner.node {
			n.load.planned.Add(-1)
		}
	}
}

// pause returns when the wait is over, or when a failure leaves no more than
// enough launches. It reports whether the next launch is to start.
func (o *round) pause(released context.Context, wait time.Duration, enough int64) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return true
		case <-o.kick:
			if o.left.Load() <= enough {
				return true
			}
		case <-released.Done():
			return false
		}
	}
}

// ask sends a request to one node's actor and waits for the answer, or for the
// end of the open. A conn does not come back this way; see collect.
func (o *round) ask(released context.Context, n *node) {
	r := &request{ctx: released, won: o.won, failed: make(chan *dialError, 1)}
	i := o.begin(n, r)
	l := n.life.Load()
	if l == nil {
		o.fail(i, n.dial.failure(health.Neutral, errRemoved))
		return
	}
	select {
	case l.open <- r:
	case <-released.Done():
		return
	case <-l.ctx.Done():
		o.fail(i, n.dial.failure(health.Neutral, context.Cause(l.ctx)))
		return
	}
	select {
	case failed := <-r.failed:
		o.fail(i, failed)
	case <-released.Done():
	}
}

func (o *round) begin(n *node, r *request) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failures = append(o.failures, failure{node: n, req: r, asked: time.Now()})
	return len(o.failures) - 1
}

func (o *round) fail(i int, why *dialError) {
	o.mu.Lock()
	f := &o.failures[i]
	f.why, f.at, f.retryEpoch = why, time.Now(), f.node.snapshot.Load().retryEpoch
	o.mu.Unlock()
	if o.left.Add(-1) == 0 {
		close(o.exhausted)
		return
	}
	o.kick <- struct{}{} // never blocks: kick has room for every launch
}

// errNoAnswer is the failure of a node that had not answered when the open
// ended.
var errNoAnswer = errors.New("no answer before the open ended")

// failed returns how every launch failed. Launches that have no answer yet are
// given errNoAnswer.
func (o *round) failed() []failure {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range o.failures {
		if f := &o.failures[i]; f.why == nil {
			f.why, f.at, f.retryEpoch = f.node.dial.failure(health.Neutral, errNoAnswer), time.Now(), f.node.snapshot.Load().retryEpoch
		}
	}
	return o.failures
}

// An outrun is an attempt that lost to an attempt launched later on another
// node. The node had the open to itself for headStart, and needed longer than
// that.
type outrun struct {
	req     *request
	granted time.Duration
	at      time.Time
}

// reportOutrun notifies the actors of the nodes whose attempts were outrun.
// Launches of the same wave start together; none of them outruns another. All
// goroutines of the round must have ended.
func (o *round) tellOutrun(plan []launch) {
	won := volley(plan, o.winner.node)
	if won == 0 {
		return
	}
	now := time.Now()
	for _, f := range o.failures {
		if v := volley(plan, f.node); f.why == nil && v < won {
			f.node.reportOutrun(outrun{f.req, granted(plan, v), now})
		}
	}
}

// wave returns the number of the wave in which the node is launched, from 0.
// After the first launch, every launch with a wait starts a new wave.
func volley(plan []launch, n *node) int {
	v := 0
	for i, l := range plan {
		if i > 0 && l.wait > 0 {
			v++
		}
		if l.node == n {
			break
		}
	}
	return v
}

// headStart returns the wait between a wave and the next one. v must not be the
// plan's last wave.
func granted(plan []launch, v int) time.Duration {
	for i, l := range plan {
		if i > 0 && l.wait > 0 {
			if v == 0 {
				return l.wait
			}
			v--
		}
	}
	return 0
}
