package clustersql

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync"
	"time"

	"github.com/EnumApps/clustersql/internal/balance"
	"github.com/EnumApps/clustersql/internal/causal"
	"github.com/EnumApps/clustersql/internal/conffile"
	"github.com/EnumApps/clustersql/internal/draw"
	"github.com/EnumApps/clustersql/internal/health"
)

// A Strategy plans one open: which nodes are asked, in which order, and how
// long the open waits before each. This package has [Race], [Hedged],
// [Balanced] and [Ordered]. [NewStrategy] makes a strategy from a func. The
// zero Strategy plans nothing and is not a valid setting.
//
// The strategies of this package put every usable node into the plan. Nodes
// with a higher [NodeConfig.Priority] come after all nodes with a lower one.
// Suspect nodes come last, whatever their priority, except that Race asks them
// together with the others.
type Strategy struct {
	name string
	// A valid Strategy has exactly one of these two.
	plan   func(members []balance.Member, draw func(n int) int) []balance.Launch
	custom func(nodes []NodeStatus) []Launch

	goal  balance.Goal  // what RebalanceByStrategy stands for
	order balance.Order // how plan ranks the nodes
}

var (
	// Race asks every usable node at once and takes the first connection. An
	// open is as fast as the fastest node. Its cost is one connection on each
	// of the other nodes that is opened and closed again. Nodes with a higher
	// priority number follow when all nodes with a lower one have failed, or
	// after 2 s. Race is the default.
	Race = Strategy{name: "race", plan: noDraw(balance.Race), goal: balance.Refresh}

	// Hedged asks the node with the shortest round trip. It asks the next one
	// only when the first fails or is slower than usual. An open is about as
	// fast as with Race and costs about one connection. Nodes that were never
	// heard of come after those that are up.
	//
	// How long Hedged waits for a node depends on the node's time to open: it
	// is the mean plus four deviations, at least 100 ms and at most 2 s. If
	// that time was never measured, the wait is 250 ms. Before nodes with a
	// higher priority number the wait is 2 s.
	Hedged = Strategy{name: "hedged", plan: noDraw(balance.Hedged), goal: balance.Refresh, order: balance.ByRoundTrip}

	// Balanced spreads connections over the nodes that are about equally fast:
	// those whose round trip exceeds the shortest one by at most 15 ms or a
	// quarter of it. It draws two of these nodes at random; a node with more
	// weight is drawn more often. Of the two it asks the one with less load for
	// its weight. The other nodes follow as with Hedged.
	Balanced = Strategy{name: "balanced", plan: balance.Balanced, goal: balance.Shares, order: balance.ByWindow}

	// Ordered asks the node with the lowest priority number. Among nodes with
	// the same number it asks the first by name. The other nodes follow as with
	// Hedged. So all processes use the same node while that node is well. A
	// node that has come back is asked after the others until it has been up
	// for [Config.FailbackAfter].
	Ordered = Strategy{name: "ordered", plan: noDraw(balance.Ordered), goal: balance.First, order: balance.ByTurn}
)

// noDraw adapts a strategy that draws no random numbers.
func noDraw(plan func([]balance.Member) []balance.Launch) func([]balance.Member, func(int) int) []balance.Launch {
	return func(members []balance.Member, _ func(int) int) []balance.Launch { return plan(members) }
}

// NewStrategy returns a strategy made by the program. [Strategy.String] returns
// the name.
//
// plan gets the status of the usable nodes, sorted by name: those that are
// neither down nor draining. It is not called if there are none. It must be
// pure: it must not wait or change anything, and several goroutines may call it
// at the same time. The plan may leave nodes out. Names that are not in the
// cluster are skipped, and so is a second launch of a node. If some of the
// usable nodes are donors or full, plan is called twice: once for the others,
// and then for those, whose launches follow. If plan panics, the open fails.
func NewStrategy(name string, plan func(nodes []NodeStatus) []Launch) Strategy {
	return Strategy{name: name, custom: plan}
}

// String returns the strategy's name.
func (s Strategy) String() string { return s.name }

