package clustersql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/dialects"
	"github.com/EnumApps/clustersql/internal/fakedb"
	"github.com/EnumApps/clustersql/internal/health"
	"github.com/EnumApps/clustersql/internal/logline"
	"github.com/EnumApps/clustersql/internal/redact"
	"github.com/EnumApps/clustersql/internal/session"
	"github.com/EnumApps/clustersql/internal/socket"
)

var (
	errNotReady     = &mysql.MySQLError{Number: 1047, SQLState: [5]byte{'0', '8', 'S', '0', '1'}, Message: "WSREP has not yet prepared node for application use"}
	errUnknown      = &mysql.MySQLError{Number: 1047, Message: "Unknown command"}
	errLeaving      = &mysql.MySQLError{Number: 1180, Message: "Got error 5 during COMMIT, provider status: Not connected to Primary Component"}
	errShutdown     = &mysql.MySQLError{Number: 1053, Message: "Server shutdown in progress"}
	errReadOnly1290 = &mysql.MySQLError{Number: 1290, Message: "The MariaDB server is running with the --read-only option"}
)

// inOrder asks the nodes one after the other, in the order of their names.
var inOrder = NewStrategy("in order", func(nodes []NodeStatus) []Launch {
	var plan []Launch
	for _, n := range nodes {
		plan = append(plan, Launch{Node: n.Name, Wait: time.Hour})
	}
	return plan
})

// told sets what the cluster knows of the sessions on every node.
func told(d Driver, s dialect.Session) {
	for _, n := range *d.m.nodes.Load() {
		n.session = s
	}
}

// fillPool puts n idle conns of one node into the pool.
func fillPool(t *testing.T, db *sql.DB, n int) {
	t.Helper()
	db.SetMaxIdleConns(n)
	var conns []*sql.Conn
	for range n {
		c, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	for _, c := range conns {
		c.Close()
	}
}

// With a pool full of conns to a node that refuses work, no statement fails,
// one at a time or all at once. The node's conns are retired once.
func TestRefusedStatementsMoveUnseen(t *testing.T) {
	for _, workers := range []int{1, 16} {
		t.Run(fmt.Sprint(workers), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				d := fakeCluster(t, b, 3, WithStrategy(inOrder))
				told(d, dialect.Session{Single: true})
				db := openDB(t, d)
				synctest.Wait()
				fillPool(t, db, 16)
				opens := d.Status().Nodes[0].Opens
				b.Node("n1").SetHealth(errNotReady, 0, false)
				var wg sync.WaitGroup
				for range workers {
					wg.Go(func() {
						for range 96 / workers {
							if _, err := db.Exec("INSERT INTO t VALUES (1)"); err != nil {
								t.Error(err)
							}
							var node string
							if err := db.QueryRow("(SELECT 1)").Scan(&node); err != nil || node != "n2" {
								t.Errorf("%q, %v", node, err)
							}
						}
					})
				}
				wg.Wait()
				synctest.Wait()
				s := d.Status().Nodes[0]
				if s.State != StateDown || !strings.Contains(s.Reason, "1047") {
					t.Errorf("%+v", s)
				}
				// The first refusal retires the connections. An open that begins between it and the
				// actor's word of it may be refused too, or its connection.
				if younger := s.Opens - opens; s.Generation < 1 || s.Generation > 1+younger {
					t.Errorf("generation %d with %d opens meanwhile", s.Generation, younger)
				}
			})
		})
	}
}

// The generation is raised before the actor hears of the refusal, and only once
// if many meet it. The actor does not raise it again.
func TestGenerationIsRaisedBeforeTheReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := DefaultConfig()
		n := newNode("n", fixed(&cfg), NodeConfig{}, dialer{dialect: dialects.Generic{}, log: logline.Logger{Base: slog.New(slog.DiscardHandler)}})
		n.room = new(waitingRoom)
		ctx, cancel := context.WithCancel(t.Context())
		l := newLife(ctx, false)
		n.life.Store(l) // no loop runs
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				f := session.Fault{Err: errLeaving, Op: session.OpExec, Ctx: ctx}
				if err := n.answer(f, winner{socket: new(socket.Slot)}).Err; !errors.Is(err, errLeaving) {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if g := n.generation.Load(); g != 1 {
			t.Errorf("generation %d while the report waits", g)
		}
		n.loop.timer = time.NewTimer(time.Hour)
		n.onReport(l, <-l.report)
		wg.Wait()
		if g := n.generation.Load(); g != 1 || n.loop.health.State != health.Down {
			t.Errorf("generation %d, %v", g, n.loop.health.State)
		}
		cancel()
	})
}

