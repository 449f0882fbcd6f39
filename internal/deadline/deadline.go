// Package deadline makes contexts whose timeout leaves out the time in which
// this program itself was late. A busy or suspended program sees a deadline pass
// although the answer has been there for long: its goroutine had no turn to read
// it. Nobody else is to be blamed for that.
//
// It imports no other package of this module. It starts no goroutine; its timers
// do.
package deadline

import (
	"context"
	"errors"
	"sync"
	"time"
)

// tick is the longest step in which a timeout is counted.
const tick = 100 * time.Millisecond

// steps is the least number of steps of a timeout. An answer passes through a
// few goroutines, each of which waits for its turn as a step does.
const steps = 6

// spare is how many steps may be left out. A handshake has several answers, and
// in a program that gets no turn all of them wait as each step does. A node that
// is silent must still be found.
const spare = 2 * steps

// A Deadline is a context that ends once its timeout has passed. The timeout is
// counted in steps. By as much as a step comes late, the rest of the timeout
// comes later. A step that comes late by more than its own length is left out.
type Deadline struct {
	context.Context
	end  func(cause error)
	at   time.Time
	then func()

	mu      sync.Mutex // guards what follows
	cause   error
	step    time.Duration
	wait    time.Duration // of the step under way
	spare   int           // how many more may be left out
	left    time.Duration
	timer   *time.Timer
	due     time.Time // when the timer is to fire; earlier calls of passed are of a timer before
	stopped bool
}

// New returns a context that is cancelled with the cause once the timeout has
// passed. Its Err then is context.DeadlineExceeded. After that then is called, in
// a goroutine of its own, unless it is nil. The caller must call Cancel.
func New(parent context.Context, timeout time.Duration, cause error, then func()) *Deadline {
	inner, end := context.WithCancelCause(parent)
	d := &Deadline{Context: inner, end: end, at: time.Now().Add(timeout), then: then, cause: cause}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.begin(timeout)
	return d
}

// begin counts a timeout from now on. The caller holds mu.
func (d *Deadline) begin(timeout time.Duration) {
	d.left, d.step, d.spare = timeout, min(tick, max(timeout/steps, time.Millisecond)), spare
	d.next()
}

// next waits for the next step. The caller holds mu.
func (d *Deadline) next() {
	d.wait = min(d.step, d.left)
	d.left -= d.wait
	d.due = time.Now().Add(d.wait)
	if d.timer == nil {
		d.timer = time.AfterFunc(d.wait, d.passed)
		return
	}
	d.timer.Reset(d.wait)
}

// passed runs when a step is over.
func (d *Deadline) passed() {
	d.mu.Lock()
	late := time.Since(d.due)
	over := !d.stopped && late >= 0
	if over && late > d.wait && d.spare > 0 {
		d.spare--
		d.left += d.wait
	}
	if over && d.left > 0 {
		d.next()
		over = false
	}
	if !over {
		d.mu.Unlock()
		return
	}
	d.stopped = true
	cause := d.cause
	d.mu.Unlock()
	d.end(cause)
	if d.then != nil {
		d.then()
	}
}

// Shorten has the context end once the timeout has passed, with this cause,
// unless it ends earlier anyway.
func (d *Deadline) Shorten(timeout time.Duration, cause error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopped || timeout >= time.Until(d.at) {
		return
	}
	d.cause = cause
	d.begin(timeout)
}

// Cancel ends the context. then is not called any more, unless it runs already.
func (d *Deadline) Cancel() {
	d.mu.Lock()
	d.stopped = true
	d.timer.Stop()
	d.mu.Unlock()
	d.end(context.Canceled)
}

// Deadline returns when the timeout ends if no step is late, or the parent's
// deadline if that is earlier.
func (d *Deadline) Deadline() (time.Time, bool) {
	if at, ok := d.Context.Deadline(); ok && at.Before(d.at) {
		return at, true
	}
	return d.at, true
}

// Err returns context.DeadlineExceeded once the timeout has passed.
func (d *Deadline) Err() error {
	err := d.Context.Err()
	if cause := context.Cause(d.Context); err != nil && cause != context.Canceled && errors.Is(cause, context.DeadlineExceeded) {
		return context.DeadlineExceeded
	}
	return err
}
