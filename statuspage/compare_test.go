package statuspage

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
)

// A said is what a process of these tests says of the nodes of the cluster "app":
// a state each, by name.
type said map[string]clustersql.State

// process returns a process with a cluster whose nodes have these states for ten
// seconds. Its clock is an hour ahead.
func process(name string, answered time.Time, nodes said) Process {
	theirs := answered.Add(time.Hour)
	c := Cluster{Status: clustersql.ClusterStatus{ID: "app", Name: "app", Open: true, Strategy: "ordered"}}
	for node, state := range nodes {
		c.Status.Nodes = append(c.Status.Nodes, clustersql.NodeStatus{
			Name: node, Address: node + ":3306", Weight: 1, State: state, Since: theirs.Add(-10 * time.Second),
		})
		if state == clustersql.StateUp {
			c.Status.Usable++
		}
	}
	slices.SortFunc(c.Status.Nodes, func(a, b clustersql.NodeStatus) int { return strings.Compare(a.Name, b.Name) })
	c.judge()
	s := &Snapshot{Time: theirs, Process: name, Clusters: []Cluster{c}}
	s.Level, s.Summary = overall(s.Clusters)
	return Process{URL: "http://" + name + "/", Answered: answered, Snapshot: s}
}

// rowsOf lists the rows, each with what differs in it.
func rowsOf(c *Comparison) string {
	var all []string
	for i := range c.Rows {
		all = append(all, strings.TrimSpace(c.Rows[i].name()+" "+strings.Join(c.Rows[i].Differs, " ")))
	}
	return strings.Join(all, ", ")
}

// What processes disagree about is found, comes first, and makes the page yellow.
// One that does not answer disagrees with nobody, and makes it red.
func TestCompare(t *testing.T) {
	now := time.Date(2026, 1, 2, 15, 0, 0, 0, time.UTC)
	const up, down = clustersql.StateUp, clustersql.StateDown
	both := said{"n1": up, "n2": up}
	with := func(change func(*clustersql.ClusterStatus)) Process {
		p := process("b", now, both)
		change(&p.Snapshot.Clusters[0].Status)
		p.Snapshot.Clusters[0].judge()
		return p
	}
	for _, c := range []struct {
		name      string
		processes []Process
		rows      string
		level     Level
		summary   string
	}{
		{"agree", []Process{process("a", now, both), process("b", now, both)},
			"app, app/n1, app/n2", LevelWell, "All 2 processes answer. They agree."},
		{"one", []Process{process("a", now, both)},
			"app, app/n1, app/n2", LevelWell, "The process answers."},
		{"none", nil, "", LevelWarn, "There is no process to ask."},
		{"state", []Process{process("a", now, both), process("b", now, said{"n1": up, "n2": down}), process("c", now, both)},
			"app/n2 state, app, app/n1", LevelBad, "All 3 processes answer. They disagree about app/n2. Not well: app/n2 is down."},
		{"both down", []Process{process("a", now, said{"n1": down, "n2": up}), process("b", now, said{"n1": down, "n2": up})},
			"app, app/n1, app/n2", LevelBad, "All 2 processes answer. They agree. Not well: app/n1 is down."},
		{"all down", []Process{process("a", now, said{"n1": down}), process("b", now, said{"n1": down})},
			"app, app/n1", LevelBad, "All 2 processes answer. They agree. Not well: app has no usable node, app/n1 is down."},
		{"presence", []Process{process("a", now, both), process("b", now, said{"n1": up})},
			"app/n2 presence, app, app/n1", LevelWarn, "All 2 processes answer. They disagree about app/n2."},
		{"settings", []Process{process("a", now, both), with(func(s *clustersql.ClusterStatus) {
			s.Strategy, s.Nodes[0].Weight, s.Nodes[1].Address = "race", 3, "elsewhere:3306"
		})}, "app strategy, app/n1 weight, app/n2 address", LevelWarn, "All 2 processes answer. They disagree about app, app/n1, app/n2."},
		{"not in use", []Process{process("a", now, both), with(func(s *clustersql.ClusterStatus) {
			s.Open, s.Usable = false, 0
			s.Nodes[0].State, s.Nodes[1].State = clustersql.StateUnknown, clustersql.StateUnknown
		})}, "app, app/n1, app/n2", LevelWell, "All 2 processes answer. They agree."},
		{"role of one that knows it", []Process{process("a", now, both), with(func(s *clustersql.ClusterStatus) {
			s.Nodes[0].Role = clustersql.RolePrimary
		})}, "app, app/n1, app/n2", LevelWell, "All 2 processes answer. They agree."},
		{"old", []Process{process("a", now, both), func() Process {
			p := process("b", now.Add(-time.Minute), said{"n1": down, "n3": down})
			p.Err = "connection refused"
			return p
		}()}, "app, app/n1, app/n2, app/n3", LevelBad, "1 of 2 processes answer, and not http://b/."},
		{"never", []Process{process("a", now, both), {URL: "http://b/", Err: "connection refused"}},
			"app, app/n1, app/n2", LevelBad, "1 of 2 processes answer, and not http://b/."},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := compare(now, c.processes)
			if rows := rowsOf(got); rows != c.rows || got.Level != c.level || got.Summary != c.summary {
				t.Errorf("rows %q, %s, %q;\nwant %q, %s, %q", rows, got.Level, got.Summary, c.rows, c.level, c.summary)
			}
			for _, r := range got.Rows {
				if len(r.Cells) != len(c.processes) {
					t.Errorf("%s has %d cells", r.name(), len(r.Cells))
				}
			}
		})
	}
}