// A bench is a cluster on which the next statement with a certain text fails
// once.
type bench struct {
	t     *testing.T
	b     *fakedb.Backend
	d     Driver
	db    *sql.DB
	ctx   context.Context
	mu    sync.Mutex // guards runs
	query string
	err   error
	runs  int
}

func newBench(t *testing.T, says dialect.Session, opts ...Option) *bench {
	s := &bench{t: t, b: fakedb.New(), ctx: t.Context()}
	s.d = fakeCluster(t, s.b, 2, append([]Option{WithStrategy(inOrder)}, opts...)...)
	told(s.d, says)
	for _, n := range []string{"n1", "n2"} {
		s.b.Node(n).OnStatement(func(_ context.Context, query string, _ []driver.NamedValue) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			if query != s.query {
				return nil
			}
			if s.runs++; s.runs > 1 {
				return nil
			}
			return s.err
		})
	}
	s.db = openDB(t, s.d)
	synctest.Wait()
	return s
}

func closing(rows *sql.Rows, err error) error {
	if err == nil {
		rows.Close()
	}
	return err
}

// ways are the ways to send a statement.
var ways = map[string]func(s *bench) error{
	"db.Exec":  func(s *bench) error { _, err := s.db.ExecContext(s.ctx, s.query); return err },
	"db.Query": func(s *bench) error { return closing(s.db.QueryContext(s.ctx, s.query)) },
	"stmt.Exec": func(s *bench) error {
		return s.prepared(func(st *sql.Stmt) error { _, err := st.ExecContext(s.ctx); return err })
	},
	"stmt.Query": func(s *bench) error {
		return s.prepared(func(st *sql.Stmt) error { return closing(st.QueryContext(s.ctx)) })
	},
	"conn.Exec": func(s *bench) error {
		conn, err := s.db.Conn(s.ctx)
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.ExecContext(s.ctx, s.query)
		return err
	},
	"tx.Exec": func(s *bench) error {
		return s.inTx(func(tx *sql.Tx) error { _, err := tx.ExecContext(s.ctx, s.query); return err })
	},
	"tx.Query": func(s *bench) error {
		return s.inTx(func(tx *sql.Tx) error { return closing(tx.QueryContext(s.ctx, s.query)) })
	},
	"tx stmt": func(s *bench) error {
		return s.inTx(func(tx *sql.Tx) error {
			st, err := tx.PrepareContext(s.ctx, s.query)
			if err == nil {
				_, err = st.ExecContext(s.ctx)
			}
			return err
		})
	},
	"after BEGIN": func(s *bench) error { return s.after("/* by hand */ begin") },
	"after START": func(s *bench) error { return s.after("START TRANSACTION") },
	"after SET":   func(s *bench) error { return s.after("SET autocommit=0") },
	"after CALL":  func(s *bench) error { return s.after("CALL begin_work()") },
	"after LOCK":  func(s *bench) error { return s.after("SELECT GET_LOCK('l', 1)") },
	"after reads": func(s *bench) error { return s.after("SELECT @@hostname, get_locked FROM t") },
	"commit":      func(s *bench) error { s.query = "COMMIT"; return s.inTx(func(tx *sql.Tx) error { return tx.Commit() }) },
	"rollback": func(s *bench) error {
		s.query = "ROLLBACK"
		return s.inTx(func(tx *sql.Tx) error { return tx.Rollback() })
	},
	"begin": func(s *bench) error { s.query = "BEGIN"; return s.inTx(func(tx *sql.Tx) error { return nil }) },
}

func (s *bench) prepared(f func(*sql.Stmt) error) error {
	stmt, err := s.db.Prepare(s.query)
	if err != nil {
		return err
	}
	defer stmt.Close()
	return f(stmt)
}

