package balance

import (
	"cmp"
	"slices"
	"time"

	"github.com/EnumApps/clustersql/internal/health"
)

// A Launch is one entry of the plan of an open.
type Launch struct {
	At   int           // the place of the node to ask in the members that were given
	Wait time.Duration // after the launch before it
}

// The bounds of a Wait; StaggerUnknown is for a node that was never opened on.
// All three are those of RFC 8305, section 5.
const (
	StaggerLeast   = 100 * time.Millisecond
	StaggerMost    = 2 * time.Second
	StaggerUnknown = 250 * time.Millisecond
)

// The window of Balanced: nodes whose round trip is that much longer than the
// shortest count as equally fast.
const (
	windowLeast = 15 * time.Millisecond
	windowPart  = 4 // of the shortest round trip, one part in that many
)

// Race plans all nodes of the first tier at once. Each later tier follows when
// all before it have failed, or after StaggerMost.
func Race(members []Member) []Launch {
	order := places(members)
	start := startingPriority(members)
	tier := func(i int) int { return max(members[i].Priority, start) }
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(tier(a), tier(b)) })
	plan := make([]Launch, len(order))
	for i, at := range order {
		plan[i].At = at
		if i > 0 && tier(at) > tier(order[i-1]) {
			plan[i].Wait = StaggerMost
		}
	}
	return plan
}

// startingPriority is the lowest priority of a node that is not suspect, or
// the lowest of all where all are.
func startingPriority(members []Member) int {
	if len(members) == 0 {
		return 0
	}
	best := &members[0]
	for i := range members {
		if compareTiers(&members[i], best) < 0 {
			best = &members[i]
		}
	}
	return best.Priority
}

// Hedged plans the node with the shortest round trip first, then the others by
// theirs.
func Hedged(members []Member) []Launch { return stagger(members, byLatency(members)) }

// Balanced plans the better of two random nodes among those that are about
// equally fast, then the others by their round trips. draw returns a number
// from 0 to below n.
//
// Two choices instead of one are from Mitzenmacher, "The Power of Two Choices
// in Randomized Load Balancing", 2001.
func Balanced(members []Member, draw func(n int) int) []Launch {
	order := byLatency(members)
	if near := withinWindow(members, order); len(near) > 1 {
		i := betterOfTwo(members, order, near, draw)
		chosen := order[i]
		copy(order[1:i+1], order[:i])
		order[0] = chosen
	}
	return stagger(members, order)
}

// Ordered plans by priority, then by name. A node that has just come back
// follows the others.
func Ordered(members []Member) []Launch { return stagger(members, InTurn(members)) }

// InTurn is the order of Ordered, as places in members.
func InTurn(members []Member) []int {
	order := places(members)
	slices.SortFunc(order, func(i, j int) int {
		a, b := &members[i], &members[j]
		return cmp.Or(
			compareBools(a.suspect(), b.suspect()),
			compareBools(a.Returning, b.Returning),
			cmp.Compare(a.Priority, b.Priority),
			cmp.Compare(a.Name, b.Name))
	})
	return order
}

func places(members []Member) []int {
	order := make([]int, len(members))
	for i := range order {
		order[i] = i
	}
	return order
}

// compareTiers puts suspect nodes last, else the lower priority first.
func compareTiers(a, b *Member) int {
	return cmp.Or(compareBools(a.suspect(), b.suspect()), cmp.Compare(a.Priority, b.Priority))
}

// compareBools has false before true.
func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// The ranks of what is known of a node's latency.
const (
	rankMeasured = iota
	rankUp       // up, and not measured yet
	rankUnknown
)

func rank(m *Member) int {
	switch {
	case m.State == health.Unknown || m.State == health.Down:
		return rankUnknown
	case m.RoundTrip.Count() == 0:
		return rankUp
	}
	return rankMeasured
}

// byLatency ranks by the probe's round trip. Every node has one, whether it is
// chosen or not. The time of opens would not do: a node that was slow once
// would not be chosen again, and so would never be measured again.
func byLatency(members []Member) []int {
	order := places(members)
	slices.SortFunc(order, func(i, j int) int {
		a, b := &members[i], &members[j]
		return cmp.Or(
			compareTiers(a, b),
			cmp.Compare(rank(a), rank(b)),
			cmp.Compare(a.RoundTrip.Mean(), b.RoundTrip.Mean()),
			cmp.Compare(a.Name, b.Name))
	})
	return order
}

// window is the longest round trip that counts as equally fast as best.
func window(best *Member) time.Duration {
	trip := best.RoundTrip.Mean()
	return trip + max(windowLeast, trip/windowPart)
}

// withinWindow returns the places in a ranking whose nodes count as fast as
// the first: of its tier, and within the window, or up and not measured yet.
func withinWindow(members []Member, order []int) []int {
	if len(order) == 0 {
		return nil
	}
	best := &members[order[0]]
	limit := window(best)
	near := make([]int, 0, len(order))
	for i, at := range order {
		m := &members[at]
		if compareTiers(best, m) != 0 || rank(best) < rankUnknown && rank(m) == rankUnknown {
			break
		}
		if m.RoundTrip.Mean() <= limit { // 0 where it was not measured
			near = append(near, i)
		}
	}
	return near
}

// betterOfTwo draws two of the near places by their nodes' weights. It returns
// the one whose share would be smaller with one more connection, and the first
// drawn where both are equal.
func betterOfTwo(members []Member, order, near []int, draw func(n int) int) int {
	weight := func(i int) int { return max(1, members[order[i]].Weight) }
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
	share := func(i int) float64 { return float64(members[order[i]].Load+1) / float64(weight(i)) }
	one := pick(-1)
	other := pick(one)
	if share(other) < share(one) {
		return other
	}
	return one
}

// stagger makes an order a plan: each launch waits for the one before it.
func stagger(members []Member, order []int) []Launch {
	plan := make([]Launch, len(order))
	for i, at := range order {
		plan[i].At = at
		if i > 0 {
			plan[i].Wait = headStart(&members[order[i-1]], &members[at])
		}
	}
	return plan
}

// headStart is how long a node is asked alone before the next one is asked
// too: the mean of its time to open plus four deviations, within the bounds.
func headStart(m, next *Member) time.Duration {
	switch {
	case next.Priority > m.Priority:
		return StaggerMost
	case m.Open.Count() == 0:
		return StaggerUnknown
	}
	return min(max(m.Open.Mean()+4*m.Open.Deviation(), StaggerLeast), StaggerMost)
}
