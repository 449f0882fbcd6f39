// Package health keeps what is known of a node's state and says what follows
// from an observation: the classes of errors, the evidence, the transition
// function, the hold of a node that was silent, the saturation, the latency and
// the waits between probes. It dials nothing and knows no database: a dialect
// classifies the errors of its own database.
//
// The package is pure: it has no goroutine, channel, lock or clock. Its callers
// hand in the time and the source of random numbers. It imports jsonform.
package health

import (
	"strings"
	"time"
)

// Health is a node's state, together with all that the next transition depends
// on.
type Health struct {
	State  State
	Reason string    // why the node is suspect or down; empty when up
	Class  Class     // of the fault that took it down; Neutral while it is not down
	Caused time.Time // when Class became what it is
	Since  time.Time // since when it has been in State
	Good   int       // good checks in a row while down
	silent int       // silent or broken probes and attempts in a row
	signAt time.Time // of the last of them
	EverUp bool      // it has been up at least once
	// retired is set once a transition has asked to retire the node's conns. A
	// change of state clears it.
	retired bool
	cut     bool          // a transition has asked to cut the conns; a change of state clears it
	witness witness       // what the probe's lasting connection last said of the established ones
	slow    time.Duration // the node was outrun after this time: an open that takes no longer clears it; 0: it was not outrun

	Need       Scope     // while down: what a check must look at to bring the node up
	DonorSince time.Time // zero if the node was no donor at the last look

	SilentBefore bool      // while down: it was silent, and has not answered "not ready" since
	Answered     time.Time // its first good answer since it is not used; zero before
	Conf         uint64    // the highest view number that it showed; 0 if none
	apart        time.Time // while used: since when its view differs from the others'; while not: when it last did
	apartConf    uint64    // while used: its view then
	differed     int       // comparisons in a row, all looks being new, in which it did
}

// A node has two witnesses. The probe's lasting connection speaks for the
// established connections, and a fresh dial for new ones. Each of them may say
// that the node is well or ill, but evidence about new connections retires and
// cuts no established one.
type witness uint8

const (
	unmade   witness = iota // there was no lasting connection yet
	absent                  // it broke
	answers                 // it gave an answer, good or bad
	wordless                // it gave none in time, and no fresh dial was answered since
)

// Evidence is one thing learnt about a node: a check that passed if OK, else a
// class of error.
type Evidence struct {
	OK     bool
	Class  Class
	Reason string        // redacted
	Err    error         // the error behind Reason; nil if there was none; never a driver.ErrBadConn
	Probe  bool          // learnt by a probe and not from real traffic
	Fresh  bool          // learnt on a connection that was made for it, or while making one: it speaks of new connections
	Began  time.Time     // when the probe or the attempt began; zero for real traffic
	Took   time.Duration // with OK: time of dial, handshake and check, 0 on a lasting connection; of Slow: until the node was outrun
	Saw    Scope         // with OK: what the check looked at
	Donor  bool          // with OK and ScopeStatus seen: to be used last
	Need   Scope         // without OK: what a check must look at to see this again
	Goes   bool          // without OK: the server has refused the check, and the connection goes on
	Spoke  bool          // without OK: the server has done work on the new connection before it gave no more answer
	Raised bool          // the generation was raised already, by whoever learnt this
	Spent  bool          // with OK: the check has passed, and the connection is not to be used any more
	Alone  bool          // with OK: no other node is usable
	View   *View         // with OK: the node's view at its last look; nil if it showed none
	Peers  *Peers        // with OK: what the other nodes show; nil if nobody has looked

	Replication *Replication // with OK and ScopeRole seen: its part in replication; nil if it does not tell
}

// Effects is what a transition asks of the actor.
type Effects struct {
	Changed bool // the state is a new one
	Raise   bool // the node's conns are to retire: raise the generation by one
	Check   bool // probe at once
	Cut     bool // cut the node's conns, so that calls that hang on them return now
	Held    bool // the node answers, and is held from now on because of its group
	Compare bool // the other nodes' views are needed: ask those that have not looked lately
}

