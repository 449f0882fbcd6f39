// Package balance ranks the nodes of a cluster for one open, and says which of
// them have more connections than their share. It is pure: it keeps no state
// and draws from the source that its caller gives it.
package balance

import (
	"time"

	"github.com/EnumApps/clustersql/internal/health"
)

// A Member is what is known of one node. The names of a cluster's members
// differ.
type Member struct {
	Name     string
	Priority int // a lower one is used first
	Weight   int // the share of connections beside the others'

	State     health.State
	Since     time.Time // of State
	Returning bool      // back for less than failback_after
	Full      bool      // it lately had no room for a connection
	Donor     bool      // a Galera donor, or desynced

	Load    int // connections of the present generation, and opens under way
	Current int // connections of the present generation

	Back        time.Time // when it last came back; zero if it never did
	LastSuccess time.Time // of a connection handed out

	RoundTrip health.Latency // of a check on the lasting probe connection
	Open      health.Latency // of dial, handshake and check
}

// settled reports whether a node has been in its state for long enough to count.
func (m *Member) settled(after time.Duration, now time.Time) bool {
	return now.Sub(m.Since) >= after
}

// suspect reports whether the node is.
func (m *Member) suspect() bool { return m.State == health.Suspect }

// working reports whether the node is up or suspect.
func (m *Member) working() bool { return m.State == health.Up || m.State == health.Suspect }
