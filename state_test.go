package clustersql

import (
	"testing"
	"time"
)

func TestTransitions(t *testing.T) {
	const rise, fall = 2, 2
	ok := evidence{ok: true}
	slow := evidence{class: classSlow, reason: "slow", took: 100 * time.Millisecond}
	opened := func(took time.Duration) evidence { return evidence{ok: true, took: took} }
	is := func(c class) evidence { return evidence{class: c, reason: c.String()} }
	probed := func(c class) evidence { e := is(c); e.probe = true; return e }
	var (
		unknown = health{}
		up      = health{state: StateUp, everUp: true}
		once    = health{state: StateSuspect, everUp: true, silent: 1}
		suspect = health{state: StateSuspect, everUp: true}
		down    = health{state: StateDown, everUp: true, retired: true, reason: "before"}
		rising  = health{state: StateDown, everUp: true, retired: true, good: 1}
		never   = health{state: StateDown, retired: true}
		behind  = health{state: StateSuspect, everUp: true, reason: "slow", slow: 100 * time.Millisecond}
		slowest = health{state: StateDown, everUp: true, retired: true, good: 1, slow: 100 * time.Millisecond}
		blind   = health{state: StateDown, everUp: true, retired: true, good: 1, need: sawStatus}
	)
	cases := []struct {
		name   string
		from   health
		e      evidence
		want   State
		effect effects
	}{
		{"first good check", unknown, ok, StateUp, effects{changed: true}},
		{"good stays good", up, ok, StateUp, effects{}},
		{"a suspect clears", once, ok, StateUp, effects{changed: true}},
		{"one good check does not raise", down, ok, StateDown, effects{}},
		{"the second does", rising, ok, StateUp, effects{changed: true}},
		{"a check that cannot see the fault does not", blind, ok, StateDown, effects{}},
		{"one that can does", blind, evidence{ok: true, saw: sawStatus | sawWork}, StateUp, effects{changed: true}},
		{"one is enough for a node never up", never, ok, StateUp, effects{changed: true}},

		{"first silence", up, is(classSilent), StateSuspect, effects{changed: true, check: true}},
		{"second silence", once, is(classSilent), StateDown, effects{changed: true, raise: true, cut: true}},
		{"first silence of an unknown node", unknown, is(classSilent), StateSuspect, effects{changed: true, check: true}},
		{"silence of a down node", down, is(classSilent), StateDown, effects{}},

		{"refused", up, is(classRefused), StateDown, effects{changed: true, raise: true}},
		{"refused, never up", unknown, is(classRefused), StateDown, effects{changed: true, raise: true}},
		{"not ready", up, is(classNotReady), StateDown, effects{changed: true, raise: true}},
		{"leaving", suspect, is(classLeaving), StateDown, effects{changed: true, raise: true}},
		{"configuration", up, is(classConfig), StateDown, effects{changed: true, raise: true}},
		{"refused again", down, is(classRefused), StateDown, effects{}},
		{"refused while rising", rising, is(classRefused), StateDown, effects{}},

		{"failed", up, is(classFailed), StateSuspect, effects{changed: true, check: true}},
		{"failed again keeps the conns", once, is(classFailed), StateDown, effects{changed: true}},
		{"and then refused gives them up", health{state: StateDown, everUp: true, reason: "before"}, is(classRefused), StateDown, effects{raise: true}},

		{"full", up, is(classSaturated), StateUp, effects{}},
		{"read-only", up, is(classReadOnly), StateDown, effects{changed: true, raise: true}},
		{"neutral", up, is(classNeutral), StateUp, effects{}},
		{"neutral does not clear", suspect, is(classNeutral), StateSuspect, effects{}},

		{"lost in traffic", up, is(classLost), StateSuspect, effects{changed: true, check: true}},
		{"lost in traffic, many times", once, is(classLost), StateSuspect, effects{check: true}},
		{"lost by a probe", up, probed(classLost), StateSuspect, effects{changed: true, check: true}},
		{"lost by a probe again", once, probed(classLost), StateDown, effects{changed: true, raise: true, cut: true}},
		{"lost on a down node", down, is(classLost), StateDown, effects{}},

		{"overtaken", up, slow, StateSuspect, effects{changed: true, check: true}},
		{"overtaken, unknown", unknown, slow, StateSuspect, effects{changed: true, check: true}},
		{"overtaken while down", down, slow, StateDown, effects{}},
		{"a check does not show that opens are fast", behind, ok, StateSuspect, effects{}},
		{"neither does a slow open", behind, opened(101 * time.Millisecond), StateSuspect, effects{}},
		{"a fast one does", behind, opened(100 * time.Millisecond), StateUp, effects{changed: true}},
		{"overtaken and silent", behind, is(classSilent), StateSuspect, effects{check: true}},
		{"overtaken and refused", behind, is(classRefused), StateDown, effects{changed: true, raise: true}},
		{"back, and still slow", slowest, opened(time.Second), StateSuspect, effects{changed: true}},
		{"back, and fast", slowest, opened(time.Millisecond), StateUp, effects{changed: true}},
	}
	now := time.Unix(1, 0)
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			got, eff := tc.from.next(tc.e, rise, fall, now)
			if got.state != tc.want || eff != tc.effect {
				t.Errorf("%v + %+v = %v %+v, want %v %+v", tc.from.state, tc.e, got.state, eff, tc.want, tc.effect)
			}
			if changed := got.state != tc.from.state; changed != eff.changed || changed != got.since.Equal(now) {
				t.Errorf("changed %v, effect %v, since %v", changed, eff.changed, got.since)
			}
			if (got.state == StateUp) != (got.reason == "") && tc.e.class != classNeutral {
				t.Errorf("state %v with reason %q", got.state, got.reason)
			}
		})
	}
}

