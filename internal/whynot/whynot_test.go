package whynot

import (
	"testing"
	"time"

	"github.com/EnumApps/clustersql/internal/balance"
	"github.com/EnumApps/clustersql/internal/health"
)

// Why an open does not ask a node first, in a sentence for each reason.
func TestWhyNotSentences(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	n1 := &Node{Name: "n1", State: health.Up, RoundTrip: 812 * time.Microsecond, Reached: true}
	after := func(d time.Duration) time.Time { return now.Add(d) }
	for _, tc := range []struct {
		name string
		p    Place
		s    Node
		want string
	}{
		{"drained", Place{}, Node{State: health.Draining}, "The program has drained it."},
		{"not open", Place{}, Node{State: health.Up}, "The cluster is not open: no open comes, and nothing probes this node."},
		{"never reached", Place{}, Node{State: health.Down, Reason: "refused: nobody listens"},
			"It was never found fit: refused: nobody listens."},
		{"held", Place{}, Node{State: health.Down, HeldUntil: after(7 * time.Second), Reason: "silent"},
			"It was silent, answers again, and is held for 7s more, until it is sure that it has caught up."},
		{"lag", Place{Class: health.Lagging, MaxLag: 10 * time.Second}, Node{State: health.Down, Lag: 12345 * time.Millisecond, Reason: "lagging: far"},
			"It is 12s behind its primary, and max_lag is 10s."},
		{"lag unknown", Place{Class: health.Lagging, MaxLag: 10 * time.Second}, Node{State: health.Down, LagUnknown: "why", Reason: "lagging: why"},
			"It is down, and is being checked: lagging: why."},
		{"wrong role", Place{Class: health.WrongRole}, Node{State: health.Down, Reason: `role: require "primary": the server is a standby`, NextCheck: after(700 * time.Millisecond)},
			`It is down, and is checked again in 700ms: role: require "primary": the server is a standby.`},
		{"on its way", Place{}, Node{State: health.Down, Good: 1, Rise: 2, Reason: "silent: no answer"},
			"It was down, and has passed 1 of 2 checks in a row: silent: no answer."},
		{"full", Place{Last: LastFull}, Node{State: health.Up, FullUntil: after(1234 * time.Millisecond)},
			"It has no room for another connection and is asked last: one open tries it again in 1.2s."},
		{"donor", Place{Last: LastDonor}, Node{State: health.Up}, "It is a Galera donor or desynced, and is asked last."},
		{"not preferred", Place{Last: LastRole, Preferred: "standby"}, Node{State: health.Up}, "It is no standby, which this cluster prefers, and is asked last."},
		{"alias", Place{}, Node{State: health.Up, SameAs: "n1"}, "It is the same server as n1, and has its share under that name."},
		{"suspect", Place{Behind: balance.BehindSuspect, First: n1}, Node{State: health.Suspect, Reason: "silent: no answer"},
			"It is suspect and is asked last: silent: no answer."},
		{"role", Place{Behind: balance.BehindRole, First: n1, Preferred: "primary"}, Node{State: health.Up},
			"It is no primary, which this cluster prefers, and n1 is one."},
		{"returning", Place{Behind: balance.BehindReturning, First: n1}, Node{State: health.Up, ReturnedAt: after(21 * time.Second)},
			"It has come back a short time ago: n1 stays first for 21s more."},
		{"tier", Place{Behind: balance.BehindTier, First: n1}, Node{State: health.Up, Priority: 2}, "It has priority 2, and n1 with priority 0 is usable."},
		{"unknown", Place{Behind: balance.BehindUnknown, First: n1}, Node{State: health.Unknown}, "It was not measured yet, and n1 was."},
		{"slower", Place{Behind: balance.BehindSlower, First: n1}, Node{State: health.Up, RoundTrip: 3210 * time.Microsecond},
			"Its checks take 3.2ms, and those of n1 take 812µs."},
		{"name", Place{Behind: balance.BehindName, First: n1}, Node{State: health.Up}, "n1 comes before it by name."},
	} {
		tc.p.Now, tc.p.Open = now, tc.name != "not open"
		tc.s.Reached = tc.name != "never reached"
		if got := tc.p.Sentence(&tc.s); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}
