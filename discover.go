package clustersql

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"time"

	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/discovery"
	"github.com/EnumApps/clustersql/internal/draw"
	"github.com/EnumApps/clustersql/internal/drivers"
	"github.com/EnumApps/clustersql/internal/health"
	"github.com/EnumApps/clustersql/internal/logline"
	"github.com/EnumApps/clustersql/internal/members"
)

// A finder is the discovery of one cluster. While a connector is open and something
// is to be asked, it is an actor: one goroutine, run, that alone touches the state.
// It asks every source, each in a goroutine of its own, and changes the cluster as
// Apply does.
type finder struct {
	m    *manager
	kick chan struct{} // from anyone: ask soon; has room for one

	// owned by run; each life takes it over from the life before
	state discovery.State
	rand  *rand.Rand
	asker discovery.Asker
	bad   map[string]badNode // by name: what the program's own source gave
	told  map[string]string  // the last error of each source that a line was written about

	// guarded by m.mu
	over chan struct{} // closed when the present life has ended; nil before the first
}

// A badNode is what is known of a DSN of the program's own source: why no node can be
// made of it, or nothing. It is not tried again before the node has another DSN.
type badNode struct{ dsn, why string }

// whyBad returns what is known against a node of the program's own source.
func (f *finder) whyBad(found discovery.Found) string {
	own := found.Own
	if b, ok := f.bad[own.Name]; ok && b.dsn == own.DSN {
		return b.why
	}
	b := badNode{dsn: own.DSN}
	o, err := origin{}, f.m.nameable(own.Name)
	if err == nil {
		o, err = f.m.originOf(own, f.m.cfg())
	}
	if err != nil {
		b.why = f.m.wrong(own.Name, err).Error()
	} else {
		f.m.mu.Lock()
		f.m.giveUp(drivers.NewOwned(o.owned), nil)
		f.m.mu.Unlock()
	}
	if len(f.bad) > 4*discovery.Most {
		clear(f.bad)
	}
	f.bad[own.Name] = b
	return b.why
}

// A foundStatus is what the finder shows. It is never changed.
type foundStatus struct {
	sources []SourceStatus
	unused  []UnusedNode
}

// find starts the actor if it is to run and does not. The caller holds m.mu.
func (m *manager) find() {
	if m.connectors == 0 || m.closed || !m.cfg().discovers() || m.finder.over != nil && !isClosed(m.finder.over) && m.finding == m.ctx {
		return
	}
	m.finding = m.ctx
	before := m.finder.over
	over := make(chan struct{})
	m.finder.over = over
	go func(ctx context.Context) {
		defer close(over)
		if before != nil {
			<-before
		}
		m.finder.run(ctx)
	}(m.ctx)
}

// askAgain has the sources asked soon. It never waits.
func (m *manager) askAgain() {
	select {
	case m.finder.kick <- struct{}{}:
	default:
	}
}

// askedAtMost is how often the sources are asked when nodes fail.
const askedAtMost = time.Second

// run asks until ctx is done, or until there is nothing to ask.
func (f *finder) run(ctx context.Context) {
	if f.rand == nil {
		f.rand = draw.New(f.m.cfg().Seed, "\x00discovery") // no node has that name
		f.told, f.bad = make(map[string]string), make(map[string]badNode)
	}
	var counted time.Time
	for ctx.Err() == nil && f.m.cfg().discovers() {
		every := f.m.cfg().DiscoverEvery
		counts := time.Since(counted) >= every/2
		if counts {
			counted = time.Now()
		}
		f.round(ctx, counts)
		wait := health.Jitter(every, f.rand)
		if len(*f.m.nodes.Load()) == 0 { // opens wait for the first answer
			wait = min(wait, askedAtMost)
		}
		due := time.NewTimer(min(wait, askedAtMost))
		kick := f.kick
		rest := wait - min(wait, askedAtMost)
		select {
		case <-due.C:
		case <-ctx.Done():
		}
		due.Reset(max(rest, time.Millisecond))
		select {
		case <-due.C:
		case <-kick:
		case <-ctx.Done():
		}
		due.Stop()
	}
}

