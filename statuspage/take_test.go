package statuspage

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/fakedb"
)

// Each state has its colour, its word, and how bad it is.
func TestColoursOfNodes(t *testing.T) {
	up := func(n clustersql.NodeStatus) clustersql.NodeStatus { n.State = clustersql.StateUp; return n }
	down := func(n clustersql.NodeStatus) clustersql.NodeStatus { n.State = clustersql.StateDown; return n }
	for _, tc := range []struct {
		strategy string
		node     clustersql.NodeStatus
		want     Node
	}{
		{"race", up(clustersql.NodeStatus{}), Node{Kind: KindUp, Word: "up"}},
		{"race", up(clustersql.NodeStatus{Priority: 1}), Node{Kind: KindStandby, Word: "up, standby"}},
		{"race", up(clustersql.NodeStatus{Full: true}), Node{Kind: KindHold, Word: "up, full", Level: LevelWarn}},
		{"race", up(clustersql.NodeStatus{Donor: true}), Node{Kind: KindHold, Word: "up, donor", Level: LevelWarn}},
		{"race", up(clustersql.NodeStatus{SameAs: "n2"}), Node{Kind: KindHold, Word: "up, known twice", Level: LevelWarn}},
		{"race", up(clustersql.NodeStatus{Returning: true}), Node{Kind: KindUp, Word: "up"}},
		{"ordered", up(clustersql.NodeStatus{Returning: true}), Node{Kind: KindGoingUp, Word: "up, returning", Level: LevelWarn}},
		{"race", clustersql.NodeStatus{State: clustersql.StateSuspect, Bad: 1, Fall: 2}, Node{Kind: KindGoingDown, Word: "suspect 1/2", Level: LevelWarn}},
		{"race", clustersql.NodeStatus{State: clustersql.StateUnknown}, Node{Kind: KindUnknown, Word: "unknown", Level: LevelWarn}},
		{"race", clustersql.NodeStatus{State: clustersql.StateDraining}, Node{Kind: KindDrain, Word: "draining", Level: LevelWarn}},
		{"race", down(clustersql.NodeStatus{Reason: "refused: x"}), Node{Kind: KindDown, Word: "down", Level: LevelBad}},
		{"race", down(clustersql.NodeStatus{Reason: "refused: x", Good: 1, Rise: 2}), Node{Kind: KindGoingUp, Word: "down 1/2", Level: LevelBad}},
		{"race", down(clustersql.NodeStatus{Reason: "read-only: x"}), Node{Kind: KindStandby, Word: "other role"}},
		{"race", down(clustersql.NodeStatus{Reason: "role: x"}), Node{Kind: KindStandby, Word: "other role"}},
		{"race", down(clustersql.NodeStatus{Reason: "role: n1 is the new primary: held until it is a standby"}), Node{Kind: KindHold, Word: "held", Level: LevelWarn}},
		{"race", down(clustersql.NodeStatus{Reason: "lagging: x"}), Node{Kind: KindHold, Word: "lagging", Level: LevelWarn}},
		{"race", down(clustersql.NodeStatus{Reason: "silent", HeldUntil: time.Now().Add(time.Second)}), Node{Kind: KindHold, Word: "held", Level: LevelWarn}},
		{"race", down(clustersql.NodeStatus{Reason: "not ready: it is in another Galera group: held"}), Node{Kind: KindHold, Word: "held", Level: LevelWarn}},
	} {
		c := Cluster{Status: clustersql.ClusterStatus{Open: true, Usable: 1, Strategy: tc.strategy, Nodes: []clustersql.NodeStatus{
			tc.node, up(clustersql.NodeStatus{Name: "n2"}),
		}}}
		c.judge()
		if c.Nodes[0] != tc.want {
			t.Errorf("%s, %+v: %+v", tc.strategy, tc.node, c.Nodes[0])
		}
		if c.Level != tc.want.Level {
			t.Errorf("%+v: the cluster is %s", tc.node, c.Level)
		}
	}
}

