package fakedb

import (
	"context"
	"database/sql/driver"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"time"
)

// A Mood is how a node behaves from the moment that the mood is set. It
// overrides scripts and health, and calls under way obey it too. The zero Mood
// is healthy.
//
// Connections behave like those of go-sql-driver: one whose caller left is broken,
// and one that is known to be broken sends nothing.
type Mood struct {
	Dial     error                            // the answer to a connect
	Panic    bool                             // Connect and DO 1 panic
	Deaf     bool                             // Connect ignores its context
	Silent   bool                             // nothing is answered while this is set
	Delay    time.Duration                    // before an answer; one half of it before the statement runs, one half after
	Refuse   error                            // the answer to Ping and statements, which do not run; of a CALL and of "a; b" the first half may have run
	ReadOnly error                            // the answer to INSERT and UPDATE, which do not run
	Late     error                            // the answer to INSERT, UPDATE and COMMIT, which do run; a *net.OpError breaks the connection
	Unnamed  bool                             // a connect waits for a name service that does not answer while this is set; see [Backend.OnLookup]
	Filtered bool                             // a connect is not answered; connections that are there work on
	Timeout  time.Duration                    // a statement that takes longer is answered with [ErrTimeout], and its connection works on; 0: none
	Unclosed bool                             // Close does not return while this is set
	Takes    func(query string) time.Duration // if not nil: what to add to Delay for a statement; for a connect the query is empty
	Rows     int                              // how many rows a query has; each after the first takes Delay; less than 2: one
}

// takes returns how long the answer to a statement takes, or to a connect.
func (m *Mood) takes(query string) time.Duration {
	if m.Takes == nil {
		return m.Delay
	}
	return m.Delay + m.Takes(query)
}

// ErrTimeout is the answer to a statement that takes longer than the Timeout of
// a [Mood].
var ErrTimeout error = &net.OpError{Op: "read", Net: "tcp", Err: os.ErrDeadlineExceeded}

// SetMood makes m the node's mood.
func (n *Node) SetMood(m Mood) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mood = &m
	if n.moved != nil {
		close(n.moved)
	}
	n.moved = make(chan struct{})
}

// currentMood returns the mood, and a channel that is closed when the mood
// changes.
func (n *Node) currentMood() (Mood, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return *n.mood, n.moved
}

func (n *Node) hasMood() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mood != nil
}

// Break loses all connections of the node. Statements under way are answered
// with err. A hidden loss is noticed only when the next statement is sent; err
// is that statement's answer.
func (n *Node) Break(err error, hidden bool) {
	n.mu.Lock()
	all := make([]*Conn, 0, len(n.conns))
	for c := range n.conns {
		all = append(all, c)
	}
	n.mu.Unlock()
	for _, c := range all {
		c.lose(err, hidden)
	}
}

// errGone ends a wait on a connection that is lost.
var errGone = errors.New("fakedb: the connection is lost")

// linger waits for d, not counting the time in which the node is stuck. It ends
// early if ctx is done or gone is closed.
func (n *Node) linger(ctx context.Context, d time.Duration, gone <-chan struct{}, stuck func(Mood) bool) error {
	for {
		m, moved := n.currentMood()
		stands := stuck(m)
		if !stands && d <= 0 {
			return ctx.Err()
		}
		began := time.Now()
		var due <-chan time.Time
		if !stands {
			t := time.NewTimer(d)
			defer t.Stop()
			due = t.C
		}
		select {
		case <-due:
			d = 0
		case <-moved:
			if !stands {
				d -= time.Since(began)
			}
		case <-ctx.Done():
			return ctx.Err()
		case <-gone:
			return errGone
		}
	}
}

func silent(m Mood) bool   { return m.Silent }
func unnamed(m Mood) bool  { return m.Unnamed }
func unclosed(m Mood) bool { return m.Unclosed }
func filtered(m Mood) bool { return m.Filtered }

// connectInMood is connect for a node with a mood.
func (n *Node) connectInMood(ctx context.Context) (driver.Conn, error) {
	m, _ := n.currentMood()
	caller := ctx
	if m.Deaf {
		ctx = context.WithoutCancel(ctx)
	}
	if m.Unnamed {
		n.lookup(caller, false)
		if err := n.linger(ctx, 0, nil, unnamed); err != nil {
			return nil, err
		}
		n.lookup(caller, true)
	}
	if err := n.linger(ctx, 0, nil, filtered); err != nil {
		return nil, err
	}
	s := &socket{gone: make(chan struct{})}
	if m, _ = n.currentMood(); m.Dial == nil && n.onSocket != nil {
		n.onSocket(caller, s)
	}
	switch err := n.linger(ctx, m.takes(""), s.gone, silent); {
	case err == errGone:
		return nil, net.ErrClosed
	case err != nil:
		return nil, err
	}
	switch m, _ = n.currentMood(); {
	case m.Panic:
		panic("fakedb: Connect panics")
	case m.Dial != nil:
		return nil, m.Dial
	}
	return s.carry(newConn(n, Script{}))
}

func (n *Node) lookup(ctx context.Context, done bool) {
	if n.onLookup != nil {
		n.onLookup(ctx, done)
	}
}

// A loss says how a connection was lost.
type loss struct {
	gone chan struct{}

	mu     sync.Mutex // guards the fields below
	err    error      // nil while the connection is not lost
	hidden bool
}

