package throwaway

import (
	"net"
	"sync"
)

// A RelayState says what a relay does with its connections.
type RelayState uint8

const (
	Open   RelayState = iota // they are relayed
	Silent                   // they stay, also new ones, and nothing goes through them
	Cut                      // they end, new ones at once
)

// A Relay is the way from a server to the one that it follows: it relays TCP
// connections, and can be cut. Its methods may be called from any goroutine.
type Relay struct {
	target   string // host:port
	listener net.Listener
	wg       sync.WaitGroup // the goroutines

	// mu guards the fields below; it is held only while they are read or
	// written
	mu      sync.Mutex
	state   RelayState
	turned  chan struct{} // closed at the next turn
	conns   map[net.Conn]bool
	closing bool
}

// NewRelay starts a relay to target, on a port of its own. Whoever made it must
// close it.
func NewRelay(target string) (*Relay, error) { return NewRelayAt(Addr(0), target) }

// NewRelayAt is NewRelay on a given address of loopback, such as 127.0.0.9:3306.
func NewRelayAt(addr, target string) (*Relay, error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	r := &Relay{target: target, listener: listener, turned: make(chan struct{}), conns: make(map[net.Conn]bool)}
	r.wg.Go(r.serve)
	return r, nil
}

// Port returns the port on which the relay listens.
func (r *Relay) Port() int { return r.listener.Addr().(*net.TCPAddr).Port }

func (r *Relay) serve() {
	for {
		conn, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.wg.Go(func() { r.relay(conn) })
	}
}

// relay relays one connection until either end closes it. It owns conn.
func (r *Relay) relay(conn net.Conn) {
	defer r.drop(conn)
	if !r.hold(conn) || !r.passes() {
		return
	}
	far, err := net.Dial("tcp", r.target)
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
		r.pump(conn, far)
	})
	r.pump(far, conn)
	<-back
}

// pump copies until an end is closed, and then closes both.
func (r *Relay) pump(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if !r.passes() {
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

// passes waits while the relay is silent. It reports whether the relay is open.
func (r *Relay) passes() bool {
	for {
		r.mu.Lock()
		state, turned := r.state, r.turned
		r.mu.Unlock()
		if state != Silent {
			return state == Open
		}
		<-turned
	}
}

// hold notes a connection, so that a turn can end it. It returns false if it has
// to end now.
func (r *Relay) hold(conn net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closing || r.state == Cut {
		return false
	}
	r.conns[conn] = true
	return true
}

func (r *Relay) drop(conn net.Conn) {
	r.mu.Lock()
	delete(r.conns, conn)
	r.mu.Unlock()
	conn.Close()
}

// Turn changes the state.
func (r *Relay) Turn(to RelayState) {
	r.mu.Lock()
	if r.closing {
		to = Cut
	}
	r.state = to
	turned := r.turned
	r.turned = make(chan struct{})
	var ended []net.Conn
	if to == Cut {
		for conn := range r.conns {
			ended = append(ended, conn)
		}
	}
	r.mu.Unlock()
	close(turned)
	for _, conn := range ended {
		conn.Close()
	}
}

// Close ends the relay and all its connections.
func (r *Relay) Close() {
	r.mu.Lock()
	r.closing = true
	r.mu.Unlock()
	r.listener.Close()
	r.Turn(Cut)
	r.wg.Wait()
}
