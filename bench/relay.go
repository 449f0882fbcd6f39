package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// A Fault is what a relay does to its connections. The zero value passes
// everything on.
type Fault struct {
	// Delay delays every answer. The first one is delayed twice as long,
	// because TCP has made one round trip before it.
	Delay time.Duration
	// Silent passes nothing on, in neither direction. The kernel still accepts
	// new connections.
	Silent bool
	// Refuse makes the system refuse new connections, and cuts the existing
	// ones.
	Refuse bool
}

// A relay is between the clients and one port of a node. It makes faults of the
// network.
type relay struct {
	// immutable
	addr, target string

	mu       sync.Mutex // guards the fields below; never held while anything waits
	fault    Fault
	changed  chan struct{} // closed when fault changes
	listener net.Listener  // nil while it refuses
	conns    map[net.Conn]struct{}
}

// newRelay listens on a free loopback port. The port is below those that
// systems give to outgoing connections, so that nobody takes it while the relay
// refuses.
func newRelay(target string) (*relay, error) {
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 12000+rand.IntN(20000)))
		if err != nil {
			continue
		}
		r := &relay{
			addr: l.Addr().String(), target: target,
			changed: make(chan struct{}), conns: make(map[net.Conn]struct{}),
		}
		r.serve(l)
		return r, nil
	}
	return nil, errors.New("found no free port for a relay")
}

func (r *relay) serve(l net.Listener) {
	r.mu.Lock()
	r.listener = l
	r.mu.Unlock()
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go r.pass(client)
		}
	}()
}

// set changes the fault, also for existing connections.
func (r *relay) set(f Fault) error {
	r.mu.Lock()
	was := r.fault
	r.fault = f
	close(r.changed)
	r.changed = make(chan struct{})
	l := r.listener
	if f.Refuse {
		r.listener = nil
	}
	r.mu.Unlock()
	switch {
	case f.Refuse && l != nil:
		l.Close()
		r.cut()
	case was.Refuse && !f.Refuse:
		again, err := net.Listen("tcp", r.addr)
		if err != nil {
			return err
		}
		r.serve(again)
	}
	return nil
}

// cut closes every connection.
func (r *relay) cut() {
	r.mu.Lock()
	var all []net.Conn
	for c := range r.conns {
		all = append(all, c)
	}
	r.mu.Unlock()
	for _, c := range all {
		c.Close()
	}
}

// pass passes one client's connection on. It owns the connection and closes it.
func (r *relay) pass(client net.Conn) {
	defer r.hold(client)()
	if r.answer() != nil {
		return
	}
	server, err := net.Dial("tcp", r.target)
	if err != nil {
		return
	}
	defer r.hold(server)()
	var both sync.WaitGroup
	both.Go(func() { r.copy(server, client, func() error { return r.silence() }) })
	both.Go(func() { r.copy(client, server, r.answer) })
	both.Wait()
}

// hold registers a connection, so that cut finds it. release closes it.
func (r *relay) hold(c net.Conn) (release func()) {
	r.mu.Lock()
	r.conns[c] = struct{}{}
	r.mu.Unlock()
	return func() {
		c.Close()
		r.mu.Lock()
		delete(r.conns, c)
		r.mu.Unlock()
	}
}

// copy passes on what comes from one side, each time after a wait. When that
// ends it closes both sides.
func (r *relay) copy(to, from net.Conn, wait func() error) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil || wait() != nil {
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// silence waits while the relay is silent.
func (r *relay) silence() error {
	for {
		f, changed := r.now()
		switch {
		case f.Refuse:
			return io.ErrClosedPipe
		case !f.Silent:
			return nil
		}
		<-changed
	}
}

// answer waits as long as an answer is delayed.
func (r *relay) answer() error {
	if err := r.silence(); err != nil {
		return err
	}
	if f, _ := r.now(); f.Delay > 0 {
		time.Sleep(f.Delay)
	}
	return r.silence()
}

func (r *relay) now() (Fault, chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fault, r.changed
}

// Relays is the RPC service of a relay process.
type Relays struct {
	mu  sync.Mutex
	all map[string]*relay // by addr
}

func newRelays() *Relays { return &Relays{all: make(map[string]*relay)} }

// Open makes a relay before each target.
func (s *Relays) Open(targets []string, addrs *[]string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, target := range targets {
		r, err := newRelay(target)
		if err != nil {
			return err
		}
		s.all[r.addr] = r
		*addrs = append(*addrs, r.addr)
	}
	return nil
}

// A Setting is a fault for some relays.
type Setting struct {
	Addrs []string
	Fault Fault
}

// Set sets a fault.
func (s *Relays) Set(to Setting, _ *Nothing) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, addr := range to.Addrs {
		r := s.all[addr]
		if r == nil {
			return fmt.Errorf("no relay at %s", addr)
		}
		if err := r.set(to.Fault); err != nil {
			return err
		}
	}
	return nil
}
