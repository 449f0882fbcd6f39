package clustersql

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/EnumApps/clustersql/internal/balance"
	"github.com/EnumApps/clustersql/internal/health"
)

// ClusterStatus is a snapshot of a cluster.
type ClusterStatus struct {
	Name string
	// ID is the name, with #2 and so on behind it where an earlier cluster in use
	// has the same name. It is unique among [Clusters], and stays.
	ID    string
	Nodes []NodeStatus // sorted by name
}

// NodeStatus is a snapshot of one node. Its counters start when the node is
// added.
type NodeStatus struct {
	Name     string
	Priority int // see [NodeConfig]
	Weight   int

	State     State
	Reason    string    // why the node is suspect or down, redacted; empty when up
	Since     time.Time // when State began
	Returning bool      // back for less than failback_after: Ordered asks it after the others
	Full      bool      // an open found no room for a connection there (such as error 1040): asked last; after a backoff one open at a time tries it
	Donor     bool      // the node says that it is a Galera donor or desynced, and is asked last; always false if Config.AllowDonor is set
	SameAs    string    // the node that is the same server under another name, and has its share; "" if there is none
	ConfID    uint64    // wsrep_cluster_conf_id at the last look: the number of its view of the Galera group; 0 if it showed none
	Role      Role      // its part in replication, at the last look
	Access    Access    // whether it takes writes, at the last look
	Timeline  uint64    // PostgreSQL's, which grows with every promotion; 0 if it is not known
	// Lag is how far a replica was behind its primary at the last look. It means
	// nothing if LagUnknown, the reason why it is not known, is not empty.
	Lag        time.Duration
	LagUnknown string
	NextCheck  time.Time // when the next probe is due; zero while no connector is open

	// Generation grows by one when the node goes down, is drained or is
	// removed. It does not grow when the node goes down because of failures
	// without a known reason. The pool does not hand out connections of an
	// older generation.
	Generation uint64
	OpenConns  int // connections handed to database/sql and not closed yet
	Cuttable   int // of OpenConns, those that the cluster can cut; see Dial
	// Load is what Balanced compares: open connections of the present
	// generation, plus launches whose open has not ended.
	Load     int
	Attempts int // attempts in flight
	Deaf     int // attempts, probes and closes that are past their deadline and whose backend has not returned

	Opens  uint64 // attempts started
	Won    uint64 // connections handed to database/sql, but for those that met a close on their way
	Lost   uint64 // attempts that ended because another node won, the caller left, or a Close came
	Errors uint64 // attempts that failed

	Probes      uint64 // probes that have ended
	ProbeErrors uint64 // of Probes, those that failed

	Added            time.Time
	LastSuccess      time.Time // when a connection was last handed out
	LastError        time.Time // when an attempt, a probe or a statement last failed
	LastErrorMessage string    // redacted

	ProbeLatency Latency // of checks on the lasting probe connection
	OpenLatency  Latency // of fresh connections: dial, handshake and check
}

// Latency summarises how long something took. It is an immutable value. The
// zero Latency has no samples.
type Latency struct{ l health.Latency }

// Count returns the number of all samples since the start.
func (l Latency) Count() uint64 { return l.l.Count() }

// Mean returns the exponentially weighted moving average. A new sample has a
// weight of 0.2; the first sample sets the average. Without samples it is 0.
// The estimator is that of MongoDB's server selection specification.
func (l Latency) Mean() time.Duration { return l.l.Mean() }

// Deviation returns the smoothed mean deviation of RFC 6298. A new sample has a
// weight of 0.25. With fewer than two samples it is 0.
func (l Latency) Deviation() time.Duration { return l.l.Deviation() }

// Percentile returns the value that a part p of the last 64 samples do not
// exceed, by the nearest-rank method. p is from 0 to 1. Without samples it is
// 0.
func (l Latency) Percentile(p float64) time.Duration { return l.l.Percentile(p) }

// State is how well a node works, as the cluster sees it.
type State uint8

