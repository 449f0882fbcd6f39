package clustersql

import (
	"database/sql/driver"
	"time"

	"github.com/EnumApps/clustersql/internal/health"
	"github.com/EnumApps/clustersql/internal/session"
)

// wrap makes the winner's conn the one that database/sql gets and counts it,
// as a connection from now on and no longer as an open under way.
// Ownership passes to the caller with the return value; closed, which may be
// nil, is called when the caller has closed the conn.
func (n *node) wrap(w winner, closed func()) driver.Conn {
	seat := n.load.join(w.born)
	wrapped, handle := session.Wrap(w.conn, session.Link{
		Generation: &n.generation,
		Born:       w.born,
		Report:     func(f session.Fault) session.Answer { return n.answer(f, w) },
		Session:    n.session,
		Closed: func() {
			last := n.conns.remove(w.socket)
			seat.leave()
			if last && n.draining.Load() {
				n.nudge()
			}
			if closed != nil {
				closed()
			}
		},
	})
	now := time.Now()
	n.conns.add(w.socket, heldConn{handle, seat, w.born, now, n.cfg.oldAt(now, n.draws)})
	n.obeyCut(w)
	n.load.planned.Add(-1)
	return wrapped
}

// answer takes an error of real traffic on a winner's conn, and says what
// becomes of it. By then the node's conns are retired if the error says so, and
// the actor has been told.
func (n *node) answer(f session.Fault, w winner) session.Answer {
	known := n.dial.dialect.Classify
	f.Class = health.ClassifyTraffic(f.Err, known, n.cfg.Require == RequireWritable)
	lost := f.Class == health.Lost
	f = f.Explained(w.socket.Cause())
	v := f.Verdict(n.cfg.Idempotent, n.dial.dialect.MayHaveRun)
	if f.Class == health.Neutral && v == (session.Verdict{}) {
		return session.Answer{Err: f.Err, Lost: lost}
	}
	failed := n.dial.failure(f.Class, f.Err)
	if !f.Left || f.Class != health.Lost {
		n.report(health.Evidence{Class: f.Class, Need: health.NeedOf(f.Err, known), Reason: failed.reason(), Err: failed.err}, w.born)
	}
	if v == (session.Verdict{}) {
		return session.Answer{Err: f.Err, Lost: lost}
	}
	return session.Answer{Err: &NodeError{Node: n.name, Err: f.Err, verdict: v, class: f.Class, text: failed.text}, Spent: true, Lost: lost}
}

// report tells the actor of an error of real traffic. It returns at once when
// the error says nothing about the node, comes from a conn of an older
// generation, or no actor runs; else when the loop has taken it. Explicit
// evidence retires the node's conns first: the actor may be busy, and the pool
// would hand the next one out meanwhile. Of those who find it at the same
// time one tells.
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
	case l.report <- e:
	case <-l.ctx.Done():
	}
}
