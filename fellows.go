package clustersql

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/EnumApps/clustersql/internal/health"
	"github.com/EnumApps/clustersql/internal/logline"
)

// A node is judged among its fellows, the other nodes of its cluster. Each actor
// reads their snapshots, and asks them for a new look where it needs one.

// nodes returns all nodes of the cluster. A node that no cluster has yet is
// alone.
func (n *node) nodes() []*node {
	if n.members == nil {
		return []*node{n}
	}
	members := *n.members.Load()
	if n.inheriting.Load() {
		if i, found := findNode(members, n.name); found {
			members = slices.Clone(members)
			members[i] = n // the heir is judged as if it had the place already
		}
	}
	return members
}

// peers collects what the other nodes show of their groups. It is nil if the
// cluster has no other node.
func (n *node) peers() *health.Peers {
	members := n.nodes()
	if len(members) < 2 {
		return &health.Peers{Alone: true, Hold: n.cfg().SilenceHold, Mixed: n.cfg().Groups == GroupsAny}
	}
	p := &health.Peers{Alone: n.alone(), Hold: n.cfg().SilenceHold, Mixed: n.cfg().Groups == GroupsAny}
	for _, other := range members {
		s := other.snapshot.Load()
		if other == n || !s.answers || s.view.Conf == 0 {
			continue
		}
		p.Nodes = append(p.Nodes, health.Peer{View: s.view, Looked: s.viewAt, Usable: s.state == health.Up || s.state == health.Suspect, Up: s.state == health.Up})
	}
	return p
}

// askViews asks the other nodes that show a view to look at it again.
func (n *node) askViews() {
	for _, other := range n.nodes() {
		if s := other.snapshot.Load(); other != n && s.answers && s.view.Conf != 0 {
			other.checkNow()
		}
	}
}

// alone reports whether no other node of the cluster is usable.
func (n *node) alone() bool {
	return !slices.ContainsFunc(n.nodes(), func(other *node) bool {
		return other != n && other.snapshot.Load().state.Usable()
	})
}

// betterThere reports whether another node of the cluster is up, is no donor and
// has room.
func (n *node) betterThere() bool {
	return slices.ContainsFunc(n.nodes(), func(other *node) bool {
		s := other.snapshot.Load()
		return other != n && s.state == health.Up && !s.donor && s.fullUntil.IsZero() && !other.draining.Load()
	})
}

// askSecondBest wakes the nodes that answer and are not used: this node is down
// now, and one of them may be the last. Only run calls it.
func (n *node) askSecondBest() {
	n.publish()
	for _, other := range n.nodes() {
		if s := other.snapshot.Load(); other != n && s.answers && s.state == health.Down {
			other.checkNow()
		}
	}
}

// works reports whether a node that has answered can be compared with a silent one: it
// is used, or not what the cluster asks for.
func (s *snapshot) works() bool {
	return s.state.Usable() || s.state == health.Down && s.class.Unsuited()
}

// answeredSince reports whether another node that works has answered a probe after
// that time.
func (n *node) answeredSince(since time.Time) bool {
	return slices.ContainsFunc(n.nodes(), func(other *node) bool {
		s := other.snapshot.Load()
		return other != n && s.works() && s.answered.After(since)
	})
}

// compare looks at a good check beside what the other nodes show. It may become evidence
// against the node: it is second best for long, or is in another group than the others.
func (n *node) compare(e *health.Evidence) {
	now := time.Now()
	n.loop.health.Outlasting(e, n.cfg().DonorAfter, n.betterThere(), now)
	n.judgeRole(e)
	if !e.OK {
		return
	}
	e.Peers, e.View = n.peers(), nil
	if v := n.loop.facts.view; v.Conf != 0 {
		e.View = &v
	}
	if n.loop.health.Apart(e, now).Compare {
		n.askViews()
	}
}

