package clustersql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/EnumApps/clustersql/internal/health"
	"github.com/EnumApps/clustersql/internal/session"
)

// ErrUnknownOutcome marks the error of a statement or a Commit that may have
// run: its connection was lost after it was sent, or its node left the group
// at the commit. The tree of such an error holds the backend's error too, and
// never a [driver.ErrBadConn]. clustersql and database/sql do not repeat it;
// see [Idempotent].
var ErrUnknownOutcome = errors.New("clustersql: it is not known whether the statement was run")

// A NodeError is the error of a statement or transaction where its node or
// its connection failed, and more is to be said than the backend did. Other
// errors of statements are passed on as they are.
//
// It unwraps to the backend's error. It is a [driver.ErrBadConn] where nothing
// was run, or where the statement may be run again: then database/sql has run
// it on another connection, or this was a sql.Conn, which has but one. It is
// an [ErrUnknownOutcome] where the statement may have run.
type NodeError struct {
	Node string
	Err  error // the backend's

	verdict session.Verdict
	class   health.Class
	text    string // Err's text, redacted
}

// Error gives the node, the redacted cause, and what it means.
func (e *NodeError) Error() string {
	meaning := ""
	switch {
	case e.verdict.Unknown:
		meaning = "; it is not known whether the statement was run"
	case e.verdict.Moves:
		meaning = "; another connection may be tried"
	}
	return fmt.Sprintf("clustersql: node %s: %s: %s%s", e.Node, e.class, e.text, meaning)
}

// Is reports whether the error is target; see [NodeError]. It is a
// [driver.ErrBadConn] only by clustersql's word, whatever the backend said.
func (e *NodeError) Is(target error) bool {
	switch target {
	case driver.ErrBadConn:
		return e.verdict.Moves
	case ErrUnknownOutcome:
		return e.verdict.Unknown
	}
	return e.verdict.Hides && errors.Is(e.Err, target)
}

// As finds the backend's errors where Unwrap has to hide them.
func (e *NodeError) As(target any) bool { return e.verdict.Hides && errors.As(e.Err, target) }

// Unwrap returns the backend's error, or nil where that is a
// [driver.ErrBadConn] that database/sql must not see.
func (e *NodeError) Unwrap() error {
	if e.verdict.Hides {
		return nil
	}
	return e.Err
}

// Idempotent returns a context whose statements may be run more than once.
// When a connection is lost outside a transaction before the first row, and
// when a node refuses a statement that may have run in part, database/sql
// then runs it again on another node instead of returning the error. It is
// for reads, and for writes that change nothing the second time. In a
// transaction and on a sql.Conn it has no effect.
func Idempotent(ctx context.Context) context.Context {
	return session.WithIdempotent(ctx)
}
