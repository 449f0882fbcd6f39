package clustersql

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/EnumApps/clustersql/internal/conffile"
	"github.com/EnumApps/clustersql/internal/members"
	"github.com/EnumApps/clustersql/internal/settings"
)

// Reload reads the configuration file again, and changes the clusters to what it says
// now. It returns what that changes. If path is empty, it reads the file that the
// registry was loaded from.
//
// Clusters and nodes are what they were as long as their names are. What happens to
// nodes and their connections is what [Driver.Apply] says. Settings change as the
// documentation of each says. A cluster that is new in the file is made, and is known
// to database/sql if the others are. A cluster that is not in the file any more stays
// as it is until the restart, because the program may use it. So does one with
// another driver. One that the program has closed is left out.
//
// Reload is all or nothing: it checks the whole file, the variables and every DSN,
// and makes all connectors before it changes anything. After an error all is as it
// was. It waits for no node. ClusterStatus.Reload tells of the last reload.
func (r *Registry) Reload(path string) (Diff, error) {
	if path == "" {
		path = r.path
	}
	r.turn <- struct{}{} // before the file is read: else an older content could come last
	defer func() { <-r.turn }()
	text, path, err := conffile.ReadText(path)
	if err != nil {
		r.unread(path, err)
		return Diff{}, err
	}
	return r.reloadText(path, text)
}

// reloadText is Reload for the text of a file. The caller holds the turn.
func (r *Registry) reloadText(path, text string) (Diff, error) {
	if path == r.path {
		r.content.Read(text)
	}
	diff, err := r.reload(path, text)
	r.noteReload(diff, err)
	return diff, err
}

// A reloading is a reload under way. The turns of all its clusters are taken.
type reloading struct {
	diff    Diff
	changes []*change
	fresh   []registered // clusters that are new
	all     []registered // with the specs of the new file
	turns   []*manager
}

// reload carries out a reload. The caller holds the turn.
func (r *Registry) reload(path, text string) (diff Diff, err error) {
	if r.closed.Load() {
		return Diff{}, ErrClosed
	}
	_, clusters, err := readSpecs(path, text)
	if err != nil {
		return Diff{}, err
	}
	t := &reloading{all: slices.Clone(r.all())}
	defer func() {
		for _, m := range t.turns {
			<-m.turn
		}
	}()
	for _, spec := range clusters {
		if err == nil {
			err = t.prepare(spec)
		}
	}
	if err == nil && r.known.Load() && len(t.fresh) > 0 {
		registering.Lock()
		err = registerAll(t.fresh)
		registering.Unlock()
	}
	if err != nil {
		t.cancel()
		return Diff{}, err
	}
	for _, c := range t.all {
		if !slices.ContainsFunc(clusters, func(s clusterSpec) bool { return s.name == c.spec.name }) {
			t.diff.add(Change{Cluster: c.spec.name, Kind: ChangeRemove, When: TakesRestart})
		}
	}
	for _, c := range t.changes {
		_ = c.commit() // the only error says that the program has closed the cluster
	}
	t.all = append(t.all, t.fresh...)
	r.clusters.Store(&t.all)
	if r.closed.Load() { // meanwhile
		for _, c := range t.fresh {
			c.driver.Close()
		}
		return Diff{}, ErrClosed
	}
	return t.diff, nil
}

// prepare prepares the change of one cluster.
func (t *reloading) prepare(spec clusterSpec) error {
	i := slices.IndexFunc(t.all, func(c registered) bool { return c.spec.name == spec.name })
	if i < 0 {
		d, err := spec.build()
		if err != nil {
			return err
		}
		t.fresh = append(t.fresh, registered{spec, d})
		t.diff.add(Change{Cluster: spec.name, Kind: ChangeAdd, When: TakesLive, To: fmt.Sprintf("with %d nodes", len(spec.in.Nodes))})
		return nil
	}
	known := &t.all[i]
	if known.spec.driver != spec.driver {
		t.diff.add(driverChange(spec.name, known.spec.driver, spec.driver))
		return nil
	}
	m := known.driver.m
	if m.wasClosed() {
		return nil
	}
	nodes, err := spec.nodes()
	if err != nil {
		return err
	}
	if err := spec.cfg.validateFor(m.backend); err != nil {
		return spec.conflict(err)
	}
	m.turn <- struct{}{}
	t.turns = append(t.turns, m)
	templates, wanted, _ := m.finder.Split(spec.cfg.sources(), spec.cfg.dialectOf(m.backend), nodes)
	c, err := m.prepare(&spec.cfg, templates, wanted, func(i int, err error) error {
		at := slices.IndexFunc(nodes, func(n members.Node) bool { return n.Name == wanted[i].Name })
		return spec.wrongNode(max(0, at), err)
	})
	if err != nil {
		return err
	}
	t.changes = append(t.changes, c)
	t.diff.add(c.diff.Changes...)
	known.spec = spec
	return nil
}

