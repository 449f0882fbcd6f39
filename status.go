package clustersql

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/EnumApps/clustersql/internal/health"
)

// ClusterStatus is a snapshot of a cluster.
type ClusterStatus struct {
	Name  string
	Nodes []NodeStatus // sorted by name
}

// NodeStatus is a snapshot of one node. Counters run from the moment the node
// was added.
type NodeStatus struct {
	Name     string
	Priority int // see [NodeConfig]
	Weight   int

	State     State
	Reason    string    // why the node is suspect or down, redacted; empty when up
	Since     time.Time // of State
	Returning bool      // back for less than failback_after: Ordered asks it after the others
	Full      bool      // it has lately refused a connection for want of room (error 1040): asked last, and by one open at a time
	Donor     bool      // by its own account a Galera donor or desynced: asked last, unless Config.AllowDonor
	ConfID    uint64    // wsrep_cluster_conf_id at the last look: the number of its view of the Galera group; 0 if none was told
	NextCheck time.Time // when the next probe is due; zero while no connector is open

	// Generation grows by one whenever the node goes down, is drained or removed.
	// Connections of an older generation are not handed out of the pool again.
	Generation uint64
	OpenConns  int // connections handed to database/sql and not closed yet
	Cuttable   int // of these, those that the cluster can cut; see Dial
	// Load is what Balanced compares: open connections of the present
	// generation, and launches of opens that have not ended.
	Load     int
	Attempts int // opens in flight
	Deaf     int // of these and of the probe, those past their deadline whose backend has not come back

	Opens  uint64 // attempts started
	Won    uint64 // connections handed to database/sql
	Lost   uint64 // attempts that another node overtook, whose caller left, or that a Close found under way
	Errors uint64 // attempts that failed

	Probes      uint64 // background checks ended
	ProbeErrors uint64 // of these, failed ones

	Added            time.Time
	LastSuccess      time.Time // of a connection handed out
	LastError        time.Time // of an attempt, a probe or a statement
	LastErrorMessage string    // redacted

	ProbeLatency Latency // of checks on the lasting probe connection
	OpenLatency  Latency // of fresh connections: dial, handshake and check
}

// Latency summarises how long something took. It is an immutable value; the
// zero Latency has no samples.
type Latency struct{ l health.Latency }

// Count returns the number of samples ever taken.
func (l Latency) Count() uint64 { return l.l.Count() }

// Mean returns the exponentially weighted moving average with a weight of 0.2
// for a new sample; the first sample sets it. It is 0 without samples.
// The estimator is that of MongoDB's server selection specification.
func (l Latency) Mean() time.Duration { return l.l.Mean() }

// Deviation returns the smoothed mean deviation of RFC 6298, with a weight of
// 0.25 for a new sample. It is 0 with fewer than two samples.
func (l Latency) Deviation() time.Duration { return l.l.Deviation() }

// Percentile returns the value that p of the last 64 samples do not exceed,
// by the nearest-rank method; p runs from 0 to 1. It is 0 without samples.
func (l Latency) Percentile(p float64) time.Duration { return l.l.Percentile(p) }

// State is what a cluster thinks of one of its nodes.
type State uint8

const (
	// StateUnknown is a node that was never heard of.
	StateUnknown State = iota
	// StateUp is a node whose last check passed.
	StateUp
	// StateSuspect is a node with one sign of trouble; it is still used and
	// is being checked.
	StateSuspect
	// StateDown is a node that refused, or kept silent; it is left out of
	// opens while another node is usable, and tested in the background.
	StateDown
	// StateDraining is a node that the program drains or has removed: opens
	// do not go there, and what runs there may end.
	StateDraining
)

// String returns the state's name in lower case.
func (s State) String() string {
	names := [...]string{"unknown", "up", "suspect", "down", "draining"}
	if int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// waitReady waits until at least want nodes are up.
func (m *manager) waitReady(ctx context.Context, want int) error {
	running, err := m.running()
	if err != nil {
		return err
	}
	for {
		news := m.news.next()
		s := m.status()
		if s.up() >= want {
			return nil
		}
		select {
		case <-news:
		case <-running.Done():
			return ErrClosed
		case <-ctx.Done():
			return fmt.Errorf("clustersql: cluster %q: %d of %d wanted nodes up%s: %w", m.name, s.up(), want, s.missing(), context.Cause(ctx))
		}
	}
}

func (s *ClusterStatus) up() int {
	up := 0
	for i := range s.Nodes {
		if s.Nodes[i].State == StateUp {
			up++
		}
	}
	return up
}

// missing lists the nodes that are not up, each with its reason.
func (s *ClusterStatus) missing() string {
	var b strings.Builder
	sep := ": "
	for i := range s.Nodes {
		if n := &s.Nodes[i]; n.State != StateUp {
			fmt.Fprintf(&b, "%s%s is %s", sep, n.Name, n.State)
			if n.Reason != "" {
				fmt.Fprintf(&b, " (%s)", n.Reason)
			}
			sep = "; "
		}
	}
	return b.String()
}
