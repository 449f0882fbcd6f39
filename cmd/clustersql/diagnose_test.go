package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/EnumApps/clustersql"
)

// Each oddity is found in a status as a program's page tells it, with its setting.
// The well status before it has none.
func TestDiagnose(t *testing.T) {
	now := time.Now()
	well := func() *clusterView {
		v := &clusterView{Status: clustersql.ClusterStatus{Name: "app", ID: "app", Time: now, Strategy: "hedged", Open: true, Usable: 2, MaxOpens: 8}}
		for _, name := range []string{"n1", "n2"} {
			v.Status.Nodes = append(v.Status.Nodes, clustersql.NodeStatus{
				Name: name, State: clustersql.StateUp, Since: now.Add(-time.Hour), Added: now.Add(-time.Hour), Rise: 2, Fall: 2,
				Probes: 3600, Opens: 1000, Won: 990, Lost: 10, OpenConns: 10, Cuttable: 10,
			})
		}
		return v
	}
	if all := diagnose(well(), well(), time.Second, nil); len(all) != 0 {
		t.Fatalf("of a well cluster: %v", all)
	}
	down := func(cause, reason string) func(*clusterView) {
		return func(v *clusterView) {
			v.Status.Nodes[0].State, v.Status.Nodes[0].Reason = clustersql.StateDown, reason
			v.Events = append(v.Events, clustersql.Event{Time: now, Node: "n1", Kind: clustersql.EventState, To: clustersql.StateDown, Cause: cause})
		}
	}
	flap := func(cause string) func(*clusterView) {
		return func(v *clusterView) {
			for i := range 5 {
				v.Events = append(v.Events, clustersql.Event{Time: now.Add(time.Duration(i-6) * time.Minute), Node: "n1", Kind: clustersql.EventState, To: clustersql.StateDown, Cause: cause})
			}
		}
	}
	first := func(change func(n *clustersql.NodeStatus)) func(*clusterView) {
		return func(v *clusterView) { change(&v.Status.Nodes[0]) }
	}
	cases := []struct {
		rule, node, text, cure string
		change                 func(*clusterView)
	}{
		{"not-open", "", "no connector", "sql.Open", func(v *clusterView) { v.Status.Open = false }},
		{"no-nodes", "", "no nodes", "AddNode", func(v *clusterView) { v.Status.Nodes = nil }},
		{"all-down", "", "2m", "open_timeout", func(v *clusterView) { v.Status.Usable, v.Status.AllDownSince = 0, now.Add(-2*time.Minute) }},
		{"no-spare", "", "1 of 2", "back", func(v *clusterView) { v.Status.Usable = 1 }},
		{"one-node", "", "one node", "add", func(v *clusterView) { v.Status.Nodes, v.Status.Usable = v.Status.Nodes[:1], 1 }},
		{"waiting", "", "12 opens wait", "max_opens_per_node", func(v *clusterView) { v.Status.Waiting = 12 }},
		{"unknown-outcome", "", "3 statements", "ErrUnknownOutcome", func(v *clusterView) { v.Status.Unknown = 3 }},
		{"were-all-down", "", "7 opens", "priority", func(v *clusterView) { v.Status.OpensAllDown = 7 }},
		{"source", "", "dns db gives no answer that counts: no such host", "clustersql discover", func(v *clusterView) {
			v.Status.Sources = []clustersql.SourceStatus{{Name: "dns db", Err: "no such host"}}
		}},
		{"unused", "", "10.0.0.9:3306, which members", "discover_networks", func(v *clusterView) {
			v.Status.Unused = []clustersql.UnusedNode{{Address: "10.0.0.9:3306", Source: "members", Why: "in no network of discover_networks"}}
		}},
		{"primaries", "", "n1, n2", "take the other out", func(v *clusterView) {
			v.Status.Nodes[0].Role, v.Status.Nodes[1].Role = clustersql.RolePrimary, clustersql.RolePrimary
			v.Status.Nodes = append(v.Status.Nodes, clustersql.NodeStatus{Name: "n3", State: clustersql.StateUp, Role: clustersql.RoleReplica})
		}},
		{"no-primary", "", "all 2 nodes", "promote one only if there is no primary anywhere", func(v *clusterView) {
			v.Status.Nodes[0].Role, v.Status.Nodes[1].Role = clustersql.RoleReplica, clustersql.RoleReplica
		}},
		{"view", "n2", "number 1, and that of the others 7", "wsrep_cluster_address", func(v *clusterView) {
			v.Status.Nodes = append(v.Status.Nodes, clustersql.NodeStatus{Name: "n3", State: clustersql.StateUp})
			v.Status.Nodes[0].ConfID, v.Status.Nodes[1].ConfID, v.Status.Nodes[2].ConfID = 7, 1, 7
		}},
		{"full", "n1", "no room for a connection in 1h: Error 1040", "max_connections", first(func(n *clustersql.NodeStatus) {
			n.State, n.ErrorsByClass, n.LastErrorMessage = clustersql.StateUnknown, map[string]uint64{"full": 3}, "Error 1040"
		})},
		{"race", "", "1990 of", "hedged", func(v *clusterView) { v.Status.Strategy, v.Status.Nodes[0].Lost = "race", 1980 }},
		{"churn", "", "200 connections a second", "SetMaxIdleConns", first(func(n *clustersql.NodeStatus) {
			n.Won += 200
			n.ClosedBy = map[string]uint64{"pool": 190}
		})},
		{"down", "n1", "refused", "start the server", down("refused", "refused: dial tcp")},
		{"down", "n1", "1045", "user and password", down("configuration", "configuration: Error 1045 (28000): Access denied")},
		{"down", "n1", "read-only", "read_only = OFF", down("read-only", "read-only: require \"writable\"")},
		{"down", "n1", "silent", "probe_timeout", down("silent", "silent: no answer within 600ms")},
		{"down", "n1", "1047", "wsrep_reject_queries", down("not ready", "not ready: Error 1047")},
		{"down", "n1", "another Galera group", "wsrep_cluster_address", down("not ready", "not ready: it is in another Galera group than the nodes in use: held (groups = \"any\" uses both)")},
		{"down", "n1", "no Galera view", "wsrep_on = ON", down("not ready", "not ready: it shows no Galera view, and other nodes do: held (groups = \"any\" uses both)")},
		{"down", "n1", "other data", "rebuild it", down("role", "role: it has other data than most nodes (its system_identifier differs): held (groups = \"any\" uses both)")},
		{"down", "n1", "silent before", "silence_hold", down("silent", "silent: silent before: held until its view of the group and its last transaction are the others'")},
		{"down", "n1", "1129", "FLUSH HOSTS", down("configuration", "configuration: Error 1129")},
		{"down", "n1", "behind", "max_lag", down("lagging", "20 s behind")},
		{"down", "n1", "role", "change require", down("role", "role: it is a replica")},
		{"down", "n1", "", "groups", down("group", "")},
		{"down", "n1", "odd", "clustersql check", down("failed", "odd")},
		{"suspect", "n1", "1 of 2", "some seconds", first(func(n *clustersql.NodeStatus) { n.State, n.Bad = clustersql.StateSuspect, 1 })},
		{"draining", "n1", "with 10 connections", "undrain", first(func(n *clustersql.NodeStatus) { n.State = clustersql.StateDraining })},
		{"unknown", "n1", "1h", "attempt_timeout", first(func(n *clustersql.NodeStatus) { n.State = clustersql.StateUnknown })},
		{"same-server", "n1", "same server as n2", "dsn", first(func(n *clustersql.NodeStatus) { n.SameAs = "n2" })},
		{"full", "n1", "10 are open", "max_connections", first(func(n *clustersql.NodeStatus) { n.Full = true })},
		{"donor", "n1", "used last", "allow_donor", first(func(n *clustersql.NodeStatus) { n.Donor = true })},
		{"returning", "n1", "preferred again", "failback_after", func(v *clusterView) {
			v.Status.Strategy, v.Status.Nodes[0].Returning, v.Status.Nodes[0].ReturnedAt = "ordered", true, now
		}},
		{"lag", "n1", "1m", "max_lag", first(func(n *clustersql.NodeStatus) { n.Role, n.Lag = clustersql.RoleReplica, time.Minute })},
		{"flapping", "n1", "down 5 times in the last 6m: refused 5 times", "rise", flap("refused")},
		{"flapping", "n1", "silent 5 times", "probe_timeout", flap("silent")},
		{"probe-errors", "n1", "400 of 3600", "last error", first(func(n *clustersql.NodeStatus) { n.ProbeErrors = 400 })},
		{"outrun", "n1", "200 of 1000", "priority", first(func(n *clustersql.NodeStatus) { n.Outrun = 200 })},
		{"deaf", "n1", "2 attempts", "readTimeout", first(func(n *clustersql.NodeStatus) { n.Deaf = 2 })},
		{"not-cuttable", "n1", "10 of 10", "dial", first(func(n *clustersql.NodeStatus) { n.Cuttable = 0 })},
		{"lost", "n1", "4 connections", "wait_timeout", func(v *clusterView) {
			v.Events = append(v.Events, clustersql.Event{Time: now, Node: "n1", Kind: clustersql.EventLost, Conns: 4})
		}},
		{"cut", "n1", "4 connections", "idempotent", func(v *clusterView) {
			v.Events = append(v.Events, clustersql.Event{Time: now, Node: "n1", Kind: clustersql.EventCut, Conns: 4})
		}},
		{"was-full", "n1", "5 attempts", "max_connections", first(func(n *clustersql.NodeStatus) { n.ErrorsByClass = map[string]uint64{"full": 5} })},
		{"failed-opens", "n1", "90 of 1000", "last error", first(func(n *clustersql.NodeStatus) { n.Errors = 90 })},
	}
	for _, c := range cases {
		v, before := well(), well()
		c.change(v)
		before.Status.Nodes[1].ConfID = 1
		found := false
		for _, i := range diagnose(v, before, time.Second, nil) {
			found = found || i.Rule == c.rule && i.Node == c.node && i.Cluster == "app" && strings.Contains(i.Text, c.text) && strings.Contains(i.Cure, c.cure)
		}
		if !found {
			t.Errorf("%s %q %q was not found: %v", c.rule, c.text, c.cure, diagnose(v, before, time.Second, nil))
		}
	}
	// What is as it should be: readers of standbys alone, and views that change just now or
	// may differ.
	replicas := func(v *clusterView) {
		v.Status.Nodes[0].Role, v.Status.Nodes[1].Role = clustersql.RoleReplica, clustersql.RoleReplica
	}
	apart := func(v *clusterView) { v.Status.Nodes[0].ConfID, v.Status.Nodes[1].ConfID = 7, 1 }
	for name, c := range map[string]struct {
		config         *clustersql.Config
		change, before func(*clusterView)
	}{
		"readers":     {&clustersql.Config{Require: clustersql.RequireStandby}, replicas, replicas},
		"a change":    {nil, apart, func(v *clusterView) { v.Status.Nodes[0].ConfID, v.Status.Nodes[1].ConfID = 7, 7 }},
		"two groups":  {&clustersql.Config{Groups: clustersql.GroupsAny}, apart, apart},
		"same groups": {nil, func(v *clusterView) { v.Status.Nodes[0].ConfID, v.Status.Nodes[1].ConfID = 7, 7 }, apart},
	} {
		v, before := well(), well()
		c.change(v)
		c.before(before)
		if all := diagnose(v, before, time.Second, c.config); len(all) > 0 {
			t.Errorf("%s: %v", name, all)
		}
	}
}

