package clustersql

import "log/slog"

// A logLine is one kind of line in the log. Its name does not change, and is the
// attribute "event" of every such line; the message is for people.
type logLine struct {
	name, message string
	level         slog.Level
	attrs         []string // beside event, cluster and node
}

// logLines are all kinds of lines that there are. The manual has them as a table.
var logLines []*logLine

func newLogLine(level slog.Level, name, message string, attrs ...string) *logLine {
	line := &logLine{name, message, level, attrs}
	logLines = append(logLines, line)
	return line
}

// stateLines are about a node's new state.
var stateLines = [...]*logLine{
	StateUnknown:  newLogLine(slog.LevelInfo, "node_unknown", "node unknown", "from", "cause", "reason"),
	StateUp:       newLogLine(slog.LevelInfo, "node_up", "node up", "from", "cause", "reason"),
	StateSuspect:  newLogLine(slog.LevelWarn, "node_suspect", "node suspect", "from", "cause", "reason"),
	StateDown:     newLogLine(slog.LevelWarn, "node_down", "node down", "from", "cause", "reason", "lag"),
	StateDraining: newLogLine(slog.LevelInfo, "node_draining", "node draining", "from", "cause", "reason"),
}

var (
	lineHeld     = newLogLine(slog.LevelWarn, "node_held", "node held", "cause", "reason")
	lineRole     = newLogLine(slog.LevelInfo, "node_role", "node's role", "role", "cause", "reason")
	lineFailback = newLogLine(slog.LevelInfo, "node_preferred", "node preferred again", "cause", "reason")
	lineLost     = newLogLine(slog.LevelWarn, "connections_lost", "connections lost", "count", "cause", "reason")
	lineCut      = newLogLine(slog.LevelWarn, "connections_cut", "connections cut", "count", "cause", "reason")
	lineRetired  = newLogLine(slog.LevelInfo, "connections_retired", "connections retired", "count", "cause", "reason")

	lineHidden       = newLogLine(slog.LevelWarn, "lag_hidden", "the node does not tell its lag", "reason")
	lineAlias        = newLogLine(slog.LevelWarn, "server_twice", "one server under two names: it gets one share", "same")
	lineStuck        = newLogLine(slog.LevelWarn, "close_hangs", "not probed on a new connection: the backend's Close does not return", "calls")
	lineBackendPanic = newLogLine(slog.LevelError, "backend_panicked", "backend panicked", "in", "panic", "stack")
	lineHookPanic    = newLogLine(slog.LevelError, "hook_panicked", "OnEvent panicked", "kind", "panic")
	lineHookHangs    = newLogLine(slog.LevelWarn, "events_dropped", "OnEvent has not returned: events are dropped", "waiting")
	lineDropped      = newLogLine(slog.LevelWarn, "lines_dropped", "log lines dropped", "count")
	lineExpvar       = newLogLine(slog.LevelWarn, "expvar_taken", "expvar has another variable of the cluster's name; the cluster is not shown there")
	lineUnknown      = newLogLine(slog.LevelInfo, "database_unknown", "the backend's database is not known: its nodes are checked with Ping only", "cure")
	lineFound        = newLogLine(slog.LevelInfo, "nodes_found", "discovery", "reason")
	lineUnanswered   = newLogLine(slog.LevelWarn, "source_unanswered", "discovery: a source gives no answer", "reason")
	lineUnusable     = newLogLine(slog.LevelError, "found_unusable", "what was found cannot be used", "error")
	lineReloaded     = newLogLine(slog.LevelInfo, "config_reloaded", "configuration reloaded", "changes")
	lineNotReloaded  = newLogLine(slog.LevelError, "config_not_reloaded", "the configuration was not reloaded: all is as it was", "error")
)

// line returns the kind of the event's line, and the values of its attributes.
func (e *Event) line() (line *logLine, values []any) {
	switch e.Kind {
	case EventState:
		if values = []any{e.From.String(), e.Cause, e.Reason}; e.Lag > 0 {
			values = append(values, e.Lag.String())
		}
		return stateLines[e.To], values
	case EventHeld:
		return lineHeld, []any{e.Cause, e.Reason}
	case EventRole:
		return lineRole, []any{e.Role.String(), e.Cause, e.Reason}
	case EventDiscovery:
		if e.Cause == causeUnanswered {
			return lineUnanswered, []any{e.Reason}
		}
		return lineFound, []any{e.Reason}
	case EventFailback:
		return lineFailback, []any{e.Cause, e.Reason}
	case EventCut:
		line = lineCut
	case EventRetired:
		line = lineRetired
	default:
		line = lineLost
	}
	return line, []any{e.Conns, e.Cause, e.Reason}
}