// Next is the transition function: the old state and one piece of evidence give
// the new state and its effects. Explicit evidence takes a node down at once.
// Silence and a failed open take it down only when they are seen fall times in a
// row. The end of one connection changes no state: it asks for a probe.
//
// Conns are retired by what a server that answers says of itself, and by the
// silence of the lasting connection. A refused dial retires them when the
// lasting connection is gone too. They are cut by the silence of the lasting
// connection alone, when a fresh dial is not answered either.
//
// It changes h in place, and so do the other methods: copies would make the
// actors' stacks grow.
func (h *Health) Next(e *Evidence, rise, fall int, now time.Time) Effects {
	h.heard(e)
	if e.OK && e.View != nil {
		h.Conf = max(h.Conf, e.View.Conf)
	}
	if h.State == Draining { // only the program ends draining
		return h.overhear(e)
	}
	if e.OK {
		return h.improve(e, rise, now)
	}
	switch {
	case e.Class == Neutral, e.Class == Saturated:
		return Effects{}
	case e.Class == Slow:
		h.slow = e.Took
		return h.suspect(e.Reason, now)
	case e.Class == Lost && !e.Fresh:
		// The server may have ended this one alone. The next probe finds out.
		// Where nobody listens any more, it was the last witness.
		raise := h.State == Down && h.Class == Refused && h.witness == absent && !h.retired
		h.retired = h.retired || raise
		return Effects{Check: h.State != Down, Raise: raise}
	case e.Class == Lost, e.Class == Silent, e.Class == Failed:
		// Attempts of one burst fail together. What began before the last sign
		// is a part of that one.
		if !e.Began.IsZero() && e.Began.Before(h.signAt) {
			return Effects{}
		}
		h.signAt = now
		// The silence of the lasting connection cannot be repeated: it is gone
		// then. On a node that takes no new connections it was waited for as
		// long as fall probes take.
		last := h.State == Down && h.Need&ScopeDial != 0 && h.witness == wordless
		if h.silent++; h.silent < fall && !last {
			h.Need |= e.Need
			return h.suspect(e.Reason, now)
		}
	}
	eff := h.fallen(e, now)
	switch e.Class {
	case Failed, Misconfigured: // it may be a fault of this program, or of new connections alone
		return eff
	case Silent, Lost:
		if h.witness == answers || h.witness != wordless && !h.retired {
			return eff
		}
	case Refused:
		if h.witness == answers || h.witness == unmade {
			eff.Check = !e.Probe // does it still?
			return eff
		}
	}
	// A node may fall silent after it was taken down for another reason. Calls
	// hang on it then as on any other silent one. Where its conns were retired
	// and no witness is left, the silence of the dials is enough.
	if eff.Cut = !h.cut && (h.witness == wordless || h.witness != answers && e.Class == Silent); eff.Cut {
		h.cut = true
	}
	eff.Raise, h.retired = !h.retired, true
	return eff
}

// heard notes what the evidence says about the witness of the established
// connections.
func (h *Health) heard(e *Evidence) {
	lasting := e.Probe && !e.Fresh
	switch {
	case e.Probe && e.Spent:
		if lasting || h.witness == wordless {
			h.witness = absent
		}
	case e.Probe && (e.OK || e.Alive()):
		h.witness = answers // a fresh probe's connection becomes the lasting one
	case lasting && e.Class == Silent:
		h.witness = wordless
	case lasting && e.Class != Neutral:
		h.witness = absent
	case h.witness == wordless && e.Answered():
		h.witness = absent // the node is not silent, whatever happened to that connection
	}
}

// Alive reports whether the evidence comes from a connection that goes on: its
// check has failed, and the server has said why. Such a connection stays a
// witness.
func (e *Evidence) Alive() bool { return !e.OK && (e.explicit() || e.Goes) }

// explicit reports whether a server that answers has said that it is not to be
// used.
func (e *Evidence) explicit() bool { return e.Class == NotReady || e.Class.Unsuited() }

// Unsuited reports whether the class is about a server that works and answers, and
// is not what this cluster asks for.
func (c Class) Unsuited() bool { return c == ReadOnly || c == WrongRole || c == Lagging }

// Retires reports whether the evidence is an answer by which a node's sessions
// are to retire.
func (e *Evidence) Retires() bool { return !e.OK && (e.explicit() || e.Class == Leaving) }

// Answered reports whether the evidence is an answer of the node.
func (e *Evidence) Answered() bool {
	return e.OK || e.Alive() || e.Spoke || e.Class == Leaving || e.Class == Saturated
}

// Wordless reports whether the node's lasting connection was silent and no
// fresh dial was answered since.
func (h Health) Wordless() bool { return h.witness == wordless }

