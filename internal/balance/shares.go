package balance

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/EnumApps/clustersql/internal/health"
)

// A Goal says how connections are to be spread over a cluster's nodes.
type Goal uint8

const (
	// Stay leaves connections where they are.
	Stay Goal = iota
	// Shares spreads them by weight over the nodes that are about equally fast.
	Shares
	// First puts all on the node that Ordered asks first.
	First
	// Refresh has no shares. Connections that are older than a node's return
	// are replaced by new ones.
	Refresh
)

// A part is what a node does while connections move.
type part uint8

const (
	keeps part = iota // keeps what it has and is left out of the sum: it has just come up, or may go down
	takes             // takes its share
	gives             // gives away all that it has
)

// Excess returns how many connections of the node self are too many, and why.
// It returns 0 if no other node is to take them. after is how long a node must
// have been in its state to count. begun says that self has begun to give way.
//
// Shares that are only a little uneven stay as they are. A node that has begun
// to give way goes on until the shares are even.
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
	mine := slices.IndexFunc(members, func(m Member) bool { return m.Name == self })
	d := distribute(members, parts)
	if mine < 0 || d.weights == 0 {
		return 0, ""
	}
	m := &members[mine]
	switch parts[mine] {
	case gives:
		return m.Current, "other nodes are to have them"
	case takes:
		return d.excess(m, begun)
	}
	return 0, ""
}

// A distribution is how the connections of a cluster lie on its nodes, beside
// how they are to lie.
type distribution struct {
	total   int  // the connections of the nodes that take or give
	weights int  // the sum of the weights of the nodes that take
	needy   bool // a node that takes has far too few
	starved bool // a node that takes has come back and has had none since
}

// distribute returns the distribution of the members, each with its part.
func distribute(members []Member, parts []part) distribution {
	var d distribution
	for i := range members {
		switch parts[i] {
		case takes:
			d.weights += max(1, members[i].Weight)
			d.total += members[i].Current
		case gives:
			d.total += members[i].Current
		}
	}
	for i := range members {
		if m := &members[i]; parts[i] == takes {
			d.needy = d.needy || float64(m.Current)+0.5 < 0.85*d.share(m)
			d.starved = d.starved || m.Current == 0 && m.Back.After(m.LastSuccess)
		}
	}
	return d
}

// share returns how many connections a node that takes is to have.
func (d distribution) share(m *Member) float64 {
	return float64(d.total*max(1, m.Weight)) / float64(d.weights)
}

// excess returns how many connections of a node that takes are too many, and
// why.
func (d distribution) excess(m *Member, begun bool) (int, string) {
	fair := d.share(m)
	if begun || d.needy || float64(m.Current) > fair+max(0.5, fair/10) {
		round := math.Ceil
		if d.needy {
			round = math.Round // of two connections for three nodes, one moves
		}
		if n := m.Current - int(round(fair)); n > 0 {
			return n, fmt.Sprintf("%d are more than its share of %.1f", m.Current, fair)
		}
	}
	// With fewer connections than nodes no node has more than its share. One
	// connection then gives way until the node that is back has had its first.
	if d.starved && m.Current > 0 {
		return 1, "a node that has come back has none"
	}
	return 0, ""
}

// byShare returns the parts for the goal Shares. The nodes within Balanced's
// window take. A node gives if it is of a later tier, has been suspect for
// long, or has a round trip of over twice the window. Between once and twice
// the window a node keeps what it has, so that a latency that comes and goes
// moves nothing.
func byShare(members []Member, after time.Duration, now time.Time) []part {
	parts := make([]part, len(members))
	order := slices.DeleteFunc(byLatency(members), func(l Launch) bool { return !members[l.At].working() })
	if len(order) == 0 || members[order[0].At].State != health.Up {
		return parts
	}
	best := &members[order[0].At]
	limit := window(best)
	for _, l := range order {
		i := l.At
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

// byTurn returns the parts for the goal First. The node that Ordered asks first
// takes, the others give.
func byTurn(members []Member, after time.Duration, now time.Time) []part {
	parts := make([]part, len(members))
	order := slices.DeleteFunc(InTurn(members), func(l Launch) bool {
		m := &members[l.At]
		return !m.working() || m.Donor || m.Full
	})
	if len(order) == 0 || members[order[0].At].State != health.Up || !members[order[0].At].settled(after, now) {
		return parts
	}
	for _, l := range order {
		parts[l.At] = gives
	}
	parts[order[0].At] = takes
	return parts
}

// LastReturn returns when a node other than self last came back. Only nodes
// that have been up for at least after count. It is zero if there is none. For a
// node that is not of the preferred role, one that has got that role has come back
// too; and no other node counts for one that has it.
func LastReturn(self string, members []Member, after time.Duration, now time.Time) (back time.Time) {
	mine := slices.IndexFunc(members, func(m Member) bool { return m.Name == self })
	second := mine >= 0 && members[mine].Second
	for i := range members {
		m := &members[i]
		if m.Name == self || m.State != health.Up || !m.settled(after, now) || m.Second && !second {
			continue
		}
		if m.Back.After(back) {
			back = m.Back
		}
		if second && !m.Second && m.Chosen.After(back) {
			back = m.Chosen
		}
	}
	return back
}