// askAnswers asks the fellows that work for an answer. Anyone may call it.
func (n *node) askAnswers() {
	for _, other := range n.nodes() {
		if other != n && other.snapshot.Load().works() {
			other.checkNow()
		}
	}
}

// tellFellows wakes the nodes that wait for a fellow's answer, if this node has
// just given one and has published it.
func (n *node) tellFellows() {
	if !n.loop.tell {
		return
	}
	n.loop.tell = false
	for _, other := range n.nodes() {
		if other != n && other.awaiting.Load() {
			other.checkNow()
		}
	}
}

// fellows returns the other nodes that have told their part in replication.
func (n *node) fellows(now time.Time) []health.Fellow {
	var fellows []health.Fellow
	for _, other := range n.nodes() {
		s := other.snapshot.Load()
		if other == n || s.part == nil {
			continue
		}
		usable := s.state == health.Up || s.state == health.Suspect
		fellows = append(fellows, health.Fellow{
			Name: other.name, Replication: &s.part.Replication, Looked: s.part.at, Promoted: s.part.promoted, Usable: usable,
			Silent: !s.answers, Gone: !s.answers && !usable && now.Sub(s.answered) > n.cfg().SilenceHold,
		})
	}
	return fellows
}

// outranked reports whether this node is an old primary, and why. In a cluster of
// writers, or one that bounds the lag, the new one counts whether it answers or not:
// near are the fellows that are not gone. A cluster that accepts every node looks at
// timelines only: several servers may be meant to take writes. Only run calls it.
func (n *node) outranked(p *part, fellows, near []health.Fellow) (why string, ok bool) {
	m := n.loop.memory()
	before := m.rival
	m.rival = ""
	if n.cfg().Groups == GroupsAny || p.Role != health.RolePrimary {
		return "", false
	}
	if !n.cfg().Require.is().Writers() && n.cfg().MaxLag == 0 {
		fellows = near
	}
	if n.cfg().Require == RequireAny {
		if p.Timeline == 0 {
			return "", false
		}
		fellows = health.Without(fellows, func(f health.Fellow) bool { return f.Replication.Timeline == 0 })
	}
	if rival, ok := p.Outranked(p.promoted, fellows); ok {
		m.rival = rival.Name
		return rival.Name + " is the new primary", true
	}
	if follower, ok := p.Passed(before, fellows); ok {
		m.rival = follower.Name
		return fmt.Sprintf("%s is on timeline %d, and this primary on %d", follower.Name, follower.Replication.Timeline, p.Timeline), true
	}
	// The new primary may have become a replica of one that nobody has seen yet.
	i := slices.IndexFunc(fellows, func(f health.Fellow) bool { return f.Name == before })
	if i < 0 || p.Timeline != 0 || !p.FollowsAnother(fellows[i].Replication) {
		return "", false
	}
	m.rival = before
	return before + " was the new primary, and follows another one", true
}

// retireOutranked gives up the connections of a node that is down and was the
// primary, when another one was promoted: it may come back, and take what is
// written there before its next probe. Those that were given up before are left
// alone. If a cut is due, it needs no further proof.
// Only run calls it.
func (n *node) retireOutranked(l *life) {
	p := n.loop.facts.part
	if p == nil || n.loop.memory().outranked || n.loop.health.State != health.Down {
		return
	}
	fellows := n.fellows(time.Now())
	why, ok := n.outranked(p, fellows, health.Without(fellows, func(f health.Fellow) bool { return f.Gone }))
	if n.loop.memory().outranked = ok; !ok {
		return
	}
	n.loop.due.proven = true // if it is silent: what hangs there waits for nothing
	if due := &n.loop.due; n.loop.health.Retired() && (due.reason == "" || !due.raise) {
		return // they were given up for what took the node down
	}
	n.generation.Add(1)
	n.emitRetired(fmt.Sprintf("%s: %s", health.WrongRole, why), health.WrongRole.String())
	n.closeRetired(l)
}