// Retired reports whether the node's conns are to retire, or have, by what took the
// node down.
func (h *Health) Retired() bool { return h.retired }

// Bad returns how many signs of silence in a row there were.
func (h Health) Bad() int { return h.silent }

// Rises returns how many good checks bring the node up while it is down.
func (h Health) Rises(rise int) int {
	if !h.EverUp || h.Class == ReadOnly || h.Class == WrongRole {
		return 1
	}
	return rise
}

// Spared says that the conns were not cut after all. kept says that they were
// not retired either.
func (h *Health) Spared(kept bool) {
	h.cut = false
	h.retired = h.retired && !kept
}

// overhear takes evidence about a draining node. It keeps whether the node must
// be held back when it is used again. If the lasting connection is silent, calls
// hang on the conns that finish their work, as on any other silent node.
func (h *Health) overhear(e *Evidence) (eff Effects) {
	switch {
	case e.OK:
	case e.Class == Silent, e.Class == Lost && e.Fresh && e.Probe:
		h.SilentBefore = true
	case e.Class == NotReady:
		h.SilentBefore = false
	}
	eff.Cut = h.witness == wordless && !h.cut
	h.cut = h.witness == wordless
	return eff
}

// improve takes a check that passed. A down node stays down if the check did
// not look at what took it down, or began before that, or was one of the lasting
// connection. An outrun node is
// cleared only by an open that is fast enough. A check on a lasting connection
// is no proof of that.
func (h *Health) improve(e *Evidence, rise int, now time.Time) Effects {
	if h.Need&^e.Saw != 0 || h.State == Down && !e.Began.IsZero() && !e.Began.After(h.Since) {
		return Effects{}
	}
	if h.State == Down && e.Probe && !e.Fresh {
		return Effects{} // the fresh probe that follows at once decides
	}
	if h.State != Up && h.State != Suspect {
		if eff, waits := h.held(e, now); waits {
			return eff
		}
	}
	h.silent = 0
	if e.Took > 0 && e.Took <= h.slow {
		h.slow = 0
	}
	if h.State == Up {
		return Effects{}
	}
	// A role is changed on purpose, so one look at the new one is enough.
	if rises := h.Rises(rise); h.State == Down && rises > 1 {
		if h.Good++; h.Good < rises && !e.Alone {
			return Effects{}
		}
	}
	h.EverUp, h.Need, h.Class, h.SilentBefore = true, 0, Neutral, false
	h.Answered, h.apart, h.differed = time.Time{}, time.Time{}, 0
	if h.slow > 0 {
		return h.move(Suspect, SlowReason, now)
	}
	return h.move(Up, "", now)
}

// Unheard makes a failure that says nothing about a node, such as that of a name
// service, count against a node that has never been up: nothing is lost by that, it is
// said why the node is not used, and its probes alone try it again. A node that has
// been up is not blamed.
func (h *Health) Unheard(e *Evidence) {
	if !h.EverUp && !e.OK && e.Class == Neutral {
		e.Class, e.Reason = Failed, Failed.String()+strings.TrimPrefix(e.Reason, Neutral.String())
	}
}

func (h *Health) suspect(reason string, now time.Time) Effects {
	h.Good = 0
	if h.State == Down {
		return Effects{}
	}
	eff := h.move(Suspect, reason, now)
	eff.Check = true
	return eff
}

func (h *Health) fallen(e *Evidence, now time.Time) Effects {
	h.Good = 0
	h.Need |= e.Need
	if h.Class != e.Class {
		h.Class, h.Caused = e.Class, now
	}
	h.Answered = time.Time{}
	switch e.Class {
	case Silent, Lost:
		h.SilentBefore = h.SilentBefore || h.witness != answers
	case NotReady:
		h.SilentBefore = false // it knows that it was out; Synced after that means caught up
	}
	if e.Need&ScopeStatus == 0 {
		h.DonorSince = time.Time{}
	}
	return h.move(Down, e.Reason, now)
}

// move changes state and reason. It keeps Since where the state stays the same.
func (h *Health) move(to State, reason string, now time.Time) Effects {
	changed := h.State != to
	if changed {
		h.State, h.Since, h.Good, h.retired, h.cut = to, now, 0, false, false
	}
	h.Reason = reason
	return Effects{Changed: changed}
}

// SlowReason is the reason of an outrun node. An open must beat the time of the
// outrun one before the node is used like the others again.
const SlowReason = "slow: a node that was asked later gave a connection first"
