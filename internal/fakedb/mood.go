package fakedb

import (
	"context"
	"database/sql/driver"
	"errors"
	"net"
	"strings"
	"sync"
	"time"
)

// A Mood is how a node is, whatever its scripts and its health say, from the
// moment that it is set: calls under way feel it too. The zero Mood is well.
// Connections of a node with a mood are like go-sql-driver's: one whose caller
// left is broken, and one known to be broken sends nothing.
type Mood struct {
	Dial     error         // the answer to a connect
	Panic    bool          // Connect and DO 1 panic
	Deaf     bool          // Connect does not heed its context
	Silent   bool          // nothing is answered while this lasts
	Delay    time.Duration // before an answer; half of it before a statement is run
	Refuse   error         // the answer to Ping and statements, which are not run; of a CALL and of "a; b" the first half is
	ReadOnly error         // the answer to INSERT and UPDATE, which are not run
	Late     error         // the answer to INSERT, UPDATE and COMMIT, which are run
}

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

// temper returns the mood, and a channel that is closed when it is another.
func (n *Node) temper() (Mood, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return *n.mood, n.moved
}

func (n *Node) moody() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mood != nil
}

// Break loses all connections of the node: statements under way are answered
// with err. A hidden loss is seen only by the next statement, which is sent.
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

// errGone ends a wait on a connection that was lost.
var errGone = errors.New("fakedb: the connection is lost")

// linger lets d pass, and the node's silence.
func (n *Node) linger(ctx context.Context, d time.Duration, gone <-chan struct{}) error {
	for {
		m, moved := n.temper()
		if !m.Silent && d <= 0 {
			return ctx.Err()
		}
		began := time.Now()
		var due <-chan time.Time
		if !m.Silent {
			t := time.NewTimer(d)
			defer t.Stop()
			due = t.C
		}
		select {
		case <-due:
			d = 0
		case <-moved:
			if !m.Silent {
				d -= time.Since(began)
			}
		case <-ctx.Done():
			return ctx.Err()
		case <-gone:
			return errGone
		}
	}
}

// connectAs is connect for a node with a mood.
func (n *Node) connectAs(ctx context.Context) (driver.Conn, error) {
	m, _ := n.temper()
	caller := ctx
	if m.Deaf {
		ctx = context.WithoutCancel(ctx)
	}
	if err := n.linger(ctx, m.Delay, nil); err != nil {
		return nil, err
	}
	switch m, _ = n.temper(); {
	case m.Panic:
		panic("fakedb: Connect panics")
	case m.Dial != nil:
		return nil, m.Dial
	}
	c := newConn(n, Script{})
	if n.onSocket != nil {
		n.onSocket(caller, &socket{c: c})
	}
	return c, nil
}

// A loss is how a connection was lost.
type loss struct {
	gone chan struct{}

	mu     sync.Mutex // guards what follows
	err    error      // nil while it is not lost
	hidden bool
}

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

// perform is answer for a node with a mood; query is empty for Ping and
// Prepare. A caller who leaves breaks the connection.
func (c *Conn) perform(ctx context.Context, query string) error {
	what, err := c.attempt(ctx, query)
	if query != "" {
		c.node.ledger.add(Run{Ctx: ctx, Node: c.node.name, Conn: c, Query: query, Outcome: what, Err: err, Left: ctx.Err() != nil})
	}
	return err
}

func (c *Conn) attempt(ctx context.Context, query string) (Outcome, error) {
	switch err, hidden := c.lost(); {
	case c.broken.Load():
		return NotSent, driver.ErrBadConn
	case err != nil && hidden:
		c.broken.Store(true)
		return Unanswered, err
	case err != nil:
		return NotSent, driver.ErrBadConn
	}
	m, _ := c.node.temper()
	if err := c.linger(ctx, m.Delay/2); err != nil {
		return Unanswered, err
	}
	m, _ = c.node.temper()
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
	if err := c.linger(ctx, m.Delay-m.Delay/2); err != nil {
		return Unanswered, err
	}
	if m.Late != nil && (writes || query == "COMMIT") {
		return Unanswered, m.Late
	}
	return Answered, nil
}

func (c *Conn) linger(ctx context.Context, d time.Duration) error {
	err := c.node.linger(ctx, d, c.loss.gone)
	if err != nil {
		c.broken.Store(true)
	}
	if err == errGone {
		err, _ = c.lost()
	}
	return err
}

// A socket is what a connection of a node with a mood is said to run over.
// Only its Close is there.
type socket struct {
	net.Conn
	c *Conn
}

// Close loses the connection.
func (s *socket) Close() error {
	s.c.lose(net.ErrClosed, false)
	return nil
}