func (s *bench) inTx(f func(*sql.Tx) error) error {
	tx, err := s.db.BeginTx(s.ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	return f(tx)
}

func (s *bench) after(first string) error {
	s.db.SetMaxOpenConns(1)
	if _, err := s.db.Exec(first); err != nil {
		return err
	}
	_, err := s.db.ExecContext(s.ctx, s.query)
	return err
}

type outcomeWanted string

const (
	moves    outcomeWanted = "moves"    // no error; it was run again
	itself   outcomeWanted = "itself"   // the backend's error as it is; run once
	unknown  outcomeWanted = "unknown"  // an ErrUnknownOutcome; run once
	hidden   outcomeWanted = "hidden"   // the backend's ErrBadConn is hidden; run once
	plain    outcomeWanted = "plain"    // the backend's ErrBadConn as it is; run once
	surfaces outcomeWanted = "surfaces" // our bad conn reaches the caller; run once
)

// What the caller gets for an error depends on where it happened.
func TestWhatBecomesOfAnError(t *testing.T) {
	single, opaque, manual := dialect.Session{Single: true}, dialect.Session{}, dialect.Session{Single: true, Manual: true}
	exact := dialect.Session{Single: true, Exact: true}
	cases := []struct {
		way   string
		query string
		err   error
		is    dialect.Session
		marks string // what is marked idempotent: "call", "cluster", or neither
		want  outcomeWanted
	}{
		// refused; whole statements and others
		{"db.Exec", "INSERT", errNotReady, single, "", moves},
		{"db.Query", "SELECT", errNotReady, single, "", moves},
		{"db.Exec", "CALL p()", errNotReady, single, "", itself},
		{"db.Query", "CALL p()", errNotReady, single, "", itself},
		{"db.Exec", "/*! INSERT */", errNotReady, single, "", itself},
		{"db.Exec", "INSERT", errNotReady, opaque, "", itself},
		{"db.Exec", "INSERT; INSERT", errNotReady, opaque, "", itself},
		{"db.Query", "SELECT", errNotReady, opaque, "", itself},
		{"stmt.Exec", "INSERT", errNotReady, opaque, "", moves},
		{"stmt.Query", "SELECT", errNotReady, opaque, "", moves},
		{"stmt.Exec", "CALL p()", errNotReady, single, "", itself},
		{"stmt.Query", "CALL p()", errNotReady, single, "", itself},
		{"begin", "", errNotReady, opaque, "", moves},
		{"conn.Exec", "INSERT", errNotReady, single, "", surfaces},
		{"conn.Exec", "CALL p()", errNotReady, single, "", itself},
		{"db.Exec", "CALL p()", errNotReady, single, "call", moves},
		{"db.Exec", "INSERT", errUnknown, single, "", itself},
		{"db.Exec", "INSERT", errUnknown, single, "call", itself},
		// in a transaction that database/sql or a statement began
		{"tx.Exec", "INSERT", errNotReady, single, "", itself},
		{"tx.Query", "SELECT", errNotReady, single, "call", itself},
		{"tx stmt", "INSERT", errNotReady, single, "call", itself},
		{"commit", "", errNotReady, single, "", itself},
		{"rollback", "", errNotReady, single, "", itself},
		{"after BEGIN", "INSERT", errNotReady, single, "call", itself},
		{"after START", "INSERT", errNotReady, single, "", itself},
		{"after SET", "INSERT", errNotReady, single, "", itself},
		{"db.Exec", "INSERT", errNotReady, manual, "", itself},
		// with other state in the session, or asking for it
		{"after CALL", "INSERT", errNotReady, single, "", itself},
		{"after CALL", "INSERT", mysql.ErrInvalidConn, single, "call", unknown},
		{"after LOCK", "INSERT", errNotReady, single, "", itself},
		{"after reads", "INSERT", errNotReady, single, "", moves},
		{"db.Query", "SELECT LAST_INSERT_ID()", errNotReady, single, "", itself},
		{"stmt.Query", "SELECT LAST_INSERT_ID()", errNotReady, single, "call", itself},
		{"db.Query", "SELECT LAST_INSERT_ID()", mysql.ErrInvalidConn, single, "cluster", unknown},
		{"db.Query", "TABLE t INTO OUTFILE 'f'", mysql.ErrInvalidConn, single, "cluster", unknown},
		{"db.Query", "TABLE t", mysql.ErrInvalidConn, single, "cluster", moves},
		// the backend's own bad conn
		{"db.Exec", "INSERT", driver.ErrBadConn, single, "", moves},
		{"stmt.Exec", "CALL p()", driver.ErrBadConn, opaque, "", moves},
		{"after BEGIN", "INSERT", driver.ErrBadConn, single, "", moves},
		{"tx.Exec", "INSERT", driver.ErrBadConn, single, "", plain},
		{"tx.Exec", "INSERT", fmt.Errorf("gone: %w", driver.ErrBadConn), exact, "", plain},
		{"tx.Query", "SELECT", driver.ErrBadConn, single, "call", plain},
		{"tx stmt", "INSERT", driver.ErrBadConn, single, "", hidden},
		{"tx stmt", "INSERT", fmt.Errorf("gone: %w", driver.ErrBadConn), single, "", hidden},
		{"tx stmt", "INSERT", driver.ErrBadConn, exact, "", hidden},
		{"commit", "", driver.ErrBadConn, single, "", unknown},
		{"commit", "", driver.ErrBadConn, exact, "", plain},
		{"rollback", "", driver.ErrBadConn, single, "", plain},
		// lost after the statement was sent
		{"db.Exec", "INSERT", mysql.ErrInvalidConn, single, "", unknown},
		{"db.Query", "SELECT", io.ErrUnexpectedEOF, single, "", unknown},
		{"stmt.Exec", "INSERT", mysql.ErrInvalidConn, single, "", unknown},
		{"stmt.Query", "SELECT", mysql.ErrInvalidConn, single, "", unknown},
		{"conn.Exec", "INSERT", mysql.ErrInvalidConn, single, "", unknown},
		{"tx.Exec", "INSERT", mysql.ErrInvalidConn, single, "", unknown},
		{"commit", "", mysql.ErrInvalidConn, single, "", unknown},
		{"rollback", "", mysql.ErrInvalidConn, single, "", itself},
		{"begin", "", mysql.ErrInvalidConn, single, "", moves},
		{"db.Exec", "INSERT", errLeaving, single, "", unknown},
		{"commit", "", errLeaving, single, "", unknown},
		{"db.Exec", "INSERT", errShutdown, single, "", itself},
		// the same, but allowed to run again
		{"db.Exec", "INSERT", mysql.ErrInvalidConn, single, "call", moves},
		{"db.Exec", "INSERT", errLeaving, single, "call", moves},
		{"db.Query", "SELECT", errShutdown, single, "call", moves},
		{"stmt.Exec", "INSERT", mysql.ErrInvalidConn, single, "call", moves},
		{"tx.Exec", "INSERT", mysql.ErrInvalidConn, single, "call", unknown},
		{"tx stmt", "INSERT", mysql.ErrInvalidConn, single, "call", unknown},
		{"commit", "", mysql.ErrInvalidConn, single, "cluster", unknown},
		{"after BEGIN", "INSERT", mysql.ErrInvalidConn, single, "call", unknown},
		{"conn.Exec", "INSERT", mysql.ErrInvalidConn, single, "call", surfaces},
		{"db.Query", "SELECT", mysql.ErrInvalidConn, single, "cluster", moves},
		{"db.Query", "SELECT", mysql.ErrInvalidConn, opaque, "cluster", moves},
		{"db.Query", "SELECT; DELETE", mysql.ErrInvalidConn, opaque, "cluster", unknown},
		{"stmt.Query", "WITH a AS (SELECT 1) SELECT", mysql.ErrInvalidConn, opaque, "cluster", moves},
		{"db.Query", "WITH a AS (SELECT 1) DELETE", mysql.ErrInvalidConn, single, "cluster", unknown},
		{"db.Query", "INSERT INTO t VALUES (1) RETURNING id", mysql.ErrInvalidConn, single, "cluster", unknown},
		{"stmt.Query", "INSERT INTO t VALUES (1) RETURNING id", mysql.ErrInvalidConn, single, "cluster", unknown},
		{"db.Exec", "SELECT", mysql.ErrInvalidConn, single, "cluster", unknown},
		{"stmt.Exec", "SELECT", mysql.ErrInvalidConn, single, "cluster", unknown},
		{"tx.Query", "SELECT", mysql.ErrInvalidConn, single, "cluster", unknown},
		// errors that say nothing about the node
		{"db.Exec", "INSERT", errReadOnly1290, single, "call", itself},
		{"db.Exec", "INSERT", errBoom, single, "call", itself},
		{"db.Query", "SELECT", context.Canceled, single, "call", itself},
		{"db.Query", "SELECT", context.DeadlineExceeded, single, "cluster", itself},
	}
	for _, tc := range cases {
		name := fmt.Sprintf("%s %q %v %+v %s", tc.way, tc.query, tc.err, tc.is, tc.marks)
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newBench(t, tc.is, WithIdempotent(tc.marks == "cluster"))
				s.query, s.err = tc.query, tc.err
				if tc.marks == "call" {
					s.ctx = Idempotent(s.ctx)
				}
				err := ways[tc.way](s)
				s.judge(tc.want, err)
				synctest.Wait()
				// A KILLed session has the error of a shutdown: it retires alone.
				explicit := tc.err == errNotReady || tc.err == errLeaving
				status := s.d.Status().Nodes[0]
				if got := status.Generation; (got != 0) != explicit || got > 1 {
					t.Errorf("generation %d", got)
				}
				if closed := s.b.Node("n1").Stats().Closes; closed == 0 && (explicit || tc.err == errShutdown || tc.want != itself) {
					t.Error("the conn was not retired")
				}
			})
		})
	}
}

