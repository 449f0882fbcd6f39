package session

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/EnumApps/clustersql/internal/dialect"
)

//lint:file-ignore SA1019 older backends have only the deprecated interfaces

// link is all that a wrapped conn knows of where it comes from.
type Link struct {
	Generation *atomic.Uint64       // the node's, shared; never nil
	Born       uint64               // its value when the conn was opened
	Report     func(f Fault) Answer // gets every error of the backend's Conn, Stmts and Txs but driver.ErrSkip
	Closed     func()               // called once, after the backend's Close returned
	Session    dialect.Session      // what is known of every session on the node
}

// A clusterConn is a backend's conn on its way through database/sql. It
// answers every optional interface as database/sql treats a conn that has it,
// or has it not. Where database/sql's own rule for a conn without one applies,
// the errors are worded like its own. Like every driver.Conn it is used by one
// goroutine at a time.
//
// ExecerContext and QueryerContext are not here but in the three types below:
// database/sql converts arguments by other rules where a conn has neither.
type conn struct {
	// immutable; an optional interface is nil where the backend has none
	backend       driver.Conn
	link          Link
	pinger        driver.Pinger
	execer        driver.ExecerContext
	legacyExecer  driver.Execer // used only without execer
	queryer       driver.QueryerContext
	legacyQueryer driver.Queryer // used only without queryer
	preparer      driver.ConnPrepareContext
	beginner      driver.ConnBeginTx
	resetter      driver.SessionResetter
	validator     driver.Validator
	checker       driver.NamedValueChecker

	// owned by the conn's user
	discarded bool // by a Rollback of a backend that cannot reset sessions
	invalid   bool // the backend has said so
	left      bool // a caller has cancelled; what that broke says nothing about the node
	lost      bool // the connection is; what is asked of it is not sent
	spent     bool // not to be used again; database/sql was told by no bad conn
	inTx      bool // between BeginTx and a Commit or Rollback that succeeded
	pinned    bool // a statement may have left a transaction or state of the session; nothing tells its end

	// shared
	closed atomic.Bool
	usage  usage
}

type (
	execConn      struct{ conn }
	queryConn     struct{ conn }
	execQueryConn struct{ conn }
)

var (
	_ driver.Conn               = (*conn)(nil)
	_ driver.Pinger             = (*conn)(nil)
	_ driver.ConnPrepareContext = (*conn)(nil)
	_ driver.ConnBeginTx        = (*conn)(nil)
	_ driver.SessionResetter    = (*conn)(nil)
	_ driver.Validator          = (*conn)(nil)
	_ driver.NamedValueChecker  = (*conn)(nil)
	_ driver.ExecerContext      = (*execConn)(nil)
	_ driver.QueryerContext     = (*queryConn)(nil)
	_ driver.ExecerContext      = (*execQueryConn)(nil)
	_ driver.QueryerContext     = (*execQueryConn)(nil)
)

// wrapConn makes a backend's conn the one that database/sql gets. It calls
// none of the backend's methods. The result owns backend and closes it. The
// handle is for the cluster.
func Wrap(backend driver.Conn, l Link) (driver.Conn, Handle) {
	c, wrapped := newClusterConn(backend)
	c.backend, c.link, c.pinned = backend, l, l.Session.Manual
	c.pinger, _ = backend.(driver.Pinger)
	c.execer, _ = backend.(driver.ExecerContext)
	c.legacyExecer, _ = backend.(driver.Execer)
	c.queryer, _ = backend.(driver.QueryerContext)
	c.legacyQueryer, _ = backend.(driver.Queryer)
	c.preparer, _ = backend.(driver.ConnPrepareContext)
	c.beginner, _ = backend.(driver.ConnBeginTx)
	c.resetter, _ = backend.(driver.SessionResetter)
	c.validator, _ = backend.(driver.Validator)
	c.checker, _ = backend.(driver.NamedValueChecker)
	return wrapped, Handle{c}
}

// newClusterConn returns an empty conn of the type whose methods are the
// backend's, and what all types share of it.
func newClusterConn(backend driver.Conn) (*conn, driver.Conn) {
	_, execs := backend.(driver.ExecerContext)
	if !execs {
		_, execs = backend.(driver.Execer)
	}
	_, queries := backend.(driver.QueryerContext)
	if !queries {
		_, queries = backend.(driver.Queryer)
	}
	switch {
	case execs && queries:
		c := new(execQueryConn)
		return &c.conn, c
	case execs:
		c := new(execConn)
		return &c.conn, c
	case queries:
		c := new(queryConn)
		return &c.conn, c
	}
	c := new(conn)
	return c, c
}

// Generation returns the generation of its node to which the conn belongs.
func (c *conn) Generation() uint64 { return c.link.Born }

// Raw returns the backend's conn.
func (c *conn) Raw() driver.Conn { return c.backend }

// Close closes the backend's conn, unless the cluster has done so where it lay.
func (c *conn) Close() error {
	if !c.usage.mayClose() {
		return nil
	}
	return c.close()
}

