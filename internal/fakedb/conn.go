package fakedb

import (
	"context"
	"database/sql/driver"
	"errors"
	"sync/atomic"
	"time"
)

// errClosed is the answer of a closed connection.
var errClosed = errors.New("fakedb: the connection is closed")

// A Conn is a connection to a node. It has every optional interface. Like a
// conn of go-sql-driver, it holds a goroutine until it is closed.
type Conn struct {
	node        *Node
	script      Script
	untouchable bool
	busy        atomic.Bool
	since       atomic.Int64 // when the method that runs began, in Unix nanoseconds; 0: none runs
	closed      atomic.Bool
	broken      atomic.Bool
	received    atomic.Pointer[time.Time] // when the server last answered; nil before
	number      int                       // of the node's connections
	done        chan struct{}             // closed by Close
	loss        loss
}

var (
	_ driver.Pinger             = (*Conn)(nil)
	_ driver.ExecerContext      = (*Conn)(nil)
	_ driver.QueryerContext     = (*Conn)(nil)
	_ driver.ConnPrepareContext = (*Conn)(nil)
	_ driver.ConnBeginTx        = (*Conn)(nil)
	_ driver.SessionResetter    = (*Conn)(nil)
	_ driver.Validator          = (*Conn)(nil)
	_ driver.NamedValueChecker  = (*Conn)(nil)
)

func newConn(n *Node, s Script) *Conn {
	c := &Conn{node: n, script: s, done: make(chan struct{})}
	c.loss.gone = make(chan struct{})
	n.count(func(s *Stats) {
		s.Opens++
		c.number = s.Opens
		s.Live++
		s.MaxLive = max(s.MaxLive, s.Live)
		n.conns[c] = struct{}{}
	})
	go func() { <-c.done }()
	return c
}

// enter marks the beginning of a method, and leave its end. enter returns
// false, and counts a mistake, if the method must not be called now.
func (c *Conn) enter() bool {
	switch {
	case c.untouchable:
		c.node.count(func(s *Stats) { s.TouchedWithErr++ })
		return false
	case c.closed.Load():
		c.node.count(func(s *Stats) { s.UsedAfterClose++ })
		return false
	case !c.busy.CompareAndSwap(false, true):
		c.node.count(func(s *Stats) { s.Concurrent++ })
		return false
	}
	c.since.Store(time.Now().UnixNano())
	return true
}

func (c *Conn) leave() {
	c.since.Store(0)
	c.busy.Store(false)
}

// Busy returns for how long the method that runs has been running; 0 if none
// runs.
func (c *Conn) Busy() time.Duration {
	since := c.since.Load()
	if since == 0 {
		return 0
	}
	return time.Since(time.Unix(0, since))
}

// answer returns what the node answers: its mood, else its health, else its
// script.
func (c *Conn) answer(ctx context.Context, query string, args []driver.NamedValue) error {
	if !c.enter() {
		return errClosed
	}
	defer c.leave()
	if c.node.hasMood() {
		return c.answerInMood(ctx, query, args)
	}
	c.node.mu.Lock()
	h, hook := c.node.health, c.node.hook
	c.node.mu.Unlock()
	err, delay, silent := c.script.Check, c.script.CheckDelay, c.script.CheckSilent
	if h != nil {
		err, delay, silent = h.err, h.delay, h.silent
	}
	if c.broken.Load() {
		return driver.ErrBadConn // as go-sql-driver answers: nothing is sent
	}
	if waited := pause(ctx, delay); waited != nil {
		c.broken.Store(true)
		return waited
	}
	if silent {
		<-ctx.Done()
		c.broken.Store(true)
		return ctx.Err()
	}
	if err == nil && hook != nil && query != "" {
		err = hook(ctx, query, args)
		if ctx.Err() != nil {
			c.broken.Store(true)
		}
	}
	return err
}

