// Package balance ranks the nodes of a cluster for one open, and says which
// nodes have more connections than their share and how fast connections may
// move. It dials, closes and counts nothing itself.
//
// The package is pure: it has no goroutine, channel, lock or clock. Its callers
// hand in the time and the source of random numbers. It imports only package
// health.
package balance

import (
	"time"

	"github.com/EnumApps/clustersql/internal/health"
)

// A Member is what is known of one node. The members of one cluster have
// different names.
type Member struct {
	Name     string
	Priority int // a lower one is used first
	Weight   int // the node's share of connections, relative to the other weights

	State     health.State
	Since     time.Time // since when it has been in State
	Returning bool      // it came back less than failback_after ago
	Full      bool      // lately it had no room for a connection
	Donor     bool      // a Galera donor, or desynced
	Second    bool      // not of the role that is preferred
	Chosen    time.Time // since when it has its role; zero if it has told none

	Load    int // connections of the present generation, plus opens under way
	Current int // connections of the present generation

	Back        time.Time // when it last came back; zero if it never did
	LastSuccess time.Time // when a connection of it was last handed out

	RoundTrip health.Latency // of a check on the lasting probe connection
	Open      health.Latency // of dial, handshake and check
}

// settled reports whether a node has been in its state for at least after.
func (m *Member) settled(after time.Duration, now time.Time) bool {
	return now.Sub(m.Since) >= after
}

// suspect reports whether the node is suspect.
func (m *Member) suspect() bool { return m.State == health.Suspect }

// working reports whether the node is up or suspect.
func (m *Member) working() bool { return m.State == health.Up || m.State == health.Suspect }
