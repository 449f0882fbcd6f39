package clustersql

import (
	"fmt"
	"slices"
	"time"

	"github.com/EnumApps/clustersql/internal/balance"
	"github.com/EnumApps/clustersql/internal/health"
)

// ClusterStatus is a snapshot of a cluster. Its counters start when the cluster is
// made. Package encoding/json can write and read it; the manual has the names.
type ClusterStatus struct {
	Name string `json:"name"`
	// ID is the name, with #2 and so on behind it where an earlier cluster in use
	// has the same name. It is unique among [Clusters], and stays.
	ID       string    `json:"id"`
	Time     time.Time `json:"time"`     // of the snapshot
	Strategy string    `json:"strategy"` // its name
	Open     bool      `json:"open"`     // a connector is open: opens may come, and the nodes are probed

	Usable       int       `json:"usable"`                  // nodes to which opens go
	AllDownSince time.Time `json:"all_down_since,omitzero"` // since when there is no such node; zero if there is one, if the cluster has no node, or is not open
	Waiting      int       `json:"waiting"`                 // opens that wait for a node
	MaxOpens     int       `json:"max_opens"`               // see [Config.MaxOpensPerNode]

	OpensAllDown uint64 `json:"opens_all_down"`  // opens that have met no usable node
	Masked       uint64 `json:"masked"`          // failures of nodes in opens that gave a connection all the same
	Moved        uint64 `json:"moved"`           // statements and other calls that a node refused, and that database/sql could send to another one
	Unknown      uint64 `json:"unknown_outcome"` // errors that are an [ErrUnknownOutcome]

	DiscoveryChanges uint64 `json:"discovery_changes"` // of nodes, that discovery has made
	DiscoveryErrors  uint64 `json:"discovery_errors"`  // questions to sources that got no answer that counts

	Nodes []NodeStatus `json:"nodes"` // sorted by name

	Reload  ReloadStatus   `json:"reload,omitzero"`   // of the last one
	Sources []SourceStatus `json:"sources,omitempty"` // of discovery
	Unused  []UnusedNode   `json:"unused,omitempty"`  // what discovery has found and does not use
}