// A cluster is as bad as its worst node, and says which.
func TestClustersSayWhichNodesAreIll(t *testing.T) {
	cluster := func(open bool, usable int, states ...clustersql.State) Cluster {
		c := Cluster{Status: clustersql.ClusterStatus{ID: "read_conn", Open: open, Usable: usable}}
		for i, s := range states {
			c.Status.Nodes = append(c.Status.Nodes, clustersql.NodeStatus{Name: "n" + string(rune('1'+i)), State: s})
		}
		c.judge()
		return c
	}
	const up, suspect, down, draining = clustersql.StateUp, clustersql.StateSuspect, clustersql.StateDown, clustersql.StateDraining
	for _, tc := range []struct {
		cluster Cluster
		level   Level
		summary string
	}{
		{cluster(true, 2, up, up), LevelWell, "All 2 nodes are well."},
		{cluster(true, 1, up), LevelWell, "Its node is well."},
		{cluster(true, 2, up, suspect), LevelWarn, "2 of 2 nodes usable: n2 is suspect."},
		{cluster(true, 1, up, draining, down), LevelBad, "1 of 3 nodes usable: n3 is down, n2 is draining."},
		{cluster(true, 0, down, down), LevelBad, "No node is usable: opens wait: n1 is down, n2 is down."},
		{cluster(true, 1, up, down, down, down, down, down, down), LevelBad, "1 of 7 nodes usable: n2 is down, n3 is down, n4 is down, n5 is down, 2 more are not well."},
		{cluster(true, 0), LevelBad, "The cluster has no nodes: every open fails."},
		{cluster(false, 0, clustersql.StateUnknown), LevelWell, "Not in use: no sql.DB of it is open, and nothing checks its nodes."},
	} {
		if tc.cluster.Level != tc.level || tc.cluster.Summary != tc.summary {
			t.Errorf("%s: %q, want %s: %q", tc.cluster.Level, tc.cluster.Summary, tc.level, tc.summary)
		}
	}
	well, ill := cluster(true, 2, up, up), cluster(true, 1, up, down)
	for _, tc := range []struct {
		clusters []Cluster
		level    Level
		summary  string
	}{
		{nil, LevelWarn, "This process has no cluster in use."},
		{[]Cluster{well}, LevelWell, "The cluster is well."},
		{[]Cluster{well, well}, LevelWell, "All 2 clusters are well."},
		{[]Cluster{well, ill}, LevelBad, "Not well: read_conn (n2 is down)."},
		{[]Cluster{cluster(true, 0)}, LevelBad, "Not well: read_conn has no usable node."},
	} {
		if level, summary := overall(tc.clusters); level != tc.level || summary != tc.summary {
			t.Errorf("%s: %q, want %s: %q", level, summary, tc.level, tc.summary)
		}
	}
}

// What discovery has found, and what of it is not used, stands under the
// cluster's name.
func TestClusterSaysWhatWasFound(t *testing.T) {
	r := clusterRow{ClusterStatus: new(clustersql.ClusterStatus)}
	if got := r.sources(); got != "" {
		t.Errorf("without discovery it says %q", got)
	}
	r.Sources = []clustersql.SourceStatus{
		{Name: "dns db.example", Addresses: []string{"10.0.0.1:3306", "10.0.0.2:3306"}}, {Name: "members", Addresses: []string{"10.0.0.1:3306"}, Err: "no answer"},
	}
	r.Unused = []clustersql.UnusedNode{{Address: "192.0.2.1:3306", Source: "members", Why: "its network is not allowed"}}
	const want = "Found: dns db.example has 2 addresses; members has 1 address and now fails: no answer. " +
		"Not used: 192.0.2.1:3306 of members (its network is not allowed)."
	if got := r.sources(); got != want {
		t.Errorf("it says %q, want %q", got, want)
	}
}

// Every kind of event has words of its own.
func TestEveryKindOfEventHasWords(t *testing.T) {
	kinds := 0
	for k := clustersql.EventKind(0); !strings.HasPrefix(k.String(), "EventKind("); k++ {
		kinds++
		if text, _, shape := inWords(&clustersql.Event{Kind: k, Conns: 2, Reason: "why"}); strings.HasPrefix(text, "something") || !strings.HasSuffix(text, ": why.") || shape == "" {
			t.Errorf("%s: %q, shape %q", k, text, shape)
		}
	}
	if kinds < 8 {
		t.Errorf("only %d kinds were found", kinds)
	}
}

// What happened is on the page in words, the newest first, and a page that is
// open gets what is new alone.
func TestEventsAreInWords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, true, 2)
		page := Handler(Clusters(s.clusters...)).(*page)
		time.Sleep(2 * time.Second)
		before := page.hub.fresh(0)
		if got := before.eventsAfter(0); len(got) != 2 || got[0].Text != "up, was unknown." || got[0].Level != "well" || got[0].Shape != "up" {
			t.Errorf("at first there are %+v", got)
		}
		synctest.Wait()
		s.kill("c1/n2")
		time.Sleep(2 * time.Second)
		after := page.hub.fresh(0)
		got := after.eventsAfter(before.version)
		i := slices.IndexFunc(got, func(e eventData) bool { return strings.HasPrefix(e.Text, "down, was ") })
		if i < 0 || got[i].Node != "n2" || got[i].Cluster != "c1" || got[i].Level != "bad" || got[i].Shape != "down" || !strings.HasSuffix(got[i].Text, "connection refused.") {
			t.Errorf("then there are %+v", got)
		}
		time.Sleep(tick)
		if again := page.hub.fresh(0).eventsAfter(after.version); len(again) != 0 {
			t.Errorf("they come again: %+v", again)
		}
		html := text(t, ask(page, "GET", "/"))
		if down, up := strings.Index(html, "<span>down, was "), strings.Index(html, "<span>up, was unknown.</span>"); down < 0 || up < down {
			t.Errorf("the page has the fault at %d and what was before at %d", down, up)
		}
	})
}

