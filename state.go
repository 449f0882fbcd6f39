package clustersql

import (
	"fmt"
	"time"
)

// State is what a cluster thinks of one of its nodes.
type State uint8

const (
	// StateUnknown is a node that was never heard of.
	StateUnknown State = iota
	// StateUp is a node whose last check passed.
	StateUp
	// StateSuspect is a node with one sign of trouble; it is still used and
	// is being checked.
	StateSuspect
	// StateDown is a node that refused, or kept silent; it is left out of
	// opens while another node is usable, and tested in the background.
	StateDown
	// StateDraining is a node that the program drains or has removed: opens
	// do not go there, and what runs there may end.
	StateDraining
)

// String returns the state's name in lower case.
func (s State) String() string {
	names := [...]string{"unknown", "up", "suspect", "down", "draining"}
	if int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// usable reports whether opens go to a node in this state.
func (s State) usable() bool { return s != StateDown && s != StateDraining }

// health is a node's state with what the next transition depends on.
type health struct {
	state  State
	reason string    // why the node is suspect or down; empty when up
	class  class     // what took it down; classNeutral while it is not
	since  time.Time // of the state
	good   int       // good checks in a row while down
	silent int       // silent or broken probes and attempts in a row
	everUp bool
	// retired is set while the node is down and its conns have been given up.
	retired bool
	slow    time.Duration // an open must take no longer to clear the node of having been overtaken; 0: it was not

	need       sight     // while down: what a check must look at to bring the node up
	donorSince time.Time // zero when the node was no donor at the last look

	hushed   bool      // while down: it was silent, and has not said since that it knows it
	answered time.Time // its first good answer after that; zero before
	conf     uint64    // the highest number of a view that it showed; 0 if none
}

// evidence is one thing learnt about a node: a class of error, or with
// ok a check that passed.
type evidence struct {
	ok     bool
	class  class
	reason string        // redacted
	err    error         // what the reason tells of; nil where no error did; never a driver.ErrBadConn
	probe  bool          // learnt by a probe, and not from real traffic
	took   time.Duration // with ok: of dial, handshake and check, 0 on a lasting connection; of classSlow: until it was overtaken
	saw    sight         // with ok: what the check looked at
	donor  bool          // with ok and sawStatus: to be used last
	need   sight         // without ok: what a check must look at to see this again
	raised bool          // who learnt it has added one to the generation
	alone  bool          // with ok: no other node is usable
	view   *view         // with ok: the node's; nil where none was told
	views  *views        // with view, of a node that was silent: the others'
}

// effects is what a transition asks of the actor.
type effects struct {
	changed bool // the state is another one
	raise   bool // the node's conns are to retire: add one to the generation
	check   bool // probe at once
	cut     bool // what hangs on the node's conns is to return now
}

// next is the transition function: old state and evidence give the new state
// and what follows from it. Explicit evidence takes a node down at once,
// silence (and a probe's connection that breaks) only when it is seen fall
// times in a row, a broken connection of real traffic never by itself.
func (h health) next(e evidence, rise, fall int, now time.Time) (health, effects) {
	if h.state == StateDraining { // which only the program ends
		return h.overhear(e), effects{}
	}
	if e.ok {
		return h.improve(e, rise, now)
	}
	switch {
	case e.class == classNeutral, e.class == classSaturated:
		return h, effects{}
	case e.class == classSlow:
		h.slow = e.took
		return h.suspect(e.reason, now)
	case e.class == classLost && !e.probe:
		return h.suspect(e.reason, now)
	case e.class == classLost, e.class == classSilent, e.class == classFailed:
		if h.silent++; h.silent < fall {
			return h.suspect(e.reason, now)
		}
	}
	h, eff := h.fallen(e, now)
	// What failed for no known reason may fail for a reason of this program's:
	// the conns that work are kept.
	if e.class != classFailed && !h.retired {
		h.retired, eff.raise = true, true
		eff.cut = e.class == classSilent || e.class == classLost
	}
	return h, eff
}

// overhear keeps of what is learnt about a draining node whether it is to be
// held when it is used again.
func (h health) overhear(e evidence) health {
	switch {
	case e.ok:
	case e.class == classSilent, e.class == classLost && e.probe:
		h.hushed = true
	case e.class == classNotReady:
		h.hushed = false
	}
	return h
}

// improve takes a check that passed. A node that is down for something that
// the check did not look at stays it. A node that was overtaken is cleared
// only by an open that is fast enough, for which a check on a lasting
// connection is no proof.
func (h health) improve(e evidence, rise int, now time.Time) (health, effects) {
	if h.need&^e.saw != 0 {
		return h, effects{}
	}
	var holds bool
	if h, holds = h.held(e, now); holds {
		return h, effects{}
	}
	h.silent = 0
	if e.took > 0 && e.took <= h.slow {
		h.slow = 0
	}
	if h.state == StateUp {
		return h, effects{}
	}
	if h.state == StateDown && h.everUp {
		if h.good++; h.good < rise && !e.alone {
			return h, effects{}
		}
	}
	h.everUp, h.need, h.class, h.hushed = true, 0, classNeutral, false
	if h.slow > 0 {
		return h.move(StateSuspect, slowReason(h.slow), now)
	}
	return h.move(StateUp, "", now)
}

func (h health) suspect(reason string, now time.Time) (health, effects) {
	h.good = 0
	if h.state == StateDown {
		return h, effects{}
	}
	h, eff := h.move(StateSuspect, reason, now)
	eff.check = true
	return h, eff
}

func (h health) fallen(e evidence, now time.Time) (health, effects) {
	h.good = 0
	h.need |= e.need
	h.class, h.answered = e.class, time.Time{}
	switch e.class {
	case classSilent, classLost:
		h.hushed = true
	case classNotReady:
		h.hushed = false // it knows; Synced after that means caught up
	}
	if e.need&sawStatus == 0 {
		h.donorSince = time.Time{}
	}
	return h.move(StateDown, e.reason, now)
}

// move keeps since when the state stays the same.
func (h health) move(to State, reason string, now time.Time) (health, effects) {
	changed := h.state != to
	if changed {
		h.state, h.since, h.good, h.retired = to, now, 0, false
	}
	h.reason = reason
	return h, effects{changed: changed}
}
