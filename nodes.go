package clustersql

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/EnumApps/clustersql/internal/calls"
	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/drivers"
	"github.com/EnumApps/clustersql/internal/members"
	"github.com/EnumApps/clustersql/internal/redact"
)

// A Node is one node of a cluster as it is configured; see [Driver.Apply] and
// [Plan]. It is printed without its DSN, in every form.
type Node struct {
	Name string `json:"name"`
	// DSN is written as the backend takes it. A node has a DSN or a Connector.
	DSN string `json:"-"`
	// Connector makes the node's connections; see [Driver.AddConnector]. A node
	// that has another one than before is replaced.
	Connector driver.Connector `json:"-"`
	Priority  int              `json:"priority"` // see [NodeConfig.Priority]
	Weight    int              `json:"weight"`   // see [NodeConfig.Weight]; 0 stands for 1
	// Conns and Found are of nodes that a running cluster describes: the number of open
	// connections, and the source that has found the node, as in NodeStatus.Origin. Plan
	// and Apply leave out what was found.
	Conns int    `json:"conns,omitempty"`
	Found string `json:"found,omitempty"`
}

// Format prints the name, priority and weight, for every verb.
func (n Node) Format(s fmt.State, verb rune) {
	format(s, verb, fmt.Sprintf("node %s (priority %d, weight %d)", n.Name, n.Priority, n.Weight))
}

// wanted returns the node as one that a cluster is to have. origin says who wants it;
// see NodeStatus.Origin.
func (n *Node) wanted(origin string) members.Node {
	return members.Node{Name: n.Name, DSN: n.DSN, Connector: n.Connector, Priority: n.Priority, Weight: n.Weight, Conns: n.Conns, Origin: origin}
}

// The origins of nodes, beside the names of sources of discovery.
const (
	originCode = "code"
	originFile = "file"
	originDSN  = "dsn"
)

func optionsOf(n *members.Node) []NodeOption {
	return []NodeOption{WithPriority(n.Priority), WithWeight(n.Share())}
}

// nodeSettings is what a reload may change about a node without replacing it.
type nodeSettings struct {
	NodeConfig
	origin string
}

// An origin is where a node's connections come from, and what is known about
// them.
type origin struct {
	dsn, addr string // as in a members.Node
	connector driver.Connector
	owned     io.Closer // the connector if the cluster has to close it, else nil
	dialect   dialect.Dialect
	session   dialect.Session
	redact    redact.Redactor
}

// recipe returns how connections are made, under some settings.
func (o *origin) recipe(cfg *Config) recipe {
	return recipe{
		dsn: o.dsn, addr: o.addr, connector: o.connector, owned: drivers.NewOwned(o.owned),
		check: cfg.fitness(o.dialect, o.session.Manual), redact: o.redact,
	}
}

// originOf makes the connector of a node. If it fails, nothing is left of it. The
// error holds no secret.
func (m *manager) originOf(w *members.Node, cfg *Config) (origin, error) {
	if w.Connector != nil {
		backend := m.backendOf(w.Connector)
		d := cfg.dialectOf(backend)
		if err := cfg.suits(d); err != nil && m.invalid == nil {
			return origin{}, err
		}
		session := d.AnySession()
		session.Closes = d.Owns(backend)
		return origin{connector: w.Connector, dialect: d, session: session}, nil
	}
	d := cfg.dialectOf(m.backend)
	secrets, known := d.Secrets(w.DSN)
	o := origin{dsn: w.DSN, addr: w.Addr, dialect: d, redact: redact.New(w.DSN, secrets, known)}
	c, err := m.resolve(d, w, cfg)
	if err != nil {
		return o, errors.New(redacted(*m.nodes.Load(), o.redact.Text(fmt.Sprint(err))))
	}
	o.connector = c
	o.owned, _ = c.(io.Closer)
	o.session = d.Session(w.DSN)
	o.session.Closes = d.Owns(m.backend)
	return o, nil
}

// usable returns why no node can be made of what the program's own source has found.
func (m *manager) usable(w *members.Node) error {
	err := m.nameable(w.Name)
	if err == nil {
		var o origin
		if o, err = m.originOf(w, m.cfg()); err == nil {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.giveUp(drivers.NewOwned(o.owned), nil)
			return nil
		}
	}
	return m.wrong(w.Name, err)
}

