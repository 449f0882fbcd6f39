package session

import (
	"context"
	"database/sql/driver"
	"errors"

	"github.com/EnumApps/clustersql/internal/causal"
)

//lint:file-ignore SA1019 older backends have only the deprecated interfaces

// A stmt wraps a backend's prepared statement. It has no ColumnConverter; see
// converterStmt.
type stmt struct {
	// immutable
	conn   *conn
	query  string
	inputs int // the backend's NumInput, where reads are hedged

	// of the tenure; replaced if the conn has another one, when the statement is next used
	on      *tenure
	backend driver.Stmt
	execer  driver.StmtExecContext
	queryer driver.StmtQueryContext
	checker driver.NamedValueChecker // the statement's, or else its conn's
}

// A converterStmt wraps a statement whose backend has a ColumnConverter. It is
// a type of its own because database/sql converts arguments by other rules as
// soon as there is a ColumnConverter, whatever that does.
type converterStmt struct {
	stmt
	converter driver.ColumnConverter
}

var (
	_ driver.Stmt              = (*stmt)(nil)
	_ driver.StmtExecContext   = (*stmt)(nil)
	_ driver.StmtQueryContext  = (*stmt)(nil)
	_ driver.NamedValueChecker = (*stmt)(nil)
	_ driver.ColumnConverter   = (*converterStmt)(nil)
)

// PrepareContext prepares a statement. If a backend without contexts has
// prepared it and ctx is done by then, the statement is closed again.
func (c *conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if !c.usage.used {
		if err := c.taken(); err != nil {
			return nil, err
		}
	}
	if c.discarded {
		return nil, errDiscarded
	}
	if c.preparer != nil {
		c.beginRead(ctx, readPrepare, query, nil)
		s, err := c.preparer.PrepareContext(ctx, query)
		if a := c.endRead(); a != nil {
			c.adopt(a, nil, s, err)
			s, err = a.stmt, nil
		}
		return c.wrapStmt(ctx, query, s, err)
	}
	c.begin()
	s, err := c.backend.Prepare(query)
	c.end()
	if err == nil && s != nil && ctx.Err() != nil {
		_ = s.Close()
		return nil, ctx.Err()
	}
	return c.wrapStmt(ctx, query, s, err)
}

// Prepare calls the backend's Prepare.
func (c *conn) Prepare(query string) (driver.Stmt, error) {
	if !c.usage.used {
		if err := c.taken(); err != nil {
			return nil, err
		}
	}
	if c.discarded {
		return nil, errDiscarded
	}
	c.begin()
	s, err := c.backend.Prepare(query)
	c.end()
	return c.wrapStmt(context.Background(), query, s, err)
}

// wrapStmt wraps what the backend's Prepare returned. A statement that comes
// with an error is never touched. A nil statement without an error stays nil.
func (c *conn) wrapStmt(ctx context.Context, query string, backend driver.Stmt, err error) (driver.Stmt, error) {
	if err != nil {
		return nil, c.failed(ctx, OpIdle, query, err)
	}
	if backend == nil {
		return nil, nil
	}
	s := stmt{conn: c, query: query}
	s.take(backend)
	if c.link.Hedging != nil {
		s.inputs = backend.NumInput()
	}
	if converter, ok := backend.(driver.ColumnConverter); ok {
		return &converterStmt{s, converter}, nil
	}
	return &s, nil
}

// take makes the backend's statement that of s. It was prepared on the conn's tenure.
func (s *stmt) take(backend driver.Stmt) {
	s.on, s.backend = s.conn.tenure, backend
	s.execer, _ = backend.(driver.StmtExecContext)
	s.queryer, _ = backend.(driver.StmtQueryContext)
	var ok bool
	if s.checker, ok = backend.(driver.NamedValueChecker); !ok {
		s.checker = s.conn.checker
	}
}

// stale reports whether the conn has adopted another connection since the statement was
// prepared. The server has forgotten the statement then.
func (s *stmt) stale() bool { return s.on != s.conn.tenure }

// ready must be called before the statement is used. It prepares a stale one again.
func (s *stmt) ready(ctx context.Context) error {
	if s.conn.discarded {
		return errDiscarded
	}
	if !s.stale() {
		return nil
	}
	fresh, err := s.conn.PrepareContext(ctx, s.query)
	if err != nil {
		return err
	}
	switch fresh := fresh.(type) {
	case *stmt:
		s.take(fresh.backend)
	case *converterStmt:
		s.take(fresh.backend)
	default:
		return errNoStmt
	}
	return nil
}