// Times that a running program tells are judged by probe_timeout.
func TestDiagnoseTimes(t *testing.T) {
	samples := func(seconds, us string) string {
		return `{"count":8,"mean_seconds":` + seconds + `,"samples_us":[` + strings.TrimSuffix(strings.Repeat(us+",", 8), ",") + `]}`
	}
	text := `{"name":"app","id":"app","open":true,"usable":2,"nodes":[{"name":"n1","state":"up","probe_latency":` + samples("0.4", "400000") + `,"open_latency":` + samples("9", "9000000") +
		`},{"name":"n2","state":"up","probe_latency":` + samples("0.001", "1000") + `,"open_latency":` + samples("0.002", "2000") + `}]}`
	var v clusterView
	if err := json.Unmarshal([]byte(text), &v.Status); err != nil {
		t.Fatal(err)
	}
	var rules []string
	for _, i := range diagnose(&v, nil, 0, nil) {
		rules = append(rules, i.Node+" "+i.Rule)
	}
	if got := strings.Join(rules, ", "); got != "n1 slow-probes, n1 slow-opens" {
		t.Errorf("found %s", got)
	}
	config := clustersql.DefaultConfig()
	config.ProbeTimeout = 5 * time.Second
	if all := diagnose(&v, nil, 0, &config); len(all) != 1 || all[0].Rule != "slow-opens" {
		t.Errorf("with a longer probe_timeout: %v", all)
	}
}

