package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/EnumApps/clustersql/internal/galera"
)

// A SteadyOpens is the opens of a contestant while nothing changes.
type SteadyOpens struct {
	Contestant      string
	Rejecting       bool // one node answers with 1047; else all are healthy
	Delay           time.Duration
	Took            []time.Duration
	P50             []float64 // of each block, in ms
	Opens           int
	Failed, Useless int
	ServerConns     float64 // made at the servers in the meantime, without those of HAProxy's checks
}

// A FaultOpens is the opens of a contestant before and during a fault on one
// node.
type FaultOpens struct {
	Fault, Contestant   string
	Before, First, Late Window // before the fault; just after it begins; later
	All                 Window // all opens from the fault on
	Slow                []int  // opens of the first part that took longer than the hedge delay, per round
}

// A Window is the opens within some time.
type Window struct {
	Took                   []time.Duration
	Failed, Useless, Opens int
	Err                    string
}

func (w *Window) add(o Open) {
	w.Opens++
	w.Took = append(w.Took, o.Took)
	switch {
	case o.Failed:
		w.Failed++
	case o.Useless:
		w.Useless++
	}
	if o.Err != "" && w.Err == "" {
		w.Err = o.Err
	}
}

// callerTimeout is the deadline of every open, as an application that waits
// would have one.
const callerTimeout = 5 * time.Second

// settle is the time in which the servers get to know of an open's connections,
// before they are asked how many they had.
const settle = 30 * time.Millisecond

// rejectingOpens is steadyOpens with one node that refuses all work.
func (r *rig) rejectingOpens(ctx context.Context, t *team) ([]*SteadyOpens, error) {
	r.say("opens, one node answers 1047 all the time")
	heal, err := rejecting(ctx, r.cluster.Nodes[0])
	if err != nil {
		return nil, err
	}
	results, err := r.steadyOpens(ctx, t, 0)
	for _, s := range results {
		s.Rejecting = true
	}
	return results, errors.Join(err, heal())
}

// steadyOpens measures opens in blocks, one contestant after the other, each
// alone.
func (r *rig) steadyOpens(ctx context.Context, t *team, delay time.Duration) ([]*SteadyOpens, error) {
	r.say("opens, network delay %v", delay)
	results := make([]*SteadyOpens, len(t.members))
	for i, m := range t.members {
		results[i] = &SteadyOpens{Contestant: m.name, Delay: delay}
		if err := r.setFault(Fault{Delay: delay}, m.relays...); err != nil {
			return nil, err
		}
	}
	checks, err := r.checkRate(ctx)
	if err != nil {
		return nil, err
	}
	for block := range r.plan.blocks + 1 {
		for _, i := range rand.Perm(len(t.members)) {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			into := results[i]
			if block == 0 { // the first block is the warm-up
				into = &SteadyOpens{}
			}
			if err := r.steadyBlock(ctx, t.members[i], checks, into); err != nil {
				return nil, err
			}
		}
	}
	return results, nil
}

// checkRate returns how many connections per second the servers get while
// nobody opens any. These are HAProxy's checks.
func (r *rig) checkRate(ctx context.Context) (float64, error) {
	before, err := r.connections(ctx)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	pause(ctx, r.plan.before)
	after, err := r.connections(ctx)
	return float64(after-before) / time.Since(began).Seconds(), err
}

