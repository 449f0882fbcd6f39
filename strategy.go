package clustersql

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// A Strategy plans one open: it returns which of the nodes are asked, in
// which order, and how long to wait before each. It is given the snapshots of
// the usable nodes, sorted by name: those that are not down. It is not asked
// where none is. It must be pure: no side effect but drawing random numbers, no
// waiting, safe for concurrent use. A plan may leave nodes out; names it does
// not know, and a node's second launch, are passed over. It is asked twice
// where some nodes are donors, whose launches follow those of the others.
//
// The strategies here put every node into the plan, a node of a higher
// [NodeConfig.Priority] after all those of a lower one, and suspect nodes
// last whatever theirs is; Race alone asks suspect nodes with the others.
type Strategy func(nodes []NodeStatus) []Launch

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

// The bounds of a Wait; staggerUnknown is for a node that was never opened
// on. All three are RFC 8305's.
const (
	staggerLeast   = 100 * time.Millisecond
	staggerMost    = 2 * time.Second
	staggerUnknown = 250 * time.Millisecond
)

// The window of Balanced: nodes whose round trip is that much longer than the
// shortest count as equally fast.
const (
	windowLeast = 15 * time.Millisecond
	windowPart  = 4 // of the shortest round trip, one part in that many
)

// Race asks every usable node at once and takes the first connection: the
// lowest latency of an open, at the price of a connection opened and closed
// again on each of the other nodes. Nodes of a higher priority number follow
// when all of a lower one have failed, or after 2 s. It is the default.
func Race(nodes []NodeStatus) []Launch {
	order := pointers(nodes)
	start := startingPriority(order)
	tier := func(s *NodeStatus) int { return max(s.Priority, start) }
	slices.SortStableFunc(order, func(a, b *NodeStatus) int { return cmp.Compare(tier(a), tier(b)) })
	plan := make([]Launch, len(order))
	for i, s := range order {
		plan[i].Node = s.Name
		if i > 0 && tier(s) > tier(order[i-1]) {
			plan[i].Wait = staggerMost
		}
	}
	return plan
}

// startingPriority is the lowest priority of a node that is not suspect, or
// the lowest where all are.
func startingPriority(nodes []*NodeStatus) int {
	if len(nodes) == 0 {
		return 0
	}
	return slices.MinFunc(nodes, compareTiers).Priority
}

// Hedged asks the node with the shortest round trip, and the next ones only
// when it fails or is slower than it is used to be: an open is about as fast
// as Race's and costs about one connection. Nodes not yet heard of come after
// those that are up.
//
// The wait for a node is the mean of its time to open plus four deviations,
// at least 100 ms, at most 2 s, and 250 ms where it was never measured.
// Before nodes of a higher priority number it is 2 s.
func Hedged(nodes []NodeStatus) []Launch {
	return stagger(byLatency(nodes))
}

// Balanced spreads connections over the nodes that are about equally fast:
// those whose round trip exceeds the shortest by no more than 15 ms or a
// quarter. It draws two of them at random, heavier ones more often, asks the
// one with the smaller load for its weight, and then the others as Hedged
// does.
func Balanced(nodes []NodeStatus) []Launch {
	return balanced(nodes, rand.IntN)
}

// balanced is Balanced with its source of numbers from 0 to below n.
func balanced(nodes []NodeStatus, draw func(n int) int) []Launch {
	order := byLatency(nodes)
	if near := withinWindow(order); len(near) > 1 {
		i := betterOfTwo(order, near, draw)
		chosen := order[i]
		copy(order[1:i+1], order[:i])
		order[0] = chosen
	}
	return stagger(order)
}

// Ordered asks the node of the lowest priority number, among equals the first
// by name, and then the others as Hedged does: every process uses the same
// node while it is well. A node that has come back is asked after the others
// until it has been up for [Config.FailbackAfter].
func Ordered(nodes []NodeStatus) []Launch {
	return stagger(inTurn(nodes))
}

