package clustersql

import (
	"context"
	"database/sql/driver"
	"errors"
	"time"

	"github.com/EnumApps/clustersql/internal/health"
	"github.com/EnumApps/clustersql/internal/socket"
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
func (n *node) returnLate(l *life, r *dialed, took time.Duration, fresh bool) {
	o := outcome{kind: outcomeLate, conn: r.conn, trip: took}
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
	if n.held() != nil { // it was slower than usual, and that is remembered
		n.noteTrip(o.trip)
	}
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
