package session

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql/internal/dialect"
	mysqldialect "github.com/EnumApps/clustersql/internal/mysql"

	"github.com/EnumApps/clustersql/internal/health"
	"github.com/EnumApps/clustersql/internal/sqltext"
)

// Whatever a server says in whatever operation, the error gets an existing
// class. Traffic gives only the classes that are meant for it. No statement
// that may have run moves unless the caller has allowed it.
func FuzzErrorClass(f *testing.F) {
	f.Add(uint16(1047), "08S01", "WSREP has not yet prepared node for application use", byte(1), "INSERT", byte(0))
	f.Add(uint16(1047), "08S01", "Unknown command", byte(2), "SELECT 1", byte(2))
	f.Add(uint16(1180), "HY000", "Got error 5 during COMMIT: Not connected to Primary Component", byte(6), "", byte(0))
	f.Add(uint16(1290), "HY000", "The MariaDB server is running with the --read-only option", byte(3), "CALL p()", byte(4))
	f.Add(uint16(0), "", "invalid connection", byte(4), "SELECT", byte(1))
	f.Fuzz(func(t *testing.T, number uint16, state, message string, op byte, query string, bits byte) {
		var err error = &mysql.MySQLError{Number: number, Message: message}
		if number == 0 {
			err = []error{mysql.ErrInvalidConn, driver.ErrBadConn, context.Canceled, errors.New(message)}[len(message)%4]
		} else {
			copy(err.(*mysql.MySQLError).SQLState[:], state)
		}
		if bits&1 != 0 {
			err = fmt.Errorf("around: %w", err)
		}
		known := mysqldialect.Dialect{}.Classify
		c := health.Classify(err, known)
		if c.String() == "" || number == 1047 && c == health.NotReady && !strings.Contains(strings.ToUpper(message), "WSREP") {
			t.Errorf("%v is %v", err, c)
		}
		writable := bits&2 != 0
		traffic := health.ClassifyTraffic(err, known, writable)
		if !slices.Contains([]health.Class{health.Neutral, health.NotReady, health.Leaving, health.Lost, health.ReadOnly}, traffic) || traffic == health.ReadOnly && !writable {
			t.Errorf("%v is %v in real traffic", err, traffic)
		}
		fault := Fault{Err: err, Class: traffic, Op: Operation(op % 7), query: query, Ctx: t.Context(),
			session: dialect.Session{Single: bits&4 != 0}, inTx: bits&8 != 0, pinned: bits&16 != 0, lost: bits&32 != 0}
		v := fault.Verdict(false, mysqldialect.Dialect{}.MayHaveRun)
		mayHaveRun := fault.runs() && (traffic == health.Lost && !fault.lost || traffic == health.Leaving || !sqltext.Whole(query))
		switch {
		case v.Moves && (fault.inTx || fault.pinned || sqltext.Leans(query) || mayHaveRun):
			t.Errorf("%+v moves", fault)
		case v.Moves && v.Unknown:
			t.Errorf("%+v moves though it may have run", fault)
		case v.Hides != (errors.Is(err, driver.ErrBadConn) && (repeated(fault) || v.Unknown)):
			t.Errorf("%+v: hides is %v", fault, v.Hides)
		}
	})
}

// repeated reports whether database/sql would run the statement again, in a
// transaction, at the sight of a driver.ErrBadConn: it is a Stmt of a Tx.
func repeated(f Fault) bool {
	return f.inTx && (f.Op == OpStmtExec || f.Op == OpStmtQuery)
}

