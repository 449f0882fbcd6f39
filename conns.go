package clustersql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"runtime"
	"time"

	"github.com/EnumApps/clustersql/internal/causal"
	"github.com/EnumApps/clustersql/internal/counts"
	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/health"
	"github.com/EnumApps/clustersql/internal/held"
	"github.com/EnumApps/clustersql/internal/logline"
	"github.com/EnumApps/clustersql/internal/seen"
	"github.com/EnumApps/clustersql/internal/session"
)

// wrap wraps the winner's conn for database/sql. From now on it counts as a
// connection and no longer as an open under way. The caller owns the returned
// conn. closed may be nil; it is called once the conn is closed. It may wait
// for the life's goroutines.
func (n *node) wrap(w winner, closed func()) driver.Conn {
	place := n.load.Join(w.born)
	link := n.link(w, place, n.hedges(w))
	link.Pooled = openedByPool()
	if closed != nil {
		link.Over = func(by session.Closer) {
			if by == session.ByCluster { // the caller is a goroutine of the life: it must not wait for itself
				go closed()
			} else {
				closed()
			}
		}
	}
	wrapped, handle := session.Wrap(w.conn, link)
	n.keep(w, place, handle)
	return wrapped
}

// link returns what a conn is to know of the cluster while it has the winner's
// connection. hedged says whether its reads are hedged.
func (n *node) link(w winner, place *counts.Place, hedged bool) session.Link {
	var ended func() bool
	if !n.session.Closes { // a driver that closes its connection by itself looks by itself too
		ended = w.socket.Watch()
	}
	var hedges session.Hedging
	if hedged {
		hedges = n.arm(w)
	}
	return session.Link{
		Ended:      ended,
		Lateness:   n,
		Hedging:    hedges,
		Generation: &n.generation,
		Born:       w.born,
		Node:       n.name,
		Report:     func(f session.Fault) session.Answer { return n.answer(f, w) },
		Session:    n.session,
		Causal:     n,
		Closed: func(by session.Closer) {
			last := n.conns.Remove(w.socket)
			n.countEnd(by, w)
			if hedged {
				n.tally.hedges.Load().Armed.Add(-1)
			}
			place.Leave()
			if last && n.draining.Load() {
				n.checkNow()
			}
		},
	}
}

// keep counts a winner's connection as one that is open, and no longer as an open
// under way.
func (n *node) keep(w winner, place *counts.Place, h session.Handle) {
	n.tally.NoteOpen(n.conns.Add(w.socket, held.Conn{Handle: h, Place: place, Born: w.born, Opened: time.Now(), Aging: held.Aging(n.draws)}))
	n.applyCut(w)
	n.load.Planned.Add(-1)
}

// openedByPool reports whether database/sql opens a connection from a goroutine
// of its own, as it does when SetMaxOpenConns was reached. It then puts the
// connection into its pool if the caller who waited for it has left, and tells
// the driver nothing of that. Only the stack shows it.
func openedByPool() bool {
	var stack [64]uintptr
	n := runtime.Callers(1, stack[:])
	if n < 2 {
		return false
	}
	first := runtime.FuncForPC(stack[n-2] - 1) // below it is the runtime's own
	return first != nil && first.Name() == "database/sql.(*DB).connectionOpener"
}

// answer takes an error of real traffic on a winner's conn, and decides what
// the caller gets and whether the conn is still used. If the error says that
// the node's conns must retire, they are retired and the actor is notified
// before answer returns. If it may be about this session alone, only this conn
// retires, and the actor is asked for a probe.
func (n *node) answer(f session.Fault, w winner) (a session.Answer) {
	given := f.Err
	defer func() {
		if recover() != nil { // the methods of a backend's error: a typed nil has them too
			a = session.Answer{Err: given}
		}
	}()
	known := n.dial.dialect.Classify
	if f.Intact && w.socket.Cause() == nil && !errors.Is(f.Err, driver.ErrBadConn) {
		if _, ours := known(f.Err); !ours {
			return session.Answer{Err: f.Err} // of a reader or file of the program, as LOAD DATA LOCAL has them
		}
	}
	f.Class = health.ClassifyTraffic(f.Err, known, n.cfg().Require.is().Writes())
	own := (f.Class == health.ReadOnly || f.Class == health.Leaving) && n.dial.dialect.MayBeOwn(f.Err, f.Bound())
	if own {
		n.checkNow() // a probe finds out
	}
	if own && f.Class == health.ReadOnly {
		f.Class = health.Neutral // the session goes on
	}
	// A timeout of the backend's own counts as a lost connection, and so may an
	// answer of a proxy. The backend may go on with it then, and send what comes
	// next.
	lost := f.Class == health.Lost && health.Classify(f.Err, known) == health.Lost && !n.dial.dialect.Answered(f.Err)
	f.Unread = n.dial.dialect.Unread(f.Err)
	f = f.Explained(w.socket.Cause())
	v := f.Verdict(n.cfg().Idempotent, n.dial.dialect.MayHaveRun)
	if f.Class == health.Neutral && v == (session.Verdict{}) {
		return session.Answer{Err: f.Err, Lost: lost}
	}
	if f.Class == health.Lost {
		n.tally.seen.Forget()
	}
	failed := n.dial.failure(f.Class, f.Err)
	if !own && (!f.Left || f.Class != health.Lost) {
		n.report(health.Evidence{Class: f.Class, Need: health.NeedOf(f.Err, known), Reason: failed.reason(), Err: failed.err}, w.born)
	}
	n.tally.Refused(&n.tally.cluster.Cluster, f.Class, v.Moves && f.Op != session.OpPool, v.Unknown)
	if v == (session.Verdict{}) {
		return session.Answer{Err: f.Err, Spent: own || errors.Is(f.Err, driver.ErrBadConn), Lost: lost}
	}
	return session.Answer{Err: &NodeError{Node: n.name, Err: f.Err, verdict: v, class: f.Class, text: failed.text}, Spent: true, Lost: lost}
}

