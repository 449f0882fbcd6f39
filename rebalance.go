package clustersql

import (
	"fmt"
	"slices"
	"time"

	"github.com/EnumApps/clustersql/internal/balance"
	"github.com/EnumApps/clustersql/internal/conffile"
	"github.com/EnumApps/clustersql/internal/counts"
	"github.com/EnumApps/clustersql/internal/health"
	"github.com/EnumApps/clustersql/internal/held"
	"github.com/EnumApps/clustersql/internal/session"
)

// Rebalance decides how a cluster's connections are spread over its nodes after
// nodes have come back; see [Config.Rebalance].
type Rebalance string

const (
	// RebalanceByStrategy lets the strategy decide: RebalanceShares for
	// Balanced, RebalanceFirst for Ordered, RebalanceRefresh for Race and
	// Hedged, and RebalanceOff for a strategy made by NewStrategy.
	RebalanceByStrategy Rebalance = ""
	// RebalanceShares gives each of the nodes that are about equally fast its
	// share by weight; see Balanced.
	RebalanceShares Rebalance = "shares"
	// RebalanceFirst moves all connections to the node that Ordered asks first.
	RebalanceFirst Rebalance = "first"
	// RebalanceRefresh gives no shares. Connections that are older than a
	// node's return are closed once, and the strategy decides where the new
	// ones go.
	RebalanceRefresh Rebalance = "refresh"
	// RebalanceOff leaves connections where they are.
	RebalanceOff Rebalance = "off"
)

// UnmarshalText sets the value from its text in config.toml. The empty text
// stands for RebalanceByStrategy.
func (r *Rebalance) UnmarshalText(text []byte) error {
	return setChoice(r, text, Rebalance.problem)
}

func (r Rebalance) problem() error {
	switch r {
	case RebalanceByStrategy, RebalanceShares, RebalanceFirst, RebalanceRefresh, RebalanceOff:
		return nil
	}
	return fmt.Errorf("there is no %s: use \"shares\", \"first\", \"refresh\" or \"off\", or leave it out", conffile.Quote(string(r)))
}

// goal returns the rebalancing that the configuration asks for.
func (c *Config) goal() balance.Goal {
	switch c.Rebalance {
	case RebalanceByStrategy:
		return c.Strategy.goal
	case RebalanceShares:
		return balance.Shares
	case RebalanceFirst:
		return balance.First
	case RebalanceRefresh:
		return balance.Refresh
	}
	return balance.Stay
}

// rebalancing is what a node's loop remembers about connections that give way.
type rebalancing struct {
	shares, refresh, age balance.Pace
	refreshed            time.Time        // the latest return of another node for which all conns here are new
	requested            []session.Handle // conns asked to retire since the last tick
	why                  string           // why they were asked
	back                 time.Time        // when the node last came back; zero if it never did
	due                  bool             // the event about its coming back is still to be emitted
	wasUp                bool             // the node has been up before
	end                  counts.End       // why, for the counters
	upAs                 uint64           // its generation when it last came up
}

// rebalanceWindow, plus rebalance_after, is how long after the last change of a
// cluster its connections may be unevenly spread. Later the nodes are not
// compared any more, unless connections are giving way: each node would compare
// all with all.
const rebalanceWindow = 2 * time.Minute

// rebalance runs on the node's probe tick. It withdraws the retire requests of
// the last tick, and makes new ones.
func (n *node) rebalance(l *life) {
	b := &n.loop.balance
	n.withdrawRequests()
	n.emitFailback()
	n.closeRetired(l)
	if open, _ := n.conns.Count(); open == 0 || n.loop.health.State != health.Up && n.loop.health.State != health.Suspect {
		b.shares, b.refresh, b.age = balance.Pace{}, balance.Pace{}, balance.Pace{}
		return
	}
	if n.crowded() {
		return // makeRoom is at work
	}
	now, generation := time.Now(), n.generation.Load()
	recent := n.news.Age(now) < rebalanceWindow+n.cfg().RebalanceAfter || b.shares.Begun()
	if !recent && n.cfg().MaxAge == 0 {
		return
	}
	conns := n.conns.Filter(func(h held.Conn) bool { return h.Born == generation })
	n.giveUpOld(l, conns, now)
	if recent {
		n.share(l, conns, now)
	}
	for _, h := range conns {
		h.Rest()
	}
}