// Lose breaks this one connection of a node with a mood; see [Node.Break].
func (c *Conn) Lose(err error, hidden bool) { c.lose(err, hidden) }

func (c *Conn) lose(err error, hidden bool) {
	c.loss.mu.Lock()
	defer c.loss.mu.Unlock()
	if c.loss.err == nil {
		c.loss.err, c.loss.hidden = err, hidden
		close(c.loss.gone)
	}
}

func (c *Conn) lost() (err error, hidden bool) {
	c.loss.mu.Lock()
	defer c.loss.mu.Unlock()
	return c.loss.err, c.loss.hidden
}

// answerInMood is answer for a node with a mood. query is empty for Ping and
// Prepare. A caller who leaves breaks the connection.
func (c *Conn) answerInMood(ctx context.Context, query string, args []driver.NamedValue) error {
	what, err := c.attempt(ctx, query, args)
	if what == Answered || what == Refused {
		c.receive()
	}
	if query != "" {
		c.node.ledger.add(Run{Ctx: ctx, Node: c.node.name, Conn: c, Query: query, Outcome: what, Err: err, Left: ctx.Err() != nil})
	}
	return err
}

func (c *Conn) attempt(ctx context.Context, query string, args []driver.NamedValue) (Outcome, error) {
	switch err, hidden := c.lost(); {
	case c.broken.Load():
		return NotSent, driver.ErrBadConn
	case err != nil && hidden:
		c.broken.Store(true)
		return Unanswered, err
	case err != nil:
		return NotSent, driver.ErrBadConn
	}
	m, _ := c.node.currentMood()
	caller := ctx
	if m.Timeout > 0 {
		limited, cancel := context.WithTimeout(ctx, m.Timeout)
		defer cancel()
		ctx = limited
	}
	delay := m.takes(query)
	if err := c.linger(caller, ctx, delay/2); err != nil {
		return Unanswered, err
	}
	m, _ = c.node.currentMood()
	writes := strings.HasPrefix(query, "INSERT") || strings.HasPrefix(query, "UPDATE")
	switch {
	case m.Refuse != nil && (strings.HasPrefix(query, "CALL") || strings.Contains(query, ";")):
		return Unanswered, m.Refuse
	case m.Refuse != nil:
		return Refused, m.Refuse
	case m.ReadOnly != nil && writes:
		return Refused, m.ReadOnly
	case m.Panic && query == "DO 1":
		panic("fakedb: DO 1 panics")
	}
	if err := c.run(ctx, query, args); err != nil && caller.Err() != nil {
		c.broken.Store(true)
		return Unanswered, err
	} else if err != nil {
		return Refused, err
	}
	if err := c.linger(caller, ctx, delay-delay/2); err != nil {
		return Unanswered, err
	}
	if m.Late != nil && (writes || query == "COMMIT") {
		var network *net.OpError
		c.broken.Store(c.broken.Load() || errors.As(m.Late, &network))
		return Unanswered, m.Late
	}
	return Answered, nil
}

// run calls what the node calls for every statement.
func (c *Conn) run(ctx context.Context, query string, args []driver.NamedValue) error {
	c.node.mu.Lock()
	hook := c.node.hook
	c.node.mu.Unlock()
	if hook == nil || query == "" {
		return nil
	}
	return hook(ctx, query, args)
}

// linger waits as [Node.linger] does. ctx is the caller's, or ends earlier, by the
// backend's own timeout.
func (c *Conn) linger(caller, ctx context.Context, d time.Duration) error {
	err := c.node.linger(ctx, d, c.loss.gone, silent)
	switch {
	case err == nil:
		return nil
	case err == errGone:
		err, _ = c.lost()
	case caller.Err() == nil:
		return ErrTimeout
	}
	c.broken.Store(true)
	return err
}

// A socket stands for the network connection of a Conn of a node with a mood. The
// system of a server makes it, whatever becomes of the server: a silent one has it
// too. It has no working method but Close and LastReceived.
type socket struct {
	net.Conn
	gone chan struct{} // closed by Close

	mu     sync.Mutex // guards what follows
	c      *Conn      // nil until the server has answered the connect
	closed bool
}

// carry makes c the socket's Conn. If the socket was closed, it closes c.
func (s *socket) carry(c *Conn) (driver.Conn, error) {
	s.mu.Lock()
	s.c = c
	closed := s.closed
	s.mu.Unlock()
	if closed {
		c.Close()
		return nil, net.ErrClosed
	}
	c.receive()
	return c, nil
}

// Close loses the connection.
func (s *socket) Close() error {
	s.mu.Lock()
	c, closed := s.c, s.closed
	s.closed = true
	s.mu.Unlock()
	if !closed {
		close(s.gone)
	}
	if c != nil {
		c.lose(net.ErrClosed, false)
	}
	return nil
}

// LastReceived returns when the server last answered; zero if it has not.
func (s *socket) LastReceived() time.Time {
	s.mu.Lock()
	c := s.c
	s.mu.Unlock()
	if c == nil || c.received.Load() == nil {
		return time.Time{}
	}
	return *c.received.Load()
}

// receive notes that the server has answered.
func (c *Conn) receive() {
	now := time.Now()
	c.received.Store(&now)
}
