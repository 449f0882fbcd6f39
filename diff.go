package clustersql

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/EnumApps/clustersql/internal/conffile"
	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/dialects"
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
		was := make([]describedNode, len(before.Nodes))
		for i, n := range before.Nodes {
			was[i].Node = n
		}
		now := make([]wantedNode, len(after.Nodes))
		for i, n := range after.Nodes {
			now[i].Node = n
		}
		for _, n := range compareNodes(after.dialect(), was, now, before.Config.Dial != after.Config.Dial) {
			d.add(n.lines(after.Name)...)
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

// A describedNode is a node that a cluster has, or is about to have.
type describedNode struct {
	wantedNode
	own       *wantedNode // the node that works until this one is up; else nil
	departing bool        // the node is about to leave
}

// A nodeChange is what changes about one node.
type nodeChange struct {
	name  string
	kind  ChangeKind // empty if tuned is all
	tuned bool       // another priority or weight, or somebody else asks for the node
	lined bool       // there is a line about that
	was   describedNode
	now   wantedNode
	what  string // of a ChangeReplace: what differs
}

// compareNodes returns the changes from the nodes that a cluster has to others,
// sorted by name. remade says that connectors are made in another way.
func compareNodes(d dialect.Dialect, old []describedNode, wanted []wantedNode, remade bool) []nodeChange {
	var all []nodeChange
	byName := make(map[string]*wantedNode, len(wanted))
	for i := range wanted {
		byName[wanted[i].Name] = &wanted[i]
	}
	for _, was := range old {
		now, stays := byName[was.Name]
		delete(byName, was.Name)
		switch {
		case stays:
			if ch := compareNode(d, was, *now, remade); ch.kind != "" || ch.tuned {
				all = append(all, ch)
			}
		case !was.departing:
			all = append(all, nodeChange{name: was.Name, kind: ChangeRemove, was: was})
		}
	}
	for name, now := range byName {
		all = append(all, nodeChange{name: name, kind: ChangeAdd, now: *now})
	}
	slices.SortFunc(all, func(a, b nodeChange) int { return cmp.Compare(a.name, b.name) })
	return all
}

// compareNode compares one node with what it is to be.
func compareNode(d dialect.Dialect, was describedNode, now wantedNode, remade bool) nodeChange {
	ch := nodeChange{name: was.Name, was: was, now: now}
	ch.lined = was.Priority != now.Priority || was.weight() != now.weight()
	ch.tuned = ch.lined || was.origin != now.origin
	same := func(a, b *wantedNode) bool {
		return a.DSN == b.DSN && a.addr == b.addr && sameConnector(a.Connector, b.Connector)
	}
	switch {
	case was.own != nil && same(was.own, &now), was.departing && same(&was.wantedNode, &now):
		ch.kind = ChangeKeep
	case same(&was.wantedNode, &now):
		if remade && now.Connector == nil {
			ch.kind = ChangeDial
		}
	case was.addr == now.addr && now.Connector == nil && was.Connector == nil && d.Renewed(was.DSN, now.DSN):
		ch.kind = ChangePassword
	default:
		ch.kind, ch.what = ChangeReplace, whatDiffers(d, &was.wantedNode, &now)
	}
	return ch
}

// sameConnector compares two connectors. Those of a type that cannot be compared
// are never the same.
func sameConnector(a, b any) bool {
	if a == nil || b == nil {
		return a == b
	}
	return reflect.TypeOf(a).Comparable() && reflect.TypeOf(b).Comparable() && a == b
}

// whatDiffers names what differs between two DSNs, without secrets.
func whatDiffers(d dialect.Dialect, was, now *wantedNode) string {
	if was.Connector != nil || now.Connector != nil {
		return "another connector"
	}
	before, known := d.Host(was.DSN)
	after, also := d.Host(now.DSN)
	if was.addr != "" {
		before = was.addr
	}
	if now.addr != "" {
		after = now.addr
	}
	if known && also && before != after {
		return conffile.QuoteName(before) + " by " + conffile.QuoteName(after)
	}
	return "the DSN by one with another user, database or parameter"
}

// lines returns the lines of a diff about the node.
func (n *nodeChange) lines(cluster string) []Change {
	var all []Change
	c := Change{Cluster: cluster, Node: n.name, Kind: n.kind, When: TakesLive, To: n.what}
	switch n.kind {
	case ChangeRemove, ChangeReplace:
		c.Moves = n.was.Conns
	case ChangePassword, ChangeDial:
		c.When = TakesConnections
	}
	if n.kind != "" {
		all = append(all, c)
	}
	if n.lined {
		all = append(all, Change{
			Cluster: cluster, Node: n.name, Kind: ChangeTune, When: TakesLive,
			From: fmt.Sprintf("priority %d, weight %d", n.was.Priority, n.was.weight()),
			To:   fmt.Sprintf("priority %d, weight %d", n.now.Priority, n.now.weight()),
		})
	}
	return all
}

func changeOf(all []nodeChange, name string) *nodeChange {
	i, found := slices.BinarySearchFunc(all, name, func(n nodeChange, name string) int { return cmp.Compare(n.name, name) })
	if !found {
		return nil
	}
	return &all[i]
}

// describe returns the nodes that the cluster has, or is about to have.
func (m *manager) describe() []describedNode {
	nodes := *m.nodes.Load()
	all := make([]describedNode, len(nodes))
	for i, n := range nodes {
		d := describedNode{wantedNode: n.wanted(), departing: n.departing.Load()}
		if h := n.heir.Load(); h != nil {
			own := d.wantedNode
			d.wantedNode, d.own = h.wanted(), &own
		}
		d.Conns, _ = n.conns.count()
		all[i] = d
	}
	return all
}

// wanted returns the node as it is configured.
func (n *node) wanted() wantedNode {
	r, s := n.dial.recipe(), n.settings.Load()
	w := wantedNode{Node: Node{Name: n.name, DSN: r.dsn, Priority: s.Priority, Weight: s.Weight}, addr: r.addr, origin: s.origin}
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
		if !n.departing {
			d.Nodes = append(d.Nodes, n.Node)
		}
	}
	return d
}
