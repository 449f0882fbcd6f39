package health

import (
	"testing"
	"time"
)

func TestTransitions(t *testing.T) {
	const rise, fall = 2, 2
	ok := Evidence{OK: true}
	slow := Evidence{Class: Slow, Reason: "slow", Took: 100 * time.Millisecond}
	opened := func(took time.Duration) Evidence { return Evidence{OK: true, Took: took} }
	traffic := func(c Class) Evidence { return Evidence{Class: c, Reason: c.String()} }
	fresh := func(c Class) Evidence { e := traffic(c); e.Fresh, e.Need = true, ScopeDial; return e }
	dialled := func(c Class) Evidence { e := fresh(c); e.Probe = true; return e }
	lasting := func(c Class) Evidence { e := traffic(c); e.Probe = true; return e }
	var (
		unknown = Health{}
		up      = Health{State: Up, EverUp: true, witness: answers}
		alone   = Health{State: Up, EverUp: true, witness: absent} // the lasting connection has broken
		once    = Health{State: Suspect, EverUp: true, silent: 1, witness: answers, Need: ScopeDial}
		mute    = Health{State: Suspect, EverUp: true, silent: 1, witness: wordless}
		suspect = Health{State: Suspect, EverUp: true, witness: answers}
		down    = Health{State: Down, EverUp: true, retired: true, Reason: "before"}
		rising  = Health{State: Down, EverUp: true, retired: true, Good: 1}
		never   = Health{State: Down, retired: true}
		behind  = Health{State: Suspect, EverUp: true, Reason: "slow", slow: 100 * time.Millisecond, witness: answers}
		slowest = Health{State: Down, EverUp: true, retired: true, Good: 1, slow: 100 * time.Millisecond}
		fenced  = Health{State: Down, EverUp: true, retired: true, silent: 1, witness: wordless}
		gone    = Health{State: Down, EverUp: true, retired: true, cut: true, silent: 2, witness: wordless}
		blind   = Health{State: Down, EverUp: true, retired: true, Good: 1, Need: ScopeStatus}
		closed  = Health{State: Down, EverUp: true, silent: 2, Class: Silent, Need: ScopeDial, witness: answers} // takes nothing new, its sessions work
		refuses = Health{State: Down, EverUp: true, Class: Refused, Need: ScopeDial, witness: answers}
	)
	cases := []struct {
		name   string
		from   Health
		e      Evidence
		want   State
		effect Effects
	}{
		{"first good check", unknown, ok, Up, Effects{Changed: true}},
		{"good stays good", up, ok, Up, Effects{}},
		{"a suspect clears", mute, ok, Up, Effects{Changed: true}},
		{"one that takes no new connections only by a new one", once, ok, Suspect, Effects{}},
		{"which is enough", once, Evidence{OK: true, Saw: ScopeDial}, Up, Effects{Changed: true}},
		{"one good check does not raise", down, ok, Down, Effects{}},
		{"the second does", rising, ok, Up, Effects{Changed: true}},
		{"a check that cannot see the fault does not", blind, ok, Down, Effects{}},
		{"one that can does", blind, Evidence{OK: true, Saw: ScopeStatus | ScopeWork}, Up, Effects{Changed: true}},
		{"one is enough for a node never up", never, ok, Up, Effects{Changed: true}},

		{"first silence", up, lasting(Silent), Suspect, Effects{Changed: true, Check: true}},
		{"and a dial that is silent too", mute, dialled(Silent), Down, Effects{Changed: true, Raise: true, Cut: true}},
		{"and an open", mute, fresh(Silent), Down, Effects{Changed: true, Raise: true, Cut: true}},
		{"and one that is refused", mute, dialled(Refused), Down, Effects{Changed: true, Raise: true, Cut: true}},
		{"and one that fails", mute, dialled(Failed), Down, Effects{Changed: true}},
		{"and a node that says it is not ready", mute, dialled(NotReady), Down, Effects{Changed: true, Raise: true}},
		{"first silence of an unknown node", unknown, dialled(Silent), Suspect, Effects{Changed: true, Check: true}},
		{"silence of a down node", down, dialled(Silent), Down, Effects{}},
		{"silence of a node that was down for another reason", fenced, dialled(Silent), Down, Effects{Cut: true}},
		{"and longer", gone, dialled(Silent), Down, Effects{}},
		{"silence of new connections", up, fresh(Silent), Suspect, Effects{Changed: true, Check: true}},
		{"and again: the established ones work on", once, dialled(Silent), Down, Effects{Changed: true}},
		{"until their witness is silent too", closed, lasting(Silent), Down, Effects{Raise: true, Cut: true}},
		{"or broken, which proves nothing", closed, lasting(Lost), Down, Effects{}},
		{"a broken handshake is no silence of the established ones", once, dialled(Lost), Down, Effects{Changed: true}},

		{"refused", up, fresh(Refused), Down, Effects{Changed: true, Check: true}},
		{"and the witness is gone too", refuses, lasting(Lost), Down, Effects{Raise: true}},
		{"and the witness answers", refuses, ok, Down, Effects{}},
		{"refused, and no witness", alone, dialled(Refused), Down, Effects{Changed: true, Raise: true}},
		{"refused, and there never was one", unknown, dialled(Refused), Down, Effects{Changed: true}},
		{"not ready", up, traffic(NotReady), Down, Effects{Changed: true, Raise: true}},
		{"leaving", suspect, traffic(Leaving), Down, Effects{Changed: true, Raise: true}},
		{"configuration keeps the sessions", up, fresh(Misconfigured), Down, Effects{Changed: true}},
		{"refused again", down, dialled(Refused), Down, Effects{}},
		{"refused while rising", rising, dialled(Refused), Down, Effects{}},

		{"failed", up, fresh(Failed), Suspect, Effects{Changed: true, Check: true}},
		{"failed again keeps the conns", once, fresh(Failed), Down, Effects{Changed: true}},
		{"and then refused gives them up", Health{State: Down, EverUp: true, Reason: "before", witness: absent}, dialled(Refused), Down, Effects{Raise: true}},

		{"full", up, fresh(Saturated), Up, Effects{}},
		{"read-only", up, traffic(ReadOnly), Down, Effects{Changed: true, Raise: true}},
		{"neutral", up, traffic(Neutral), Up, Effects{}},
		{"neutral does not clear", suspect, traffic(Neutral), Suspect, Effects{}},

		{"lost in traffic", up, traffic(Lost), Up, Effects{Check: true}},
		{"lost in traffic, many times", once, traffic(Lost), Suspect, Effects{Check: true}},
		{"a probe's connection that has ended", up, lasting(Lost), Up, Effects{Check: true}},
		{"lost on a down node", down, traffic(Lost), Down, Effects{}},

		{"overtaken", up, slow, Suspect, Effects{Changed: true, Check: true}},
		{"overtaken, unknown", unknown, slow, Suspect, Effects{Changed: true, Check: true}},
		{"overtaken while down", down, slow, Down, Effects{}},
		{"a check does not show that opens are fast", behind, ok, Suspect, Effects{}},
		{"neither does a slow open", behind, opened(101 * time.Millisecond), Suspect, Effects{}},
		{"a fast one does", behind, opened(100 * time.Millisecond), Up, Effects{Changed: true}},
		{"overtaken and silent", behind, lasting(Silent), Suspect, Effects{Check: true}},
		{"overtaken and refused", behind, fresh(Refused), Down, Effects{Changed: true, Check: true}},
		{"back, and still slow", slowest, opened(time.Second), Suspect, Effects{Changed: true}},
		{"back, and fast", slowest, opened(time.Millisecond), Up, Effects{Changed: true}},
	}
	now := time.Unix(1, 0)
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			got := tc.from
			eff := got.Next(&tc.e, rise, fall, now)
			if got.State != tc.want || eff != tc.effect {
				t.Errorf("%v + %+v = %v %+v, want %v %+v", tc.from.State, tc.e, got.State, eff, tc.want, tc.effect)
			}
			if changed := got.State != tc.from.State; changed != eff.Changed || changed != got.Since.Equal(now) {
				t.Errorf("changed %v, effect %v, since %v", changed, eff.Changed, got.Since)
			}
			if (got.State == Up) != (got.Reason == "") && eff.Changed {
				t.Errorf("state %v with reason %q", got.State, got.Reason)
			}
		})
	}
}

