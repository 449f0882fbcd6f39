package main

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/EnumApps/clustersql"
)

// A renderer turns snapshots into lines of text.
type renderer struct {
	width  int // of the screen; 0 for no limit
	colour bool
}

// rates are connections handed out per second, by cluster and node.
type rates map[[2]string]float64

// ratesOf works out the rates between two snapshots.
func ratesOf(before, now *snapshot) rates {
	all := make(rates)
	if before == nil {
		return all
	}
	seconds := now.Time.Sub(before.Time).Seconds()
	won := make(map[[2]string]uint64)
	for i := range before.Clusters {
		c := &before.Clusters[i].Status
		for j := range c.Nodes {
			won[[2]string{c.ID, c.Nodes[j].Name}] = c.Nodes[j].Won
		}
	}
	for i := range now.Clusters {
		c := &now.Clusters[i].Status
		for j := range c.Nodes {
			key := [2]string{c.ID, c.Nodes[j].Name}
			if was, ok := won[key]; ok && seconds > 0 && c.Nodes[j].Won >= was {
				all[key] = float64(c.Nodes[j].Won-was) / seconds
			}
		}
	}
	return all
}

// colours are those of terminals: green, yellow, red, blue.
const (
	green  = "32"
	yellow = "33"
	red    = "31"
	blue   = "34"
	bold   = "1"
	faint  = "2"
)