// round asks every source once and carries out what follows.
func (f *finder) round(ctx context.Context, counts bool) {
	m := f.m
	cfg := m.cfg()
	answers := f.asker.Ask(ctx, m.questions(cfg))
	if ctx.Err() != nil {
		return
	}
	networks, _ := discovery.ParseNetworks(cfg.DiscoverNetworks) // validated
	places, _ := discovery.ParseMap(cfg.DiscoverAddresses)
	places.Map(answers)
	r := f.state.Take(answers, discovery.Rules{
		Missing: cfg.DiscoverMissing, Floor: cfg.DiscoverFloor, Networks: networks, Static: discovery.Static(cfg.dialectOf(m.backend), m.configured()), Counts: counts, Bad: f.whyBad,
		Hide: func(text string) string { return redacted(*m.nodes.Load(), text) },
	}, time.Now())
	m.mu.Lock()
	m.found = r.Members
	m.mu.Unlock()
	s := &foundStatus{}
	for _, u := range append(f.apply(r), r.Unused...) {
		s.unused = append(s.unused, UnusedNode{u.Addr, u.Source, u.Why})
	}
	for _, src := range r.Sources {
		s.sources = append(s.sources, SourceStatus{Name: src.Name, Asked: src.Asked, Answered: src.Answered, Addresses: src.Addrs, Err: src.Err})
		if src.Err != "" {
			m.tally.Unheard.Add(1)
		}
		f.tell(src)
	}
	m.shownFound.Store(s)
	m.news.Notify()
}

// What led to an event about discovery.
const (
	causeFound      = "found"
	causeUnanswered = "unanswered"
)

// tell writes a line when what a source says has become another error, or none.
func (f *finder) tell(src discovery.Source) {
	if f.told[src.Name] == src.Err {
		return
	}
	f.told[src.Name] = src.Err
	if src.Err == "" {
		f.m.emit(Event{Kind: EventDiscovery, Reason: fmt.Sprintf("%s answers again", src.Name), Cause: causeFound})
		return
	}
	f.m.emit(Event{Kind: EventDiscovery, Reason: fmt.Sprintf("%s: %s; the last good answer counts", src.Name, src.Err), Cause: causeUnanswered})
}

// apply makes what was found the nodes of the cluster.
func (f *finder) apply(r discovery.Round) []discovery.Unused {
	m := f.m
	m.turn <- struct{}{}
	defer func() { <-m.turn }()
	cfg := m.cfg()
	templates, wanted, unused := m.split(cfg, m.configured())
	wanted = slices.DeleteFunc(wanted, func(w members.Node) bool {
		b, ok := f.bad[w.Name]
		return ok && b.why != "" && b.dsn == w.DSN && w.Origin == string(discovery.Program)
	})
	bad := -1
	for {
		c, err := m.prepare(cfg, templates, wanted, func(i int, err error) error {
			bad = i
			return m.wrong(wanted[i].Name, err)
		})
		switch {
		case err == nil && c.diff.Empty():
			c.cancel()
			return unused
		case err == nil:
			if c.commit() == nil {
				m.tally.Found.Add(uint64(len(c.diff.Changes)))
				m.emit(Event{Kind: EventDiscovery, Reason: c.diff.summary(), Cause: causeFound})
			}
			return unused
		case bad < 0:
			m.log.Print(logline.Unusable, err.Error())
			return unused
		}
		w := &wanted[bad]
		unused = append(unused, discovery.Unused{Addr: w.Name, Source: w.Origin, Why: err.Error()})
		f.bad[w.Name] = badNode{w.DSN, err.Error()}
		wanted, bad = slices.Delete(wanted, bad, bad+1), -1
	}
}

// discovers reports whether anything finds nodes.
func (c *Config) discovers() bool { return c.Discover != DiscoverOff || c.Source != nil }

// validateDiscovery returns a *SettingError for the first setting of discovery that
// cannot work.
func (c *Config) validateDiscovery() error {
	if err := c.Discover.problem(); err != nil {
		return &SettingError{"discover", err.Error()}
	}
	networks, err := discovery.ParseNetworks(c.DiscoverNetworks)
	if err != nil {
		return &SettingError{"discover_networks", err.Error()}
	}
	if _, err := discovery.ParseMap(c.DiscoverAddresses); err != nil {
		return &SettingError{"discover_addresses", err.Error()}
	}
	if c.NameServer != "" {
		if _, err := discovery.ParseServer(c.NameServer); err != nil {
			return &SettingError{"name_server", err.Error()}
		}
	}
	if c.Discover.has(DiscoverMembers) && len(networks) == 0 {
		return &SettingError{"discover", `"members" would send the password to any address that a server names: set discover_networks to the networks of the nodes, as in "10.0.0.0/8"`}
	}
	return nil
}

