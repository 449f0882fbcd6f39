package health

import (
	"testing"
	"time"
)

// A cut waits for a dial that is silent while fellows answer, or for hang_limit after one
// that is silent or refused.
func TestCutWaitsForItsProof(t *testing.T) {
	const limit = 15 * time.Second
	begin := time.Unix(1e9, 0)
	dial := func(class Class) *Evidence { return &Evidence{Class: class, Probe: true, Fresh: true} }
	for name, tc := range map[string]struct {
		e       *Evidence
		fellows bool
		heard   bool // the server was heard of a second later
		now     bool // it is cut at once
		later   bool // and when hang_limit is over
	}{
		"nothing is known":             {},
		"silent among fellows":         {e: dial(Silent), fellows: true, now: true, later: true},
		"all are silent":               {e: dial(Silent), later: true},
		"refused":                      {e: dial(Refused), fellows: true, later: true},
		"refused, and it was heard of": {e: dial(Refused), fellows: true, heard: true},
		"a fault of its own":           {e: dial(Failed), fellows: true},
		"the lasting connection":       {e: &Evidence{Class: Silent, Probe: true}, fellows: true},
		"an open":                      {e: &Evidence{Class: Silent, Fresh: true}, fellows: true},
	} {
		c := Cut{Reason: "silent", Since: begin}
		if tc.heard && !c.Postpone(begin.Add(time.Second)) {
			t.Errorf("%s: it is not postponed", name)
		}
		if tc.e != nil {
			c.Prove(tc.e, func() bool { return tc.fellows })
		}
		if c.Waits(limit, c.Since) == tc.now || c.Waits(limit, c.Since.Add(limit)) == tc.later {
			t.Errorf("%s: it waits: %v, then %v", name, c.Waits(limit, c.Since), c.Waits(limit, c.Since.Add(limit)))
		}
	}
}

// What is heard of the server takes a proof back.
func TestCutIsPostponed(t *testing.T) {
	begin := time.Unix(1e9, 0)
	c := Cut{Reason: "silent", Since: begin, Proven: true, silent: true}
	if c.Postpone(begin) || !c.Proven {
		t.Error("what was heard before is a sign of life")
	}
	if wait := c.Until(time.Minute, 15*time.Second, begin.Add(5*time.Second)); wait != 10*time.Second {
		t.Errorf("the wait ends after %s", wait)
	}
	if !c.Postpone(begin.Add(time.Second)) || c.Proven || c.silent {
		t.Errorf("%+v", c)
	}
	if wait := c.Until(time.Minute, 15*time.Second, begin.Add(time.Minute)); wait != time.Minute {
		t.Errorf("a limit that is over shortens the wait to %s", wait)
	}
	if wait := new(Cut).Until(time.Minute, 15*time.Second, begin); wait != time.Minute {
		t.Errorf("no cut shortens the wait to %s", wait)
	}
}

// An answer drops a cut. One that says that the node is not to be used retires what the
// cut has spared.
func TestAnswersDropACut(t *testing.T) {
	for name, tc := range map[string]struct {
		e              Evidence
		dropped, raise bool
	}{
		"silent":    {Evidence{Class: Silent}, false, false},
		"passed":    {Evidence{OK: true}, true, false},
		"not ready": {Evidence{Class: NotReady}, true, true},
	} {
		c, h := Cut{Reason: "silent", Raise: true}, Health{retired: true, cut: true}
		dropped, raise := c.Drop(&tc.e, &h)
		if dropped != tc.dropped || raise != tc.raise || c.Due() == dropped || h.cut == dropped || h.retired == (dropped && !raise) {
			t.Errorf("%s: dropped %v, raise %v, %+v, %+v", name, dropped, raise, c, h)
		}
	}
}
