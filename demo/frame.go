package main

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/EnumApps/clustersql"
)

// maxErrorText is the length of an error's text in the table.
const maxErrorText = 60

// These explain the table.
const (
	legend     = "(won, lost: opens; errors: attempts and probes that failed; latency: a probe's, smoothed)"
	roleLegend = "(role, lag: of the last look; to write_conn a standby is down: it takes no writes)"
)

// A frame is all that the screen shows at one moment.
type frame struct {
	what     string    // what the nodes are
	roles    bool      // shows what each node is in replication
	now      time.Time // the time of day
	at       time.Duration
	clusters []clustersql.ClusterStatus
	totals   totals
	entries  []entry // the latest ones, oldest first
}

// A paint colours a text. nil leaves it as it is.
type paint func(state clustersql.State, text string) string

// colours is the paint for terminals.
func colours(state clustersql.State, text string) string {
	code := map[clustersql.State]int{
		clustersql.StateUp: 32, clustersql.StateSuspect: 33, clustersql.StateDown: 31,
	}[state]
	if code == 0 {
		return text
	}
	return fmt.Sprintf("\x1b[%dm%s\x1b[0m", code, text)
}

// picture returns the frame for a terminal, line by line. The number of lines
// depends only on the number of nodes and entries.
func (f *frame) picture(p paint) []string {
	lines := []string{
		fmt.Sprintf("clustersql demo, %s: %s", seconds(f.at), f.what),
		"",
	}
	lines = append(lines, f.table(p)...)
	lines = append(lines, strings.Split(f.legend(), "\n")...)
	lines = append(lines, "", f.application(), "")
	for _, e := range f.entries {
		lines = append(lines, e.String())
	}
	return lines
}

func (f *frame) legend() string {
	if f.roles {
		return legend + "\n" + roleLegend
	}
	return legend
}

// table returns a header, and below it a line for each node of each cluster.
func (f *frame) table(p paint) []string {
	lines := []string{fmt.Sprintf("%-11s %-6s %-8s %s%5s %6s %6s %6s %8s  %s",
		"cluster", "node", "state", f.part("role", "lag"), "conns", "won", "lost", "errors", "latency", "last error")}
	for _, c := range f.clusters {
		name := c.Name
		for _, n := range c.Nodes {
			lines = append(lines, fmt.Sprintf("%-11s ", name)+f.row(n, p))
			name = ""
		}
	}
	return lines
}

func (f *frame) row(n clustersql.NodeStatus, p paint) string {
	state := fmt.Sprintf("%-8s", n.State)
	if p != nil {
		state = p(n.State, state)
	}
	latency := "-"
	if n.ProbeLatency.Count() > 0 {
		latency = millis(n.ProbeLatency.Mean())
	}
	row := fmt.Sprintf("%-6s %s %s%5d %6d %6d %6d %8s  %s", n.Name, state, f.part(n.Role.String(), lag(n)), n.OpenConns,
		n.Won, n.Lost, n.Errors+n.ProbeErrors, latency, f.lastError(n))
	return strings.TrimRight(row, " ")
}

// part returns the columns for a node's part in replication, if they are shown.
func (f *frame) part(role, lag string) string {
	if !f.roles {
		return ""
	}
	return fmt.Sprintf("%-7s %7s ", role, lag)
}

func lag(n clustersql.NodeStatus) string {
	switch {
	case n.Role != clustersql.RoleReplica:
		return "-"
	case n.LagUnknown != "":
		return "?"
	}
	return fmt.Sprintf("%.1f s", n.Lag.Seconds())
}

func (f *frame) lastError(n clustersql.NodeStatus) string {
	if n.LastErrorMessage == "" {
		return ""
	}
	text := []rune(printable(n.LastErrorMessage))
	if len(text) > maxErrorText {
		text = append(text[:maxErrorText-1], '…')
	}
	return fmt.Sprintf("%.0f s ago: %s", max(0, f.now.Sub(n.LastError).Seconds()), string(text))
}

// application returns what the application has seen, as text.
func (f *frame) application() string {
	return fmt.Sprintf("application: %d reads, %d writes, %d failed; the slowest lately took %s",
		f.totals.Reads, f.totals.Writes, f.totals.Failed, millis(f.totals.Lately))
}

// line returns the frame as one line, for output that is no terminal: for each
// node its state, its role if that is shown, and how many opens it won.
func (f *frame) line() string {
	var b strings.Builder
	b.WriteString(seconds(f.at) + "     ")
	for _, c := range f.clusters {
		b.WriteString(c.Name)
		for _, n := range c.Nodes {
			fmt.Fprintf(&b, " %s:%s", n.Name, n.State)
			if f.roles {
				fmt.Fprintf(&b, ":%s", n.Role)
			}
			fmt.Fprintf(&b, ":%d", n.Won)
		}
		b.WriteString(", ")
	}
	return b.String() + f.application()
}

// String returns the entry as a line. What the demo does to the nodes looks
// different from what the clusters log.
func (e entry) String() string {
	mark := "  "
	if e.kind != noticed {
		mark = ">>"
	}
	return fmt.Sprintf("%s  %s %s", seconds(e.at), mark, e.text)
}

// printable returns a text as one line without characters that control a
// terminal.
func printable(text string) string {
	plain := func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}
	return strings.Join(strings.Fields(strings.Map(plain, text)), " ")
}

func seconds(d time.Duration) string { return fmt.Sprintf("%5.1f s", d.Seconds()) }

func millis(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}
