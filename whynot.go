package clustersql

import (
	"fmt"
	"strings"
	"time"

	"github.com/EnumApps/clustersql/internal/balance"
	"github.com/EnumApps/clustersql/internal/health"
)

// explain fills in WhyNot of every node: it works out whom an open asks first that
// begins now. A strategy made by the program is not asked for that; of its plans
// only the part is known that every strategy has.
func (m *manager) explain(s *ClusterStatus, nodes []*node, now time.Time) {
	cfg := m.cfg()
	p := place{open: s.Open, maxLag: cfg.MaxLag, preferred: strings.TrimPrefix(string(cfg.Require), "prefer-"), now: now}
	r := rosters.Get().(*roster)
	defer r.release()
	r.fill(nodes, now)
	front, split := r, r.has(lastResort) && r.has(preferred)
	if split {
		front, _ = r.split()
	}
	behind, first := make([]balance.Behind, len(front.nodes)), -1
	if cfg.Strategy.custom == nil {
		behind, first = balance.Front(front.members, cfg.Strategy.order)
	}
	for i, n := range nodes {
		p := p
		p.class = n.snapshot.Load().class
		if at, usable := findNode(front.nodes, n.name); usable {
			if p.behind = behind[at]; p.behind == balance.InFront && p.open {
				continue
			}
			if first >= 0 { // a strategy of the program's own has told no order
				p.first = &s.Nodes[nodeAt(nodes, front.nodes[first])]
			}
		} else if at, usable := findNode(r.nodes, n.name); usable {
			p.last = lastWhy(&r.members[at])
		}
		s.Nodes[i].WhyNot = p.whyNot(&s.Nodes[i])
	}
}

// nodeAt returns the index of a node.
func nodeAt(nodes []*node, n *node) int {
	i, _ := findNode(nodes, n.name)
	return i
}

// A place is where a node comes in the opens that begin now.
type place struct {
	open      bool           // opens may come at all
	class     health.Class   // of what took it down
	behind    balance.Behind // by what it comes after the first one
	first     *NodeStatus    // one that is asked first; nil if the node is not in the plan with it
	last      last           // why it comes after all others
	preferred string         // the role that Config.Require prefers
	maxLag    time.Duration  // Config.MaxLag
	now       time.Time
}

// A last is a reason for which a node is asked after the others, whatever the
// strategy.
type last uint8

const (
	notLast last = iota
	lastFull
	lastDonor
	lastRole
)

func lastWhy(m *balance.Member) last {
	switch {
	case m.Full:
		return lastFull
	case m.Donor:
		return lastDonor
	}
	return lastRole
}

// whyNot returns the sentence for a node that is not asked first.
func (p place) whyNot(s *NodeStatus) string {
	switch {
	case s.State == StateDraining:
		return "The program has drained it."
	case !p.open:
		return "The cluster is not open: no open comes, and nothing probes this node."
	case s.State == StateDown:
		return p.whyDown(s)
	case p.last == lastFull:
		return fmt.Sprintf("It has no room for another connection and is asked last: one open tries it again in %s.", roughly(s.FullUntil.Sub(p.now)))
	case p.last == lastDonor:
		return "It is a Galera donor or desynced, and is asked last."
	case p.last == lastRole:
		return fmt.Sprintf("It is no %s, which this cluster prefers, and is asked last.", p.preferred)
	case p.first == nil:
		return fmt.Sprintf("It is the same server as %s, and has its share under that name.", s.SameAs)
	}
	return p.whyBehind(s)
}

// whyDown returns the sentence for a node that is down.
func (p place) whyDown(s *NodeStatus) string {
	switch {
	case s.Probes > 0 && s.ProbeErrors == s.Probes && s.Won == 0:
		return fmt.Sprintf("It was never found fit: %s.", s.Reason)
	case !s.HeldUntil.IsZero():
		return fmt.Sprintf("It was silent, answers again, and is held for %s more, until it is sure that it has caught up.", roughly(s.HeldUntil.Sub(p.now)))
	case p.class == health.Lagging && s.LagUnknown == "" && p.maxLag > 0:
		return fmt.Sprintf("It is %s behind its primary, and max_lag is %s.", roughly(s.Lag), p.maxLag)
	case s.Good > 0:
		return fmt.Sprintf("It was down, and has passed %d of %d checks in a row: %s.", s.Good, s.Rise, s.Reason)
	case s.NextCheck.After(p.now):
		return fmt.Sprintf("It is down, and is checked again in %s: %s.", roughly(s.NextCheck.Sub(p.now)), s.Reason)
	}
	return fmt.Sprintf("It is down, and is being checked: %s.", s.Reason)
}

// whyBehind returns the sentence for a node that is usable and comes after the
// first one.
func (p place) whyBehind(s *NodeStatus) string {
	switch p.behind {
	case balance.BehindSuspect:
		return fmt.Sprintf("It is suspect and is asked last: %s.", s.Reason)
	case balance.BehindRole:
		return fmt.Sprintf("It is no %s, which this cluster prefers, and %s is one.", p.preferred, p.first.Name)
	case balance.BehindReturning:
		return fmt.Sprintf("It has come back a short time ago: %s stays first for %s more.", p.first.Name, roughly(s.ReturnedAt.Sub(p.now)))
	case balance.BehindTier:
		return fmt.Sprintf("It has priority %d, and %s with priority %d is usable.", s.Priority, p.first.Name, p.first.Priority)
	case balance.BehindUnknown:
		return fmt.Sprintf("It was not measured yet, and %s was.", p.first.Name)
	case balance.BehindSlower:
		return fmt.Sprintf("Its checks take %s, and those of %s take %s.", roughly(s.ProbeLatency.Mean()), p.first.Name, roughly(p.first.ProbeLatency.Mean()))
	}
	return fmt.Sprintf("%s comes before it by name.", p.first.Name)
}

// roughly returns a duration as people read it.
func roughly(d time.Duration) string {
	switch d = max(d, 0); {
	case d >= 10*time.Second:
		d = d.Round(time.Second)
	case d >= time.Second:
		d = d.Round(100 * time.Millisecond)
	case d >= 10*time.Millisecond:
		d = d.Round(time.Millisecond)
	case d >= time.Millisecond:
		d = d.Round(100 * time.Microsecond)
	default:
		d = d.Round(time.Microsecond)
	}
	return d.String()
}
