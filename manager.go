package clustersql

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"github.com/EnumApps/clustersql/internal/calls"
	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/discovery"
	"github.com/EnumApps/clustersql/internal/draw"
	"github.com/EnumApps/clustersql/internal/drivers"
	"github.com/EnumApps/clustersql/internal/gate"
	"github.com/EnumApps/clustersql/internal/logline"
	"github.com/EnumApps/clustersql/internal/members"
)

// A manager is one cluster: its nodes, and when their actors run. How it opens
// a connection is in open.go, and whom it asks in strategy.go.
type manager struct {
	// immutable
	name    string
	id      string // the name, or with a number behind it; unique among the clusters in use
	backend driver.Driver
	invalid error // why the settings cannot work; nil if they can
	log     logline.Logger
	told    atomic.Bool  // that the backend is not known
	draws   *draw.Source // random numbers for callers' goroutines
	// draw returns a random number from 0 to n-1 for an open. The strategies of
	// this package draw with it.
	draw func(n int) int

	// shared; what these point to is never changed, only replaced
	conf  atomic.Pointer[Config]  // see cfg
	nodes atomic.Pointer[[]*node] // sorted by name
	news  gate.News
	room  waitingRoom
	gate  *gate.Gate
	tally clusterTally

	finder *discovery.Finder // what finds nodes; Start and Ended are called under mu

	reloaded    atomic.Pointer[ReloadStatus] // nil before the first
	lines, hook calls.Queue                  // for lines and events about the cluster
	turn        chan struct{}                // has room for one: whoever changes the members as a whole
	unsettled   atomic.Bool                  // there are nodes that wait to become members, or to leave; see settle

	mu sync.Mutex // guards what follows; never held across a wait, a dial, a Close or a callback

	connectors int                     // how many are open
	ctx        context.Context         // done when the last connector is closed; nil before the first
	stop       context.CancelCauseFunc // ends ctx
	leaving    []*life                 // the lives of removed nodes, until the last goroutine of each has ended
	closing    []<-chan struct{}       // of connectors that giveUp closes; each is closed when that has ended
	closed     bool                    // for good
	templates  []members.Node          // what is configured and no node: discovery finds nodes for it
	refused    error                   // why the last AddNode or AddConnector failed; nil after one that worked
}

func newManager(backend driver.Driver, name string, opts []Option) *manager {
	m := &manager{name: name, backend: backend, gate: gate.New(opensAtOnce, quickOpen), turn: make(chan struct{}, 1)}
	m.finder = m.newFinder()
	cfg := DefaultConfig()
	for _, opt := range opts {
		opt(&cfg)
	}
	if cfg.Seed == 0 {
		cfg.Seed = rand.Uint64()
	}
	m.tally.beside = m.beside
	m.draws = draw.NewSource(cfg.Seed, "") // no node has that name
	m.draw = m.draws.IntN
	err := cfg.settle()
	if err == nil {
		err = cfg.validateFor(backend)
	}
	m.conf.Store(&cfg)
	if err != nil {
		m.invalid = fmt.Errorf("clustersql: cluster %q: %w", name, err)
	}
	m.log = logline.Logger{Base: m.cfg().Logger, Cluster: name}
	m.nodes.Store(new([]*node))
	return m
}

// cfg returns the cluster's settings as they are now.
func (m *manager) cfg() *Config { return m.conf.Load() }

// acquire counts one more connector. The first one starts the actors.
func (m *manager) acquire() error {
	if m.invalid != nil {
		return m.invalid
	}
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return ErrClosed
	}
	var gone, came []*node
	if m.connectors == 0 {
		gone, came = m.settled() // nobody uses what waits for them
		m.dismiss(gone)
		m.ctx, m.stop = context.WithCancelCause(context.Background())
		for _, n := range *m.nodes.Load() {
			n.start(m.ctx, false)
		}
	}
	m.connectors++
	m.find()
	m.mu.Unlock()
	m.moved(gone, came)
	return nil
}

// newFinder returns what finds the nodes of the cluster.
func (m *manager) newFinder() *discovery.Finder {
	return discovery.NewFinder(discovery.Cluster{
		Settings: m.discovery, Configured: m.configured, Empty: func() bool { return len(*m.nodes.Load()) == 0 }, Usable: m.usable,
		Hide: func(text string) string { return redacted(*m.nodes.Load(), text) },
		Ask:  m.askMembers, Turn: m.turn, Become: m.become, Heard: m.heard,
	})
}

// find starts the finder if it is to run and does not. The caller holds m.mu.
func (m *manager) find() {
	if m.connectors > 0 && !m.closed && m.cfg().discovers() {
		m.finder.Start(m.ctx)
	}
}

