package clustersql

import (
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/EnumApps/clustersql/internal/balance"
	"github.com/EnumApps/clustersql/internal/health"
)

// plan asks the strategy for the launches among the usable nodes. The plan is
// empty if no node is usable.
func (m *manager) plan(nodes []*node) (plan []launch, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("clustersql: cluster %q: the strategy panicked: %s", m.name, redacted(nodes, fmt.Sprint(r)))
		}
	}()
	r := rosters.Get().(*roster)
	defer r.release()
	r.fill(nodes, time.Now())
	switch {
	case len(r.nodes) == 0:
		return nil, nil
	case !r.has(lastResort), !r.has(preferred):
		return m.ask(make([]launch, 0, len(r.nodes)), r, 0), nil
	}
	others, rest := r.split()
	return m.ask(m.ask(make([]launch, 0, len(r.nodes)), others, 0), rest, lastResortWait), nil
}

// lastResortWait is how long an open tries the other nodes before it asks the
// nodes of last resort. A failure of one of the others ends the wait early.
const lastResortWait = 250 * time.Millisecond

// A roster holds usable nodes, sorted by name, and what the strategy gets to
// know about each.
type roster struct {
	nodes   []*node
	members []balance.Member
}

// rosters keeps rosters for the next plan. What is known of the nodes of a large
// cluster takes some room, and every open needs it for a moment.
var rosters = sync.Pool{New: func() any { return new(roster) }}

// release gives the roster back. Nobody may use it after that.
func (r *roster) release() {
	clear(r.nodes)
	clear(r.members)
	r.nodes, r.members = r.nodes[:0], r.members[:0]
	rosters.Put(r)
}

// fill adds the usable ones of the nodes. Of two names for one server it adds the
// first.
func (r *roster) fill(nodes []*node, now time.Time) {
	for _, n := range nodes {
		if m := n.member(now); m.State.Usable() && !n.isAlias() {
			r.nodes, r.members = append(r.nodes, n), append(r.members, m)
		}
	}
}

// has reports whether there is a node of a kind.
func (r *roster) has(kind func(m *balance.Member) bool) bool {
	for i := range r.members {
		if kind(&r.members[i]) {
			return true
		}
	}
	return false
}

// split returns the nodes of last resort and the others apart.
func (r *roster) split() (others, rest *roster) {
	others, rest = new(roster), new(roster)
	for i := range r.members {
		part := others
		if lastResort(&r.members[i]) {
			part = rest
		}
		part.nodes, part.members = append(part.nodes, r.nodes[i]), append(part.members, r.members[i])
	}
	return others, rest
}

// lastResort reports whether the node is asked after the others, whatever order
// the strategy gives.
func lastResort(m *balance.Member) bool { return m.Donor || m.Full || m.Second }

// preferred reports whether the node is up and not one of last resort.
func preferred(m *balance.Member) bool { return m.State == health.Up && !lastResort(m) }

// ask appends the launches that the strategy plans for a roster. The first of
// them waits at least the given time.
func (m *manager) ask(plan []launch, r *roster, wait time.Duration) []launch {
	if m.cfg().Strategy.custom != nil {
		return m.askCustom(plan, r, wait)
	}
	for i, l := range m.cfg().Strategy.plan(r.members, m.draw) {
		if i == 0 {
			l.Wait = max(l.Wait, wait)
		}
		plan = appendLaunch(plan, r.nodes[l.At], l.Wait)
	}
	return plan
}

// askCustom is ask for a strategy made by the program.
func (m *manager) askCustom(plan []launch, r *roster, wait time.Duration) []launch {
	shown := make([]NodeStatus, len(r.nodes))
	now := time.Now()
	for i, n := range r.nodes {
		shown[i] = n.shown(now)
	}
	asked := make(map[string]bool, len(r.nodes))
	for _, l := range m.cfg().Strategy.custom(shown) {
		i, known := findNode(r.nodes, l.Node)
		if !known || asked[l.Node] {
			continue
		}
		if len(asked) == 0 {
			l.Wait = max(l.Wait, wait)
		}
		asked[l.Node] = true
		plan = appendLaunch(plan, r.nodes[i], l.Wait)
	}
	return plan
}

func appendLaunch(plan []launch, n *node, wait time.Duration) []launch {
	reserve := len(plan) > 0 && n.settings.Load().Priority > plan[len(plan)-1].node.settings.Load().Priority
	return append(plan, launch{n, wait, reserve})
}

// A launch is a [Launch] of a node that exists.
type launch struct {
	node *node
	wait time.Duration
	// reserve means that failures start this launch early only when all
	// launches before it have failed.
	reserve bool
}

// A cluster draws random numbers for two kinds of users. Each node's loop has a
// source of its own, which nobody else touches. Callers' goroutines share one
// source per cluster. All sources are made from [Config.Seed], so a test that
// sets the seed gets the same numbers again.

// newRand returns the source that belongs to a name under a seed. The sources
// of two names are independent of each other.
func newRand(seed uint64, name string) *rand.Rand {
	h := fnv.New64a()
	io.WriteString(h, name)
	return rand.New(rand.NewPCG(seed, h.Sum64()))
}

// A lockedRand is a source of random numbers for many goroutines.
type lockedRand struct {
	mu   sync.Mutex // guards what follows; never held across a wait
	rand *rand.Rand
}

// IntN returns a random number from 0 to n-1.
func (l *lockedRand) IntN(n int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rand.IntN(n)
}

// Float64 returns a random number from 0 to 1, without 1.
func (l *lockedRand) Float64() float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rand.Float64()
}

// outside draws for strategies that are used outside of a cluster. Tests put
// one with a seed of theirs in its place.
var outside = &lockedRand{rand: newRand(rand.Uint64(), "")}
