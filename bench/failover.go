package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/EnumApps/clustersql/internal/galera"
)

// A Failover is what the readers of one contestant saw in one fault.
type Failover struct {
	Fault, Contestant string
	OnNode            []int           // connections on the node before the fault, per round
	Failed            []int           // reads that failed, per round
	HeldUp            []int           // reads that took long, per round
	Hedged            []int           // reads that another node answered first while the node was away, per round
	Longest           []time.Duration // of the reads that ran while the node was away, per round
	Gap               []time.Duration // the longest time between two successes, per round
	Return            []time.Duration // from the node's return to the first read on it, per round; below 0: there was none
	Reads             int
	Err               string
	Line              []Bin         // the time line of the first round
	Away, Back        time.Duration // of the first round, since its start
}

// A Bin is one tenth of a second of a time line.
type Bin struct{ OK, Failed int }

const binWidth = 100 * time.Millisecond

// An outage is a fault on a real node, and how it ends.
type outage struct {
	name   string
	begin  func(context.Context, *galera.Node) error
	end    func(context.Context, *galera.Node) error
	silent bool // reads on the node get no answer, and no error
}

var outages = []outage{
	{"kill -9, restart", func(_ context.Context, n *galera.Node) error { return n.Kill() }, startAgain, false},
	{"freeze, resume", func(_ context.Context, n *galera.Node) error { return n.Freeze() }, resume, true},
	{"non-primary, rejoin", func(ctx context.Context, n *galera.Node) error { return n.Isolate(ctx) }, rejoin, false},
	{"shutdown, restart", func(ctx context.Context, n *galera.Node) error { return n.Shutdown(ctx) }, startAgain, false},
}

func startAgain(ctx context.Context, n *galera.Node) error { return n.Start(ctx) }

func resume(ctx context.Context, n *galera.Node) error {
	if err := n.Resume(); err != nil {
		return err
	}
	return n.WaitSynced(ctx)
}

func rejoin(ctx context.Context, n *galera.Node) error {
	if err := n.Rejoin(ctx); err != nil {
		return err
	}
	return n.WaitSynced(ctx)
}

// failovers lets all contestants read at the same time, directly from the
// nodes, and makes real faults on one node.
func (r *rig) failovers(ctx context.Context) (results []*Failover, err error) {
	for _, o := range outages {
		var of []*Failover
		for range r.plan.failoverRounds {
			if of, err = r.faultOfOne(ctx, o, of); err != nil {
				return nil, fmt.Errorf("%s: %w", o.name, err)
			}
		}
		results = append(results, of...)
	}
	return results, nil
}

// errOthers says that the other nodes lost their group because of a fault of
// one node.
var errOthers = errors.New("the other nodes lost their group too")

// errUnhedged says that hedge_reads did nothing while the node in use was silent. If no
// read is such that it may be sent twice, the figures are those of ordered.
var errUnhedged = errors.New("with hedge_reads no read was answered by another node than the silent one")

// faultOfOne runs one round. If Galera lets the fault take the other nodes with
// it, or nothing was hedged, the round says nothing about clients, and is run again.
// The third one fails if nothing was hedged, and else counts in any case.
func (r *rig) faultOfOne(ctx context.Context, o outage, of []*Failover) (more []*Failover, err error) {
	for try := 1; ; try++ {
		r.say("failover, %s", o.name)
		more, err = r.outage(ctx, o, of, try == 3)
		if try == 3 || !errors.Is(err, errOthers) && !errors.Is(err, errUnhedged) {
			return more, err
		}
		r.say("%v: once more", err)
	}
}

// watchers starts the clients. The fault is made on the node that hedged has
// found to be the nearest. For the other clients this node is made the first:
// they use the first node, or can be made to use any.
func (r *rig) watchers() (t *team, err error) {
	r.first = 0
	f := field{conns: r.plan.readers}
	t, err = r.newTeam(f, func(c contestant) bool { return c.name == hedged })
	if err != nil {
		return nil, err
	}
	var ports map[int]int
	if err := t.members[0].client.call.Call("Role.Hold", 1, &ports); err != nil {
		t.end()
		return nil, err
	}
	for port := range ports {
		r.first = r.ports[port]
	}
	others, err := r.newTeam(f, but(plainDo1, plainAgain, hedged))
	if err != nil {
		t.end()
		return nil, err
	}
	t.members = append(t.members, others.members...)
	slices.SortFunc(t.members, func(a, b *member) int { return a.index - b.index })
	return t, nil
}

