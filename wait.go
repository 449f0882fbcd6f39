package clustersql

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/EnumApps/clustersql/internal/health"
)

// An opening is one open under way, from its beginning to its end. It consists
// of rounds of attempts. Between two rounds it waits until a node may be asked
// again.
type opening struct {
	m        *manager
	failures map[*node]failure // each node's latest failure in this open; nil while there is none
}

// open asks the usable nodes as the strategy plans it. If none gives a
// connection, or none is usable, it waits until a node comes up and asks again,
// until ctx is done. It gives up earlier if waiting cannot help; see
// mayRecover.
func (m *manager) open(ctx context.Context) (winner, error) {
	o := &opening{m: m}
	for {
		news := m.news.next()
		nodes := *m.nodes.Load()
		if len(nodes) == 0 {
			return winner{}, m.noNodes()
		}
		plan, err := m.plan(nodes)
		if err != nil {
			return winner{}, err
		}
		plan = slices.DeleteFunc(plan, func(l launch) bool { return !o.worthAsking(l.node) })
		switch {
		case len(plan) > 0:
			w, won := o.round(ctx, plan)
			if won {
				return w, nil
			}
		case !o.mayRecover(nodes):
			return winner{}, o.openError(nodes, nil)
		default:
			o.wait(ctx, nodes, news)
		}
		if ctx.Err() != nil {
			return winner{}, o.openError(nodes, ctx.Err())
		}
	}
}

// round carries out one plan, and remembers how its launches failed.
func (o *opening) round(ctx context.Context, plan []launch) (winner, bool) {
	r := newRound(plan)
	w, won := r.run(ctx, plan)
	if !won {
		if o.failures == nil {
			o.failures = make(map[*node]failure, len(plan))
		}
		for _, f := range r.failed() {
			o.failures[f.node] = f
		}
	}
	return w, won
}

// worthAsking reports whether a node may be asked: it was not asked yet, or its
// retry epoch has grown since it failed. A full node must also have finished
// its backoff.
func (o *opening) worthAsking(n *node) bool {
	f, asked := o.failures[n]
	s := n.snapshot.Load()
	return !asked || s.retryEpoch > f.retryEpoch && !s.fullUntil.After(time.Now())
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

// wait waits for a change notification, until a full node may be tried again,
// or until ctx is done. It asks the actors of down nodes for a check soon.
// Opens never test a node themselves. So a down node gets only its actor's
// probes, however many opens wait.
func (o *opening) wait(ctx context.Context, nodes []*node, news <-chan struct{}) {
	o.m.waiting.Add(1)
	defer o.m.waiting.Add(-1)
	now := time.Now()
	room := time.Hour // until a full node may be tried again
	for _, n := range nodes {
		if n.snapshot.Load().state == health.Down {
			n.checkNow()
		}
		if until := n.snapshot.Load().fullUntil; until.After(now) {
			room = min(room, until.Sub(now))
		}
	}
	timer := time.NewTimer(room)
	defer timer.Stop()
	select {
	case <-news:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// openError returns the error of an open without a winner. It lists every
// node's error, the latest first, and last the nodes that were not asked.
func (o *opening) openError(nodes []*node, cause error) error {
	e := &OpenError{Cluster: o.m.name, Cause: cause}
	var failures []failure
	for _, f := range o.failures {
		failures = append(failures, f)
	}
	for _, n := range nodes {
		if _, asked := o.failures[n]; !asked {
			failures = append(failures, failure{node: n, why: n.notAsked()})
		}
	}
	slices.SortFunc(failures, func(a, b failure) int {
		return cmp.Or(b.at.Compare(a.at), cmp.Compare(a.node.name, b.node.name))
	})
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

func (f failure) attemptError() AttemptError {
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
