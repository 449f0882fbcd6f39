package clustersql

import (
	"database/sql/driver"

	"github.com/EnumApps/clustersql/internal/health"
)

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
func (n *node) returnLate(l *life, r *dialed, fresh bool) {
	o := outcome{kind: outcomeLate, conn: r.conn}
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
	n.keepProbe(l, o.conn, &o.evidence)
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
func (n *node) keepProbe(l *life, conn driver.Conn, e *health.Evidence) {
	switch {
	case conn == nil:
	case n.loop.probeConn == nil:
		n.loop.probeConn, n.loop.refused = conn, e.Goes
	case n.loop.refused && e.OK:
		conn, n.loop.probeConn, n.loop.refused = n.loop.probeConn, conn, false
		fallthrough
	default:
		l.start(func() { n.close(conn) })
	}
}
