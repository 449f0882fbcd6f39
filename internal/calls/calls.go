// Package calls makes calls of a program's code, which may hang, without anybody
// waiting for them.
//
// A Queue has a goroutine while there are calls to make. The root and logline
// import the package; it imports no other package of this module.
package calls

import "sync"

// Room is how many calls may wait in a Queue.
const Room = 256

// A Queue makes calls of the program's code, which may hang. It makes them in
// order and one at a time, in a goroutine that ends when none is left. It drops
// those for which it has no room. The zero Queue is empty. Anyone may call the
// methods.
type Queue struct {
	mu      sync.Mutex // guards what follows; never held across a call
	waiting []queued
	dropped int           // since the last one that found room
	idle    chan struct{} // closed when no call is left; nil if none is
}

type queued struct {
	call    func(dropped int)
	dropped int // calls that were dropped just before this one
}

// Put adds a call, or drops it. It returns how many were dropped in a row by
// now. The call gets the number of those that were dropped just before it.
func (q *Queue) Put(call func(dropped int)) (dropped int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == Room {
		q.dropped++
		return q.dropped
	}
	q.waiting = append(q.waiting, queued{call, q.dropped})
	q.dropped = 0
	if q.idle == nil {
		q.idle = make(chan struct{})
		go q.run()
	}
	return 0
}

// run makes the calls. A call may end its goroutine, as the FailNow of a test
// does; another goroutine then makes the rest.
func (q *Queue) run() {
	done := false
	defer func() {
		if !done {
			go q.run()
		}
	}()
	for {
		next, ok := q.next()
		if !ok {
			done = true
			return
		}
		next.call(next.dropped)
	}
}

// next takes the oldest call. If there is none, the queue is idle.
func (q *Queue) next() (next queued, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		q.waiting = nil
		close(q.idle)
		q.idle = nil
		return queued{}, false
	}
	next, q.waiting[0] = q.waiting[0], queued{}
	q.waiting = q.waiting[1:]
	return next, true
}

// Wait waits until no call is left, or until limit is closed. It reports whether
// none is left.
func (q *Queue) Wait(limit <-chan struct{}) bool {
	idle := q.Busy()
	if idle == nil {
		return true
	}
	select {
	case <-idle:
		return true
	case <-limit:
		return false
	}
}

// Busy returns a channel that is closed when no call is left, or nil if none is
// left now. It is nil for a nil Queue.
func (q *Queue) Busy() <-chan struct{} {
	if q == nil {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.idle
}