// configured returns the templates, and the nodes that are configured.
func (m *manager) configured() (templates, nodes []members.Node) {
	m.mu.Lock()
	templates = slices.Clone(m.templates)
	m.mu.Unlock()
	for _, n := range m.describe() {
		if !n.Departing && isConfigured(n.Origin) {
			nodes = append(nodes, n.Node)
		}
	}
	return templates, nodes
}

// isConfigured tells what the program, a file or a DSN wants from what was found.
func isConfigured(origin string) bool {
	return origin == originCode || origin == originFile || origin == originDSN
}

// described returns a node for a Description.
func described(n members.Node) Node {
	d := Node{Name: n.Name, DSN: n.DSN, Connector: n.Connector, Priority: n.Priority, Weight: n.Weight, Conns: n.Conns}
	if !isConfigured(n.Origin) {
		d.Found = n.Origin
	}
	return d
}

// addDSN adds a node that the backend opens by its DSN.
func (m *manager) addDSN(name, dsn string, opts []NodeOption, from string) error {
	if m.backend == nil {
		return m.refuse(name, errNoBackend)
	}
	return m.addWanted(members.Node{Name: name, DSN: dsn, Origin: from}, opts)
}

// addConnector adds a node that is a connector.
func (m *manager) addConnector(name string, c driver.Connector, opts []NodeOption) error {
	if c == nil {
		return m.refuse(name, errNilConnector)
	}
	return m.addWanted(members.Node{Name: name, Connector: c, Origin: originCode}, opts)
}

var (
	errNoBackend    = errors.New("the cluster has no backend driver: give one to NewDriver, or use AddConnector")
	errNilConnector = errors.New("the connector is nil")
)

// resolve turns a DSN into a connector.
func (m *manager) resolve(d dialect.Dialect, w *members.Node, cfg *Config) (driver.Connector, error) {
	dsn := w.DSN
	switch {
	case m.backend == nil:
		return nil, errNoBackend
	case dsn == "":
		return nil, errors.New("the DSN is empty: give the one that you would give the backend driver")
	case d.Owns(m.backend) && cfg.Dial == DialCluster:
		return d.Connector(dsn, dialTo(w.Addr))
	case w.Addr != "":
		if b, ok := m.backend.(DialContextDriver); ok {
			return drivers.Open(func() (driver.Connector, error) { return b.OpenConnectorDial(dsn, dialTo(w.Addr)) })
		}
		var err error
		if dsn, err = d.Rehost(dsn, w.Addr); err != nil {
			return nil, err
		}
	}
	return drivers.Connector(m.backend, dsn)
}

// addWanted makes a node a member, and starts it if the cluster is running.
func (m *manager) addWanted(w members.Node, opts []NodeOption) error {
	if m.invalid != nil {
		return m.invalid
	}
	if err := m.nameable(w.Name); err != nil {
		return m.refuse(w.Name, err)
	}
	settings, err := newNodeConfig(opts)
	if err != nil {
		return m.refuse(w.Name, err)
	}
	w.Priority, w.Weight = settings.Priority, settings.Weight
	n, err := m.newMember(&w, m.cfg())
	if err != nil {
		return m.refuse(w.Name, err)
	}
	if cfg := m.cfg(); cfg.sources().IsTemplate(n.dial.dialect, &w) {
		if err := m.enlistTemplate(n, w); err != nil {
			return m.refuse(w.Name, err)
		}
		return nil
	}
	if err := m.enlist(n); err != nil {
		return m.refuse(w.Name, err)
	}
	m.tellUnknown(n.dial.dialect)
	m.news.Notify()
	exported.addNode(m, n)
	return nil
}

// nameable returns an error for a text that cannot be the name of a node.
func (m *manager) nameable(name string) error {
	switch {
	case name == "":
		return errors.New("a node needs a name")
	case m.shown(name) != name:
		return errors.New("the name is a DSN with a password, and names are shown: give the node another name")
	case name == expvarFirst:
		return errors.New("the cluster's expvar map has a key of that name: use another")
	}
	return nil
}