// A bad check between two good ones makes the count of good ones start again.
func TestRisingStartsAnewAfterABadCheck(t *testing.T) {
	for _, bad := range []Class{Silent, Lost, Refused, NotReady} {
		h := Health{State: Down, EverUp: true}
		for i, e := range []Evidence{{OK: true}, {Class: bad, Probe: true, Fresh: true}, {OK: true}} {
			h.Next(&e, 2, 2, time.Now())
			if h.State != Down {
				t.Fatalf("%v: %v after step %d", bad, h.State, i)
			}
		}
		if h.Next(&Evidence{OK: true}, 2, 2, time.Now()); h.State != Up {
			t.Errorf("%v: still %v after two good checks in a row", bad, h.State)
		}
	}
}

// Whatever evidence comes, and in whatever order, the promises of the states
// hold.
func FuzzTransitions(f *testing.F) {
	f.Add([]byte{0, 6, 6, 0, 0, 1, 0})
	f.Fuzz(func(t *testing.T, steps []byte) {
		h := Health{}
		goods := 0
		for _, b := range steps {
			e := Evidence{Class: Class(b % 10), Probe: b&16 != 0, Fresh: b&64 != 0, Reason: "r"}
			e.OK = e.Class == Neutral && b&32 != 0
			before := h
			eff := h.Next(&e, 2, 3, time.Now())
			if e.OK {
				goods++
			} else if e.Class != Neutral && e.Class != Saturated {
				goods = 0
			}
			switch {
			case eff.Changed != (before.State != h.State):
				t.Fatalf("changed is %v from %v to %v", eff.Changed, before.State, h.State)
			case eff.Raise && h.State != Down, h.State == Down && !h.retired && explicit(e.Class):
				t.Fatalf("raise is %v from %v to %v", eff.Raise, before.State, h.State)
			case eff.Cut && h.witness != wordless:
				t.Fatal("cut, and the lasting connection was not silent")
			case eff.Raise && (e.Class == Misconfigured || e.Class == Failed):
				t.Fatalf("retired for new connections' trouble, %v", e.Class)
			case eff.Raise && before.retired && before.State == Down:
				t.Fatal("raised twice")
			case before.State == Down && before.EverUp && h.State == Up && goods < 2:
				t.Fatal("up after one good check")
			case before.State == Down && h.State == Suspect:
				t.Fatal("from down to suspect")
			}
		}
	})
}

