package simulation

import (
	"slices"
	"strings"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/fakedb"
)

// A truth is what the world knows of a node and the cluster has to find out.
type truth struct {
	established, fresh side // connections that are there; new ones

	generation uint64        // at the last look
	number     int           // which node of the name that was
	fullFrom   time.Time     // since when it has had no room; zero: there is room, and an open has found it
	fullFor    time.Duration // how long that was the last time
	found      time.Time     // when an open found room after that
	drains     int           // how often the program has drained or removed the node
	seenDrains int           // of these, those before the last look
	silent     bool          // no statement on it gets an answer
	unseen     bool          // when that began the cluster had no connection of its own there
}

// A side is one way in which a node is good or bad.
type side struct {
	bad   bool
	since time.Time // when it last was bad, or became bad
}

func (s *side) set(bad bool, now time.Time) {
	if bad || s.bad {
		s.since = now
	}
	s.bad = bad
}

// goodFor returns for how long the side has been good.
func (s *side) goodFor(now time.Time) time.Duration {
	if s.bad {
		return 0
	}
	return now.Sub(s.since)
}

// hurts reports whether the mood is bad for connections that are there, and
// whether it is for new ones.
func (m *mood) hurts(pace time.Duration) (established, fresh bool) {
	f := &m.mood
	established = f.Silent || f.Refuse != nil || f.ReadOnly != nil || f.Late != nil || f.Panic || f.Timeout > 0 || f.Delay > pace || m.readOnly
	return established, established || f.Dial != nil || f.Unnamed || f.Filtered || f.Deaf
}

// noteMood notes what a mood makes of a node.
func (w *world) noteMood(node string, m mood) {
	established, fresh := m.hurts(w.plan.settings.pace)
	unseen := m.mood.Silent && !w.watched(node)
	w.mu.Lock()
	defer w.mu.Unlock()
	t, now := w.truths[node], time.Now()
	if m.mood.Silent && !t.silent {
		t.unseen = unseen
	}
	t.silent = m.mood.Silent
	t.established.set(established, now)
	t.fresh.set(fresh, now)
	if m.mood.Dial == error(errSaturated) && t.fullFrom.IsZero() {
		t.fullFrom = now
	}
}

// watched reports whether the cluster has a connection of its own to the node,
// which shows what becomes of the others.
func (w *world) watched(node string) bool {
	idle := w.backend.Node(node).Idle()
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(idle, func(c *fakedb.Conn) bool {
		_, handed := w.handed[c]
		return !handed && !c.Broken()
	})
}

// noteBreak notes that all connections of a node were lost.
func (w *world) noteBreak(node string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.truths[node].established.since = time.Now()
}

// noteDrain notes that the program drains or removes a node.
func (w *world) noteDrain(node string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.truths[node].drains++
}

// slowest is the longest that a slow node takes.
const slowest = 3 * time.Second

// lag is how long a node may be blamed for what is over: an attempt or a
// statement that began before that may end only now, and so may a probe.
func (s *settings) lag() time.Duration {
	return slowest + s.cfg.AttemptTimeout + s.cfg.ProbeInterval*6/5 + s.cfg.ProbeTimeout
}

// back is how long a node that is good again may stay down: for its longest
// backoff, twice while deaf probes are under way, and until rise probes have
// passed.
func (s *settings) back() time.Duration {
	return slowest + 2*5*time.Second + s.cfg.AttemptTimeout + time.Duration(s.cfg.Rise)*(350*time.Millisecond+4*s.pace)
}

// judgeEvent holds an event to the truth: no good node is taken down, and none
// of its connections is cut. A drain that takes too long may cut, and a node
// whose drain ends may be down because of what was seen meanwhile.
func (w *world) judgeEvent(e clustersql.Event) {
	w.mu.Lock()
	t := *w.truths[e.Node]
	w.mu.Unlock()
	established, fresh, lag := t.established.goodFor(e.Time), t.fresh.goodFor(e.Time), w.plan.settings.lag()
	switch {
	case e.Kind == clustersql.EventCut && established > lag && !strings.Contains(e.Reason, "drain_timeout"):
		w.violate("%d connections of %s were cut, and its established connections had been good for %s (%s)", e.Conns, e.Node, established, e.Reason)
	case e.Kind == clustersql.EventState && e.To == clustersql.StateDown && e.From != clustersql.StateDraining && established > lag && fresh > lag:
		w.violate("%s was taken down, and had been good for %s (%s)", e.Node, min(established, fresh), e.Reason)
	}
	gone := e.Kind == clustersql.EventCut && !strings.Contains(e.Reason, "drain_timeout") || e.Kind == clustersql.EventRetired && !w.special.Load()
	if w.plan.flavour == freshFault && gone && w.neverFull(e.Node) {
		w.violate("%d connections of %s were %s for a fault of new ones (%s)", e.Conns, e.Node, e.Kind, e.Reason)
	}
	if w.plan.flavour == noFault && w.plan.lossless && !w.special.Load() && e.Kind == clustersql.EventLost {
		w.violate("%d connections of %s are said to be lost, and their callers have left (%s)", e.Conns, e.Node, e.Reason)
	}
	doubt := e.Kind == clustersql.EventState && e.From != clustersql.StateUnknown
	if w.probesEnded.Load() { // the cluster looks again then
		doubt = e.Kind == clustersql.EventState && e.To == clustersql.StateDown
	}
	if w.plan.flavour == noFault && !w.special.Load() && doubt {
		w.violate("%s is %s, and only single connections have ended (%s)", e.Node, e.To, e.Reason)
	}
}

