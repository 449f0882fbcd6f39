package session

import "time"

// A Lateness is told of calls of the backend that take long. Its methods may be
// called from any goroutine.
type Lateness interface {
	LateAfter() time.Duration // how long a call may take before Late is called; 0: as long as it likes
	Late()                    // gets a goroutine of its own, once for each such call; it must not wait
}

// begin must be called before a call of the backend that may wait for the server,
// and end after it. Between the two the conn's alarm is on. It is made with the
// first call and used again for every other one, so that neither allocates. If
// it goes off as the call returns, Late is called for a call that is over.
//
// The rows of a query are the backend's own: what they wait for is not seen.
func (c *conn) begin() {
	if c.link.Hedging != nil {
		w := c.watching()
		w.arm(0)
		w.start()
		return
	}
	l := c.link.Lateness
	if l == nil {
		return
	}
	after := l.LateAfter()
	if after <= 0 {
		return
	}
	if c.late == nil {
		c.late = newAlarm(l.Late)
	}
	c.late.start(after)
}

func (c *conn) end() {
	if c.watch != nil {
		c.endRead()
	} else if c.late != nil {
		c.late.stop()
	}
}