const (
	// StateUnknown is a node that was never heard of.
	StateUnknown State = iota
	// StateUp is a node whose last check passed.
	StateUp
	// StateSuspect is a node with one sign of trouble. It is still used, and it
	// is being checked.
	StateSuspect
	// StateDown is a node that refused or was silent. Opens do not go there
	// while another node is usable. It is tested in the background.
	StateDown
	// StateDraining is a node that the program drains or has removed. Opens do
	// not go there. Work under way there may finish.
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

// A snapshot is what a node's actor knows at one moment. The actor publishes it
// and never changes it after that. Opens, the other nodes and Status read it.
type snapshot struct {
	state     health.State
	class     health.Class // what took the node down
	caused    time.Time    // when class became what it is
	donor     bool         // a Galera donor, or desynced
	reason    string       // why the node is suspect or down, redacted
	since     time.Time
	nextCheck time.Time

	retryEpoch uint64        // grows when an open that failed here may ask again
	fullUntil  time.Time     // no open before that time; zero while there is room
	back       time.Time     // when the node last came back; zero if it never did
	view       health.View   // of the Galera group, at the last look; zero if the node showed none
	viewAt     time.Time     // time of that look
	part       *part         // in replication, at the last look; nil if the node has told nothing
	server     health.Server // which one the last new probe connection reached
	alias      string        // another node's name for the same server, which comes first; empty if there is none
	answers    bool          // the last probe passed
	answered   time.Time     // when a probe last passed

	won, lost, errors   uint64
	probes, probeErrors uint64
	probeLatency        health.Latency
	openLatency         health.Latency

	added, lastSuccess, lastErrorAt time.Time
	lastErrorText                   string // redacted
	lastErr                         error  // the error behind lastErrorText, not redacted; nil if there was none
}

// publish makes a snapshot of what the loop knows. Only run calls it, except
// before the node's first start.
func (n *node) publish() {
	s := n.loop.facts
	h := &n.loop.health
	s.state, s.reason, s.since = h.State, h.Reason, h.Since
	s.class, s.caused = h.Class, h.Caused
	s.fullUntil, s.back = n.loop.full.Until, n.loop.balance.back
	s.donor = !h.DonorSince.IsZero()
	n.snapshot.Store(&s)
}

// effective returns the node's state. While the program drains the node it is
// Draining, even if the actor has not seen that yet.
func (n *node) effective(s *snapshot) health.State {
	if n.draining.Load() {
		return health.Draining
	}
	return s.state
}

// returning reports whether the node has been back for less than
// failback_after.
func (n *node) returning(s *snapshot, now time.Time) bool {
	return s.back.Add(n.cfg().FailbackAfter).After(now)
}

// status returns the snapshot in the form for programs. Values that are counted
// outside the loop are as they are now. Anyone may call it.
func (n *node) status() NodeStatus {
	s, set, now := n.snapshot.Load(), n.settings.Load(), time.Now()
	generation := n.generation.Load()
	open, cuttable := n.conns.count()
	load, _ := n.load.of(generation)
	status := NodeStatus{
		Name: n.name, Priority: set.Priority, Weight: set.Weight,
		State: State(n.effective(s)), Reason: s.reason, Since: s.since, NextCheck: s.nextCheck,
		Returning: n.returning(s, now), Full: s.fullUntil.After(now), Donor: s.donor, SameAs: s.alias, ConfID: s.view.Conf,
		Generation: generation, OpenConns: open, Cuttable: cuttable, Load: load,
		Attempts: int(n.inflight.Load()), Deaf: int(max(0, n.deaf.Load()+n.hanging.Load())),
		Opens: n.opens.Load(), Won: s.won, Lost: s.lost, Errors: s.errors, Probes: s.probes, ProbeErrors: s.probeErrors,
		Added: s.added, LastSuccess: s.lastSuccess, LastError: s.lastErrorAt, LastErrorMessage: s.lastErrorText,
		ProbeLatency: Latency{s.probeLatency}, OpenLatency: Latency{s.openLatency},
		LagUnknown: "the node has not told its part in replication",
	}
	if p := s.part; p != nil {
		status.Role, status.Access, status.Timeline = Role(p.Role), Access(p.Access), p.Timeline
		status.Lag, status.LagUnknown = p.lag.For, p.lag.Why
	}
	return status
}

// member returns what the strategies and the rebalancing of other nodes need to
// know.
func (n *node) member(now time.Time) balance.Member {
	s, set := n.snapshot.Load(), n.settings.Load()
	load, current := n.load.of(n.generation.Load())
	return balance.Member{
		Name: n.name, Priority: set.Priority, Weight: set.Weight,
		State: n.effective(s), Since: s.since, Returning: n.returning(s, now), Full: s.fullUntil.After(now), Donor: s.donor,
		Second: n.cfg().Require.second(s.role()), Chosen: s.chosen(),
		Load: load, Current: current, Back: s.back, LastSuccess: s.lastSuccess,
		RoundTrip: s.probeLatency, Open: s.openLatency,
	}
}

// member returns the part of a status that strategies need to know.
func (s *NodeStatus) member() balance.Member {
	return balance.Member{
		Name: s.Name, Priority: s.Priority, Weight: s.Weight,
		State: health.State(s.State), Since: s.Since, Returning: s.Returning, Full: s.Full, Donor: s.Donor,
		Load: s.Load, LastSuccess: s.LastSuccess,
		RoundTrip: s.ProbeLatency.l, Open: s.OpenLatency.l,
	}
}