// discovery returns the settings as the finder needs them.
func (m *manager) discovery() discovery.Settings {
	cfg := m.cfg()
	s := discovery.Settings{
		Kinds: cfg.sources(), Dialect: cfg.dialectOf(m.backend), Resolver: cfg.resolver(), Every: cfg.DiscoverEvery, Missing: cfg.DiscoverMissing, Floor: cfg.DiscoverFloor, Seed: cfg.Seed,
		Source: func(ctx context.Context) ([]members.Node, error) {
			found, err := cfg.Source(ctx)
			all := make([]members.Node, len(found))
			for i := range found {
				all[i] = found[i].wanted("")
			}
			return all, err
		},
	}
	s.Networks, _ = discovery.ParseNetworks(cfg.DiscoverNetworks) // validated
	s.Addresses, _ = discovery.ParseMap(cfg.DiscoverAddresses)
	return s
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

// askMembers asks the nodes that are up, one after the other until one answers.
func (m *manager) askMembers(ctx context.Context) (told []string, unused []dialect.Unaddressed, err error) {
	err = errNobodyToAsk
	for _, n := range *m.nodes.Load() {
		if State(n.effective(n.snapshot.Load())) != StateUp || ctx.Err() != nil {
			continue
		}
		if told, unused, err = n.askMembers(ctx); err == nil {
			break
		}
	}
	return told, unused, err
}

var errNobodyToAsk = errors.New("no node is up that could be asked")

// heard counts what sources have not answered, and tells what has changed.
func (m *manager) heard(all, changed []discovery.Source) {
	for _, s := range all {
		if s.Err != "" {
			m.tally.Unheard.Add(1)
		}
	}
	for _, s := range changed {
		e := Event{Kind: EventDiscovery, Reason: s.Name + " answers again", Cause: causeFound}
		if s.Err != "" {
			e.Reason, e.Cause = fmt.Sprintf("%s: %s; the last good answer counts", s.Name, s.Err), causeUnanswered
		}
		m.emit(e)
	}
	m.news.Notify()
}

func (m *manager) names() []string {
	nodes := *m.nodes.Load()
	names := make([]string, len(nodes))
	for i, n := range nodes {
		names[i] = n.name
	}
	return names
}

// release counts one connector less. The last one stops the actors and waits
// for everything that they started, also beside or after a close. For a backend
// that does not react to cancel it waits at most attempt_timeout.
func (m *manager) release() {
	m.mu.Lock()
	m.connectors--
	if m.connectors > 0 {
		m.mu.Unlock()
		return
	}
	h := m.remains()
	m.mu.Unlock()
	h.end(m.cfg().AttemptTimeout)
}

// close ends the cluster for good. On return it has ended, for the first caller
// and for every later one.
func (m *manager) close() error {
	m.mu.Lock()
	first := !m.closed
	m.closed = true
	if first {
		for _, n := range *m.nodes.Load() {
			m.giveUp(n.dial.recipe().owned, n.life.Load())
			if heir := n.heir.Load(); heir != nil {
				m.giveUp(heir.dial.recipe().owned, heir.life.Load())
			}
		}
	}
	h := m.remains()
	m.mu.Unlock()
	h.end(m.cfg().AttemptTimeout)
	if first {
		w := weak.Make(m)
		enrolled.Strike(m.id, w)
		exported.withdraw(m.name, w)
	}
	return nil
}

// wasClosed reports whether the cluster was closed for good.
func (m *manager) wasClosed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.closed
}

// giveUp closes the connector of a node that was refused or leaves the cluster,
// after the last goroutine of its last life has ended. c and l may be nil. The
// connector's Close may hang, so it has a goroutine of its own. The caller holds
// m.mu.
func (m *manager) giveUp(c *drivers.Owned, l *life) {
	if c == nil {
		return
	}
	closed := make(chan struct{})
	m.closing = append(slices.DeleteFunc(m.closing, isClosed), closed)
	go func() {
		defer close(closed)
		if l != nil {
			<-l.idle
		}
		<-c.Leave()
		drivers.Close(c)
	}()
}

// A remains is what has to end before a cluster has ended.
type remains struct {
	stop    context.CancelCauseFunc // nil if the cluster was never used
	lives   []*life
	closing []<-chan struct{}
	told    []*calls.Queue // about the cluster
}

// remains returns what has not ended: the latest life of each node, the lives
// of removed nodes, and the closing of connectors. The caller holds m.mu.
func (m *manager) remains() remains {
	m.leaving = slices.DeleteFunc(m.leaving, (*life).ended)
	m.closing = slices.DeleteFunc(m.closing, isClosed)
	h := remains{stop: m.stop, lives: slices.Clone(m.leaving), closing: slices.Clone(m.closing), told: []*calls.Queue{&m.lines, &m.hook}}
	if over := m.finder.Ended(); over != nil {
		h.closing = append(h.closing, over)
	}
	for _, member := range *m.nodes.Load() {
		for _, n := range []*node{member, member.heir.Load()} {
			if n == nil {
				continue
			}
			if l := n.life.Load(); l != nil && !l.ended() {
				h.lives = append(h.lives, l)
			}
		}
	}
	return h
}

// end stops the actors and waits until all has ended, or until the limit is
// over.
func (h remains) end(limit time.Duration) {
	if h.stop != nil {
		h.stop(ErrClosed)
	}
	over, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for _, l := range h.lives {
		if !l.wait(over.Done()) {
			return
		}
	}
	for _, closed := range h.closing {
		if !closedBefore(closed, over.Done()) {
			return
		}
	}
	for _, q := range h.told {
		if !q.Wait(over.Done()) {
			return
		}
	}
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

// description returns the cluster as it is configured, with what was found. A node
// that is about to leave is not in it.
func (m *manager) description(driver string) Description {
	d := Description{Name: m.name, Driver: driver, Config: *m.cfg()}
	conns := make(map[string]int)
	for _, n := range m.describe() {
		if !n.Departing {
			d.Nodes = append(d.Nodes, described(n.Node))
			conns[n.Name] = n.Conns
		}
	}
	m.mu.Lock()
	templates := discovery.Describe(m.templates, m.finder.Found(), conns)
	m.mu.Unlock()
	for _, t := range templates {
		d.Nodes = append(d.Nodes, described(t))
	}
	slices.SortStableFunc(d.Nodes, func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
	return d
}

func (m *manager) setReload(changes int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := ReloadStatus{}
	if old := m.reloaded.Load(); old != nil {
		s = *old
	}
	s.At, s.Err, s.Count = time.Now(), "", s.Count+1
	if err != nil {
		s.Err, s.Failed = err.Error(), s.Failed+1
	} else {
		s.Applied, s.Changes = s.At, changes
	}
	m.reloaded.Store(&s)
}
