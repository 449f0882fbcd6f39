package clustersql

import (
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

// works reports whether a node that has answered can be compared with a silent one:
// it is used, or it works and is not what the cluster asks for.
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

// compare looks at a good check beside what the other nodes show. It may become
// evidence against the node: it is second best for long, or is in another group
// than the others.
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

// without returns the fellows that are not out.
func without(fellows []health.Fellow, out func(f health.Fellow) bool) []health.Fellow {
	if !slices.ContainsFunc(fellows, out) {
		return fellows
	}
	return slices.DeleteFunc(slices.Clone(fellows), out)
}

// outranked returns the name of the node to which this one gives way, of two that
// say that they are primaries. In a cluster of writers, or one that bounds the lag, the
// new one counts whether it answers or not: near are the fellows without those that are gone. A cluster that
// accepts every node looks at timelines only: several servers that take writes may
// be meant.
func (n *node) outranked(p *part, fellows, near []health.Fellow) (name string, ok bool) {
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
		fellows = without(fellows, func(f health.Fellow) bool { return f.Replication.Timeline == 0 })
	}
	rival, ok := p.Outranked(p.promoted, fellows)
	return rival.Name, ok
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
	rival, ok := n.outranked(p, fellows, without(fellows, func(f health.Fellow) bool { return f.Gone }))
	if n.loop.memory().outranked = ok; !ok {
		return
	}
	n.loop.due.proven = true // if it is silent: what hangs there waits for nothing
	if due := &n.loop.due; n.loop.health.Retired() && (due.reason == "" || !due.raise) {
		return // they were given up for what took the node down
	}
	n.generation.Add(1)
	n.emitRetired(fmt.Sprintf("%s: %s is the new primary", health.WrongRole, rival), health.WrongRole.String())
	n.closeRetired(l)
}
