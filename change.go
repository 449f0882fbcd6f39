package clustersql

import (
	"errors"
	"fmt"
	"slices"

	"github.com/EnumApps/clustersql/internal/drivers"
	"github.com/EnumApps/clustersql/internal/health"
	"github.com/EnumApps/clustersql/internal/logline"
	"github.com/EnumApps/clustersql/internal/members"
)

// A change is what a cluster is to become. All that may fail has been done when
// it is made: commit carries it out at once, and cancel leaves nothing of it.
type change struct {
	m         *manager
	cfg       *Config
	templates []members.Node // see manager.templates
	nodes     []members.Change
	fresh     map[string]*node   // of nodes that are added or replaced
	made      map[string]*origin // of nodes that get another recipe
	diff      Diff
}

// prepare makes a change. templates are those of discovery, and
// wanted the nodes that the cluster is to have. wrong words an error about the node
// at an index of wanted. The caller holds the turn.
func (m *manager) prepare(cfg *Config, templates, wanted []members.Node, wrong func(i int, err error) error) (_ *change, err error) {
	if m.invalid != nil {
		return nil, m.invalid
	}
	c := &change{m: m, cfg: cfg, templates: templates, fresh: make(map[string]*node), made: make(map[string]*origin)}
	defer func() {
		if err != nil {
			c.cancel()
		}
	}()
	before := m.cfg()
	settings := settingChanges(m.name, before, cfg)
	c.cfg = before
	if len(settings) > 0 {
		c.cfg = cfg.keeping(before)
	}
	c.diff.add(settings...)
	remade := before.Dial != c.cfg.Dial
	old, seen := m.describe(), make(map[string]bool, len(wanted))
	for i := range wanted {
		w := &wanted[i]
		if _, member := findNode(*m.nodes.Load(), w.Name); !member {
			if err := m.nameable(w.Name); err != nil {
				return nil, wrong(i, err)
			}
		}
		if seen[w.Name] {
			return nil, wrong(i, errors.New("there are two nodes of this name: rename one"))
		}
		seen[w.Name] = true
	}
	c.nodes = members.Compare(c.cfg.dialectOf(m.backend), old, wanted, remade)
	for _, n := range c.nodes {
		c.diff.addNode(&n, m.name)
	}
	for i := range wanted {
		w := &wanted[i]
		n := members.ChangeOf(c.nodes, w.Name)
		if n == nil {
			continue
		}
		if _, err := newNodeConfig(optionsOf(w)); err != nil {
			return nil, wrong(i, err)
		}
		switch {
		case n.Kind == members.Add, n.Kind == members.Replace:
			if c.fresh[w.Name], err = m.newMember(w, c.cfg); err != nil {
				return nil, wrong(i, err)
			}
		case n.Kind == members.Password, n.Kind == members.Dial:
			o, err := m.originOf(w, c.cfg)
			if err != nil {
				return nil, wrong(i, err)
			}
			c.made[w.Name] = &o
		}
	}
	return c, nil
}

// cancel drops what was prepared.
func (c *change) cancel() {
	for _, n := range c.fresh {
		if n != nil {
			c.m.drop(n)
		}
	}
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	for _, o := range c.made {
		c.m.giveUp(drivers.NewOwned(o.owned), nil)
	}
}

// commit carries the change out. Its only error is ErrClosed.
func (c *change) commit() error {
	m := c.m
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		c.cancel()
		return ErrClosed
	}
	before := m.conf.Swap(c.cfg)
	m.templates, m.refused = c.templates, nil
	nodes := slices.Clone(*m.nodes.Load())
	var gone []*node
	for i := range c.nodes {
		ch := &c.nodes[i]
		at, found := findNode(nodes, ch.Name)
		switch {
		case ch.Kind == members.Add && !found, ch.Kind == members.Replace && !found:
			nodes = slices.Insert(nodes, at, c.fresh[ch.Name])
			if m.connectors > 0 {
				c.fresh[ch.Name].start(m.ctx, true)
			}
		case !found:
		case ch.Kind == members.Remove:
			nodes[at].departing.Store(true)
			if heir := nodes[at].heir.Swap(nil); heir != nil {
				gone = append(gone, heir)
			}
		case ch.Kind == members.Add, ch.Kind == members.Replace:
			gone = append(gone, m.inherit(nodes[at], c.fresh[ch.Name])...)
		default:
			gone = append(gone, c.keep(nodes[at], ch)...)
		}
	}
	m.nodes.Store(&nodes)
	if before != c.cfg {
		c.check(nodes)
	}
	m.unsettled.Store(true)
	m.find()
	m.dismiss(gone)
	m.mu.Unlock()
	m.dismissed(gone)
	for _, n := range c.fresh {
		m.tellUnknown(n.dial.dialect)
		exported.addNode(m, n)
	}
	m.settle()
	m.news.Notify()
	c.wake(before != c.cfg)
	m.finder.AskSoon()
	return nil
}

