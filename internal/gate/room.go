package gate

import (
	"container/list"
	"sync"
	"sync/atomic"
)

// A Guest waits in a [Room] until a host calls it.
type Guest[H comparable] interface {
	comparable
	// Seat returns the guest's seat, which is always the same.
	Seat() *Seat[H]
	// MayAsk reports whether a call of the host is of use to the guest. The room
	// calls it under its lock: it must not wait.
	MayAsk(h H) bool
}

// A Seat is the part of a guest that belongs to its room. The zero Seat is that of a
// guest that has never waited.
type Seat[H comparable] struct {
	called chan struct{} // has room for one call; nil before the first wait; only the guest sets it
	place  *list.Element // guarded by the room's lock; nil while the guest is not there
	caller H             // who has called and was not asked yet; guarded by the room's lock
}

// Called returns the channel on which the guest gets its calls. It is nil before the
// guest has entered a room.
func (s *Seat[H]) Called() <-chan struct{} { return s.called }

// A Room holds guests that wait until a host calls them, the oldest first. A host
// calls as many as it has room for. All others sleep on: what each of them costs
// does not grow with their number. The zero Room is empty. Any goroutine may use it,
// for each guest one at a time.
type Room[H comparable, G Guest[H]] struct {
	waiting atomic.Int64 // how many there are

	mu     sync.Mutex // guards what follows, and the guests' places; never held across a wait
	guests list.List  // of G
}

// Waiting returns how many guests wait.
func (r *Room[H, G]) Waiting() int { return int(r.waiting.Load()) }

// Enter makes a guest wait. It reports false if the guest waits already.
func (r *Room[H, G]) Enter(g G) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := g.Seat()
	if s.place != nil {
		return false
	}
	if s.called == nil {
		s.called = make(chan struct{}, 1)
	}
	s.place = r.guests.PushBack(g)
	r.waiting.Add(1)
	return true
}

// Leave ends the waiting of a guest, because it asks hosts now.
func (r *Room[H, G]) Leave(g G) {
	s := g.Seat()
	if s.called == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.remove(s)
	var nobody H
	s.caller = nobody
}

// Depart ends the waiting of a guest for good. If a host has called it and was not
// asked, another guest is called instead.
func (r *Room[H, G]) Depart(g G) {
	s := g.Seat()
	if s.called == nil {
		return
	}
	var nobody H
	r.mu.Lock()
	r.remove(s)
	caller := s.caller
	r.mu.Unlock()
	if caller != nobody {
		r.Invite(caller, 1)
	}
}

// remove takes a guest out, if it is there. The caller holds the lock.
func (r *Room[H, G]) remove(s *Seat[H]) {
	if s.place != nil {
		r.guests.Remove(s.place)
		s.place = nil
		r.waiting.Add(-1)
	}
}

// Invite calls the oldest guests that may ask the host, at most so many.
func (r *Room[H, G]) Invite(h H, most int) {
	for range most {
		s := r.next(h)
		if s == nil {
			return
		}
		select {
		case s.called <- struct{}{}:
		default: // an earlier call is there still
		}
	}
}

// next takes out the oldest guest that may ask the host, and returns its seat. It
// returns nil if there is none.
func (r *Room[H, G]) next(h H) *Seat[H] {
	r.mu.Lock()
	defer r.mu.Unlock()
	for e := r.guests.Front(); e != nil; e = e.Next() {
		if g := e.Value.(G); g.MayAsk(h) {
			s := g.Seat()
			r.remove(s)
			s.caller = h
			return s
		}
	}
	return nil
}
