package clustersql

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/EnumApps/clustersql/internal/causal"
	"github.com/EnumApps/clustersql/internal/gate"
	"github.com/EnumApps/clustersql/internal/health"
)

// An opening is one open under way, from its beginning to its end. It consists
// of rounds of attempts. Between two rounds it waits until a node may be asked
// again.
type opening struct {
	m        *manager
	ended    <-chan struct{} // closed when the actors' life ends
	deadline time.Time       // of open_timeout; zero if the caller has set one
	timer    *time.Timer     // for whatever the open waits for next; nil before its first use

	session *causal.Session // of the caller; nil without one

	current  round              // the latest round
	failures map[*node]*failure // each node's latest failure in this open; nil while there is none

	dark  bool // it was counted as one that found no usable node
	eager bool // the open was called, or has begun to wait after a round; not woken with all others

	seat gate.Seat[*node] // in the waiting room
}

// A waitingRoom holds the opens of a cluster that wait until a node may be asked
// again. A node that has room calls as many as it has room for.
type waitingRoom = gate.Room[*node, *opening]

// Seat returns the open's seat in the waiting room.
func (o *opening) Seat() *gate.Seat[*node] { return &o.seat }

// MayAsk reports whether the open may ask a node that calls it.
func (o *opening) MayAsk(n *node) bool { return o.mayAsk(n, true) }