// apply makes the nodes those of the cluster, and changes settings.
func (m *manager) apply(nodes []Node, opts []Option) (Diff, error) {
	diff, err := m.applied(nodes, opts)
	m.noteReload(diff, err, m.emit)
	return diff, err
}

func (m *manager) applied(nodes []Node, opts []Option) (Diff, error) {
	m.turn <- struct{}{}
	defer func() { <-m.turn }()
	cfg := *m.cfg()
	base := configuredOf(nodes, originCode)
	if len(base) == 0 && cfg.Source == nil {
		return Diff{}, fmt.Errorf("clustersql: cluster %q: there is no node to apply: name at least one, or close the cluster", m.name)
	}
	for _, opt := range opts {
		opt(&cfg)
	}
	err := cfg.settle()
	if err == nil {
		err = cfg.validateFor(m.backend)
	}
	if err != nil {
		return Diff{}, fmt.Errorf("clustersql: cluster %q: %w", m.name, err)
	}
	for i := range base {
		base[i].Conns = 0
	}
	templates, wanted, _ := m.finder.Split(cfg.sources(), cfg.dialectOf(m.backend), base)
	c, err := m.prepare(&cfg, templates, wanted, func(i int, err error) error { return m.wrong(wanted[i].Name, err) })
	if err != nil {
		return Diff{}, err
	}
	if err := c.commit(); err != nil {
		return Diff{}, err
	}
	return c.diff, nil
}

// become gives the cluster the nodes that were found. It returns the index of one that no
// node can be made of, and why, or -1. The caller has the turn.
func (m *manager) become(templates, wanted []members.Node) (bad int, err error) {
	bad = -1
	c, err := m.prepare(m.cfg(), templates, wanted, func(i int, err error) error {
		bad = i
		return m.wrong(wanted[i].Name, err)
	})
	switch {
	case err != nil && bad < 0:
		m.log.Print(logline.Unusable, err.Error())
	case err != nil:
	case c.diff.Empty():
		c.cancel()
	case c.commit() == nil:
		m.tally.Found.Add(uint64(len(c.diff.Changes)))
		m.emit(Event{Kind: EventDiscovery, Reason: c.diff.summary(), Cause: causeFound})
	}
	return bad, err
}

// inherit makes a node the heir of a member. It returns the heir that there was.
// The caller holds m.mu.
func (m *manager) inherit(member, heir *node) (gone []*node) {
	member.departing.Store(false)
	heir.inheriting.Store(true)
	heir.draining.Store(member.draining.Load())
	if old := member.heir.Swap(heir); old != nil {
		gone = append(gone, old)
	}
	if m.connectors > 0 {
		heir.start(m.ctx, false)
	}
	return gone
}

// keep gives a member, and its heir, what changes without replacing it. It returns
// the heir if the member stays instead. The caller holds m.mu.
func (c *change) keep(member *node, ch *members.Change) (gone []*node) {
	n := member
	switch heir := member.heir.Load(); {
	case ch.Kind == members.Keep:
		member.departing.Store(false)
		if heir != nil {
			member.heir.Store(nil)
			gone = append(gone, heir)
		}
	case heir != nil:
		n = heir
	}
	if ch.Tuned {
		tuned := &nodeSettings{NodeConfig: NodeConfig{Priority: ch.Now.Priority, Weight: ch.Now.Share()}, origin: ch.Now.Origin}
		member.settings.Store(tuned)
		n.settings.Store(tuned)
	}
	if o := c.made[ch.Name]; o != nil {
		old := n.dial.recipe()
		n.dial.recipes.Store(o.recipe(c.cfg).after(old))
		n.renewed.Store(true)
		c.m.giveUp(old.owned, nil)
	}
	return gone
}

