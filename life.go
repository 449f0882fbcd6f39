package clustersql

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/EnumApps/clustersql/internal/calls"
	"github.com/EnumApps/clustersql/internal/health"
	"github.com/EnumApps/clustersql/internal/socket"
)

// A life is one run of a node's actor. It begins with the first connector or
// when the node is added. It ends with the last connector's Close or when the
// node is removed. The channels belong to the life and not to the node, so that
// nothing of an earlier life can reach a later one.
type life struct {
	// the mailbox; never closed; unbuffered, except check and slow
	open    chan *request         // from opens
	outcome chan outcome          // from this life's attempts and probes
	report  chan *health.Evidence // from conns
	outrun  chan outrun           // from opens
	check   chan struct{}         // from anyone: probe soon; has room for one
	slow    chan struct{}         // from conns: a call takes long; has room for one

	late bool            // the node was added to a cluster in use
	told []*calls.Queue  // what the loop and its goroutines put events and log lines into
	ctx  context.Context // done when the life is to end; its cause is the reason
	stop context.CancelCauseFunc

	over chan struct{} // closed by run when the loop has ended
	idle chan struct{} // closed when the loop and all goroutines that it started have ended
	// busy counts the loop, every goroutine it started, and those that have entered.
	// Nobody adds to zero. So busy reaches zero only once.
	busy atomic.Int64
}

func newLife(parent context.Context, late bool) *life {
	l := &life{
		late:    late,
		open:    make(chan *request),
		outcome: make(chan outcome),
		report:  make(chan *health.Evidence),
		outrun:  make(chan outrun),
		check:   make(chan struct{}, 1),
		slow:    make(chan struct{}, 1),
		over:    make(chan struct{}),
		idle:    make(chan struct{}),
	}
	l.ctx, l.stop = context.WithCancelCause(parent)
	l.busy.Store(1)
	return l
}

// start runs f in a goroutine of this life. Only the loop may call it.
func (l *life) start(f func()) {
	l.busy.Add(1)
	go func() {
		defer l.release()
		f()
	}()
}

