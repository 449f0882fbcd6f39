package clustersql

import (
	"bytes"
	"context"
	"database/sql/driver"
	"encoding/json"
	"io"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql/internal/fakedb"
	"github.com/EnumApps/clustersql/internal/logline"
)

// The table of log lines in docs/operations.md is that of the code: names,
// messages, levels and attributes.
func TestDocsLogLines(t *testing.T) {
	row := regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| `([^|]+)` \\| (info|warn|error) \\| ([^|]*)\\|")
	told := map[string][]string{}
	for _, m := range row.FindAllStringSubmatch(docsRead(t, "docs/operations.md"), -1) {
		told[m[1]] = m[2:]
	}
	attr := regexp.MustCompile("`(\\w+)`")
	for _, line := range logline.All {
		m := told[line.Name]
		if m == nil {
			t.Errorf("docs/operations.md does not have the line %s", line.Name)
			continue
		}
		var attrs []string
		for _, a := range attr.FindAllStringSubmatch(m[2], -1) {
			attrs = append(attrs, a[1])
		}
		if m[0] != line.Message || m[1] != strings.ToLower(line.Level.String()) || !slices.Equal(attrs, line.Attrs) {
			t.Errorf("docs/operations.md has %q for %+v", m, *line)
		}
		delete(told, line.Name)
	}
	for name := range told {
		t.Errorf("docs/operations.md has the line %s, and the code does not", name)
	}
}

// Every kind of event has a line, and no two kinds of lines have one name.
func TestEveryEventHasALine(t *testing.T) {
	names := map[string]bool{}
	for _, line := range logline.All {
		if names[line.Name] {
			t.Errorf("two lines are %s", line.Name)
		}
		names[line.Name] = true
	}
	seen := map[string]bool{}
	for kind := EventState; !strings.HasPrefix(kind.String(), "EventKind("); kind++ {
		for to := StateUnknown; to <= StateDraining; to++ {
			line, values := (&Event{Kind: kind, To: to, Lag: time.Second}).line()
			if line == nil || to == StateDown && len(values) != len(line.Attrs) {
				t.Errorf("%v to %v: %v, %v", kind, to, line, values)
			}
			if kind != EventState {
				seen[line.Name] = true
			}
		}
	}
	if len(seen) != int(EventReload) {
		t.Errorf("%d kinds of events have %d lines", EventReload, len(seen))
	}
}

// The log has one line for each change, with its name, and none for a statement.
func TestLogHasALineForEachChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		var log bytes.Buffer
		d := fakeCluster(t, b, 2, WithStrategy(Ordered), WithLogger(slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))))
		db := openDB(t, d)
		time.Sleep(time.Second)
		b.Node("n1").OnStatement(func(context.Context, string, []driver.NamedValue) error { return io.ErrUnexpectedEOF })
		for range 1000 {
			_, _ = db.Exec("work")
		}
		b.Node("n1").SetHealth(errNotReady, 0, false)
		b.Node("n1").Set(fakedb.Script{Err: errRefused})
		for range 1000 {
			if _, err := db.Exec("work"); err != nil {
				continue
			}
		}
		time.Sleep(5 * time.Second)
		db.Close()
		count := map[string]int{}
		for line := range strings.Lines(log.String()) {
			var l map[string]any
			if err := json.Unmarshal([]byte(line), &l); err != nil {
				t.Fatal(err)
			}
			name, _ := l["event"].(string)
			if count[name]++; name == "" || l["cluster"] != t.Name() || l["node"] == "" {
				t.Errorf("%s", line)
			}
			if strings.HasPrefix(name, "node_") && l["cause"] == "" {
				t.Errorf("no cause in %s", line)
			}
		}
		if count["node_up"] < 2 || count["node_down"] == 0 || strings.Count(log.String(), "\n") > 30 {
			t.Errorf("%v\n%s", count, &log)
		}
	})
}