// NodeStatus is a snapshot of one node. Its counters start when the node is
// added.
type NodeStatus struct {
	Name     string `json:"name"`
	Address  string `json:"address,omitempty"` // host and port, or the socket, of its DSN; empty if it is not known
	Origin   string `json:"origin"`            // who has added it: "code", "file" (a configuration file), "dsn" (a DSN with a list of hosts), or the source of discovery
	Pending  string `json:"pending,omitempty"` // what a reload or discovery has asked for, and what it waits for; empty if nothing waits
	Priority int    `json:"priority"`          // see [NodeConfig]
	Weight   int    `json:"weight"`

	State  State     `json:"state"`
	Reason string    `json:"reason,omitempty"` // why the node is suspect or down, redacted; empty when up
	Since  time.Time `json:"since,omitzero"`   // when State began
	// WhyNot says in a sentence why an open that begins now does not ask this node
	// first. It is empty if it does. Strategies get it empty.
	WhyNot    string `json:"why_not,omitempty"`
	Returning bool   `json:"returning,omitempty"` // back for less than failback_after: Ordered asks it after the others
	Full      bool   `json:"full,omitempty"`      // an open found no room for a connection there (such as error 1040): asked last; after a backoff one open at a time tries it
	Donor     bool   `json:"donor,omitempty"`     // the node says that it is a Galera donor or desynced, and is asked last; always false if Config.AllowDonor is set
	SameAs    string `json:"same_as,omitempty"`   // the node that is the same server under another name, and has its share; "" if there is none
	ConfID    uint64 `json:"conf_id,omitempty"`   // wsrep_cluster_conf_id at the last look: the number of its view of the Galera group; 0 if it showed none
	Role      Role   `json:"role"`                // its part in replication, at the last look
	Access    Access `json:"access"`              // whether it takes writes, at the last look
	Timeline  uint64 `json:"timeline,omitempty"`  // PostgreSQL's, which grows with every promotion; 0 if it is not known
	// Lag is how far a replica was behind its primary at the last look. It means
	// nothing if LagUnknown, the reason why it is not known, is not empty.
	Lag        time.Duration `json:"-"`
	LagUnknown string        `json:"lag_unknown,omitempty"`

	ReturnedAt time.Time `json:"returned_at,omitzero"` // when Returning ends; zero if it is false
	FullUntil  time.Time `json:"full_until,omitzero"`  // no open asks a full node before that; zero if it is not full
	HeldUntil  time.Time `json:"held_until,omitzero"`  // until when a node that was silent and answers again is held at the longest; zero if that depends on what it shows, or if it is not held

	// Good and Bad say how far the node is on its way. A down node comes up when
	// Good, the good checks in a row, has reached Rise. A node that is used goes
	// down when Bad, the signs of silence in a row, has reached Fall. Other
	// evidence takes it down at once.
	Good int `json:"good"`
	Rise int `json:"rise"`
	Bad  int `json:"bad"`
	Fall int `json:"fall"`

	NextCheck time.Time   `json:"next_check,omitzero"` // when the next probe is due; zero while no connector is open
	Probing   bool        `json:"probing,omitempty"`   // a probe is under way
	LastProbe ProbeResult `json:"last_probe"`

	// Generation grows by one when the node goes down, is drained or is
	// removed. It does not grow when the node goes down because of failures
	// without a known reason. The pool does not hand out connections of an
	// older generation.
	Generation uint64 `json:"generation"`
	OpenConns  int    `json:"open_conns"` // connections handed to database/sql and not closed yet
	// IdleConns and RetiredConns are parts of OpenConns: those that lie idle in
	// database/sql's pool, and those of older generations, which finish their
	// work. The others are in use. Strategies get both as 0.
	IdleConns    int `json:"idle_conns"`
	RetiredConns int `json:"retired_conns"`
	MostConns    int `json:"most_conns"` // the most that OpenConns has been
	Cuttable     int `json:"cuttable"`   // of OpenConns, those that the cluster can cut; see Dial
	// Load is what Balanced compares: open connections of the present
	// generation, plus launches whose open has not ended.
	Load     int `json:"load"`
	Attempts int `json:"attempts"` // attempts in flight
	Deaf     int `json:"deaf"`     // attempts, probes and closes that are past their deadline and whose backend has not returned

	Chosen uint64 `json:"chosen"` // launches on the node: opens that asked it
	Opens  uint64 `json:"opens"`  // attempts started
	Won    uint64 `json:"won"`    // connections handed to database/sql, but for those that met a close on their way
	Lost   uint64 `json:"lost"`   // attempts that ended because another node won, the caller left, or a Close came
	Errors uint64 `json:"errors"` // attempts that failed
	Outrun uint64 `json:"outrun"` // attempts that a node that was asked later has outrun

	Probes      uint64 `json:"probes"`       // probes that have ended
	ProbeErrors uint64 `json:"probe_errors"` // of Probes, those that failed

	Downs    uint64         `json:"downs"`             // how often the node went down
	Downtime time.Duration  `json:"-"`                 // how long it has been down in all, up to now
	Changes  []StateChanges `json:"changes,omitempty"` // of its state so far

	// ErrorsByClass counts the attempts and probes that have failed, by the class
	// of the error. RefusedByClass counts the errors of statements that say
	// something about the node or its connection. ClosedBy counts the connections
	// that database/sql held, by why they were closed: "pool" (by database/sql
	// itself), "error", "generation" (retired with the node's others), "drain",
	// "cut", "rebalance", "max_age", and "room" (for others, on a full node). A
	// name is missing while its count is 0. The maps are the caller's.
	ErrorsByClass  map[string]uint64 `json:"errors_by_class,omitempty"`
	RefusedByClass map[string]uint64 `json:"refused_by_class,omitempty"`
	ClosedBy       map[string]uint64 `json:"closed_by,omitempty"`
	Moved          uint64            `json:"moved"`           // see [ClusterStatus]
	Unknown        uint64            `json:"unknown_outcome"` // see [ClusterStatus]

	Added            time.Time `json:"added,omitzero"`
	LastSuccess      time.Time `json:"last_success,omitzero"`        // when a connection was last handed out
	LastError        time.Time `json:"last_error,omitzero"`          // when an attempt, a probe or a statement last failed
	LastErrorMessage string    `json:"last_error_message,omitempty"` // redacted

	ProbeLatency Latency   `json:"probe_latency"` // of checks on the lasting probe connection
	OpenLatency  Latency   `json:"open_latency"`  // of fresh connections: dial, handshake and check
	ProbeTimes   Histogram `json:"probe_times"`   // the same checks, counted
	OpenTimes    Histogram `json:"open_times"`    // the same connections, counted
}

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

