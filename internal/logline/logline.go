// Package logline has the kinds of lines that a cluster writes into the program's
// log, and the logger that writes them.
//
// Only calls, which makes the calls of the program's handler, has a goroutine. The
// root imports the package; it imports calls and health.
package logline

import (
	"context"
	"log/slog"
	"time"

	"github.com/EnumApps/clustersql/internal/calls"
	"github.com/EnumApps/clustersql/internal/health"
)

// A Line is one kind of line in the log. Its Name does not change, and is the
// attribute "event" of every such line; the Message is for people.
type Line struct {
	Name, Message string
	Level         slog.Level
	Attrs         []string // beside event, cluster and node
}

// All are all kinds of lines that there are. The manual has them as a table.
var All []*Line

func newLine(level slog.Level, name, message string, attrs ...string) *Line {
	line := &Line{name, message, level, attrs}
	All = append(All, line)
	return line
}

// State are about a node's new state.
var State = [...]*Line{
	health.Unknown:  newLine(slog.LevelInfo, "node_unknown", "node unknown", "from", "cause", "reason"),
	health.Up:       newLine(slog.LevelInfo, "node_up", "node up", "from", "cause", "reason"),
	health.Suspect:  newLine(slog.LevelWarn, "node_suspect", "node suspect", "from", "cause", "reason"),
	health.Down:     newLine(slog.LevelWarn, "node_down", "node down", "from", "cause", "reason", "lag"),
	health.Draining: newLine(slog.LevelInfo, "node_draining", "node draining", "from", "cause", "reason"),
}

// The other kinds of lines.
var (
	Held     = newLine(slog.LevelWarn, "node_held", "node held", "cause", "reason")
	Role     = newLine(slog.LevelInfo, "node_role", "node's role", "role", "cause", "reason")
	Failback = newLine(slog.LevelInfo, "node_preferred", "node preferred again", "cause", "reason")
	Lost     = newLine(slog.LevelWarn, "connections_lost", "connections lost", "count", "cause", "reason")
	Cut      = newLine(slog.LevelWarn, "connections_cut", "connections cut", "count", "cause", "reason")
	Retired  = newLine(slog.LevelInfo, "connections_retired", "connections retired", "count", "cause", "reason")

	Hidden       = newLine(slog.LevelWarn, "lag_hidden", "the node does not tell its lag", "reason")
	Alias        = newLine(slog.LevelWarn, "server_twice", "one server under two names: it gets one share", "same")
	Stuck        = newLine(slog.LevelWarn, "close_hangs", "not probed on a new connection: the backend's Close does not return", "calls")
	BackendPanic = newLine(slog.LevelError, "backend_panicked", "backend panicked", "in", "panic", "stack")
	HookPanic    = newLine(slog.LevelError, "hook_panicked", "OnEvent panicked", "kind", "panic")
	HookHangs    = newLine(slog.LevelWarn, "events_dropped", "OnEvent has not returned: events are dropped", "waiting")
	Dropped      = newLine(slog.LevelWarn, "lines_dropped", "log lines dropped", "count")
	Expvar       = newLine(slog.LevelWarn, "expvar_taken", "expvar has another variable of the cluster's name; the cluster is not shown there")
	Unknown      = newLine(slog.LevelInfo, "database_unknown", "the backend's database is not known: its nodes are checked with Ping only", "cure")
	Found        = newLine(slog.LevelInfo, "nodes_found", "discovery", "reason")
	Unanswered   = newLine(slog.LevelWarn, "source_unanswered", "discovery: a source gives no answer", "reason")
	Unusable     = newLine(slog.LevelError, "found_unusable", "what was found cannot be used", "error")
	Reloaded     = newLine(slog.LevelInfo, "config_reloaded", "configuration reloaded", "reason")
	NotReloaded  = newLine(slog.LevelError, "config_not_reloaded", "the configuration was not reloaded: all is as it was", "error")
)

// A Logger writes lines that name the cluster and the node. If Base is nil it
// uses [slog.Default], looked up for each line, because programs often set that
// after they have made their clusters.
type Logger struct {
	Base          *slog.Logger
	Cluster, Node string
	Lines         *calls.Queue // makes the calls of the handler; nil: Print makes them, for a caller of the API
}

// Print writes one line, with values for its attributes; the last of them may be
// left out. It does not wait for the program's handler, which may hang, if there is
// a queue for the lines.
func (l Logger) Print(kind *Line, values ...any) {
	line := kind.record(values...)
	if l.Lines == nil {
		l.write(line)
		return
	}
	l.Lines.Put(func(dropped int) {
		if dropped > 0 {
			l.write(Dropped.record(dropped))
		}
		l.write(line)
	})
}

// record returns a line of the kind.
func (k *Line) record(values ...any) slog.Record {
	line := slog.NewRecord(time.Now(), k.Level, k.Message, 0)
	line.Add("event", k.Name)
	for i, v := range values {
		line.Add(k.Attrs[i], v)
	}
	return line
}

// write calls the program's handler. It recovers from a panic of it.
func (l Logger) write(line slog.Record) {
	defer func() { _ = recover() }()
	ctx, h := context.Background(), l.to().Handler()
	if h.Enabled(ctx, line.Level) {
		_ = h.Handle(ctx, line)
	}
}

// to returns the logger for one line.
func (l Logger) to() *slog.Logger {
	base := l.Base
	if base == nil {
		base = slog.Default()
	}
	base = base.With("cluster", l.Cluster)
	if l.Node != "" {
		base = base.With("node", l.Node)
	}
	return base
}
