package clustersql

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/EnumApps/clustersql/internal/health"
	"github.com/EnumApps/clustersql/internal/hedge"
	"github.com/EnumApps/clustersql/internal/logline"
	"github.com/EnumApps/clustersql/internal/roles"
	"github.com/EnumApps/clustersql/internal/session"
)

// A node is judged among its fellows, the other nodes of its cluster. Each actor
// reads their snapshots, and asks them for a new look where it needs one. A read that
// takes long is sent to one of them too; see [Config.HedgeReads].

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

// peers collects what the other nodes show of their groups.
func (n *node) peers() *health.Peers {
	p := &health.Peers{Alone: n.alone(), Hold: n.cfg().SilenceHold, Mixed: n.cfg().Groups == GroupsAny}
	for _, other := range n.nodes() {
		s := other.snapshot.Load()
		if other == n || !s.answers || s.view.Conf == 0 {
			continue
		}
		p.Nodes = append(p.Nodes, health.Peer{View: s.view, Looked: s.viewAt, Usable: s.state == health.Up || s.state == health.Suspect, Up: s.state == health.Up})
	}
	return p
}

// askOthers asks other nodes of the cluster for a new look.
func (n *node) askOthers(which func(other *node, s *snapshot) bool) {
	for _, other := range n.nodes() {
		if other != n && which(other, other.snapshot.Load()) {
			other.checkNow()
		}
	}
}

// anyOther reports whether there is such a node beside this one.
func (n *node) anyOther(such func(other *node, s *snapshot) bool) bool {
	return slices.ContainsFunc(n.nodes(), func(other *node) bool { return other != n && such(other, other.snapshot.Load()) })
}

// askViews asks the other nodes that show a view to look at it again.
func (n *node) askViews() {
	n.askOthers(func(_ *node, s *snapshot) bool { return s.answers && s.view.Conf != 0 })
}

// alone reports whether no other node of the cluster is usable.
func (n *node) alone() bool {
	return !n.anyOther(func(_ *node, s *snapshot) bool { return s.state.Usable() })
}

// betterThere reports whether another node of the cluster is up, is no donor and
// has room.
func (n *node) betterThere() bool {
	return n.anyOther(func(other *node, s *snapshot) bool {
		return s.state == health.Up && !s.donor && s.fullUntil.IsZero() && !other.draining.Load()
	})
}

// askSecondBest wakes the nodes that answer and are not used: this node is down
// now, and one of them may be the last. Only run calls it.
func (n *node) askSecondBest() {
	n.publish()
	n.askOthers(func(_ *node, s *snapshot) bool { return s.answers && s.state == health.Down })
}

// works reports whether a node that has answered can be compared with a silent one: it
// is used, or not what the cluster asks for.
func (s *snapshot) works() bool {
	return s.state.Usable() || s.state == health.Down && s.class.Unsuited()
}

