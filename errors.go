package clustersql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/EnumApps/clustersql/internal/health"
	"github.com/EnumApps/clustersql/internal/session"
)

var (
	// ErrNoNodes is returned by Connect and Open for a cluster that has no
	// node. Add one with [Driver.AddNode]; a later open then uses it.
	ErrNoNodes = errors.New("clustersql: no nodes: add at least one with AddNode before the first query")

	// ErrClosed is returned by Connect after the connector's Close, by every
	// method of a closed [Driver], and to opens that the close cut short.
	ErrClosed = errors.New("clustersql: closed")

	// ErrAttemptTimeout is in the tree of an [AttemptError] whose node gave
	// no answer within attempt_timeout. The same error also is a
	// [context.DeadlineExceeded].
	ErrAttemptTimeout = errors.New("no answer within attempt_timeout")
)

// errWon ends the siblings of the attempt that won.
var errWon = errors.New("another node won")

// An OpenError says why not one node of a cluster gave a usable connection.
//
// It unwraps to the nodes' errors, the latest first, so that errors.As finds
// the backend's error. It never is a [driver.ErrBadConn]: database/sql would
// take that as leave to open on all nodes again.
type OpenError struct {
	Cluster  string
	Attempts []AttemptError // the latest first
	// Cause is set when the open was given up before every node had answered:
	// the caller's context error, or a deadline of open_timeout.
	Cause error
}

// Error names every node with its state, the time its attempt took and the
// redacted cause.
func (e OpenError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "clustersql: cluster %q: no usable connection", e.Cluster)
	if e.Cause != nil {
		fmt.Fprintf(&b, " (%v)", e.Cause)
	}
	for i := range e.Attempts {
		sep := "; "
		if i == 0 {
			sep = ": "
		}
		b.WriteString(sep)
		b.WriteString(e.Attempts[i].Error())
	}
	return b.String()
}

// Unwrap returns the errors of the nodes, the latest first, and last the
// Cause if there is one.
func (e OpenError) Unwrap() []error {
	errs := make([]error, 0, len(e.Attempts)+1)
	for i := range e.Attempts {
		errs = append(errs, &e.Attempts[i])
	}
	if e.Cause != nil {
		errs = append(errs, e.Cause)
	}
	return errs
}

// An AttemptError is the failure of one node in one open.
type AttemptError struct {
	Node  string
	State State     // the node's state when the open ended
	Since time.Time // of State
	// NextCheck is when the node is to be tried next, by its probe, or when the
	// try under way began; zero where nothing is planned.
	NextCheck time.Time
	Took      time.Duration // from the request to the answer; 0 if it was not asked
	// Err is the backend's own error, never a driver.ErrBadConn, and is not
	// redacted; the AttemptError's text is.
	Err error

	text      string        // Err's text, redacted
	age, wait time.Duration // from Since and to NextCheck, when the open ended
}

// Error gives the node, its state and since when, how long its answer took,
// when it is tried next, and the redacted cause.
func (e AttemptError) Error() string {
	state := e.State.String()
	if e.State == StateDown {
		state += " for " + e.age.Round(time.Millisecond).String()
	}
	if e.Took > 0 {
		state += ", after " + e.Took.Round(time.Microsecond).String()
	}
	switch {
	case e.State != StateDown || e.NextCheck.IsZero():
	case e.wait > 0:
		state += ", next try in " + e.wait.Round(time.Millisecond).String()
	default:
		state += ", being tried"
	}
	return fmt.Sprintf("%s (%s): %s", e.Node, state, e.text)
}

// Unwrap returns the backend's error.
func (e AttemptError) Unwrap() error { return e.Err }

// MarshalText is Error, so that a structured log shows no more than that.
func (e AttemptError) MarshalText() ([]byte, error) { return []byte(e.Error()), nil }

// An overdueError is the cause of a context whose attempt or probe has had its
// time. It is made for every one of them, and worded for those that need it.
type overdueError struct {
	probe bool
	after time.Duration
}

// attemptTimeout is both ErrAttemptTimeout and context.DeadlineExceeded.
func attemptTimeout(d time.Duration) error { return &overdueError{after: d} }

// probeTimeout is attemptTimeout for a probe.
func probeTimeout(d time.Duration) error { return &overdueError{true, d} }

func (e *overdueError) Error() string {
	if e.probe {
		return fmt.Sprintf("no answer to a probe within %s: %v", e.after.Round(time.Millisecond), context.DeadlineExceeded)
	}
	return fmt.Sprintf("%v (%s): %v", ErrAttemptTimeout, e.after, context.DeadlineExceeded)
}

func (e *overdueError) Unwrap() []error {
	if e.probe {
		return []error{context.DeadlineExceeded}
	}
	return []error{ErrAttemptTimeout, context.DeadlineExceeded}
}

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
