// Package whynot says in a sentence why an open does not ask a node first.
//
// It is pure. The root imports the package; it imports balance and health.
package whynot

import (
	"fmt"
	"time"

	"github.com/EnumApps/clustersql/internal/balance"
	"github.com/EnumApps/clustersql/internal/health"
)

// A Node is what must be known of a node. The fields are those of the root's
// NodeStatus.
type Node struct {
	Name       string
	State      health.State
	Reason     string
	SameAs     string
	Priority   int
	Good, Rise int
	Reached    bool // a probe or an open has found it fit, or nothing was tried
	Lag        time.Duration
	LagUnknown string
	RoundTrip  time.Duration

	FullUntil, HeldUntil, NextCheck, ReturnedAt time.Time
}

// A Place is where a node comes in the opens that begin now.
type Place struct {
	Open      bool           // opens may come at all
	Class     health.Class   // of what took it down
	Behind    balance.Behind // by what it comes after the first one
	First     *Node          // one that is asked first; nil if the node is not in the plan with it
	Last      Last           // why it comes after all others
	Preferred string         // the role that Config.Require prefers
	MaxLag    time.Duration  // Config.MaxLag
	Now       time.Time
}

// A Last is a reason for which a node is asked after the others, whatever the
// strategy.
type Last uint8

const (
	NotLast Last = iota
	LastFull
	LastDonor
	LastRole
)

// LastWhy returns why a member that is asked last is.
func LastWhy(m *balance.Member) Last {
	switch {
	case m.Full:
		return LastFull
	case m.Donor:
		return LastDonor
	}
	return LastRole
}

// Sentence returns the sentence for a node that is not asked first.
func (p Place) Sentence(n *Node) string {
	switch {
	case n.State == health.Draining:
		return "The program has drained it."
	case !p.Open:
		return "The cluster is not open: no open comes, and nothing probes this node."
	case n.State == health.Down:
		return p.whyDown(n)
	case p.Last == LastFull:
		return fmt.Sprintf("It has no room for another connection and is asked last: one open tries it again in %s.", roughly(n.FullUntil.Sub(p.Now)))
	case p.Last == LastDonor:
		return "It is a Galera donor or desynced, and is asked last."
	case p.Last == LastRole:
		return fmt.Sprintf("It is no %s, which this cluster prefers, and is asked last.", p.Preferred)
	case p.First == nil:
		return fmt.Sprintf("It is the same server as %s, and has its share under that name.", n.SameAs)
	}
	return p.whyBehind(n)
}

// whyDown returns the sentence for a node that is down.
func (p Place) whyDown(n *Node) string {
	switch {
	case !n.Reached:
		return fmt.Sprintf("It was never found fit: %s.", n.Reason)
	case !n.HeldUntil.IsZero():
		return fmt.Sprintf("It was silent, answers again, and is held for %s more, until it is sure that it has caught up.", roughly(n.HeldUntil.Sub(p.Now)))
	case p.Class == health.Lagging && n.LagUnknown == "" && p.MaxLag > 0:
		return fmt.Sprintf("It is %s behind its primary, and max_lag is %s.", roughly(n.Lag), p.MaxLag)
	case n.Good > 0:
		return fmt.Sprintf("It was down, and has passed %d of %d checks in a row: %s.", n.Good, n.Rise, n.Reason)
	case n.NextCheck.After(p.Now):
		return fmt.Sprintf("It is down, and is checked again in %s: %s.", roughly(n.NextCheck.Sub(p.Now)), n.Reason)
	}
	return fmt.Sprintf("It is down, and is being checked: %s.", n.Reason)
}

// whyBehind returns the sentence for a node that is usable and comes after the
// first one.
func (p Place) whyBehind(n *Node) string {
	switch p.Behind {
	case balance.BehindSuspect:
		return fmt.Sprintf("It is suspect and is asked last: %s.", n.Reason)
	case balance.BehindRole:
		return fmt.Sprintf("It is no %s, which this cluster prefers, and %s is one.", p.Preferred, p.First.Name)
	case balance.BehindReturning:
		return fmt.Sprintf("It has come back a short time ago: %s stays first for %s more.", p.First.Name, roughly(n.ReturnedAt.Sub(p.Now)))
	case balance.BehindTier:
		return fmt.Sprintf("It has priority %d, and %s with priority %d is usable.", n.Priority, p.First.Name, p.First.Priority)
	case balance.BehindUnknown:
		return fmt.Sprintf("It was not measured yet, and %s was.", p.First.Name)
	case balance.BehindSlower:
		return fmt.Sprintf("Its checks take %s, and those of %s take %s.", roughly(n.RoundTrip), p.First.Name, roughly(p.First.RoundTrip))
	}
	return fmt.Sprintf("%s comes before it by name.", p.First.Name)
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
