package balance

import (
	"cmp"
	"slices"
	"time"

	"github.com/EnumApps/clustersql/internal/health"
)

// A Launch is one entry of the plan of an open.
type Launch struct {
	At   int           // the index of the node in the given members
	Wait time.Duration // after the launch before it
}

// staggerLeast and staggerMost are the bounds of a Wait. staggerUnknown is the
// wait after a node that was never opened on. All three come from RFC 8305,
// section 5.
const (
	staggerLeast   = 100 * time.Millisecond
	staggerMost    = 2 * time.Second
	staggerUnknown = 250 * time.Millisecond
)

// The window of Balanced: nodes whose round trip is longer than the shortest by
// no more than this count as equally fast. The larger of the two bounds
// applies.
const (
	windowLeast = 15 * time.Millisecond
	windowPart  = 4 // a window of one part in four of the shortest round trip
)

// Race plans all nodes of the first tier at once. A later tier follows when all
// nodes before it have failed, or after staggerMost.
func Race(members []Member) []Launch {
	plan := places(members)
	start := startingPriority(members)
	tier := func(l Launch) int { return max(members[l.At].Priority, start) }
	slices.SortStableFunc(plan, func(a, b Launch) int { return cmp.Compare(tier(a), tier(b)) })
	for i := 1; i < len(plan); i++ {
		if tier(plan[i]) > tier(plan[i-1]) {
			plan[i].Wait = staggerMost
		}
	}
	return plan
}

// startingPriority returns the lowest priority of a node that is not suspect.
// If all are suspect, it returns the lowest priority of all.
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

// Hedged plans the node with the shortest round trip first, and the others in
// the order of their round trips.
func Hedged(members []Member) []Launch { return stagger(members, byLatency(members)) }

// Balanced draws two nodes at random among those that are about equally fast,
// and plans the better of the two first. The others follow in the order of
// their round trips. draw(n) returns a random number from 0 to n-1.
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

// Ordered plans by priority, then by name. A node that came back less than
// failback_after ago comes after the others, and a suspect node last.
func Ordered(members []Member) []Launch { return stagger(members, InTurn(members)) }

// InTurn returns the order of Ordered. The launches do not wait.
func InTurn(members []Member) []Launch { return sorted(members, compareTurns) }

func compareTurns(a, b *Member) int {
	if c := CompareBools(a.suspect(), b.suspect()); c != 0 {
		return c
	}
	if c := CompareBools(a.Second, b.Second); c != 0 {
		return c
	}
	if c := CompareBools(a.Returning, b.Returning); c != 0 {
		return c
	}
	if c := cmp.Compare(a.Priority, b.Priority); c != 0 {
		return c
	}
	return cmp.Compare(a.Name, b.Name)
}

// places returns the members in the order in which they are given.
func places(members []Member) []Launch {
	order := make([]Launch, len(members))
	for i := range order {
		order[i].At = i
	}
	return order
}

// sorted returns the members in the order of compare.
func sorted(members []Member, compare func(a, b *Member) int) []Launch {
	order := places(members)
	slices.SortFunc(order, func(a, b Launch) int { return compare(&members[a.At], &members[b.At]) })
	return order
}

// compareTiers puts suspect nodes last, then those that are not of the preferred
// role, and else the lower priority first.
func compareTiers(a, b *Member) int {
	if c := CompareBools(a.suspect(), b.suspect()); c != 0 {
		return c
	}
	if c := CompareBools(a.Second, b.Second); c != 0 {
		return c
	}
	return cmp.Compare(a.Priority, b.Priority)
}

// CompareBools puts false before true.
func CompareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// The ranks say how well a node's latency is known, best first.
const (
	rankMeasured = iota
	rankUp       // up, but not measured yet
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

// byLatency ranks by the probe's round trip. Every node is probed, whether it is
// chosen or not. The time of opens would not do: a node that was slow once would
// not be chosen again, and so never be measured again.
func byLatency(members []Member) []Launch { return sorted(members, compareLatency) }

func compareLatency(a, b *Member) int {
	if c := compareTiers(a, b); c != 0 {
		return c
	}
	if c := cmp.Compare(rank(a), rank(b)); c != 0 {
		return c
	}
	if c := cmp.Compare(a.RoundTrip.Mean(), b.RoundTrip.Mean()); c != 0 {
		return c
	}
	return cmp.Compare(a.Name, b.Name)
}

// window returns the longest round trip that still counts as fast as best.
func window(best *Member) time.Duration {
	trip := best.RoundTrip.Mean()
	return trip + max(windowLeast, trip/windowPart)
}

// withinWindow returns the positions in order whose nodes count as fast as the
// first one. These are the nodes of its tier that are within the window, or
// that are up and not measured yet.
func withinWindow(members []Member, order []Launch) []int {
	if len(order) == 0 {
		return nil
	}
	best := &members[order[0].At]
	limit := window(best)
	near := make([]int, 0, len(order))
	for i, l := range order {
		m := &members[l.At]
		if compareTiers(best, m) != 0 || rank(best) < rankUnknown && rank(m) == rankUnknown {
			break
		}
		if m.RoundTrip.Mean() <= limit { // the mean is 0 if it was not measured
			near = append(near, i)
		}
	}
	return near
}

// betterOfTwo draws two of the near positions, by their nodes' weights. It
// returns the one whose share would be smaller with one more connection. If
// both are equal it returns the one that was drawn first.
func betterOfTwo(members []Member, order []Launch, near []int, draw func(n int) int) int {
	weight := func(i int) int { return max(1, members[order[i].At].Weight) }
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
	share := func(i int) float64 { return float64(members[order[i].At].Load+1) / float64(weight(i)) }
	one := pick(-1)
	other := pick(one)
	if share(other) < share(one) {
		return other
	}
	return one
}

// stagger makes a plan of an order: each launch waits after the one before it.
func stagger(members []Member, order []Launch) []Launch {
	for i := 1; i < len(order); i++ {
		order[i].Wait = headStart(&members[order[i-1].At], &members[order[i].At])
	}
	return order
}

// headStart returns how long the node m is asked alone before next is asked
// too: the mean of its time to open plus four deviations, within the bounds. A
// next of a later tier waits for staggerMost.
func headStart(m, next *Member) time.Duration {
	switch {
	case next.Priority > m.Priority:
		return staggerMost
	case m.Open.Count() == 0:
		return staggerUnknown
	}
	return min(max(m.Open.Mean()+4*m.Open.Deviation(), staggerLeast), staggerMost)
}