// newMember makes a node that is not a member yet. Whoever gets it makes it one or
// drops it.
func (m *manager) newMember(w *members.Node, cfg *Config) (*node, error) {
	settings, err := newNodeConfig(optionsOf(w))
	if err != nil {
		return nil, err
	}
	o, err := m.originOf(w, cfg)
	if err != nil {
		return nil, err
	}
	log := m.log
	log.Node, log.Lines = w.Name, new(calls.Queue)
	d := dialer{recipes: newRecipes(o.recipe(cfg)), known: &dialerFacts{nodes: &m.nodes}, dialect: o.dialect, log: log}
	n := newNode(w.Name, &m.conf, settings, d)
	n.settings.Load().origin = w.Origin
	n.tally.cluster = &m.tally
	n.session, n.members, n.draws = o.session, &m.nodes, m.draws
	n.news, n.room = &m.news, &m.room
	n.afterChange = m.afterChange
	return n, nil
}

// drop closes what a node has that never became a member.
func (m *manager) drop(n *node) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.giveUp(n.dial.recipe().owned, nil)
}

// backendOf returns the driver of a connector, which may be another than the
// cluster's. A connector whose Driver method returns nil or panics is taken to
// have the cluster's driver.
func (m *manager) backendOf(c driver.Connector) (backend driver.Driver) {
	if c == nil {
		return m.backend
	}
	defer func() {
		if r := recover(); r != nil || backend == nil {
			backend = m.backend
		}
	}()
	return c.Driver()
}

// enlist makes a node a member. If that fails, the node is dropped.
func (m *manager) enlist(n *node) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := *m.nodes.Load()
	i, found := findNode(old, n.name)
	if m.closed || found {
		m.giveUp(n.dial.recipe().owned, nil)
		if m.closed {
			return ErrClosed
		}
		return errors.New("the name is taken: DelNode the other one first")
	}
	nodes := slices.Insert(slices.Clone(old), i, n)
	m.nodes.Store(&nodes)
	m.refused = nil
	if m.connectors > 0 {
		n.start(m.ctx, true)
	}
	return nil
}

// enlistTemplate adds what nodes are to be found for. Its node has shown that the DSN
// is right, and is dropped.
func (m *manager) enlistTemplate(n *node, w members.Node) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.giveUp(n.dial.recipe().owned, nil)
	switch {
	case m.closed:
		return ErrClosed
	case slices.ContainsFunc(m.templates, func(o members.Node) bool { return o.Name == w.Name }):
		return errors.New("the name is taken: DelNode the other one first")
	}
	m.templates = append(slices.Clone(m.templates), w)
	m.refused = nil
	m.find()
	m.finder.AskSoon()
	return nil
}

func findNode(nodes []*node, name string) (int, bool) {
	return slices.BinarySearchFunc(nodes, name, func(n *node, name string) int {
		return strings.Compare(n.name, name)
	})
}

// remove takes a node out of the cluster and drains it: the pool does not hand
// out its conns again, conns in use finish their work, and then its actor ends.
func (m *manager) remove(name string) error {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return ErrClosed
	}
	old := *m.nodes.Load()
	i, found := findNode(old, name)
	if !found {
		before := len(m.templates)
		m.templates = slices.DeleteFunc(slices.Clone(m.templates), func(w members.Node) bool { return w.Name == name })
		gone := len(m.templates) < before
		m.mu.Unlock()
		if !gone {
			return m.unknown(name)
		}
		m.finder.AskSoon()
		return nil
	}
	nodes := slices.Delete(slices.Clone(old), i, i+1)
	m.nodes.Store(&nodes)
	gone := []*node{old[i]}
	if heir := old[i].heir.Swap(nil); heir != nil {
		gone = append(gone, heir)
	}
	m.dismiss(gone)
	m.mu.Unlock()
	m.dismissed(gone)
	return nil
}

// dismiss begins the end of nodes that are not members any more. The caller holds
// m.mu, and calls dismissed after it has let go of it. A node that is draining
// cannot be undrained from here on.
func (m *manager) dismiss(nodes []*node) {
	for _, n := range nodes {
		l := n.life.Load()
		m.leaving = slices.DeleteFunc(m.leaving, (*life).ended)
		if l != nil {
			m.leaving = append(m.leaving, l)
		}
		n.leaving.Store(true)
		n.draining.Store(true)
		m.giveUp(n.dial.recipe().owned, l)
	}
}

// dismissed does the rest.
func (m *manager) dismissed(nodes []*node) {
	for _, n := range nodes {
		// After draining is set: every conn whose attempt began before this point
		// must be of the old generation.
		n.generation.Add(1)
		n.checkNow()
		exported.removeNode(m, n)
	}
	if len(nodes) > 0 {
		m.news.Notify()
	}
}