func (r *renderer) paint(code, text string) string {
	if !r.colour || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// look returns the shape, the word and the colour of a node.
func look(n *clustersql.NodeStatus) (shape, word, colour string) {
	progress := func(n, of int) string {
		if of > 1 && n > 0 {
			return fmt.Sprintf(" %d/%d", n, of)
		}
		return ""
	}
	switch n.State {
	case clustersql.StateUp:
		switch {
		case n.SameAs != "":
			return "=", "same as " + n.SameAs, yellow
		case n.Full:
			return "+", "up, full", yellow
		case n.Donor:
			return "+", "up, donor", yellow
		case n.Returning:
			return "+", "up, returning", yellow
		}
		return "+", "up", green
	case clustersql.StateSuspect:
		return "?", "suspect" + progress(n.Bad, n.Fall), yellow
	case clustersql.StateDown:
		return "-", "down" + progress(n.Good, n.Rise), red
	case clustersql.StateDraining:
		return "~", "draining", blue
	}
	return ".", n.State.String(), faint
}

// columns are those of a node, with the least width of the screen from which each
// is shown. Those that are missing on a narrow screen are the less telling ones.
var columns = []struct {
	head  string
	right bool
	from  int
}{
	{"node", false, 0}, {"state", false, 0}, {"for", true, 0}, {"address", false, 110}, {"role", false, 90},
	{"conns", true, 50}, {"idle", true, 100}, {"opens/s", true, 70}, {"probe", true, 60}, {"open", true, 80}, {"errors", true, 100},
	{"why not, or not first", false, 0},
}

// cells are a node's values for columns.
func cells(n *clustersql.NodeStatus, now time.Time, rate float64, told bool) []string {
	shape, word, _ := look(n)
	why := n.WhyNot
	if why == "" {
		why = n.Reason
	}
	opens := ""
	if told {
		opens = fmt.Sprintf("%.1f", rate)
	}
	role := ""
	if n.Role != clustersql.RoleUnknown {
		role = n.Role.String()
		if n.Role == clustersql.RoleReplica && n.LagUnknown == "" && n.Lag > 0 {
			role += " -" + short(n.Lag)
		}
	}
	since := ""
	if !n.Since.IsZero() {
		since = short(now.Sub(n.Since))
	}
	return []string{
		n.Name, shape + " " + word, since, n.Address, role, fmt.Sprint(n.OpenConns), fmt.Sprint(n.IdleConns), opens,
		short(n.ProbeLatency.Mean()), short(n.OpenLatency.Mean()), fmt.Sprint(n.Errors), why,
	}
}

// clusters returns the lines of a snapshot.
func (r *renderer) clusters(s *snapshot, rate rates) []string {
	var all []string
	for i := range s.Clusters {
		c := &s.Clusters[i].Status
		if i > 0 {
			all = append(all, "")
		}
		all = append(all, r.head(c))
		lines := [][]string{nil}
		var colours []string
		for j, column := range columns {
			if r.width == 0 || r.width >= column.from {
				lines[0] = append(lines[0], column.head)
			}
			_ = j
		}
		for j := range c.Nodes {
			n := &c.Nodes[j]
			var line []string
			for k, text := range cells(n, s.Time, rate[[2]string{c.ID, n.Name}], rate != nil) {
				if r.width == 0 || r.width >= columns[k].from {
					line = append(line, text)
				}
			}
			_, _, colour := look(n)
			lines, colours = append(lines, line), append(colours, colour)
		}
		all = append(all, r.table(lines, colours)...)
	}
	return all
}

// head is the line of a cluster.
func (r *renderer) head(c *clustersql.ClusterStatus) string {
	colour := green
	switch {
	case c.Usable == 0:
		colour = red
	case c.Usable < len(c.Nodes):
		colour = yellow
	}
	text := fmt.Sprintf("%s  %s  %d of %d nodes usable", c.ID, c.Strategy, c.Usable, len(c.Nodes))
	if c.Waiting > 0 {
		text += fmt.Sprintf("  %d opens wait", c.Waiting)
	}
	if c.Moved+c.Masked+c.Unknown > 0 {
		text += fmt.Sprintf("  masked %d, moved %d, unknown outcome %d", c.Masked, c.Moved, c.Unknown)
	}
	return r.paint(bold+";"+colour, r.cut(text))
}

// table returns lines whose columns stand below each other. The second column of
// the nodes has their colours.
func (r *renderer) table(lines [][]string, colours []string) (all []string) {
	widths := make([]int, len(lines[0]))
	for _, l := range lines {
		for i, text := range l {
			widths[i] = max(widths[i], utf8.RuneCountInString(text))
		}
	}
	shown := make([]bool, len(lines[0])) // a column with a head alone is left out
	for _, l := range lines[1:] {
		for i, text := range l {
			shown[i] = shown[i] || text != ""
		}
	}
	var right []bool
	for _, column := range columns {
		if r.width == 0 || r.width >= column.from {
			right = append(right, column.right)
		}
	}
	for k, l := range lines {
		used := 2
		var b strings.Builder
		b.WriteString("  ")
		for i, text := range l {
			if !shown[i] {
				continue
			}
			text = tame(text)
			if i < len(l)-1 {
				text = pad(text, widths[i], right[i])
			}
			if r.width > 0 {
				text = clip(text, r.width-used)
			}
			used += utf8.RuneCountInString(text) + 2
			switch {
			case k == 0:
				text = r.paint(faint, text)
			case i == 1:
				text = r.paint(colours[k-1], text)
			}
			b.WriteString(text)
			if i < len(l)-1 && (r.width == 0 || used < r.width) {
				b.WriteString("  ")
			}
		}
		all = append(all, strings.TrimRight(b.String(), " "))
	}
	return all
}

func pad(text string, width int, right bool) string {
	blank := strings.Repeat(" ", max(0, width-utf8.RuneCountInString(text)))
	if right {
		return blank + text
	}
	return text + blank
}

// cut shortens a line to the screen's width.
func (r *renderer) cut(text string) string {
	if r.width == 0 {
		return tame(text)
	}
	return clip(text, r.width)
}

// tame replaces control characters, which would make a terminal do something: texts
// of servers and of other programs may hold any.
func tame(text string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return ' '
		}
		return c
	}, text)
}

// clip shortens a text, without control characters, to a width.
func clip(text string, width int) string {
	text = tame(text)
	if width <= 0 {
		return ""
	}
	if utf8.RuneCountInString(text) <= width {
		return text
	}
	runes := []rune(text)
	return string(runes[:width-1]) + "…"
}

// short writes a duration in few letters; 0 is "".
func short(d time.Duration) string {
	switch {
	case d <= 0:
		return ""
	case d < time.Millisecond:
		return fmt.Sprintf("%dµs", d.Microseconds())
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1fms", float64(d)/float64(time.Millisecond))
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}