func (s *bench) judge(want outcomeWanted, err error) {
	s.t.Helper()
	runs := map[bool]int{false: 1, true: 2}[want == moves]
	if s.runs != runs {
		s.t.Errorf("run %d times, want %d", s.runs, runs)
	}
	var node *NodeError
	ours := errors.As(err, &node)
	switch {
	case want == moves && err != nil, want != moves && err == nil, (want == itself || want == plain) && err != s.err,
		ours != (want == unknown || want == hidden || want == surfaces),
		errors.Is(err, ErrUnknownOutcome) != (want == unknown),
		errors.Is(err, driver.ErrBadConn) != (want == surfaces || want == plain):
		s.t.Errorf("%v (%T), want it to be: %s", err, err, want)
	case ours && (node.Node != "n1" || !strings.Contains(err.Error(), s.err.Error())):
		s.t.Errorf("%v does not name node and cause", err)
	case ours && !errors.Is(s.err, driver.ErrBadConn) && (errors.Unwrap(err) != s.err || !errors.Is(err, s.err)):
		s.t.Errorf("%v does not unwrap to the backend's error", err)
	}
	var number *mysql.MySQLError
	if errors.As(s.err, &number) && err != nil && !errors.As(err, &number) {
		s.t.Errorf("the backend's error is not found in %v", err)
	}
}

