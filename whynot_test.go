package clustersql

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql/internal/balance"
	"github.com/EnumApps/clustersql/internal/fakedb"
	"github.com/EnumApps/clustersql/internal/health"
)

// Why an open does not ask a node first, in a sentence for each reason.
func TestWhyNotSentences(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	latency := func(d time.Duration) Latency { return Latency{health.Latency{}.Add(d)} }
	n1 := &NodeStatus{Name: "n1", State: StateUp, ProbeLatency: latency(812 * time.Microsecond)}
	after := func(d time.Duration) time.Time { return now.Add(d) }
	for _, tc := range []struct {
		name string
		p    place
		s    NodeStatus
		want string
	}{
		{"drained", place{}, NodeStatus{State: StateDraining}, "The program has drained it."},
		{"not open", place{}, NodeStatus{State: StateUp}, "The cluster is not open: no open comes, and nothing probes this node."},
		{"never reached", place{}, NodeStatus{State: StateDown, Probes: 3, ProbeErrors: 3, Reason: "refused: nobody listens"},
			"It was never found fit: refused: nobody listens."},
		{"held", place{}, NodeStatus{State: StateDown, HeldUntil: after(7 * time.Second), Reason: "silent"},
			"It was silent, answers again, and is held for 7s more, until it is sure that it has caught up."},
		{"lag", place{class: health.Lagging, maxLag: 10 * time.Second}, NodeStatus{State: StateDown, Lag: 12345 * time.Millisecond, Reason: "lagging: far"},
			"It is 12s behind its primary, and max_lag is 10s."},
		{"lag unknown", place{class: health.Lagging, maxLag: 10 * time.Second}, NodeStatus{State: StateDown, LagUnknown: "why", Reason: "lagging: why"},
			"It is down, and is being checked: lagging: why."},
		{"wrong role", place{class: health.WrongRole}, NodeStatus{State: StateDown, Reason: `role: require "primary": the server is a standby`, NextCheck: after(700 * time.Millisecond)},
			`It is down, and is checked again in 700ms: role: require "primary": the server is a standby.`},
		{"on its way", place{}, NodeStatus{State: StateDown, Good: 1, Rise: 2, Reason: "silent: no answer"},
			"It was down, and has passed 1 of 2 checks in a row: silent: no answer."},
		{"full", place{last: lastFull}, NodeStatus{State: StateUp, FullUntil: after(1234 * time.Millisecond)},
			"It has no room for another connection and is asked last: one open tries it again in 1.2s."},
		{"donor", place{last: lastDonor}, NodeStatus{State: StateUp}, "It is a Galera donor or desynced, and is asked last."},
		{"not preferred", place{last: lastRole, preferred: "standby"}, NodeStatus{State: StateUp}, "It is no standby, which this cluster prefers, and is asked last."},
		{"alias", place{}, NodeStatus{State: StateUp, SameAs: "n1"}, "It is the same server as n1, and has its share under that name."},
		{"suspect", place{behind: balance.BehindSuspect, first: n1}, NodeStatus{State: StateSuspect, Reason: "silent: no answer"},
			"It is suspect and is asked last: silent: no answer."},
		{"role", place{behind: balance.BehindRole, first: n1, preferred: "primary"}, NodeStatus{State: StateUp},
			"It is no primary, which this cluster prefers, and n1 is one."},
		{"returning", place{behind: balance.BehindReturning, first: n1}, NodeStatus{State: StateUp, ReturnedAt: after(21 * time.Second)},
			"It has come back a short time ago: n1 stays first for 21s more."},
		{"tier", place{behind: balance.BehindTier, first: n1}, NodeStatus{State: StateUp, Priority: 2}, "It has priority 2, and n1 with priority 0 is usable."},
		{"unknown", place{behind: balance.BehindUnknown, first: n1}, NodeStatus{State: StateUnknown}, "It was not measured yet, and n1 was."},
		{"slower", place{behind: balance.BehindSlower, first: n1}, NodeStatus{State: StateUp, ProbeLatency: latency(3210 * time.Microsecond)},
			"Its checks take 3.2ms, and those of n1 take 812µs."},
		{"name", place{behind: balance.BehindName, first: n1}, NodeStatus{State: StateUp}, "n1 comes before it by name."},
	} {
		tc.p.now, tc.p.open = now, tc.name != "not open"
		if got := tc.p.whyNot(&tc.s); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

// What WhyNot says is what opens do: a node without it gets the next open, as the
// strategy has it.
func TestWhyNotIsTrue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d := fakeCluster(t, b, 3, WithStrategy(Ordered))
		if err := d.AddNode("spare", "spare", WithPriority(1)); err != nil {
			t.Fatal(err)
		}
		why := func() map[string]string {
			found := make(map[string]string)
			for _, n := range d.Status().Nodes {
				found[n.Name] = n.WhyNot
			}
			return found
		}
		if got := why()["n1"]; !strings.Contains(got, "not open") {
			t.Errorf("before the first open: %q", got)
		}
		db := openDB(t, d)
		ask := func() string {
			conn, err := d.Open("")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			time.Sleep(time.Millisecond)
			for _, n := range d.Status().Nodes {
				if n.OpenConns > 0 {
					return n.Name
				}
			}
			return "none"
		}
		want := func(first string, parts map[string]string) {
			t.Helper()
			synctest.Wait()
			got := why()
			for name, part := range parts {
				if !strings.Contains(got[name], part) {
					t.Errorf("%s: %q, want %q in it", name, got[name], part)
				}
			}
			if asked := ask(); asked != first || got[first] != "" {
				t.Errorf("the open went to %s, want %s; %q", asked, first, got)
			}
		}
		time.Sleep(time.Second)
		want("n1", map[string]string{"n2": "n1 comes before it by name", "spare": "priority 1, and n1 with priority 0"})
		b.Node("n1").SetHealth(errNotReady, 0, false)
		b.Node("n1").Set(fakedb.Script{Err: errRefused})
		time.Sleep(3 * time.Second)
		want("n2", map[string]string{"n1": "It is down, and is checked again in ", "n3": "n2 comes before"})
		b.Node("n1").SetHealth(nil, 0, false)
		b.Node("n1").Set(fakedb.Script{})
		time.Sleep(10 * time.Second)
		want("n2", map[string]string{"n1": "come back a short time ago: n2 stays first for "})
		if err := d.Drain("n2"); err != nil {
			t.Fatal(err)
		}
		want("n3", map[string]string{"n2": "drained"})
		time.Sleep(time.Minute)
		want("n1", map[string]string{"n3": "n1 comes before"})
		for _, n := range []string{"n1", "n3", "spare"} {
			if err := d.Drain(n); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := db.PingContext(ctx); err == nil {
			t.Error("a connection of a drained cluster")
		}
		synctest.Wait()
		if s := d.Status(); s.Usable != 0 || s.AllDownSince.IsZero() || s.OpensAllDown != 1 {
			t.Errorf("usable %d, all down since %v, %d opens", s.Usable, s.AllDownSince, s.OpensAllDown)
		}
	})
}

// With race every node of the first tier is asked at once.
func TestWhyNotOfARace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := fakeCluster(t, fakedb.New(), 2)
		d.AddNode("spare", "spare", WithPriority(1))
		openDB(t, d)
		time.Sleep(time.Second)
		for _, n := range d.Status().Nodes {
			if (n.WhyNot == "") != (n.Name != "spare") {
				t.Errorf("%s: %q", n.Name, n.WhyNot)
			}
		}
	})
}
