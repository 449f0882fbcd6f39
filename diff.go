package clustersql

import (
	"fmt"
	"slices"
	"strings"

	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/dialects"
	"github.com/EnumApps/clustersql/internal/members"
)

// A Description is a cluster as it is configured; see [Plan].
type Description struct {
	Name   string // of the cluster
	Driver string // the backend, as database/sql knows it; empty for a backend that the program gave
	Config Config
	Nodes  []Node
}

// Format prints the names of the cluster and its nodes, for every verb.
func (d Description) Format(s fmt.State, verb rune) {
	all := make([]string, len(d.Nodes))
	for i, n := range d.Nodes {
		all[i] = n.Name
	}
	format(s, verb, fmt.Sprintf("cluster %q with the nodes %s", d.Name, names(all)))
}

// A Diff is what a reload changes, or would change, in the order in which one
// reads it: cluster by cluster, settings first. It holds no secret.
type Diff struct {
	Changes []Change `json:"changes"`
}

// A Change is one line of a [Diff].
type Change struct {
	Cluster string     `json:"cluster"`
	Node    string     `json:"node,omitempty"` // empty for a change of the cluster
	Kind    ChangeKind `json:"kind"`
	Setting string     `json:"setting,omitempty"` // of a ChangeSetting
	From    string     `json:"from,omitempty"`    // what was
	To      string     `json:"to,omitempty"`      // what is to be
	When    Takes      `json:"when"`
	// Moves is how many open connections are closed because of the change, each
	// when its work is done. It is known where the old description is that of a
	// running cluster.
	Moves int `json:"moves"`
}

// ChangeKind is the kind of a [Change].
type ChangeKind string

const (
	ChangeAdd      ChangeKind = "add"      // a node, or a whole cluster, is new
	ChangeRemove   ChangeKind = "remove"   // a node leaves, once another one is up; a cluster stays until the restart
	ChangeReplace  ChangeKind = "replace"  // a node has another DSN: the new node is up before the old one drains
	ChangePassword ChangeKind = "password" // a node's DSN has another password, and nothing else is new
	ChangeDial     ChangeKind = "dial"     // somebody else dials for the node; see Config.Dial
	ChangeTune     ChangeKind = "tune"     // a node has another priority or weight
	ChangeKeep     ChangeKind = "keep"     // a node that was about to leave or to be replaced stays
	ChangeSetting  ChangeKind = "setting"  // a setting of the cluster has another value
	ChangeDriver   ChangeKind = "driver"   // the cluster has another backend: nothing of it changes before the restart
)

// Takes says when a change takes effect.
type Takes string

const (
	TakesLive        Takes = "live"                // at once, for all that the cluster does
	TakesConnections Takes = "for new connections" // connections that there are stay as they are
	TakesRestart     Takes = "at restart"          // the running cluster keeps what it has
)

// Empty reports whether nothing changes.
func (d Diff) Empty() bool { return len(d.Changes) == 0 }

// Moves returns how many connections the changes move in all.
func (d Diff) Moves() int {
	all := 0
	for _, c := range d.Changes {
		all += c.Moves
	}
	return all
}

// String returns one line for each change.
func (d Diff) String() string {
	if d.Empty() {
		return "nothing changes\n"
	}
	var b strings.Builder
	for _, c := range d.Changes {
		b.WriteString(c.String() + "\n")
	}
	return b.String()
}

// brief says in a few words what changes.
func (c *Change) brief() string {
	text := string(c.Kind)
	if c.Setting != "" {
		text = c.Setting
	}
	if c.Node != "" {
		text += " " + c.Node
	}
	if c.When == TakesRestart {
		text += " (at the restart)"
	}
	return text
}

// String returns the change as one line.
func (c Change) String() string {
	where := c.Cluster
	if c.Node != "" {
		where += ": node " + c.Node
	}
	what := string(c.Kind)
	if c.Setting != "" {
		what = c.Setting
	}
	switch {
	case c.From != "" && c.To != "":
		what += " " + c.From + " -> " + c.To
	case c.To != "":
		what += " " + c.To
	case c.From != "":
		what += " " + c.From
	}
	moves := "moves no connection"
	switch c.Moves {
	case 0:
	case 1:
		moves = "moves 1 connection"
	default:
		moves = fmt.Sprintf("moves %d connections", c.Moves)
	}
	return fmt.Sprintf("%s: %s (%s; %s)", where, what, c.When, moves)
}

// summary says in a line what changes about the nodes.
func (d Diff) summary() string {
	text := ""
	for i, c := range d.Changes {
		if i == 8 {
			return text + fmt.Sprintf(", and %d more", len(d.Changes)-i)
		}
		if i > 0 {
			text += ", "
		}
		text += c.brief()
	}
	return text
}

