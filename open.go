package clustersql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/EnumApps/clustersql/internal/balance"
	"github.com/EnumApps/clustersql/internal/health"
)

// An opening is one round of an open under way:
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
	node    *node
	req     *request
	asked   time.Time
	at      time.Time
	chances uint64 // of the node's status when it failed
	why     *dialError
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
	w, err := m.open(ctx)
	switch {
	case err != nil && running.Err() != nil:
		return nil, ErrClosed
	case err != nil:
		return nil, err
	}
	return w.node.wrap(w, closed), nil
}

// plan asks the strategy for the launches among the usable nodes. There are
// none where no node is.
func (m *manager) plan(nodes []*node) (plan []launch, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("clustersql: cluster %q: the strategy panicked: %v", m.name, r)
		}
	}()
	now := time.Now()
	usable := make([]candidate, 0, len(nodes))
	for _, n := range nodes {
		if c := (candidate{n, n.member(now)}); c.State.Usable() {
			usable = append(usable, c)
		}
	}
	if len(usable) == 0 {
		return nil, nil
	}
	last := slices.IndexFunc(usable, candidate.secondRate)
	if last < 0 || !slices.ContainsFunc(usable, candidate.firstRate) {
		return m.ask(nil, usable, 0), nil
	}
	var others, rest []candidate
	for _, c := range usable {
		if c.secondRate() {
			rest = append(rest, c)
		} else {
			others = append(others, c)
		}
	}
	return m.ask(m.ask(nil, others, 0), rest, lastWait), nil
}

// lastWait is how long an open tries the other nodes before it asks those that
// come last, unless one of them fails first.
const lastWait = 250 * time.Millisecond

// A candidate is a usable node with what the strategy is told of it.
type candidate struct {
	node *node
	balance.Member
}

// secondRate reports whether the node is asked after the others, whatever the
// strategy makes of it.
func (c candidate) secondRate() bool { return c.Donor || c.Full }

// firstRate reports whether the node is up, and not asked last.
func (c candidate) firstRate() bool { return c.State == health.Up && !c.secondRate() }

// ask appends what the strategy plans for the candidates. The first of them
// waits at least for the given time.
func (m *manager) ask(plan []launch, candidates []candidate, wait time.Duration) []launch {
	s := m.cfg.Strategy
	first := true
	add := func(n *node, w time.Duration) {
		if first {
			w, first = max(w, wait), false
		}
		reserve := len(plan) > 0 && n.settings.Priority > plan[len(plan)-1].node.settings.Priority
		plan = append(plan, launch{n, w, reserve})
	}
	if s.own == nil {
		members := make([]balance.Member, len(candidates))
		for i := range candidates {
			members[i] = candidates[i].Member
		}
		for _, l := range s.plan(members, m.draw) {
			add(candidates[l.At].node, l.Wait)
		}
		return plan
	}
	shown := make([]NodeStatus, len(candidates))
	for i := range candidates {
		shown[i] = candidates[i].node.status()
	}
	asked := make(map[string]bool, len(candidates))
	for _, l := range s.own(shown) {
		i, known := slices.BinarySearchFunc(candidates, l.Node, func(c candidate, name string) int { return strings.Compare(c.Name, name) })
		if known && !asked[l.Node] {
			asked[l.Node] = true
			add(candidates[i].node, l.Wait)
		}
	}
	return plan
}

// A launch is a [Launch] of a node that exists.
type launch struct {
	node *node
	wait time.Duration
	// reserve: a failure starts it early only if all before it have failed.
	reserve bool
}

func newOpening(plan []launch) *opening {
	o := &opening{
		won:       make(chan winner),
		kick:      make(chan struct{}, len(plan)),
		exhausted: make(chan struct{}),
	}
	o.left.Store(int64(len(plan)))
	return o
}

// carryOut launches the plan, and returns with a winner, when every launch has
// failed, or when ctx is done.
func (o *opening) carryOut(ctx context.Context, plan []launch) (winner, bool) {
	defer o.unload()
	group, released := errgroup.WithContext(ctx)
	group.Go(func() error { return o.collect(released) })
	o.launch(released, group, plan)
	if err := group.Wait(); errors.Is(err, errWon) {
		o.tellOvertaken(plan)
		return o.winner, true
	}
	return winner{}, false
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

func (o *opening) begin(n *node, r *request) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failures = append(o.failures, failure{node: n, req: r, asked: time.Now()})
	return len(o.failures) - 1
}

func (o *opening) fail(i int, why *dialError) {
	o.mu.Lock()
	f := &o.failures[i]
	f.why, f.at, f.chances = why, time.Now(), f.node.snapshot.Load().chances
	o.mu.Unlock()
	if o.left.Add(-1) == 0 {
		close(o.exhausted)
		return
	}
	o.kick <- struct{}{} // has room for every launch
}

// errNoAnswer stands for a node that had not answered when the open ended.
var errNoAnswer = errors.New("no answer before the open ended")

// failed returns how every launch failed; those without an answer by now have
// failed for that.
func (o *opening) failed() []failure {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range o.failures {
		if f := &o.failures[i]; f.why == nil {
			f.why, f.at, f.chances = f.node.dial.failure(health.Neutral, errNoAnswer), time.Now(), f.node.snapshot.Load().chances
		}
	}
	return o.failures
}
