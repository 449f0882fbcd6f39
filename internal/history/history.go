// Package history remembers what lately happened in a cluster. Its memory is bounded,
// and taken when something happens.
//
// It has no goroutine. The root imports the package; it imports health.
package history

import (
	"slices"
	"sync"
	"time"

	"github.com/EnumApps/clustersql/internal/health"
)

// EventsKept is how many events a Log remembers.
const EventsKept = 200

// StatesKept is for how long a Past remembers a node's states, and ChangesKept how
// many changes of them at most.
const (
	StatesKept  = 15 * time.Minute
	ChangesKept = 128
)

// A Log remembers the last EventsKept events of a cluster, and numbers them from 1.
// Its lock guards the Pasts of the cluster's nodes too. Anyone may call the methods.
// The zero Log is empty.
type Log[E any] struct {
	mu     sync.Mutex // guards what follows; never held across a wait
	events []E        // the last EventsKept; a ring once it is full
	seq    uint64     // of the latest event
}

// Note remembers the event that the func returns, which gets its number. The func is
// called under the lock, and may note the event in a Past.
func (l *Log[E]) Note(event func(seq uint64) E) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seq++
	e := event(l.seq)
	if len(l.events) < EventsKept {
		l.events = append(l.events, e)
	} else {
		l.events[(l.seq-1)%EventsKept] = e
	}
}

// Recent returns the events, oldest first. The slice is the caller's.
func (l *Log[E]) Recent() []E {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.events) < EventsKept {
		return slices.Clone(l.events)
	}
	first := l.seq % EventsKept
	return slices.Concat(l.events[first:], l.events[:first])
}

// Look calls look under the lock, to read a Past.
func (l *Log[E]) Look(look func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	look()
}

// A State is a state that a node came into.
type State struct {
	State health.State
	Since time.Time
}

// Changes counts the changes of a node's state that had the same new state and the
// same cause.
type Changes struct {
	To    health.State
	Cause string
	Count uint64
}

// A Past is what is remembered of one node. The lock of its cluster's Log guards it.
type Past struct {
	Added   time.Time // when the node was added, in the state Unknown
	Changes []Changes
	Downs   uint64 // how often it went down

	states  []State // oldest first, without the one in which it was added; so empty at first
	lost    bool    // there were older ones
	downFor time.Duration
}

// Note remembers a change of state.
func (p *Past) Note(from, to health.State, cause string, at time.Time) {
	if to == health.Down {
		p.Downs++
	}
	if from == health.Down {
		p.downFor += at.Sub(p.current().Since)
	}
	p.states = append(p.states, State{to, at})
	old := max(0, len(p.states)-ChangesKept)
	for old+1 < len(p.states) && at.Sub(p.states[old+1].Since) > StatesKept {
		old++
	}
	p.states, p.lost = slices.Delete(p.states, 0, old), p.lost || old > 0
	i := slices.IndexFunc(p.Changes, func(c Changes) bool { return c.To == to && c.Cause == cause })
	if i < 0 {
		i, p.Changes = len(p.Changes), append(p.Changes, Changes{To: to, Cause: cause})
	}
	p.Changes[i].Count++
}

// current returns the present state.
func (p *Past) current() State {
	if len(p.states) == 0 {
		return State{health.Unknown, p.Added}
	}
	return p.states[len(p.states)-1]
}

// States returns the states, the oldest first. The slice is the caller's.
func (p *Past) States() []State {
	if p.lost {
		return slices.Clone(p.states)
	}
	return append([]State{{health.Unknown, p.Added}}, p.states...)
}

// Downtime returns how long the node was down in all.
func (p *Past) Downtime(now time.Time) time.Duration {
	if c := p.current(); c.State == health.Down {
		return p.downFor + max(0, now.Sub(c.Since))
	}
	return p.downFor
}