// answeredSince reports whether another node that works has answered a probe after
// that time.
func (n *node) answeredSince(since time.Time) bool {
	return n.anyOther(func(_ *node, s *snapshot) bool { return s.works() && s.answered.After(since) })
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
func (n *node) askAnswers() { n.askOthers(func(_ *node, s *snapshot) bool { return s.works() }) }

// tellFellows wakes the nodes that wait for a fellow's answer, if this node has
// just given one and has published it.
func (n *node) tellFellows() {
	if n.loop.tell {
		n.loop.tell = false
		n.askOthers(func(other *node, _ *snapshot) bool { return other.awaiting.Load() })
	}
}

// fellows returns the other nodes that have told their part in replication, and whether
// there is one of which nothing was heard yet. Each is looked at once: one that answers
// meanwhile is either unheard or a fellow.
func (n *node) fellows(now time.Time) (fellows []health.Fellow, unheard bool) {
	for _, other := range n.nodes() {
		s := other.snapshot.Load()
		if other == n || s.part == nil {
			unheard = unheard || other != n && s.state == health.Unknown
			continue
		}
		usable := s.state == health.Up || s.state == health.Suspect
		fellows = append(fellows, health.Fellow{
			Name: other.name, Replication: &s.part.Replication, Looked: s.part.At, Promoted: s.part.Promoted, Usable: usable,
			Silent: !s.answers, Gone: !s.answers && !usable && now.Sub(s.answered) > n.cfg().SilenceHold,
		})
	}
	return fellows, unheard
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
	p, fellows := n.noteRole(e.Replication, time.Now())
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

// noteRole publishes what the node says of itself, and tells of a new role. It returns
// the fellows to judge the node by.
func (n *node) noteRole(said *health.Replication, now time.Time) (*roles.Part, []health.Fellow) {
	m, was := n.loop.memory(), n.loop.facts.part
	fellows, unheard := n.fellows(now)
	p, turned, rivals := m.Take(said, was, &n.loop.health, fellows, unheard, now)
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
		// Of nodes that answer at once, one at least is seen by the other: each publishes
		// before it looks again, and asks those that it sees.
		n.askRivals()
		fellows, _ = n.fellows(now)
	}
	return p, fellows
}

// askRivals wakes the nodes that were primaries when last asked: this one is now, or
// has seen that another was promoted. It also wakes those of other data, and those whose
// lag is not known, and that are not used for it: they may have been asked before this one.
func (n *node) askRivals() {
	n.publish()
	own := &n.loop.facts.part.Replication
	n.askOthers(func(_ *node, s *snapshot) bool {
		p := s.part
		return p != nil && (!p.Lag.Known && s.state == health.Down && s.class == health.Lagging || p.Apart(own) || p.Role == health.RolePrimary)
	})
}

// A hedging hedges the reads on one connection.
type hedging struct {
	n  *node
	w  winner
	of *hedge.Node
}

var _ session.Hedging = (*hedging)(nil)

// hedges reports whether the reads on a winner's connection are hedged. They are not
// where it could not be cut if another node were to answer first.
func (n *node) hedges(w winner) bool { return n.cfg().HedgeReads && w.socket.Known() }

// arm returns what hedges the reads on a winner's connection.
func (n *node) arm(w winner) session.Hedging {
	if n.tally.hedges.Load() == nil {
		n.tally.hedges.CompareAndSwap(nil, new(hedge.Node))
	}
	h := &hedging{n, w, n.tally.hedges.Load()}
	h.of.Armed.Add(1)
	return h
}

// HedgeAfter returns how long a read may take on the connection.
func (h *hedging) HedgeAfter() time.Duration {
	cfg := h.n.cfg()
	if !cfg.HedgeReads {
		return 0
	}
	return h.of.Now(cfg.HedgeAfter)
}

// Answered is told of reads that were answered in time.
func (h *hedging) Answered() { h.of.Answer(h.n.cfg().HedgeAfter) }

// errOutrun is why the socket of a connection is cut on which a read was not answered
// first. Nobody sees it: the read has an answer.
var errOutrun = errors.New("another connection has answered the read first")

// Cut closes the connection's socket.
func (h *hedging) Cut() {
	if conn := h.w.socket.Cut(errOutrun); conn != nil {
		h.n.closeSocket(conn)
	}
}

// Later runs f in a goroutine of its own, for which a Close waits.
func (h *hedging) Later(f func()) {
	l := h.n.life.Load()
	entered := l != nil && l.enter()
	go func() {
		if entered {
			defer l.release()
		}
		defer h.n.watchClose()()
		f()
	}()
}

// Panicked logs a panic of the backend.
func (h *hedging) Panicked(with any) { _ = h.n.dial.panicked("a hedged read", with) }

// Hedge sends a read that takes long to another node too, if it may be.
func (h *hedging) Hedge(r *session.Read) {
	cfg := h.n.cfg()
	if !cfg.HedgeReads {
		return
	}
	if !r.Chosen {
		h.of.Exceed(cfg.HedgeAfter)
	}
	if r.Eligible {
		h.try(r, firstPause)
	}
}

// firstPause is how long a read waits that finds the budget spent, or no node for it.
// Each further wait is twice as long. When a node freezes under many reads, those that
// are hedged first give their part of the budget back within a few milliseconds.
const firstPause = 5 * time.Millisecond

// try hedges the read, now or after a pause.
func (h *hedging) try(r *session.Read, pause time.Duration) {
	n, cfg := h.n, h.n.cfg()
	l := n.life.Load()
	if r.Over() || l == nil || !l.enter() {
		return
	}
	defer l.release()
	plan := n.others(r)
	if len(plan) == 0 || !n.tally.cluster.hedges.Take(time.Now(), n.siblings()) {
		time.AfterFunc(pause, func() { h.try(r, 2*pause) })
		return
	}
	h.of.Launched.Add(1)
	outcome := h.race(l, r, plan)
	n.tally.cluster.hedges.Settle(outcome)
	h.of.Settle(outcome, r.Chosen, cfg.HedgeAfter, time.Now())
	if outcome == hedge.Won {
		n.checkNow() // it may be the node
	}
}

// race opens a connection to another node and runs the read there.
func (h *hedging) race(l *life, r *session.Read, plan []launch) hedge.Outcome {
	open, cancel := context.WithCancel(r.Context)
	defer cancel()
	if !r.Opens(cancel) {
		return hedge.Unsent
	}
	w, ok := h.n.tally.cluster.beside(open, plan)
	if !ok && r.Over() {
		return hedge.Unsent
	}
	if !ok {
		return hedge.Lost
	}
	other := w.node
	if reflect.TypeOf(w.conn) != reflect.TypeOf(h.w.conn) || !w.socket.Known() {
		other.load.Planned.Add(-1)
		other.close(w.conn)
		return hedge.Lost
	}
	place := other.load.Join(w.born)
	racer := session.NewRacer(w.conn, other.link(w, place, true))
	other.keep(w, place, racer.Handle())
	defer context.AfterFunc(l.ctx, r.Abandon)()
	return r.Run(racer)
}

// hedgeStagger is how long the first of the other nodes is asked for a connection alone.
const hedgeStagger = 100 * time.Millisecond

// others returns the plan for a connection to another node that may get the read.
func (n *node) others(r *session.Read) []launch {
	now, own := time.Now(), n.snapshot.Load()
	var nodes []*node
	var candidates []hedge.Candidate
	for _, other := range n.nodes() {
		if other == n || other.isAlias() || own.sameServer(other.snapshot.Load()) || !n.alike(other) {
			continue
		}
		if r.Session != nil {
			if all, some := other.tally.seen.Has(r.Session, other.generation.Load()); some && !all {
				continue
			}
		}
		nodes = append(nodes, other)
		candidates = append(candidates, hedge.Candidate{Member: other.member(now), Outrun: other.tally.hedges.Load().Outrun()})
	}
	var plan []launch
	for _, i := range hedge.Order(candidates, now) {
		wait := hedgeStagger
		if len(plan) == 0 {
			wait = 0
		}
		plan = append(plan, launch{Node: nodes[i], Wait: wait})
	}
	return plan
}

// alike reports whether connections of two nodes are of the same kind, as far as that
// can be known without one.
func (n *node) alike(other *node) bool {
	return n.session == other.session && reflect.TypeOf(n.dial.dialect) == reflect.TypeOf(other.dial.dialect) &&
		reflect.TypeOf(n.dial.recipe().connector) == reflect.TypeOf(other.dial.recipe().connector)
}

// siblings returns how many connections the cluster has.
func (n *node) siblings() (conns int) {
	for _, other := range n.nodes() {
		open, _ := other.conns.Count()
		conns += open
	}
	return conns
}
