// Package relay stands on this machine before a server: it relays TCP connections, and
// can break the way in several manners while nothing of the server changes.
//
// It is for throwaway servers and for the rehearsals of the command. It imports no
// other package of this module.
package relay

import (
	"net"
	"sync"
	"time"
)

// A State says what a relay does with its connections.
type State uint8

const (
	Open    State = iota // they are relayed
	Silent               // they stay, also new ones, and nothing goes through them
	Cut                  // they end, new ones at once
	Refused              // they end, and nothing listens
	Slow                 // what the server says comes late; see Relay.Delay
)

// dialTimeout bounds the dial to the server.
const dialTimeout = 10 * time.Second

// A Relay is the way to one server. Its methods may be called from any goroutine.
type Relay struct {
	// Delay is how late an answer comes while the relay is Slow. Set it before the first
	// connection.
	Delay time.Duration

	network, target string
	at              string         // where it is to listen; port 0 is a new one each time
	done            chan struct{}  // closed by Close
	wg              sync.WaitGroup // the goroutines

	// mu guards the fields below; it is held only while they are read or
	// written
	mu       sync.Mutex
	state    State
	turned   chan struct{} // closed at the next turn
	listener net.Listener  // nil while it is Refused
	address  net.Addr      // where it listens, or did last
	conns    map[net.Conn]bool
	closing  bool
}

// New starts a relay to target on a free port of loopback. Whoever made it must close
// it.
func New(network, target string) (*Relay, error) { return NewAt("127.0.0.1:0", network, target) }

// NewAt is New on a given address of loopback, such as 127.0.0.9:3306.
func NewAt(at, network, target string) (*Relay, error) {
	r := &Relay{network: network, target: target, at: at, done: make(chan struct{}), turned: make(chan struct{}), conns: make(map[net.Conn]bool)}
	if err := r.listen(); err != nil {
		return nil, err
	}
	return r, nil
}

// Addr returns where the relay listens now. While it is Refused, nothing listens there.
func (r *Relay) Addr() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.address.String()
}

// Port returns the port of Addr.
func (r *Relay) Port() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.address.(*net.TCPAddr).Port
}

func (r *Relay) listen() error {
	l, err := net.Listen("tcp", r.at)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closing {
		l.Close()
		return net.ErrClosed
	}
	r.listener, r.address = l, l.Addr()
	r.wg.Go(func() { r.serve(l) })
	return nil
}

func (r *Relay) serve(l net.Listener) {
	for {
		conn, err := l.Accept()
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
	far, err := net.DialTimeout(r.network, r.target, dialTimeout)
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

// pump copies until an end is closed, and then closes both. answers says that it
// copies what the server says.
func (r *Relay) pump(to, from net.Conn, answers bool) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if !r.passes() || answers && !r.wait() {
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

// passes waits while the relay is silent. It reports whether the connection goes on.
func (r *Relay) passes() bool {
	for {
		r.mu.Lock()
		state, turned := r.state, r.turned
		r.mu.Unlock()
		if state != Silent {
			return state == Open || state == Slow
		}
		select {
		case <-turned:
		case <-r.done:
			return false
		}
	}
}

// wait waits as long as a slow relay does. It reports whether the relay is there.
func (r *Relay) wait() bool {
	r.mu.Lock()
	slow := r.state == Slow
	r.mu.Unlock()
	if !slow {
		return true
	}
	select {
	case <-time.After(r.Delay):
		return true
	case <-r.done:
		return false
	}
}

// hold notes a connection, so that a turn can end it. It returns false if it has
// to end now.
func (r *Relay) hold(conn net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closing || r.state == Cut || r.state == Refused {
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

// Turn changes the state. Its only error is that of a relay that was Refused and finds
// no port to listen on again.
func (r *Relay) Turn(to State) error {
	r.mu.Lock()
	if r.closing {
		to = Refused
	}
	r.state = to
	turned, listener := r.turned, r.listener
	r.turned = make(chan struct{})
	var ended []net.Conn
	if to == Cut || to == Refused {
		for conn := range r.conns {
			ended = append(ended, conn)
		}
	}
	if to == Refused {
		r.listener = nil
	}
	r.mu.Unlock()
	close(turned)
	if to == Refused && listener != nil {
		listener.Close()
	}
	for _, conn := range ended {
		conn.Close()
	}
	if to != Refused && listener == nil {
		return r.listen()
	}
	return nil
}

// Close ends the relay, its connections and its goroutines.
func (r *Relay) Close() {
	r.mu.Lock()
	first := !r.closing
	r.closing = true
	r.mu.Unlock()
	if first {
		close(r.done)
	}
	_ = r.Turn(Refused)
	r.wg.Wait()
}
