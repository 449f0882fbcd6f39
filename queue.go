package clustersql

import "slices"

// A queue holds the requests of one node that wait for a slot, oldest first. A
// request whose open has ended may stay in it for a while, but pop never
// returns it: an attempt that has not started by then never starts.
//
// Many opens may wait. The work for each of them does not grow with their
// number.
type queue struct {
	requests []*request
	first    int // index of the oldest; those before it have left
}

// queueKept is the room that an empty queue keeps.
const queueKept = 64

func (q *queue) empty() bool { return q.first == len(q.requests) }

// push adds a request. It looks for released ones only when there is no room.
// The room doubles then, unless half of it has become free. So this is rare.
func (q *queue) push(r *request) {
	if len(q.requests) == cap(q.requests) {
		q.dropReleased()
		if room := cap(q.requests); len(q.requests) > room/2 {
			q.requests = slices.Grow(q.requests, room)
		}
	}
	q.requests = append(q.requests, r)
}

// pop takes out the oldest request whose open has not ended. It returns nil if
// there is none.
func (q *queue) pop() *request {
	for !q.empty() {
		r := q.requests[q.first]
		q.requests[q.first] = nil
		q.first++
		if r.ctx.Err() == nil {
			return r
		}
	}
	q.reset()
	return nil
}

// dropReleased drops the requests whose open has ended.
func (q *queue) dropReleased() {
	kept := q.requests[:0]
	for _, r := range q.requests[q.first:] {
		if r.ctx.Err() == nil {
			kept = append(kept, r)
		}
	}
	clear(q.requests[len(kept):])
	q.requests, q.first = kept, 0
}

// refuse answers all requests with the same failure and takes them out.
func (q *queue) refuse(why *dialError) {
	for _, r := range q.requests[q.first:] {
		r.fail(why)
	}
	clear(q.requests)
	q.reset()
}

// reset makes room for new requests in an empty queue. What a crowd needed is
// given back.
func (q *queue) reset() {
	q.requests, q.first = q.requests[:0], 0
	if cap(q.requests) > queueKept {
		q.requests = nil
	}
}