// What a backend's driver.ErrBadConn in a transaction becomes. It is hidden
// only where database/sql would run the statement again.
func TestBadConnInATransaction(t *testing.T) {
	exact := dialect.Session{Exact: true}
	for _, tc := range []struct {
		f    Fault
		want Verdict
	}{
		{Fault{Op: OpIdle, inTx: true}, Verdict{}},
		{Fault{Op: OpExec, inTx: true}, Verdict{}},
		{Fault{Op: OpQuery, inTx: true}, Verdict{}},
		{Fault{Op: OpStmtExec, inTx: true}, Verdict{Hides: true}},
		{Fault{Op: OpStmtQuery, inTx: true, session: exact}, Verdict{Hides: true}},
		{Fault{Op: OpRollback, inTx: true}, Verdict{}},
		{Fault{Op: OpCommit, inTx: true}, Verdict{Unknown: true, Hides: true}},
		{Fault{Op: OpCommit, inTx: true, lost: true}, Verdict{}},
		{Fault{Op: OpCommit, inTx: true, session: exact}, Verdict{}},
		{Fault{Op: OpCommit, inTx: true, session: exact, cut: true}, Verdict{}},
	} {
		tc.f.Err, tc.f.Class, tc.f.Ctx = driver.ErrBadConn, health.Lost, t.Context()
		if got := tc.f.Verdict(false, func(error) bool { return false }); got != tc.want {
			t.Errorf("%+v: %+v, want %+v", tc.f, got, tc.want)
		}
	}
}

// A backend's driver.ErrBadConn says that nothing was sent. It is not believed
// if the cluster has closed the socket under a statement: then the statement
// may have run, and the caller is told so, unless it may run again.
func TestBadConnOfACutConnIsNotTrusted(t *testing.T) {
	for _, tc := range []struct {
		f    Fault
		want Verdict
	}{
		{Fault{Op: OpExec}, Verdict{Unknown: true, Hides: true}},
		{Fault{Op: OpStmtExec}, Verdict{Unknown: true, Hides: true}},
		{Fault{Op: OpQuery, query: "SELECT 1"}, Verdict{Unknown: true, Hides: true}},
		{Fault{Op: OpExec, Ctx: WithIdempotent(context.Background())}, Verdict{Moves: true}},
		{Fault{Op: OpExec, pinned: true}, Verdict{Unknown: true, Hides: true}},
		{Fault{Op: OpExec, inTx: true}, Verdict{Unknown: true, Hides: true}},
		{Fault{Op: OpExec, lost: true}, Verdict{}},
		{Fault{Op: OpStmtExec, lost: true, inTx: true}, Verdict{Hides: true}},
		{Fault{Op: OpIdle}, Verdict{}},
		{Fault{Op: OpCommit}, Verdict{Unknown: true, Hides: true}},
	} {
		if tc.f.Ctx == nil {
			tc.f.Ctx = context.Background()
		}
		tc.f.Err, tc.f.Class, tc.f.cut = driver.ErrBadConn, health.Lost, true
		if got := tc.f.Verdict(false, func(error) bool { return false }); got != tc.want {
			t.Errorf("%+v: %+v, want %+v", tc.f, got, tc.want)
		}
	}
}

// A Loose driver's driver.ErrBadConn is not believed outside a transaction of
// database/sql, which would run the statement again at its sight.
func TestBadConnOfALooseDriverIsNotTrusted(t *testing.T) {
	for _, tc := range []struct {
		f    Fault
		want Verdict
	}{
		{Fault{Op: OpExec}, Verdict{Unknown: true, Hides: true}},
		{Fault{Op: OpStmtQuery}, Verdict{Unknown: true, Hides: true}},
		{Fault{Op: OpExec, Ctx: WithIdempotent(context.Background())}, Verdict{Moves: true}},
		{Fault{Op: OpExec, pinned: true}, Verdict{Unknown: true, Hides: true}},
		{Fault{Op: OpExec, lost: true}, Verdict{}},
		{Fault{Op: OpExec, inTx: true}, Verdict{}},
		{Fault{Op: OpStmtExec, inTx: true}, Verdict{Hides: true}},
		{Fault{Op: OpIdle}, Verdict{}},
	} {
		if tc.f.Ctx == nil {
			tc.f.Ctx = context.Background()
		}
		tc.f.Err, tc.f.Class, tc.f.session = driver.ErrBadConn, health.Lost, dialect.Session{Loose: true}
		if got := tc.f.Verdict(false, func(error) bool { return false }); got != tc.want {
			t.Errorf("%+v: %+v, want %+v", tc.f, got, tc.want)
		}
	}
}

