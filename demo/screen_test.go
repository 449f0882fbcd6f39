package main

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
)

func testFrame() *frame {
	now := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	return &frame{
		what: "three servers", now: now, at: 3400 * time.Millisecond,
		clusters: []clustersql.ClusterStatus{
			{Name: "read_conn", Nodes: []clustersql.NodeStatus{
				{Name: "node1", State: clustersql.StateUp, OpenConns: 4, Won: 12, Lost: 7},
				{
					Name: "node2", State: clustersql.StateDown, Won: 3, Errors: 2, ProbeErrors: 1,
					LastError:        now.Add(-2 * time.Second),
					LastErrorMessage: "refused:\n\x1b no such luck, " + strings.Repeat("é", 100),
				},
			}},
			{Name: "write_conn", Nodes: []clustersql.NodeStatus{{Name: "node1"}}},
		},
		totals:  totals{Reads: 10, Writes: 5, Failed: 1, Lately: 1500 * time.Microsecond},
		entries: []entry{{time.Second, noticed, "read_conn: node2 down"}, {2 * time.Second, begins, "node2 is stopped"}},
	}
}

func TestPictureShowsEverything(t *testing.T) {
	got := strings.Join(testFrame().picture(nil), "\n")
	want := `clustersql demo,   3.4 s: three servers

cluster     node   state    conns    won   lost errors  latency  last error
read_conn   node1  up           4     12      7      0        -
            node2  down         0      3      0      3        -  2 s ago: refused: no such luck, ` + strings.Repeat("é", 36) + `…
write_conn  node1  unknown      0      0      0      0        -
` + legend + `

application: 10 reads, 5 writes, 1 failed; the slowest lately took 1.5 ms

  1.0 s     read_conn: node2 down
  2.0 s  >> node2 is stopped`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestRolesAreShown(t *testing.T) {
	f := testFrame()
	f.roles = true
	nodes := f.clusters[0].Nodes
	nodes[0].Role, nodes[1].Role, nodes[1].Lag = clustersql.RolePrimary, clustersql.RoleReplica, 2600*time.Millisecond
	nodes[1].LastErrorMessage = ""
	wantLines(t, strings.Join(f.picture(nil), "\n"), `
cluster     node   state    role        lag conns    won   lost errors  latency  last error
read_conn   node1  up       primary       -     4     12      7      0        -
            node2  down     replica   2.6 s     0      3      0      3        -
write_conn  node1  unknown  unknown       -     0      0      0      0        -
`+legend+"\n"+roleLegend+"\n")
	wantLines(t, f.line(), "read_conn node1:up:primary:12 node2:down:replica:3,")
	nodes[1].LagUnknown = "nobody tells"
	wantLines(t, strings.Join(f.table(nil), "\n"), "replica       ?")
	wantLines(t, f.behindTheScenes(), "or found a standby")
}

func TestColoursFollowTheState(t *testing.T) {
	table := strings.Join(testFrame().table(colours), "\n")
	wantLines(t, table, "\x1b[32mup      \x1b[0m", "\x1b[31mdown    \x1b[0m", " unknown ")
}

func TestLineIsShort(t *testing.T) {
	want := "  3.4 s     read_conn node1:up:12 node2:down:3, write_conn node1:unknown:0, " +
		"application: 10 reads, 5 writes, 1 failed; the slowest lately took 1.5 ms"
	if got := testFrame().line(); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func testScreen(t *testing.T, live bool) (*screen, *bytes.Buffer) {
	var out bytes.Buffer
	d := clustersql.NewDriver(nil, "screen_test")
	t.Cleanup(func() { d.Close() })
	return &screen{
		out: &out, live: live, what: "nothing", app: &application{},
		clusters: []clustersql.Driver{d}, journal: newJournal(),
	}, &out
}

func TestLiveScreenDrawsInPlace(t *testing.T) {
	s, out := testScreen(t, true)
	s.show()
	height := strings.Count(out.String(), "\n")
	out.Reset()
	s.journal.add(did, "something")
	s.show()
	if !strings.HasPrefix(out.String(), fmt.Sprintf(goUp, height)) {
		t.Errorf("the cursor does not go up by %d lines: %q", height, out)
	}
	wantLines(t, out.String(), "something")
}

func TestPlainScreenPrintsEachEntryOnce(t *testing.T) {
	s, out := testScreen(t, false)
	s.journal.add(begins, "first part")
	s.printNews()
	s.journal.add(noticed, "a change")
	s.journal.add(begins, "second part")
	s.printNews()
	s.printNews()
	wantLines(t, out.String(), "first part", "a change", "cluster     node", "second part")
	for _, text := range []string{"first part", "a change", "second part", "cluster     node"} {
		if n := strings.Count(out.String(), text); n != 1 {
			t.Errorf("%q is there %d times:\n%s", text, n, out)
		}
	}
}

func TestOnlyTerminalsAreDrawnOn(t *testing.T) {
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if isTerminal(file) || isTerminal(&bytes.Buffer{}) {
		t.Error("a file or a buffer counts as a terminal")
	}
}

func TestJournalTakesLogLines(t *testing.T) {
	j := newJournal()
	log := slog.New(journalHandler{journal: j}).With("cluster", "read_conn").With("node", "node2")
	log.Warn("node down", "from", "up", "reason", "refused")
	log.Debug("nothing")
	log.Info("node up", "from", "down", "reason", "")
	want := []string{"read_conn: node2 down (refused)", "read_conn: node2 up"}
	entries := j.since(0)
	if len(entries) != len(want) {
		t.Fatalf("got %v", entries)
	}
	for i, e := range entries {
		if e.text != want[i] || e.kind != noticed {
			t.Errorf("got %v, want %q", e, want[i])
		}
	}
	if rest := j.since(2); len(rest) != 0 {
		t.Errorf("got %v", rest)
	}
}

func TestTallyCounts(t *testing.T) {
	a := &application{}
	a.note(2*time.Millisecond, nil)
	a.note(time.Millisecond, errors.New("broken"))
	got := a.soFar()
	if got.Failed != 1 || got.LastFailure == nil || got.Slowest != 2*time.Millisecond || got.Lately != 2*time.Millisecond {
		t.Errorf("got %+v", got)
	}
}
