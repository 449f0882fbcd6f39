package session

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
)

//lint:file-ignore SA1019 backends may have the deprecated interfaces

// A script is a backend for comparing a bare conn with a wrapped one. It says
// which interfaces its conns and statements have and how their methods answer.
// It records every call.
type script struct {
	shape

	fails   map[string]error // by the method that is called, without its variants
	panics  string           // the method that panics
	invalid bool             // IsValid returns false

	mu     sync.Mutex
	conns  int
	faults int // the errors that a link must get
	lines  []string
}

// A shape says what a backend can do.
type shape struct {
	newConn  func(*fullConn) driver.Conn // reduces a conn to the interfaces under test
	newStmt  func(*fullStmt) driver.Stmt
	numInput int
}

func (s *script) log(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, fmt.Sprintf(format, args...))
}

// called records a call and returns how it ends.
func (s *script) called(what, format string, args ...any) error {
	return s.end(what, fmt.Sprintf(format, args...), nil)
}

// calledIn records a call in a context and returns how it ends.
func (s *script) calledIn(ctx context.Context, what, format string, args ...any) error {
	call := fmt.Sprintf(format, args...)
	return s.end(what, fmt.Sprintf("%s ctx %v %v", call, ctx.Value(ctxKey{}), ctx.Err()), ctx.Err())
}

// end returns the script's error for a call, or else err.
func (s *script) end(what, call string, err error) error {
	s.log("  %s", call)
	if s.panics == what {
		panic("the backend panics in " + what)
	}
	if scripted := s.fails[what]; scripted != nil {
		err = scripted
	}
	if err != nil && err != driver.ErrSkip && what != "close" && what != "stmt close" {
		s.mu.Lock()
		s.faults++
		s.mu.Unlock()
	}
	return err
}

type ctxKey struct{}

var errBackend = errors.New("the backend says no")

// Connect makes a conn. The script is the bare backend's connector.
func (s *script) Connect(context.Context) (driver.Conn, error) {
	s.mu.Lock()
	s.conns++
	c := &fullConn{s, s.conns}
	s.mu.Unlock()
	return s.newConn(c), nil
}

func (s *script) Driver() driver.Driver { return nil }

// A fullConn has every interface that a conn can have.
type fullConn struct {
	s  *script
	id int
}

func (c *fullConn) Close() error {
	return c.s.called("close", "conn%d.Close", c.id)
}

func (c *fullConn) Prepare(query string) (driver.Stmt, error) {
	return c.prepared(query, c.s.called("prepare", "conn%d.Prepare %s", c.id, query))
}

func (c *fullConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	return c.prepared(query, c.s.calledIn(ctx, "prepare", "conn%d.PrepareContext %s", c.id, query))
}

func (c *fullConn) prepared(query string, err error) (driver.Stmt, error) {
	if err != nil {
		return nil, err
	}
	return c.s.newStmt(&fullStmt{c, query}), nil
}

func (c *fullConn) Begin() (driver.Tx, error) {
	return c.begun(c.s.called("begin", "conn%d.Begin", c.id))
}

func (c *fullConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	return c.begun(c.s.calledIn(ctx, "begin", "conn%d.BeginTx %+v", c.id, opts))
}

func (c *fullConn) begun(err error) (driver.Tx, error) {
	if err != nil {
		return nil, err
	}
	return fullTx{c}, nil
}

func (c *fullConn) Exec(query string, args []driver.Value) (driver.Result, error) {
	return c.result(c.s.called("exec", "conn%d.Exec %s%s", c.id, query, show(args)))
}

func (c *fullConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	return c.result(c.s.calledIn(ctx, "exec", "conn%d.ExecContext %s%s", c.id, query, showNamed(args)))
}

func (c *fullConn) result(err error) (driver.Result, error) {
	if err != nil {
		return nil, err
	}
	return driver.RowsAffected(c.id), nil
}

func (c *fullConn) Query(query string, args []driver.Value) (driver.Rows, error) {
	return c.rows(c.s.called("query", "conn%d.Query %s%s", c.id, query, show(args)))
}

func (c *fullConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	return c.rows(c.s.calledIn(ctx, "query", "conn%d.QueryContext %s%s", c.id, query, showNamed(args)))
}

func (c *fullConn) rows(err error) (driver.Rows, error) {
	if err != nil {
		return nil, err
	}
	return &fullRows{c: c}, nil
}

func (c *fullConn) Ping(ctx context.Context) error {
	return c.s.calledIn(ctx, "ping", "conn%d.Ping", c.id)
}

