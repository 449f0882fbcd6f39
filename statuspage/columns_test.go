package statuspage

import (
	"encoding/json"
	"html/template"
	"strings"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
)

// Every figure of the page is the one that its label names: each field of the status
// has a value of its own here, and each column the text of one of them. A column that
// is not in these tables fails the test, so that no new one is left out.
func TestEveryFigureIsItsField(t *testing.T) {
	now := time.Date(2026, 1, 2, 15, 0, 0, 0, time.UTC)
	ago := func(s int) time.Time { return now.Add(-time.Duration(s) * time.Second) }
	in := func(s int) time.Time { return now.Add(time.Duration(s) * time.Second) }
	var latencies struct{ Probe, Open clustersql.Latency }
	const text = `{"Probe":{"count":2,"mean_seconds":0.011,"samples_us":[1000,2000]},"Open":{"count":2,"mean_seconds":0.012,"samples_us":[3000,4000]}}`
	if err := json.Unmarshal([]byte(text), &latencies); err != nil {
		t.Fatal(err)
	}
	n := clustersql.NodeStatus{
		Name: "n1", Address: "dbhost1:3306", Origin: "file", Pending: "a new DSN", Priority: 3, Weight: 4, State: clustersql.StateSuspect, Reason: "silent: x",
		Since: ago(5), Role: clustersql.RoleReplica, Access: clustersql.AccessReadOnly, Timeline: 6, Position: "0/64", Lag: 7 * time.Second, SameAs: "n7",
		FullUntil: in(8), Bad: 1, Fall: 2, NextCheck: in(9), Probing: true, LastProbe: clustersql.ProbeResult{Time: ago(10), Took: 11 * time.Millisecond, Layer: "tls", Error: "expired"},
		Generation: 12, OpenConns: 130, IdleConns: 14, RetiredConns: 15, MostConns: 160, Cuttable: 17, Load: 18, Attempts: 19, Deaf: 20,
		Chosen: 21, Opens: 22, Won: 23, Lost: 24, Errors: 25, Outrun: 26, Probes: 27, ProbeErrors: 28, Downs: 29, Downtime: 30 * time.Second, HedgedReads: clustersql.HedgedReads{Launched: 41, Won: 39},
		ErrorsByClass: map[string]uint64{"silent": 31}, RefusedByClass: map[string]uint64{"not ready": 32}, ClosedBy: map[string]uint64{"cut": 33},
		Moved: 34, Unknown: 35, Added: ago(36), LastSuccess: ago(37), LastError: ago(38), LastErrorMessage: "an error",
		ProbeLatency: latencies.Probe, OpenLatency: latencies.Open,
	}
	node := nodeRow{NodeStatus: &n, Node: &Node{Name: "n1", Kind: KindGoingDown, Level: LevelWarn, Word: "suspect 1/2", Why: "It is suspect."}, maxOpens: 40, base: now, rate: "4.1"}
	wanted := map[string]string{
		"reason": "silent: x", "pending": "a new DSN", "until": "in 8 s", "downs": "29", "downtime": "30 s", "generation": "12", "added": "36 s ago",
		"check": "* tls: expired", "checked": "10 s ago", "checktook": "11.0 ms", "next": "in 9 s", "probes": "27", "probefails": "28",
		"address": "dbhost1:3306", "origin": "file", "priority": "3", "weight": "4", "role": "replica", "access": "read-only", "lag": "7.0 s", "view": "timeline 6",
		"position": "0/64", "same": "n7",
		"conns": "130", "used": "101", "idle": "14", "retired": "15", "cuttable": "17", "most": "160", "load": "18", "won": "23", "lastopen": "37 s ago", "closed": "cut 33",
		"rate": "4.1", "chosen": "21", "opens": "22", "lost": "24", "outrun": "26", "hedged": "41, 39 won", "attempts": "19 of 40", "deaf": "20",
		"errors": "25", "classes": "silent 31", "refused": "not ready 32", "moved": "34", "unknown": "35", "lasterror": "38 s ago", "lasterrortext": "an error",
		"probemean": "11.0 ms", "probep50": "1.00 ms", "probep99": "2.00 ms", "probemax": "2.00 ms", "probeplot": "M62 10.0L63 0.5",
		"openmean": "12.0 ms", "openp50": "3.00 ms", "openp99": "4.00 ms", "openmax": "4.00 ms", "openplot": "M62 5.2L63 0.5",
	}
	head := map[string]string{
		"kind": "going-down", "level": "warn", "shape": "going-down", "word": "suspect 1/2", "since": "for 5 s", "where": "dbhost1:3306 · replica", "why": "It is suspect.",
		"strip": "its last 15 minutes", "marks": "", "stripunknown": "", "stripup": "", "stripsuspect": "", "stripdown": "", "stripdraining": "",
	}
	r, _ := newRow(nodeKind, nodeColumns, &node, row{}, 1, false)
	c := cells{0, r, now}
	html := string(figures(c, "n1"))
	for _, key := range nodeKind.keys {
		want, figure := wanted[key]
		if !figure {
			if want, figure = head[key]; !figure {
				t.Errorf("the test does not know the column %s", key)
			}
			if got := c.Text(key); got != want {
				t.Errorf("%s is %q, want %q", key, got, want)
			}
			continue
		}
		delete(wanted, key)
		if got := c.Text(key); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
		switch at := strings.Index(html, `data-k="`+key+`"`); {
		case at < 0:
			t.Errorf("%s is not among the figures", key)
		case !strings.HasSuffix(key, "plot") && !strings.HasPrefix(html[at+strings.Index(html[at:], ">"):], ">"+template.HTMLEscapeString(want)+"</dd>"):
			t.Errorf("%s shows %.120s", key, html[at:])
		}
	}
	for key := range wanted {
		t.Errorf("there is no column %s", key)
	}

	s := clustersql.ClusterStatus{ID: "app", Strategy: "ordered", Open: true, Usable: 1, AllDownSince: ago(42), Waiting: 43, OpensAllDown: 44, Masked: 45, Moved: 46, Unknown: 47,
		Nodes: []clustersql.NodeStatus{n, {OpenConns: 1}}}
	cluster := clusterRow{ClusterStatus: &s, Cluster: &Cluster{Status: s, Level: LevelWarn, Summary: "why"}, rate: "4.8"}
	ofCluster := map[string]string{
		"level": "warn", "shape": "warn", "word": "warning", "summary": "why", "hidden": "", "sources": "",
		"usable": "1 of 2", "alldown": "for 42 s", "strategy": "ordered", "conns": "131", "rate": "4.8", "waiting": "43", "met": "44", "masked": "45", "moved": "46", "unknown": "47",
	}
	r, _ = newRow(clusterKind, clusterColumns, &cluster, row{}, 1, false)
	for _, key := range clusterKind.keys {
		want, known := ofCluster[key]
		if got := (cells{0, r, now}).Text(key); !known || got != want {
			t.Errorf("%s of a cluster is %q, want %q", key, got, want)
		}
	}
}