// UnmarshalText sets the strategy by its name in config.toml.
func (s *Strategy) UnmarshalText(text []byte) error {
	switch string(text) {
	case "race":
		*s = Race
	case "hedged":
		*s = Hedged
	case "balanced":
		*s = Balanced
	case "ordered":
		*s = Ordered
	default:
		return fmt.Errorf("unknown strategy %q: use \"race\", \"hedged\", \"balanced\" or \"ordered\"", text)
	}
	return nil
}

func pointers(nodes []NodeStatus) []*NodeStatus {
	order := make([]*NodeStatus, len(nodes))
	for i := range nodes {
		order[i] = &nodes[i]
	}
	return order
}

// compareTiers puts suspect nodes last, else the lower priority first.
func compareTiers(a, b *NodeStatus) int {
	if sa, sb := a.State == StateSuspect, b.State == StateSuspect; sa != sb {
		if sb {
			return -1
		}
		return 1
	}
	return cmp.Compare(a.Priority, b.Priority)
}

// acquaintance ranks what is known of a node's latency: measured, up but not
// measured yet, not up.
func acquaintance(s *NodeStatus) int {
	switch {
	case s.State == StateUnknown || s.State == StateDown:
		return 2
	case s.ProbeLatency.Count() == 0:
		return 1
	}
	return 0
}

// byLatency ranks by the probe's round trip, which every node gets whether it
// is chosen or not; the time of opens would shut out for good a node that was
// slow once.
func byLatency(nodes []NodeStatus) []*NodeStatus {
	order := pointers(nodes)
	slices.SortFunc(order, func(a, b *NodeStatus) int {
		return cmp.Or(
			compareTiers(a, b),
			cmp.Compare(acquaintance(a), acquaintance(b)),
			cmp.Compare(a.ProbeLatency.mean, b.ProbeLatency.mean),
			cmp.Compare(a.Name, b.Name))
	})
	return order
}

// withinWindow returns the places of the nodes in a ranking that count as
// fast as the first: of its tier, and either within the window or, being up,
// not measured yet.
func withinWindow(order []*NodeStatus) []int {
	var near []int
	if len(order) == 0 {
		return near
	}
	best := order[0]
	limit := best.ProbeLatency.Mean()
	limit += max(windowLeast, limit/windowPart)
	for i, s := range order {
		if compareTiers(best, s) != 0 || acquaintance(best) < 2 && acquaintance(s) == 2 {
			break
		}
		if s.ProbeLatency.Mean() <= limit { // 0 where it was not measured
			near = append(near, i)
		}
	}
	return near
}

// betterOfTwo draws two of the near places by their nodes' weights and
// returns the one whose share would be the smaller one with one more
// connection; the first drawn where both are equal.
func betterOfTwo(order []*NodeStatus, near []int, draw func(n int) int) int {
	weight := func(i int) int { return max(1, order[i].Weight) }
	total := 0
	for _, i := range near {
		total += weight(i)
	}
	pick := func(not int) int {
		left := total
		if not >= 0 {
			left -= weight(not)
		}
		at := draw(left)
		for _, i := range near {
			if i == not {
				continue
			}
			if at -= weight(i); at < 0 {
				return i
			}
		}
		return near[len(near)-1]
	}
	share := func(i int) float64 { return float64(order[i].Load+1) / float64(weight(i)) }
	one := pick(-1)
	other := pick(one)
	if share(other) < share(one) {
		return other
	}
	return one
}

// stagger makes an order a plan.
func stagger(order []*NodeStatus) []Launch {
	plan := make([]Launch, len(order))
	for i, s := range order {
		plan[i].Node = s.Name
		if i > 0 {
			plan[i].Wait = patience(order[i-1], s)
		}
	}
	return plan
}

// patience is how long a node has to itself before the next one is asked.
func patience(s, next *NodeStatus) time.Duration {
	switch {
	case next.Priority > s.Priority:
		return staggerMost
	case s.OpenLatency.Count() == 0:
		return staggerUnknown
	}
	return min(max(s.OpenLatency.Mean()+4*s.OpenLatency.Deviation(), staggerLeast), staggerMost)
}
