package clustersql

import (
	"time"

	"github.com/EnumApps/clustersql/internal/balance"
	"github.com/EnumApps/clustersql/internal/health"
)

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
	return s.back.Add(n.cfg.FailbackAfter).After(now)
}

// status returns the snapshot in the form for programs. Values that are counted
// outside the loop are as they are now. Anyone may call it.
func (n *node) status() NodeStatus {
	s, now := n.snapshot.Load(), time.Now()
	generation := n.generation.Load()
	open, cuttable := n.conns.count()
	load, _ := n.load.of(generation)
	return NodeStatus{
		Name: n.name, Priority: n.settings.Priority, Weight: n.settings.Weight,
		State: State(n.effective(s)), Reason: s.reason, Since: s.since, NextCheck: s.nextCheck,
		Returning: n.returning(s, now), Full: s.fullUntil.After(now), Donor: s.donor, SameAs: s.alias, ConfID: s.view.Conf,
		Generation: generation, OpenConns: open, Cuttable: cuttable, Load: load,
		Attempts: int(n.inflight.Load()), Deaf: int(max(0, n.deaf.Load()+n.hanging.Load())),
		Opens: n.opens.Load(), Won: s.won, Lost: s.lost, Errors: s.errors, Probes: s.probes, ProbeErrors: s.probeErrors,
		Added: s.added, LastSuccess: s.lastSuccess, LastError: s.lastErrorAt, LastErrorMessage: s.lastErrorText,
		ProbeLatency: Latency{s.probeLatency}, OpenLatency: Latency{s.openLatency},
	}
}

// member returns what the strategies and the rebalancing of other nodes need to
// know.
func (n *node) member(now time.Time) balance.Member {
	s := n.snapshot.Load()
	load, current := n.load.of(n.generation.Load())
	return balance.Member{
		Name: n.name, Priority: n.settings.Priority, Weight: n.settings.Weight,
		State: n.effective(s), Since: s.since, Returning: n.returning(s, now), Full: s.fullUntil.After(now), Donor: s.donor,
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