// report notifies the actor of an error of real traffic. It returns at once if
// the error says nothing about the node, comes from a conn of an older
// generation, or no actor runs. Else it returns when the loop has taken the
// message.
//
// Explicit evidence retires the node's conns before that: while the actor is
// busy, the pool would hand the next one out. If several conns meet such an
// error at the same time, only one of them reports it.
func (n *node) report(e health.Evidence, born uint64) {
	switch {
	case e.Class == health.Neutral:
		return
	case e.Class == health.NotReady, e.Class == health.Leaving, e.Class == health.ReadOnly:
		if e.Raised = n.generation.CompareAndSwap(born, born+1); !e.Raised {
			return
		}
	case n.generation.Load() != born:
		return
	}
	l := n.life.Load()
	select {
	case l.report <- &e:
	case <-l.ctx.Done():
	}
}

// errCut is in the tree of the errors that calls on a cut connection return.
var errCut = errors.New("clustersql cut the connection")

// A cutOrder says that conns of generations before below are cut, and why.
type cutOrder struct {
	below uint64
	why   error
}

// cut closes the sockets of all conns of older generations, so that queries
// that hang on them return. The generation must have been raised before, so
// that database/sql does not get such a conn from its pool again. Only run
// calls it.
func (n *node) cut(l *life, reason, cause string) {
	o := &cutOrder{n.generation.Load(), fmt.Errorf("%w (%s)", errCut, reason)}
	n.cutOrder.Store(o)
	count := 0
	for _, s := range n.conns.Older(o.below) {
		if conn := s.Cut(o.why); conn != nil {
			count++
			l.start(func() { n.closeSocket(conn) })
		}
	}
	if count > 0 {
		n.emit(Event{Kind: EventCut, Conns: count, Reason: reason, Cause: cause})
	}
}

// closeSocket closes a socket that was cut. A program's own kind of socket may
// take its time, so that each one has a goroutine of its own.
func (n *node) closeSocket(conn net.Conn) {
	defer n.watchClose()()
	var err error
	defer n.dial.contain("Close of a socket", &err)
	err = conn.Close()
}

// close closes a conn that database/sql does not get.
func (n *node) close(conn driver.Conn) {
	defer n.watchClose()()
	n.dial.close(conn)
}

// closeInTime is close, and waits for it for attempt_timeout at most: it may hang.
func (n *node) closeInTime(conn driver.Conn) {
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		n.close(conn)
	}()
	limit := time.NewTimer(n.cfg().AttemptTimeout)
	defer limit.Stop()
	select {
	case <-gone:
	case <-limit.C:
	}
}

// watchClose is called before a Close of ours, and what it returns after that.
// A Close that takes longer than attempt_timeout counts as hanging meanwhile.
func (n *node) watchClose() (over func()) {
	overdue := time.AfterFunc(n.cfg().AttemptTimeout, func() { n.hanging.Add(1) })
	return func() {
		if !overdue.Stop() {
			n.hanging.Add(-1)
		}
	}
}

// stuck reports whether so many Closes hang that no connection is made or given
// up that does not have to be. That says nothing about the node: its
// connections may work.
func (n *node) stuck() bool { return int(n.hanging.Load()) > n.cfg().MaxOpensPerNode }

// tellStuck writes one line about a node that is not probed because it is
// stuck.
func (n *node) tellStuck() {
	if !n.loop.stuckTold {
		n.loop.stuckTold = true
		n.dial.log.Print(logline.Stuck, n.hanging.Load())
	}
}

