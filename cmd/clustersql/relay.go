package main

import (
	"context"
	"net"
	"sync"
	"time"
)

// A relayMode says what a relay does with its connections.
type relayMode uint8

const (
	relayOpen   relayMode = iota
	relayRefuse           // nothing listens, and what was open has ended
	relayFreeze           // connections stay, also new ones, and nothing goes through
	relaySlow             // what the server says comes late
)

// A relay stands on this machine before one node. Nothing of the node changes when
// the way to it does. Whoever made it closes it.
type relay struct {
	network, target string
	delay           time.Duration // of relaySlow
	done            chan struct{} // closed by close
	wg              sync.WaitGroup

	// mu guards the fields below; never held across a wait
	mu       sync.Mutex
	mode     relayMode
	turned   chan struct{} // closed at the next turn
	listener net.Listener  // nil while it refuses
	address  string        // where it listens, or did last
	conns    map[net.Conn]bool
	closed   bool
}

// newRelay starts a relay to a node's address.
func newRelay(network, target string, delay time.Duration) (*relay, error) {
	r := &relay{network: network, target: target, delay: delay, done: make(chan struct{}), turned: make(chan struct{}), conns: make(map[net.Conn]bool)}
	return r, r.listen()
}

func (r *relay) listen() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.listener, r.address = l, l.Addr().String()
	r.mu.Unlock()
	r.wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			r.wg.Go(func() { r.serve(conn) })
		}
	})
	return nil
}

// addr returns where the relay listens now. While it refuses, nothing listens there.
func (r *relay) addr() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.address
}

// turn changes what the relay does.
func (r *relay) turn(to relayMode) error {
	r.mu.Lock()
	r.mode = to
	turned, listener := r.turned, r.listener
	r.turned = make(chan struct{})
	var ended []net.Conn
	if to == relayRefuse {
		r.listener = nil
		for c := range r.conns {
			ended = append(ended, c)
		}
	}
	closed := r.closed
	r.mu.Unlock()
	close(turned)
	if to == relayRefuse {
		if listener != nil {
			listener.Close()
		}
		for _, c := range ended {
			c.Close()
		}
	} else if listener == nil && !closed {
		return r.listen()
	}
	return nil
}

// serve relays one connection until either end closes it. It owns conn.
func (r *relay) serve(conn net.Conn) {
	defer r.drop(conn)
	if !r.hold(conn) || !r.passes() {
		return
	}
	far, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(context.Background(), r.network, r.target)
	if err != nil {
		return
	}
	defer r.drop(far)
	if !r.hold(far) {
		return
	}
	back := make(chan struct{})
	r.wg.Go(func() {
		defer close(back)
		r.pump(conn, far, true)
	})
	r.pump(far, conn, false)
	<-back
}

// pump copies until an end is closed, and then closes both.
func (r *relay) pump(to, from net.Conn, fromNode bool) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if !r.passes() || fromNode && !r.late() {
				return
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// passes waits while the relay is frozen. It reports whether the connection goes on.
func (r *relay) passes() bool {
	for {
		r.mu.Lock()
		mode, turned := r.mode, r.turned
		r.mu.Unlock()
		if mode != relayFreeze {
			return mode != relayRefuse
		}
		select {
		case <-turned:
		case <-r.done:
			return false
		}
	}
}

// late waits as long as a slow relay does. It reports whether the relay is there.
func (r *relay) late() bool {
	r.mu.Lock()
	slow := r.mode == relaySlow
	r.mu.Unlock()
	if !slow {
		return true
	}
	select {
	case <-time.After(r.delay):
		return true
	case <-r.done:
		return false
	}
}

// hold notes a connection, so that a turn can end it. It returns false if it has to
// end now.
func (r *relay) hold(conn net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.mode == relayRefuse {
		return false
	}
	r.conns[conn] = true
	return true
}

func (r *relay) drop(conn net.Conn) {
	r.mu.Lock()
	delete(r.conns, conn)
	r.mu.Unlock()
	conn.Close()
}

// close ends the relay, its connections and its goroutines.
func (r *relay) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	close(r.done)
	_ = r.turn(relayRefuse)
	r.wg.Wait()
}
