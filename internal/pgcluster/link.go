package pgcluster

import (
	"net"
	"sync"

	"github.com/EnumApps/clustersql/internal/throwaway"
)

// A linkState says what a link does with its connections.
type linkState uint8

const (
	open   linkState = iota // they are relayed
	silent                  // they stay, also new ones, and nothing goes through them
	cut                     // they end, new ones at once
)

// A link is the way from a standby to the node that it follows: a relay for TCP
// connections. Its methods may be called from any goroutine.
type link struct {
	to       *Node
	listener net.Listener
	wg       sync.WaitGroup // the goroutines

	// mu guards the fields below; it is held only while they are read or
	// written
	mu      sync.Mutex
	state   linkState
	turned  chan struct{} // closed at the next turn
	conns   map[net.Conn]bool
	closing bool
}

// newLink starts a relay. Whoever made it must close it.
func newLink(to *Node) (*link, error) {
	listener, err := net.Listen("tcp", throwaway.Addr(0))
	if err != nil {
		return nil, err
	}
	l := &link{to: to, listener: listener, turned: make(chan struct{}), conns: make(map[net.Conn]bool)}
	l.wg.Go(l.serve)
	return l, nil
}

func (l *link) port() int { return l.listener.Addr().(*net.TCPAddr).Port }

func (l *link) serve() {
	for {
		conn, err := l.listener.Accept()
		if err != nil {
			return
		}
		l.wg.Go(func() { l.relay(conn) })
	}
}

// relay relays one connection until either end closes it. It owns conn.
func (l *link) relay(conn net.Conn) {
	defer l.drop(conn)
	if !l.hold(conn) || !l.passes() {
		return
	}
	far, err := net.Dial("tcp", l.to.Addr())
	if err != nil {
		return
	}
	defer l.drop(far)
	if !l.hold(far) {
		return
	}
	back := make(chan struct{})
	l.wg.Go(func() {
		defer close(back)
		l.pump(conn, far)
	})
	l.pump(far, conn)
	<-back
}

// pump copies until an end is closed, and then closes both.
func (l *link) pump(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if !l.passes() {
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

// passes waits while the link is silent. It reports whether the link is open.
func (l *link) passes() bool {
	for {
		l.mu.Lock()
		state, turned := l.state, l.turned
		l.mu.Unlock()
		if state != silent {
			return state == open
		}
		<-turned
	}
}

// hold notes a connection, so that a turn can end it. It returns false if it has
// to end now.
func (l *link) hold(conn net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing || l.state == cut {
		return false
	}
	l.conns[conn] = true
	return true
}

func (l *link) drop(conn net.Conn) {
	l.mu.Lock()
	delete(l.conns, conn)
	l.mu.Unlock()
	conn.Close()
}

// turn changes the state.
func (l *link) turn(to linkState) {
	l.mu.Lock()
	if l.closing {
		to = cut
	}
	l.state = to
	turned := l.turned
	l.turned = make(chan struct{})
	var ended []net.Conn
	if to == cut {
		for conn := range l.conns {
			ended = append(ended, conn)
		}
	}
	l.mu.Unlock()
	close(turned)
	for _, conn := range ended {
		conn.Close()
	}
}

// close ends the relay and all its connections.
func (l *link) close() {
	l.mu.Lock()
	l.closing = true
	l.mu.Unlock()
	l.listener.Close()
	l.turn(cut)
	l.wg.Wait()
}
