package discovery

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/draw"
	"github.com/EnumApps/clustersql/internal/health"
	"github.com/EnumApps/clustersql/internal/members"
)

// Settings are those of a cluster, as far as a Finder needs them.
type Settings struct {
	Kinds     Kinds // none if nothing finds nodes
	Dialect   dialect.Dialect
	Resolver  *net.Resolver
	Every     time.Duration
	Missing   int
	Floor     int
	Networks  []netip.Prefix
	Addresses Map
	Source    func(ctx context.Context) ([]members.Node, error) // the program's own, if it is among the kinds
	Seed      uint64
}

// A Cluster is what a Finder needs of its cluster. Ask, Configured and the Source of the
// settings are called from the goroutine of a question too.
type Cluster struct {
	Settings   func() Settings                          // as they are now
	Configured func() (templates, nodes []members.Node) // nothing that was found is among them
	Empty      func() bool                              // the cluster has no node
	Usable     func(n *members.Node) error              // says why no node can be made of it
	Hide       func(text string) string                 // takes secrets out of the text of an error

	// Ask asks a node that is up who the members of its group are.
	Ask func(ctx context.Context) (told []string, unused []dialect.Unaddressed, err error)

	Turn chan struct{} // has room for one: whoever changes the members as a whole
	// Become gives the cluster its templates and nodes. bad is the index of a node that
	// nothing can be made of, and err says why; it is below 0 if there is none. The
	// finder has the turn.
	Become func(templates, nodes []members.Node) (bad int, err error)

	// Heard is called after each round with all sources, and with those whose error has
	// become another one, or none.
	Heard func(all, changed []Source)
}

// A Finder is the discovery of one cluster. Between Start and the end of its context it
// is an actor, as long as something finds nodes: one goroutine, run, that alone touches
// the state. It asks every source, each in a goroutine of its own, and has the cluster
// become what follows.
type Finder struct {
	c    Cluster       // immutable
	kick chan struct{} // from anyone: ask soon; has room for one

	// owned by run; each life takes it over from the life before
	state State
	rand  *rand.Rand
	asker Asker
	bad   map[string]badNode // by name: what the program's own source gave
	told  map[string]string  // the last error of each source that Heard was told of

	// shared; what these point to is never changed, only replaced
	found atomic.Pointer[[]Found]
	shown atomic.Pointer[Shown]

	// guarded by whoever calls Start and Ended
	ctx  context.Context // of the present life
	over chan struct{}   // closed when the present life has ended; nil before the first
}

// A badNode is what is known of a DSN of the program's own source: why no node can be
// made of it, or nothing. It is not tried again before the node has another DSN.
type badNode struct{ dsn, why string }

// Shown is what the last round has come to.
type Shown struct {
	Sources []Source
	Unused  []Unused
}

// NewFinder returns the Finder of a cluster.
func NewFinder(c Cluster) *Finder { return &Finder{c: c, kick: make(chan struct{}, 1)} }

// Start starts the actor unless it runs for that context. It never waits. Start and
// Ended must not be called by two goroutines at a time.
func (f *Finder) Start(ctx context.Context) {
	before := f.over
	if before != nil && f.ctx == ctx {
		select {
		case <-before:
		default:
			return
		}
	}
	over := make(chan struct{})
	f.ctx, f.over = ctx, over
	go func() {
		defer close(over)
		if before != nil {
			<-before
		}
		f.run(ctx)
	}()
}

// Ended returns a channel that is closed when the present life has ended. It is nil
// before the first one.
func (f *Finder) Ended() <-chan struct{} { return f.over }

// AskSoon has the sources asked soon. It never waits.
func (f *Finder) AskSoon() {
	select {
	case f.kick <- struct{}{}:
	default:
	}
}

// Found returns what was found and the guard rails let in. It must not be changed.
func (f *Finder) Found() []Found {
	if found := f.found.Load(); found != nil {
		return *found
	}
	return nil
}

// Shown returns what the last round has come to, or nil before the first. It must not be
// changed.
func (f *Finder) Shown() *Shown { return f.shown.Load() }

// Err returns why a cluster has no node though something finds nodes for it.
func (f *Finder) Err() error {
	s := f.shown.Load()
	if s == nil {
		return errors.New("discovery has no answer yet")
	}
	for _, src := range s.Sources {
		if src.Err != "" {
			return fmt.Errorf("discovery: %s: %s", src.Name, src.Err)
		}
	}
	if len(s.Unused) > 0 {
		return fmt.Errorf("discovery: %s is not used: %s", s.Unused[0].Addr, s.Unused[0].Why)
	}
	return errors.New("discovery has found no node")
}

// askedAtMost is how often the sources are asked when nodes fail.
const askedAtMost = time.Second

