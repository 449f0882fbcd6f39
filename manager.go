package clustersql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/gate"
	"github.com/EnumApps/clustersql/internal/redact"
)

// A manager is one cluster: its nodes, and when their actors run. How it opens
// a connection is in wait.go (one whole open) and open.go (one round of it).
type manager struct {
	// immutable
	name    string
	id      string // the name, or with a number behind it; unique among the clusters in use
	backend driver.Driver
	origin  string // where the nodes come from: code, file or dsn
	invalid error  // why the settings cannot work; nil if they can
	log     logger
	told    atomic.Bool // that the backend is not known
	draws   *lockedRand // random numbers for callers' goroutines
	// draw returns a random number from 0 to n-1 for an open. The strategies of
	// this package draw with it.
	draw func(n int) int

	// shared; what these point to is never changed, only replaced
	conf  atomic.Pointer[Config]  // see cfg
	nodes atomic.Pointer[[]*node] // sorted by name
	news  changes
	room  waitingRoom
	gate  *gate.Gate
	tally clusterTally

	mu sync.Mutex // guards what follows; never held across a wait, a dial, a Close or a callback

	connectors int                     // how many are open
	ctx        context.Context         // done when the last connector is closed; nil before the first
	stop       context.CancelCauseFunc // ends ctx
	leaving    []*life                 // the lives of removed nodes, until the last goroutine of each has ended
	closing    []<-chan struct{}       // of connectors that giveUp closes; each is closed when that has ended
	closed     bool                    // for good
	refused    error                   // why the last AddNode or AddConnector failed; nil after one that worked
}

func newManager(backend driver.Driver, name string, opts []Option) *manager {
	m := &manager{name: name, origin: "code", backend: backend, gate: gate.New(opensAtOnce, quickOpen)}
	cfg := DefaultConfig()
	for _, opt := range opts {
		opt(&cfg)
	}
	if cfg.Seed == 0 {
		cfg.Seed = rand.Uint64()
	}
	m.draws = &lockedRand{rand: newRand(cfg.Seed, "")} // no node has that name
	m.draw = m.draws.IntN
	err := cfg.settle()
	if err == nil {
		err = cfg.validateFor(backend)
	}
	m.conf.Store(&cfg)
	if err != nil {
		m.invalid = fmt.Errorf("clustersql: cluster %q: %w", name, err)
	}
	m.log = logger{base: m.cfg().Logger, cluster: name}
	m.nodes.Store(new([]*node))
	return m
}

// cfg returns the cluster's settings as they are now.
func (m *manager) cfg() *Config { return m.conf.Load() }

// addDSN adds a node that the backend opens by its DSN.
func (m *manager) addDSN(name, dsn string, opts []NodeOption) error {
	d := m.cfg().dialectOf(m.backend)
	secrets, known := d.Secrets(dsn)
	redact := redact.New(dsn, secrets, known)
	c, err := m.resolve(d, dsn)
	if err != nil {
		return m.refuse(name, errors.New(redacted(*m.nodes.Load(), redact.Text(fmt.Sprint(err)))))
	}
	owned, _ := c.(io.Closer)
	session := d.Session(dsn)
	session.Closes = d.Owns(m.backend)
	err = m.add(name, origin{dsn, c, owned, d, session, redact}, opts)
	if err != nil {
		m.mu.Lock()
		m.giveUp(newOwnedConnector(owned), nil)
		m.mu.Unlock()
	}
	return err
}

// addConnector adds a node that is a connector.
func (m *manager) addConnector(name string, c driver.Connector, opts []NodeOption) error {
	backend := m.backendOf(c)
	d := m.cfg().dialectOf(backend)
	if err := m.cfg().suits(d); err != nil && m.invalid == nil {
		return m.refuse(name, err)
	}
	session := d.AnySession()
	session.Closes = d.Owns(backend)
	return m.add(name, origin{connector: c, dialect: d, session: session}, opts)
}

// resolve turns a DSN into a connector.
func (m *manager) resolve(d dialect.Dialect, dsn string) (driver.Connector, error) {
	switch {
	case m.backend == nil:
		return nil, errors.New("the cluster has no backend driver: give one to NewDriver, or use AddConnector")
	case dsn == "":
		return nil, errors.New("the DSN is empty: give the one that you would give the backend driver")
	case d.Owns(m.backend) && m.cfg().Dial == DialCluster:
		return d.Connector(dsn, Dial)
	}
	return connectorFor(m.backend, dsn)
}

// An origin is where a node's connections come from, and what is known about
// them.
type origin struct {
	dsn       string // empty for a connector of the program
	connector driver.Connector
	owned     io.Closer // the connector if the cluster has to close it, else nil
	dialect   dialect.Dialect
	session   dialect.Session
	redact    redact.Redactor
}

