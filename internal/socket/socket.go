// Package socket keeps, for each connection attempt, the socket that the
// backend has dialled, so that the cluster can cut it later, and how far the
// attempt has come. It dials nothing itself, and closes nothing.
//
// It has one lock per slot, no goroutine, channel or timer, and imports no
// other package of this module.
package socket

import (
	"context"
	"net"
	"strconv"
	"sync"
	"time"
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
	// UserTimeout is the TCP user timeout of the sockets that are dialled; 0
	// leaves it to the system. It is set before the Slot is used, and never
	// changed.
	UserTimeout time.Duration
	// Resolver is asked for the addresses of names; nil stands for the system's. It is
	// set before the Slot is used, and never changed.
	Resolver *net.Resolver

	mu   sync.Mutex // guards the fields below
	conn net.Conn   // nil while none is known
	cut  error      // why the socket was cut; nil while it was not

	unresolved bool      // the name service was asked, and has given no address yet
	begun      bool      // a dial has begun
	failed     error     // of the last dial; nil if there was none, or it goes on, or it succeeded
	connected  bool      // the backend's Connect has succeeded
	worked     time.Time // when the server last answered a statement of a check; zero before
}

// Limit sets the socket option for the Slot's UserTimeout, where the system has
// one. A socket that is no TCP connection stays as it is.
func (s *Slot) Limit(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok && s.UserTimeout > 0 {
		setUserTimeout(tcp, s.UserTimeout)
	}
}

// NameService returns the resolver that is asked for names.
func (s *Slot) NameService() *net.Resolver {
	if s.Resolver == nil {
		return net.DefaultResolver
	}
	return s.Resolver
}

// Begin notes that a dial begins.
func (s *Slot) Begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun, s.failed = true, nil
}

// Fail notes the error of the dial that has begun.
func (s *Slot) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = err
}

// Dials reports whether a dial has begun, and the last one's error. That is nil
// if the dial goes on or has succeeded. For the nil Slot none has.
func (s *Slot) Dials() (begun bool, failed error) {
	if s == nil {
		return false, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.begun, s.failed
}

// Connect notes that the backend's Connect has succeeded. It reports whether a
// dial was noted before. The nil Slot takes no note.
func (s *Slot) Connect() (dialled bool) {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.connected = true
	return s.begun
}

// Connecting reports whether the attempt is still in the backend's Connect. It
// is false for the nil Slot: its connection is an established one.
func (s *Slot) Connecting() bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.connected
}

// Work notes that the server has answered a statement of a check on the
// connection. The nil Slot takes no note.
func (s *Slot) Work() {
	if s != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.worked = time.Now()
	}
}

// Worked reports whether Work was called. It is false for the nil Slot.
func (s *Slot) Worked() bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.worked.IsZero()
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

// Cut keeps the cause and returns the socket, which the caller must close. It
// returns nil if no socket is known, and on a second call.
func (s *Slot) Cut(why error) net.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil || s.cut != nil {
		return nil
	}
	s.cut = why
	return s.conn
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

// Watch returns a func that reports whether the other side has ended the
// connection, although nobody has read that yet. One goroutine at a time may call
// it. It is nil if the slot's socket is not a *net.TCPConn, or the system does not
// tell. No method of a program's own socket is called.
func (s *Slot) Watch() (ended func() bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	conn, ok := s.conn.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil
	}
	return endedAt(raw)
}

// Heard returns when the server was last heard of on the connection: it has answered
// a statement of a check, or sent anything, whether or not that was read. It is zero
// if there was nothing, or nobody tells. Of what was sent Linux tells, for a TCP
// connection. No method of a program's own socket is called, but a test's tells by
// LastReceived. The nil Slot has no connection.
func (s *Slot) Heard() time.Time {
	if s == nil {
		return time.Time{}
	}
	s.mu.Lock()
	conn, heard := s.conn, s.worked
	s.mu.Unlock()
	var sent time.Time
	switch conn := conn.(type) {
	case *net.TCPConn:
		sent = received(conn)
	case interface{ LastReceived() time.Time }:
		sent = conn.LastReceived()
	}
	if sent.After(heard) {
		return sent
	}
	return heard
}

// Port returns the remote port of the slot's socket; empty if that is not a
// *net.TCPConn. No method of a program's own socket is called.
func (s *Slot) Port() string {
	if s == nil {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	conn, ok := s.conn.(*net.TCPConn)
	if !ok {
		return ""
	}
	addr, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return ""
	}
	return strconv.Itoa(addr.Port)
}
