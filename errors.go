package clustersql

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/EnumApps/clustersql/internal/health"
	"github.com/EnumApps/clustersql/internal/redact"
	"github.com/EnumApps/clustersql/internal/session"
)

var (
	// ErrNoNodes is returned by Connect and Open if the cluster has no node.
	// Add one with [Driver.AddNode]; later opens use it.
	ErrNoNodes = errors.New("clustersql: no nodes: add at least one with AddNode before the first query")

	// ErrClosed is returned by Connect after the connector's Close, by every
	// method of a closed [Driver] that returns an error, except Close, and by
	// opens that were under way at the close.
	ErrClosed = errors.New("clustersql: closed")

	// ErrAttemptTimeout is in the tree of an [AttemptError] whose node gave no
	// answer within attempt_timeout. The error that holds it also is a
	// [context.DeadlineExceeded].
	ErrAttemptTimeout = errors.New("no answer within attempt_timeout")
)

// errWon cancels the group's context when an attempt has won, and so releases
// its siblings.
var errWon = errors.New("another node won")

// An OpenError says why no node of a cluster gave a usable connection.
//
// It unwraps to the nodes' errors, the latest first, so that errors.As finds
// the backend's error. It never is a [driver.ErrBadConn], because database/sql
// would then try the open again on all nodes.
type OpenError struct {
	Cluster  string
	Attempts []AttemptError // the latest first
	// Cause is set if the open was given up because its context ended. It is
	// the caller's context error, or that of the open_timeout deadline.
	Cause error
}

// Error names every node with its state and the redacted cause. Opens that fail
// for the same causes give the same text, so that logs can be grouped by it: the
// nodes are in the order of their names, and times are only in Attempts.
func (e OpenError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "clustersql: cluster %q: no usable connection", e.Cluster)
	if e.Cause != nil {
		fmt.Fprintf(&b, " (%v)", e.Cause)
	}
	sep := ": "
	for _, a := range slices.SortedStableFunc(slices.Values(e.Attempts), byNode) {
		b.WriteString(sep)
		b.WriteString(a.Error())
		sep = "; "
	}
	return b.String()
}

func byNode(a, b AttemptError) int { return cmp.Compare(a.Node, b.Node) }

// Unwrap returns the errors of the nodes, the latest first. Cause follows if
// there is one.
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
	Since time.Time // when State began
	// NextCheck is when the node's next probe is due, or was due if that probe
	// is under way. It is zero if no probe is planned.
	NextCheck time.Time
	Took      time.Duration // from the request to the answer; 0 if the node was not asked
	// Err is the backend's own error, not redacted. It never is a
	// driver.ErrBadConn. The text of the AttemptError is redacted.
	Err error

	text string // Err's text, redacted
}

// Error gives the node, its state, and the class and the redacted text of the
// cause. They are the same whether the node was asked or was known to be down.
// Times are in the fields.
func (e AttemptError) Error() string { return fmt.Sprintf("%s (%s): %s", e.Node, e.State, e.text) }

// Unwrap returns the backend's error.
func (e AttemptError) Unwrap() error { return e.Err }

// An overdueError is the cause of the context of an attempt or probe when its
// deadline has passed. Every attempt makes one, so its text is made only when it
// is asked for.
type overdueError struct {
	probe bool
	after time.Duration // attempt_timeout; 0 for a probe, whose deadline follows the node's latency
}

// attemptTimeout returns an error that is both ErrAttemptTimeout and
// context.DeadlineExceeded.
func (n *node) attemptTimeout() error {
	after := n.cfg().AttemptTimeout
	e := n.timeout.Load()
	if e == nil || e.after != after {
		e = &overdueError{after: after}
		n.timeout.Store(e)
	}
	return e
}

// errProbeTimeout is the error for a probe. It is context.DeadlineExceeded.
var errProbeTimeout error = &overdueError{probe: true}