// A refusal while preparing, and one of a statement that was prepared before,
// are as invisible to the caller as other refusals.
func TestRefusedPrepareMovesUnseen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newBench(t, dialect.Session{})
		before, err := s.db.Prepare("INSERT INTO t VALUES (?)")
		if err != nil {
			t.Fatal(err)
		}
		fillPool(t, s.db, 4)
		s.b.Node("n1").SetHealth(errNotReady, 0, false)
		stmt, err := s.db.Prepare("SELECT ?")
		if err != nil {
			t.Fatal(err)
		}
		var node string
		if err := stmt.QueryRow(1).Scan(&node); err != nil || node != "n2" {
			t.Errorf("%q, %v", node, err)
		}
		if _, err := before.Exec(1); err != nil {
			t.Error(err)
		}
		before.Close()
		stmt.Close()
	})
}

// After a connection is lost in a transaction, the Commit is not sent. Only the
// statement's outcome is unknown.
func TestOnlyWhatWasSentMayHaveRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newBench(t, dialect.Session{})
		tx, err := s.db.Begin()
		if err != nil {
			t.Fatal(err)
		}
		s.b.Node("n1").SetHealth(mysql.ErrInvalidConn, 0, false)
		if _, err := tx.Exec("INSERT"); !errors.Is(err, ErrUnknownOutcome) {
			t.Errorf("the statement: %v", err)
		}
		if err := tx.Commit(); err != mysql.ErrInvalidConn {
			t.Errorf("the Commit: %v", err)
		}
	})
}