// A bad check between two good ones starts the count of good ones anew.
func TestRisingStartsAnewAfterABadCheck(t *testing.T) {
	for _, bad := range []class{classSilent, classLost, classRefused, classNotReady} {
		h := health{state: StateDown, everUp: true}
		for i, e := range []evidence{{ok: true}, {class: bad, probe: true}, {ok: true}} {
			h, _ = h.next(e, 2, 2, time.Now())
			if h.state != StateDown {
				t.Fatalf("%v: %v after step %d", bad, h.state, i)
			}
		}
		if h, _ = h.next(evidence{ok: true}, 2, 2, time.Now()); h.state != StateUp {
			t.Errorf("%v: still %v after two good checks in a row", bad, h.state)
		}
	}
}

// Evidence comes in any order; whatever it is, what the states promise holds.
func FuzzTransitions(f *testing.F) {
	f.Add([]byte{0, 6, 6, 0, 0, 1, 0})
	f.Fuzz(func(t *testing.T, steps []byte) {
		h := health{}
		goods := 0
		for _, b := range steps {
			e := evidence{class: class(b % 10), probe: b&16 != 0, reason: "r"}
			e.ok = e.class == classNeutral && b&32 != 0
			before := h
			var eff effects
			h, eff = h.next(e, 2, 3, time.Now())
			if e.ok {
				goods++
			} else if e.class != classNeutral && e.class != classSaturated {
				goods = 0
			}
			switch {
			case eff.changed != (before.state != h.state):
				t.Fatalf("changed is %v from %v to %v", eff.changed, before.state, h.state)
			case eff.raise && h.state != StateDown, h.state == StateDown && !h.retired && e.class != classFailed && !e.ok && explicit(e.class):
				t.Fatalf("raise is %v from %v to %v", eff.raise, before.state, h.state)
			case eff.raise && before.retired && before.state == StateDown:
				t.Fatal("raised twice")
			case before.state == StateDown && before.everUp && h.state == StateUp && goods < 2:
				t.Fatal("up after one good check")
			case before.state == StateDown && h.state == StateSuspect:
				t.Fatal("from down to suspect")
			}
		}
	})
}

func explicit(c class) bool {
	return c == classRefused || c == classNotReady || c == classLeaving || c == classConfig
}
