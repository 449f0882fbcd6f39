// Package session wraps a backend's Conn, Stmt and Tx for database/sql. It reports
// the backend's errors to the cluster, decides what the caller gets for them, and
// knows whether a conn is idle, so that the cluster may close it. It judges no
// node, and does not wrap Rows.
//
// It has no goroutine, channel, lock or clock but an alarm for each conn, which
// tells of calls that take long, a lock where reads are hedged, and a channel while
// Raw waits for a Close. What else the cluster and database/sql share is atomic. The
// root imports it; it imports the packages causal, dialect, health, hedge and sqltext.
package session

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"io"

	"github.com/EnumApps/clustersql/internal/causal"
)

//lint:file-ignore SA1019 older backends have only the deprecated interfaces

// A conn wraps a backend's conn for database/sql. It implements every optional
// interface. If the backend has the interface, conn passes the call on. If not,
// conn answers as database/sql would treat a conn without it, and words the
// errors as database/sql does. Like every driver.Conn it is used by one
// goroutine at a time.
//
// ExecerContext and QueryerContext are implemented only by the types of
// variants.go, each by what its backend has. database/sql converts arguments by
// other rules for a conn that has neither.
type conn struct {
	*tenure        // the one that it has now
	first   tenure // the one that it began with, so that both are one object

	// owned by the conn's user
	last      context.Context // of the last call; tells whether its caller has left; nil in the pool
	discarded bool            // a Rollback after a cancel ended it; the backend cannot both reset and judge sessions
	invalid   bool            // the backend's IsValid has said no
	left      bool            // a caller has cancelled; errors that follow from that say nothing about the node
	lost      bool            // the connection is lost; nothing more is sent on it
	stale     bool            // its first use has found it closed, or retired; nothing is sent on it
	spent     bool            // not to be used again, though database/sql may not have seen a bad conn
	inTx      bool            // from BeginTx until Commit or Rollback
	pinned    bool            // a statement may have begun a transaction, or left other state in the session; never cleared, as its end cannot be seen
	harmless  string          // the last statement that was looked at and does not pin, if it is short
	txOf      *causal.Session // of the calls in the transaction, as long as there is one
	owes      *causal.Session // whose call has read on the conn, which has not been asked for its position since
	late      *alarm          // calls the link's Late; nil before the first call, and where reads are hedged; see begin

	// the same, for reads that are hedged
	watch   *watch // nil before the first call, and after one for which it has gone off
	begun   bool   // a statement was sent since the last ResetSession, or the program was told the node
	strange bool   // what reads lean on may be in the session; never cleared
	inTime  uint8  // reads that were answered in time, and not told yet
}

var (
	_ driver.Conn               = (*conn)(nil)
	_ driver.Pinger             = (*conn)(nil)
	_ driver.ConnPrepareContext = (*conn)(nil)
	_ driver.ConnBeginTx        = (*conn)(nil)
	_ driver.SessionResetter    = (*conn)(nil)
	_ driver.Validator          = (*conn)(nil)
	_ driver.NamedValueChecker  = (*conn)(nil)
)

// Wrap wraps a backend's conn for database/sql. It calls no method of the
// backend. The wrapped conn owns backend and closes it. The Handle is for the
// cluster.
func Wrap(backend driver.Conn, l Link) (driver.Conn, Handle) {
	c, wrapped := newConn(backend)
	c.first.start(backend, l)
	c.tenure, c.pinned = &c.first, l.Session.Manual
	return wrapped, Handle{c.tenure}
}

// Generation returns the generation of its node to which the conn belongs. The
// program may rely on that until it puts the conn back.
func (c *conn) Generation() uint64 {
	c.begun = true
	return c.link.Born
}

// Node returns the name of the conn's node; see Generation.
func (c *conn) Node() string {
	c.begun = true
	return c.link.Node
}

// Raw returns the backend's conn. It counts as a use: sql.Conn.Raw itself calls
// no method of the conn, and the cluster must not close the backend's conn
// under the program's function. If the cluster has taken it before, to close it,
// Raw returns when that is done: two goroutines must not be at work in the backend's
// conn. It says then that it is closed.
func (c *conn) Raw() driver.Conn {
	if !c.usage.used && c.taken() != nil {
		c.waitClosed()
	}
	c.strange = true // the program may do anything with it, also later
	return c.backend
}

// Format keeps package fmt out of the backend's conn, which may hold a DSN.
func (c *conn) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "a connection of clustersql") }

// Close closes the backend's conn, unless the cluster has already closed it in
// database/sql's pool.
func (c *conn) Close() error {
	if !c.usage.mayClose() {
		return nil
	}
	if c.owes != nil {
		c.forgo()
	}
	return c.close(c, ByPool)
}

// closer says why database/sql has closed the conn.
func (c *conn) closer() Closer {
	switch {
	case c.usage.retire.Load() == gaveWay:
		return GivingWay
	case c.discarded, c.invalid, c.lost, c.stale, c.spent:
		return Broken
	}
	return ByPool
}