var errNoStmt = errors.New("clustersql: the backend returned neither a statement nor an error")

// Close closes the backend's statement, unless the cluster has closed its conn.
// database/sql closes statements also on conns that are in its pool.
func (s *stmt) Close() error {
	if s.stale() {
		return nil
	}
	giveBack, ok := s.conn.usage.borrow()
	if !ok {
		return nil
	}
	defer giveBack()
	return s.backend.Close()
}

// NumInput returns the backend's number, which is -1 if it does not know.
func (s *stmt) NumInput() int {
	if s.conn.link.Hedging != nil { // the backend's statement may be one of a connection that is closed
		return s.inputs
	}
	return s.backend.NumInput()
}

// CheckNamedValue calls that of the backend's statement, or else of its conn.
func (s *stmt) CheckNamedValue(v *driver.NamedValue) error {
	if s.checker == nil {
		return driver.ErrSkip
	}
	return s.checker.CheckNamedValue(v)
}

// ColumnConverter returns the backend's.
func (s *converterStmt) ColumnConverter(i int) driver.ValueConverter {
	return s.converter.ColumnConverter(i)
}

// ExecContext runs the statement.
func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	if s.execer == nil {
		values, err := legacyArgs(ctx, args)
		if err != nil {
			return nil, err
		}
		return s.exec(ctx, values)
	}
	of := causal.In(ctx)
	if of != nil {
		if err := s.conn.await(ctx, of); err != nil {
			return nil, err
		}
	}
	s.conn.last = ctx
	s.conn.begin()
	result, err := s.execer.ExecContext(ctx, args)
	s.conn.end()
	err = s.ended(ctx, OpStmtExec, err)
	if of != nil {
		s.conn.wrote(of, err)
	}
	return result, err
}

// QueryContext runs the query.
func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	if s.queryer == nil {
		values, err := legacyArgs(ctx, args)
		if err != nil {
			return nil, err
		}
		return s.rows(ctx, values)
	}
	of := causal.In(ctx)
	if of != nil {
		if err := s.conn.await(ctx, of); err != nil {
			return nil, err
		}
	}
	s.conn.last = ctx
	s.conn.beginRead(ctx, readStmt, s.query, args)
	rows, err := s.queryer.QueryContext(ctx, args)
	if a := s.conn.endRead(); a != nil {
		s.conn.adopt(a, rows, nil, err)
		s.take(a.stmt)
		rows, err = a.rows, nil
	}
	err = s.ended(ctx, OpStmtQuery, err)
	if of != nil {
		s.conn.read(of, err)
	}
	return rows, err
}

// Exec calls the backend's Exec.
func (s *stmt) Exec(args []driver.Value) (driver.Result, error) {
	if s.stale() {
		if err := s.ready(context.Background()); err != nil {
			return nil, err
		}
	}
	return s.exec(context.Background(), args)
}

func (s *stmt) exec(ctx context.Context, args []driver.Value) (driver.Result, error) {
	of := causal.In(ctx)
	if of != nil {
		if err := s.conn.await(ctx, of); err != nil {
			return nil, err
		}
	}
	s.conn.last = ctx
	s.conn.begin()
	result, err := s.backend.Exec(args)
	s.conn.end()
	err = s.ended(ctx, OpStmtExec, err)
	if of != nil {
		s.conn.wrote(of, err)
	}
	return result, err
}

// Query calls the backend's Query.
func (s *stmt) Query(args []driver.Value) (driver.Rows, error) {
	if s.stale() {
		if err := s.ready(context.Background()); err != nil {
			return nil, err
		}
	}
	return s.rows(context.Background(), args)
}

func (s *stmt) rows(ctx context.Context, args []driver.Value) (driver.Rows, error) {
	of := causal.In(ctx)
	if of != nil {
		if err := s.conn.await(ctx, of); err != nil {
			return nil, err
		}
	}
	s.conn.last = ctx
	s.conn.begin()
	rows, err := s.backend.Query(args)
	s.conn.end()
	err = s.ended(ctx, OpStmtQuery, err)
	if of != nil {
		s.conn.read(of, err)
	}
	return rows, err
}

// ended must be called after each run of the statement. It returns what the
// caller gets for err, which may be nil.
func (s *stmt) ended(ctx context.Context, op Operation, err error) error {
	if err != nil {
		err = s.conn.failed(ctx, op, s.query, err)
	}
	s.conn.ran(s.query, true, err)
	return err
}
