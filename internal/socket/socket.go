// Package socket keeps, for each connection attempt, the socket that the
// backend has dialled, so that the cluster can cut it later. It dials nothing
// itself, and closes a socket only in Cut.
//
// It has one lock per slot, no goroutine, channel or clock, and imports no
// other package of this module.
package socket

import (
	"context"
	"net"
	"sync"
)

type key struct{}

// With returns a context in which [Track] stores into s.
func With(ctx context.Context, s *Slot) context.Context {
	return context.WithValue(ctx, key{}, s)
}

// Of returns the slot of ctx, or nil if there is none.
func Of(ctx context.Context) *Slot {
	s, _ := ctx.Value(key{}).(*Slot)
	return s
}

// Track stores conn into the slot of ctx, if there is one. If an attempt dials
// several sockets, the last one counts.
func Track(ctx context.Context, conn net.Conn) {
	if s := Of(ctx); s != nil && conn != nil {
		s.set(conn)
	}
}

// A Slot holds the socket of one attempt. The zero Slot is empty. All methods
// may be called from any goroutine.
type Slot struct {
	mu   sync.Mutex // guards the fields below; never held across a Close
	conn net.Conn   // nil while none is known
	cut  error      // why the socket was cut; nil while it was not

	unresolved bool // the name service was asked, and has given no address yet
}

// Resolve notes that the name service is asked, or what came of that.
func (s *Slot) Resolve(done bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unresolved = !done
}

// Unresolved reports whether the attempt waits for the name service, or has
// got no address from it. It is false for the nil Slot.
func (s *Slot) Unresolved() bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unresolved
}

func (s *Slot) set(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn = conn
}

// Cut closes the socket and keeps the cause. It reports whether there was a
// socket to close. A second call closes nothing.
func (s *Slot) Cut(why error) bool {
	s.mu.Lock()
	conn := s.conn
	known := conn != nil && s.cut == nil
	if known {
		s.cut = why
	}
	s.mu.Unlock()
	if known {
		_ = conn.Close()
	}
	return known
}

// Cause returns why the socket was cut, or nil if it was not.
func (s *Slot) Cause() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cut
}

// Known reports whether the slot has a socket.
func (s *Slot) Known() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn != nil
}
