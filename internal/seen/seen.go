// Package seen knows what a node has of what is replicated, and lets calls wait until
// it has what their session has seen. A conn asks its node before a call, and after
// the call for what may have been seen. The node remembers its own position, from its
// probes and from these answers.
//
// It has no goroutine or lock. The root imports it; it imports the packages causal,
// counts and dialect.
package seen

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/EnumApps/clustersql/internal/causal"
	"github.com/EnumApps/clustersql/internal/counts"
	"github.com/EnumApps/clustersql/internal/dialect"
)

// A Node is what one node has. The zero Node has not been asked. Anyone may call the
// methods.
type Node struct {
	place  atomic.Pointer[placed]          // nil before the first answer
	behind atomic.Int64                    // see IsBehind; in Unix nanoseconds
	counts atomic.Pointer[counts.Sessions] // nil before the first call of a session
}

// A placed is a position that was seen. It never changes.
type placed struct {
	generation uint64 // of the node: in a later one it may be another server, or one that lost what it had
	at         time.Time
	position   causal.Position
}

// A tenure is a node in one of its generations.
type tenure struct {
	node       *Node
	generation uint64
}

// A Conn is a conn to the node, on which nothing else runs.
type Conn struct {
	Backend    driver.Conn
	Generation uint64 // of the node, to which the conn belongs
	Positions  dialect.Positions
	Site       dialect.Site
	Timeout    time.Duration // causal_timeout
	Elsewhere  func() bool   // reports whether another node may have what this one has not
}

// Place takes note of a position that the node was asked for at a time.
func (n *Node) Place(generation uint64, at time.Time, position causal.Position) {
	if position.IsZero() {
		return
	}
	for {
		before := n.place.Load()
		p := &placed{generation, at, position}
		if before != nil && before.generation > generation {
			return
		}
		if before != nil && before.generation == generation {
			if p.position = before.position.Union(position); before.at.After(at) {
				p.at = before.at
			}
		}
		if n.place.CompareAndSwap(before, p) {
			return
		}
	}
}

// Forget drops what is known of the node: it may have been started anew, and lack
// what it had.
func (n *Node) Forget() { n.place.Store(nil) }

// in returns what is known of the node in a generation.
func (n *Node) in(generation uint64) placed {
	if p := n.place.Load(); p != nil && p.generation == generation {
		return *p
	}
	return placed{generation: generation}
}

// behindFor is how long opens ask a node last, and sessions do not wait for it, after
// it had not in time what a session has seen.
const behindFor = time.Second

// IsBehind reports whether a session has just waited for the node in vain.
func (n *Node) IsBehind(now time.Time) bool {
	until := n.behind.Load()
	return until != 0 && now.UnixNano() < until
}

// Counts returns the counters of sessions. They are nil before the first call of one.
func (n *Node) Counts() *counts.Sessions { return n.counts.Load() }

// counters returns the counters to write to. They are made with the first call.
func (n *Node) counters() *counts.Sessions {
	if n.counts.Load() == nil {
		n.counts.CompareAndSwap(nil, new(counts.Sessions))
	}
	return n.counts.Load()
}

// Has reports whether the node is known to have what a session has seen, and whether
// the session has seen anything.
func (n *Node) Has(s *causal.Session, generation uint64) (all, some bool) {
	here := n.in(generation)
	doubts := n.doubts(s, here)
	st := s.State()
	return len(doubts) == 0 && here.has(st), len(st.Floors) > 0 || len(st.Unsure) > 0
}

// has reports whether the position has what a session needs of its database.
func (p *placed) has(st *causal.State) bool {
	return len(st.Floors) == 0 || !p.position.IsZero() && p.position.Has(st.Wants(p.position))
}

// doubts returns of what a session has seen on other nodes no position is known. What
// these nodes have told since is added to the session.
func (n *Node) doubts(s *causal.Session, here placed) (open []causal.Unsure) {
	for _, u := range s.State().Unsure {
		t, local := u.Node.(tenure)
		if local && t == (tenure{n, here.generation}) || !u.About.IsZero() && !here.position.IsZero() && !u.About.Related(here.position) {
			continue
		}
		if local {
			if p := t.node.in(t.generation); p.at.UnixNano() > u.At && !p.position.IsZero() {
				s.Settles(u, p.position)
				continue
			}
		}
		open = append(open, u)
	}
	return open
}

