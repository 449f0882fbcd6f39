package gate

import "slices"

// A Waiter waits in a [Queue].
type Waiter interface {
	comparable
	// Ended reports whether it waits no longer.
	Ended() bool
}

// A Queue holds those that wait for a slot, oldest first. One that waits no longer
// may stay in it for a while, but Pop never returns it. The zero Queue is empty. Its
// methods must not overlap.
//
// Many may wait. The work for each of them does not grow with their number.
type Queue[W Waiter] struct {
	waiting []W
	first   int // index of the oldest; those before it have left
}

// queueKept is the room that an empty queue keeps.
const queueKept = 64

// Empty reports whether the queue holds nobody, nor any that has ended.
func (q *Queue[W]) Empty() bool { return q.first == len(q.waiting) }

// Push adds one that waits. It looks for those that have ended only when there is
// no room. The room doubles then, unless half of it has become free. So this is
// rare.
func (q *Queue[W]) Push(w W) {
	if len(q.waiting) == cap(q.waiting) {
		q.DropEnded()
		if room := cap(q.waiting); len(q.waiting) > room/2 {
			q.waiting = slices.Grow(q.waiting, room)
		}
	}
	q.waiting = append(q.waiting, w)
}

// Pop takes out the oldest one that still waits. ok is false if there is none.
func (q *Queue[W]) Pop() (w W, ok bool) {
	var none W
	for !q.Empty() {
		w := q.waiting[q.first]
		q.waiting[q.first] = none
		q.first++
		if !w.Ended() {
			return w, true
		}
	}
	q.reset()
	return none, false
}

// DropEnded drops those that have ended.
func (q *Queue[W]) DropEnded() {
	kept := q.waiting[:0]
	for _, w := range q.waiting[q.first:] {
		if !w.Ended() {
			kept = append(kept, w)
		}
	}
	clear(q.waiting[len(kept):])
	q.waiting, q.first = kept, 0
}

// Clear takes out all, and calls each with every one of them.
func (q *Queue[W]) Clear(each func(w W)) {
	for _, w := range q.waiting[q.first:] {
		each(w)
	}
	clear(q.waiting)
	q.reset()
}

// reset makes room for new ones in an empty queue. What a crowd needed is given
// back.
func (q *Queue[W]) reset() {
	q.waiting, q.first = q.waiting[:0], 0
	if cap(q.waiting) > queueKept {
		q.waiting = nil
	}
}