// cancel drops what was prepared.
func (t *reloading) cancel() {
	for _, c := range t.changes {
		c.cancel()
	}
	for _, c := range t.fresh {
		c.driver.Close()
	}
}

// Watch reloads the file whenever its content changes, until ctx is done. It looks
// every so often, and reloads what it has found twice in a row: so it does not take a
// file that is being written. It compares the content and not the time of the file,
// because a mounted ConfigMap changes a symbolic link. A reload that fails changes
// nothing and is not tried again before the content changes. It is in
// ClusterStatus.Reload, and in the log once. So is a file that cannot be read; it is
// reloaded when it can be read again. What Reload has read from another file stays
// until the content of this one changes.
//
// Watch returns the cause of the end of ctx, or ErrClosed once the registry is
// closed. Run it in a goroutine of its own.
func (r *Registry) Watch(ctx context.Context, every time.Duration) error {
	if every < time.Millisecond {
		return fmt.Errorf("clustersql: Watch every %s is too often: give a duration of at least a millisecond, such as 5 * time.Second", every)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	var w conffile.Watch
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
		if r.closed.Load() {
			return ErrClosed
		}
		select { // beside a Reload an older content could come last
		case r.turn <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		switch s := w.Look(r.path, &r.content); {
		case s.Err != nil:
			r.unread(s.Path, s.Err)
		case s.Changed:
			_, _ = r.reloadText(s.Path, s.Text) // the error is in the log and in the status
		}
		<-r.turn
	}
}

// unread notes that a file could not be read.
func (r *Registry) unread(path string, err error) {
	if path == r.path {
		r.content.Lost()
	}
	r.noteReload(Diff{}, err)
}

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

// A line is a Change with the words in which it is told.
type line = members.Line[ChangeKind, Takes]

// String returns the change as one line.
func (c Change) String() string { return line(c).String() }

// summary says in a line what changes about the nodes.
func (d Diff) summary() string {
	return members.Summary(d.Changes, func(c Change) string { return line(c).Brief() })
}

func (d *Diff) add(changes ...Change) { d.Changes = append(d.Changes, changes...) }

// addNode adds what changes about a node.
func (d *Diff) addNode(n *members.Change, cluster string) {
	for _, l := range members.Lines[ChangeKind, Takes](n, cluster) {
		d.add(Change(l))
	}
}

// Plan returns what changes from one configuration to another. Clusters and nodes
// are what they were as long as their names are. It is pure: it dials nothing,
// changes nothing and holds no secret. [Registry.Describe] and [Driver.Describe]
// return descriptions of what runs; [Load] and Describe one of a file.
//
// What a plan shows is what [Registry.Reload] and [Driver.Apply] do. Nodes that were
// found are not in it: what they are found for is.
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
		var was []members.Present
		for _, n := range configuredOf(before.Nodes, "") {
			was = append(was, members.Present{Node: n})
		}
		now := configuredOf(after.Nodes, "")
		for _, n := range members.Compare(after.dialect(), was, now, before.Config.Dial != after.Config.Dial) {
			d.addNode(&n, after.Name)
		}
	}
	for _, before := range old {
		if !slices.ContainsFunc(new, func(n Description) bool { return n.Name == before.Name }) {
			d.add(Change{Cluster: before.Name, Kind: ChangeRemove, When: TakesRestart})
		}
	}
	return d
}

// configuredOf returns the nodes of a description without what was found.
func configuredOf(nodes []Node, origin string) (all []members.Node) {
	for i := range nodes {
		if nodes[i].Found == "" {
			all = append(all, nodes[i].wanted(origin))
		}
	}
	return all
}

func driverChange(cluster, from, to string) Change {
	return Change{Cluster: cluster, Kind: ChangeDriver, From: fmt.Sprintf("%q", from), To: fmt.Sprintf("%q", to), When: TakesRestart}
}

// settingText returns a value as a file has it.
func settingText(value any) string {
	check, ok := value.(Check)
	if !ok {
		return settings.Text(value)
	}
	for name, known := range namedChecks {
		if reflect.ValueOf(known).Pointer() == reflect.ValueOf(check).Pointer() {
			return strconv.Quote(name)
		}
	}
	if check == nil {
		return "the dialect's"
	}
	return "the program's"
}