func explicit(c Class) bool { return c == NotReady || c == Leaving || c == ReadOnly }

// A node that is silent while it is drained is cut once, and again only if it has
// answered in between. Its state is the program's.
func TestSilenceWhileDraining(t *testing.T) {
	h := Health{State: Draining, EverUp: true}
	silent, good := Evidence{Class: Silent, Probe: true}, Evidence{OK: true, Probe: true, Fresh: true}
	dial := Evidence{Class: Silent, Probe: true, Fresh: true}
	for i, step := range []struct {
		e   Evidence
		cut bool
	}{{dial, false}, {silent, true}, {silent, false}, {dial, false}, {good, false}, {dial, false}, {silent, true}} {
		want := Effects{Cut: step.cut}
		if eff := h.Next(&step.e, 2, 2, time.Now()); eff != want || h.State != Draining || !h.SilentBefore {
			t.Errorf("step %d: %+v, %v", i, eff, h.State)
		}
	}
}

// A probe whose connection was spent on a question without an answer leaves no
// witness of the established connections. The next connection is one again.
func TestSpentConnectionIsNoWitness(t *testing.T) {
	h := &Health{State: Up, EverUp: true, witness: answers}
	spent, silent := Evidence{OK: true, Probe: true, Spent: true}, Evidence{Class: Silent, Probe: true}
	dialled := Evidence{Class: Silent, Probe: true, Fresh: true, Need: ScopeDial}
	if eff := h.Next(&spent, 2, 2, noon); h.State != Up || h.witness != absent || eff != (Effects{}) {
		t.Errorf("%+v: %+v", h, eff)
	}
	h.Next(&dialled, 2, 2, noon)
	if eff := h.Next(&dialled, 2, 2, noon); h.State != Down || eff.Cut || eff.Raise {
		t.Errorf("silent dials alone: %+v: %+v", h, eff)
	}
	for range 2 {
		h.Next(&Evidence{OK: true, Probe: true, Fresh: true, Saw: ScopeDial}, 2, 2, noon.Add(time.Second))
	}
	h.Next(&silent, 2, 2, noon.Add(2*time.Second))
	if eff := h.Next(&dialled, 2, 2, noon.Add(2*time.Second)); !eff.Cut {
		t.Errorf("silence of the new one: %+v: %+v", h, eff)
	}
	h = &Health{State: Up, EverUp: true, witness: answers}
	spent.Fresh = true
	if h.Next(&spent, 2, 2, noon); h.witness != answers {
		t.Error("a new connection speaks for the lasting one")
	}
}

// A failure that says nothing about a node counts against one that was never up, and
// against no other.
func TestUnheardOf(t *testing.T) {
	for _, tc := range []struct {
		from Health
		e    Evidence
		want Evidence
	}{
		{Health{}, Evidence{Reason: "neutral: lookup"}, Evidence{Class: Failed, Reason: "failed: lookup"}},
		{Health{State: Suspect}, Evidence{Reason: "neutral: lookup"}, Evidence{Class: Failed, Reason: "failed: lookup"}},
		{Health{State: Suspect, EverUp: true}, Evidence{Reason: "neutral: lookup"}, Evidence{Reason: "neutral: lookup"}},
		{Health{}, Evidence{Class: Refused, Reason: "refused"}, Evidence{Class: Refused, Reason: "refused"}},
		{Health{}, Evidence{OK: true}, Evidence{OK: true}},
	} {
		got := tc.e
		if tc.from.Unheard(&got); got != tc.want {
			t.Errorf("%+v: %+v, want %+v", tc.e, got, tc.want)
		}
	}
}