// Times are by the clock of the reader, whatever those of the processes show.
func TestCompareTakesClocksApart(t *testing.T) {
	now := time.Date(2026, 1, 2, 15, 0, 0, 0, time.UTC)
	c := compare(now, []Process{
		process("a", now.Add(-time.Second), said{"n1": clustersql.StateUp}),
		process("b", now.Add(-3*time.Second), said{"n1": clustersql.StateDown}),
	})
	if r := c.Rows[0]; !r.Since.Equal(now.Add(-11*time.Second)) || !r.Cells[1].Since.Equal(now.Add(-13*time.Second)) {
		t.Errorf("%+v", r)
	}
}

// Two addresses of one process are said to be that: their agreement tells nothing.
func TestCompareKnowsOneProcessTwice(t *testing.T) {
	now := time.Now()
	a, b := process("a", now, said{"n1": clustersql.StateUp}), process("a", now, said{"n1": clustersql.StateUp})
	b.URL = "http://other/"
	if c := compare(now, []Process{a, b}); c.Processes[0].SameAs != "" || c.Processes[1].SameAs != a.URL {
		t.Errorf("%+v", c.Processes)
	}
}

// The page shows hostile names as they are, and asks no other host for anything.
func TestComparePage(t *testing.T) {
	now := time.Now()
	const hostile = `<script>alert(1)</script>`
	silent := process("b", now.Add(-90*time.Second), said{hostile: clustersql.StateUp})
	silent.Err = "connection " + hostile
	up, down := clustersql.StateUp, clustersql.StateDown
	h := Compare("both", func() []Process {
		return []Process{process("a", now, said{hostile: up, "n2": up}), silent, process("c", now, said{hostile: up, "n2": down}), {URL: "javascript:alert(1)", Err: "no"}}
	})
	page := ask(h, "GET", "/any/path")
	body := text(t, page)
	for _, want := range []string{
		"&lt;script&gt;", "It last answered 1 min 30 s ago", "has never answered: no", "≠ state for 10 s", `<use href="#s-down"/>`, "(old)",
		"trouble: both", "They disagree about app/n2",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the page has no %q:\n%s", want, body)
		}
	}
	if strings.Contains(body, "<script>alert") || strings.Contains(body, `href="javascript`) {
		t.Errorf("the page runs what it is told:\n%s", body)
	}
	if got := page.Header.Get("Content-Security-Policy"); got != policy {
		t.Errorf("the policy is %q", got)
	}
	if before, after := strings.Index(body, "≠ state"), strings.Index(body, "&lt;/script&gt;</b>"); before < 0 || after < before {
		t.Error("what differs is not first")
	}

	only := text(t, ask(h, "GET", "/?only=differing"))
	if strings.Contains(only, "&lt;/script&gt;</b>") || !strings.Contains(only, "2 lines in which they do not disagree are hidden.") {
		t.Errorf("the filter:\n%s", only)
	}
	if off := text(t, ask(h, "GET", "/?refresh=off")); strings.Contains(off, "http-equiv") || !strings.Contains(off, " data-paused>") || strings.Contains(body, "data-paused") {
		t.Error("it cannot be paused")
	}
}