// resolver returns the resolver that the settings name.
func (c *Config) resolver() *net.Resolver {
	server := ""
	if c.NameServer != "" {
		server, _ = discovery.ParseServer(c.NameServer) // validated
	}
	return discovery.Resolver(server)
}

// sources returns what a cluster asks for its nodes.
func (c *Config) sources() (all discovery.Kinds) {
	for _, kind := range c.Discover.kinds() {
		all = append(all, discovery.Kind(kind))
	}
	if c.Source != nil {
		all = append(all, discovery.Program)
	}
	return all
}

// questions returns what is asked in a round.
func (m *manager) questions(cfg *Config) []discovery.Question {
	m.mu.Lock()
	templates := slices.Clone(m.templates)
	m.mu.Unlock()
	r, d := cfg.resolver(), cfg.dialectOf(m.backend)
	all := cfg.sources().Questions(d, r, templates)
	if cfg.Discover.has(DiscoverMembers) {
		all = append(all, discovery.Question{Name: string(discovery.Members), Ask: func(ctx context.Context) discovery.Answer { return m.askMembers(ctx, cfg, r) }})
	}
	if cfg.Source != nil {
		all = append(all, discovery.Question{Name: string(discovery.Program), Ask: func(ctx context.Context) discovery.Answer { return m.askSource(ctx, cfg, d) }})
	}
	return all
}

var errNobodyToAsk = errors.New("no node is up that could be asked")

// askMembers asks the nodes that are up, one after the other until one answers.
func (m *manager) askMembers(ctx context.Context, cfg *Config, r *net.Resolver) (a discovery.Answer) {
	a.Err = errNobodyToAsk
	for _, n := range *m.nodes.Load() {
		if State(n.effective(n.snapshot.Load())) != StateUp || ctx.Err() != nil {
			continue
		}
		told, unused, err := n.askMembers(ctx, cfg)
		if err != nil {
			a.Err = err
			continue
		}
		configured, template := m.configured(), ""
		if len(configured) > 0 {
			template = configured[0].Name
		}
		places, _ := discovery.ParseMap(cfg.DiscoverAddresses) // validated
		a = discovery.Told(ctx, r, told, places, template)
		for _, u := range unused {
			a.Unused = append(a.Unused, discovery.Unused{Addr: u.Told, Source: string(DiscoverMembers), Why: u.Why})
		}
		a.Named = cfg.sources().Named(ctx, r, cfg.dialectOf(m.backend), configured)
		return a
	}
	return a
}

// askMembers asks one node, on a connection of its own.
func (n *node) askMembers(ctx context.Context, cfg *Config) ([]string, []dialect.Unaddressed, error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.AttemptTimeout)
	defer cancel()
	var r dialed
	n.dial.connect(ctx, &r)
	if r.failed != nil {
		return nil, nil, r.failed.err
	}
	defer n.close(r.conn)
	return n.dial.dialect.Members(ctx, r.conn)
}

// askSource asks the program.
func (m *manager) askSource(ctx context.Context, cfg *Config, d dialect.Dialect) (a discovery.Answer) {
	nodes, err := cfg.Source(ctx)
	a.Err = err
	for i := range nodes {
		own := nodes[i].wanted("")
		addr := own.Name
		if host, ok := d.Host(own.DSN); ok {
			if literal, ok := discovery.Literal(host); ok {
				addr = literal
			}
		}
		a.Found = append(a.Found, discovery.Found{Addr: addr, Priority: own.Priority, Weight: own.Share(), Own: &own})
	}
	return a
}

// split divides what is configured into templates and nodes, and adds what was found
// for the templates. What is not used of it is returned too.
func (m *manager) split(cfg *Config, configured []members.Node) (templates, nodes []members.Node, unused []discovery.Unused) {
	if !cfg.discovers() {
		return nil, configured, nil
	}
	m.mu.Lock()
	found := m.found
	m.mu.Unlock()
	return cfg.sources().Split(cfg.dialectOf(m.backend), configured, found)
}

// configured returns the nodes that are configured, and the templates.
func (m *manager) configured() []members.Node {
	m.mu.Lock()
	all := slices.Clone(m.templates)
	m.mu.Unlock()
	for _, n := range m.describe() {
		if !n.Departing && isConfigured(n.Origin) {
			all = append(all, n.Node)
		}
	}
	return all
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
