package session

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"

	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/health"
	"github.com/EnumApps/clustersql/internal/sqltext"
)

// An Operation is what the backend was asked to do.
type Operation uint8

const (
	OpIdle      Operation = iota // ping, prepare, begin: runs nothing that changes data
	OpExec                       // Exec on the conn, without preparing
	OpQuery                      // Query on the conn, without preparing
	OpStmtExec                   // Exec of a prepared statement
	OpStmtQuery                  // Query of a prepared statement
	OpRollback
	OpCommit
	OpPool // the pool looks whether the conn can be used; else as OpIdle
)

// A Fault is an error of the backend, with all that decides what it means and
// what the caller gets.
type Fault struct {
	Err     error
	Class   health.Class
	Op      Operation
	query   string          // the statement; empty if there is none
	Ctx     context.Context // the caller's
	session dialect.Session
	inTx    bool // in a transaction that database/sql began
	pinned  bool // may be in a transaction that a statement began, or have other state in the session
	lost    bool // the connection was lost before: nothing was sent
	Left    bool // a caller has cancelled; errors that follow from that say nothing about the node
	Unread  bool // the server ended the session before it read the statement
	Intact  bool // a driver that closes lost connections says after a statement's error that this one goes on
	cut     bool // the cluster has closed the socket; see Verdict
}

// A Verdict is what is done with a Fault. The zero Verdict passes the error on.
type Verdict struct {
	Moves   bool // the caller gets a driver.ErrBadConn, and database/sql goes to another node
	Unknown bool // the statement may have run
	Hides   bool // the backend's driver.ErrBadConn must not be seen by database/sql
}

// Verdict decides what is done with a fault. idempotent is the cluster's
// setting. mayHaveRun is the dialect's.
//
// Nothing moves away from a session that may hold state, and no statement that
// asks for the state of its session. database/sql knows nothing of that state.
//
// The backend's own driver.ErrBadConn is hidden only where database/sql would
// run the statement again: for a Stmt of a Tx. Elsewhere in a transaction it is
// passed on, as it would be without a cluster. database/sql knows nothing of a
// transaction that a statement began; there too it is passed on.
//
// On a connection that was lost before, nothing was sent, and its session is
// gone with all its state. Only a sql.Conn or a sql.Tx still uses it, and neither
// repeats a statement at the sight of a driver.ErrBadConn. A sql.Conn gives the
// connection up then, also if the backend itself says another error for ever.
//
// driver.ErrBadConn says that nothing was sent, but not every driver keeps to
// that. lib/pq returns it for a Commit that waits for its answer, and pgx for a
// statement whose socket was cut. So if the driver is not Exact, a Commit may
// have run, and so may a statement whose socket was cut. A Loose driver's
// statement may have run in any case; in a transaction of database/sql nothing
// runs it again, and it is not committed. An Exact driver's Commit was not sent,
// and the server rolls back. pgx commits with the context of
// BeginTx: if that ends while the Commit waits, nobody knows what became of it.
func (f Fault) Verdict(idempotent bool, mayHaveRun func(error) bool) Verdict {
	bad := errors.Is(f.Err, driver.ErrBadConn)
	doubt := bad && f.runs() && !f.session.Exact && !f.lost && (f.cut || f.session.Loose && !f.inTx)
	unknown := f.runs() && (!bad || doubt) && (f.Class == health.Lost && !f.lost && !f.Unread || mayHaveRun(f.Err))
	switch {
	case f.Op == OpCommit:
		unknown = unknown || (bad && !f.lost || isLeave(f.Err) && !f.Left) && !f.session.Exact
		return Verdict{Unknown: unknown, Hides: bad && unknown}
	case f.inTx && (f.Op == OpStmtExec || f.Op == OpStmtQuery):
		return Verdict{Unknown: unknown, Hides: bad}
	case f.inTx, f.Op == OpRollback:
		return Verdict{Unknown: unknown, Hides: doubt}
	case f.lost && f.Class == health.Lost && !bad:
		return Verdict{Moves: true}
	case f.pinned, bad && !doubt, sqltext.Leans(f.query):
		return Verdict{Unknown: unknown, Hides: doubt}
	}
	moves := false
	switch f.Class {
	case health.NotReady, health.ReadOnly:
		moves = f.refused() || f.repeatable(idempotent)
	case health.Lost:
		moves = f.idle() || f.Unread || f.repeatable(idempotent)
	case health.Leaving:
		moves = f.repeatable(idempotent)
	}
	return Verdict{Moves: moves, Unknown: unknown && !moves, Hides: doubt && !moves}
}

