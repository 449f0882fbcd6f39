package session

import (
	"context"
	"database/sql/driver"
	"sync"
	"time"

	"github.com/EnumApps/clustersql/internal/hedge"
)

// A watch is the alarm of a conn whose reads are hedged. It is started with each call
// that may wait for the server and used again, unless it has gone off: then its goroutine
// may have it for longer than the call takes, and the conn gets another one.
type watch struct {
	conn  *conn
	alarm *alarm

	// of the call; written by the conn's user while the alarm is off
	armed     bool
	on        *tenure
	hedgeAt   time.Duration // 0: the call is not hedged
	lateAt    time.Duration // 0: the call is never late
	chosen    bool          // the caller has chosen hedgeAt
	kind      readKind
	query     string
	args      []driver.NamedValue
	ctx       context.Context
	mu        sync.Mutex         // guards what follows; never held across a wait
	over      bool               // the call has returned
	abandoned bool               // no answer of the other node is wanted any more
	release   context.CancelFunc // ends the open of the other connection; nil if none is under way
	racer     *tenure            // the other connection while the read runs on it
	won       *answer            // of the other connection, which came first
}

// beginRead is begin for a read. Whether it is one, and may be hedged, is looked at
// only if it takes long. Only the first statement of a session may be, as database/sql
// knows it: what comes later may lean on what came before.
func (c *conn) beginRead(ctx context.Context, kind readKind, query string, args []driver.NamedValue) {
	h := c.link.Hedging
	if h == nil || c.begun || c.strange || c.inTx || c.pinned {
		c.begin()
		return
	}
	after, chosen := h.HedgeAfter(), false
	if after > 0 {
		if d, ok := ctx.Value(hedgeKey{}).(time.Duration); ok {
			after, chosen = max(d, 0), true
		}
	}
	w := c.watching()
	w.arm(after)
	if after > 0 {
		w.chosen, w.kind, w.query, w.args, w.ctx = chosen, kind, query, args, ctx
	}
	w.start()
}

// watching returns the conn's watch, which is not armed.
func (c *conn) watching() *watch {
	if c.watch != nil && c.watch.armed { // the backend has panicked in the call before
		if a := c.endRead(); a != nil {
			a.tenure.link.Hedging.Later(a.discard)
		}
	}
	if c.watch == nil {
		w := &watch{conn: c}
		w.alarm = newAlarm(w.fire)
		c.watch = w
	}
	return c.watch
}

// arm decides when the alarm goes off.
func (w *watch) arm(after time.Duration) {
	w.on, w.hedgeAt, w.lateAt = w.conn.tenure, after, 0
	if l := w.on.link.Lateness; l != nil {
		w.lateAt = max(l.LateAfter(), 0)
	}
	w.armed = w.hedgeAt > 0 || w.lateAt > 0
}

// start starts the alarm of a watch that is armed. All else must have been written.
func (w *watch) start() {
	first := w.hedgeAt
	if first == 0 || w.lateAt > 0 && w.lateAt < first {
		first = w.lateAt
	}
	if first > 0 {
		w.alarm.start(first)
	}
}

// endRead is end for a read. If another node has answered first, it returns that
// answer, which the caller must adopt; what the backend has returned counts no more.
func (c *conn) endRead() *answer {
	w := c.watch
	if w == nil || !w.armed {
		if c.late != nil {
			c.late.stop()
		}
		return nil
	}
	w.armed = false
	if w.alarm.stop() {
		c.watch = nil
		return w.end()
	}
	if w.hedgeAt > 0 {
		w.args, w.ctx = nil, nil
		if c.inTime++; c.inTime == hedge.Batch {
			c.inTime = 0
			c.link.Hedging.Answered()
		}
	}
	return nil
}

// end ends a call for which the alarm has gone off.
func (w *watch) end() *answer {
	w.mu.Lock()
	w.over = true
	won, racer, release := w.won, w.racer, w.release
	w.mu.Unlock()
	if release != nil {
		release()
	}
	if racer != nil && won == nil {
		racer.link.Hedging.Later(racer.link.Hedging.Cut)
	}
	return won
}

// fire runs in a goroutine of its own.
func (w *watch) fire() {
	switch gap := w.hedgeAt - w.lateAt; {
	case w.hedgeAt == 0:
		w.tellLate()
	case w.lateAt == 0:
		w.hedge()
	case gap > 0:
		w.tellLate()
		time.AfterFunc(gap, w.hedge)
	case gap < 0:
		time.AfterFunc(-gap, w.tellLate)
		w.hedge()
	default:
		w.tellLate()
		w.hedge()
	}
}

func (w *watch) tellLate() {
	var l Lateness
	w.mu.Lock()
	if !w.over {
		l = w.on.link.Lateness
	}
	w.mu.Unlock()
	if l != nil {
		l.Late()
	}
}

func (w *watch) hedge() {
	var h Hedging
	var r *Read
	w.mu.Lock()
	if !w.over {
		h, r = w.on.link.Hedging, w.judge()
	}
	w.mu.Unlock()
	if r != nil {
		h.Hedge(r)
	}
}