// applyCut cuts a conn that was on its way to database/sql when its node was
// cut. cut did not see it, because it was not in conns yet.
func (n *node) applyCut(w winner) {
	if o := n.cutOrder.Load(); o != nil && w.born < o.below {
		if conn := w.socket.Cut(o.why); conn != nil {
			n.closeSocket(conn)
		}
	}
}

// Await is what a conn asks before a call under [ReadYourWrites]; see
// [session.Causal].
func (n *node) Await(ctx context.Context, s *causal.Session, on session.Place, pinned bool) (err error, ours bool) {
	why, err := n.tally.seen.Await(ctx, s, n.sees(on))
	if err != nil || why == "" {
		return err, false
	}
	err = fmt.Errorf("%w: %s", ErrBehind, why)
	moves := !pinned && n.elsewhere() // else the connection would be closed for nothing
	return &NodeError{Node: n.name, Err: err, verdict: session.Verdict{Moves: moves}, class: health.Lagging, text: err.Error()}, true
}

// Note is what a conn asks after such a call.
func (n *node) Note(s *causal.Session, on session.Place) error {
	return n.tally.seen.Note(s, n.sees(on))
}

// Miss is Note for a conn that is lost.
func (n *node) Miss(s *causal.Session, on session.Place) { n.tally.seen.Miss(s, on.Born) }

// sees returns what sessions need to know of a conn. From now on the probes ask for
// positions.
func (n *node) sees(on session.Place) seen.Conn {
	n.tally.cluster.Sessions.Store(true)
	return seen.Conn{Backend: on.Conn, Generation: on.Born, Positions: n.dial.dialect, Site: n.site(), Timeout: n.cfg().CausalTimeout, Elsewhere: n.elsewhere}
}

// elsewhere reports whether another node can be used that no session has just found to
// be behind.
func (n *node) elsewhere() bool {
	now := time.Now()
	return n.anyOther(func(other *node, s *snapshot) bool {
		return other.effective(s).Usable() && !other.tally.seen.IsBehind(now)
	})
}

// site returns what the probes know of the node's database.
func (n *node) site() dialect.Site {
	s := n.snapshot.Load()
	site := dialect.Site{Group: s.view.Group}
	if s.part != nil {
		site.System, site.Primary = s.part.System, s.part.Role == health.RolePrimary && !s.part.Equal
	}
	return site
}

// delayCut makes a cut due.
func (n *node) delayCut(e *health.Evidence, raise bool) {
	h := &n.loop.health
	n.loop.due = health.Cut{Reason: h.Reason, Raise: raise, Generation: n.generation.Load(), Since: time.Now()}
	if h.State == health.Draining {
		n.loop.due.Reason = e.Reason
	}
	if h.Wordless() {
		n.loop.due.Since = n.loop.wordlessAt
	}
	n.proveCut(e)
	n.awaiting.Store(true)
	n.askAnswers()
}

// proveCut looks whether a silent probe proves that a cut is right.
func (n *node) proveCut(e *health.Evidence) {
	n.loop.due.Prove(e, func() bool { return n.loop.heard && n.answeredSince(e.Began) || len(n.nodes()) == 1 })
}

// applyDue carries out a cut that is due, or drops it if the node answers again.
func (n *node) applyDue(l *life) {
	d := &n.loop.due
	switch {
	case !d.Due():
		return
	case n.loop.health.State.Usable():
	case d.Waits(n.cfg().HangLimit, time.Now()):
		return
	case d.Postpone(n.lastHeard()):
		return
	default:
		if d.Raise && n.generation.Load() == d.Generation {
			n.generation.Add(1)
		}
		n.emitRetired(d.Reason, health.Silent.String())
		n.closeRetired(l)
		n.cut(l, d.Reason, health.Silent.String())
	}
	n.loop.due = health.Cut{}
	n.awaiting.Store(false)
}

// dropDue drops a cut that is due when the node is not silent any more. It
// reports whether the evidence that shows this retires the conns, which were
// spared until now.
func (n *node) dropDue(e *health.Evidence) (raise bool) {
	dropped, raise := n.loop.due.Drop(e, &n.loop.health)
	if dropped {
		n.awaiting.Store(false)
	}
	return raise
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
	fellows, _ := n.fellows(time.Now())
	why, ok := n.cfg().wanted(nil).Outranked(m, p, fellows)
	if m.Outranked = ok; !ok {
		return
	}
	n.loop.due.Proven = true // if it is silent: what hangs there waits for nothing
	if due := &n.loop.due; n.loop.health.Retired() && (!due.Due() || !due.Raise) {
		return // they were given up for what took the node down
	}
	n.generation.Add(1)
	n.emitRetired(fmt.Sprintf("%s: %s", health.WrongRole, why), health.WrongRole.String())
	n.closeRetired(l)
}
