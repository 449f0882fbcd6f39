package clustersql

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
)

// Dial dials like a net.Dialer and lets the cluster cut the connection: when
// the node turns out to be silent, the socket is closed, and a query that
// hangs on it returns. Nodes with a mysql DSN on network tcp or unix use it
// by themselves, unless [Config.Dial] says "backend". Give it to other
// backends that dial in Connect, such as pgx with its DialFunc.
//
// The connection is returned as it is, so that a backend finds the type that
// it looks for. ctx must be the one that the backend's Connect was given, or
// made from it; with any other one Dial is a plain dial.
func Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	TrackSocket(ctx, conn)
	return conn, nil
}

// TrackSocket lets the cluster cut a connection that a dialer of your own has
// made: it does what [Dial] does once the connection is there. The cluster
// only ever closes it, from any goroutine and at any time; the backend goes
// on to own it. Of several in one Connect the last one counts.
func TrackSocket(ctx context.Context, conn net.Conn) {
	if s, ok := ctx.Value(socketKey{}).(*socket); ok && conn != nil {
		s.set(conn)
	}
}

type socketKey struct{}

// withSocket returns a context under which Dial and TrackSocket store into s.
func withSocket(ctx context.Context, s *socket) context.Context {
	return context.WithValue(ctx, socketKey{}, s)
}

// A socket is the slot for what one attempt's backend has dialled.
type socket struct {
	mu   sync.Mutex // guards what follows; never held across a Close
	conn net.Conn   // nil: none known, nothing to cut
	cut  error      // why it was cut; nil while it was not
}

func (s *socket) set(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn = conn
}

// close cuts the socket and remembers why. It reports whether there was one
// to cut.
func (s *socket) close(why error) bool {
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

// explain makes an error of a conn whose socket was cut a lost connection,
// and puts the reason before it.
func (s *socket) explain(f fault) fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cut != nil {
		f.cut, f.class, f.err = true, classLost, fmt.Errorf("%w: %w", s.cut, f.err)
	}
	return f
}

// cuttable reports whether the backend has told its socket.
func (s *socket) cuttable() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn != nil
}

// errCut is in the tree of what a call on a cut connection returns.
var errCut = errors.New("clustersql cut the connection")