// close closes the backend's conn and tells the link, even when the backend
// panics. Only who may by the usage calls it.
func (c *conn) close() error {
	defer func() {
		if c.closed.CompareAndSwap(false, true) {
			c.link.Closed()
		}
	}()
	return c.backend.Close()
}

// retired reports whether the node has been given up since the conn was made.
func (c *conn) retired() bool { return c.link.Generation.Load() != c.link.Born }

// taken is asked before the conn is first used: one that was put into the pool
// before that comes out of it without a ResetSession. Nothing has been sent.
func (c *conn) taken() error {
	if pooled, ok := c.usage.firstUse(); !ok || pooled && c.retired() {
		return driver.ErrBadConn
	}
	return nil
}

// Ping asks the backend; one without a Pinger is well.
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
	if err := c.pinger.Ping(ctx); err != nil {
		return c.failed(ctx, OpIdle, "", err)
	}
	return nil
}

// ResetSession refuses a conn that is retired or spent without sending
// anything.
func (c *conn) ResetSession(ctx context.Context) error {
	if !c.usage.checkOut() || c.spent || c.retired() {
		return driver.ErrBadConn
	}
	if c.resetter != nil {
		if err := c.resetter.ResetSession(ctx); err != nil {
			return c.failed(ctx, OpIdle, "", err)
		}
	}
	c.left, c.lost, c.inTx = false, false, false
	return nil
}

// IsValid says no for a conn that is retired, spent or discarded, or was asked
// to give way, and else what the backend says. Its first no is reported as a driver.ErrBadConn, unless a
// caller who left is the reason: go-sql-driver breaks a conn whose query is
// cancelled.
func (c *conn) IsValid() bool {
	if c.discarded || c.spent || c.retired() {
		return false
	}
	if c.validator == nil || c.validator.IsValid() {
		return c.usage.checkIn()
	}
	if !c.invalid {
		c.invalid = true
		_ = c.failed(context.Background(), OpIdle, "", driver.ErrBadConn)
	}
	return false
}

// CheckNamedValue asks the backend. Its errors are about an argument, and
// database/sql compares them, so they are passed on as they are.
func (c *conn) CheckNamedValue(v *driver.NamedValue) error {
	if c.checker == nil {
		return driver.ErrSkip
	}
	return c.checker.CheckNamedValue(v)
}

// ExecContext runs a statement without preparing it.
func (c *execConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	return c.exec(ctx, query, args)
}

// QueryContext runs a query without preparing it.
func (c *queryConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	return c.query(ctx, query, args)
}

// ExecContext runs a statement without preparing it.
func (c *execQueryConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	return c.exec(ctx, query, args)
}

// QueryContext runs a query without preparing it.
func (c *execQueryConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	return c.query(ctx, query, args)
}

func (c *conn) exec(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if !c.usage.used {
		if err := c.taken(); err != nil {
			return nil, err
		}
	}
	if c.discarded {
		return nil, errDiscarded
	}
	if c.execer == nil {
		return c.legacyExec(ctx, query, args)
	}
	result, err := c.execer.ExecContext(ctx, query, args)
	if err != nil {
		err = c.failed(ctx, OpExec, query, err)
	}
	c.ran(query, c.link.Session.Single)
	return result, err
}

func (c *conn) legacyExec(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	values, err := legacyArgs(ctx, args)
	if err != nil {
		return nil, err
	}
	result, err := c.legacyExecer.Exec(query, values)
	if err != nil {
		err = c.failed(ctx, OpExec, query, err)
	}
	c.ran(query, c.link.Session.Single)
	return result, err
}

func (c *conn) query(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if !c.usage.used {
		if err := c.taken(); err != nil {
			return nil, err
		}
	}
	if c.discarded {
		return nil, errDiscarded
	}
	if c.queryer == nil {
		return c.legacyQuery(ctx, query, args)
	}
	rows, err := c.queryer.QueryContext(ctx, query, args)
	if err != nil {
		err = c.failed(ctx, OpQuery, query, err)
	}
	c.ran(query, c.link.Session.Single)
	return rows, err
}

func (c *conn) legacyQuery(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	values, err := legacyArgs(ctx, args)
	if err != nil {
		return nil, err
	}
	rows, err := c.legacyQueryer.Query(query, values)
	if err != nil {
		err = c.failed(ctx, OpQuery, query, err)
	}
	c.ran(query, c.link.Session.Single)
	return rows, err
}

// errDiscarded is the answer of a conn that database/sql would have closed
// itself, had it known that the backend cannot reset sessions. A sql.Conn that
// still holds it gives it up at the sight of a driver.ErrBadConn.
var errDiscarded = fmt.Errorf("%w (%w after a cancelled transaction)", sql.ErrConnDone, driver.ErrBadConn)

var errNamed = errors.New("sql: driver does not support the use of Named Parameters")

// legacyArgs makes the arguments those of a method that knows neither names
// nor contexts; a context that is done keeps it from being called.
func legacyArgs(ctx context.Context, args []driver.NamedValue) ([]driver.Value, error) {
	values := make([]driver.Value, len(args))
	for i := range args {
		if args[i].Name != "" {
			return nil, errNamed
		}
		values[i] = args[i].Value
	}
	return values, ctx.Err()
}