func (d *Diff) add(changes ...Change) { d.Changes = append(d.Changes, changes...) }

// Plan returns what changes from one configuration to another. Clusters and nodes
// are what they were as long as their names are. It is pure: it dials nothing,
// changes nothing and holds no secret. [Registry.Describe] and [Driver.Describe]
// return descriptions of what runs; [Load] and Describe one of a file.
//
// What a plan shows is what [Registry.Reload] and [Driver.Apply] do.
func Plan(old, new []Description) Diff {
	var d Diff
	for _, after := range new {
		i := slices.IndexFunc(old, func(o Description) bool { return o.Name == after.Name })
		if i < 0 {
			d.add(Change{Cluster: after.Name, Kind: ChangeAdd, When: TakesLive, To: fmt.Sprintf("with %d nodes", len(after.Nodes))})
			continue
		}
		before := old[i]
		if before.Driver != after.Driver {
			d.add(driverChange(after.Name, before.Driver, after.Driver))
			continue
		}
		d.add(settingChanges(after.Name, &before.Config, &after.Config)...)
		was := make([]members.Present, len(before.Nodes))
		for i, n := range before.Nodes {
			was[i].Node = n.wanted("")
		}
		now := make([]members.Node, len(after.Nodes))
		for i, n := range after.Nodes {
			now[i] = n.wanted("")
		}
		for _, n := range members.Compare(after.dialect(), was, now, before.Config.Dial != after.Config.Dial) {
			d.add(linesOf(&n, after.Name)...)
		}
	}
	for _, before := range old {
		if !slices.ContainsFunc(new, func(n Description) bool { return n.Name == before.Name }) {
			d.add(Change{Cluster: before.Name, Kind: ChangeRemove, When: TakesRestart})
		}
	}
	return d
}

func driverChange(cluster, from, to string) Change {
	return Change{Cluster: cluster, Kind: ChangeDriver, From: fmt.Sprintf("%q", from), To: fmt.Sprintf("%q", to), When: TakesRestart}
}

// dialect returns the dialect of the cluster's DSNs, as far as its names tell it.
func (d *Description) dialect() dialect.Dialect {
	known := d.Config.dialectOf(nil)
	if !dialects.Unknown(known) || d.Config.Dialect == DialectGeneric {
		return known
	}
	for _, own := range dialects.Known {
		if name, _ := own.Backend(); d.Driver == name || d.Driver == defaultDriver && own.Driver() != nil {
			return own
		}
	}
	if len(d.Nodes) > 0 {
		return dialectOfDSN(d.Nodes[0].DSN)
	}
	return known
}

// linesOf returns the lines of a diff about a node.
func linesOf(n *members.Change, cluster string) []Change {
	var all []Change
	c := Change{Cluster: cluster, Node: n.Name, Kind: ChangeKind(n.Kind), When: TakesLive, To: n.What}
	switch n.Kind {
	case members.Remove, members.Replace:
		c.Moves = n.Was.Conns
	case members.Password, members.Dial:
		c.When = TakesConnections
	}
	if n.Kind != "" {
		all = append(all, c)
	}
	if n.Told {
		all = append(all, Change{
			Cluster: cluster, Node: n.Name, Kind: ChangeTune, When: TakesLive,
			From: fmt.Sprintf("priority %d, weight %d", n.Was.Priority, n.Was.Share()),
			To:   fmt.Sprintf("priority %d, weight %d", n.Now.Priority, n.Now.Share()),
		})
	}
	return all
}

// describe returns the nodes that the cluster has, or is about to have.
func (m *manager) describe() []members.Present {
	nodes := *m.nodes.Load()
	all := make([]members.Present, len(nodes))
	for i, n := range nodes {
		d := members.Present{Node: n.wanted(), Departing: n.departing.Load()}
		if h := n.heir.Load(); h != nil {
			own := d.Node
			d.Node, d.Own = h.wanted(), &own
		}
		d.Conns, _ = n.conns.Count()
		all[i] = d
	}
	return all
}

// wanted returns the node as it is configured.
func (n *node) wanted() members.Node {
	r, s := n.dial.recipe(), n.settings.Load()
	w := members.Node{Name: n.name, DSN: r.dsn, Priority: s.Priority, Weight: s.Weight, Addr: r.addr, Origin: s.origin}
	if r.dsn == "" {
		w.Connector = r.connector
	}
	return w
}

// description returns the cluster as it is configured. A node that is about to
// leave is not in it.
func (m *manager) description(driver string) Description {
	d := Description{Name: m.name, Driver: driver, Config: *m.cfg()}
	for _, n := range m.describe() {
		if !n.Departing {
			d.Nodes = append(d.Nodes, Node{n.Name, n.DSN, n.Connector, n.Priority, n.Weight, n.Conns})
		}
	}
	return d
}