// Conditions of --until.
func TestConditions(t *testing.T) {
	s := &snapshot{Clusters: []clusterView{{Status: clustersql.ClusterStatus{ID: "app", Usable: 2, Nodes: []clustersql.NodeStatus{
		{Name: "n1", State: clustersql.StateUp}, {Name: "n2", State: clustersql.StateSuspect}, {Name: "n3", State: clustersql.StateDown, Reason: "refused"},
	}}}}}
	for text, holds := range map[string]bool{
		"up>=1": true, "up>=2": false, "up > 0": true, "usable=2": true, "usable==2,down=1": true, "usable=2 and down=0": false,
		"nodes!=3": false, "suspect<1": false, "suspect<=1": true, "draining=0": true, "unknown=0": true,
	} {
		c, err := parseCondition(text)
		if err != nil || (c.missing(s) == "") != holds {
			t.Errorf("%s: %v, %q", text, err, c.missing(s))
		}
	}
	for _, text := range []string{"", "up", "up>=", "up>=x", "well>1", "up>=2;", ",", "up>=99999999999"} {
		if _, err := parseCondition(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
	c, _ := parseCondition("up>=3")
	if text := c.missing(s); !strings.Contains(text, "n3 is down (refused)") || !strings.Contains(text, "up is 1") {
		t.Errorf("%q", text)
	}
	if (condition{}).missing(&snapshot{}) == "" {
		t.Error("no cluster is enough")
	}
}

// What a server or another program says makes a terminal do nothing.
func TestTextsAreTame(t *testing.T) {
	wild := "red \x1b[31m bell \a line\nbreak \u009b2J"
	v := clusterView{Status: clustersql.ClusterStatus{Name: wild, ID: wild, Open: true, Nodes: []clustersql.NodeStatus{
		{Name: wild, State: clustersql.StateDown, Reason: wild, Address: wild}, {Name: "n2", State: clustersql.StateUp},
	}}}
	v.Events = []clustersql.Event{{Time: time.Now(), Node: wild, Reason: wild, To: clustersql.StateDown, Seq: 1}}
	s := &snapshot{Time: time.Now(), Clusters: []clusterView{v}}
	var b strings.Builder
	p := plain{w: &b, e: &env{stderr: &b}}
	if err := p.show(s, v.Events); err != nil {
		t.Fatal(err)
	}
	for _, i := range diagnose(&v, nil, 0, nil) {
		b.WriteString(i.String() + "\n")
	}
	for _, width := range []int{1, 20, 80, 300} {
		for _, l := range (&screen{events: v.Events, wrong: wild}).lines(&renderer{width: width}, s, nil, 30) {
			b.WriteString(l + "\n")
		}
	}
	if err := writeTable(&b, []row{{wild, wild, wild, wild, wild, isFailed, wild}}); err != nil {
		t.Fatal(err)
	}
	p.e.note("%s", wild)
	for _, c := range b.String() {
		if c != '\n' && unicode.IsControl(c) {
			t.Fatalf("%q is in\n%q", c, b.String())
		}
	}
	if strings.Contains(b.String(), "line\nbreak") {
		t.Error("a text breaks its line")
	}
}
