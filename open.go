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
	conn := w.node.wrap(w, closed)
	if running.Err() == nil {
		return conn, nil
	}
	// The close came while the winner was on its way: whoever has closed the
	// cluster gets no connection of it any more.
	w.node.dial.close(conn)
	return nil, ErrClosed
}

func newRound(plan []launch) *round {
	r := &round{
		won:       make(chan winner),
		kick:      make(chan struct{}, len(plan)),
		exhausted: make(chan struct{}),
	}
	r.left.Store(int64(len(plan)))
	return r
}

// run carries out the plan. It returns when there is a winner, when every
// launch has failed, or when ctx is done.
func (r *round) run(ctx context.Context, plan []launch) (winner, bool) {
	defer r.releaseLoad()
	group, released := errgroup.WithContext(ctx)
	group.Go(func() error { return r.collect(released) })
	r.launch(released, group, plan)
	if err := group.Wait(); errors.Is(err, errWon) {
		r.reportOutrun(plan)
		return r.winner, true
	}
	return winner{}, false
}

// collect takes the first conn offered. It alone receives on won, and only
// once, so one open gets at most one conn.
func (r *round) collect(released context.Context) error {
	select {
	case r.winner = <-r.won:
		return errWon
	case <-r.exhausted:
	case <-released.Done():
	}
	return nil
}

// launch starts each launch when its wait is over, or at once when an earlier
// one has failed (RFC 8305, section 5). It stops when the open has ended.
func (r *round) launch(released context.Context, group *errgroup.Group, plan []launch) {
	for i, l := range plan {
		enough := len(plan)
		if l.reserve {
			enough -= i
		}
		if i > 0 && l.wait > 0 && !r.pause(released, l.wait, int64(enough)) {
			return
		}
		l.node.load.planned.Add(1)
		r.launched = append(r.launched, l.node)
		group.Go(func() error { r.ask(released, l.node); return nil })
	}
}

// releaseLoad lowers the load of the nodes that this round launched on, except
// the winner's: wrap lowers that one.
func (r *round) releaseLoad() {
	for _, n := range r.launched {
		if n != r.winner.node {
			n.load.planned.Add(-1)
		}
	}
}

// pause returns when the wait is over, or when a failure leaves no more than
// enough launches. It reports whether the next launch is to start.
func (r *round) pause(released context.Context, wait time.Duration, enough int64) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return true
		case <-r.kick:
			if r.left.Load() <= enough {
				return true
			}
		case <-released.Done():
			return false
		}
	}
}

// ask sends a request to one node's actor and waits for the answer, or for the
// end of the open. A conn does not come back this way; see collect.
func (r *round) ask(released context.Context, n *node) {
	req := &request{ctx: released, won: r.won, failed: make(chan *dialError, 1)}
	i := r.begin(n, req)
	l := n.life.Load()
	if l == nil {
		r.fail(i, n.dial.failure(health.Neutral, errRemoved))
		return
	}
	select {
	case l.open <- req:
	case <-released.Done():
		return
	case <-l.ctx.Done():
		r.fail(i, n.dial.failure(health.Neutral, context.Cause(l.ctx)))
		return
	}
	select {
	case failed := <-req.failed:
		r.fail(i, failed)
	case <-released.Done():
	}
}

func (r *round) begin(n *node, req *request) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, failure{node: n, req: req, asked: time.Now()})
	return len(r.failures) - 1
}

func (r *round) fail(i int, why *dialError) {
	r.mu.Lock()
	f := &r.failures[i]
	f.why, f.at, f.retryEpoch = why, time.Now(), f.node.snapshot.Load().retryEpoch
	r.mu.Unlock()
	if r.left.Add(-1) == 0 {
		close(r.exhausted)
		return
	}
	r.kick <- struct{}{} // never blocks: kick has room for every launch
}

// errNoAnswer is the failure of a node that had not answered when the open
// ended.
var errNoAnswer = errors.New("no answer before the open ended")

// failed returns how every launch failed. Launches that have no answer yet are
// given errNoAnswer.
func (r *round) failed() []failure {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.failures {
		if f := &r.failures[i]; f.why == nil {
			f.why, f.at, f.retryEpoch = f.node.dial.failure(health.Neutral, errNoAnswer), time.Now(), f.node.snapshot.Load().retryEpoch
		}
	}
	return r.failures
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
func (r *round) reportOutrun(plan []launch) {
	won := wave(plan, r.winner.node)
	if won == 0 {
		return
	}
	now := time.Now()
	for _, f := range r.failures {
		if v := wave(plan, f.node); f.why == nil && v < won {
			f.node.reportOutrun(outrun{f.req, headStart(plan, v), now})
		}
	}
}

// wave returns the number of the wave in which the node is launched, from 0.
// After the first launch, every launch with a wait starts a new wave.
func wave(plan []launch, n *node) int {
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
func headStart(plan []launch, v int) time.Duration {
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
