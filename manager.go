package clustersql

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"weak"

	"github.com/EnumApps/clustersql/internal/calls"
	"github.com/EnumApps/clustersql/internal/discovery"
	"github.com/EnumApps/clustersql/internal/draw"
	"github.com/EnumApps/clustersql/internal/gate"
	"github.com/EnumApps/clustersql/internal/logline"
	"github.com/EnumApps/clustersql/internal/members"
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
	templates  []members.Node          // what is configured and no node: discovery finds nodes for it
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

// discoveryError returns what keeps discovery from an answer, or nil.
func (m *manager) discoveryError() error {
	s := m.shownFound.Load()
	if !m.cfg().discovers() {
		return nil
	}
	if s == nil {
		return errors.New("discovery has no answer yet")
	}
	for _, src := range s.sources {
		if src.Err != "" {
			return fmt.Errorf("discovery: %s: %s", src.Name, src.Err)
		}
	}
	if len(s.unused) > 0 {
		return fmt.Errorf("discovery: %s is not used: %s", s.unused[0].Address, s.unused[0].Why)
	}
	return errors.New("discovery has found no node")
}

func (m *manager) names() []string {
	nodes := *m.nodes.Load()
	names := make([]string, len(nodes))
	for i, n := range nodes {
		names[i] = n.name
	}
	return names
}

// roll lists the clusters of this process, by ID. It keeps none of them in
// memory.
var roll = clusterRoll{all: make(map[string]weak.Pointer[manager])}

type clusterRoll struct {
	mu  sync.Mutex // guards what follows; never held across a wait
	all map[string]weak.Pointer[manager]
}

// Clusters returns the clusters of this process that are in use: each one that
// was made and was neither closed nor given up. They may come from NewDriver,
// from a file or from a DSN, and need not be open. They are sorted by
// [ClusterStatus.ID].
//
// Clusters is for what shows or serves all clusters of a program, such as a page,
// metrics or a command: nobody has to hand the clusters around. The list of the
// process keeps no cluster in memory. The returned Drivers do, as any Driver does;
// so ask again for each look. Any goroutine may call it.
func Clusters() []Driver {
	roll.mu.Lock()
	defer roll.mu.Unlock()
	all := make([]Driver, 0, len(roll.all))
	for _, w := range roll.all {
		if m := w.Value(); m != nil {
			all = append(all, Driver{m: m})
		}
	}
	slices.SortFunc(all, func(a, b Driver) int { return cmp.Compare(a.m.id, b.m.id) })
	return all
}

// enter adds a cluster, and gives it its ID. When nobody can reach the cluster any
// more, it is taken off the roll, and out of expvar.
func (r *clusterRoll) enter(m *manager) {
	w := weak.Make(m)
	r.mu.Lock()
	m.id = m.name
	for n := 2; ; n++ {
		if other, taken := r.all[m.id]; !taken || other.Value() == nil {
			break
		}
		m.id = fmt.Sprintf("%s#%d", m.name, n)
	}
	r.all[m.id] = w
	r.mu.Unlock()
	id, name := m.id, m.name
	runtime.AddCleanup(m, func(w weak.Pointer[manager]) {
		r.strike(id, w)
		exported.withdraw(name, w)
	}, w)
}

// strike takes a cluster off the roll.
func (r *clusterRoll) strike(id string, w weak.Pointer[manager]) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all[id] == w {
		delete(r.all, id)
	}
}
