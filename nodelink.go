package clustersql

import (
	"database/sql/driver"
	"time"

	"github.com/EnumApps/clustersql/internal/health"
)

// wrap makes the winner's conn the one that database/sql gets and counts it,
// as a connection from now on and no longer as an open under way.
// Ownership passes to the caller with the return value; closed, which may be
// nil, is called when the caller has closed the conn.
func (n *node) wrap(w winner, closed func()) driver.Conn {
	seat := n.load.join(w.born)
	wrapped := wrapConn(w.conn, link{
		generation: &n.generation,
		born:       w.born,
		report:     func(f fault) error { return n.answer(f.explained(w.socket.Cause()), w.born) },
		traits:     n.traits,
		closed: func() {
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
	conn := wrapped.(interface{ base() *clusterConn }).base()
	n.conns.add(w.socket, heldConn{conn, seat, w.born, now, n.cfg.oldAt(now, n.draws)})
	n.obeyCut(w)
	n.load.planned.Add(-1)
	return wrapped
}

// answer takes an error of real traffic on a conn of generation born, and
// returns what the caller gets. By then the node's conns are retired if the
// error says so, and the actor has been told.
func (n *node) answer(f fault, born uint64) error {
	v := f.verdict(n.cfg.Idempotent)
	if f.class == health.Neutral && v == (verdict{}) {
		return f.err
	}
	failed := n.dial.failure(f.class, f.err)
	text := failed.text
	if !f.left || f.class != health.Lost {
		n.report(health.Evidence{Class: f.class, Need: health.NeedOf(f.err, mysqlClass), Reason: failed.reason(), Err: failed.err}, born)
	}
	if v == (verdict{}) {
		return f.err
	}
	return &NodeError{Node: n.name, Err: f.err, verdict: v, class: f.class, text: text}
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
