package statuspage

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/EnumApps/clustersql"
)

// A nodeRow is a node with what the page needs beside its figures.
type nodeRow struct {
	*clustersql.NodeStatus
	*Node
	maxOpens int
	states   []clustersql.StateSince // of the last 15 minutes at least, oldest first
	marks    []time.Time             // of events that are no change of state
	base     time.Time               // where the strip's seconds begin
	rate     string                  // connections handed out per second
}

// A clusterRow is a cluster with what the page needs beside its figures.
type clusterRow struct {
	*clustersql.ClusterStatus
	*Cluster
	rate string
}

func (r *clusterRow) conns() int {
	sum := 0
	for i := range r.Status.Nodes {
		sum += r.Status.Nodes[i].OpenConns
	}
	return sum
}

// hidden says how many nodes the filter leaves out. The page shows it while the
// filter is on.
func (r *clusterRow) hidden() string {
	well := 0
	for i := range r.Cluster.Nodes {
		if r.Cluster.Nodes[i].Level == LevelWell {
			well++
		}
	}
	switch well {
	case 0:
		return ""
	case 1:
		return "1 node that is well is hidden."
	}
	return fmt.Sprintf("%d nodes that are well are hidden.", well)
}

// sources says what discovery has found, and what it does not use of that.
func (r *clusterRow) sources() string {
	var parts []string
	for _, s := range r.Sources {
		text := fmt.Sprintf("%s has %d addresses", s.Name, len(s.Addresses))
		if len(s.Addresses) == 1 {
			text = s.Name + " has 1 address"
		}
		if s.Err != "" {
			text += " and now fails: " + s.Err
		}
		parts = append(parts, text)
	}
	if len(parts) == 0 {
		return ""
	}
	text := "Found: " + strings.Join(parts, "; ") + "."
	var unused []string
	for _, u := range r.Unused {
		unused = append(unused, fmt.Sprintf("%s of %s (%s)", u.Address, u.Source, u.Why))
	}
	if len(unused) > 0 {
		text += " Not used: " + some(unused, 6, "and %d more") + "."
	}
	return text
}

// stripText says what the strip shows.
func (r *nodeRow) stripText() string {
	const most = 4
	parts := []string{"its last 15 minutes"}
	states := r.states
	if earlier := len(states) - most; earlier > 0 {
		parts = append(parts, fmt.Sprintf("%d earlier changes", earlier))
		states = states[earlier:]
	}
	for i, s := range states {
		text := s.State.String()
		if i > 0 || len(r.states) > most {
			text += " from " + s.Since.Format(time.TimeOnly)
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}

// where returns what stands under the node's name.
func (r *nodeRow) where() string {
	parts := []string{r.Address}
	if r.Role != clustersql.RoleUnknown {
		parts = append(parts, r.Role.String())
	}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), " · ")
}

// lastProbe says how the last probe went, with HAProxy's mark for one under way.
func (r *nodeRow) lastProbe() string {
	text := ""
	switch p := &r.LastProbe; {
	case p.Time.IsZero():
	case p.OK:
		text = "passed"
	default:
		text = p.Layer + ": " + p.Error
	}
	if r.Probing {
		return "* " + text
	}
	return text
}

// until returns when the wait of a node ends that is held back for a time.
func (r *nodeRow) until() time.Time {
	for _, t := range []time.Time{r.HeldUntil, r.FullUntil, r.ReturnedAt} {
		if !t.IsZero() {
			return t
		}
	}
	return time.Time{}
}

func (r *nodeRow) lag() string {
	switch {
	case r.Role != clustersql.RoleReplica:
		return ""
	case r.LagUnknown != "":
		return "not known: " + r.LagUnknown
	}
	return fmt.Sprintf("%.1f s", r.Lag.Seconds())
}

func (r *nodeRow) view() string {
	switch {
	case r.ConfID > 0:
		return strconv.FormatUint(r.ConfID, 10)
	case r.Timeline > 0:
		return "timeline " + strconv.FormatUint(r.Timeline, 10)
	}
	return ""
}

// A kindOfRow is what the rows of one kind have in common.
type kindOfRow struct {
	keys  []string
	index map[string]int
	as    []asWhat
}

func kindOfRows[T any](columns []column[T]) *kindOfRow {
	k := &kindOfRow{index: make(map[string]int, len(columns))}
	for i, c := range columns {
		k.keys, k.as = append(k.keys, c.key), append(k.as, c.as)
		k.index[c.key] = i
	}
	return k
}

var (
	pageKind    = kindOfRows(pageColumns)
	clusterKind = kindOfRows(clusterColumns)
	nodeKind    = kindOfRows(nodeColumns)
)

// A row is the cells of one line of the page: its values, in the order of its
// columns, and the version in which each last changed. It is never changed after
// it was made.
type row struct {
	*kindOfRow
	values []string
	since  []uint64
}

// newRow returns the row for v after the row that it had before, from which it
// takes the versions of what is as it was. before is empty if there was none.
// Slow columns stay as they were if lazy is set. changed is false if the row is
// the one before.
func newRow[T any](kind *kindOfRow, columns []column[T], v *T, before row, version uint64, lazy bool) (r row, changed bool) {
	known := len(before.values) > 0
	r = row{kind, make([]string, len(columns)), make([]uint64, len(columns))}
	for i := range columns {
		c := &columns[i]
		if known && lazy && c.slow {
			r.values[i], r.since[i] = before.values[i], before.since[i]
			continue
		}
		r.values[i] = c.value(v)
		if known && r.values[i] == before.values[i] {
			r.since[i] = before.since[i]
			continue
		}
		r.since[i], changed = version, true
	}
	if !changed {
		return before, false
	}
	return r, true
}

// Value returns the value of a cell, which an unknown key does not have.
func (r row) Value(key string) string { return r.values[r.index[key]] }