// Plan returns the launches for the given nodes, as an open gets them. It is
// for strategies that are built on this one. Balanced draws from a source of the
// process here, and not from the cluster's. The zero Strategy plans nothing.
func (s Strategy) Plan(nodes []NodeStatus) []Launch {
	switch {
	case s.custom != nil:
		return s.custom(nodes)
	case s.plan == nil:
		return nil
	}
	members := make([]balance.Member, len(nodes))
	for i := range nodes {
		members[i] = nodes[i].member()
	}
	steps := s.plan(members, outside.IntN)
	plan := make([]Launch, len(steps))
	for i, step := range steps {
		plan[i] = Launch{Node: nodes[step.At].Name, Wait: step.Wait}
	}
	return plan
}

// valid reports whether the strategy can plan.
func (s Strategy) valid() bool { return s.plan != nil || s.custom != nil }

// same reports whether two strategies are one: of this package, or with the same
// name and func.
func (s Strategy) same(o Strategy) bool {
	return s.name == o.name && s.goal == o.goal && (s.custom == nil) == (o.custom == nil) &&
		reflect.ValueOf(s.custom).Pointer() == reflect.ValueOf(o.custom).Pointer()
}

// sameStrategy compares the only setting that is a struct.
func sameStrategy(a, b any) bool { return a.(Strategy).same(b.(Strategy)) }

// UnmarshalText sets the strategy from its name in config.toml.
func (s *Strategy) UnmarshalText(text []byte) error {
	for _, known := range []Strategy{Race, Hedged, Balanced, Ordered} {
		if known.name == string(text) {
			*s = known
			return nil
		}
	}
	return fmt.Errorf("unknown strategy %s: use \"race\", \"hedged\", \"balanced\" or \"ordered\"", conffile.Quote(string(text)))
}

// A Launch is one entry of a plan.
type Launch struct {
	// Node is the name of the node to ask.
	Node string
	// Wait is the time between the launch before it and this one: the
	// connection attempt delay of RFC 8305. If an earlier launch fails, this
	// one starts at once. If this node's priority number is higher than that of
	// the node before it, it starts early only when all earlier launches have
	// failed.
	Wait time.Duration
}

// goal returns the rebalancing that the configuration asks for.
func (c *Config) goal() balance.Goal {
	switch c.Rebalance {
	case RebalanceByStrategy:
		return c.Strategy.goal
	case RebalanceShares:
		return balance.Shares
	case RebalanceFirst:
		return balance.First
	case RebalanceRefresh:
		return balance.Refresh
	}
	return balance.Stay
}

// outside draws for strategies that are used outside of a cluster. Tests put
// one with a seed of theirs in its place.
var outside = draw.NewSource(rand.Uint64(), "")

// plan asks the strategy for the launches among the usable nodes. The plan is
// empty if no node is usable.
//
// s is the session of the open's call, or nil. Nodes that are not known to have what
// it has seen are asked last, if there are others.
func (m *manager) plan(nodes []*node, s *causal.Session) (plan []launch, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("clustersql: cluster %q: the strategy panicked: %s", m.name, redacted(nodes, fmt.Sprint(r)))
		}
	}()
	r := rosters.Get().(*roster)
	defer r.release()
	now := time.Now()
	r.fill(nodes, now)
	r.rank(s, now)
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

// rank makes the nodes second best that are not known to have what a session has
// seen, if there is one that is. Without a session they are those that other sessions
// have found to be behind. And so are those before which another node has just
// answered a read.
func (r *roster) rank(s *causal.Session, now time.Time) {
	for i, n := range r.nodes {
		r.members[i].Second = r.members[i].Second || n.tally.seen.IsBehind(now) || n.tally.hedges.Load().Avoided(now)
	}
	if s == nil {
		return
	}
	has, some := make([]bool, len(r.nodes)), false
	for i, n := range r.nodes {
		all, seen := n.tally.seen.Has(s, n.generation.Load())
		if !seen {
			return
		}
		has[i], some = all, some || all
	}
	for i := range r.members {
		r.members[i].Second = r.members[i].Second || some && !has[i]
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