// steadyBlock runs one block of a contestant. checks is how many connections
// per second are not its own.
func (r *rig) steadyBlock(ctx context.Context, m *member, checks float64, into *SteadyOpens) error {
	began := time.Now()
	before, err := r.connections(ctx)
	if err != nil {
		return err
	}
	var opens []Open
	if err := m.client.call.Call("Role.Open", Opening{N: r.plan.blockOpens, Timeout: callerTimeout}, &opens); err != nil {
		return err
	}
	time.Sleep(settle)
	after, err := r.connections(ctx)
	if err != nil {
		return err
	}
	into.ServerConns += float64(after-before) - checks*time.Since(began).Seconds()
	var took []time.Duration
	for _, o := range opens {
		into.Opens++
		took = append(took, o.Took)
		if o.Failed {
			into.Failed++
		}
		if o.Useless {
			into.Useless++
		}
	}
	into.Took = append(into.Took, took...)
	slices.Sort(took)
	into.P50 = append(into.P50, ms(quantile(took, 0.5)))
	return nil
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// A nodeFault is a fault during which opens are measured.
type nodeFault struct {
	name  string
	relay *Fault // for the node that each contestant uses most; else:
	make  func(context.Context, *galera.Node) (heal func() error, err error)
}

var nodeFaults = []nodeFault{
	{name: "slow by 200 ms", relay: &Fault{Delay: 200 * time.Millisecond}},
	{name: "silent", relay: &Fault{Silent: true}},
	{name: "refusing", relay: &Fault{Refuse: true}},
	{name: "answers 1047", make: rejecting},
	{name: "full", make: full},
}

func rejecting(ctx context.Context, n *galera.Node) (func() error, error) {
	return func() error { return n.RejectQueries(context.WithoutCancel(ctx), "NONE") }, n.RejectQueries(ctx, "ALL")
}

// full fills a node up to the lowest limit of connections that a server
// accepts.
func full(ctx context.Context, n *galera.Node) (func() error, error) {
	const limit = 10
	c, err := peer(n.Addr())
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(c)
	heal := func() error {
		db.Close()
		return n.MaxConnections(context.WithoutCancel(ctx), 0)
	}
	for range limit {
		if _, err := db.Conn(ctx); err != nil {
			return heal, err
		}
	}
	return heal, n.MaxConnections(ctx, limit)
}

// faultOpens measures opens around each fault. All contestants open at the same
// time, each at its own steady pace.
func (r *rig) faultOpens(ctx context.Context, t *team) ([]*FaultOpens, error) {
	for _, m := range t.members {
		if err := r.setFault(Fault{}, m.relays...); err != nil {
			return nil, err
		}
	}
	var results []*FaultOpens
	for _, f := range nodeFaults {
		r.say("opens, one node %s", f.name)
		of := make([]*FaultOpens, len(t.members))
		for i, m := range t.members {
			of[i] = &FaultOpens{Fault: f.name, Contestant: m.name}
		}
		for range r.plan.faultRounds {
			if err := r.faultRound(ctx, t, f, of); err != nil {
				return nil, fmt.Errorf("one node %s: %w", f.name, err)
			}
		}
		results = append(results, of...)
	}
	return results, nil
}

func (r *rig) faultRound(ctx context.Context, t *team, f nodeFault, of []*FaultOpens) (err error) {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	used := make([]int, len(t.members))
	err = t.together(func(i int, _ *member) error {
		opens, err := t.paced(i, r.plan.before)
		for _, o := range opens {
			of[i].Before.add(o)
		}
		used[i] = r.mostUsed(opens)
		return err
	})
	if err != nil {
		return err
	}
	heal, err := r.makeFault(ctx, t, f, used)
	if err == nil {
		err = t.together(func(i int, _ *member) error {
			opens, err := t.paced(i, r.plan.window)
			of[i].addWindow(opens, r.plan)
			return err
		})
	}
	if healErr := heal(); err == nil {
		err = healErr
	}
	time.Sleep(r.plan.heal)
	return err
}

// makeFault makes the fault. heal, which ends it, is never nil.
func (r *rig) makeFault(ctx context.Context, t *team, f nodeFault, used []int) (heal func() error, err error) {
	if f.make != nil {
		heal, err = f.make(ctx, r.cluster.Nodes[0])
		if heal == nil {
			heal = func() error { return nil }
		}
		return heal, err
	}
	var hit []string
	for i, m := range t.members {
		if m.name != plainAgain { // this one shows what changes without the fault
			hit = append(hit, m.host(used[i])...)
		}
	}
	return func() error { return r.setFault(Fault{}, hit...) }, r.setFault(*f.relay, hit...)
}

// paced lets a member open at the plan's pace. Each member begins at another
// moment.
func (t *team) paced(i int, d time.Duration) ([]Open, error) {
	every := t.rig.plan.every
	time.Sleep(every * time.Duration(i) / time.Duration(len(t.members)))
	return t.members[i].paced(d, every)
}

func (m *member) paced(d, every time.Duration) (opens []Open, err error) {
	err = m.client.call.Call("Role.Open", Opening{For: d, Every: every, Timeout: callerTimeout}, &opens)
	return opens, err
}

// mostUsed returns the node with the most connections.
func (r *rig) mostUsed(opens []Open) int {
	counts := make([]int, len(r.cluster.Nodes))
	for _, o := range opens {
		if i, ok := r.ports[o.Port]; ok {
			counts[i]++
		}
	}
	return slices.Index(counts, slices.Max(counts))
}

// hedgeDelay is the shortest time that a strategy of clustersql waits before it
// asks the next node.
const hedgeDelay = 100 * time.Millisecond

func (f *FaultOpens) addWindow(opens []Open, p plan) {
	slow := 0
	for _, o := range opens {
		f.All.add(o)
		switch {
		case o.At < p.first:
			f.First.add(o)
			if o.Took >= hedgeDelay {
				slow++
			}
		case o.At >= p.after:
			f.Late.add(o)
		}
	}
	f.Slow = append(f.Slow, slow)
}
