package health

import "time"

// health is a node's state with what the next transition depends on.
type Health struct {
	State  State
	Reason string    // why the node is suspect or down; empty when up
	Class  Class     // what took it down; classNeutral while it is not
	Caused time.Time // when Class became what it is
	Since  time.Time // of the state
	Good   int       // good checks in a row while down
	silent int       // silent or broken probes and attempts in a row
	EverUp bool
	// retired is set while the node is down and its conns have been given up.
	retired bool
	slow    time.Duration // an open must take no longer to clear the node of having been overtaken; 0: it was not

	Need       Scope     // while down: what a check must look at to bring the node up
	DonorSince time.Time // zero when the node was no donor at the last look

	SilentBefore bool      // while down: it was silent, and has not said since that it knows it
	Answered     time.Time // its first good answer after that; zero before
	Conf         uint64    // the highest number of a view that it showed; 0 if none
}

// evidence is one thing learnt about a node: a class of error, or with
// ok a check that passed.
type Evidence struct {
	OK     bool
	Class  Class
	Reason string        // redacted
	Err    error         // what the reason tells of; nil where no error did; never a driver.ErrBadConn
	Probe  bool          // learnt by a probe, and not from real traffic
	Took   time.Duration // with ok: of dial, handshake and check, 0 on a lasting connection; of classSlow: until it was overtaken
	Saw    Scope         // with ok: what the check looked at
	Donor  bool          // with ok and sawStatus: to be used last
	Need   Scope         // without ok: what a check must look at to see this again
	Raised bool          // who learnt it has added one to the generation
	Alone  bool          // with ok: no other node is usable
	View   *View         // with ok: the node's; nil where none was told
	Peers  *Peers        // with view, of a node that was silent: the others'
}

// effects is what a transition asks of the actor.
type Effects struct {
	Changed bool // the state is another one
	Raise   bool // the node's conns are to retire: add one to the generation
	Check   bool // probe at once
	Cut     bool // what hangs on the node's conns is to return now
}

// next is the transition function: old state and evidence give the new state
// and what follows from it. Explicit evidence takes a node down at once,
// silence (and a probe's connection that breaks) only when it is seen fall
// times in a row, a broken connection of real traffic never by itself.
func (h Health) Next(e Evidence, rise, fall int, now time.Time) (Health, Effects) {
	if h.State == Draining { // which only the program ends
		return h.overhear(e), Effects{}
	}
	if e.OK {
		return h.improve(e, rise, now)
	}
	switch {
	case e.Class == Neutral, e.Class == Saturated:
		return h, Effects{}
	case e.Class == Slow:
		h.slow = e.Took
		return h.suspect(e.Reason, now)
	case e.Class == Lost && !e.Probe:
		return h.suspect(e.Reason, now)
	case e.Class == Lost, e.Class == Silent, e.Class == Failed:
		if h.silent++; h.silent < fall {
			return h.suspect(e.Reason, now)
		}
	}
	h, eff := h.fallen(e, now)
	// What failed for no known reason may fail for a reason of this program's:
	// the conns that work are kept.
	if e.Class != Failed && !h.retired {
		h.retired, eff.Raise = true, true
		eff.Cut = e.Class == Silent || e.Class == Lost
	}
	return h, eff
}

// overhear keeps of what is learnt about a draining node whether it is to be
// held when it is used again.
func (h Health) overhear(e Evidence) Health {
	switch {
	case e.OK:
	case e.Class == Silent, e.Class == Lost && e.Probe:
		h.SilentBefore = true
	case e.Class == NotReady:
		h.SilentBefore = false
	}
	return h
}

// improve takes a check that passed. A node that is down for something that
// the check did not look at stays it. A node that was overtaken is cleared
// only by an open that is fast enough, for which a check on a lasting
// connection is no proof.
func (h Health) improve(e Evidence, rise int, now time.Time) (Health, Effects) {
	if h.Need&^e.Saw != 0 {
		return h, Effects{}
	}
	var holds bool
	if h, holds = h.held(e, now); holds {
		return h, Effects{}
	}
	h.silent = 0
	if e.Took > 0 && e.Took <= h.slow {
		h.slow = 0
	}
	if h.State == Up {
		return h, Effects{}
	}
	if h.State == Down && h.EverUp {
		if h.Good++; h.Good < rise && !e.Alone {
			return h, Effects{}
		}
	}
	h.EverUp, h.Need, h.Class, h.SilentBefore = true, 0, Neutral, false
	if h.slow > 0 {
		return h.move(Suspect, SlowReason, now)
	}
	return h.move(Up, "", now)
}

func (h Health) suspect(reason string, now time.Time) (Health, Effects) {
	h.Good = 0
	if h.State == Down {
		return h, Effects{}
	}
	h, eff := h.move(Suspect, reason, now)
	eff.Check = true
	return h, eff
}

func (h Health) fallen(e Evidence, now time.Time) (Health, Effects) {
	h.Good = 0
	h.Need |= e.Need
	if h.Class != e.Class {
		h.Class, h.Caused = e.Class, now
	}
	h.Answered = time.Time{}
	switch e.Class {
	case Silent, Lost:
		h.SilentBefore = true
	case NotReady:
		h.SilentBefore = false // it knows; Synced after that means caught up
	}
	if e.Need&ScopeStatus == 0 {
		h.DonorSince = time.Time{}
	}
	return h.move(Down, e.Reason, now)
}

// move keeps since when the state stays the same.
func (h Health) move(to State, reason string, now time.Time) (Health, Effects) {
	changed := h.State != to
	if changed {
		h.State, h.Since, h.Good, h.retired = to, now, 0, false
	}
	h.Reason = reason
	return h, Effects{Changed: changed}
}

// SlowReason is the reason of a node that was overtaken. The open that clears
// it must be faster than the one that was overtaken.
const SlowReason = "slow: a node that was asked later gave a connection first"