// Explained adds the cause of a cut to the fault. If cut is not nil, the class
// is Lost, and the error's text begins with the cause.
func (f Fault) Explained(cut error) Fault {
	if cut != nil {
		f.cut, f.Class, f.Err = true, health.Lost, fmt.Errorf("%w: %w", cut, f.Err)
	}
	return f
}

// Bound reports whether the session may have a transaction or settings of its
// own.
func (f Fault) Bound() bool { return f.inTx || f.pinned }

// runs reports whether the operation may change data.
func (f Fault) runs() bool { return !f.idle() && f.Op != OpRollback }

// idle reports whether the operation runs nothing.
func (f Fault) idle() bool { return f.Op == OpIdle || f.Op == OpPool }

// refused reports whether a refusal by the server means that nothing was run.
func (f Fault) refused() bool {
	switch f.Op {
	case OpIdle, OpPool:
		return true
	case OpExec, OpQuery:
		return (f.session.Single || f.session.Postgres && sqltext.One(f.query)) && sqltext.Whole(f.query)
	}
	return sqltext.Whole(f.query)
}

// repeatable reports whether the caller or the cluster allows that a statement
// that may have run is run again.
func (f Fault) repeatable(idempotent bool) bool {
	if isIdempotent(f.Ctx) {
		return true
	}
	return idempotent && (f.Op == OpQuery && sqltext.Read(f.query, f.session.Single) || f.Op == OpStmtQuery && sqltext.Read(f.query, true))
}

// An Answer is what the link answers to a Fault.
type Answer struct {
	Err   error // what the caller gets
	Spent bool  // the conn is not to be used again; database/sql may not see that from Err
	Lost  bool  // the connection is gone
}

// failed reports an error of the backend to the link and returns what the
// caller gets. driver.ErrSkip is passed on unreported: it is a message of the
// backend to database/sql. An error that follows a caller's cancel is put down
// to that cancel.
func (c *conn) failed(ctx context.Context, op Operation, query string, err error) error {
	if err == driver.ErrSkip {
		return err
	}
	f := Fault{
		Err: err, Op: op, query: query, Ctx: ctx, session: c.link.Session,
		inTx: c.inTx, pinned: c.pinned, lost: c.lost,
	}
	f.Left = c.left || ctx.Err() != nil
	f.Intact = f.session.Closes && f.runs() && op != OpCommit && c.validator != nil && c.validator.IsValid()
	c.left = f.Left || isLeave(err)
	a := c.link.Report(f)
	c.lost = c.lost || a.Lost
	c.spent = c.spent || a.Spent
	return a.Err
}

// isLeave reports whether an error is that of a context. The methods of a
// backend's error may panic, those of a typed nil among them.
func isLeave(err error) (left bool) {
	defer func() { _ = recover() }()
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// mostHarmless is how long a statement may be that a conn keeps, in bytes.
const mostHarmless = 1024

// ran notes whether a statement may have begun a transaction, or left other
// state in the session. One that the backend skipped was not sent. Most programs send the
// same strings again and again: to compare them costs less than to look at them.
func (c *conn) ran(query string, single bool, err error) {
	if query != c.harmless && !c.pinned && err != driver.ErrSkip {
		c.pinned = sqltext.Pins(query, single) || c.link.Session.Postgres && sqltext.PinsPostgres(query)
		several := single != c.link.Session.Single && strings.IndexByte(query, ';') >= 0 // may be, where it is not prepared
		if !c.pinned && !several && len(query) <= mostHarmless {
			c.harmless = query
		}
	}
	if c.link.Hedging != nil && err != driver.ErrSkip {
		c.ranStatement(query)
	}
}

type idempotentKey struct{}

// WithIdempotent returns a context whose statements may be run more than once.
func WithIdempotent(ctx context.Context) context.Context {
	return context.WithValue(ctx, idempotentKey{}, true)
}

func isIdempotent(ctx context.Context) bool { return ctx.Value(idempotentKey{}) != nil }