// add makes a node a member, and starts it if the cluster is running.
func (m *manager) add(name string, o origin, opts []NodeOption) error {
	switch {
	case m.invalid != nil:
		return m.invalid
	case name == "":
		return m.refuse(name, errors.New("a node needs a name"))
	case m.shown(name) != name:
		return m.refuse(name, errors.New("the name is a DSN with a password, and names are shown: give the node another name"))
	case name == expvarFirst:
		return m.refuse(name, errors.New("the cluster's expvar map has a key of that name: use another"))
	case o.connector == nil:
		return m.refuse(name, errors.New("the connector is nil"))
	}
	settings, err := newNodeConfig(opts)
	if err != nil {
		return m.refuse(name, err)
	}
	log := m.log
	log.node, log.lines = name, new(callQueue)
	d := dialer{recipes: newRecipes(recipe{
		dsn: o.dsn, connector: o.connector, owned: newOwnedConnector(o.owned),
		check: m.cfg().fitness(o.dialect, o.session.Manual), redact: o.redact,
	}), known: &dialerFacts{nodes: &m.nodes}, dialect: o.dialect, log: log}
	n := newNode(name, &m.conf, settings, d)
	n.tally.cluster, n.tally.origin = &m.tally, m.origin
	n.session, n.members, n.draws = o.session, &m.nodes, m.draws
	n.news, n.room, n.waiting = &m.news, &m.room, &m.room.waiting
	if err := m.enlist(n); err != nil {
		return m.refuse(name, err)
	}
	m.tellUnknown(o.dialect)
	m.news.notify()
	exported.addNode(m, n)
	return nil
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

func (m *manager) enlist(n *node) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return ErrClosed
	}
	old := *m.nodes.Load()
	i, found := findNode(old, n.name)
	if found {
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

// refuse returns the error for a node that could not be added. It also
// remembers the error for opens that find no nodes, because programs may ignore
// what AddNode returns.
func (m *manager) refuse(name string, err error) error {
	if !errors.Is(err, ErrClosed) {
		err = fmt.Errorf("clustersql: cluster %q: node %q: %w", m.name, m.shown(name), err)
	}
	m.mu.Lock()
	m.refused = err
	m.mu.Unlock()
	return err
}

// shown returns a name for texts. A DSN with a password is no name, and is not
// shown.
func (m *manager) shown(name string) string {
	if secrets, _ := m.cfg().dialectOf(m.backend).Secrets(name); len(secrets) > 0 || redact.HoldsPassword(name) {
		return redact.Mark
	}
	return name
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
		m.mu.Unlock()
		return m.unknown(name)
	}
	n := old[i]
	nodes := slices.Delete(slices.Clone(old), i, i+1)
	m.nodes.Store(&nodes)
	l := n.life.Load()
	m.leaving = slices.DeleteFunc(m.leaving, (*life).ended)
	if l != nil {
		m.leaving = append(m.leaving, l)
	}
	// Under the lock, so that no Undrain that found the node ends this.
	n.leaving.Store(true)
	n.draining.Store(true)
	m.giveUp(n.dial.recipe().owned, l)
	m.mu.Unlock()

	// After draining is set: every conn whose attempt began before this point
	// must be of the old generation.
	n.generation.Add(1)
	n.checkNow()
	m.news.notify()
	exported.removeNode(m, n)
	return nil
}

// acquire counts one more connector. The first one starts the actors.
func (m *manager) acquire() error {
	if m.invalid != nil {
		return m.invalid
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return ErrClosed
	}
	m.connectors++
	if m.connectors > 1 {
		return nil
	}
	m.ctx, m.stop = context.WithCancelCause(context.Background())
	for _, n := range *m.nodes.Load() {
		n.start(m.ctx, false)
	}
	return nil
}

// running returns the context of the actors' present life, or ErrClosed if no
// actors run.
func (m *manager) running() (context.Context, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || m.connectors == 0 {
		return nil, ErrClosed
	}
	return m.ctx, nil
}

// noNodes returns ErrNoNodes, with the reason if the last node was refused.
func (m *manager) noNodes() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refused != nil {
		return fmt.Errorf("%w (the last one was refused: %w)", ErrNoNodes, m.refused)
	}
	return ErrNoNodes
}

func (m *manager) names() []string {
	nodes := *m.nodes.Load()
	names := make([]string, len(nodes))
	for i, n := range nodes {
		names[i] = n.name
	}
	return names
}

// changes tells waiting goroutines that something has changed in the cluster:
// the state of a node, or the list of nodes. A writer publishes the change
// first and calls notify after that. So a reader must call next first and look
// at the cluster after that.
type changes struct {
	current  atomic.Pointer[chan struct{}]
	notified atomic.Int64 // time of the last notify, in Unix nanoseconds
}

// next returns a channel that the next notify closes.
func (c *changes) next() <-chan struct{} {
	for {
		if ch := c.current.Load(); ch != nil {
			return *ch
		}
		ch := make(chan struct{})
		c.current.CompareAndSwap(nil, &ch)
	}
}

// age returns how long ago the last notify was.
func (c *changes) age(now time.Time) time.Duration { return now.Sub(time.Unix(0, c.notified.Load())) }

// touch notes a change that nobody waits for.
func (c *changes) touch() { c.notified.Store(time.Now().UnixNano()) }

func (c *changes) notify() {
	c.touch()
	if ch := c.current.Swap(nil); ch != nil {
		close(*ch)
	}
}