// Close closes the connection. Nothing else may be under way on it.
func (c *Conn) Close() error {
	if c.untouchable {
		c.node.count(func(s *Stats) { s.TouchedWithErr++ })
		return nil
	}
	if !c.closed.CompareAndSwap(false, true) {
		c.node.count(func(s *Stats) { s.DoubleCloses++ })
		return errClosed
	}
	if c.busy.Load() {
		c.node.count(func(s *Stats) { s.Concurrent++ })
	}
	_ = pause(context.Background(), c.script.CloseDelay)
	c.node.count(func(s *Stats) { s.Closing++ })
	if c.node.hasMood() {
		_ = c.node.linger(context.Background(), 0, nil, unclosed)
	}
	close(c.done)
	c.node.count(func(s *Stats) { s.Closing--; s.Closes++; s.Live--; delete(c.node.conns, c) })
	if c.script.ClosePanic != nil {
		panic(c.script.ClosePanic)
	}
	return nil
}

// Ping answers as a statement does, but runs none.
func (c *Conn) Ping(ctx context.Context) error { return c.answer(ctx, "", nil) }

// ExecContext runs a statement that changes one row.
func (c *Conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if c.node.quiet.Load() {
		return oneRow, nil
	}
	if err := c.answer(ctx, query, args); err != nil {
		return nil, err
	}
	return oneRow, nil
}

// QueryContext runs a statement. Its rows are one row with the node's name, or
// those of [Node.OnTable].
func (c *Conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if c.node.quiet.Load() {
		return noRows, nil
	}
	if err := c.answer(ctx, query, args); err != nil {
		return nil, err
	}
	c.node.mu.Lock()
	answer := c.node.answer
	c.node.mu.Unlock()
	if answer != nil {
		if columns, table, ok := answer(query); ok {
			return &tableRows{columns, table}, nil
		}
	}
	if c.node.hasMood() {
		if m, _ := c.node.currentMood(); m.Rows > 1 {
			return &moodRows{rows: rows{node: c.node.name}, ctx: ctx, c: c, left: m.Rows}, nil
		}
	}
	return &rows{node: c.node.name}, nil
}

// PrepareContext prepares a statement.
func (c *Conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if !c.node.quiet.Load() {
		if err := c.answer(ctx, "", nil); err != nil {
			return nil, err
		}
	}
	return &stmt{c, query}, nil
}

// Prepare is PrepareContext without a context.
func (c *Conn) Prepare(query string) (driver.Stmt, error) {
	return c.PrepareContext(context.Background(), query)
}

// BeginTx begins a transaction.
func (c *Conn) BeginTx(ctx context.Context, _ driver.TxOptions) (driver.Tx, error) {
	if !c.node.quiet.Load() {
		if err := c.answer(ctx, "BEGIN", nil); err != nil {
			return nil, err
		}
	}
	return tx{c}, nil
}

// Begin is BeginTx without a context.
func (c *Conn) Begin() (driver.Tx, error) {
	return c.BeginTx(context.Background(), driver.TxOptions{})
}

// ResetSession does nothing on an open connection.
func (c *Conn) ResetSession(context.Context) error {
	if !c.enter() {
		return errClosed
	}
	c.leave()
	if err, hidden := c.lost(); err != nil && !hidden {
		return driver.ErrBadConn
	}
	return nil
}

// NodeName returns the name of the connection's node.
func (c *Conn) NodeName() string { return c.node.name }

// Closed reports whether Close was called.
func (c *Conn) Closed() bool { return c.closed.Load() }

// Closing reports whether Close has been called and has not returned.
func (c *Conn) Closing() bool {
	select {
	case <-c.done:
		return false
	default:
		return c.closed.Load()
	}
}

// Broken reports whether the connection is lost, or was broken by a caller who
// left.
func (c *Conn) Broken() bool {
	err, _ := c.lost()
	return c.broken.Load() || err != nil
}

// IsValid reports whether the connection is open and not known to be broken.
func (c *Conn) IsValid() bool {
	err, hidden := c.lost()
	return !c.closed.Load() && !c.broken.Load() && (err == nil || hidden)
}

// A Who is an argument that takes note of the connection that it is checked for. So a
// test knows the connection within a wrapped one, and takes nothing out of that.
type Who struct{ Conn *Conn }

// CheckNamedValue leaves arguments to database/sql's rules.
func (c *Conn) CheckNamedValue(v *driver.NamedValue) error {
	if who, ok := v.Value.(*Who); ok {
		who.Conn = c
	}
	return driver.ErrSkip
}