// enter counts a goroutine that was started elsewhere, unless the life has ended. Anyone
// may call it, and must call release if it reports true.
func (l *life) enter() bool {
	for {
		n := l.busy.Load()
		if n == 0 {
			return false
		}
		if l.busy.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (l *life) release() {
	if l.busy.Add(-1) == 0 {
		close(l.idle)
	}
}

// send delivers an outcome to the loop. If the loop has ended, send only
// answers the open.
func (l *life) send(o outcome) {
	select {
	case l.outcome <- o:
	case <-l.over:
		o.answer()
	}
}

// checkNow asks the actor to probe a down node soon, or to look at the status
// of one that is up. It never waits. Anyone may call it.
func (n *node) checkNow() {
	if l := n.life.Load(); l != nil {
		l.checkNow()
	}
}

// checkNow asks the loop to look at its node. It never waits.
func (l *life) checkNow() {
	select {
	case l.check <- struct{}{}:
	default: // a request is there already
	}
}

// ended reports whether the life's last goroutine has ended, and all events and
// log lines of the node have been delivered.
func (l *life) ended() bool {
	return l.busy.Load() == 0 && !slices.ContainsFunc(l.told, func(q *calls.Queue) bool { return q.Busy() != nil })
}

// wait waits until the life has ended, or until limit is closed. It reports
// whether the life has ended.
func (l *life) wait(limit <-chan struct{}) bool {
	if !closedBefore(l.idle, limit) {
		return false
	}
	for _, q := range l.told {
		if !q.Wait(limit) {
			return false
		}
	}
	return true
}

func closedBefore(c, limit <-chan struct{}) bool {
	select {
	case <-c:
		return true
	case <-limit:
		return false
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

var (
	// errRemoved ends the life of a node that was removed from its cluster.
	errRemoved = errors.New("the node was removed")
	errDrained = errors.New("drained by the program")
)

// drain stops or resumes new use of a node. To stop it, drain retires the
// node's pooled connections. The actor does the rest. Any goroutine may call
// it.
func (m *manager) drain(name string, on bool) error {
	n, changed, err := m.setDraining(name, on)
	if err != nil || !changed {
		return err
	}
	if on {
		n.generation.Add(1)
	}
	n.checkNow()
	m.news.Notify()
	return nil
}

// setDraining notes what the program wants of a member. It holds the lock under
// which nodes leave: a removed node drains for good, whoever asks for an end of
// its drain at the same time.
func (m *manager) setDraining(name string, on bool) (n *node, changed bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, false, ErrClosed
	}
	nodes := *m.nodes.Load()
	i, found := findNode(nodes, name)
	if !found {
		return nil, false, m.unknown(name)
	}
	return nodes[i], nodes[i].draining.Swap(on) != on, nil
}

func (m *manager) unknown(name string) error {
	return fmt.Errorf("clustersql: cluster %q: there is no node %q", m.name, m.shown(name))
}

// drainCause returns the error for opens that meet a draining node.
func (n *node) drainCause() error {
	if n.leaving.Load() {
		return errRemoved
	}
	return errDrained
}

// drainWord returns the cause of events about a draining node.
func (n *node) drainWord() string {
	if n.leaving.Load() {
		return causeRemove
	}
	return causeDrain
}

// applyDrain brings the node's state in line with what the program wants, and
// cuts the conns when the drain exceeds drain_timeout. A removed node ends its
// own life when its last connection is closed, or when the drain is overdue and
// all conns that can be cut are cut.
func (n *node) applyDrain(l *life) {
	draining := n.loop.health.State == health.Draining
	switch wanted := n.draining.Load(); {
	case wanted && !draining:
		n.setState(health.Draining, n.drainCause().Error(), n.drainWord())
		n.emitRetired(n.loop.health.Reason, n.drainWord())
	case !wanted && draining:
		n.loop.addedLate = true
		if n.loop.health.SilentBefore { // and silence counts until a check shows that the node has caught up
			n.setState(health.Down, fmt.Sprintf("%s while it was drained", health.Silent), health.Silent.String())
			n.loop.health.Class = health.Silent
		} else if v := n.loop.memory().Verdict; v != nil { // and so does what its last probe showed
			n.setState(health.Down, v.Text, v.Class.String())
			n.loop.health.Class, n.loop.health.Need = v.Class, v.Need
		} else {
			n.setState(health.Unknown, "", causeUndrain)
		}
		n.probeNow(l)
		return
	case !wanted:
		return
	}
	n.closeRetired(l)
	open, _ := n.conns.Count()
	overdue := open > 0 && time.Since(n.loop.health.Since) >= n.cfg().DrainTimeout
	if overdue && !n.loop.drained {
		n.loop.drained = true
		n.cut(l, fmt.Sprintf("%s over %s ago (drain_timeout)", n.loop.health.Reason, n.cfg().DrainTimeout), n.drainWord())
	}
	if n.leaving.Load() {
		n.closeProbe(l)
		if open == 0 || overdue {
			l.stop(errRemoved)
		}
	}
}

// setState changes the state because the program wants it. What was known
// against the node is forgotten, except that it was silent. What probes show of its
// part in replication is remembered elsewhere.
func (n *node) setState(to health.State, reason, cause string) {
	from := n.loop.health
	n.loop.health = health.Health{State: to, Reason: reason, Since: time.Now(), EverUp: from.EverUp, Conf: from.Conf, SilentBefore: from.SilentBefore}
	n.loop.changed, n.loop.drained = true, false
	n.emit(Event{Kind: EventState, From: State(from.State), To: State(to), Reason: reason, Cause: cause})
}

// closeProbe closes the probe connection, if the loop has it.
func (n *node) closeProbe(l *life) {
	if conn := n.loop.probeConn; conn != nil {
		n.loop.probeConn = nil
		l.start(func() { n.close(conn) })
	}
}

// drainLeft returns how much time the drain has left, at least 1 ms.
func (n *node) drainLeft() time.Duration {
	return max(time.Millisecond, n.cfg().DrainTimeout-time.Since(n.loop.health.Since))
}

// A probe of the lasting connection that is past its deadline goes on, for
// hang_limit at most. While dials are refused, no other connection can be a
// witness of the established ones: a late answer then says that the node is slow,
// and not silent.

// giveBack gives the connection of a probe back to the loop.
func (n *node) giveBack(l *life, o outcome) {
	select {
	case l.outcome <- o:
	case <-l.ctx.Done():
		if o.conn != nil {
			n.close(o.conn)
		}
	}
}

// returnLate gives the lasting connection back if it got an answer after its
// deadline: it was slow, and not silent. Any other connection is closed.
func (n *node) returnLate(l *life, r *dialed, took time.Duration, fresh bool) {
	o := outcome{kind: outcomeLate, conn: r.conn, lasting: r.lasting, trip: took}
	if r.failed != nil {
		o.evidence = r.failed.evidence()
	} else {
		o.evidence = r.found.Evidence()
	}
	switch {
	case !fresh && !o.evidence.Spent && (o.evidence.OK || o.evidence.Alive()):
		n.giveBack(l, o)
	case r.conn != nil:
		n.close(r.conn)
	}
}

// onLate takes the lasting connection back after a late answer.
func (n *node) onLate(l *life, o outcome) {
	o.evidence.Probe = true
	if s := n.loop.slow; s != nil && s.wronged { // it was slower than a doubt has thought, and the next one knows
		s.wronged = false
		n.noteTrip(o.trip)
	}
	n.keepProbe(l, &o)
	n.learn(l, o.evidence)
}

// hearDial gives a late probe up once a dial was not refused: a connection of that
// dial takes its place, or there is none.
func (n *node) hearDial(e *health.Evidence) {
	if n.loop.giveUp != nil && e.Class != health.Refused {
		n.loop.giveUp()
		n.loop.giveUp = nil
	}
}

// keepProbe takes back the connection of a probe that got an answer. The oldest one
// stays the lasting one: it is what the program's connections are. Only where its
// check was refused, and that of a new one passes, the new one takes its place:
// it may be a fault of that one session.
func (n *node) keepProbe(l *life, o *outcome) {
	conn := o.conn
	switch {
	case conn == nil:
	case n.loop.probeConn == nil:
		n.loop.probeConn, n.loop.lasting, n.loop.refused = conn, o.lasting, o.evidence.Goes
	case n.loop.refused && o.evidence.OK:
		conn, n.loop.probeConn, n.loop.lasting, n.loop.refused = n.loop.probeConn, conn, o.lasting, false
		fallthrough
	default:
		l.start(func() { n.close(conn) })
	}
}

// noteProbe remembers how a probe went, for the status. Only run calls it.
func (n *node) noteProbe(o *outcome) {
	r := &ProbeResult{Time: time.Now(), OK: o.evidence.OK}
	r.Took = r.Time.Sub(n.loop.probeStart)
	if !r.OK {
		r.Layer, r.Error = o.layer, o.evidence.Reason
		if r.Layer == "" { // it passed, and the node is not used for what it showed
			r.Layer = socket.LayerState
		}
	}
	n.tally.check.Store(r)
}

// layerOf returns the layer at which a probe got an error. ctx is the probe's.
func layerOf(ctx context.Context, err error) (layer string) {
	defer func() {
		if recover() != nil { // the methods of a backend's error
			layer = socket.LayerHandshake
		}
	}()
	var unfit *health.Unfit
	if errors.As(err, &unfit) {
		return socket.LayerState
	}
	return socket.LayerOf(ctx, err)
}

// onRenewed looks at a node whose recipe is another one. What the old one has
// shown against new connections says nothing any more.
func (n *node) onRenewed(l *life) {
	if !n.renewed.Swap(false) {
		return
	}
	h := &n.loop.health
	if h.State == health.Down && h.Class == health.Misconfigured && !h.SilentBefore {
		n.setState(health.Unknown, "", "")
		n.allowRetry()
	}
	n.loop.sinceStatus = health.StatusEvery
	n.probeNow(l)
}
