package clustersql

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/EnumApps/clustersql/internal/balance"
	"github.com/EnumApps/clustersql/internal/health"
	"github.com/EnumApps/clustersql/internal/logline"
	"github.com/EnumApps/clustersql/internal/roles"
	"github.com/EnumApps/clustersql/internal/whynot"
)

// status returns a snapshot of the cluster. Each node's part is of one moment.
func (m *manager) status() ClusterStatus {
	nodes, now := *m.nodes.Load(), time.Now()
	_, err := m.running()
	s := ClusterStatus{
		Name: m.name, ID: m.id, Time: now, Strategy: m.cfg().Strategy.name, Open: err == nil, Waiting: m.room.Waiting(), MaxOpens: m.cfg().MaxOpensPerNode,
		OpensAllDown: m.tally.AllDown.Load(), Masked: m.tally.Masked.Load(), Moved: m.tally.Moved.Load(), Unknown: m.tally.Unknown.Load(),
		DiscoveryChanges: m.tally.Found.Load(), DiscoveryErrors: m.tally.Unheard.Load(),
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
	if f := m.finder.Shown(); f != nil && m.cfg().discovers() {
		s.Sources, s.Unused = shownFound(f)
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
	part       *roles.Part   // in replication, at the last look; nil if the node has told nothing
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

// publishProgress publishes what a status tells of the way down or up. Only run
// calls it, except before the node's first start.
func (n *node) publishProgress() {
	h := &n.loop.health
	held := int64(0)
	if h.State == health.Down && h.SilentBefore && h.Conf != 0 && !h.Answered.IsZero() {
		held = h.Answered.UnixNano()
	}
	n.tally.Held.Store(held)
	n.tally.SetProgress(h.Good, h.Rises(n.cfg().Rise), h.Bad())
	n.tally.Probing.Store(n.loop.probing)
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
	status.IdleConns, status.RetiredConns = n.conns.Parts(status.Generation)
	status.HeldUntil = n.heldUntil(now)
	if s := n.snapshot.Load(); s.part != nil {
		status.Position = s.part.Place(s.view)
	}
	status.ErrorsByClass, status.RefusedByClass, status.ClosedBy = t.Troubles()
	t.fill(&status, now)
	return status
}

// HedgedReads counts the reads of a node that took long, and were sent to another node
// too; see [Config.HedgeReads].
type HedgedReads struct {
	// Armed is how many of OpenConns have their reads watched. A connection is not
	// among them if it was opened while hedge_reads was off, or if the cluster cannot
	// cut it; see Cuttable.
	Armed    int    `json:"armed"`
	Launched uint64 `json:"launched"` // reads on this node that another one was to answer too; those under way are in neither of the next two
	Won      uint64 `json:"won"`      // the other one has answered first, and the connection is one to it now
	Lost     uint64 `json:"lost"`     // this one has, or the other one has failed
}

// fill fills in what a status says of the node's past.
func (t *tally) fill(s *NodeStatus, now time.Time) {
	t.cluster.history.Look(func() {
		for _, c := range t.past.Changes {
			s.Changes = append(s.Changes, StateChanges{State(c.To), c.Cause, c.Count})
		}
		s.Downs, s.Downtime = t.past.Downs, t.past.Downtime(now)
	})
}

// heldUntil returns until when a node that was silent is held at the longest. It
// is zero if the node is not held, or if other nodes decide that.
func (n *node) heldUntil(now time.Time) time.Time {
	held := n.tally.Held.Load()
	if held == 0 || n.anyOther(func(_ *node, s *snapshot) bool { return s.state == health.Up && s.answers && s.view.Conf != 0 }) {
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
	good, rise, bad := t.Progress()
	generation := n.generation.Load()
	open, cuttable := n.conns.Count()
	load, _ := n.load.Of(generation)
	status := NodeStatus{
		Name: n.name, Address: n.address(), Origin: set.origin, Priority: set.Priority, Weight: set.Weight,
		State: State(n.effective(s)), Reason: s.reason, Since: s.since, NextCheck: s.nextCheck,
		Returning: n.returning(s, now), Full: s.fullUntil.After(now), Donor: s.donor, SameAs: s.alias, ConfID: s.view.Conf,
		Generation: generation, OpenConns: open, Cuttable: cuttable, Load: load,
		Attempts: int(n.inflight.Load()), Deaf: int(max(0, n.deaf.Load()+n.hanging.Load())),
		Opens: n.opens.Load(), Won: s.won, Lost: s.lost, Errors: s.errors, Probes: s.probes, ProbeErrors: s.probeErrors,
		Good: good, Rise: rise, Bad: bad, Fall: n.cfg().Fall, Probing: t.Probing.Load(),
		MostConns: t.Most(), Chosen: t.Chosen.Load(), Outrun: t.Outrun.Load(), Moved: t.Moved.Load(), Unknown: t.Unknown.Load(),
		Added: s.added, LastSuccess: s.lastSuccess, LastError: s.lastErrorAt, LastErrorMessage: s.lastErrorText,
		ProbeLatency: Latency{s.probeLatency}, OpenLatency: Latency{s.openLatency},
		OpenTimes: Histogram{t.Opens.Histogram()}, ProbeTimes: Histogram{t.Trips.Histogram()}, Pending: n.pending(),
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
	r := &status.HedgedReads
	r.Armed, r.Launched, r.Won, r.Lost = t.hedges.Load().Counts()
	if c := t.seen.Counts(); c != nil {
		status.SessionReads = SessionReads(c.Reads())
	}
	if p := s.part; p != nil {
		status.Role, status.Access, status.Timeline = Role(p.Role), Access(p.Access), p.Timeline
		status.Lag, status.LagUnknown = p.Lag.For, p.Lag.Why
	}
	return status
}

// member returns what the strategies and the rebalancing of other nodes need to
// know.
func (n *node) member(now time.Time) balance.Member {
	s, set := n.snapshot.Load(), n.settings.Load()
	load, current := n.load.Of(n.generation.Load())
	role, chosen := s.part.Taken()
	return balance.Member{
		Name: n.name, Priority: set.Priority, Weight: set.Weight,
		State: n.effective(s), Since: s.since, Returning: n.returning(s, now), Full: s.fullUntil.After(now), Donor: s.donor,
		Second: n.cfg().Require.is().Second(role), Chosen: chosen,
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

// explain fills in WhyNot of every node: it works out whom an open asks first that
// begins now. A strategy made by the program is not asked for that; of its plans
// only the part is known that every strategy has.
func (m *manager) explain(s *ClusterStatus, nodes []*node, now time.Time) {
	cfg := m.cfg()
	p := whynot.Place{Open: s.Open, MaxLag: cfg.MaxLag, Preferred: strings.TrimPrefix(string(cfg.Require), "prefer-"), Now: now}
	r := usable(nodes, now)
	defer release(r)
	front := r
	if r.Mixed() {
		front, _ = r.Split()
	}
	behind, first := make([]balance.Behind, len(front.Nodes)), -1
	if cfg.Strategy.custom == nil {
		behind, first = balance.Front(front.Members, cfg.Strategy.order)
	}
	for i, n := range nodes {
		p := p
		p.Class = n.snapshot.Load().class
		if at, usable := findNode(front.Nodes, n.name); usable {
			if p.Behind = behind[at]; p.Behind == balance.InFront && p.Open {
				continue
			}
			if first >= 0 { // a strategy of the program's own has told no order
				p.First = s.Nodes[nodeAt(nodes, front.Nodes[first])].why()
			}
		} else if at, usable := findNode(r.Nodes, n.name); usable {
			p.Last = whynot.LastWhy(&r.Members[at])
		}
		s.Nodes[i].WhyNot = p.Sentence(s.Nodes[i].why())
	}
}

// nodeAt returns the index of a node.
func nodeAt(nodes []*node, n *node) int {
	i, _ := findNode(nodes, n.name)
	return i
}

// why returns what decides of the status why an open does not ask the node first.
func (s *NodeStatus) why() *whynot.Node {
	return &whynot.Node{
		Name: s.Name, State: health.State(s.State), Reason: s.Reason, SameAs: s.SameAs, Priority: s.Priority,
		Good: s.Good, Rise: s.Rise, Reached: s.Probes == 0 || s.ProbeErrors < s.Probes || s.Won > 0,
		Lag: s.Lag, LagUnknown: s.LagUnknown, RoundTrip: s.ProbeLatency.Mean(),
		FullUntil: s.FullUntil, HeldUntil: s.HeldUntil, NextCheck: s.NextCheck, ReturnedAt: s.ReturnedAt,
	}
}

// waitReady waits until at least want nodes are up.
func (m *manager) waitReady(ctx context.Context, want int) error {
	running, err := m.running()
	if err != nil {
		return err
	}
	for {
		news := m.news.Next()
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

// noteAlias looks whether another node of the cluster, one that comes first by
// priority and name, is the same server under another name. Such a server is
// told of once, and has one share.
func (n *node) noteAlias() {
	s := &n.loop.facts
	first := ""
	for _, other := range n.nodes() {
		o := other.snapshot.Load()
		if other == n || !s.sameServer(o) || !o.answers || other.draining.Load() {
			continue
		}
		if o, own := other.settings.Load().Priority, n.settings.Load().Priority; o < own || o == own && other.name < n.name {
			first = other.name
			break
		}
	}
	if s.alias = first; first != "" {
		n.tellAlias()
	}
}

// tellAlias writes one line for each other name that the server has.
func (n *node) tellAlias() {
	if pair := n.loop.facts.alias + "\n" + n.loop.facts.server.Text; n.loop.memory().toldAlias != pair {
		n.loop.memory().toldAlias = pair
		n.dial.log.Print(logline.Alias, n.loop.facts.alias)
	}
}

// isAlias reports whether the server is used under another name. Anyone may call
// it.
func (n *node) isAlias() bool {
	alias := n.snapshot.Load().alias
	if alias == "" {
		return false
	}
	nodes := n.nodes()
	i, found := findNode(nodes, alias)
	return found && nodes[i].snapshot.Load().state.Usable() && !nodes[i].draining.Load()
}

// sameServer reports whether two nodes are one server. What a server says of
// itself is not unique everywhere: it must all be the same, and one of the long
// numbers must be there.
func (s *snapshot) sameServer(o *snapshot) bool {
	return (s.server.Unique || s.view.Member != "") && s.server == o.server && s.view.Member == o.view.Member
}
