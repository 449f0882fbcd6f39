package fakedb

import (
	"context"
	"database/sql/driver"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A Script says how a node answers a connect, and how the connection that it
// makes then answers.
type Script struct {
	Delay  time.Duration   // before the answer
	Silent bool            // no answer until the context is done
	Deaf   bool            // the context is ignored: the answer comes late
	Until  <-chan struct{} // no answer before this is closed; Silent is then ignored; nil: answer at once

	Err         error // the answer is this error
	TypedNil    bool  // with Err: the answer also has a nil pointer in a driver.Conn
	ConnWithErr bool  // with Err: the answer also has a connection, which nobody may touch
	NilConn     bool  // the answer is nil and nil
	Panic       any   // the answer is a panic

	Check       error         // what the connection answers to Ping and statements
	CheckDelay  time.Duration // before that answer
	CheckSilent bool          // no answer until the context is done
	CloseDelay  time.Duration // how long Close takes
	ClosePanic  any           // Close panics after it has closed
}

// A Node is one scripted node.
type Node struct {
	name     string
	quiet    atomic.Bool
	ledger   *ledger
	onSocket func(ctx context.Context, socket net.Conn) // may be nil
	onLookup func(ctx context.Context, done bool)       // may be nil

	mu     sync.Mutex // guards the fields below; never held while anything waits
	script Script
	queue  []Script
	health *health
	mood   *Mood         // nil: scripts and health apply
	moved  chan struct{} // closed when the mood changes
	conns  map[*Conn]struct{}
	hook   func(ctx context.Context, query string, args []driver.NamedValue) error
	answer func(query string) (columns []string, table [][]driver.Value, ok bool)
	stats  Stats
}

// health overrides what a script says about statements.
type health struct {
	err    error
	delay  time.Duration
	silent bool
}

// Name returns the node's name.
func (n *Node) Name() string { return n.name }

// Set makes s the answer to every connect from now on.
func (n *Node) Set(s Script) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.script = s
}

// Enqueue gives each of the next connects one of these scripts. They come
// before the script of Set.
func (n *Node) Enqueue(s ...Script) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.queue = append(n.queue, s...)
}

// SetHealth sets the answer of every connection, also of open ones, to Ping and
// statements: err, after delay. With silent there is no answer until the
// context is done.
func (n *Node) SetHealth(err error, delay time.Duration, silent bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.health = &health{err, delay, silent}
}

// OnStatement makes the node call f for every statement that it runs. The error
// of f is the statement's error.
func (n *Node) OnStatement(f func(ctx context.Context, query string, args []driver.NamedValue) error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hook = f
}

// OnQuery makes the node call f for every query that succeeds. If f returns ok,
// its table is the answer. The columns have no names.
func (n *Node) OnQuery(f func(query string) (table [][]driver.Value, ok bool)) {
	n.OnTable(func(query string) (columns []string, table [][]driver.Value, ok bool) {
		if table, ok = f(query); len(table) > 0 {
			columns = make([]string, len(table[0]))
		}
		return columns, table, ok
	})
}

// OnTable is OnQuery for columns that have names.
func (n *Node) OnTable(f func(query string) (columns []string, table [][]driver.Value, ok bool)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.answer = f
}

// Quiet makes statements, prepares and transactions cost next to nothing, for
// benchmarks. No script, health, hook or count of mistakes applies to them.
// Exec allocates nothing, and every Query returns the same rows, of which there
// are none. Connects, Ping and Close stay as they are.
func (n *Node) Quiet() { n.quiet.Store(true) }

// Idle returns the connections on which no method runs, oldest first.
func (n *Node) Idle() []*Conn {
	n.mu.Lock()
	defer n.mu.Unlock()
	var idle []*Conn
	for c := range n.conns {
		if !c.busy.Load() {
			idle = append(idle, c)
		}
	}
	slices.SortFunc(idle, func(a, b *Conn) int { return a.number - b.number })
	return idle
}

// Stats returns the node's counts.
func (n *Node) Stats() Stats {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.stats
}

// count calls f with the counts, under the lock.
func (n *Node) count(f func(s *Stats)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f(&n.stats)
}

func (n *Node) next() Script {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stats.Connects++
	n.stats.Dialing++
	if len(n.queue) == 0 {
		return n.script
	}
	s := n.queue[0]
	n.queue = n.queue[1:]
	return s
}

func (n *Node) connect(ctx context.Context) (driver.Conn, error) {
	s := n.next()
	defer n.count(func(s *Stats) { s.Dialing-- })
	if n.hasMood() {
		return n.connectInMood(ctx)
	}
	heeded := ctx
	if s.Deaf {
		heeded = context.WithoutCancel(ctx)
	}
	if err := s.wait(heeded); err != nil {
		return nil, err
	}
	switch {
	case s.Panic != nil:
		panic(s.Panic)
	case s.Err != nil && s.TypedNil:
		return (*Conn)(nil), s.Err
	case s.Err != nil && s.ConnWithErr:
		return &Conn{node: n, untouchable: true}, s.Err
	case s.Err != nil:
		return nil, s.Err
	case s.NilConn:
		return nil, nil
	}
	return newConn(n, s), nil
}

// wait waits as long as a script says before its answer.
func (s *Script) wait(ctx context.Context) error {
	if err := pause(ctx, s.Delay); err != nil {
		return err
	}
	if s.Until != nil {
		select {
		case <-s.Until:
			return ctx.Err()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if s.Silent {
		<-ctx.Done()
		return ctx.Err()
	}
	return ctx.Err()
}

// pause waits for d, or until ctx is done.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