func (e *overdueError) Error() string {
	if e.probe {
		return fmt.Sprintf("no answer to a probe in time: %v", context.DeadlineExceeded)
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
// run: its connection was lost after it was sent, or its node left the group at
// the commit. A Commit that failed with a [driver.ErrBadConn] may have run,
// unless the driver says that only of what was never sent. The tree of such an error also holds the backend's error, and
// never a [driver.ErrBadConn]. clustersql and database/sql do not run the
// statement again; see [Idempotent].
var ErrUnknownOutcome = errors.New("clustersql: it is not known whether the statement was run")

// A panicError stands for a panic of the backend or of a check, or for a check
// that has ended its goroutine. It says nothing about the node's sessions.
type panicError struct{ text string }

func (e *panicError) Error() string { return e.text }

// A NodeError is the error of a statement or transaction whose node or
// connection failed, if clustersql has something to add to the backend's error.
// Other errors of statements are passed on unchanged.
//
// It unwraps to the backend's error. It is a [driver.ErrBadConn] if nothing was
// run, or if the statement may be run again. database/sql then runs the
// statement on another connection. If a program sees such an error all the
// same, database/sql has used up its tries, or the call was on a sql.Conn,
// which has only one connection. It is an [ErrUnknownOutcome] if the statement
// may have run.
type NodeError struct {
	Node string
	Err  error // the backend's own error, not redacted; the text is

	verdict session.Verdict
	class   health.Class
	text    string // Err's text, redacted
}

// Error gives the node, the redacted cause, and what that means for the
// statement.
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

// Is reports whether the error is target; see [NodeError]. Only clustersql's
// verdict decides whether it is a [driver.ErrBadConn], and not the backend's
// error.
func (e *NodeError) Is(target error) bool {
	switch target {
	case driver.ErrBadConn:
		return e.verdict.Moves
	case ErrUnknownOutcome:
		return e.verdict.Unknown
	}
	return e.verdict.Hides && errors.Is(e.Err, target)
}

// As finds the backend's errors in those cases in which Unwrap hides them.
func (e *NodeError) As(target any) bool { return e.verdict.Hides && errors.As(e.Err, target) }

// Unwrap returns the backend's error. It returns nil if that is a
// [driver.ErrBadConn] that database/sql must not see.
func (e *NodeError) Unwrap() error {
	if e.verdict.Hides {
		return nil
	}
	return e.Err
}

// ErrBehind is in the tree of the [NodeError] of a call under [ReadYourWrites] whose
// node does not have what the calls before have seen, within causal_timeout. Where
// another node may have it, it is a [driver.ErrBadConn] as well, and database/sql goes
// there. A program sees it if there is no other, or if none has it that database/sql has
// tried. Nothing was run then.
var ErrBehind = errors.New("the node does not have what calls before have seen")

// The types here print themselves. By its own means package fmt would print
// their fields, and with them errors and structs of the backend that hold
// secrets.

// format writes a text for a verb. %s, %q, %x and %X are as for a string. Every
// other verb writes the text as it is, whatever the flags.
func format(s fmt.State, verb rune, text string) {
	switch verb {
	case 's', 'q', 'x', 'X':
		fmt.Fprintf(s, fmt.FormatString(s, verb), text)
	default:
		io.WriteString(s, text)
	}
}

// Format prints the text of Error for every verb, so that nothing shows Err.
func (e OpenError) Format(s fmt.State, verb rune) { format(s, verb, e.Error()) }

// MarshalText returns the text of Error, so that a structured log shows nothing
// more.
func (e OpenError) MarshalText() ([]byte, error) { return []byte(e.Error()), nil }

// Format prints the text of Error for every verb, so that nothing shows Err.
func (e AttemptError) Format(s fmt.State, verb rune) { format(s, verb, e.Error()) }

// MarshalText returns the text of Error, so that a structured log shows nothing
// more.
func (e AttemptError) MarshalText() ([]byte, error) { return []byte(e.Error()), nil }

// Format prints the text of Error for every verb, so that nothing shows Err.
func (e NodeError) Format(s fmt.State, verb rune) { format(s, verb, e.Error()) }

// MarshalText returns the text of Error, so that a structured log shows nothing
// more.
func (e NodeError) MarshalText() ([]byte, error) { return []byte(e.Error()), nil }

// Format prints the name of the cluster and those of its nodes, for every verb.
func (d Driver) Format(s fmt.State, verb rune) { format(s, verb, d.text()) }

func (d Driver) text() string {
	if d.m == nil {
		return "clustersql: an empty Driver"
	}
	return fmt.Sprintf("clustersql: cluster %q with the nodes %s", d.m.name, names(d.m.names()))
}

// Format prints what the Driver prints.
func (c *connector) Format(s fmt.State, verb rune) { Driver{m: c.m}.Format(s, verb) }

// Format prints what the Driver prints.
func (c failedConnector) Format(s fmt.State, verb rune) { c.d.Format(s, verb) }

// Format prints the names of the clusters, for every verb.
func (r *Registry) Format(s fmt.State, verb rune) {
	format(s, verb, "clustersql: a Registry of the clusters "+names(r.Names()))
}

// noNodes returns ErrNoNodes, with the reason if the last node was refused.
func (m *manager) noNodes() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refused != nil {
		return fmt.Errorf("%w (the last one was refused: %w)", ErrNoNodes, m.refused)
	}
	if m.cfg().discovers() {
		return fmt.Errorf("%w (%w)", ErrNoNodes, m.finder.Err())
	}
	return ErrNoNodes
}

// refuse returns the error for a node that could not be added. It also
// remembers the error for opens that find no nodes, because programs may ignore
// what AddNode returns.
func (m *manager) refuse(name string, err error) error {
	err = m.wrong(name, err)
	m.mu.Lock()
	m.refused = err
	m.mu.Unlock()
	return err
}

// wrong returns an error about a node, with the names of the cluster and the node.
func (m *manager) wrong(name string, err error) error {
	if errors.Is(err, ErrClosed) {
		return err
	}
	return fmt.Errorf("clustersql: cluster %q: node %q: %w", m.name, m.shown(name), err)
}

// shown returns a name for texts. A DSN with a password is no name, and is not
// shown.
func (m *manager) shown(name string) string {
	if secrets, _ := m.cfg().dialectOf(m.backend).Secrets(name); len(secrets) > 0 || redact.HoldsPassword(name) {
		return redact.Mark
	}
	return name
}

// names returns a list of names for people.
func names(all []string) string {
	if len(all) == 0 {
		return "(none)"
	}
	return strings.Join(all, ", ")
}

// redacted returns a text of the program, such as the value of a panic, without
// the secrets of any node.
func redacted(nodes []*node, text string) string {
	for _, n := range nodes {
		text = n.dial.recipe().hide(text)
	}
	return text
}

// openError returns the error of an open without a winner. It lists every
// node's error, the latest first, and last the nodes that were not asked.
func (o *opening) openError(nodes []*node, cause error) error {
	failures := make([]*failure, 0, max(len(o.failures), len(nodes)))
	for _, f := range o.failures {
		failures = append(failures, f)
	}
	for _, n := range nodes {
		if _, asked := o.failures[n]; !asked {
			failures = append(failures, &failure{node: n, why: n.notAsked()})
		}
	}
	slices.SortFunc(failures, func(a, b *failure) int {
		return cmp.Or(b.at.Compare(a.at), cmp.Compare(a.node.name, b.node.name))
	})
	e := &OpenError{Cluster: o.m.name, Cause: cause, Attempts: make([]AttemptError, 0, len(failures))}
	for _, f := range failures {
		e.Attempts = append(e.Attempts, f.attemptError())
	}
	return e
}

// notAsked returns the error for a node that the open did not ask: what is
// known against it.
func (n *node) notAsked() *dialError {
	s := n.snapshot.Load()
	return stateError(s, cmp.Or(s.reason, "not asked"))
}

// stateError returns, with the given text, the error that took a node down or
// made it suspect.
func stateError(s *snapshot, text string) *dialError {
	why := &dialError{class: s.class, err: s.lastErr, text: text, reasoned: true}
	if why.err == nil || s.reason == "" {
		why.err = errors.New(text)
	}
	return why
}

func (f *failure) attemptError() AttemptError {
	s := f.node.snapshot.Load()
	e := AttemptError{
		Node: f.node.name, State: State(s.state), Since: s.since, NextCheck: s.nextCheck, Err: f.why.err,
		text: f.why.text,
	}
	if f.why.class != health.Neutral && !f.why.reasoned {
		e.text = f.why.reason()
	}
	if !f.asked.IsZero() {
		e.Took = f.at.Sub(f.asked)
	}
	return e
}