// Await returns when the node has all that the session has seen, or why it has not.
// The error is the conn's, or that of ctx.
func (n *Node) Await(ctx context.Context, s *causal.Session, c Conn) (why string, err error) {
	if st := s.State(); len(st.Floors) == 0 && len(st.Unsure) == 0 {
		return "", nil
	}
	here := n.in(c.Generation)
	doubts := n.doubts(s, here)
	if len(doubts) == 0 && here.has(s.State()) {
		n.counters().Known.Add(1)
		return "", nil
	}
	w := wait{n: n, s: s, c: c, began: time.Now(), limit: c.Timeout}
	if n.IsBehind(w.began) && c.Elsewhere() {
		w.limit = 0 // a call has just waited in vain: one look is enough
	}
	limited, cancel := context.WithTimeout(ctx, w.limit+c.Timeout)
	defer cancel()
	why, err = w.run(limited, doubts)
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		why, err = "the server gave no answer", nil
	}
	if err == nil {
		n.count(&w, why == "")
	}
	return why, err
}

// count takes note of how a wait has ended.
func (n *Node) count(w *wait, has bool) {
	took := int64(time.Since(w.began))
	switch c := n.counters(); {
	case !has:
		c.Moved.Add(1)
		c.Time.Add(took)
		n.behind.Store(time.Now().Add(behindFor).UnixNano())
		return
	case w.waited:
		c.Waited.Add(1)
		c.Time.Add(took)
	default:
		c.Asked.Add(1)
	}
	n.behind.Store(0)
}

// look asks the node for its position.
func (n *Node) look(ctx context.Context, c Conn) (p causal.Position, all bool, err error) {
	began := time.Now()
	p, all, err = c.Positions.Position(ctx, c.Backend, c.Site)
	if err == nil {
		n.Place(c.Generation, began, p)
	}
	return p, all, err
}

// Note asks the node for its position after a call, and adds it to the session. If
// there is none to be had, the session is told so. The error is the conn's.
func (n *Node) Note(s *causal.Session, c Conn) error {
	ctx, cancel := context.WithTimeout(context.Background(), c.Timeout)
	defer cancel()
	p, _, err := n.look(ctx, c)
	switch {
	case err == nil:
		n.counters().Positions.Add(1)
		s.Saw(p)
		return nil
	case errors.Is(err, dialect.ErrNoPosition):
		err = nil
	}
	n.Miss(s, c.Generation)
	return err
}

// Miss is Note where nobody can be asked any more.
func (n *Node) Miss(s *causal.Session, generation uint64) {
	n.counters().Missed.Add(1)
	s.Doubts(causal.Unsure{Node: tenure{n, generation}, At: time.Now().UnixNano(), About: n.in(generation).position})
}

// A wait is one call that waits until its node has what its session has seen.
type wait struct {
	n      *Node
	s      *causal.Session
	c      Conn
	began  time.Time
	limit  time.Duration
	waited bool
}

// The pauses between the looks of a call that waits on a server which cannot wait
// itself. A Galera node is usually behind by no more than the first.
const (
	shortestPause = 250 * time.Microsecond
	longestPause  = 16 * time.Millisecond
)

// run returns when the node has it, or why it has not.
func (w *wait) run(ctx context.Context, doubts []causal.Unsure) (why string, err error) {
	if len(doubts) > 0 {
		if why, err = w.catchUp(ctx, doubts); why != "" || err != nil {
			return why, err
		}
	}
	if len(w.s.State().Floors) == 0 {
		return "", nil
	}
	for pause := shortestPause; ; pause = min(2*pause, longestPause) {
		p, all, err := w.n.look(ctx, w.c)
		switch {
		case errors.Is(err, dialect.ErrNoPosition):
			return err.Error(), nil
		case err != nil:
			return "", err
		}
		want := w.s.State().Wants(p)
		if all || p.Has(want) {
			return "", nil
		}
		left := w.limit - time.Since(w.began)
		if left <= 0 {
			return fmt.Sprintf("it was still missing after causal_timeout (%s)", w.c.Timeout), nil
		}
		w.waited = true
		asked, err := w.c.Positions.Await(ctx, w.c.Backend, w.c.Site, want, left)
		if err != nil {
			return "", err
		}
		if !asked {
			if err := rest(ctx, min(pause, left)); err != nil {
				return "", err
			}
		}
	}
}

// catchUp sees to it that the node has all that there was, because it is not known
// what the session has seen.
func (w *wait) catchUp(ctx context.Context, doubts []causal.Unsure) (why string, err error) {
	w.waited = true
	began := time.Now()
	p, ok, err := w.c.Positions.CatchUp(ctx, w.c.Backend, w.c.Site)
	switch {
	case err != nil:
		return "", err
	case !ok:
		return "the node that calls before have used gave no position, and this one cannot tell whether it has all that there is", nil
	}
	w.n.Place(w.c.Generation, began, p)
	for _, u := range doubts {
		if !p.IsZero() {
			w.s.Settles(u, p)
		}
	}
	return "", nil
}

// rest waits for d, or until ctx is done.
func rest(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