// outage runs one round of a fault. of is nil before the first round. It is unchanged
// with errOthers and errUnhedged. With anything, outage does not check for errOthers.
func (r *rig) outage(ctx context.Context, o outage, of []*Failover, anything bool) ([]*Failover, error) {
	t, err := r.watchers()
	if err != nil {
		return nil, err
	}
	defer t.end()
	if of == nil {
		for _, m := range t.members {
			of = append(of, &Failover{Fault: o.name, Contestant: m.name})
		}
	}
	node := r.cluster.Nodes[r.first]
	how := Watching{r.plan.readers, r.plan.readEvery, r.portOf(r.first)}
	on, err := t.watch(how)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	pause(ctx, r.plan.well)
	lost := r.othersLost(ctx)
	defer lost()
	before, err := t.hedged(nil)
	if err != nil {
		return nil, err
	}
	away := time.Now()
	if err := o.begin(ctx, node); err != nil {
		return nil, err
	}
	pause(ctx, time.Until(away.Add(r.plan.away)))
	if err := o.end(ctx, node); err != nil {
		return nil, err
	}
	back := time.Now()
	answered, err := t.hedged(before)
	if err != nil {
		return nil, err
	}
	pause(ctx, r.plan.stay)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	others := lost()
	if others && !anything {
		return nil, errors.Join(errOthers, r.cluster.WaitSynced(ctx))
	}
	if o.silent && !others && t.unhedged(answered) {
		return nil, errors.Join(errUnhedged, r.cluster.WaitSynced(ctx))
	}
	err = t.together(func(i int, m *member) error {
		var w Watched
		err := m.client.call.Call("Role.Unwatch", Nothing{}, &w)
		of[i].OnNode, of[i].Hedged = append(of[i].OnNode, on[i]), append(of[i].Hedged, answered[i])
		of[i].judge(w, r.plan, how.Port, began, away, back)
		return err
	})
	if err != nil {
		return nil, err
	}
	return of, r.cluster.WaitSynced(ctx)
}

// unhedged reports whether another node has answered none of the reads of the client with
// hedge_reads.
func (t *team) unhedged(answered []int) bool {
	for i, m := range t.members {
		if m.name == hedgeReads && answered[i] == 0 {
			return true
		}
	}
	return false
}

// hedged returns how many reads of each client another node has answered first since
// before, or with nil since its start.
func (t *team) hedged(before []int) (all []int, err error) {
	all = make([]int, len(t.members))
	err = t.together(func(i int, m *member) error { return m.client.call.Call("Role.Hedged", Nothing{}, &all[i]) })
	for i, n := range before {
		all[i] -= n
	}
	return all, err
}

// watch lets all clients open their connections and then read. It returns how
// many connections of each are on the node.
func (t *team) watch(how Watching) (on []int, err error) {
	on = make([]int, len(t.members))
	err = t.together(func(i int, m *member) error { return m.client.call.Call("Role.Gather", how, &on[i]) })
	if err != nil {
		return nil, err
	}
	return on, t.together(func(_ int, m *member) error { return m.client.call.Call("Role.Watch", how, &Nothing{}) })
}

// othersLost watches the nodes without a fault until lost is called. lost
// reports whether they were no primary component for longer than a change of
// view takes.
func (r *rig) othersLost(ctx context.Context) (lost func() bool) {
	const viewChange, every = 2 * time.Second, 200 * time.Millisecond
	ctx, cancel := context.WithCancel(ctx)
	longest := make(chan time.Duration)
	go func() {
		var most time.Duration
		for since := time.Now(); ctx.Err() == nil; pause(ctx, every) {
			if r.othersArePrimary(ctx) {
				since = time.Now()
			}
			most = max(most, time.Since(since))
		}
		longest <- most
	}()
	return sync.OnceValue(func() bool {
		cancel()
		return <-longest > viewChange
	})
}

func (r *rig) othersArePrimary(ctx context.Context) bool {
	for i, n := range r.cluster.Nodes {
		if i == r.first {
			continue
		}
		if status, err := n.Status(ctx, "wsrep_cluster_status"); err != nil || status != "Primary" {
			return false
		}
	}
	return true
}

func (r *rig) portOf(node int) int {
	for port, i := range r.ports {
		if i == node {
			return port
		}
	}
	return 0
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// judge adds the figures of one round's reads.
func (f *Failover) judge(w Watched, p plan, port int, began, away, back time.Time) {
	slices.SortFunc(w.Reads, func(a, b Read) int { return a.At.Add(a.Took).Compare(b.At.Add(b.Took)) })
	var line []Bin
	failed, heldUp, longest, gap, returned := 0, 0, time.Duration(0), time.Duration(0), time.Duration(-1)
	last := began
	for _, r := range w.Reads {
		end := r.At.Add(r.Took)
		bin := max(0, int(end.Sub(began)/binWidth))
		for len(line) <= bin {
			line = append(line, Bin{})
		}
		if r.At.Before(back) && end.After(away) {
			longest = max(longest, r.Took)
		}
		if r.Took > p.heldUp {
			heldUp++
		}
		if r.Failed {
			failed++
			line[bin].Failed++
			continue
		}
		line[bin].OK++
		gap, last = max(gap, end.Sub(last)), end
		if r.Port == port && r.At.After(back) && returned < 0 {
			returned = end.Sub(back)
		}
	}
	f.Reads += len(w.Reads)
	f.Failed, f.HeldUp = append(f.Failed, failed), append(f.HeldUp, heldUp)
	f.Longest, f.Gap, f.Return = append(f.Longest, longest), append(f.Gap, gap), append(f.Return, returned)
	if f.Err == "" {
		f.Err = w.Err
	}
	if f.Line == nil {
		f.Line, f.Away, f.Back = line, away.Sub(began), back.Sub(began)
	}
}
