package clustersql

import (
	"fmt"
	"time"

	"github.com/EnumApps/clustersql/internal/balance"
)

// A Strategy plans one open: which nodes are asked, in which order, and how
// long to wait before each. It has a name. [Race], [Hedged], [Balanced] and
// [Ordered] are those of this package; [NewStrategy] makes one of a func. The
// zero Strategy plans nothing and is no valid setting.
//
// The strategies here put every node into the plan. A node of a higher
// [NodeConfig.Priority] comes after all those of a lower one. Suspect nodes
// come last, whatever their priority; Race alone asks them with the others.
type Strategy struct {
	name string
	// Exactly one of the two is set in a valid Strategy.
	plan func(members []balance.Member, draw func(n int) int) []balance.Launch
	own  func(nodes []NodeStatus) []Launch

	goal balance.Goal // of RebalanceByStrategy
}

var (
	// Race asks every usable node at once and takes the first connection. An
	// open is as fast as the fastest node, and costs a connection opened and
	// closed again on each of the others. Nodes of a higher priority number
	// follow when all of a lower one have failed, or after 2 s. It is the
	// default.
	Race = Strategy{name: "race", plan: undrawn(balance.Race), goal: balance.Refresh}

	// Hedged asks the node with the shortest round trip. It asks the next one
	// only when the first fails or is slower than usual. An open is about as
	// fast as Race's and costs about one connection. Nodes not yet heard of
	// come after those that are up.
	//
	// The wait for a node is the mean of its time to open plus four deviations,
	// at least 100 ms and at most 2 s, and 250 ms where it was never measured.
	// Before nodes of a higher priority number it is 2 s.
	Hedged = Strategy{name: "hedged", plan: undrawn(balance.Hedged), goal: balance.Refresh}

	// Balanced spreads connections over the nodes that are about equally fast:
	// those whose round trip exceeds the shortest by no more than 15 ms or a
	// quarter. It draws two of them at random, heavier ones more often, and
	// asks the one with the smaller load for its weight. The others follow as
	// with Hedged.
	Balanced = Strategy{name: "balanced", plan: balance.Balanced, goal: balance.Shares}

	// Ordered asks the node of the lowest priority number, among equals the
	// first by name. The others follow as with Hedged. So every process uses
	// the same node while that is well. A node that has come back is asked
	// after the others until it has been up for [Config.FailbackAfter].
	Ordered = Strategy{name: "ordered", plan: undrawn(balance.Ordered), goal: balance.First}
)

// undrawn is for a strategy that draws nothing.
func undrawn(plan func([]balance.Member) []balance.Launch) func([]balance.Member, func(int) int) []balance.Launch {
	return func(members []balance.Member, _ func(int) int) []balance.Launch { return plan(members) }
}

// NewStrategy returns a strategy of the program's own. The name is what
// [Strategy.String] gives.
//
// plan gets the status of the usable nodes, sorted by name: those that are
// neither down nor draining. It is not called where there is none. It must be
// pure: it waits for nothing, changes nothing, and may be called by several
// goroutines at once. A plan may leave nodes out. Names that the cluster does
// not have, and the second launch of a node, are passed over. Where some nodes
// are donors or full, plan is called twice: the launches of those follow the
// launches of the others. A panic in plan fails the open.
func NewStrategy(name string, plan func(nodes []NodeStatus) []Launch) Strategy {
	return Strategy{name: name, own: plan}
}

// String returns the strategy's name.
func (s Strategy) String() string { return s.name }

// Plan returns the launches for the given nodes, as an open gets them. It
// serves strategies that are built on this one. Balanced draws from the
// source of math/rand/v2 here. The zero Strategy plans nothing.
func (s Strategy) Plan(nodes []NodeStatus) []Launch {
	switch {
	case s.own != nil:
		return s.own(nodes)
	case s.plan == nil:
		return nil
	}
	members := make([]balance.Member, len(nodes))
	for i := range nodes {
		members[i] = nodes[i].member()
	}
	steps := s.plan(members, runtimeDraw)
	plan := make([]Launch, len(steps))
	for i, step := range steps {
		plan[i] = Launch{Node: nodes[step.At].Name, Wait: step.Wait}
	}
	return plan
}

// valid reports whether the strategy can plan.
func (s Strategy) valid() bool { return s.plan != nil || s.own != nil }

// UnmarshalText sets the strategy by its name in config.toml.
func (s *Strategy) UnmarshalText(text []byte) error {
	for _, known := range []Strategy{Race, Hedged, Balanced, Ordered} {
		if known.name == string(text) {
			*s = known
			return nil
		}
	}
	return fmt.Errorf("unknown strategy %q: use \"race\", \"hedged\", \"balanced\" or \"ordered\"", text)
}

// A Launch is one entry of a plan.
type Launch struct {
	// Node is the name of the node to ask.
	Node string
	// Wait is how long after the launch before it this one starts, the
	// connection attempt delay of RFC 8305. An earlier launch that failed
	// starts it at once, unless the node's priority is higher than that of
	// the one before it: then all earlier launches must have failed.
	Wait time.Duration
}

// goal is what the configuration comes to.
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
