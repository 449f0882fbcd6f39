package clustersql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/EnumApps/clustersql/internal/health"
	"github.com/EnumApps/clustersql/internal/sqltext"
)

// An operation is what was asked of a backend when it failed.
type operation uint8

const (
	opIdle   operation = iota // ping, reset, prepare, begin: nothing that changes data is run
	opExec                    // on the conn, without preparing
	opQuery                   // the same
	opStmt                    // a prepared statement's Exec
	opSelect                  // a prepared statement's Query
	opEnd                     // rollback
	opCommit
)

// Traits are what a node's DSN and its cluster say about every session on it.
type traits struct {
	single   bool // one call sends one statement: a "; b" at its end is refused
	manual   bool // autocommit is off: every statement is in a transaction
	writable bool // the cluster requires writable nodes
	exact    bool // the driver's ErrBadConn always means that nothing was sent
}

// A fault is an error of the backend, with all that decides what it means and
// what the caller gets.
type fault struct {
	err    error
	class  health.Class
	op     operation
	query  string          // the statement; empty where there is none
	ctx    context.Context // the caller's
	traits traits
	inTx   bool // in a transaction of database/sql's
	opened bool // maybe in one that a statement began
	lost   bool // the connection was lost before: nothing was sent
	left   bool // a caller has cancelled; what that broke says nothing about the node
	cut    bool // the cluster has closed the socket; see verdict
}

// A verdict is what becomes of a fault. The zero verdict passes the error on.
type verdict struct {
	moves   bool // the caller gets a driver.ErrBadConn: database/sql goes to another node
	unknown bool // the statement may have run
	hides   bool // the backend's driver.ErrBadConn must not be seen
}

// verdict judges a fault; idempotent is the cluster's setting. Nothing that
// may have run moves unless the caller allows it, and in a transaction
// nothing does: a Stmt of a Tx would be run again, on the same conn, without
// the statements before it.
//
// Of a transaction that a statement began database/sql knows nothing. The
// backend's own driver.ErrBadConn is left as it is there, as it would be
// without a cluster; it says that nothing was sent. Of a socket that was cut
// under a statement only go-sql-driver is believed: pgx says it of a statement
// that waits for its answer.
func (f fault) verdict(idempotent bool) verdict {
	bad := errors.Is(f.err, driver.ErrBadConn)
	doubt := bad && f.cut && f.runs() && !f.traits.exact
	unknown := f.runs() && (!bad || doubt) && (f.class == health.Lost && !f.lost || mysqlMayHaveRun(f.err))
	switch {
	case f.inTx, f.op == opEnd, f.op == opCommit:
		return verdict{unknown: unknown, hides: bad}
	case f.opened, bad && !doubt:
		return verdict{unknown: unknown, hides: doubt}
	}
	moves := false
	switch f.class {
	case health.NotReady, health.ReadOnly:
		moves = f.refused() || f.repeatable(idempotent)
	case health.Lost:
		moves = f.op == opIdle || f.repeatable(idempotent)
	case health.Leaving:
		moves = f.repeatable(idempotent)
	}
	return verdict{moves: moves, unknown: unknown && !moves, hides: doubt && !moves}
}

// explained makes an error of a conn whose socket was cut a lost connection,
// and puts the cause of the cut before it.
func (f fault) explained(cut error) fault {
	if cut != nil {
		f.cut, f.class, f.err = true, health.Lost, fmt.Errorf("%w: %w", cut, f.err)
	}
	return f
}

// runs reports whether the operation may change data.
func (f fault) runs() bool { return f.op != opIdle && f.op != opEnd }

// refused reports whether a refusal means that nothing was run.
func (f fault) refused() bool {
	switch f.op {
	case opIdle:
		return true
	case opExec, opQuery:
		return f.traits.single && sqltext.Whole(f.query)
	}
	return sqltext.Whole(f.query)
}

// repeatable reports whether the caller or the cluster allows that the
// statement is run again though it may have run.
func (f fault) repeatable(idempotent bool) bool {
	if isIdempotent(f.ctx) {
		return true
	}
	return idempotent && (f.op == opQuery && sqltext.Read(f.query, f.traits.single) || f.op == opSelect && sqltext.Read(f.query, true))
}

// failed tells the link of an error of the backend; the link says what the
// caller gets. driver.ErrSkip is a word between backend and database/sql, and
// what comes after a caller's cancel is that cancel's doing.
func (c *clusterConn) failed(ctx context.Context, op operation, query string, err error) error {
	if err == driver.ErrSkip {
		return err
	}
	f := fault{
		err: err, class: health.ClassifyTraffic(err, mysqlClass, c.link.traits.writable), op: op, query: query, ctx: ctx, traits: c.link.traits,
		inTx: c.inTx, opened: c.opened, lost: c.lost,
	}
	f.left = c.left || ctx.Err() != nil
	c.left = f.left || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
	c.lost = c.lost || f.class == health.Lost
	answer := c.link.report(f)
	if _, ours := answer.(*NodeError); ours {
		c.spent = true // database/sql may not see that from the answer
	}
	return answer
}

// ran notes whether a statement may have begun a transaction.
func (c *clusterConn) ran(query string, single bool) {
	if sqltext.MayBegin(query, single) {
		c.opened = true
	}
}