// check gives every node the check that the new settings ask for.
func (c *change) check(nodes []*node) {
	for _, member := range nodes {
		for _, n := range []*node{member, member.heir.Load()} {
			if n == nil || n == c.fresh[member.name] {
				continue
			}
			next := *n.dial.recipe()
			next.check = c.cfg.fitness(n.dial.dialect, n.session.Manual)
			n.dial.recipes.Store(&next)
			n.renewed.Store(true)
		}
	}
}

// wake makes the nodes look at what has changed: all of them if that is the
// settings.
func (c *change) wake(settings bool) {
	m := c.m
	m.mu.Lock()
	leaving := slices.Clone(m.leaving)
	m.mu.Unlock()
	for _, n := range *m.nodes.Load() {
		if !settings && members.ChangeOf(c.nodes, n.name) == nil {
			continue
		}
		n.checkNow()
		if h := n.heir.Load(); h != nil {
			h.checkNow()
		}
	}
	for _, l := range leaving {
		l.checkNow()
	}
}

// afterChange is called when the state of a node has changed.
func (m *manager) afterChange() {
	m.settle()
	if m.cfg().discovers() && slices.ContainsFunc(*m.nodes.Load(), func(n *node) bool { return n.snapshot.Load().state == health.Down }) {
		m.finder.AskSoon() // the node may be somewhere else now
	}
}

// settle carries out what waits for a node to come up: heirs that are up take the
// places of their nodes, and nodes that are to go leave when another one is up. It
// is called when the state of a node has changed. Anyone may call it; it never
// waits.
func (m *manager) settle() {
	if !m.unsettled.Load() {
		return
	}
	m.mu.Lock()
	gone, came := m.settled()
	m.dismiss(gone)
	m.mu.Unlock()
	m.moved(gone, came)
}

// moved does the rest after settled.
func (m *manager) moved(gone, came []*node) {
	for _, n := range came {
		n.inheriting.Store(false)
		exported.addNode(m, n)
	}
	m.dismissed(gone)
}

// settled replaces the list of members. It returns the nodes that have left it and
// those that came. The caller holds m.mu.
func (m *manager) settled() (gone, came []*node) {
	nodes := slices.Clone(*m.nodes.Load())
	waits := false
	for i, n := range nodes {
		heir := n.heir.Load()
		switch {
		case heir == nil:
		case m.connectors == 0, n.draining.Load(), heir.snapshot.Load().state == health.Up:
			nodes[i] = heir
			gone, came = append(gone, n), append(came, heir)
		default:
			waits = true
		}
	}
	stays := slices.ContainsFunc(nodes, func(n *node) bool {
		return !n.departing.Load() && n.effective(n.snapshot.Load()) == health.Up
	})
	nodes = slices.DeleteFunc(nodes, func(n *node) bool {
		if !n.departing.Load() {
			return false
		}
		if s := n.effective(n.snapshot.Load()); !stays && m.connectors > 0 && (s == health.Up || s == health.Suspect) {
			waits = true
			return false
		}
		gone = append(gone, n)
		return true
	})
	m.unsettled.Store(waits)
	if len(gone) > 0 {
		m.nodes.Store(&nodes)
	}
	return gone, came
}

// pending says what a reload has asked for and what it waits for. It is empty if
// nothing waits.
func (n *node) pending() string {
	if heir := n.heir.Load(); heir != nil {
		s := heir.snapshot.Load()
		text := "the new DSN is used once its node is up; it is " + State(heir.effective(s)).String()
		if s.reason != "" {
			text += ": " + s.reason
		}
		return text
	}
	if n.departing.Load() {
		return "the node leaves once another one is up"
	}
	return ""
}

// settingChanges returns the settings that differ, in the order of the fields.
func settingChanges(cluster string, before, after *Config) []Change {
	var all []Change
	for _, s := range configTable.Differences(before, after, sameStrategy) {
		all = append(all, Change{
			Cluster: cluster, Kind: ChangeSetting, Setting: s.Key, When: Takes(s.When),
			From: settingText(s.A), To: settingText(s.B),
		})
	}
	return all
}
