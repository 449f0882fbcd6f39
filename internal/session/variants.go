package session

import (
	"context"
	"database/sql/driver"
	"errors"

	"github.com/EnumApps/clustersql/internal/causal"
)

//lint:file-ignore SA1019 older backends have only the deprecated interfaces

// The types of a wrapped conn. A type has ExecContext if its backend can run a
// statement without preparing it, by ExecContext or by Exec. The same holds for
// QueryContext. A type has Exec or Query only if its backend has it.
// database/sql does not ask for these two if there is ExecContext or
// QueryContext. A program may, of the conn that sql.Conn.Raw gives it.
type (
	execConn      struct{ conn }
	queryConn     struct{ conn }
	execQueryConn struct{ conn }

	legacyExecConn      struct{ execConn }
	legacyQueryConn     struct{ queryConn }
	halfExecConn        struct{ execQueryConn } // with Exec, without Query
	halfQueryConn       struct{ execQueryConn } // with Query, without Exec
	legacyExecQueryConn struct{ execQueryConn }
)

var (
	_ driver.ExecerContext  = (*execConn)(nil)
	_ driver.QueryerContext = (*queryConn)(nil)
	_ driver.ExecerContext  = (*execQueryConn)(nil)
	_ driver.QueryerContext = (*execQueryConn)(nil)
	_ driver.Execer         = (*legacyExecConn)(nil)
	_ driver.Queryer        = (*legacyQueryConn)(nil)
	_ driver.Execer         = (*halfExecConn)(nil)
	_ driver.Queryer        = (*halfQueryConn)(nil)
	_ driver.Execer         = (*legacyExecQueryConn)(nil)
	_ driver.Queryer        = (*legacyExecQueryConn)(nil)
)

// newConn returns an empty conn, as its own type and as the driver.Conn that
// holds it. The driver.Conn has the methods that the backend has.
func newConn(backend driver.Conn) (*conn, driver.Conn) {
	_, execs := backend.(driver.ExecerContext)
	_, legacyExecs := backend.(driver.Execer)
	_, queries := backend.(driver.QueryerContext)
	_, legacyQueries := backend.(driver.Queryer)
	if (execs || legacyExecs) && (queries || legacyQueries) {
		return newExecQueryConn(legacyExecs, legacyQueries)
	}
	switch {
	case legacyExecs:
		c := new(legacyExecConn)
		return &c.conn, c
	case execs:
		c := new(execConn)
		return &c.conn, c
	case legacyQueries:
		c := new(legacyQueryConn)
		return &c.conn, c
	case queries:
		c := new(queryConn)
		return &c.conn, c
	}
	c := new(conn)
	return c, c
}

// newExecQueryConn does so for a backend that can both exec and query.
func newExecQueryConn(legacyExecs, legacyQueries bool) (*conn, driver.Conn) {
	switch {
	case legacyExecs && legacyQueries:
		c := new(legacyExecQueryConn)
		return &c.conn, c
	case legacyExecs:
		c := new(halfExecConn)
		return &c.conn, c
	case legacyQueries:
		c := new(halfQueryConn)
		return &c.conn, c
	}
	c := new(execQueryConn)
	return &c.conn, c
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

// Exec is for programs that ask for it; see the types.
func (c *legacyExecConn) Exec(query string, args []driver.Value) (driver.Result, error) {
	return c.execValues(query, args)
}

// Query is for programs that ask for it; see the types.
func (c *legacyQueryConn) Query(query string, args []driver.Value) (driver.Rows, error) {
	return c.queryValues(query, args)
}

// Exec is for programs that ask for it; see the types.
func (c *halfExecConn) Exec(query string, args []driver.Value) (driver.Result, error) {
	return c.execValues(query, args)
}

// Query is for programs that ask for it; see the types.
func (c *halfQueryConn) Query(query string, args []driver.Value) (driver.Rows, error) {
	return c.queryValues(query, args)
}

// Exec is for programs that ask for it; see the types.
func (c *legacyExecQueryConn) Exec(query string, args []driver.Value) (driver.Result, error) {
	return c.execValues(query, args)
}

// Query is for programs that ask for it; see the types.
func (c *legacyExecQueryConn) Query(query string, args []driver.Value) (driver.Rows, error) {
	return c.queryValues(query, args)
}

// legacyExec serves ExecContext by the backend's Exec.
func (c *conn) legacyExec(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	values, err := legacyArgs(ctx, args)
	if err != nil {
		return nil, err
	}
	return c.backendExec(ctx, query, values)
}

// execValues runs a statement by the backend's Exec.
func (c *conn) execValues(query string, args []driver.Value) (driver.Result, error) {
	if err := c.ready(); err != nil {
		return nil, err
	}
	return c.backendExec(context.Background(), query, args)
}

func (c *conn) backendExec(ctx context.Context, query string, args []driver.Value) (driver.Result, error) {
	s := causal.In(ctx)
	if s != nil {
		if err := c.await(ctx, s); err != nil {
			return nil, err
		}
	}
	c.last = ctx
	c.begin()
	result, err := c.legacyExecer.Exec(query, args)
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

// legacyQuery serves QueryContext by the backend's Query.
func (c *conn) legacyQuery(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	values, err := legacyArgs(ctx, args)
	if err != nil {
		return nil, err
	}
	return c.backendQuery(ctx, query, values)
}

// queryValues runs a query by the backend's Query.
func (c *conn) queryValues(query string, args []driver.Value) (driver.Rows, error) {
	if err := c.ready(); err != nil {
		return nil, err
	}
	return c.backendQuery(context.Background(), query, args)
}

func (c *conn) backendQuery(ctx context.Context, query string, args []driver.Value) (driver.Rows, error) {
	s := causal.In(ctx)
	if s != nil {
		if err := c.await(ctx, s); err != nil {
			return nil, err
		}
	}
	c.last = ctx
	c.begin()
	rows, err := c.legacyQueryer.Query(query, args)
	c.end()
	if err != nil {
		err = c.failed(ctx, OpQuery, query, err)
	}
	c.ran(query, c.link.Session.Single, err)
	if s != nil {
		c.read(s, err)
	}
	return rows, err
}

// ready returns the error of a conn that must not be used.
func (c *conn) ready() error {
	if !c.usage.used {
		if err := c.taken(); err != nil {
			return err
		}
	}
	if c.discarded {
		return errDiscarded
	}
	return nil
}

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