// On a connection that was lost before, nothing is sent. Outside a transaction
// of database/sql the next error of that kind is a driver.ErrBadConn, so that a
// sql.Conn gives the connection up.
func TestLostConnectionIsGivenUp(t *testing.T) {
	for _, tc := range []struct {
		f    Fault
		want Verdict
	}{
		{Fault{Op: OpExec, query: "INSERT INTO t VALUES (1)"}, Verdict{Moves: true}},
		{Fault{Op: OpExec, query: "INSERT INTO t VALUES (1)", pinned: true}, Verdict{Moves: true}},
		{Fault{Op: OpStmtQuery, query: "SELECT LAST_INSERT_ID()"}, Verdict{Moves: true}},
		{Fault{Op: OpIdle, pinned: true}, Verdict{Moves: true}},
		{Fault{Op: OpExec, inTx: true}, Verdict{}},
		{Fault{Op: OpStmtExec, inTx: true}, Verdict{}},
		{Fault{Op: OpRollback}, Verdict{}},
		{Fault{Op: OpCommit}, Verdict{}},
	} {
		tc.f.Err, tc.f.Class, tc.f.Ctx, tc.f.lost = io.EOF, health.Lost, t.Context(), true
		if got := tc.f.Verdict(false, func(error) bool { return false }); got != tc.want {
			t.Errorf("%+v: %+v, want %+v", tc.f, got, tc.want)
		}
		tc.f.Class = health.Neutral // it was not lost: such an error is the statement's
		if got := tc.f.Verdict(false, func(error) bool { return false }); got != (Verdict{}) {
			t.Errorf("%+v: %+v", tc.f, got)
		}
	}
}

// A statement that the server has not read, because the session had ended, moves
// whatever it is. In a transaction that ended too, and nobody may hide that.
func TestUnreadStatementMoves(t *testing.T) {
	gone := errors.New("the session was idle for too long")
	for _, tc := range []struct {
		f    Fault
		want Verdict
	}{
		{Fault{Op: OpExec, query: "INSERT INTO t VALUES (1)"}, Verdict{Moves: true}},
		{Fault{Op: OpExec, query: "CALL p()"}, Verdict{Moves: true}},
		{Fault{Op: OpStmtQuery, query: "SELECT 1"}, Verdict{Moves: true}},
		{Fault{Op: OpExec, query: "SELECT LASTVAL()"}, Verdict{}},
		{Fault{Op: OpExec, query: "INSERT INTO t VALUES (1)", pinned: true}, Verdict{}},
		{Fault{Op: OpExec, query: "INSERT INTO t VALUES (1)", inTx: true}, Verdict{}},
		{Fault{Op: OpCommit, inTx: true}, Verdict{}},
	} {
		tc.f.Err, tc.f.Class, tc.f.Ctx, tc.f.Unread = gone, health.Lost, t.Context(), true
		if got := tc.f.Verdict(false, func(error) bool { return false }); got != tc.want {
			t.Errorf("%+v: %+v, want %+v", tc.f, got, tc.want)
		}
	}
}

// Where a second statement needs a semicolon, a text without one is one
// statement, and moves if it is a whole one.
func TestOneStatementOfSeveralMoves(t *testing.T) {
	semicolons := dialect.Session{Postgres: true}
	for _, tc := range []struct {
		session dialect.Session
		op      Operation
		query   string
		moves   bool
	}{
		{semicolons, OpExec, "INSERT INTO t VALUES (1)", true},
		{semicolons, OpQuery, "INSERT INTO t VALUES (1) RETURNING id; ", true},
		{semicolons, OpExec, "INSERT INTO t VALUES (1); DELETE FROM u", false},
		{semicolons, OpExec, "INSERT INTO t VALUES ('a; b')", false}, // in doubt
		{semicolons, OpStmtExec, "INSERT INTO t VALUES ('a; b')", true},
		{semicolons, OpExec, "CALL p()", false},
		{dialect.Session{}, OpExec, "INSERT INTO t VALUES (1)", false},
	} {
		f := Fault{Err: errors.New("read-only"), Class: health.ReadOnly, Op: tc.op, query: tc.query, Ctx: t.Context(), session: tc.session}
		if got := f.Verdict(false, func(error) bool { return false }).Moves; got != tc.moves {
			t.Errorf("%s: moves is %v", tc.query, got)
		}
	}
}
