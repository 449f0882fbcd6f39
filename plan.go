package clustersql

import (
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
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
	now := time.Now()
	usable := make([]candidate, 0, len(nodes))
	for _, n := range nodes {
		if c := (candidate{n, n.member(now)}); c.State.Usable() {
			usable = append(usable, c)
		}
	}
	if len(usable) == 0 {
		return nil, nil
	}
	last := slices.IndexFunc(usable, candidate.lastResort)
	if last < 0 || !slices.ContainsFunc(usable, candidate.preferred) {
		return m.ask(nil, usable, 0), nil
	}
	var others, rest []candidate
	for _, c := range usable {
		if c.lastResort() {
			rest = append(rest, c)
		} else {
			others = append(others, c)
		}
	}
	return m.ask(m.ask(nil, others, 0), rest, lastResortWait), nil
}

// lastResortWait is how long an open tries the other nodes before it asks the
// nodes of last resort. A failure of one of the others ends the wait early.
const lastResortWait = 250 * time.Millisecond

// A candidate is a usable node and what the strategy gets to know about it.
type candidate struct {
	node *node
	balance.Member
}

// lastResort reports whether the node is asked after the others, whatever order
// the strategy gives.
func (c candidate) lastResort() bool { return c.Donor || c.Full }

// preferred reports whether the node is up and not one of last resort.
func (c candidate) preferred() bool { return c.State == health.Up && !c.lastResort() }

// ask appends the launches that the strategy plans for the candidates. The
// first of them waits at least the given time.
func (m *manager) ask(plan []launch, candidates []candidate, wait time.Duration) []launch {
	s := m.cfg.Strategy
	first := true
	add := func(n *node, w time.Duration) {
		if first {
			w, first = max(w, wait), false
		}
		reserve := len(plan) > 0 && n.settings.Priority > plan[len(plan)-1].node.settings.Priority
		plan = append(plan, launch{n, w, reserve})
	}
	if s.custom == nil {
		members := make([]balance.Member, len(candidates))
		for i := range candidates {
			members[i] = candidates[i].Member
		}
		for _, l := range s.plan(members, m.draw) {
			add(candidates[l.At].node, l.Wait)
		}
		return plan
	}
	shown := make([]NodeStatus, len(candidates))
	for i := range candidates {
		shown[i] = candidates[i].node.status()
	}
	asked := make(map[string]bool, len(candidates))
	for _, l := range s.custom(shown) {
		i, known := slices.BinarySearchFunc(candidates, l.Node, func(c candidate, name string) int { return strings.Compare(c.Name, name) })
		if known && !asked[l.Node] {
			asked[l.Node] = true
			add(candidates[i].node, l.Wait)
		}
	}
	return plan
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

// Int64N returns a random number from 0 to n-1.
func (l *lockedRand) Int64N(n int64) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rand.Int64N(n)
}

// draw returns a random number from 0 to n-1 for an open. The strategies of
// this package draw with it.
func (m *manager) draw(n int) int { return m.draws.IntN(n) }

// outside draws for strategies that are used outside of a cluster. Tests put
// one with a seed of theirs in its place.
var outside = &lockedRand{rand: newRand(rand.Uint64(), "")}