// taken must be called before the first use of the conn, for which there was no
// ResetSession. A conn that has retired by then is not used, nor is one that the cluster
// has closed. If taken fails, nothing has been sent, and it fails at the next use too.
func (c *conn) taken() error {
	if wasIdle, ok := c.usage.firstUse(); !ok || wasIdle && c.retired() || c.stale {
		c.stale, c.usage.used = true, false
		return driver.ErrBadConn
	}
	return nil
}

// Ping calls the backend's Ping. A backend without one passes.
func (c *conn) Ping(ctx context.Context) error {
	if !c.usage.used {
		if err := c.taken(); err != nil {
			return err
		}
	}
	if c.discarded {
		return errDiscarded
	}
	if c.pinger == nil {
		return nil
	}
	c.begin()
	err := c.pinger.Ping(ctx)
	c.end()
	if err != nil {
		return c.failed(ctx, OpIdle, "", err)
	}
	return nil
}

// ResetSession returns driver.ErrBadConn for a conn that is retired, spent or
// closed by the cluster, or that the server has ended while it was idle. It sends nothing for these. For all others it calls
// the backend's ResetSession.
func (c *conn) ResetSession(ctx context.Context) error {
	if !c.usage.checkOut() || c.spent || c.retired() {
		return driver.ErrBadConn
	}
	if c.link.Ended != nil && c.link.Ended() {
		c.lost = true
		return c.failed(ctx, OpPool, "", driver.ErrBadConn)
	}
	if c.resetter != nil {
		if c.link.Session.Postgres { // drivers of others ask the server nothing
			c.begin()
			defer c.end()
		}
		if err := c.resetter.ResetSession(ctx); err != nil {
			return c.failed(ctx, OpPool, "", err)
		}
	}
	c.left, c.lost, c.inTx, c.begun = false, false, false, false
	return nil
}

// IsValid is false for a conn that is discarded, spent or retired, or was asked
// to give way. For any other conn it is what the backend says. The backend's
// first no is reported to the link as a driver.ErrBadConn. No doubt falls on
// the node if a caller who left is the reason: go-sql-driver breaks a conn
// whose query is cancelled.
func (c *conn) IsValid() bool {
	c.noteLeave()
	if c.discarded || c.spent || c.retired() || !c.usage.checkOut() {
		return false // checkOut, because an unused conn is idle, and must not be closed under the backend's IsValid
	}
	if c.validator == nil || c.validator.IsValid() {
		if c.owes != nil && !c.pay() {
			return false
		}
		return c.usage.checkIn()
	}
	if !c.invalid {
		c.invalid = true
		_ = c.failed(context.Background(), OpPool, "", driver.ErrBadConn)
	}
	return false
}

// noteLeave notes whether the caller of the last call has left meanwhile. Rows
// are not wrapped, so what breaks under them is seen only here. It lets the
// caller's context go.
func (c *conn) noteLeave() {
	if c.last != nil {
		c.left = c.left || c.last.Err() != nil
		c.last = nil
	}
}

// CheckNamedValue calls the backend's. Its errors are about an argument, and
// database/sql compares them. They are therefore passed on unchanged.
func (c *conn) CheckNamedValue(v *driver.NamedValue) error {
	if c.checker == nil {
		return driver.ErrSkip
	}
	if !c.usage.used {
		if err := c.taken(); err != nil {
			return err
		}
	}
	return c.checker.CheckNamedValue(v)
}

func (c *conn) exec(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if err := c.ready(); err != nil {
		return nil, err
	}
	if c.execer == nil {
		return c.legacyExec(ctx, query, args)
	}
	s := causal.In(ctx)
	if s != nil {
		if err := c.await(ctx, s); err != nil {
			return nil, err
		}
	}
	c.last = ctx
	c.begin()
	result, err := c.execer.ExecContext(ctx, query, args)
	c.end()
	if err != nil {
		err = c.failed(ctx, OpExec, query, err)
	}
	c.ran(query, c.link.Session.Single, err)
	if s != nil {
		c.wrote(s, err)
	}
	return result, err
}

func (c *conn) query(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if err := c.ready(); err != nil {
		return nil, err
	}
	if c.queryer == nil {
		return c.legacyQuery(ctx, query, args)
	}
	s := causal.In(ctx)
	if s != nil {
		if err := c.await(ctx, s); err != nil {
			return nil, err
		}
	}
	c.last = ctx
	c.beginRead(ctx, readQuery, query, args)
	rows, err := c.queryer.QueryContext(ctx, query, args)
	if a := c.endRead(); a != nil {
		c.adopt(a, rows, nil, err)
		rows, err = a.rows, nil
	}
	if err != nil {
		err = c.failed(ctx, OpQuery, query, err)
	}
	c.ran(query, c.link.Session.Single, err)
	if s != nil {
		c.read(s, err)
	}
	return rows, err
}

// errDiscarded is the answer of a discarded conn. database/sql would have closed
// such a conn if it had known that the backend cannot both reset and judge its
// sessions. A sql.Conn that still holds the conn gives it up when it sees a
// driver.ErrBadConn.
var errDiscarded = fmt.Errorf("%w (%w after a cancelled transaction)", sql.ErrConnDone, driver.ErrBadConn)
