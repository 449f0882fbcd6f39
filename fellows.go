package clustersql

import (
	"fmt"
	"slices"
	"time"

	"github.com/EnumApps/clustersql/internal/health"
	"github.com/EnumApps/clustersql/internal/logline"
	"github.com/EnumApps/clustersql/internal/roles"
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
			Name: other.name, Replication: &s.part.Replication, Looked: s.part.At, Promoted: s.part.Promoted, Usable: usable,
			Silent: !s.answers, Gone: !s.answers && !usable && now.Sub(s.answered) > n.cfg().SilenceHold,
		})
	}
	return fellows
}

// retireOutranked gives up the connections of a node that is down and was the
// primary, when another one was promoted: it may come back, and take what is
// written there before its next probe. Those that were given up before are left
// alone. If a cut is due, it needs no further proof.
// Only run calls it.
func (n *node) retireOutranked(l *life) {
	p := n.loop.facts.part
	if p == nil || n.loop.memory().Outranked || n.loop.health.State != health.Down {
		return
	}
	m := &n.loop.memory().Memory
	why, ok := n.cfg().wanted(nil).Outranked(m, p, n.fellows(time.Now()))
	if m.Outranked = ok; !ok {
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

// A roleMemory is what a node's loop remembers of the answers about replication, and
// of the server.
type roleMemory struct {
	roles.Memory
	toldAlias string // the other name and the server that a log line has told of
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
	m, h := n.loop.memory(), &n.loop.health
	held := n.cfg().wanted(nil).Judge(&m.Memory, p, h, fellows)
	v := m.Verdict
	if v == nil {
		return
	}
	e.Against(v.Class, v.Need, v.Text)
	if held && h.State != health.Draining && (h.State != health.Down || h.Reason != v.Text) {
		n.emit(Event{Kind: EventHeld, Reason: v.Text, Cause: v.Class.String()})
	}
}

// noteRole publishes what the node says of itself, and tells of a new role.
func (n *node) noteRole(said *health.Replication, fellows []health.Fellow, now time.Time) *roles.Part {
	m, was := n.loop.memory(), n.loop.facts.part
	p, turned, rivals := m.Take(said, was, &n.loop.health, fellows, n.unheard, now)
	n.loop.facts.part = p
	if n.cfg().wanted(nil).Hides(&m.Memory, p) {
		n.dial.log.Print(logline.Hidden, p.Hidden)
	}
	if turned {
		n.news.Touch() // the nodes may rebalance now
		if was != nil && was.Told != nil {
			n.emit(Event{Kind: EventRole, Role: Role(p.Role), Reason: fmt.Sprintf("%s, was %s", p.Role, was.Told.Role), Cause: health.WrongRole.String()})
		}
	}
	if rivals {
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
		waits := s.part != nil && !s.part.Lag.Known && s.state == health.Down && s.class == health.Lagging
		strange := s.part != nil && s.part.Apart(&n.loop.facts.part.Replication)
		if role, _ := s.part.Taken(); other != n && (waits || strange || role == health.RolePrimary) {
			other.checkNow()
		}
	}
}
