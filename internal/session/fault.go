package session

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/health"
	"github.com/EnumApps/clustersql/internal/sqltext"
)

// An operation is what was asked of a backend when it failed.
type Operation uint8

const (
	OpIdle      Operation = iota // ping, reset, prepare, begin: nothing that changes data is run
	OpExec                       // on the conn, without preparing
	OpQuery                      // the same
	OpStmtExec                   // a prepared statement's Exec
	OpStmtQuery                  // a prepared statement's Query
	OpRollback                   // rollback
	OpCommit
)

// A fault is an error of the backend, with all that decides what it means and
// what the caller gets.
type Fault struct {
	Err     error
	Class   health.Class
	Op      Operation
	query   string          // the statement; empty where there is none
	Ctx     context.Context // the caller's
	session dialect.Session
	inTx    bool // in a transaction of database/sql's
	pinned  bool // maybe in one that a statement began, or with other state of the session
	lost    bool // the connection was lost before: nothing was sent
	Left    bool // a caller has cancelled; what that broke says nothing about the node
	cut     bool // the cluster has closed the socket; see verdict
}

// A verdict is what becomes of a fault. The zero verdict passes the error on.
type Verdict struct {
	Moves   bool // the caller gets a driver.ErrBadConn: database/sql goes to another node
	Unknown bool // the statement may have run
	Hides   bool // the backend's driver.ErrBadConn must not be seen
}

// verdict judges a fault; idempotent is the cluster's setting. Nothing that
// may have run moves unless the caller allows it, and in a transaction
// nothing does: a Stmt of a Tx would be run again, on the same conn, without
// the statements before it.
//
// Of a transaction that a statement began database/sql knows nothing, nor of
// other state of the session. Nothing moves away from it, and no statement that
// asks for it. The backend's own driver.ErrBadConn is left as it is there, as
// it would be without a cluster; it says that nothing was sent. Of a socket
// that was cut under a statement only go-sql-driver is believed: pgx says it of
// a statement that waits for its answer.
func (f Fault) Verdict(idempotent bool, mayHaveRun func(error) bool) Verdict {
	bad := errors.Is(f.Err, driver.ErrBadConn)
	doubt := bad && f.cut && f.runs() && !f.session.Exact
	unknown := f.runs() && (!bad || doubt) && (f.Class == health.Lost && !f.lost || mayHaveRun(f.Err))
	switch {
	case f.inTx, f.Op == OpRollback, f.Op == OpCommit:
		return Verdict{Unknown: unknown, Hides: bad}
	case f.pinned, bad && !doubt, sqltext.Leans(f.query):
		return Verdict{Unknown: unknown, Hides: doubt}
	}
	moves := false
	switch f.Class {
	case health.NotReady, health.ReadOnly:
		moves = f.refused() || f.repeatable(idempotent)
	case health.Lost:
		moves = f.Op == OpIdle || f.repeatable(idempotent)
	case health.Leaving:
		moves = f.repeatable(idempotent)
	}
	return Verdict{Moves: moves, Unknown: unknown && !moves, Hides: doubt && !moves}
}

// explained makes an error of a conn whose socket was cut a lost connection,
// and puts the cause of the cut before it.
func (f Fault) Explained(cut error) Fault {
	if cut != nil {
		f.cut, f.Class, f.Err = true, health.Lost, fmt.Errorf("%w: %w", cut, f.Err)
	}
	return f
}

// runs reports whether the operation may change data.
func (f Fault) runs() bool { return f.Op != OpIdle && f.Op != OpRollback }

// refused reports whether a refusal means that nothing was run.
func (f Fault) refused() bool {
	switch f.Op {
	case OpIdle:
		return true
	case OpExec, OpQuery:
		return f.session.Single && sqltext.Whole(f.query)
	}
	return sqltext.Whole(f.query)
}

// repeatable reports whether the caller or the cluster allows that the
// statement is run again though it may have run.
func (f Fault) repeatable(idempotent bool) bool {
	if isIdempotent(f.Ctx) {
		return true
	}
	return idempotent && (f.Op == OpQuery && sqltext.Read(f.query, f.session.Single) || f.Op == OpStmtQuery && sqltext.Read(f.query, true))
}

// An answer is what becomes of a fault.
type Answer struct {
	Err   error // what the caller gets
	Spent bool  // the conn is not to be used again, and database/sql may not see that from err
	Lost  bool  // the connection is gone
}

// failed tells the link of an error of the backend, and returns what the caller
// gets. driver.ErrSkip is a word between backend and database/sql. What comes
// after a caller's cancel is that cancel's doing.
func (c *conn) failed(ctx context.Context, op Operation, query string, err error) error {
	if err == driver.ErrSkip {
		return err
	}
	f := Fault{
		Err: err, Op: op, query: query, Ctx: ctx, session: c.link.Session,
		inTx: c.inTx, pinned: c.pinned, lost: c.lost,
	}
	f.Left = c.left || ctx.Err() != nil
	c.left = f.Left || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
	a := c.link.Report(f)
	c.lost = c.lost || a.Lost
	c.spent = c.spent || a.Spent
	return a.Err
}

// ran notes whether a statement may have begun a transaction, or left other
// state in the session.
func (c *conn) ran(query string, single bool) {
	if !c.pinned && sqltext.Pins(query, single) {
		c.pinned = true
	}
}

type idempotentKey struct{}

// withIdempotent returns a context whose statements may be run more than once.
func WithIdempotent(ctx context.Context) context.Context {
	return context.WithValue(ctx, idempotentKey{}, true)
}

func isIdempotent(ctx context.Context) bool { return ctx.Value(idempotentKey{}) != nil }