// A backend may answer with the same error for ever once its connection is lost.
// The first statement may have run. The next one was not sent, and the sql.Conn
// gives the connection up, also if it was pinned.
func TestConnOfALostConnectionIsGone(t *testing.T) {
	for _, before := range []string{"SELECT 1", "BEGIN"} {
		for _, lost := range []error{io.EOF, driver.ErrBadConn} {
			synctest.Test(t, func(t *testing.T) {
				s := newBench(t, dialect.Session{})
				conn, err := s.db.Conn(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				if _, err := conn.ExecContext(t.Context(), before); err != nil {
					t.Fatal(err)
				}
				stmt, err := conn.PrepareContext(t.Context(), "INSERT INTO t VALUES (1)")
				if err != nil {
					t.Fatal(err)
				}
				defer stmt.Close()
				runs := 0
				s.b.Node("n1").OnStatement(func(context.Context, string, []driver.NamedValue) error { runs++; return lost })
				if lost == io.EOF {
					if _, err := conn.ExecContext(t.Context(), "INSERT INTO t VALUES (1)"); !errors.Is(err, ErrUnknownOutcome) || errors.Is(err, driver.ErrBadConn) {
						t.Errorf("the first: %v", err)
					}
				}
				before := runs
				if _, err := stmt.ExecContext(t.Context()); !errors.Is(err, sql.ErrConnDone) || runs != before+1 { // database/sql asks once more after a driver.ErrBadConn
					t.Errorf("the second: %v after %d calls", err, runs-before)
				}
				if err := conn.PingContext(t.Context()); !errors.Is(err, sql.ErrConnDone) {
					t.Errorf("the third: %v", err)
				}
			})
		}
	}
}

// After a timeout of its own a backend may go on with the connection: then a
// Commit whose connection is lost was sent, and may have run.
func TestCommitAfterATimeoutMayHaveRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newBench(t, dialect.Session{})
		tx, err := s.db.Begin()
		if err != nil {
			t.Fatal(err)
		}
		s.b.Node("n1").SetHealth(&net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, 0, false)
		if _, err := tx.Exec("INSERT"); !errors.Is(err, ErrUnknownOutcome) {
			t.Errorf("the statement: %v", err)
		}
		s.b.Node("n1").SetHealth(io.ErrUnexpectedEOF, 0, false)
		if err := tx.Commit(); !errors.Is(err, ErrUnknownOutcome) {
			t.Errorf("the Commit: %v", err)
		}
	})
}

// LOAD DATA LOCAL reads from a reader or file of the program. go-sql-driver
// passes an error of that on, and its connection goes on. The same error with a
// connection that has ended is the connection's.
func TestErrorOfAProgramsReaderIsTheStatements(t *testing.T) {
	const load = "LOAD DATA LOCAL INFILE 'Reader::r' INTO TABLE t"
	for _, own := range []error{
		io.ErrUnexpectedEOF, // of a gzip.Reader
		&net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)}, // of an HTTP body
		&net.OpError{Op: "read", Net: "tcp", Err: os.ErrDeadlineExceeded},
	} {
		for _, ends := range []bool{false, true} {
			for _, closes := range []bool{false, true} {
				t.Run(fmt.Sprintf("%v,ends=%t,closes=%t", own, ends, closes), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						s := newBench(t, dialect.Session{Single: true, Exact: true, Closes: closes})
						runs, before := 0, s.b.Stats().Closes
						s.b.Node("n1").OnStatement(func(_ context.Context, query string, _ []driver.NamedValue) error {
							if query != load {
								return nil
							}
							if runs++; ends {
								s.b.Node("n1").Break(own, false)
							}
							return own
						})
						_, err := s.db.ExecContext(t.Context(), load)
						lost := ends || !closes
						if !errors.Is(err, own) || errors.Is(err, ErrUnknownOutcome) != lost {
							t.Errorf("%v", err)
						}
						if !lost {
							if _, err := s.db.ExecContext(Idempotent(t.Context()), load); err != own || runs != 2 {
								t.Errorf("%v after %d runs", err, runs)
							}
							if s.b.Stats().Closes != before || s.d.Status().Nodes[0].State != StateUp {
								t.Errorf("%d connections closed; %+v", s.b.Stats().Closes-before, s.d.Status().Nodes[0])
							}
						}
					})
				})
			}
		}
	}
}

