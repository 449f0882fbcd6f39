package statuspage

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/EnumApps/clustersql"
)

// A Process is what is known of one of the processes that [Compare] shows beside
// each other.
type Process struct {
	// URL is the address of its page. It is shown as it is, so it has no account and
	// no other secret.
	URL      string    `json:"url"`
	Name     string    `json:"name,omitempty"`    // as it says itself, in its last answer
	Answered time.Time `json:"answered,omitzero"` // when it last answered; zero if it never has
	Err      string    `json:"error,omitempty"`   // why it does not answer now, without secrets; empty if it does
	SameAs   string    `json:"same_as,omitempty"` // the URL before it that leads to the same process; Compare sets it

	Snapshot *Snapshot `json:"-"` // its last answer; nil if it never has answered
}

// old reports whether what is known of the process may no longer be so.
func (p *Process) old() bool { return p.Err != "" || p.Snapshot == nil }

// A Comparison is what several processes know of their clusters, beside each other.
// It is what the handler of [Compare] returns for ?format=json.
type Comparison struct {
	Time      time.Time `json:"time"`
	Level     Level     `json:"level"`   // the worst that a process sees; bad if one does not answer, warn if two disagree
	Summary   string    `json:"summary"` // why, in words
	Processes []Process `json:"processes"`
	Rows      []Row     `json:"rows"` // first those in which processes disagree; sorted by cluster and node
}

// A Row is one node of a [Comparison], or one cluster.
type Row struct {
	Cluster string `json:"cluster"`
	Node    string `json:"node,omitempty"` // empty for the cluster itself
	// Differs names what the processes that answer disagree about: "state",
	// "presence", "address", "role", "access", "priority" and "weight" of a node,
	// "strategy" of a cluster.
	Differs []string  `json:"differs,omitempty"`
	Since   time.Time `json:"differs_since,omitzero"` // since when the states differ at the latest
	Cells   []Cell    `json:"cells"`                  // in the order of the processes
}

// A Cell is what one process knows of a node or a cluster.
type Cell struct {
	Known bool      `json:"known"`           // the process has it; if not, the other fields are empty
	Old   bool      `json:"old,omitempty"`   // the process does not answer: this is what it said last
	Level Level     `json:"level"`           // see [Node]
	Kind  Kind      `json:"kind,omitempty"`  // see [Node]; empty for a cluster
	Word  string    `json:"word,omitempty"`  // the state in a word or two
	Why   string    `json:"why,omitempty"`   // why it is not used, or not first; for a cluster, what is not well
	Since time.Time `json:"since,omitzero"`  // when the state began, by the clock of Comparison.Time
	Notes []string  `json:"notes,omitempty"` // what it has in each thing of Differs but the state
}

// A sideCell is a cell with all that is compared.
type sideCell struct {
	Cell
	missing bool              // the process has the cluster, and not this node
	asleep  bool              // the process does not use the cluster, so it judges no state
	facts   map[string]string // by their name in Row.Differs
}

// facts are what is compared of a node but its state, in the order of Row.Differs.
var facts = []string{"address", "role", "access", "priority", "weight", "strategy"}

