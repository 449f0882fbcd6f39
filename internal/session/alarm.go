package session

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// An alarm goes off if a call takes long. To start and stop a timer with each call would
// cost more than all else that a conn does. So where calls follow each other closely, the
// timer runs on when its call has returned. When it fires, it looks whether the call that is
// under way by then has had its time, and is set to the end of that. A fire may wake the
// process, which costs much more than a stop. So where calls are rare, each stops the timer.
type alarm struct {
	off  func()       // gets a goroutine of its own
	due  atomic.Int64 // when the call under way has had its time, by clock; or resting, or wentOff
	next atomic.Int64 // when the timer fires; never: it does not run

	// owned by the conn's user
	began int64 // when the last call did
	close uint8 // calls in a row that followed closely, up to many

	mu    sync.Mutex // guards the timer; never held across a wait
	timer *time.Timer
}

// A call follows closely that begins within a part of its time after the one before. After
// many of them the timer runs on. So it fires in vain once for each many calls at most.
const (
	part = 8
	many = 16
)

// These are no times that due or next may be.
const (
	resting = math.MaxInt64 // no call is under way
	wentOff = math.MinInt64 // it has gone off for the call under way
	never   = math.MaxInt64
)

func newAlarm(off func()) *alarm {
	a := &alarm{off: off}
	a.due.Store(resting)
	a.next.Store(never)
	return a
}

// epoch is where clock began.
var epoch = time.Now()

// clock returns the time in nanoseconds. It costs less than time.Now.
func clock() int64 { return int64(time.Since(epoch)) }

// start is called when a call begins, which has the time after, and stop when it has
// returned. What was written before start is seen by off.
func (a *alarm) start(after time.Duration) {
	now := clock()
	due := now + int64(after)
	a.due.Store(due)
	switch {
	case now-a.began > int64(after)/part:
		a.close = 0
	case a.close < many:
		a.close++
	}
	a.began = now
	if due < a.next.Load() { // fire stores next first, and then loads due: one of the two sees the other's
		a.set(due)
	}
}

// stop reports whether the alarm has gone off for the call.
func (a *alarm) stop() bool {
	if a.due.Swap(resting) == wentOff {
		return true
	}
	if a.close < many {
		a.halt()
	}
	return false
}

// halt stops the timer.
func (a *alarm) halt() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.timer.Stop()
	a.next.Store(never)
}

// set has the timer fire when it is due, or before.
func (a *alarm) set(due int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if due < a.next.Load() {
		a.wake(due, clock())
	}
}

// wake sets the timer. a.mu must be held.
func (a *alarm) wake(due, now int64) {
	a.next.Store(due)
	if wait := time.Duration(due - now); a.timer == nil {
		a.timer = time.AfterFunc(wait, a.fire)
	} else {
		a.timer.Reset(wait)
	}
}

// fire runs in a goroutine of its own.
func (a *alarm) fire() {
	if a.passed() {
		a.off()
	}
}

// passed reports whether the call under way has had its time.
func (a *alarm) passed() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.next.Store(never)
	due, now := a.due.Load(), clock()
	switch {
	case due == resting, due == wentOff:
		return false
	case due > now: // a call that began later than the one for which the timer was set
		a.wake(due, now)
		return false
	}
	return a.due.CompareAndSwap(due, wentOff) // else the call has just returned
}
