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

	winner   winner  // written by collect before the group's Wait returns
	launched []*node // whose load this open has raised; touched by open's goroutine alone

	mu       sync.Mutex
	failures []failure
}

// A failure is one launch that came to nothing; no why stands for one without
// an answer yet.
type failure struct {
	node  *node
	req   *request
	state State
	asked time.Time
	at    time.Time
	why   *dialError
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
	switch {
	case err != nil && running.Err() != nil:
		return nil, ErrClosed
	case err != nil:
		return nil, err
	}
	return w.node.wrap(w, closed), nil
}

// plan asks the strategy for the launches among the usable nodes, or among
// all where none is usable.
func (m *manager) plan(nodes []*node) (plan []launch, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("clustersql: cluster %q: the strategy panicked: %v", m.name, r)
		}
	}()
	all := make([]NodeStatus, 0, len(nodes))
	for _, n := range nodes {
		all = append(all, n.status())
	}
	usable := slices.DeleteFunc(slices.Clone(all), func(s NodeStatus) bool { return !s.State.usable() })
	if len(usable) == 0 {
		usable = all
	}
	asked := make(map[string]bool, len(usable))
	for _, l := range m.launches(usable) {
		i, known := findNode(nodes, l.Node)
		if !known || asked[l.Node] {
			continue
		}
		asked[l.Node] = true
		n := nodes[i]
		reserve := len(plan) > 0 && n.settings.Priority > plan[len(plan)-1].node.settings.Priority
		plan = append(plan, launch{n, l.Wait, reserve})
	}
	return plan, nil
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
	// reserve: a failure starts it early only if all before it have failed.
	reserve bool
}

// open plans and carries out one open.
func (m *manager) open(ctx context.Context, nodes []*node) (winner, error) {
	plan, err := m.plan(nodes)
	if err != nil {
		return winner{}, err
	}
	o := &opening{
		won:       make(chan winner),
		kick:      make(chan struct{}, len(plan)),
		exhausted: make(chan struct{}),
	}
	o.left.Store(int64(len(plan)))
	if len(plan) == 0 {
		close(o.exhausted)
	}
	defer o.unload()
	group, released := errgroup.WithContext(ctx)
	group.Go(func() error { return o.collect(released) })
	o.launch(released, group, plan)
	if err := group.Wait(); errors.Is(err, errWon) {
		o.tellOvertaken(plan)
		return o.winner, nil
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

// unload lowers the load of the nodes that this open launched on, but for the
// winner's: wrap does that.
func (o *opening) unload() {
	for _, n := range o.launched {
		if n != o.winner.node {
			n.load.planned.Add(-1)
		}
	}
}

// pause returns when the wait is over, or at a failure that leaves no more
// than enough launches, and reports whether the next launch is to start.
func (o *opening) pause(released context.Context, wait time.Duration, enough int64) bool {
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

// ask hands one node's actor the question and waits for its answer, or for
// the end of the open. A conn does not come this way; see collect.
func (o *opening) ask(released context.Context, n *node) {
	r := &request{ctx: released, won: o.won, failed: make(chan *dialError, 1)}
	i := o.begin(n, r)
	l := n.life.Load()
	if l == nil {
		o.fail(i, n.dial.failure(classNeutral, errRemoved))
		return
	}
	select {
	case l.open <- r:
	case <-released.Done():
		return
	case <-l.ctx.Done():
		o.fail(i, n.dial.failure(classNeutral, context.Cause(l.ctx)))
		return
	}
	select {
	case failed := <-r.failed:
		o.fail(i, failed)
	case <-released.Done():
	}
}

func (o *opening) begin(n *node, r *request) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failures = append(o.failures, failure{node: n, req: r, state: n.snapshot.Load().State, asked: time.Now()})
	return len(o.failures) - 1
}

func (o *opening) fail(i int, why *dialError) {
	o.mu.Lock()
	o.failures[i].why, o.failures[i].at = why, time.Now()
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
		if f.why == nil {
			f.why, f.at = f.node.dial.failure(classNeutral, errNoAnswer), now
		}
	}
	for _, n := range nodes {
		if asked[n] {
			continue
		}
		s, why := n.snapshot.Load(), errors.New("not asked")
		if s.Reason != "" {
			why = fmt.Errorf("not asked: %s", s.Reason)
		}
		o.failures = append(o.failures, failure{node: n, state: s.State, why: n.dial.failure(classNeutral, why)})
	}
	slices.SortStableFunc(o.failures, func(a, b failure) int { return b.at.Compare(a.at) })
	e := &OpenError{Cluster: cluster, Cause: cause}
	for _, f := range o.failures {
		e.Attempts = append(e.Attempts, AttemptError{
			Node: f.node.name, State: f.state, Took: f.at.Sub(f.asked),
			Err: f.why.err, text: f.why.text,
		})
	}
	return e
}