// compare puts what processes know beside each other.
func compare(now time.Time, processes []Process) *Comparison {
	c := &Comparison{Time: now, Processes: slices.Clone(processes), Rows: []Row{}}
	if c.Processes == nil {
		c.Processes = []Process{}
	}
	byName := make(map[string]string)
	for i := range c.Processes {
		p := &c.Processes[i]
		if p.Snapshot != nil {
			p.Name = p.Snapshot.Process
		}
		if first, twice := byName[p.Name]; twice {
			p.SameAs = first
		} else if p.Name != "" {
			byName[p.Name] = p.URL
		}
	}
	for key, row := range c.look() {
		c.Rows = append(c.Rows, judgeRow(key, row))
	}
	slices.SortFunc(c.Rows, func(a, b Row) int {
		return cmp.Or(cmp.Compare(b2i(len(a.Differs) == 0), b2i(len(b.Differs) == 0)), strings.Compare(a.Cluster, b.Cluster), strings.Compare(a.Node, b.Node))
	})
	c.judge()
	return c
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// A rowKey is what a row is about.
type rowKey struct{ cluster, node string }

// look finds all clusters and nodes, each with what every process knows of it.
func (c *Comparison) look() map[rowKey][]sideCell {
	rows := make(map[rowKey][]sideCell)
	at := func(key rowKey, process int) *sideCell {
		if rows[key] == nil {
			rows[key] = make([]sideCell, len(c.Processes))
		}
		return &rows[key][process]
	}
	for i := range c.Processes {
		p := &c.Processes[i]
		if p.Snapshot == nil {
			continue
		}
		for j := range p.Snapshot.Clusters {
			cluster := &p.Snapshot.Clusters[j]
			id := cluster.Status.ID
			*at(rowKey{id, ""}, i) = seeCluster(p, cluster)
			for k := range min(len(cluster.Nodes), len(cluster.Status.Nodes)) {
				*at(rowKey{id, cluster.Nodes[k].Name}, i) = seeNode(p, cluster, k)
			}
		}
	}
	for key, row := range rows {
		for i := range row {
			row[i].Old = c.Processes[i].old()
			row[i].missing = key.node != "" && !row[i].Known && rows[rowKey{key.cluster, ""}][i].Known
		}
	}
	return rows
}

func seeCluster(p *Process, c *Cluster) sideCell {
	s := sideCell{Cell: Cell{Known: true, Level: c.Level}, asleep: true, facts: map[string]string{"strategy": c.Status.Strategy}}
	s.Word = fmt.Sprintf("%d of %d usable", c.Status.Usable, len(c.Status.Nodes))
	if !c.Status.Open {
		s.Word = "not in use"
	} else if c.Level != LevelWell {
		s.Why = c.Summary
		s.Since = p.ourTime(c.Status.AllDownSince)
	}
	return s
}

func seeNode(p *Process, c *Cluster, i int) sideCell {
	n, status := &c.Nodes[i], &c.Status.Nodes[i]
	return sideCell{
		Cell:   Cell{Known: true, Level: n.Level, Kind: n.Kind, Word: n.Word, Why: n.Why, Since: p.ourTime(status.Since)},
		asleep: !c.Status.Open,
		facts: map[string]string{
			"address": status.Address, "priority": strconv.Itoa(status.Priority), "weight": strconv.Itoa(status.Weight),
			"role": known(status.Role, clustersql.RoleUnknown), "access": known(status.Access, clustersql.AccessUnknown),
		},
	}
}

// ourTime returns a time of the process by the clock of this one.
func (p *Process) ourTime(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return p.Answered.Add(-max(0, p.Snapshot.Time.Sub(t)))
}

// judgeRow says what the processes that answer disagree about.
func judgeRow(key rowKey, row []sideCell) Row {
	r := Row{Cluster: key.cluster, Node: key.node}
	var kinds []Kind
	var latest time.Time
	there, missing := false, false
	for i := range row {
		s := &row[i]
		switch {
		case s.Old:
		case s.missing:
			missing = true
		case s.Known:
			there = true
			if !s.asleep {
				kinds = append(kinds, s.Kind)
				if s.Since.After(latest) {
					latest = s.Since
				}
			}
		}
	}
	slices.Sort(kinds)
	if len(slices.Compact(kinds)) > 1 {
		r.Differs, r.Since = append(r.Differs, "state"), latest
	}
	if there && missing {
		r.Differs = append(r.Differs, "presence")
	}
	for _, fact := range facts {
		if differ(row, fact) {
			r.Differs = append(r.Differs, fact)
			for i := range row {
				if value := row[i].facts[fact]; value != "" {
					row[i].Notes = append(row[i].Notes, fact+" "+value)
				}
			}
		}
	}
	for i := range row {
		if row[i].missing {
			row[i].Notes = append(row[i].Notes, "its cluster has no such node")
		}
		r.Cells = append(r.Cells, row[i].Cell)
	}
	return r
}

// differ reports whether two processes that answer know different values of a
// fact. One that does not know it says nothing.
func differ(row []sideCell, fact string) bool {
	first := ""
	for i := range row {
		switch value := row[i].facts[fact]; {
		case row[i].Old || value == "":
		case first == "":
			first = value
		case value != first:
			return true
		}
	}
	return false
}

// judge says how all of it is.
func (c *Comparison) judge() {
	var silent, apart, ill []string
	answer := 0
	for i := range c.Processes {
		p := &c.Processes[i]
		if p.old() {
			silent = append(silent, p.URL)
			c.Level = LevelBad
			continue
		}
		answer++
		c.Level = max(c.Level, p.Snapshot.Level)
	}
	for i := range c.Rows {
		r := &c.Rows[i]
		if len(r.Differs) > 0 {
			apart = append(apart, r.name())
			c.Level = max(c.Level, LevelWarn)
		}
		if text := r.ill(); text != "" {
			ill = append(ill, text)
		}
	}
	var parts []string
	switch {
	case len(c.Processes) == 0:
		parts = append(parts, "There is no process to ask.")
		c.Level = LevelWarn
	case len(silent) > 0:
		parts = append(parts, fmt.Sprintf("%d of %d processes answer, and not %s.", answer, len(c.Processes), some(silent, 3, "%d more")))
	case answer == 1:
		parts = append(parts, "The process answers.")
	default:
		parts = append(parts, fmt.Sprintf("All %d processes answer.", answer))
	}
	switch {
	case len(apart) > 0:
		parts = append(parts, "They disagree about "+some(apart, 4, "%d more")+".")
	case answer > 1:
		parts = append(parts, "They agree.")
	}
	if len(ill) > 0 {
		parts = append(parts, "Not well: "+some(ill, 4, "%d more are not well")+".")
	}
	c.Summary = strings.Join(parts, " ")
}

// name returns what the row is about, as in app/n1.
func (r *Row) name() string {
	if r.Node == "" {
		return r.Cluster
	}
	return r.Cluster + "/" + r.Node
}

// ill says what the worst of the processes that answer sees of a node that is not
// well, or of a cluster without a usable node.
func (r *Row) ill() string {
	worst := Cell{}
	for i := range r.Cells {
		if c := &r.Cells[i]; c.Known && !c.Old && c.Level > worst.Level {
			worst = *c
		}
	}
	switch {
	case worst.Level == LevelWell || r.Node == "" && !strings.HasPrefix(worst.Word, "0 "):
		return ""
	case r.Node == "":
		return r.name() + " has no usable node"
	}
	return r.name() + " is " + strings.TrimPrefix(worst.Word, "up, ")
}