// status returns a snapshot of the cluster. Each node's part is of one moment.
func (m *manager) status() ClusterStatus {
	nodes, now := *m.nodes.Load(), time.Now()
	_, err := m.running()
	s := ClusterStatus{
		Name: m.name, ID: m.id, Time: now, Strategy: m.cfg().Strategy.name, Open: err == nil, Waiting: m.room.Waiting(), MaxOpens: m.cfg().MaxOpensPerNode,
		OpensAllDown: m.tally.allDown.Load(), Masked: m.tally.masked.Load(), Moved: m.tally.moved.Load(), Unknown: m.tally.unknown.Load(),
		DiscoveryChanges: m.tally.found.Load(), DiscoveryErrors: m.tally.unheard.Load(),
		Nodes: make([]NodeStatus, len(nodes)),
	}
	for i, n := range nodes {
		s.Nodes[i] = n.status()
		if st := health.State(s.Nodes[i].State); st.Usable() {
			s.Usable++
		} else if s.Nodes[i].Since.After(s.AllDownSince) {
			s.AllDownSince = s.Nodes[i].Since
		}
	}
	if s.Usable > 0 || !s.Open {
		s.AllDownSince = time.Time{}
	}
	if r := m.reloaded.Load(); r != nil {
		s.Reload = *r
	}
	if f := m.shownFound.Load(); f != nil && m.cfg().discovers() {
		s.Sources, s.Unused = f.sources, f.unused
	}
	m.explain(&s, nodes, now)
	return s
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
	n.publishProgress()
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

// status returns all that is known of the node, but for WhyNot. Anyone may call
// it.
func (n *node) status() NodeStatus {
	now := time.Now()
	status := n.shown(now)
	t := n.tally
	status.IdleConns, status.RetiredConns = n.conns.parts(status.Generation)
	status.HeldUntil = n.heldUntil(now)
	if u := t.troubles.Load(); u != nil {
		status.ErrorsByClass = byName(u.failed[:], className)
		status.RefusedByClass = byName(u.refused[:], className)
		status.ClosedBy = byName(u.closed[:], func(i int) string { return endNames[i] })
	}
	t.fill(&status, now)
	return status
}

// heldUntil returns until when a node that was silent is held at the longest. It
// is zero if the node is not held, or if other nodes decide that.
func (n *node) heldUntil(now time.Time) time.Time {
	held := n.tally.held.Load()
	if held == 0 || slices.ContainsFunc(n.nodes(), func(other *node) bool {
		s := other.snapshot.Load()
		return other != n && s.state == health.Up && s.answers && s.view.Conf != 0
	}) {
		return time.Time{}
	}
	if until := time.Unix(0, held).Add(n.cfg().SilenceHold); until.After(now) {
		return until
	}
	return time.Time{}
}

// shown returns the snapshot in the form for programs, and what else costs little:
// opens call it too. Values that are counted outside the loop are as they are now.
// Anyone may call it.
func (n *node) shown(now time.Time) NodeStatus {
	s, t, set := n.snapshot.Load(), n.tally, n.settings.Load()
	p := unpacked(t.progress.Load())
	generation := n.generation.Load()
	open, cuttable := n.conns.count()
	load, _ := n.load.Of(generation)
	status := NodeStatus{
		Name: n.name, Address: n.address(), Origin: set.origin, Priority: set.Priority, Weight: set.Weight,
		State: State(n.effective(s)), Reason: s.reason, Since: s.since, NextCheck: s.nextCheck,
		Returning: n.returning(s, now), Full: s.fullUntil.After(now), Donor: s.donor, SameAs: s.alias, ConfID: s.view.Conf,
		Generation: generation, OpenConns: open, Cuttable: cuttable, Load: load,
		Attempts: int(n.inflight.Load()), Deaf: int(max(0, n.deaf.Load()+n.hanging.Load())),
		Opens: n.opens.Load(), Won: s.won, Lost: s.lost, Errors: s.errors, Probes: s.probes, ProbeErrors: s.probeErrors,
		Good: int(p.good), Rise: int(p.rise), Bad: int(p.bad), Fall: n.cfg().Fall, Probing: t.probing.Load(),
		MostConns: int(t.most.Load()), Chosen: t.chosen.Load(), Outrun: t.outrun.Load(), Moved: t.moved.Load(), Unknown: t.unknown.Load(),
		Added: s.added, LastSuccess: s.lastSuccess, LastError: s.lastErrorAt, LastErrorMessage: s.lastErrorText,
		ProbeLatency: Latency{s.probeLatency}, OpenLatency: Latency{s.openLatency},
		OpenTimes: histogram(&t.opens), ProbeTimes: histogram(&t.trips), Pending: n.pending(),
		LagUnknown: "the node has not told its part in replication",
	}
	if r := t.check.Load(); r != nil {
		status.LastProbe = *r
	}
	if status.Returning {
		status.ReturnedAt = s.back.Add(n.cfg().FailbackAfter)
	}
	if status.Full {
		status.FullUntil = s.fullUntil
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
	load, current := n.load.Of(n.generation.Load())
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