// A strip has each state from its begin to the next one's, and the last one goes
// on, so that it changes only when the state does.
func TestStripShowsTheStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, true, 1)
		page := Handler(Clusters(s.clusters...)).(*page)
		cell := func(key string) string { return page.hub.fresh(0).rows[2].Value(key) }
		time.Sleep(10 * time.Second)
		synctest.Wait()
		s.kill("c1/n1")
		time.Sleep(10 * time.Second)
		since := s.clusters[0].Status().Nodes[0].Since.Sub(page.hub.base).Seconds()
		if got, want := cell("stripup"), fmt.Sprintf("M0.0 5H%.1f", since); got != want || since < 10 {
			t.Errorf("up is %q, want %q", got, want)
		}
		first := cell("stripdown")
		if want := fmt.Sprintf("M%.1f 5H%.1f", since, since+365*24*3600); first != want {
			t.Errorf("down is %q, want %q", first, want)
		}
		time.Sleep(time.Minute)
		if got := cell("stripdown"); got != first {
			t.Errorf("down is %q, and was %q", got, first)
		}
		if got := cell("strip"); !strings.HasPrefix(got, "its last 15 minutes, unknown, up from ") || !strings.Contains(got, ", down from ") {
			t.Errorf("in words it is %q", got)
		}
	})
}

// A plot has the newest sample at the right edge, and the largest at the top.
func TestPlotShowsTheSamples(t *testing.T) {
	for _, tc := range []struct {
		samples []time.Duration
		want    string
	}{
		{nil, ""},
		{[]time.Duration{5}, "M63 0.5h1"},
		{[]time.Duration{0, 10, 5}, "M61 19.5L62 0.5L63 10.0"},
		{[]time.Duration{0, 0}, "M62 19.5L63 19.5"},
	} {
		if got := plot(tc.samples); got != tc.want {
			t.Errorf("%v: %q", tc.samples, got)
		}
	}
}

func TestTextsOfNumbers(t *testing.T) {
	for n, want := range map[int]string{0: "0", 9999: "9999", 12345: "12\u202f345", 1234567: "1\u202f234\u202f567"} {
		if got := count(n); got != want {
			t.Errorf("%d is %q", n, got)
		}
	}
	for d, want := range map[time.Duration]string{
		430 * time.Microsecond: "0.43 ms", 12345 * time.Microsecond: "12.3 ms", 114 * time.Millisecond: "114 ms", 1234 * time.Millisecond: "1.23 s",
	} {
		if got := took(d); got != want {
			t.Errorf("%v is %q", d, got)
		}
	}
	for d, want := range map[time.Duration]string{
		-time.Second: "0 s", 59 * time.Second: "59 s", 61 * time.Second: "1 min 1 s", 2*time.Hour + 5*time.Minute: "2 h 5 min", 50 * time.Hour: "2 d 2 h",
	} {
		if got := lasting(d); got != want {
			t.Errorf("%v is %q", d, got)
		}
	}
}

// A server that repeats the password in its errors, and names that are no HTML,
// do no harm in any form of the page.
func TestNoFormHasASecretOrForeignHTML(t *testing.T) {
	const secret = "hunter22"
	const evil = `<script>alert(1)</script>"'&`
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		b.NameNodes(func(string) string { return "n1" })
		b.Node("n1").Set(fakedb.Script{Err: errors.New("login of app with " + secret + " refused " + evil)})
		d := clustersql.NewDriver(b.Driver(), evil, clustersql.WithDialect(clustersql.DialectMySQL), clustersql.WithSeed(1), clustersql.WithLogger(slog.New(slog.DiscardHandler)))
		defer d.Close()
		if err := d.AddNode(evil, "app:"+secret+"@tcp(dbhost1:3306)/db"); err != nil {
			t.Fatal(err)
		}
		var c driver.Connector = d.Connector()
		defer c.(interface{ Close() error }).Close()
		time.Sleep(10 * time.Second)
		page := Handler(Clusters(d), AllowDrain(), Title(evil))
		for _, target := range []string{"/?figures=all", "/?format=json", "/?format=csv", "/?news=0"} {
			w := httptest.NewRecorder()
			page.ServeHTTP(w, httptest.NewRequest("GET", target, nil))
			got := w.Body.String()
			if strings.Contains(got, secret) {
				t.Errorf("%s has the password", target)
			}
			if !strings.Contains(got, "login of") {
				t.Errorf("%s does not have the error", target)
			}
			if strings.Contains(w.Header().Get("Content-Type"), "html") && strings.Contains(got, "<script>alert") {
				t.Errorf("%s has a foreign script", target)
			}
		}
	})
}