// run asks until ctx is done, or until there is nothing to ask.
func (f *Finder) run(ctx context.Context) {
	var counted time.Time
	for ctx.Err() == nil {
		s := f.c.Settings()
		if len(s.Kinds) == 0 {
			return
		}
		if f.rand == nil {
			f.rand = draw.New(s.Seed, "\x00discovery") // no node has that name
			f.told, f.bad = make(map[string]string), make(map[string]badNode)
		}
		counts := time.Since(counted) >= s.Every/2
		if counts {
			counted = time.Now()
		}
		f.round(ctx, &s, counts)
		wait := health.Jitter(s.Every, f.rand)
		if f.c.Empty() { // opens wait for the first answer
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
func (f *Finder) round(ctx context.Context, s *Settings, counts bool) {
	answers := f.asker.Ask(ctx, f.questions(s))
	if ctx.Err() != nil {
		return
	}
	s.Addresses.Map(answers)
	r := f.state.Take(answers, Rules{
		Counts: counts, Missing: s.Missing, Floor: s.Floor, Networks: s.Networks, Static: Static(s.Dialect, f.configured()), Bad: f.whyBad, Hide: f.c.Hide,
	}, time.Now())
	f.found.Store(&r.Members)
	f.shown.Store(&Shown{Sources: r.Sources, Unused: append(f.apply(), r.Unused...)})
	var changed []Source
	for _, src := range r.Sources {
		if f.told[src.Name] != src.Err {
			f.told[src.Name] = src.Err
			changed = append(changed, src)
		}
	}
	f.c.Heard(r.Sources, changed)
}

// apply makes what was found the nodes of the cluster.
func (f *Finder) apply() []Unused {
	f.c.Turn <- struct{}{}
	defer func() { <-f.c.Turn }()
	s := f.c.Settings()
	templates, wanted, unused := f.Split(s.Kinds, s.Dialect, f.configured())
	wanted = slices.DeleteFunc(wanted, func(w members.Node) bool {
		b, ok := f.bad[w.Name]
		return ok && b.why != "" && b.dsn == w.DSN && w.Origin == string(Program)
	})
	for {
		bad, err := f.c.Become(templates, wanted)
		if bad < 0 {
			return unused
		}
		w := &wanted[bad]
		unused = append(unused, Unused{Addr: w.Name, Source: w.Origin, Why: err.Error()})
		f.bad[w.Name] = badNode{w.DSN, err.Error()}
		wanted = slices.Delete(wanted, bad, bad+1)
	}
}

// Split is Kinds.Split with what was found. With no kinds all that is configured are
// nodes.
func (f *Finder) Split(kinds Kinds, d dialect.Dialect, configured []members.Node) (templates, nodes []members.Node, unused []Unused) {
	if len(kinds) == 0 {
		return nil, configured, nil
	}
	return kinds.Split(d, configured, f.Found())
}

// whyBad returns what is known against a node of the program's own source.
func (f *Finder) whyBad(found Found) string {
	own := found.Own
	if b, ok := f.bad[own.Name]; ok && b.dsn == own.DSN {
		return b.why
	}
	b := badNode{dsn: own.DSN}
	if err := f.c.Usable(own); err != nil {
		b.why = err.Error()
	}
	if len(f.bad) > 4*Most {
		clear(f.bad)
	}
	f.bad[own.Name] = b
	return b.why
}

// configured returns the templates and the nodes that are configured.
func (f *Finder) configured() []members.Node {
	templates, nodes := f.c.Configured()
	return slices.Concat(templates, nodes)
}

// questions returns what is asked in a round.
func (f *Finder) questions(s *Settings) []Question {
	templates, _ := f.c.Configured()
	all := s.Kinds.Questions(s.Dialect, s.Resolver, templates)
	if s.Kinds.Has(Members) {
		all = append(all, Question{string(Members), func(ctx context.Context) Answer { return f.askMembers(ctx, s) }})
	}
	if s.Kinds.Has(Program) {
		all = append(all, Question{string(Program), func(ctx context.Context) Answer { return s.askProgram(ctx) }})
	}
	return all
}

// askMembers asks a node, and looks up what it tells.
func (f *Finder) askMembers(ctx context.Context, s *Settings) (a Answer) {
	told, unused, err := f.c.Ask(ctx)
	if err != nil {
		return Answer{Err: err}
	}
	configured, template := f.configured(), ""
	if len(configured) > 0 {
		template = configured[0].Name
	}
	a = Told(ctx, s.Resolver, told, s.Addresses, template)
	for _, u := range unused {
		a.Unused = append(a.Unused, Unused{Addr: u.Told, Source: string(Members), Why: u.Why})
	}
	a.Named = s.Kinds.Named(ctx, s.Resolver, s.Dialect, configured)
	return a
}

// askProgram asks the program's own source.
func (s *Settings) askProgram(ctx context.Context) (a Answer) {
	nodes, err := s.Source(ctx)
	a.Err = err
	for i := range nodes {
		own := &nodes[i]
		addr := own.Name
		if host, ok := s.Dialect.Host(own.DSN); ok {
			if literal, ok := Literal(host); ok {
				addr = literal
			}
		}
		a.Found = append(a.Found, Found{Addr: addr, Priority: own.Priority, Weight: own.Share(), Own: own})
	}
	return a
}
