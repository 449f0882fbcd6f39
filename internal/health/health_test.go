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
	is := func(c Class) Evidence { return Evidence{Class: c, Reason: c.String()} }
	probed := func(c Class) Evidence { e := is(c); e.Probe = true; return e }
	unsure := func(c Class) Evidence { e := is(c); e.Unsure = true; return e }
	var (
		unknown = Health{}
		up      = Health{State: Up, EverUp: true}
		once    = Health{State: Suspect, EverUp: true, silent: 1}
		suspect = Health{State: Suspect, EverUp: true}
		down    = Health{State: Down, EverUp: true, retired: true, Reason: "before"}
		rising  = Health{State: Down, EverUp: true, retired: true, Good: 1}
		never   = Health{State: Down, retired: true}
		behind  = Health{State: Suspect, EverUp: true, Reason: "slow", slow: 100 * time.Millisecond}
		slowest = Health{State: Down, EverUp: true, retired: true, Good: 1, slow: 100 * time.Millisecond}
		fenced  = Health{State: Down, EverUp: true, retired: true, silent: 1}
		gone    = Health{State: Down, EverUp: true, retired: true, cut: true, silent: 2}
		tended  = Health{State: Up, EverUp: true, probed: true}
		doubted = Health{State: Suspect, EverUp: true, probed: true, silent: 1}
		witness = Health{State: Suspect, EverUp: true, probed: true, silent: 1, broken: true}
		closed  = Health{State: Down, EverUp: true, Class: Refused, probed: true, silent: 1, broken: true}
		blind   = Health{State: Down, EverUp: true, retired: true, Good: 1, Need: ScopeStatus}
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
		{"a suspect clears", once, ok, Up, Effects{Changed: true}},
		{"one good check does not raise", down, ok, Down, Effects{}},
		{"the second does", rising, ok, Up, Effects{Changed: true}},
		{"a check that cannot see the fault does not", blind, ok, Down, Effects{}},
		{"one that can does", blind, Evidence{OK: true, Saw: ScopeStatus | ScopeWork}, Up, Effects{Changed: true}},
		{"one is enough for a node never up", never, ok, Up, Effects{Changed: true}},

		{"first silence", up, is(Silent), Suspect, Effects{Changed: true, Check: true}},
		{"second silence", once, is(Silent), Down, Effects{Changed: true, Raise: true, Cut: true}},
		{"first silence of an unknown node", unknown, is(Silent), Suspect, Effects{Changed: true, Check: true}},
		{"silence of a down node", down, is(Silent), Down, Effects{}},
		{"lasting silence of a node that is down for another reason", fenced, is(Silent), Down, Effects{Cut: true}},
		{"and longer", gone, is(Silent), Down, Effects{}},
		{"a broken probe is no silence of its sessions", fenced, probed(Lost), Down, Effects{}},

		{"refused", up, is(Refused), Down, Effects{Changed: true, Raise: true}},
		{"refused, never up", unknown, is(Refused), Down, Effects{Changed: true, Raise: true}},
		{"not ready", up, is(NotReady), Down, Effects{Changed: true, Raise: true}},
		{"leaving", suspect, is(Leaving), Down, Effects{Changed: true, Raise: true}},
		{"configuration keeps the sessions", up, is(Misconfigured), Down, Effects{Changed: true}},
		{"refused again", down, is(Refused), Down, Effects{}},
		{"refused while rising", rising, is(Refused), Down, Effects{}},

		{"failed", up, is(Failed), Suspect, Effects{Changed: true, Check: true}},
		{"failed again keeps the conns", once, is(Failed), Down, Effects{Changed: true}},
		{"and then refused gives them up", Health{State: Down, EverUp: true, Reason: "before"}, is(Refused), Down, Effects{Raise: true}},

		{"a refusal that may be another's keeps the conns", tended, unsure(Refused), Down, Effects{Changed: true}},
		{"so does a silence", doubted, unsure(Silent), Down, Effects{Changed: true}},
		{"so does a broken handshake", doubted, func() Evidence { e := unsure(Lost); e.Probe = true; return e }(), Down, Effects{Changed: true}},
		{"with an established connection lost before, it does not", witness, unsure(Refused), Down, Effects{Changed: true, Raise: true}},
		{"with one silent before, it cuts", witness, unsure(Silent), Down, Effects{Changed: true, Raise: true, Cut: true}},
		{"nor with one lost after it", closed, unsure(Refused), Down, Effects{Raise: true}},
		{"where no probe was ever good, nobody speaks for them", up, unsure(Refused), Down, Effects{Changed: true, Raise: true}},
		{"nor against a silence", once, unsure(Silent), Down, Effects{Changed: true, Raise: true, Cut: true}},
		{"of a node that was given up already, silence cuts", fenced, unsure(Silent), Down, Effects{Cut: true}},

		{"full", up, is(Saturated), Up, Effects{}},
		{"read-only", up, is(ReadOnly), Down, Effects{Changed: true, Raise: true}},
		{"neutral", up, is(Neutral), Up, Effects{}},
		{"neutral does not clear", suspect, is(Neutral), Suspect, Effects{}},

		{"lost in traffic", up, is(Lost), Up, Effects{Check: true}},
		{"lost in traffic, many times", once, is(Lost), Suspect, Effects{Check: true}},
		{"lost by a probe", up, probed(Lost), Suspect, Effects{Changed: true, Check: true}},
		{"lost by a probe again", once, probed(Lost), Down, Effects{Changed: true, Raise: true, Cut: true}},
		{"lost on a down node", down, is(Lost), Down, Effects{}},

		{"overtaken", up, slow, Suspect, Effects{Changed: true, Check: true}},
		{"overtaken, unknown", unknown, slow, Suspect, Effects{Changed: true, Check: true}},
		{"overtaken while down", down, slow, Down, Effects{}},
		{"a check does not show that opens are fast", behind, ok, Suspect, Effects{}},
		{"neither does a slow open", behind, opened(101 * time.Millisecond), Suspect, Effects{}},
		{"a fast one does", behind, opened(100 * time.Millisecond), Up, Effects{Changed: true}},
		{"overtaken and silent", behind, is(Silent), Suspect, Effects{Check: true}},
		{"overtaken and refused", behind, is(Refused), Down, Effects{Changed: true, Raise: true}},
		{"back, and still slow", slowest, opened(time.Second), Suspect, Effects{Changed: true}},
		{"back, and fast", slowest, opened(time.Millisecond), Up, Effects{Changed: true}},
	}
	now := time.Unix(1, 0)
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			got, eff := tc.from.Next(tc.e, rise, fall, now)
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
		for i, e := range []Evidence{{OK: true}, {Class: bad, Probe: true}, {OK: true}} {
			h, _ = h.Next(e, 2, 2, time.Now())
			if h.State != Down {
				t.Fatalf("%v: %v after step %d", bad, h.State, i)
			}
		}
		if h, _ = h.Next(Evidence{OK: true}, 2, 2, time.Now()); h.State != Up {
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
			e := Evidence{Class: Class(b % 10), Probe: b&16 != 0, Reason: "r"}
			e.OK = e.Class == Neutral && b&32 != 0
			before := h
			var eff Effects
			h, eff = h.Next(e, 2, 3, time.Now())
			if e.OK {
				goods++
			} else if e.Class != Neutral && e.Class != Saturated {
				goods = 0
			}
			switch {
			case eff.Changed != (before.State != h.State):
				t.Fatalf("changed is %v from %v to %v", eff.Changed, before.State, h.State)
			case eff.Raise && h.State != Down, h.State == Down && !h.retired && e.Class != Failed && !e.OK && explicit(e.Class):
				t.Fatalf("raise is %v from %v to %v", eff.Raise, before.State, h.State)
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

func explicit(c Class) bool {
	return c == Refused || c == NotReady || c == Leaving || c == Misconfigured
}
