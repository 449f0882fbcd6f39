package session

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

//lint:file-ignore SA1019 backends may have the deprecated interfaces

// newest is a backend with all interfaces of today, oldest one with none.
var (
	newestConn = func(c *fullConn) driver.Conn { return c }
	newestStmt = func(s *fullStmt) driver.Stmt { return s }
	oldestConn = func(c *fullConn) driver.Conn { return struct{ driver.Conn }{c} }
	oldestStmt = func(s *fullStmt) driver.Stmt { return struct{ driver.Stmt }{s} }
)

// linked returns a wrapped conn of a backend, and its connector.
func linked(t *testing.T, s *script) (*wrapping, *execQueryConn) {
	t.Helper()
	w := &wrapping{Connector: s}
	c, err := w.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return w, execQuery(c)
}

// execQuery is what all wrapped conns share that can exec and query.
func execQuery(c driver.Conn) *execQueryConn {
	if c, ok := c.(*legacyExecQueryConn); ok {
		return &c.execQueryConn
	}
	return c.(*execQueryConn)
}

func (s *script) saw(part string) bool {
	return slices.ContainsFunc(s.lines, func(line string) bool { return strings.Contains(line, part) })
}

// A conn of an older generation is sent nothing more and is not handed out
// again. What is under way on it may end.
func TestRetiredConn(t *testing.T) {
	for _, newConn := range []func(*fullConn) driver.Conn{newestConn, oldestConn} {
		s := &script{shape: shape{newConn, newestStmt, -1}}
		w := &wrapping{Connector: s}
		db := sql.OpenDB(w)
		exec := func(who interface {
			Exec(string, ...any) (sql.Result, error)
		}, query string) {
			t.Helper()
			if _, err := who.Exec(query); err != nil {
				t.Error(err)
			}
		}
		exec(db, "first")
		tx, err := db.Begin()
		if err != nil {
			t.Fatal(err)
		}
		w.generation.Add(1)
		exec(tx, "may end")
		if err := tx.Commit(); err != nil {
			t.Error(err)
		}
		if !s.saw("conn1.Close") || s.saw("conn2") {
			t.Errorf("the conn was not closed at its return:\n%s", strings.Join(s.lines, "\n"))
		}
		exec(db, "second")
		w.generation.Add(1)
		s.log("the pool holds an old conn")
		exec(db, "third")
		at := slices.Index(s.lines, "the pool holds an old conn")
		if got := s.lines[at+1]; got != "  conn2.Close" {
			t.Errorf("first call on an idle old conn: %s", got)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
		if w.closes.Load() != 3 || w.reports.Load() != 0 {
			t.Errorf("%d closed, %d reports; want 3 and none", w.closes.Load(), w.reports.Load())
		}
	}
}

// Closed is called once, after the backend's Close, however that ends.
func TestLinkIsToldOfTheCloseOnce(t *testing.T) {
	s := &script{shape: shape{newestConn, newestStmt, -1}}
	w, c := linked(t, s)
	s.panics = "close"
	func() {
		defer func() {
			if r := recover(); r != "the backend panics in close" {
				t.Errorf("recovered %v", r)
			}
		}()
		_ = c.Close()
	}()
	if n := w.closes.Load(); n != 1 {
		t.Errorf("told %d times after a panic", n)
	}
	s.panics, s.fails = "", map[string]error{"close": errBackend}
	if err := c.Close(); err != errBackend {
		t.Errorf("Close: %v", err)
	}
	if c, r := w.closes.Load(), w.reports.Load(); c != 1 || r != 0 {
		t.Errorf("told %d times, %d reports", c, r)
	}

	s = &script{shape: shape{newestConn, newestStmt, -1}}
	backend, _ := s.Connect(t.Context())
	again := wrapped(backend, Link{Generation: new(atomic.Uint64), Report: func(f Fault) Answer { return Answer{Err: f.Err} }, Closed: func(Closer) { s.log("told") }})
	if err := again.Close(); err != nil || !slices.Equal(s.lines, []string{"  conn1.Close", "told"}) {
		t.Errorf("%v, in this order: %q", err, s.lines)
	}
}

// What fails on a conn after its caller has left counts as the caller's doing,
// until the next session.
func TestWhatACallerBreaksIsNotReported(t *testing.T) {
	s := &script{shape: shape{newestConn, newestStmt, -1}}
	w, c := linked(t, s)
	exec := func(err error) {
		t.Helper()
		s.fails = map[string]error{"exec": err}
		if _, got := c.ExecContext(t.Context(), "exec", nil); got != err {
			t.Errorf("got %v, want %v", got, err)
		}
	}
	for i, left := range []error{context.Canceled, context.DeadlineExceeded} {
		before := w.reports.Load()
		exec(left)
		exec(driver.ErrBadConn)
		if got := w.reports.Load() - before; got != 1 {
			t.Errorf("%d reports after %v, want that one", got, left)
		}
		if err := c.ResetSession(t.Context()); err != nil {
			t.Error(err)
		}
		exec(driver.ErrBadConn)
		if got := w.reports.Load() - before; got != 2 {
			t.Errorf("round %d: a new session's error was not reported", i)
		}
	}
}

// A caller may leave while rows are read, which are not wrapped. What that
// breaks is seen when the conn comes back, and says nothing about the node. What
// breaks without a leave does.
func TestWhatACallerBreaksUnderRowsIsNotReported(t *testing.T) {
	for _, leaves := range []bool{true, false} {
		for name, call := range map[string]func(c *execQueryConn, ctx context.Context) error{
			"query": func(c *execQueryConn, ctx context.Context) error {
				_, err := c.QueryContext(ctx, "query", nil)
				return err
			},
			"exec": func(c *execQueryConn, ctx context.Context) error {
				_, err := c.ExecContext(ctx, "exec", nil)
				return err
			},
			"begin": func(c *execQueryConn, ctx context.Context) error {
				_, err := c.BeginTx(ctx, driver.TxOptions{})
				return err
			},
			"prepared query": func(c *execQueryConn, ctx context.Context) error {
				s, err := c.PrepareContext(ctx, "prepared")
				if err != nil {
					return err
				}
				_, err = s.(driver.StmtQueryContext).QueryContext(ctx, nil)
				return err
			},
		} {
			valid := true
			s := &script{shape: shape{func(c *fullConn) driver.Conn { return judgedConn{c, &valid} }, newestStmt, -1}}
			w, c := linked(t, s)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if err := call(c, ctx); err != nil {
				t.Fatal(err)
			}
			if leaves {
				cancel()
			}
			valid = false
			if c.IsValid() {
				t.Errorf("%s: a broken conn is valid", name)
			}
			if reported := w.reports.Load() > 0; reported == leaves {
				t.Errorf("%s, the caller leaves %v: reported %v", name, leaves, reported)
			}
		}
	}
}

// A judgedConn is as valid as it is told to be.
type judgedConn struct {
	*fullConn
	valid *bool
}

func (c judgedConn) IsValid() bool { return *c.valid }

// From every method of Conn, Stmt and Tx the caller gets the error that Report
// returns. An error that the wrapper or a caller has caused is not reported.
func TestReportHasTheLastWord(t *testing.T) {
	ctx := t.Context()
	instead := errors.New("instead")
	var generation atomic.Uint64
	for _, shape := range []shape{{newestConn, newestStmt, -1}, {
		func(c *fullConn) driver.Conn {
			return struct {
				driver.Conn
				driver.Execer
				driver.Queryer
				driver.Pinger
				driver.SessionResetter
			}{c, c, c, c, c}
		}, oldestStmt, -1,
	}} {
		s := &script{shape: shape}
		backend, _ := s.Connect(ctx)
		c := execQuery(wrapped(backend, Link{Generation: &generation, Report: func(f Fault) Answer {
			if f.Err != errBackend {
				t.Errorf("reported: %v", f.Err)
			}
			return Answer{Err: instead}
		}, Closed: func(Closer) {}}))
		stmt, err := c.PrepareContext(ctx, "prepared")
		if err != nil {
			t.Fatal(err)
		}
		tx, err := c.BeginTx(ctx, driver.TxOptions{})
		if err != nil {
			t.Fatal(err)
		}
		st := stmt.(interface {
			driver.Stmt
			driver.StmtExecContext
			driver.StmtQueryContext
		})
		for name, call := range map[string]func() error{
			"Ping":           func() error { return c.Ping(ctx) },
			"ResetSession":   func() error { return c.ResetSession(ctx) },
			"ExecContext":    func() error { _, err := c.ExecContext(ctx, "", nil); return err },
			"QueryContext":   func() error { _, err := c.QueryContext(ctx, "", nil); return err },
			"PrepareContext": func() error { _, err := c.PrepareContext(ctx, ""); return err },
			"Prepare":        func() error { _, err := c.Prepare(""); return err },
			"BeginTx":        func() error { _, err := c.BeginTx(ctx, driver.TxOptions{}); return err },
			"Begin":          func() error { _, err := c.Begin(); return err },
			"Commit":         tx.Commit,
			"Rollback":       tx.Rollback,
			"stmt exec":      func() error { _, err := st.ExecContext(ctx, nil); return err },
			"stmt query":     func() error { _, err := st.QueryContext(ctx, nil); return err },
			"stmt old exec":  func() error { _, err := st.Exec(nil); return err },
			"stmt old query": func() error { _, err := st.Query(nil); return err },
		} {
			s.fails = nil
			if err := call(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			s.fails = map[string]error{}
			for _, what := range []string{"ping", "reset", "exec", "query", "prepare", "begin", "commit", "rollback", "stmt exec", "stmt query"} {
				s.fails[what] = errBackend
			}
			if err := call(); err != instead {
				t.Errorf("%s: %v, want what report said", name, err)
			}
		}
		v := driver.NamedValue{Value: rejected("x")}
		if err := c.CheckNamedValue(&v); err == instead {
			t.Error("CheckNamedValue was reported")
		}
		s.fails = map[string]error{"stmt close": errBackend}
		if err := stmt.Close(); err != errBackend {
			t.Errorf("statement's Close: %v", err)
		}
	}
}

// The backend's first no to IsValid is reported, further ones are not.
func TestInvalidIsReportedOnce(t *testing.T) {
	s := &script{shape: shape{newestConn, newestStmt, -1}, invalid: true}
	w, c := linked(t, s)
	for range 2 {
		if c.IsValid() {
			t.Error("valid")
		}
	}
	if n := w.reports.Load(); n != 1 {
		t.Errorf("reported %d times", n)
	}
}

// Raw returns the backend's own conn, also through sql.Conn.Raw.
func TestRaw(t *testing.T) {
	for _, newConn := range backendConns {
		var made driver.Conn
		s := &script{shape: shape{func(c *fullConn) driver.Conn { made = newConn(c); return made }, newestStmt, -1}}
		db := sql.OpenDB(&wrapping{Connector: s})
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.Raw(func(c any) error {
			if raw := c.(interface{ Raw() driver.Conn }).Raw(); raw != made {
				return fmt.Errorf("Raw is a %T", raw)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
		_ = conn.Close()
		_ = db.Close()
	}
}

// database/sql would have closed such a conn if it had seen that the backend
// cannot reset sessions. A sql.Conn that holds the conn can do nothing more, as
// with the bare backend.
func TestDiscardedConnIsOfNoMoreUse(t *testing.T) {
	ended := func(rows *sql.Rows, err error) error {
		if err == nil {
			err = rows.Close()
		}
		return err
	}
	calls := map[string]func(*sql.Conn, *sql.Stmt) error{
		"Exec": func(c *sql.Conn, _ *sql.Stmt) error {
			_, err := c.ExecContext(t.Context(), "exec")
			return err
		},
		"Query": func(c *sql.Conn, _ *sql.Stmt) error {
			return ended(c.QueryContext(t.Context(), "query"))
		},
		"Prepare": func(c *sql.Conn, _ *sql.Stmt) error {
			_, err := c.PrepareContext(t.Context(), "prepare")
			return err
		},
		"Begin": func(c *sql.Conn, _ *sql.Stmt) error {
			tx, err := c.BeginTx(t.Context(), nil)
			if err == nil {
				err = tx.Rollback()
			}
			return err
		},
		"Ping":       func(c *sql.Conn, _ *sql.Stmt) error { return c.PingContext(t.Context()) },
		"stmt exec":  func(_ *sql.Conn, s *sql.Stmt) error { _, err := s.Exec(); return err },
		"stmt query": func(_ *sql.Conn, s *sql.Stmt) error { return ended(s.Query()) },
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				for _, wrapped := range []bool{false, true} {
					s := &script{shape: shape{func(c *fullConn) driver.Conn {
						return struct {
							driver.Conn
							driver.Execer
							driver.Queryer
							driver.Pinger
							driver.Validator
						}{c, c, c, c, c}
					}, oldestStmt, -1}}
					var from driver.Connector = s
					if wrapped {
						from = &wrapping{Connector: s}
					}
					db := sql.OpenDB(from)
					conn, err := db.Conn(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					stmt, err := conn.PrepareContext(t.Context(), "prepared")
					if err != nil {
						t.Fatal(err)
					}
					ctx, cancel := context.WithCancel(t.Context())
					if _, err := conn.BeginTx(ctx, nil); err != nil {
						t.Fatal(err)
					}
					cancel()
					synctest.Wait()
					before := len(s.lines)
					for range 2 {
						if err := call(conn, stmt); !errors.Is(err, sql.ErrConnDone) {
							t.Errorf("wrapped %v: %v", wrapped, err)
						}
					}
					for _, line := range s.lines[before:] {
						if !strings.HasSuffix(line, ".Close") {
							t.Errorf("wrapped %v: the backend saw %s", wrapped, line)
						}
					}
					_ = conn.Close()
					if !s.saw("conn1.Close") {
						t.Errorf("wrapped %v: not closed", wrapped)
					}
					_ = db.Close()
				}
			})
		})
	}
}

// A backend may return neither a statement or transaction nor an error. Then
// there is no wrapper around nil. A value that comes with an error is not used.
func TestNothingIsNotWrapped(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, ctx := range []context.Context{t.Context(), ctx} {
		for _, err := range []error{nil, errBackend} {
			for _, backend := range []driver.Conn{nothing{err}, nothingOld{nothing{err}}} {
				c := wrapped(backend, Link{Generation: new(atomic.Uint64), Report: func(f Fault) Answer { return Answer{Err: f.Err} }, Closed: func(Closer) {}})
				if s, got := c.(driver.ConnPrepareContext).PrepareContext(ctx, ""); s != nil || got != err {
					t.Errorf("PrepareContext: %v, %v", s, got)
				}
				if s, got := c.Prepare(""); s != nil || got != err {
					t.Errorf("Prepare: %v, %v", s, got)
				}
				if tx, got := c.(driver.ConnBeginTx).BeginTx(ctx, driver.TxOptions{}); tx != nil || got != err {
					t.Errorf("BeginTx: %v, %v", tx, got)
				}
				if tx, got := c.Begin(); tx != nil || got != err {
					t.Errorf("Begin: %v, %v", tx, got)
				}
			}
		}
	}
}

// A nothing is a backend conn without statements and transactions. With an
// error it returns typed nils.
type nothing struct{ err error }

func (n nothing) Close() error { return nil }
func (n nothing) Prepare(string) (driver.Stmt, error) {
	if n.err != nil {
		return (*fullStmt)(nil), n.err
	}
	return nil, nil
}

func (n nothing) Begin() (driver.Tx, error) {
	if n.err != nil {
		return (*fullTx)(nil), n.err
	}
	return nil, nil
}

func (n nothing) PrepareContext(context.Context, string) (driver.Stmt, error)  { return n.Prepare("") }
func (n nothing) BeginTx(context.Context, driver.TxOptions) (driver.Tx, error) { return n.Begin() }

// nothingOld is a nothing without contexts.
type nothingOld struct{ driver.Conn }

// While somebody uses a conn for the first time, the cluster cannot take it:
// for such a conn database/sql may not have called ResetSession.
func TestFirstUseKeepsTheClusterAway(t *testing.T) {
	for what, use := range map[string]func(c *execQueryConn) error{
		"Raw":  func(c *execQueryConn) error { c.Raw(); return nil },
		"Ping": func(c *execQueryConn) error { return c.Ping(context.Background()) },
		"argument": func(c *execQueryConn) error {
			if err := c.CheckNamedValue(&driver.NamedValue{Value: 1}); err != driver.ErrSkip {
				return err
			}
			return nil
		},
	} {
		s := &script{shape: shape{newestConn, newestStmt, -1}}
		_, c := linked(t, s)
		if !c.IsValid() { // into the pool, and out again without ResetSession
			t.Fatal("not valid")
		}
		if err := use(c); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if h := (Handle{c.conn.tenure}); h.TakeIdle() {
			t.Errorf("%s: the conn counts as idle", what)
		}
		_ = c.Close()

		_, c = linked(t, s)
		c.IsValid()
		h := Handle{c.conn.tenure}
		if !h.TakeIdle() {
			t.Errorf("%s: the conn is idle", what)
		}
		if what == "Raw" { // it waits for that
			_ = h.Close()
		}
		if err := use(c); what != "Raw" && !errors.Is(err, driver.ErrBadConn) {
			t.Errorf("%s on a conn that the cluster closes: %v", what, err)
		}
		if c.IsValid() {
			t.Errorf("%s: a conn that the cluster closes is valid", what)
		}
	}
}

// A conn that the cluster had closed or retired before its first use is sent nothing,
// however often a pool tries that does not heed its first error.
func TestUnusableConnSaysSoEachTime(t *testing.T) {
	for what, use := range map[string]func(c *execQueryConn) error{
		"ping":     func(c *execQueryConn) error { return c.Ping(t.Context()) },
		"exec":     func(c *execQueryConn) error { _, err := c.ExecContext(t.Context(), "exec", nil); return err },
		"query":    func(c *execQueryConn) error { _, err := c.QueryContext(t.Context(), "query", nil); return err },
		"prepare":  func(c *execQueryConn) error { _, err := c.PrepareContext(t.Context(), "prepare"); return err },
		"begin":    func(c *execQueryConn) error { _, err := c.BeginTx(t.Context(), driver.TxOptions{}); return err },
		"argument": func(c *execQueryConn) error { return c.CheckNamedValue(&driver.NamedValue{Value: 1}) },
	} {
		for _, closes := range []bool{true, false} {
			s := &script{shape: shape{newestConn, newestStmt, -1}}
			w, c := linked(t, s)
			c.IsValid()
			if !closes {
				w.generation.Add(1)
			} else if h := (Handle{c.conn.tenure}); !h.TakeIdle() {
				t.Fatal("not idle")
			}
			s.lines = nil
			for i := range 3 {
				if err := use(c); err != driver.ErrBadConn {
					t.Errorf("%s, closed %t, call %d: %v", what, closes, i+1, err)
				}
			}
			if s.lines != nil {
				t.Errorf("%s, closed %t: the backend was called: %q", what, closes, s.lines)
			}
		}
	}
}

// Raw gives out no backend's conn whose Close is still to come, or under way in another
// goroutine. It waits for that, also for a Close that panics.
func TestRawWaitsForTheClose(t *testing.T) {
	for _, panics := range []string{"", "Close"} {
		synctest.Test(t, func(t *testing.T) {
			s := &script{shape: shape{newestConn, newestStmt, -1}, panics: panics}
			w, c := linked(t, s)
			c.IsValid()
			h := Handle{c.conn.tenure}
			if !h.TakeIdle() {
				t.Fatal("not idle")
			}
			raw := make(chan driver.Conn)
			go func() { raw <- c.Raw() }()
			synctest.Wait()
			select {
			case <-raw:
				t.Fatal("Raw did not wait")
			default:
			}
			go func() {
				defer func() { _ = recover() }()
				_ = h.Close()
			}()
			if got := <-raw; got != c.backend || !s.saw("Close") {
				t.Errorf("%v after %q", got, s.lines)
			}
			if got := c.Raw(); got != c.backend {
				t.Errorf("the second Raw: %v", got)
			}
			synctest.Wait() // Raw may return before the Close is counted
			if err := c.Close(); err != nil || w.closes.Load() != 1 {
				t.Errorf("%v, closed %d times", err, w.closes.Load())
			}
		})
	}
}

// A conn that the server has ended while it was idle is not handed out again, and
// its backend is not asked.
func TestConnThatTheServerHasEndedIsNotHandedOut(t *testing.T) {
	s := &script{shape: shape{newestConn, newestStmt, -1}}
	backend, err := s.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ended := false
	c := execQuery(wrapped(backend, Link{
		Generation: new(atomic.Uint64), Ended: func() bool { return ended },
		Report: func(f Fault) Answer { return Answer{Err: f.Err} }, Closed: func(Closer) {},
	}))
	if err := c.ResetSession(t.Context()); err != nil || !s.saw("ResetSession") {
		t.Errorf("%v: %q", err, s.lines)
	}
	ended, s.lines = true, nil
	if err := c.ResetSession(t.Context()); err != driver.ErrBadConn || s.saw("ResetSession") {
		t.Errorf("%v: %q", err, s.lines)
	}
}

// A statement that does not pin is not looked at again, and one that does is never taken
// for it: not where the same text was a prepared statement, which is one statement in any
// case, nor where it is long.
func TestHarmlessStatementIsLookedAtOnce(t *testing.T) {
	run := func(c *execQueryConn, query string) {
		t.Helper()
		if _, err := c.ExecContext(t.Context(), query, nil); err != nil {
			t.Fatal(err)
		}
	}
	const two = "SELECT 1; SET autocommit = 0"
	_, c := linked(t, &script{shape: shape{newestConn, newestStmt, -1}})
	s, err := c.PrepareContext(t.Context(), two)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.(driver.StmtExecContext).ExecContext(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	run(c, "SELECT 1")
	run(c, "SELECT 1")
	long := "SELECT '" + strings.Repeat("a", mostHarmless) + "'"
	run(c, long)
	if c.pinned || c.harmless != "SELECT 1" {
		t.Errorf("pinned %t, harmless %.20q", c.pinned, c.harmless)
	}
	run(c, two)
	if !c.pinned {
		t.Errorf("%q does not pin", two)
	}
}