// What a caller's cancel or deadline breaks says nothing about the node,
// whatever error the backend returns.
func TestCallersDeadlineSaysNothing(t *testing.T) {
	for _, broken := range []error{io.ErrUnexpectedEOF, mysql.ErrInvalidConn, context.DeadlineExceeded} {
		synctest.Test(t, func(t *testing.T) {
			s := newBench(t, dialect.Session{})
			s.b.Node("n1").OnStatement(func(ctx context.Context, _ string, _ []driver.NamedValue) error {
				<-ctx.Done()
				return broken
			})
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			defer cancel()
			if _, err := s.db.ExecContext(ctx, "INSERT"); !errors.Is(err, broken) {
				t.Errorf("%v, want %v", err, broken)
			}
			synctest.Wait()
			if n := s.d.Status().Nodes[0]; n.State != StateUp || n.Generation != 0 || !n.LastError.IsZero() {
				t.Errorf("%v: %+v", broken, n)
			}
		})
	}
}

// A transaction that a prepared statement began is noticed too.
func TestPreparedBeginIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newBench(t, dialect.Session{Single: true})
		s.db.SetMaxOpenConns(1)
		begin, err := s.db.Prepare("BEGIN")
		if err != nil {
			t.Fatal(err)
		}
		defer begin.Close()
		if _, err := begin.Exec(); err != nil {
			t.Fatal(err)
		}
		s.query, s.err = "INSERT", errNotReady
		if _, err := s.db.Exec("INSERT"); err != errNotReady || s.runs != 1 {
			t.Errorf("%v after %d runs", err, s.runs)
		}
	})
}

// fixed returns settings that nobody replaces.
func fixed(cfg *Config) *atomic.Pointer[Config] {
	p := new(atomic.Pointer[Config])
	p.Store(cfg)
	return p
}

// The text of a NodeError is redacted. The backend's error that it wraps is
// unchanged.
func TestNodeErrorHoldsNoSecret(t *testing.T) {
	cfg := DefaultConfig()
	n := newNode("n", fixed(&cfg), NodeConfig{}, dialer{dialect: dialects.Generic{}, recipes: newRecipes(recipe{redact: redact.New("app:hunter22@tcp(h)/db", []string{"hunter22"}, true)})})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	n.life.Store(newLife(ctx, false))
	lost := fmt.Errorf("%w: app:hunter22@tcp(h)/db", io.ErrUnexpectedEOF)
	err := n.answer(session.Fault{Err: lost, Op: session.OpExec, Ctx: ctx}, winner{socket: new(socket.Slot)}).Err
	if !errors.Is(err, ErrUnknownOutcome) || !errors.Is(err, lost) || strings.Contains(err.Error(), "hunter22") {
		t.Error(err)
	}
}

// A node knows what its DSN does to every session, and what its driver
// promises.
func TestSessionOfANode(t *testing.T) {
	d := NewDriver(mysql.MySQLDriver{}, t.Name(), quiet)
	defer d.Close()
	if err := errors.Join(d.AddNode("n", "u:p@tcp(h)/db"), d.AddConnector("o", namedConnector{})); err != nil {
		t.Fatal(err)
	}
	wrapped := NewDriver(fakedb.New().Driver(), t.Name()+"2", quiet, WithDialect(DialectMySQL))
	defer wrapped.Close()
	if err := wrapped.AddNode("n", "u:p@tcp(h)/db"); err != nil {
		t.Fatal(err)
	}
	nodes := append(slices.Clone(*d.m.nodes.Load()), *wrapped.m.nodes.Load()...)
	for i, want := range []dialect.Session{{Single: true, Exact: true, Closes: true}, {Exact: true, Closes: true}, {Single: true, Exact: true}} {
		if got := nodes[i].session; got != want {
			t.Errorf("node %d: %+v, want %+v", i, got, want)
		}
	}
}
