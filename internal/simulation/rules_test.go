package simulation

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"maps"
	"sync/atomic"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/fakedb"
)

// The rules of the simulation:
//
//   - One owner per conn: Connect never gives the same one twice, nor a closed
//     one that does not say so at its first use; no two calls use it at once,
//     and none between another's BEGIN and its end.
//   - What was opened is handed out, or closed, or is a probe's or an
//     attempt's under way; the node's own count of what is out is right.
//   - A conn that came back to the pool, and was there when a call began, is
//     not of an older generation than its node had then. One that database/sql's
//     opener made for a caller who left lies in the pool unused, and is handed
//     out without a word to the driver: nothing can be promised of it.
//   - An open does not get a node that was down from before the open until
//     its end, while another node was up all that time. A node may turn bad
//     during the open, and a down one may come up: neither is a violation.
//     One that is drained all that time it never gets.
//   - Nothing that was sent and not refused is sent again, except once it was
//     lost and may be repeated; nothing of a transaction ever is. What a
//     caller is told of a statement is true.
//   - Every operation with a context ends at its deadline at the latest, an
//     open without one within open_timeout, and Close within attempt_timeout.
//     A transaction's Commit and Rollback have no context. What hangs on a
//     silent node without a deadline ends when the node's connections are cut,
//     if the cluster had a connection of its own there to tell silence by.
//   - No good connection is cut or retired. Whether a node is good for the
//     connections that are there, and for new ones, the world knows; a fault
//     that is over counts for as long as something that began in it may still
//     go on. What is about new connections alone (refused logins, a name service
//     that is silent or wrong, no room, no file left) costs no established
//     connection, and none leaves the pool. The end of single connections
//     changes the state of no node.
//   - No good node is taken down, and none stays down for longer than its
//     backoff and rise probes.
//   - Where nodes have had no room for connections, an open does not wait longer
//     than the backoff under way when there is room again.
//   - Where the backend's Close hangs, no more conns are left behind than attempts
//     and probes may be deaf.
//   - Of two groups of Galera nodes the larger alone is used, whatever the check.
//   - Nobody closes a conn while a func of Raw holds it. What a program is told
//     of a Commit is true, and an error whose methods panic is contained.
//   - Goroutines are bounded by the nodes, conns and calls that there are. A node
//     that is a member has one actor, and one that was removed has none, once its
//     conns are closed or its drain has timed out.
//   - Nobody gets a conn after Close has returned. Two Closes at once both wait.
//     A conn that the cluster closes where it lies does not wait for itself.
//   - After the last Close nothing is left.

// A connector watches the cluster's connector.
type connector struct {
	w      *world
	inner  driver.Connector
	closed atomic.Bool
	over   atomic.Int64 // it was the last one, and its Close returned then, in Unix nanoseconds; 0: it has not
}

func (c *connector) Driver() driver.Driver { return c.inner.Driver() }

// Close is the cluster's.
func (c *connector) Close() error {
	c.closed.Store(true)
	return c.inner.(io.Closer).Close()
}

// A glance is what the cluster thought of its nodes at one time, by name.
type glance map[string]sighting

// A sighting is the status of a node, and which of the nodes that had its name
// it is: the first, the second, and so on.
type sighting struct {
	clustersql.NodeStatus
	number int
}

func (w *world) glance() glance {
	w.mu.Lock()
	numbers := maps.Clone(w.numbers)
	w.mu.Unlock()
	g := glance{}
	for _, s := range w.driver.Status().Nodes {
		g[s.Name] = sighting{s, numbers[s.Name]}
	}
	return g
}

// same reports whether the node was a member at both times, and the same one.
func same(before, after glance, node string) bool {
	b, ok := before[node]
	a, still := after[node]
	return ok && still && b.number == a.number
}

// unchanged reports whether the node was in the state at both times and at all
// times between them.
func unchanged(before, after glance, node string, s clustersql.State) bool {
	b, a := before[node], after[node]
	return same(before, after, node) && b.State == s && a.State == s && b.Since.Equal(a.Since) && b.Generation == a.Generation
}