func (c *fullConn) ResetSession(ctx context.Context) error {
	return c.s.calledIn(ctx, "reset", "conn%d.ResetSession", c.id)
}

func (c *fullConn) IsValid() bool {
	c.s.log("  conn%d.IsValid", c.id)
	if !c.s.invalid {
		return true
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.s.faults++ // counted once: database/sql closes the conn and never asks again
	return false
}

func (c *fullConn) CheckNamedValue(v *driver.NamedValue) error {
	return c.s.check(fmt.Sprintf("conn%d", c.id), v)
}

// A fullStmt has every interface that a statement can have.
type fullStmt struct {
	c     *fullConn
	query string
}

func (s *fullStmt) name() string  { return fmt.Sprintf("conn%d.stmt(%s)", s.c.id, s.query) }
func (s *fullStmt) NumInput() int { return s.c.s.numInput }
func (s *fullStmt) Close() error {
	return s.c.s.called("stmt close", "%s.Close", s.name())
}

func (s *fullStmt) Exec(args []driver.Value) (driver.Result, error) {
	return s.c.result(s.c.s.called("stmt exec", "%s.Exec%s", s.name(), show(args)))
}

func (s *fullStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	return s.c.result(s.c.s.calledIn(ctx, "stmt exec", "%s.ExecContext%s", s.name(), showNamed(args)))
}

func (s *fullStmt) Query(args []driver.Value) (driver.Rows, error) {
	return s.c.rows(s.c.s.called("stmt query", "%s.Query%s", s.name(), show(args)))
}

func (s *fullStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return s.c.rows(s.c.s.calledIn(ctx, "stmt query", "%s.QueryContext%s", s.name(), showNamed(args)))
}

func (s *fullStmt) CheckNamedValue(v *driver.NamedValue) error { return s.c.s.check(s.name(), v) }

func (s *fullStmt) ColumnConverter(i int) driver.ValueConverter {
	s.c.s.log("  %s.ColumnConverter %d", s.name(), i)
	return converter{}
}

type fullTx struct{ c *fullConn }

func (t fullTx) Commit() error   { return t.c.s.called("commit", "conn%d.Commit", t.c.id) }
func (t fullTx) Rollback() error { return t.c.s.called("rollback", "conn%d.Rollback", t.c.id) }

// fullRows are one row with the conn's number.
type fullRows struct {
	c    *fullConn
	done bool
}

func (r *fullRows) Columns() []string { return []string{"conn"} }
func (r *fullRows) Close() error      { r.c.s.log("  conn%d.rows.Close", r.c.id); return nil }
func (r *fullRows) Next(dest []driver.Value) error {
	if r.done {
		return io.EOF
	}
	r.done = true
	dest[0] = int64(r.c.id)
	return nil
}

// These arguments tell a checker or a converter what to do.
type (
	accepted struct{} // the checker accepts it unchanged
	replaced struct{} // the checker turns it into a string
	removed  struct{} // the checker removes it
	rejected string   // the checker, or else the converter, rejects it
	skipped  string   // the converter leaves it to the default
	unfit    string   // the converter turns it into something that is no driver.Value
)

func (s *script) check(who string, v *driver.NamedValue) error {
	s.log("  %s.CheckNamedValue %d %q %T", who, v.Ordinal, v.Name, v.Value)
	switch v.Value.(type) {
	case accepted:
		return nil
	case replaced:
		v.Value = "replaced by " + who
		return nil
	case removed:
		return driver.ErrRemoveArgument
	case rejected:
		return errBackend
	}
	return driver.ErrSkip
}

// A converter converts the arguments of one column. It accepts lists of
// numbers.
type converter struct{}

func (converter) ConvertValue(v any) (driver.Value, error) {
	switch v := v.(type) {
	case []int:
		return fmt.Sprint("converted ", v), nil
	case rejected:
		return nil, errBackend
	case skipped:
		return v, driver.ErrSkip
	case unfit:
		return v, nil
	case removed:
		return nil, driver.ErrRemoveArgument
	}
	return driver.DefaultParameterConverter.ConvertValue(v)
}

func show(args []driver.Value) string {
	var b strings.Builder
	for _, v := range args {
		fmt.Fprintf(&b, " [%T %v]", v, v)
	}
	return b.String()
}

func showNamed(args []driver.NamedValue) string {
	var b strings.Builder
	for _, v := range args {
		fmt.Fprintf(&b, " [%d %q %T %v]", v.Ordinal, v.Name, v.Value, v.Value)
	}
	return b.String()
}
