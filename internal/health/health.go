// Package health keeps what is known of a node's state and says what follows
// from an observation: the classes of errors, the evidence, the transition
// function, the hold of a node that was silent, the saturation, the latency and
// the waits between probes. It dials nothing and knows no database: a dialect
// classifies the errors of its own database.
//
// The package is pure: it has no goroutine, channel, lock or clock. Its callers
// hand in the time and the source of random numbers. It imports no other package
// of this module.
package health

import "time"

// Health is a node's state, together with all that the next transition depends
// on. It is a value: its methods return the new one.
type Health struct {
	State  State
	Reason string    // why the node is suspect or down; empty when up
	Class  Class     // of the fault that took it down; Neutral while it is not down
	Caused time.Time // when Class became what it is
	Since  time.Time // since when it has been in State
	Good   int       // good checks in a row while down
	silent int       // silent or broken probes and attempts in a row
	signAt time.Time // of the last of them
	broken bool      // one of them was an established connection's, or the node's own
	probed bool      // a probe was good: so there is a lasting connection that speaks for the established ones
	EverUp bool      // it has been up at least once
	// retired is set once a transition has asked to retire the node's conns. A
	// change of state clears it.
	retired bool
	cut     bool          // a transition has asked to cut the conns; a change of state clears it
	slow    time.Duration // the node was outrun after this time: an open that takes no longer clears it; 0: it was not outrun

	Need       Scope     // while down: what a check must look at to bring the node up
	DonorSince time.Time // zero if the node was no donor at the last look

	SilentBefore bool      // while down: it was silent, and has not answered "not ready" since
	Answered     time.Time // its first good answer after the silence; zero before
	Conf         uint64    // the highest view number that it showed; 0 if none
}

// Evidence is one thing learnt about a node: a check that passed if OK, else a
// class of error.
type Evidence struct {
	OK     bool
	Class  Class
	Reason string        // redacted
	Err    error         // the error behind Reason; nil if there was none; never a driver.ErrBadConn
	Probe  bool          // learnt by a probe and not from real traffic
	Began  time.Time     // when the probe or the attempt began; zero for real traffic
	Took   time.Duration // with OK: time of dial, handshake and check, 0 on a lasting connection; of Slow: until the node was outrun
	Saw    Scope         // with OK: what the check looked at
	Donor  bool          // with OK and ScopeStatus seen: to be used last
	Need   Scope         // without OK: what a check must look at to see this again
	Raised bool          // the generation was raised already, by whoever learnt this
	Unsure bool          // of an open: it is not known whether the node has failed, or another whom the backend asked
	Alone  bool          // with OK: no other node is usable
	View   *View         // with OK: the node's view; nil if it told none
	Peers  *Peers        // with View, of a node that was silent: what the other nodes show
}

// Effects is what a transition asks of the actor.
type Effects struct {
	Changed bool // the state is a new one
	Raise   bool // the node's conns are to retire: raise the generation by one
	Check   bool // probe at once
	Cut     bool // cut the node's conns, so that calls that hang on them return now
}

// Next is the transition function: the old state and one piece of evidence give
// the new state and its effects. Explicit evidence takes a node down at once.
// Silence, a failed open and a broken probe connection take it down only when
// they are seen fall times in a row. A broken connection of real traffic changes
// no state: it asks for a probe.
func (h Health) Next(e Evidence, rise, fall int, now time.Time) (Health, Effects) {
	if h.State == Draining { // only the program ends draining
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
		// One session's end is no doubt about the node: the server may have
		// ended it while it was idle. The probe finds out.
		return h, Effects{Check: h.State != Down}
	case e.Class == Lost, e.Class == Silent, e.Class == Failed:
		// Attempts of one burst fail together. What began before the last sign
		// is a part of that one.
		if !e.Began.IsZero() && e.Began.Before(h.signAt) {
			return h, Effects{}
		}
		h.signAt = now
		h.broken = h.broken || !e.Unsure && e.Class != Failed
		if h.silent++; h.silent < fall {
			return h.suspect(e.Reason, now)
		}
	}
	h, eff := h.fallen(e, now)
	// A refused login says nothing about sessions that are logged in. An open
	// that failed for no known reason may have failed for a reason in this
	// program. Working conns are therefore kept. So they are where it is not known
	// who has failed a new one, as long as the probe's lasting one has not.
	if e.Class == Failed || e.Class == Misconfigured || e.Unsure && h.probed && !h.broken && !h.retired {
		return h, eff
	}
	// A node may fall silent after it was taken down for another reason. Calls
	// hang on it then as on any other silent one.
	if eff.Cut = !h.cut && (e.Class == Silent || e.Class == Lost && !h.retired); eff.Cut {
		h.cut = true
	}
	eff.Raise, h.retired = !h.retired, true
	return h, eff
}

// overhear takes evidence about a draining node. It keeps only whether the node
// must be held back when it is used again.
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

// improve takes a check that passed. A down node stays down if the check did
// not look at what took it down, or began before that. An outrun node is
// cleared only by an open that is fast enough. A check on a lasting connection
// is no proof of that.
func (h Health) improve(e Evidence, rise int, now time.Time) (Health, Effects) {
	h.probed = h.probed || e.Probe
	if h.Need&^e.Saw != 0 || h.State == Down && !e.Began.IsZero() && !e.Began.After(h.Since) {
		return h, Effects{}
	}
	var holds bool
	if h, holds = h.held(e, now); holds {
		return h, Effects{}
	}
	h.silent, h.broken = 0, false
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
		h.SilentBefore = false // it knows that it was out; Synced after that means caught up
	}
	if e.Need&ScopeStatus == 0 {
		h.DonorSince = time.Time{}
	}
	return h.move(Down, e.Reason, now)
}

// move changes state and reason. It keeps Since where the state stays the same.
func (h Health) move(to State, reason string, now time.Time) (Health, Effects) {
	changed := h.State != to
	if changed {
		h.State, h.Since, h.Good, h.retired, h.cut = to, now, 0, false, false
	}
	h.Reason = reason
	return h, Effects{Changed: changed}
}

// SlowReason is the reason of an outrun node. An open must beat the time of the
// outrun one before the node is used like the others again.
const SlowReason = "slow: a node that was asked later gave a connection first"