// Connect is the cluster's.
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	w, before, began := c.w, c.w.glance(), time.Now()
	end, ok := ctx.Deadline()
	if !ok {
		end = began.Add(w.plan.settings.cfg.OpenTimeout)
	}
	ahead := w.opening.Add(1)
	conn, err := c.inner.Connect(ctx)
	if over := c.over.Load(); err == nil && over != 0 && time.Now().UnixNano() > over {
		w.violate("Connect gave a connection %s after Close had returned", time.Since(time.Unix(0, over)))
	}
	w.opening.Add(-1)
	if late := time.Since(end); late > time.Duration(w.cutTakes.Load()) {
		w.violate("an open was answered %s after its deadline: %v", late, err)
	}
	after := w.glance()
	if err == nil {
		w.judgeGroup(within(conn).NodeName(), began)
		w.judgeRoom(began, ahead, within(conn).NodeName())
	}
	if errors.Is(err, driver.ErrBadConn) {
		w.violate("Connect answered with a driver.ErrBadConn: %v", err)
	}
	if err == nil {
		w.handover(c, conn, before, after)
	}
	return conn, err
}

// within returns the backend's conn within one of the cluster. Raw would have its reads
// not hedged any more. If the cluster has closed the conn meanwhile, it may wait for that.
func within(conn driver.Conn) *fakedb.Conn {
	who := new(fakedb.Who)
	_ = conn.(driver.NamedValueChecker).CheckNamedValue(&driver.NamedValue{Value: who})
	if who.Conn == nil {
		return conn.(clustersql.Conn).Raw().(*fakedb.Conn) // which is closed
	}
	return who.Conn
}

// saysSo reports whether a conn that was closed before its first use says so. The
// cluster may close one that database/sql's opener has asked for, as soon as it is made:
// it may lie in the pool by then.
func saysSo(conn driver.Conn) bool {
	return conn.(driver.NamedValueChecker).CheckNamedValue(&driver.NamedValue{Value: new(fakedb.Who)}) == driver.ErrBadConn
}

// hedging returns how many reads are being sent to another node too. Each of them has a
// connection of its own, or an open of one.
func (w *world) hedging() (under int) {
	for _, s := range w.driver.Status().Nodes {
		under += int(s.HedgedReads.Launched - s.HedgedReads.Won - s.HedgedReads.Lost)
	}
	return under
}

