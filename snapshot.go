package clustersql

import (
	"time"

	"github.com/EnumApps/clustersql/internal/balance"
	"github.com/EnumApps/clustersql/internal/health"
)

// A snapshot is what a node's actor knows, at one moment. The actor publishes
// it, and it is never changed after that: opens, the other nodes and the status
// read it.
type snapshot struct {
	state     health.State
	class     health.Class // what took the node down
	donor     bool         // a Galera donor, or desynced
	reason    string       // why the node is suspect or down, redacted
	since     time.Time
	nextCheck time.Time

	retryEpoch uint64      // grows when an open that failed here may ask again
	fullUntil  time.Time   // no open before that; zero while there is room
	back       time.Time   // when the node last came back; zero if it never did
	view       health.View // of the Galera group at the last look; zero if none was told
	viewAt     time.Time   // of that look

	opens, won, lost, errors uint64
	probes, probeErrors      uint64
	probeLatency             health.Latency
	openLatency              health.Latency

	added, lastSuccess, lastErrorAt time.Time
	lastErrorText                   string // redacted
	lastErr                         error  // what lastErrorText tells of; not redacted; nil where no error did
}

// publish makes what the loop knows the snapshot that everybody reads.
func (n *node) publish() {
	s := n.own.facts
	h := &n.own.health
	s.state, s.reason, s.since, s.class = h.State, h.Reason, h.Since, h.Class
	s.fullUntil, s.back = n.own.full.Until, n.own.balance.back
	s.donor = !h.DonorSince.IsZero()
	n.snapshot.Store(&s)
}

// effective is the node's state with a drain that its actor has not seen yet.
func (n *node) effective(s *snapshot) health.State {
	if n.draining.Load() {
		return health.Draining
	}
	return s.state
}

// returning reports whether the node has been back for less than failback_after.
func (n *node) returning(s *snapshot, now time.Time) bool {
	return s.back.Add(n.cfg.FailbackAfter).After(now)
}

// status returns the snapshot for the program, with what is counted outside
// the loop as it is now. Anyone may call it.
func (n *node) status() NodeStatus {
	s, now := n.snapshot.Load(), time.Now()
	generation := n.generation.Load()
	open, cuttable := n.conns.count()
	load, _ := n.load.of(generation)
	return NodeStatus{
		Name: n.name, Priority: n.settings.Priority, Weight: n.settings.Weight,
		State: State(n.effective(s)), Reason: s.reason, Since: s.since, NextCheck: s.nextCheck,
		Returning: n.returning(s, now), Full: s.fullUntil.After(now), Donor: s.donor, ConfID: s.view.Conf,
		Generation: generation, OpenConns: open, Cuttable: cuttable, Load: load,
		Attempts: int(n.inflight.Load()), Deaf: int(max(0, n.deaf.Load())),
		Opens: s.opens, Won: s.won, Lost: s.lost, Errors: s.errors, Probes: s.probes, ProbeErrors: s.probeErrors,
		Added: s.added, LastSuccess: s.lastSuccess, LastError: s.lastErrorAt, LastErrorMessage: s.lastErrorText,
		ProbeLatency: Latency{s.probeLatency}, OpenLatency: Latency{s.openLatency},
	}
}

// member is what the strategies, and the nodes that give way, need to know.
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

// member is the part of a status that strategies need to know.
func (s *NodeStatus) member() balance.Member {
	return balance.Member{
		Name: s.Name, Priority: s.Priority, Weight: s.Weight,
		State: health.State(s.State), Since: s.Since, Returning: s.Returning, Full: s.Full, Donor: s.Donor,
		Load: s.Load, LastSuccess: s.LastSuccess,
		RoundTrip: s.ProbeLatency.l, Open: s.OpenLatency.l,
	}
}
