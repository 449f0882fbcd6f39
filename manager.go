package clustersql

import (
	"context"
	"database/sql/driver"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/EnumApps/clustersql/internal/calls"
	"github.com/EnumApps/clustersql/internal/discovery"
	"github.com/EnumApps/clustersql/internal/draw"
	"github.com/EnumApps/clustersql/internal/gate"
	"github.com/EnumApps/clustersql/internal/logline"
)

// A manager is one cluster: its nodes, and when their actors run. How it opens
// a connection is in wait.go (one whole open) and open.go (one round of it).
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

	reloaded    atomic.Pointer[ReloadStatus] // nil before the first
	shownFound  atomic.Pointer[foundStatus]  // nil before the first round of discovery
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
	templates  []wantedNode            // what is configured and no node: discovery finds nodes for it
	found      []discovery.Found       // what discovery has found and the guard rails let in; never changed, only replaced
	finder     finder                  // what finds nodes
	finding    context.Context         // of the life for which the finder was last started
	refused    error                   // why the last AddNode or AddConnector failed; nil after one that worked
}

func newManager(backend driver.Driver, name string, opts []Option) *manager {
	m := &manager{name: name, backend: backend, gate: gate.New(opensAtOnce, quickOpen), turn: make(chan struct{}, 1)}
	m.finder = finder{m: m, kick: make(chan struct{}, 1)}
	cfg := DefaultConfig()
	for _, opt := range opts {
		opt(&cfg)
	}
	if cfg.Seed == 0 {
		cfg.Seed = rand.Uint64()
	}
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
	if err := m.discoveryError(); err != nil {
		return fmt.Errorf("%w (%w)", ErrNoNodes, err)
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
