package clustersql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// An opening is one open under way:
//
//	Connect ── plan ──► launch loop ──► ask node 1 ──► its actor ──► attempt ─┐
//	                               ├──► ask node 2 ──► its actor ──► attempt ─┤
//	                               └──► ask node 3 ──► its actor ──► attempt ─┤
//	   conn ◄───────────── collect ◄──────────── won (unbuffered) ◄───────────┘
//
// The first attempt that is fit meets collect on won, and the conn is the
// open's. That ends the group and with it the group's context, which is what
// the other attempts see: they close what they have, or stop by and by.
type opening struct {
	won       chan winner
	kick      chan struct{} // one for every failure: starts the next launch
	exhausted chan struct{} // closed when every launch has failed
	left      atomic.Int64  // launches that have not failed

	winner winner // written by collect before the group's Wait returns

	mu       sync.Mutex
	failures []failure
}

// A failure is one launch that came to nothing; the zero err stands for one
// without an answer yet.
type failure struct {
	node  *node
	state State
	asked time.Time
	at    time.Time
	err   error
}

// connect opens on the cluster's nodes and returns the first fit connection,
// wrapped; the caller owns it. The caller's deadline bounds it as a whole, or
// open_timeout where there is none; so does the end of the actors' life.
// closed, which may be nil, is called when the conn has been closed.
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
	nodes := *m.nodes.Load()
	if len(nodes) == 0 {
		return nil, m.noNodes()
	}
	w, err := m.open(ctx, nodes)
	if err != nil {
		return nil, err
	}
	return w.node.wrap(w, closed), nil
}

// plan asks the strategy for the launches among the usable nodes, or among
// all where none is usable.
func (m *manager) plan(nodes []*node) []launch {
	all := make([]NodeStatus, 0, len(nodes))
	for _, n := range nodes {
		all = append(all, n.status())
	}
	usable := slices.DeleteFunc(slices.Clone(all), func(s NodeStatus) bool { return !s.State.usable() })
	if len(usable) == 0 {
		usable = all
	}
	var plan []launch
	asked := make(map[string]bool, len(usable))
	for _, l := range m.launches(usable) {
		i, known := findNode(nodes, l.Node)
		if !known || asked[l.Node] {
			continue
		}
		asked[l.Node] = true
		plan = append(plan, launch{nodes[i], l.Wait})
	}
	return plan
}

// donorWait is how long an open tries the other nodes before it asks donors,
// unless one of them fails first.
const donorWait = 250 * time.Millisecond

// launches asks the strategy; donors come after all others where one of those
// is up, whatever the strategy makes of them.
func (m *manager) launches(usable []NodeStatus) []Launch {
	var others, donors []NodeStatus
	better := false
	for _, s := range usable {
		if s.Donor {
			donors = append(donors, s)
			continue
		}
		others = append(others, s)
		better = better || s.State == StateUp
	}
	if len(donors) == 0 || !better {
		return m.cfg.Strategy(usable)
	}
	last := m.cfg.Strategy(donors)
	if len(last) > 0 {
		last[0].Wait = max(last[0].Wait, donorWait)
	}
	return slices.Concat(m.cfg.Strategy(others), last)
}

// A launch is a [Launch] of a node that exists.
type launch struct {
	node *node
	wait time.Duration
}

// open plans and carries out one open.
func (m *manager) open(ctx context.Context, nodes []*node) (winner, error) {
	plan := m.plan(nodes)
	o := &opening{
		won:       make(chan winner),
		kick:      make(chan struct{}, len(plan)),
		exhausted: make(chan struct{}),
	}
	o.left.Store(int64(len(plan)))
	if len(plan) == 0 {
		close(o.exhausted)
	}
	group, released := errgroup.WithContext(ctx)
	group.Go(func() error { return o.collect(released) })
	o.launch(released, group, plan)
	if err := group.Wait(); errors.Is(err, errWon) {
		return o.winner, nil
	}
	if errors.Is(context.Cause(ctx), ErrClosed) {
		return winner{}, ErrClosed
	}
	return winner{}, o.report(m.name, nodes, ctx.Err())
}

// collect takes the first conn offered. It alone receives on won, and once,
// so one open gets one conn at most.
func (o *opening) collect(released context.Context) error {
	select {
	case o.winner = <-o.won:
		return errWon
	case <-o.exhausted:
	case <-released.Done():
	}
	return nil
}

// launch starts each launch when its wait is over, or at once when an earlier
// one has failed (RFC 8305, section 5), until the open has ended.
func (o *opening) launch(released context.Context, group *errgroup.Group, plan []launch) {
	for i, l := range plan {
		if i > 0 && l.wait > 0 && !o.pause(released, l.wait) {
			return
		}
		group.Go(func() error { o.ask(released, l.node); return nil })
	}
}

// pause reports whether the next launch is to start.
func (o *opening) pause(released context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-o.kick:
	case <-released.Done():
		return false
	}
	return true
}

// ask hands one node's actor the question and waits for its answer, or for
// the end of the open. A conn does not come this way; see collect.
func (o *opening) ask(released context.Context, n *node) {
	i := o.begin(n)
	l := n.life.Load()
	if l == nil {
		o.fail(i, errRemoved)
		return
	}
	r := &request{ctx: released, won: o.won, failed: make(chan *dialError, 1)}
	select {
	case l.open <- r:
	case <-released.Done():
		return
	case <-l.ctx.Done():
		o.fail(i, context.Cause(l.ctx))
		return
	}
	select {
	case failed := <-r.failed:
		o.fail(i, failed.err)
	case <-released.Done():
	}
}

func (o *opening) begin(n *node) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failures = append(o.failures, failure{node: n, state: n.snapshot.Load().State, asked: time.Now()})
	return len(o.failures) - 1
}

func (o *opening) fail(i int, err error) {
	o.mu.Lock()
	o.failures[i].err, o.failures[i].at = err, time.Now()
	o.mu.Unlock()
	if o.left.Add(-1) == 0 {
		close(o.exhausted)
		return
	}
	o.kick <- struct{}{} // has room for every launch
}

// errNoAnswer stands for a node that had not answered when the open ended.
var errNoAnswer = errors.New("no answer before the open ended")

// report is the error of an open without a winner: what every node said, the
// latest first, and last the nodes that were not asked.
func (o *opening) report(cluster string, nodes []*node, cause error) error {
	now := time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	asked := make(map[*node]bool, len(nodes))
	for i := range o.failures {
		f := &o.failures[i]
		asked[f.node] = true
		if f.err == nil {
			f.err, f.at = errNoAnswer, now
		}
	}
	for _, n := range nodes {
		if asked[n] {
			continue
		}
		f := failure{node: n, state: n.snapshot.Load().State, err: errors.New("not asked")}
		if reason := n.snapshot.Load().Reason; reason != "" {
			f.err = fmt.Errorf("not asked: %s", reason)
		}
		o.failures = append(o.failures, f)
	}
	slices.SortStableFunc(o.failures, func(a, b failure) int { return b.at.Compare(a.at) })
	e := &OpenError{Cluster: cluster, Cause: cause}
	for _, f := range o.failures {
		e.Attempts = append(e.Attempts, AttemptError{
			Node: f.node.name, State: f.state, Took: f.at.Sub(f.asked),
			Err: f.err, text: f.node.dial.redact.text(f.err.Error()),
		})
	}
	return e
}