// giveUpOld retires conns that are older than max_age.
func (n *node) giveUpOld(l *life, conns []held.Conn, now time.Time) {
	if most := n.cfg().MaxAge; most > 0 {
		old := held.Only(conns, func(h held.Conn) bool { return now.Sub(h.Opened) >= h.AgeLimit(most) })
		n.giveWay(l, old, n.loop.balance.age.Turns(len(old), now), "older than max_age", counts.EndAge)
	}
}

// share retires conns that another node is to have, or that must be made anew
// after a return.
func (n *node) share(l *life, conns []held.Conn, now time.Time) {
	b := &n.loop.balance
	members := n.cluster(now)
	goal := n.cfg().goal()
	if goal != balance.Refresh && goal != balance.Stay && n.isAlias() {
		n.giveWay(l, conns, b.shares.Turns(len(conns), now), "the server has its share under another name", counts.EndRebalance)
		return
	}
	if goal != balance.Refresh {
		tooMany, why := balance.Excess(n.name, members, goal, n.cfg().RebalanceAfter, now, b.shares.Begun())
		n.giveWay(l, conns, b.shares.Turns(tooMany, now), why, counts.EndRebalance)
		return
	}
	back := balance.LastReturn(n.name, members, n.cfg().RebalanceAfter, now)
	if !back.After(b.refreshed) {
		return
	}
	older := held.Only(conns, func(h held.Conn) bool { return h.Opened.Before(back) })
	if len(older) == 0 {
		b.refreshed = back
	}
	n.giveWay(l, older, b.refresh.Turns(len(older), now), "another node has come back", counts.EndRebalance)
}

// giveWay retires some of the conns, turns at most. It first closes those that
// have been idle since the last tick. It asks others to give way when they are
// next put back into the pool.
func (n *node) giveWay(l *life, conns []held.Conn, turns int, why string, end counts.End) {
	if turns == 0 || n.stuck() {
		return
	}
	unused := 0
	var busy []session.Handle
	for _, h := range conns {
		switch {
		case unused == turns:
		case h.TakeRested():
			n.closeTaken(l, h, end)
			unused++
		case h.Open():
			busy = append(busy, h.Handle)
		}
	}
	if unused > 0 {
		n.emit(Event{Kind: EventRetired, Conns: unused, Reason: why, Cause: end.String()})
	}
	b := &n.loop.balance
	b.why, b.end = why, end
	n.tally.Ask(end)
	for _, c := range busy[:min(turns-unused, len(busy))] {
		if c.Ask() {
			b.requested = append(b.requested, c)
		}
	}
}

// room is what the loop of a full node remembers about conns that it closes so
// that opens find room.
type room struct {
	looked time.Time // at the idle conns
	made   int       // conns closed since the last attempt that won, or since opens began to wait
}

// roomEvery is the time between two looks of a full node at its idle conns.
const roomEvery = 100 * time.Millisecond

// crowded reports whether the node is full while opens wait.
func (n *node) crowded() bool {
	return n.loop.full.Refused > 0 && n.room.Waiting() > 0 && n.loop.health.State.Usable()
}

// makeRoom closes conns that lie idle on a full node while opens wait. The pool
// gives such a conn to nobody who waits in Connect, and the server has no other
// place for them. It closes the node's share of one conn for every open that
// waits, and no more before an attempt wins: other programs may take the places.
// It takes only what nobody has used between two looks. The open tries again
// when the backoff is over: the server needs some time for a close too.
func (n *node) makeRoom(l *life) {
	r, now := &n.loop.room, time.Now()
	gap := now.Sub(r.looked)
	if gap < roomEvery || n.stuck() {
		return
	}
	if gap > health.BackoffMost {
		r.made = 0
	}
	r.looked = now
	n.looking.Store(true)
	time.AfterFunc(roomEvery, func() {
		n.looking.Store(false)
		n.checkNow()
	})
	members := max(1, len(*n.members.Load()))
	wanted := (n.room.Waiting()+members-1)/members - r.made
	generation, closed := n.generation.Load(), 0
	for _, h := range n.conns.Filter(func(h held.Conn) bool { return h.Born == generation }) {
		if closed < wanted && h.TakeRested() {
			n.closeTaken(l, h, counts.EndRoom)
			closed++
			continue
		}
		h.Rest()
	}
	r.made += closed
	if closed > 0 {
		n.emit(Event{Kind: EventRetired, Conns: closed, Reason: "the node is full, and opens wait", Cause: counts.EndRoom.String()})
	}
}

