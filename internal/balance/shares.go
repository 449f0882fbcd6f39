package balance

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/EnumApps/clustersql/internal/health"
)

// A Goal is how a cluster's connections are to lie on its nodes.
type Goal uint8

const (
	// Stay leaves connections where they are.
	Stay Goal = iota
	// Shares has shares by weight on the nodes that are about equally fast.
	Shares
	// First has all on the node that Ordered asks first.
	First
	// Refresh has no shares: connections that are older than a node's return
	// are made anew.
	Refresh
)

// A part is what a node does while connections move.
type part uint8

const (
	keeps part = iota // what it has, and counts for nobody: it has just come up, or may go down
	takes             // its share
	gives             // all that it has
)

// Excess returns how many connections of the node self are too many, and why.
// It is 0 where no other node is to take them. after is how long a node must
// have been in its state to count.
//
// Shares that are only a little uneven stay as they are. Once a node has begun
// to give way, it goes on until they are even.
func Excess(self string, members []Member, goal Goal, after time.Duration, now time.Time, begun bool) (int, string) {
	var parts []part
	switch goal {
	case Shares:
		parts = byShare(members, after, now)
	case First:
		parts = byTurn(members, after, now)
	default:
		return 0, ""
	}
	total, weights := 0, 0
	for i := range members {
		switch parts[i] {
		case takes:
			weights += max(1, members[i].Weight)
			total += members[i].Current
		case gives:
			total += members[i].Current
		}
	}
	if weights == 0 {
		return 0, ""
	}
	share := func(m *Member) float64 { return float64(total*max(1, m.Weight)) / float64(weights) }
	mine := -1
	needy, starved := false, false // a node has far too few; a node that is back has had none
	for i := range members {
		m := &members[i]
		if m.Name == self {
			mine = i
		}
		if parts[i] == takes {
			needy = needy || float64(m.Current)+0.5 < 0.85*share(m)
			starved = starved || m.Current == 0 && m.Back.After(m.LastSuccess)
		}
	}
	if mine < 0 {
		return 0, ""
	}
	m := &members[mine]
	switch parts[mine] {
	case gives:
		return m.Current, "other nodes are to have them"
	case takes:
		fair := share(m)
		if begun || needy || float64(m.Current) > fair+max(0.5, fair/10) {
			round := math.Ceil
			if needy {
				round = math.Round // of two connections for three nodes, one moves
			}
			if n := m.Current - int(round(fair)); n > 0 {
				return n, fmt.Sprintf("%d are more than its share of %.1f", m.Current, fair)
			}
		}
		// With fewer connections than nodes, one gives way until the node that
		// is back has had its first.
		if starved && m.Current > 0 {
			return 1, "a node that has come back has none"
		}
	}
	return 0, ""
}

// byShare has the nodes of Balanced's window take. Those give that are of a
// later tier, suspect for long, or slow by twice the window. Between once and
// twice a node keeps what it has, so that a latency which comes and goes moves
// nothing.
func byShare(members []Member, after time.Duration, now time.Time) []part {
	parts := make([]part, len(members))
	order := slices.DeleteFunc(byLatency(members), func(i int) bool { return !members[i].working() })
	if len(order) == 0 || members[order[0]].State != health.Up {
		return parts
	}
	best := &members[order[0]]
	limit := window(best)
	for _, i := range order {
		switch m := &members[i]; {
		case !m.settled(after, now) || m.Donor || m.Full:
		case compareTiers(best, m) != 0 || m.RoundTrip.Mean() > 2*limit:
			parts[i] = gives
		case m.RoundTrip.Mean() <= limit:
			parts[i] = takes
		}
	}
	return parts
}

// byTurn has the node take that Ordered asks first, and the others give.
func byTurn(members []Member, after time.Duration, now time.Time) []part {
	parts := make([]part, len(members))
	order := slices.DeleteFunc(InTurn(members), func(i int) bool {
		return !members[i].working() || members[i].Donor || members[i].Full
	})
	if len(order) == 0 || members[order[0]].State != health.Up || !members[order[0]].settled(after, now) {
		return parts
	}
	for _, i := range order {
		parts[i] = gives
	}
	parts[order[0]] = takes
	return parts
}

// LastReturn is when a node other than self came back last, of those that have
// been up for long enough.
func LastReturn(self string, members []Member, after time.Duration, now time.Time) (back time.Time) {
	for i := range members {
		if m := &members[i]; m.Name != self && m.State == health.Up && m.settled(after, now) && m.Back.After(back) {
			back = m.Back
		}
	}
	return back
}