// A roleMemory is what a node's loop remembers of the answers about replication.
type roleMemory struct {
	lag        health.LagTracker
	verdict    *health.Unfit // what the last good probe showed against the node; nil: nothing
	briefTill  time.Time     // until then probes ask for no more than must be told
	hiddenTold bool          // the log has said that the node does not tell its lag
	outranked  bool          // its connections were given up for another node's promotion
	rival      string        // the node that was last found to be the new primary in place of this one
	toldAlias  string        // the other name and the server that a log line has told of
}

// grouped reports whether the node is set up for a group whose members decide who may
// serve.
func (n *node) grouped() bool {
	p := n.loop.facts.part
	return p != nil && p.Group != ""
}

// briefFor returns how long nothing more than must be is asked after such a question got
// no answer. Each costs the probe's connection. A member of a group may only be leaving it.
func (n *node) briefFor() time.Duration {
	if n.grouped() {
		return 5 * time.Second
	}
	return time.Minute
}

// memory returns the roleMemory of the loop.
func (l *loopState) memory() *roleMemory {
	if l.role == nil {
		l.role = new(roleMemory)
	}
	return l.role
}

// judgeRole looks at what a good probe says of the node's part in replication,
// beside what the other nodes say. It may become evidence against the node. Only
// run calls it.
func (n *node) judgeRole(e *health.Evidence) {
	if !e.OK || e.Saw&health.ScopeRole == 0 || e.Replication == nil {
		return
	}
	now := time.Now()
	fellows := n.fellows(now)
	p := n.noteRole(e.Replication, fellows, now)
	used := n.loop.health.State == health.Up || n.loop.health.State == health.Suspect
	near := health.Without(fellows, func(f health.Fellow) bool { return f.Gone })
	m := n.loop.memory()
	m.verdict = nil
	against := func(c health.Class, text string) {
		m.verdict = &health.Unfit{Class: c, Need: health.ScopeRole, Text: fmt.Sprintf("%s: %s", c, text)}
		e.Against(c, health.ScopeRole, m.verdict.Text)
	}
	limit := n.cfg().MaxLag
	if n.loop.health.State == health.Down && n.loop.health.Class == health.Lagging {
		limit = limit * 4 / 5 // one that is about there is not taken in and out all the time
	}
	var unfit *health.Unfit
	switch why, outranked := n.outranked(p, fellows, near); {
	case n.cfg().Groups != GroupsAny && p.Elsewhere(used, near):
		n.hold(against, "it has other data than most nodes (its system_identifier differs): held (groups = \"any\" uses both)")
	case outranked:
		n.hold(against, why+": held until it is a standby")
	case p.Unfit != "":
		against(health.NotReady, p.Unfit)
	case p.Outside(used, near):
		against(health.NotReady, "its replication group runs without it")
	case errors.As(n.cfg().Require.is().Misfit(&p.Replication), &unfit):
		against(unfit.Class, unfit.Text)
	case n.cfg().MaxLag == 0:
	case !p.lag.Known:
		against(health.Lagging, "the lag is not known, and max_lag is set: "+p.lag.Why+p.fault())
	case p.lag.For > limit:
		against(health.Lagging, fmt.Sprintf("further behind its primary than max_lag (%s)", n.cfg().MaxLag)+p.fault())
	}
}

// fault is the end of a reason: what the node says of its stream, if that is
// broken.
func (p *part) fault() string {
	if p.Fault == "" {
		return ""
	}
	return ": " + p.Fault
}

// missLag turns the failure of a probe into evidence of an unknown lag, if the server
// does work and has not told its lag for longer than max_lag. The failure alone
// retires nothing.
func (n *node) missLag(e *health.Evidence) {
	p := n.loop.facts.part
	if n.cfg().MaxLag == 0 || e.Class != health.Failed || !e.Spoke && !e.Goes || p == nil || p.Role == health.RolePrimary || time.Since(p.at) <= n.cfg().MaxLag {
		return
	}
	e.Spent = !e.Goes
	e.Against(health.Lagging, health.ScopeRole, fmt.Sprintf("%s: the lag is not known, and max_lag is set: the server does not answer that", health.Lagging))
}

