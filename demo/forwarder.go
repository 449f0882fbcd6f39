package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A forwarder stands before one server and passes its connections on, byte by
// byte:
//
//	database/sql ──► forwarder ──► server
//	                 refuse, delay, cut
//
// To the client it is the server, so whatever can happen to a server's
// network can be done here. All methods may be called from any goroutine.
type forwarder struct {
	// immutable
	addr string // what clients dial; the same after refuse and accept

	// shared
	delay atomic.Int64 // how long every chunk from the server is delayed, in nanoseconds

	mu       sync.Mutex // guards the fields below; never held across a call that may wait
	listener *listener  // nil while new connections are refused
	passages map[*passage]struct{}

	running sync.WaitGroup // the passages
}

// A listener is one run of a forwarder's accept loop.
type listener struct {
	net.Listener
	over chan struct{} // closed by the loop when it ends
}

// newForwarder returns a forwarder that passes connections on to target. The
// caller must close it.
func newForwarder(target string) (*forwarder, error) {
	l, err := listenSomewhere()
	if err != nil {
		return nil, err
	}
	f := &forwarder{addr: l.Addr().String(), passages: make(map[*passage]struct{})}
	f.serve(l, target)
	return f, nil
}

// listenSomewhere listens on a free loopback port. The port is below those that
// systems give to outgoing connections, so that nobody takes it while a
// forwarder refuses.
func listenSomewhere() (net.Listener, error) {
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(12000)))
		if err == nil {
			return l, nil
		}
	}
	return net.Listen("tcp", "127.0.0.1:0")
}

// accept ends refuse. New connections are accepted and passed on to target.
func (f *forwarder) accept(target string) error {
	l, err := net.Listen("tcp", f.addr)
	if err != nil {
		return err
	}
	f.serve(l, target)
	return nil
}

// serve starts the accept loop, which owns l and closes it.
func (f *forwarder) serve(l net.Listener, target string) {
	running := &listener{l, make(chan struct{})}
	f.mu.Lock()
	f.listener = running
	f.mu.Unlock()
	go func() {
		defer close(running.over)
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			f.pass(client, target)
		}
	}()
}

// pass makes a passage of a client's connection. It owns the connection from
// here on.
func (f *forwarder) pass(client net.Conn, target string) {
	p := newPassage(client, &f.delay)
	f.mu.Lock()
	f.passages[p] = struct{}{}
	f.mu.Unlock()
	f.running.Go(func() {
		p.run(target)
		f.mu.Lock()
		delete(f.passages, p)
		f.mu.Unlock()
	})
}

// refuse makes the system refuse new connections. Existing ones stay.
func (f *forwarder) refuse() {
	f.mu.Lock()
	l := f.listener
	f.listener = nil
	f.mu.Unlock()
	if l != nil {
		l.Close()
		<-l.over
	}
}

// drain closes each connection once it is idle, and returns when none is left.
// The forwarder must refuse. If ctx is done first, drain cuts the rest; its
// error says how many these were.
func (f *forwarder) drain(ctx context.Context) error {
	tick := time.NewTicker(quiet / 10)
	defer tick.Stop()
	for {
		left := f.list()
		if len(left) == 0 {
			return nil
		}
		for _, p := range left {
			if p.idle() {
				p.cut()
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%d connections were still at work and were cut: %w", f.cut(), ctx.Err())
		}
	}
}

// cut closes all connections at once. It returns how many there were.
func (f *forwarder) cut() int {
	left := f.list()
	for _, p := range left {
		p.cut()
	}
	return len(left)
}

// close refuses, cuts, and waits until everything has ended.
func (f *forwarder) close() {
	f.refuse()
	f.cut()
	f.running.Wait()
}

func (f *forwarder) list() []*passage {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := make([]*passage, 0, len(f.passages))
	for p := range f.passages {
		list = append(list, p)
	}
	return list
}
