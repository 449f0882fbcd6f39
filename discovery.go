package clustersql

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/EnumApps/clustersql/internal/discovery"
	"github.com/EnumApps/clustersql/internal/draw"
	"github.com/EnumApps/clustersql/internal/drivers"
	"github.com/EnumApps/clustersql/internal/health"
	"github.com/EnumApps/clustersql/internal/logline"
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
	busy  map[string]chan discovery.Answer // of sources that have not returned
	bad   map[string]badNode               // by name: what the program's own source gave
	told  map[string]string                // the last error of each source that a line was written about

	// guarded by m.mu
	over chan struct{} // closed when the present life has ended; nil before the first
}

// A badNode is what is known of a DSN of the program's own source: why no node can be
// made of it, or nothing. It is not tried again before the node has another DSN.
type badNode struct{ dsn, why string }

// whyBad returns what is known against a node of the program's own source.
func (f *finder) whyBad(found discovery.Found) string {
	own := found.Own.(*Node)
	if b, ok := f.bad[own.Name]; ok && b.dsn == own.DSN {
		return b.why
	}
	b := badNode{dsn: own.DSN}
	o, err := origin{}, f.m.nameable(own.Name)
	if err == nil {
		o, err = f.m.originOf(&wantedNode{Node: *own}, f.m.cfg())
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
		f.busy, f.told = make(map[string]chan discovery.Answer), make(map[string]string)
		f.bad = make(map[string]badNode)
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
	answers := f.ask(ctx, m.questions(cfg))
	if ctx.Err() != nil {
		return
	}
	networks, _ := discovery.ParseNetworks(cfg.DiscoverNetworks) // validated
	places, _ := discovery.ParseMap(cfg.DiscoverAddresses)
	for i := range answers {
		if answers[i].Source == string(DiscoverMembers) {
			continue // these led through the map before they were looked up
		}
		for j := range answers[i].Found {
			if found := &answers[i].Found[j]; found.Own == nil {
				if to, literal := discovery.Literal(places.Of(found.Addr)); literal {
					found.Addr = to
				}
			}
		}
	}
	r := f.state.Take(answers, discovery.Rules{
		Missing: cfg.DiscoverMissing, Floor: cfg.DiscoverFloor, Networks: networks, Static: m.staticAt(cfg), Counts: counts, Bad: f.whyBad,
		Hide: func(text string) string { return redacted(*m.nodes.Load(), text) },
	}, time.Now())
	m.mu.Lock()
	m.found = r.Members
	m.mu.Unlock()
	unused := f.apply(r)
	s := &foundStatus{unused: unused}
	for _, u := range r.Unused {
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

// ask puts the questions, all at once. A source that does not return in time is left
// to itself, and not asked again before it has returned.
func (f *finder) ask(ctx context.Context, questions []sourceQuestion) []discovery.Answer {
	limit, cancel := context.WithTimeout(ctx, discovery.LookupTimeout)
	defer cancel()
	for _, q := range questions {
		if f.busy[q.name] != nil {
			continue
		}
		answer := make(chan discovery.Answer, 1)
		f.busy[q.name] = answer
		go func() {
			a := discovery.Answer{Err: errors.New("the source ended its goroutine")}
			defer func() {
				if r := recover(); r != nil {
					a = discovery.Answer{Err: fmt.Errorf("the source panicked: %v", r)}
				}
				answer <- a
			}()
			a = q.ask(limit)
		}()
	}
	late := fmt.Errorf("no answer within %s", discovery.LookupTimeout)
	answers := make([]discovery.Answer, 0, len(questions))
	for _, q := range questions {
		a := discovery.Answer{Err: late}
		select {
		case a = <-f.busy[q.name]:
			delete(f.busy, q.name)
		case <-limit.Done():
			select {
			case a = <-f.busy[q.name]:
				delete(f.busy, q.name)
			default:
			}
		}
		if errors.Is(a.Err, context.DeadlineExceeded) {
			a = discovery.Answer{Err: late}
		}
		a.Source = q.name
		answers = append(answers, a)
	}
	return answers
}

// apply makes what was found the nodes of the cluster.
func (f *finder) apply(r discovery.Round) []UnusedNode {
	m := f.m
	m.turn <- struct{}{}
	defer func() { <-m.turn }()
	cfg := m.cfg()
	templates, wanted, unused := m.split(cfg, m.configured())
	wanted = slices.DeleteFunc(wanted, func(w wantedNode) bool {
		b, ok := f.bad[w.Name]
		return ok && b.why != "" && b.dsn == w.DSN && w.origin == sourceName
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
				m.emit(Event{Kind: EventDiscovery, Reason: summary(c.diff), Cause: causeFound})
			}
			return unused
		case bad < 0:
			m.log.Print(logline.Unusable, err.Error())
			return unused
		}
		w := &wanted[bad]
		unused = append(unused, UnusedNode{w.Name, w.origin, err.Error()})
		f.bad[w.Name] = badNode{w.DSN, err.Error()}
		wanted, bad = slices.Delete(wanted, bad, bad+1), -1
	}
}

// summary says in a line what changes.
func summary(d Diff) string {
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

// staticAt returns a func that finds the configured node with an address.
func (m *manager) staticAt(cfg *Config) func(addr string) (string, bool) {
	d := cfg.dialectOf(m.backend)
	at := make(map[string]string)
	for _, w := range m.configured() {
		if host, ok := d.Host(w.DSN); ok {
			if literal, ok := discovery.Literal(host); ok {
				at[literal] = w.Name
			}
		}
	}
	return func(addr string) (string, bool) {
		name, ok := at[addr]
		return name, ok
	}
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

// emit logs an event about the cluster, and calls the hook after the events of the
// cluster before it. It waits for neither.
func (m *manager) emit(e Event) {
	log := m.log
	log.Lines = &m.lines
	line, values := e.line()
	log.Print(line, values...)
	m.tell(e)
}

// tell is emit without a line in the log.
func (m *manager) tell(e Event) {
	e.Time, e.Cluster = time.Now(), m.name
	(&tally{cluster: &m.tally}).note(&e)
	log := m.log
	log.Lines = &m.lines
	if m.cfg().OnEvent == nil {
		return
	}
	m.hook.Put(func(dropped int) {
		defer func() {
			if r := recover(); r != nil {
				log.Print(logline.HookPanic, e.Kind.String(), redacted(*m.nodes.Load(), fmt.Sprint(r)))
			}
		}()
		e.Dropped = dropped
		m.cfg().OnEvent(e)
	})
}