// closeTaken closes a conn that the caller has taken out of use.
func (n *node) closeTaken(l *life, h held.Conn, why counts.End) {
	n.tally.Closed(why)
	h.Place.Leave()
	l.start(func() {
		defer n.watchClose()()
		var err error
		defer n.dial.contain("Close", &err)
		err = h.Close()
	})
}

// closeRetired closes idle conns of older generations. Nobody is going to get
// them, and the pool may never look at them again. If the node is stuck,
// database/sql closes them when it comes upon them.
func (n *node) closeRetired(l *life) {
	if n.stuck() {
		return
	}
	generation := n.generation.Load()
	for _, h := range n.conns.Filter(func(h held.Conn) bool { return h.Born < generation }) {
		if h.TakeIdle() {
			n.closeTaken(l, h, n.retiredBy())
		}
	}
}

// emitRetired emits an event about the connections of older generations, if
// there are any.
func (n *node) emitRetired(reason, cause string) {
	if count := len(n.conns.Older(n.generation.Load())); count > 0 {
		n.emit(Event{Kind: EventRetired, Conns: count, Reason: reason, Cause: cause})
	}
}

// withdrawRequests withdraws the retire requests since the last tick, and emits
// an event about the conns that have given way by then.
func (n *node) withdrawRequests() {
	b := &n.loop.balance
	retired := 0
	for _, c := range b.requested {
		if !c.Withdraw() {
			retired++
		}
	}
	clear(b.requested)
	b.requested = b.requested[:0]
	if retired > 0 {
		n.emit(Event{Kind: EventRetired, Conns: retired, Reason: b.why, Cause: b.end.String()})
	}
}

// cluster returns what is known about all nodes.
func (n *node) cluster(now time.Time) []balance.Member {
	nodes := *n.members.Load()
	all := make([]balance.Member, len(nodes))
	for i, m := range nodes {
		if all[i] = m.member(now); m.isAlias() {
			all[i].State = health.Draining // it has no share of its own
		}
	}
	return all
}

// noteReturn notes that the node comes up while other nodes are in use. It has
// come back then if it was down, or if it was added or undrained while the
// cluster was running. A node that was down for new connections alone has not
// come back: its sessions were here all along.
func (n *node) noteReturn(from health.State) {
	b, late := &n.loop.balance, n.loop.addedLate
	n.loop.addedLate = false
	if from != health.Down && from != health.Unknown {
		return
	}
	generation := n.generation.Load()
	kept := b.wasUp && b.upAs == generation
	b.wasUp, b.upAs = true, generation
	if (from == health.Down && !kept || late) && !n.alone() {
		b.back, b.due = time.Now(), true
	}
}

// emitFailback does its work once the node has been back for failback_after. It
// emits an event if all connections are to go to one node and this is the node.
func (n *node) emitFailback() {
	b := &n.loop.balance
	if !b.due || time.Since(b.back) < n.cfg().FailbackAfter {
		return
	}
	b.due = false
	n.loop.changed = true // the other nodes may rebalance now
	if n.loop.health.State != health.Up || n.cfg().goal() != balance.First {
		return
	}
	up := slices.DeleteFunc(n.cluster(time.Now()), func(m balance.Member) bool { return m.State != health.Up })
	if order := balance.InTurn(up); len(order) > 0 && up[order[0].At].Name == n.name {
		n.emit(Event{Kind: EventFailback, Reason: "up for " + n.cfg().FailbackAfter.String() + ": preferred again", Cause: causeFailback})
	}
}

// countEnd counts the end of a connection that database/sql has closed. Those that
// the cluster closes are counted where it does so.
func (n *node) countEnd(by session.Closer, w winner) {
	why := counts.EndPool
	switch {
	case by == session.ByCluster:
		return
	case by == session.Outrun:
		why = counts.EndHedge
	case by == session.GivingWay:
		why = n.tally.Asked()
	case w.socket.Cause() != nil:
		why = counts.EndCut
	case n.generation.Load() != w.born:
		why = n.retiredBy()
	case by == session.Broken:
		why = counts.EndError
	}
	n.tally.Closed(why)
}

// retiredBy says why the connections of older generations are closed.
func (n *node) retiredBy() counts.End {
	if n.draining.Load() {
		return counts.EndDrain
	}
	return counts.EndGeneration
}
