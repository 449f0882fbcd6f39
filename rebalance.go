package clustersql

import (
	"math/rand/v2"
	"slices"
	"time"
)

// rebalancing is what a node's loop knows of connections that give way.
type rebalancing struct {
	shares, refresh, age pace
	refreshed            time.Time      // the return after which all is new here
	asked                []*clusterConn // since the last tick
	why                  string         // they were asked
	back                 time.Time      // when the node last came back; zero if it never did
	due                  bool           // its coming back is still to be told
}

// unrest is for how long after the last news of a cluster its connections may
// come to lie wrong. At other times nobody compares all nodes with all.
const unrest = 2 * time.Minute

// rebalance runs on the node's probe tick: it takes back what it had asked
// for, and asks anew.
func (n *node) rebalance(l *life) {
	b := &n.own.balance
	n.tellGaveWay(l)
	n.tellFailback(l)
	n.closeRetired(l)
	if open, _ := n.conns.count(); open == 0 || n.own.health.state != StateUp && n.own.health.state != StateSuspect {
		b.shares, b.refresh, b.age = pace{}, pace{}, pace{}
		return
	}
	now, generation := time.Now(), n.generation.Load()
	restless := n.news.age(now) < unrest+n.cfg.RebalanceAfter || b.shares.start > 0
	if !restless && n.cfg.MaxAge == 0 {
		return
	}
	conns := n.conns.those(func(h heldConn) bool { return h.born == generation })
	n.giveUpOld(l, conns, now)
	if restless {
		n.share(l, conns, now)
	}
	for _, h := range conns {
		h.conn.usage.rest()
	}
}

// giveUpOld has conns give way that are older than max_age.
func (n *node) giveUpOld(l *life, conns []heldConn, now time.Time) {
	if n.cfg.MaxAge > 0 {
		old := only(conns, func(h heldConn) bool { return !now.Before(h.old) })
		n.giveWay(l, old, n.own.balance.age.turns(len(old), now), "older than max_age")
	}
}

// share has conns give way that another node is to have, or that are to be
// made anew after a return.
func (n *node) share(l *life, conns []heldConn, now time.Time) {
	b := &n.own.balance
	nodes := n.cluster()
	kind := n.cfg.rebalance()
	if kind != RebalanceRefresh {
		tooMany, why := excess(n.name, nodes, kind, n.cfg.RebalanceAfter, now, b.shares.start > 0)
		n.giveWay(l, conns, b.shares.turns(tooMany, now), why)
		return
	}
	back := lastReturn(n.name, nodes, n.cfg.RebalanceAfter, now)
	if !back.After(b.refreshed) {
		return
	}
	older := only(conns, func(h heldConn) bool { return h.opened.Before(back) })
	if len(older) == 0 {
		b.refreshed = back
	}
	n.giveWay(l, older, b.refresh.turns(len(older), now), "another node has come back")
}

func only(conns []heldConn, want func(heldConn) bool) []heldConn {
	return slices.DeleteFunc(slices.Clone(conns), func(h heldConn) bool { return !want(h) })
}

// lastReturn is when a node other than self came back last, of those that are
// up since long enough.
func lastReturn(self string, nodes []NodeStatus, after time.Duration, now time.Time) (back time.Time) {
	for i := range nodes {
		if s := &nodes[i]; s.Name != self && s.State == StateUp && s.settled(after, now) && s.back.After(back) {
			back = s.back
		}
	}
	return back
}

// giveWay closes so many of the conns where they lie unused, and asks the rest
// of them to give way when they are put back.
func (n *node) giveWay(l *life, conns []heldConn, turns int, why string) {
	if turns == 0 {
		return
	}
	unused := 0
	var busy []*clusterConn
	for _, h := range conns {
		switch {
		case unused == turns:
		case h.conn.usage.takeRested():
			n.closeTaken(l, h)
			unused++
		case h.conn.usage.open():
			busy = append(busy, h.conn)
		}
	}
	if unused > 0 {
		n.tell(l, Event{Kind: EventRetired, Conns: unused, Reason: why})
	}
	b := &n.own.balance
	b.why = why
	for _, c := range busy[:min(turns-unused, len(busy))] {
		if c.usage.plea.CompareAndSwap(unasked, asked) {
			b.asked = append(b.asked, c)
		}
	}
}

// closeTaken closes a conn that the caller has taken out of use.
func (n *node) closeTaken(l *life, h heldConn) {
	h.seat.leave()
	l.start(func() {
		var err error
		defer n.dial.contain("Close", &err)
		err = h.conn.close()
	})
}

// closeRetired closes what lies idle of older generations: nobody is going to
// get it, and the pool may never look at it again.
func (n *node) closeRetired(l *life) {
	generation := n.generation.Load()
	for _, h := range n.conns.those(func(h heldConn) bool { return h.born < generation }) {
		if h.conn.usage.takeIdle() {
			n.closeTaken(l, h)
		}
	}
}

// tellGaveWay takes back what conns were asked for since the last tick, and
// tells how many heard it.
func (n *node) tellGaveWay(l *life) {
	b := &n.own.balance
	heard := 0
	for _, c := range b.asked {
		if !c.usage.plea.CompareAndSwap(asked, unasked) {
			heard++
		}
	}
	clear(b.asked)
	b.asked = b.asked[:0]
	if heard > 0 {
		n.tell(l, Event{Kind: EventRetired, Conns: heard, Reason: b.why})
	}
}

// cluster returns the snapshots of all nodes.
func (n *node) cluster() []NodeStatus {
	members := *n.members.Load()
	all := make([]NodeStatus, len(members))
	for i, m := range members {
		all[i] = m.status()
	}
	return all
}

// noteReturn notes that the node comes up, where others are in use by then:
// after it was down, and as a new node of a running cluster.
func (n *node) noteReturn(from State) {
	if from == StateDown && !n.alone() || from == StateUnknown && n.own.late && !n.alone() {
		n.own.balance.back, n.own.balance.due = time.Now(), true
	}
	n.own.late = false
}

// tellFailback tells that a node which is back is preferred again.
func (n *node) tellFailback(l *life) {
	b := &n.own.balance
	if !b.due || time.Since(b.back) < n.cfg.FailbackAfter {
		return
	}
	b.due = false
	n.own.changed = true // others have waited for this
	if n.own.health.state != StateUp || n.cfg.rebalance() != RebalanceFirst {
		return
	}
	order := inTurn(slices.DeleteFunc(n.cluster(), func(s NodeStatus) bool { return s.State != StateUp }))
	if len(order) > 0 && order[0].Name == n.name {
		n.tell(l, Event{Kind: EventFailback, Reason: "up for " + n.cfg.FailbackAfter.String() + ": preferred again"})
	}
}

// oldAt draws when a conn opened now is to be given up: after 90 to 110 percent
// of max_age, so that those opened together do not go together.
func (c *Config) oldAt(now time.Time) time.Time {
	if c.MaxAge == 0 {
		return time.Time{}
	}
	return now.Add(c.MaxAge*9/10 + rand.N(c.MaxAge/5+1))
}