// run asks the usable nodes as the strategy plans it. If none gives a
// connection, or none is usable, it waits until a node comes up and asks again,
// until ctx is done or open_timeout is over. It gives up earlier if waiting
// cannot help; see mayRecover.
func (o *opening) run(ctx context.Context) (winner, error) {
	defer o.m.room.Depart(o)
	defer o.stop()
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

// over returns why the open has ended without a winner, or nil if it goes on.
func (o *opening) over(ctx context.Context) error {
	select {
	case <-o.ended:
		return ErrClosed
	default:
	}
	if o.late() {
		return context.DeadlineExceeded
	}
	return ctx.Err()
}

// late reports whether open_timeout is over.
func (o *opening) late() bool {
	return !o.deadline.IsZero() && !time.Now().Before(o.deadline)
}

// alarm returns a channel that receives at the given time, or when open_timeout
// is over if that is earlier. at may be zero: then it is for open_timeout alone.
// An earlier alarm of the open is off.
func (o *opening) alarm(at time.Time) <-chan time.Time {
	if at.IsZero() || !o.deadline.IsZero() && o.deadline.Before(at) {
		at = o.deadline
	}
	if at.IsZero() {
		return nil
	}
	wait := max(time.Until(at), 1)
	if o.timer == nil {
		o.timer = time.NewTimer(wait)
	} else {
		o.timer.Reset(wait)
	}
	return o.timer.C
}

func (o *opening) stop() {
	if o.timer != nil {
		o.timer.Stop()
	}
}

// plan returns the launches of the next round. It asks the strategy only if
// there is a node to ask.
func (o *opening) plan(nodes []*node) ([]launch, error) {
	if !slices.ContainsFunc(nodes, func(n *node) bool { return o.mayAsk(n, o.eager) }) {
		return nil, nil
	}
	plan, err := o.m.plan(nodes, o.session)
	if o.failures == nil {
		return plan, err
	}
	return slices.DeleteFunc(plan, func(l launch) bool { return !o.worthAsking(l.node, o.eager) }), err
}

// round carries out one plan, and remembers how its launches failed.
func (o *opening) round(ctx context.Context, plan []launch) (winner, bool) {
	r := o.newRound(plan)
	w, won := r.run(ctx)
	if won {
		o.m.tally.Masked.Add(o.masked())
	} else {
		if o.failures == nil {
			o.failures = make(map[*node]*failure, len(plan))
		}
		for _, f := range r.failed() {
			o.failures[f.node] = f
		}
	}
	return w, won
}

// noteDark counts the open if no node is usable, once.
func (o *opening) noteDark(nodes []*node) {
	if !o.dark && !slices.ContainsFunc(nodes, func(n *node) bool { return n.effective(n.snapshot.Load()).Usable() }) {
		o.dark = true
		o.m.tally.AllDown.Add(1)
	}
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

// mayAsk reports whether a node is usable and worth asking.
func (o *opening) mayAsk(n *node, called bool) bool {
	return n.effective(n.snapshot.Load()).Usable() && o.worthAsking(n, called)
}

// worthAsking reports whether a node may be asked: it was not asked yet, or its
// retry epoch has grown since it failed, or the open is called and the backoff
// of the full node has ended since then. A full node must have finished its
// backoff in any case.
func (o *opening) worthAsking(n *node, called bool) bool {
	f, asked := o.failures[n]
	s := n.snapshot.Load()
	return !asked || !s.fullUntil.After(time.Now()) && (s.retryEpoch > f.retryEpoch || called && s.fullUntil.After(f.at))
}

// mayRecover reports whether any of the nodes may become worth asking. If a
// node is up and not full, and the open failed there all the same, the reason
// is not the node's, so waiting does not help.
func (o *opening) mayRecover(nodes []*node) bool {
	return slices.ContainsFunc(nodes, func(n *node) bool {
		switch s := n.snapshot.Load(); s.state {
		case health.Down:
			return transient(s.class, s)
		case health.Up:
			return !s.fullUntil.IsZero()
		case health.Draining:
			return false
		default:
			f, asked := o.failures[n]
			return asked && transient(f.why.class, s)
		}
	})
}

// transient reports whether trouble of a class may pass by itself. Wrong names
// and passwords do not pass: people must correct them. A failure of no known
// class may pass only on a node with a retry epoch: one that has worked before,
// or was full. It is not taken for a passing one for ever.
func transient(c health.Class, s *snapshot) bool {
	switch c {
	case health.Neutral, health.Misconfigured:
		return false
	case health.Failed:
		return s.retryEpoch > 0 && (s.class != health.Failed || time.Since(s.caused) < unknownPasses)
	}
	return true
}

// unknownPasses is how long a failure of no known class may keep a node down
// while opens still wait for it. A restart of a server is over by then.
const unknownPasses = time.Minute

// wait waits for a change notification, until a node calls, or until the open
// ends. It asks the actors of down nodes for a check soon, and those of full
// nodes for room. Opens never test a node themselves. So a down node gets only
// its actor's probes, however many opens wait.
func (o *opening) wait(ctx context.Context, nodes []*node, news <-chan struct{}) {
	for _, n := range nodes {
		s := n.snapshot.Load()
		if s.state == health.Down || !s.fullUntil.IsZero() && !n.looking.Load() {
			n.checkNow()
		}
	}
	select {
	case <-news:
		o.eager = false
	case <-o.seat.Called():
		o.eager = true
	case <-o.alarm(time.Time{}):
	case <-o.ended:
	case <-ctx.Done():
	}
}

// openError returns the error of an open without a winner. It lists every
// node's error, the latest first, and last the nodes that were not asked.
func (o *opening) openError(nodes []*node, cause error) error {
	failures := make([]*failure, 0, max(len(o.failures), len(nodes)))
	for _, f := range o.failures {
		failures = append(failures, f)
	}
	for _, n := range nodes {
		if _, asked := o.failures[n]; !asked {
			failures = append(failures, &failure{node: n, why: n.notAsked()})
		}
	}
	slices.SortFunc(failures, func(a, b *failure) int {
		return cmp.Or(b.at.Compare(a.at), cmp.Compare(a.node.name, b.node.name))
	})
	e := &OpenError{Cluster: o.m.name, Cause: cause, Attempts: make([]AttemptError, 0, len(failures))}
	for _, f := range failures {
		e.Attempts = append(e.Attempts, f.attemptError())
	}
	return e
}

// notAsked returns the error for a node that the open did not ask: what is
// known against it.
func (n *node) notAsked() *dialError {
	s := n.snapshot.Load()
	return stateError(s, cmp.Or(s.reason, "not asked"))
}

// stateError returns, with the given text, the error that took a node down or
// made it suspect.
func stateError(s *snapshot, text string) *dialError {
	why := &dialError{class: s.class, err: s.lastErr, text: text, reasoned: true}
	if why.err == nil || s.reason == "" {
		why.err = errors.New(text)
	}
	return why
}

func (f *failure) attemptError() AttemptError {
	s := f.node.snapshot.Load()
	e := AttemptError{
		Node: f.node.name, State: State(s.state), Since: s.since, NextCheck: s.nextCheck, Err: f.why.err,
		text: f.why.text,
	}
	if f.why.class != health.Neutral && !f.why.reasoned {
		e.text = f.why.reason()
	}
	if !f.asked.IsZero() {
		e.Took = f.at.Sub(f.asked)
	}
	return e
}
