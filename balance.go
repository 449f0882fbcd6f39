package clustersql

import (
	"cmp"
	"fmt"
	"math"
	"reflect"
	"slices"
	"time"
)

// Rebalance is which share of a cluster's connections each node is to have,
// once nodes have come back; see [Config.Rebalance].
type Rebalance string

const (
	// RebalanceByStrategy stands for what goes with the strategy: shares with
	// Balanced, first with Ordered, refresh with Race and Hedged, off with a
	// strategy of the program's own.
	RebalanceByStrategy Rebalance = ""
	// RebalanceShares has shares by weight on the nodes that are about equally
	// fast; see Balanced.
	RebalanceShares Rebalance = "shares"
	// RebalanceFirst has all on the node that Ordered asks first.
	RebalanceFirst Rebalance = "first"
	// RebalanceRefresh has no shares: connections that are older than a node's
	// return are made anew, once, wherever the strategy puts them then.
	RebalanceRefresh Rebalance = "refresh"
	// RebalanceOff leaves connections where they are.
	RebalanceOff Rebalance = "off"
)

// rebalance is what the configuration comes to.
func (c *Config) rebalance() Rebalance {
	if c.Rebalance != RebalanceByStrategy {
		return c.Rebalance
	}
	is := func(s Strategy) bool { return reflect.ValueOf(s).Pointer() == reflect.ValueOf(c.Strategy).Pointer() }
	switch {
	case is(Balanced):
		return RebalanceShares
	case is(Ordered):
		return RebalanceFirst
	case is(Race), is(Hedged):
		return RebalanceRefresh
	}
	return RebalanceOff
}

// A node's part in the shares of a cluster.
type part uint8

const (
	keeps part = iota // what it has, and counts for nobody: it has just come up, or may go down
	takes             // its share
	gives             // all that it has
)

// excess returns how many of a node's connections are too many, and why. It is
// 0 where there is nobody to take them. nodes are the cluster's; after is
// rebalance_after. Shares need not be exact before they are mended, and are
// when they have been: begun says that this node has given way already.
func excess(self string, nodes []NodeStatus, r Rebalance, after time.Duration, now time.Time, begun bool) (int, string) {
	var parts map[string]part
	switch r {
	case RebalanceShares:
		parts = sharers(nodes, after, now)
	case RebalanceFirst:
		parts = followers(nodes, after, now)
	default:
		return 0, ""
	}
	total, weights := 0, 0
	for i := range nodes {
		switch s := &nodes[i]; parts[s.Name] {
		case takes:
			weights += max(1, s.Weight)
			total += s.current
		case gives:
			total += s.current
		}
	}
	if weights == 0 {
		return 0, ""
	}
	var mine *NodeStatus
	needy, starved := false, false
	share := func(s *NodeStatus) float64 { return float64(total*max(1, s.Weight)) / float64(weights) }
	for i := range nodes {
		s := &nodes[i]
		if s.Name == self {
			mine = s
		}
		needy = needy || parts[s.Name] == takes && float64(s.current)+0.5 < 0.85*share(s)
		starved = starved || parts[s.Name] == takes && s.current == 0 && s.back.After(s.LastSuccess)
	}
	switch parts[self] {
	case gives:
		return mine.current, "other nodes are to have them"
	case takes:
		fair := share(mine)
		if begun || needy || float64(mine.current) > fair+max(0.5, fair/10) {
			round := math.Ceil
			if needy {
				round = math.Round // of two for three nodes, one gives
			}
			if n := mine.current - int(round(fair)); n > 0 {
				return n, fmt.Sprintf("%d are more than its share of %.1f", mine.current, fair)
			}
		}
		// Fewer connections than nodes: one gives way until the node that is
		// back has had its first.
		if starved && mine.current > 0 {
			return 1, "a node that has come back has none"
		}
	}
	return 0, ""
}

// settled reports whether a node has been in its state for long enough to count.
func (s *NodeStatus) settled(after time.Duration, now time.Time) bool {
	return now.Sub(s.Since) >= after
}

// sharers has the nodes of Balanced's window take, and those give that are of
// a later tier, suspect for long, or slow by twice the window: between once
// and twice, nodes keep what they have, so that a latency which comes and goes
// moves nothing.
func sharers(nodes []NodeStatus, after time.Duration, now time.Time) map[string]part {
	order := byLatency(nodes)
	parts := make(map[string]part, len(nodes))
	order = slices.DeleteFunc(order, func(s *NodeStatus) bool { return s.State != StateUp && s.State != StateSuspect })
	if len(order) == 0 || order[0].State != StateUp {
		return parts
	}
	best := order[0]
	limit := best.ProbeLatency.Mean()
	limit += max(windowLeast, limit/windowPart)
	for _, s := range order {
		switch {
		case !s.settled(after, now) || s.Donor || s.Full:
		case compareTiers(best, s) != 0 || s.ProbeLatency.Mean() > 2*limit:
			parts[s.Name] = gives
		case s.ProbeLatency.Mean() <= limit:
			parts[s.Name] = takes
		}
	}
	return parts
}

// followers has the node take that Ordered asks first, and the others give.
func followers(nodes []NodeStatus, after time.Duration, now time.Time) map[string]part {
	order := inTurn(nodes)
	parts := make(map[string]part, len(nodes))
	order = slices.DeleteFunc(order, func(s *NodeStatus) bool {
		return s.State != StateUp && s.State != StateSuspect || s.Donor || s.Full
	})
	if len(order) == 0 || order[0].State != StateUp || !order[0].settled(after, now) {
		return parts
	}
	parts[order[0].Name] = takes
	for _, s := range order[1:] {
		parts[s.Name] = gives
	}
	return parts
}

// inTurn is Ordered's order: a node that has just come back is behind the
// others, whatever its priority.
func inTurn(nodes []NodeStatus) []*NodeStatus {
	order := pointers(nodes)
	slices.SortFunc(order, func(a, b *NodeStatus) int {
		suspects := compareBools(a.State == StateSuspect, b.State == StateSuspect)
		return cmp.Or(suspects, compareBools(a.Returning, b.Returning), cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Name, b.Name))
	})
	return order
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

// A pace spreads giving way over time: a fifth of what was too many at the
// start in a second, and at least one. What is not used in its time is gone.
type pace struct {
	start  int       // the excess at the start; 0 while there is none
	at     time.Time // of the last turns
	credit float64   // a part of a turn, carried over
}

const (
	paceFifth   = 5
	paceLongest = 1.25 // seconds that count at a time, a little over the longest jittered tick at the default interval
)

// turns returns how many connections may give way now, of so many too many.
func (p *pace) turns(tooMany int, now time.Time) int {
	if tooMany == 0 {
		*p = pace{}
		return 0
	}
	if p.start == 0 {
		p.at = now.Add(-time.Second)
	}
	p.start = max(p.start, tooMany)
	rate := max(1, float64(p.start)/paceFifth)
	p.credit += rate * min(now.Sub(p.at).Seconds(), paceLongest)
	p.at = now
	n := min(int(p.credit), tooMany)
	p.credit -= math.Floor(p.credit)
	return n
}