// noteRole publishes what the node says of itself, and tells of a new role.
func (n *node) noteRole(said *health.Replication, fellows []health.Fellow, now time.Time) *part {
	s := &n.loop.facts
	p, before := &part{Replication: *said, at: now}, s.part
	if before != nil {
		p.told, p.since, p.promoted = before.told, before.since, before.promoted
		p.Replication = said.Completed(before.told)
	}
	if h := &n.loop.health; h.State == health.Down && !h.Class.Unsuited() {
		n.loop.memory().lag.Missed()
	}
	p.lag = n.loop.memory().lag.Next(&p.Replication, fellows, now)
	if begins := before == nil || !before.lag.Known; begins && p.Role == health.RoleReplica && p.Stream == health.StreamBroken && n.unheard() {
		p.lag = health.Lag{Why: "it receives nothing, and not all nodes have been heard of"}
	}
	s.part, n.loop.memory().outranked = p, false
	n.tellHidden(p)
	was := p.told
	if p.Role == health.RoleUnknown {
		return p
	}
	p.told = &p.Replication
	if was != nil && was.Role == p.Role {
		if p.Role == health.RoleReplica && p.Timeline > was.Timeline {
			n.askRivals()
		}
		return p
	}
	p.since, p.promoted = now, time.Time{}
	n.news.Touch() // the nodes may rebalance now
	if was != nil {
		if p.Role == health.RolePrimary && health.Promotes(was, &p.Replication, health.Without(fellows, func(f health.Fellow) bool { return f.Silent })) {
			p.promoted = now
		}
		n.emit(Event{Kind: EventRole, Role: Role(p.Role), Reason: fmt.Sprintf("%s, was %s", p.Role, was.Role), Cause: health.WrongRole.String()})
	}
	if p.Role == health.RolePrimary && (was != nil || !p.Equal || p.Group != "") || was == nil && p.System != "" {
		n.askRivals()
	}
	return p
}

// unheard reports whether nothing was heard yet of another node.
func (n *node) unheard() bool {
	return slices.ContainsFunc(n.nodes(), func(other *node) bool {
		s := other.snapshot.Load()
		return other != n && s.state == health.Unknown && s.part == nil
	})
}

// askRivals wakes the nodes that were primaries when last asked: this one is now, or
// has seen that another was promoted. It also wakes those of other data, and those whose
// lag is not known, and that are not used for it: they may have been asked before this one.
func (n *node) askRivals() {
	n.publish()
	for _, other := range n.nodes() {
		s := other.snapshot.Load()
		waits := s.part != nil && !s.part.lag.Known && s.state == health.Down && s.class == health.Lagging
		strange := s.part != nil && s.part.Apart(&n.loop.facts.part.Replication)
		if other != n && (waits || strange || s.role() == health.RolePrimary) {
			other.checkNow()
		}
	}
}

// tellHidden writes one line if a lag that is wanted is not told.
func (n *node) tellHidden(p *part) {
	wanted := n.cfg().MaxLag > 0 || n.cfg().LagQuery != ""
	if n.loop.memory().hiddenTold || p.Role == health.RolePrimary && !p.Assumed || p.Hidden == "" || !wanted {
		return
	}
	n.loop.memory().hiddenTold = true
	n.dial.log.Print(logline.Hidden, p.Hidden)
}

// hold makes a good probe evidence against a node that is held back, and tells it once.
func (n *node) hold(against func(health.Class, string), text string) {
	against(health.WrongRole, text)
	reason := fmt.Sprintf("%s: %s", health.WrongRole, text)
	if h := &n.loop.health; h.State != health.Draining && (h.State != health.Down || h.Reason != reason) {
		n.emit(Event{Kind: EventHeld, Reason: reason, Cause: health.WrongRole.String()})
	}
}