// handover judges a fresh conn on its way to database/sql.
func (w *world) handover(c *connector, conn driver.Conn, before, after glance) {
	backend := within(conn)
	node := backend.NodeName()
	h := handover{node: node, born: conn.(interface{ Generation() uint64 }).Generation(), sure: same(before, after, node), number: before[node].number, from: c}
	w.mu.Lock()
	_, twice := w.handed[backend]
	h.seq = w.seq.Add(1)
	w.handed[backend] = h
	w.tally.handed++
	w.mu.Unlock()
	if twice {
		w.violate("a conn of %s was handed out twice", node)
	}
	if backend.Closed() && !saysSo(conn) {
		w.violate("a closed conn of %s was handed out", node)
	}
	better := ""
	allBad, someBad := true, false
	for other, s := range before {
		allBad = allBad && s.State == clustersql.StateDown
		someBad = someBad || s.State == clustersql.StateDown
		if unchanged(before, after, other, clustersql.StateUp) {
			better = other
		}
	}
	if better != "" && unchanged(before, after, node, clustersql.StateDown) {
		w.violate("an open was given %s, which was known to be down (%s), while %s was up", node, before[node].Reason, better)
	}
	if unchanged(before, after, node, clustersql.StateDraining) {
		w.violate("an open was given %s, which is drained", node)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if allBad {
		w.tally.allBad++
	}
	if better != "" && someBad {
		w.tally.overlooked++
	}
}

// outdated reports whether the conn of a handover was of an older generation
// than its node had when the call began, or of a node that was no member any
// more. Where the membership changed during the open, nothing is known.
func (h handover) outdated(call *call) bool {
	if !h.sure {
		return false
	}
	s, member := call.nodes[h.node]
	return !member || s.number != h.number || h.born < s.Generation
}

// claim is called by who holds a sql.Conn.
func (w *world) claim(c *call) {
	c.from = w.backend.Runs()
	w.mu.Lock()
	other := w.held[c.handle]
	w.held[c.handle] = c
	w.mu.Unlock()
	if other != nil {
		w.violate("calls %d and %d hold the same conn", other.number, c.number)
	}
}

// disclaim is called before the sql.Conn is given back.
func (w *world) disclaim(c *call) {
	for _, r := range w.backend.Ledger(c.from) {
		other, _ := r.Ctx.Value(callKey{}).(*call)
		if r.Conn == c.handle && r.Outcome != fakedb.NotSent && other != c {
			w.violate("%q was sent on the sql.Conn of call %d", r.Query, c.number)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.held, c.handle)
}

// count compares the backend's counts with the cluster's.
func (w *world) count() {
	stats := w.backend.Stats()
	if stats.DoubleCloses+stats.UsedAfterClose+stats.TouchedWithErr+stats.Concurrent > 0 {
		w.violate("a conn was misused: %s", stats)
	}
	now := w.glance()
	w.mu.Lock()
	out, unsure, open, removed := map[string]int{}, map[string]bool{}, 0, 0
	for c, h := range w.handed {
		if c.Closed() && !c.Closing() {
			continue
		}
		if !c.Closed() {
			open++
		}
		switch {
		case !h.sure:
			unsure[h.node] = true
		case now[h.node].number == h.number:
			out[h.node]++
		}
	}
	for _, n := range w.numbers {
		removed += n - 1
	}
	removed += len(w.numbers) - len(now)
	w.mu.Unlock()
	w.checkHarmless(now)
	w.judgeNodes(now)
	w.judgePool()
	w.judgeHangs()
	w.checkGoroutines()
	w.checkClosing()
	most := w.plan.settings.cfg.MaxOpensPerNode
	spare := removed*(most+2) + w.hedging() // what a removed node still ends is not to be seen
	for name, s := range now {
		if s.OpenConns != out[name] && !unsure[name] && !w.plan.hedged {
			w.violate("%s counts %d conns that are out, and %d are", name, s.OpenConns, out[name])
		}
		unseen := w.plan.hedged && removed > 0 // a read on a removed node may be opening a connection
		if w.opening.Load() == 0 && s.Load > s.OpenConns && w.hedging() == 0 && !unseen {
			w.violate("%s has a load of %d with %d conns, and no open is under way", name, s.Load, s.OpenConns)
		}
		if s.Attempts > most {
			w.violate("%s has %d attempts in flight, and %d are allowed", name, s.Attempts, most)
		}
		spare += s.Attempts + s.Deaf + 2 // its probe's, the stale one too
	}
	if stats.Live < open || stats.Live > open+spare+stats.Closing {
		w.violate("%d conns live, %d of them out: the others are neither handed out nor closed; %d could be in attempts or probes", stats.Live, open, spare)
	}
}

// checkHarmless is for schedules whose faults are about new connections alone:
// good sessions are not the victims. Where there was none, retiring harms nobody.
func (w *world) checkHarmless(now glance) {
	before := w.before
	w.before = now
	if w.plan.flavour != freshFault || w.special.Load() {
		return
	}
	for name, s := range now {
		if b := before[name]; s.Generation > b.Generation && s.OpenConns+b.OpenConns > 0 {
			w.violate("%s has retired its sessions for a fault of new connections (%s)", name, s.LastErrorMessage)
		}
	}
}

// nothingLeft is called when all is closed and all nodes are well.
func (w *world) nothingLeft() {
	stats := w.backend.Stats()
	if stats.Opens != stats.Closes || stats.Live != 0 || stats.Dialing != 0 {
		w.violate("conns are left: %s", stats)
	}
	for name, s := range w.glance() {
		if s.Attempts != 0 || s.Deaf != 0 || s.Load != 0 || s.OpenConns != 0 {
			w.violate("%s counts %d attempts, %d deaf ones, a load of %d and %d conns, and there are none", name, s.Attempts, s.Deaf, s.Load, s.OpenConns)
		}
	}
	if left := bubble(); left != "" {
		w.violate("goroutines are left:\n%s", left)
	}
}