// The handler has the formats and the methods that it says.
func TestCompareFormats(t *testing.T) {
	now := time.Now()
	h := Compare("both", func() []Process { return []Process{process("a", now, said{"n1": clustersql.StateUp})} })
	for _, c := range []struct {
		method, target, accept string
		status                 int
		kind                   string
	}{
		{"GET", "/", "", 200, "text/html"},
		{"HEAD", "/", "text/html", 200, "text/html"},
		{"GET", "/?format=json", "", 200, "application/json"},
		{"GET", "/", "application/json", 200, "application/json"},
		{"GET", "/", "text/csv", 200, "text/csv"},
		{"GET", "/?format=csv", "", 200, "text/csv"},
		{"GET", "/", "image/png", 406, "text/plain"},
		{"GET", "/?format=yaml", "", 400, "text/plain"},
		{"GET", "/?asset=compare.js", "", 200, "text/javascript"},
		{"GET", "/?asset=page.css", "", 200, "text/css"},
		{"GET", "/?asset=no", "", 404, "text/plain"},
		{"POST", "/", "", 405, "text/plain"},
	} {
		r := ask(h, c.method, c.target, "Accept", c.accept)
		if r.StatusCode != c.status || !strings.HasPrefix(r.Header.Get("Content-Type"), c.kind) {
			t.Errorf("%s %s (%s): %s, %s", c.method, c.target, c.accept, r.Status, r.Header.Get("Content-Type"))
		}
		if r.StatusCode == http.StatusMethodNotAllowed && r.Header.Get("Allow") == "" {
			t.Error("it does not say what is allowed")
		}
	}
	var c Comparison
	if err := json.Unmarshal([]byte(text(t, ask(h, "GET", "/?format=json"))), &c); err != nil || len(c.Rows) != 2 || c.Processes[0].Name != "a" || c.Rows[1].Cells[0].Kind != KindUp {
		t.Errorf("%+v, %v", c, err)
	}
	if got := fmt.Sprint(c.Level); got != "well" {
		t.Error(got)
	}
}

// As a table each cell has a line, with what its row and its process have. Hostile names
// are no formulas there.
func TestCompareCSV(t *testing.T) {
	now := time.Date(2026, 1, 2, 15, 0, 0, 0, time.UTC)
	silent := process("b", now.Add(-time.Minute), said{"=1+1": clustersql.StateUp})
	silent.Err = "refused"
	h := Compare("both", func() []Process {
		return []Process{process("a", now, said{"=1+1": clustersql.StateUp, "n2": clustersql.StateUp}), silent, process("c", now, said{"=1+1": clustersql.StateDown})}
	})
	lines, err := csv.NewReader(ask(h, "GET", "/?format=csv").Body).ReadAll()
	if err != nil || len(lines) != 1+3*3 {
		t.Fatalf("%d lines, %v", len(lines), err)
	}
	at := func(line int, column string) string { return lines[line][slices.Index(lines[0], column)] }
	for _, want := range []struct {
		line                int
		column, value, what string
	}{
		{1, "cluster", "app", "the row that differs is first"},
		{1, "node", "'=1+1", ""},
		{1, "differs", "state", ""},
		{1, "differs_since", "2026-01-02T14:59:50Z", ""},
		{1, "process_url", "http://a/", ""},
		{1, "process_name", "a", ""},
		{1, "known", "true", ""},
		{1, "old", "false", ""},
		{1, "kind", "up", ""},
		{1, "since", "2026-01-02T14:59:50Z", ""},
		{2, "process_error", "refused", ""},
		{2, "process_answered", "2026-01-02T14:59:00Z", ""},
		{2, "old", "true", ""},
		{3, "kind", "down", ""},
		{3, "level", "bad", ""},
		{3, "word", "down", ""},
		{6, "notes", "its cluster has no such node", "n2 is not in c"},
		{6, "known", "false", ""},
		{6, "level", "", "nobody says that it is well"},
		{7, "node", "", "then the cluster"},
		{7, "word", "2 of 2 usable", ""},
	} {
		if got := at(want.line, want.column); got != want.value {
			t.Errorf("line %d has %s %q, want %q: %s", want.line, want.column, got, want.value, want.what)
		}
	}
}