// neverFull reports whether the node has had room for connections all the time.
// One that has not may have idle ones make room.
func (w *world) neverFull(node string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.truths[node].found.IsZero() && w.truths[node].fullFrom.IsZero()
}

// judgeNodes holds the cluster's view of its nodes to the truth: the
// connections of a good node are not retired, and a good node does not stay
// down.
func (w *world) judgeNodes(now glance) {
	lag, back, at := w.plan.settings.lag(), w.plan.settings.back(), time.Now()
	w.mu.Lock()
	looked := w.looked
	w.looked = at
	var wrong []string
	for name, s := range now {
		t := w.truths[name]
		same := t.number == s.number && t.drains == t.seenDrains
		if same && s.OpenConns > 0 && s.Generation > t.generation && t.established.goodFor(looked) > lag {
			wrong = append(wrong, name+" has retired its connections, and they had been good for "+t.established.goodFor(looked).String()+" ("+s.LastErrorMessage+")")
		}
		if s.State == clustersql.StateDown && !s.NextCheck.IsZero() && at.Sub(s.Since) > back && t.established.goodFor(at) > back && t.fresh.goodFor(at) > back {
			wrong = append(wrong, name+" is still down, and has been good for "+min(t.established.goodFor(at), t.fresh.goodFor(at)).String()+" ("+s.Reason+")")
		}
		t.generation, t.number, t.seenDrains = s.Generation, s.number, t.drains
	}
	w.mu.Unlock()
	for _, what := range wrong {
		w.violate("%s", what)
	}
}

// judgeHangs is about calls without a deadline: one that hangs on a silent node
// ends when the cluster finds that out, if it can cut. Where all nodes are
// silent it may first wait for what they call the group's pause. Where the
// cluster had no connection of its own when the silence began, the node may
// only be out of reach for new ones, and nothing is cut: a real socket ends by
// tcp_user_timeout then, which these nodes do not have.
func (w *world) judgeHangs() {
	s := &w.plan.settings
	if !s.cuttable {
		return
	}
	bound := s.lag() + time.Duration(s.cfg.Fall)*(s.cfg.AttemptTimeout+s.cfg.ProbeInterval*6/5) + s.cfg.DrainTimeout + groupPause
	w.mu.Lock()
	hangs, node := time.Duration(0), ""
	for c, h := range w.handed {
		if busy := c.Busy(); busy > max(bound, hangs) && !h.from.closed.Load() && !w.truths[h.node].unseen {
			hangs, node = busy, h.node
		}
	}
	w.mu.Unlock()
	if hangs > 0 {
		w.violate("a statement has been hanging on %s for %s", node, hangs)
	}
}

// groupPause is how long all nodes may be silent before one is blamed for it.
const groupPause = 15 * time.Second

// judgeRoom is for schedules in which nodes have no room now and then, and no
// other fault. An open that has ended did not wait longer than the backoff under
// way when there was room again. Waits grow from 125 ms, and double: that one is
// not longer than twice the time without room, plus 250 ms. Then the open comes in
// its turn, behind those that were under way when it began. A node that was full
// may take them one by one, and each dials, is checked and is answered.
func (w *world) judgeRoom(began time.Time, ahead int64, node string) {
	if w.plan.flavour != noRoom || w.special.Load() {
		return
	}
	w.mu.Lock()
	room, full := began, time.Duration(0)
	for name, t := range w.truths {
		switch {
		case t.fresh.bad:
			room = time.Now()
		case t.fresh.since.After(room):
			room = t.fresh.since
		}
		if !t.fullFrom.IsZero() {
			t.fullFor = t.fresh.since.Sub(t.fullFrom)
		}
		if name == node && !t.fresh.bad && !t.fullFrom.IsZero() {
			t.fullFrom, t.found = time.Time{}, time.Now()
		}
		if !t.fullFrom.IsZero() || !began.After(t.found) {
			full = max(full, t.fullFor)
		}
	}
	w.mu.Unlock()
	s := &w.plan.settings
	most := min(5*time.Second, 250*time.Millisecond+2*full) + time.Duration(ahead+4)*4*s.pace
	if waited := time.Since(room); waited > most {
		w.violate("an open waited for %s though there was room; %s are enough, as there was none for %s", waited, most, full)
	}
}

// judgePool is for schedules in which no established connection has a reason to
// go: none is closed, and so none has left the pool, as long as it works and its
// database is open. One of a full node may make room for an open.
func (w *world) judgePool() {
	if w.plan.flavour != freshFault && w.plan.flavour != noFault || w.special.Load() || w.plan.hedged {
		return
	}
	w.mu.Lock()
	closed := ""
	for c, h := range w.handed {
		if c.Closed() && !c.Broken() && !h.from.closed.Load() && w.truths[h.node].found.IsZero() && w.truths[h.node].fullFrom.IsZero() {
			closed = h.node
		}
	}
	w.mu.Unlock()
	if closed != "" {
		w.violate("a good connection of %s has left the pool", closed)
	}
}
