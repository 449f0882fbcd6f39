// Package roles judges what a node says of its part in replication by what the
// settings of a cluster require and by what the other nodes say, and asks a connection
// for it.
//
// It has no goroutine, lock or clock. The root imports the package; it imports dialect
// and health.
package roles

import (
	"context"
	"database/sql/driver"
	"fmt"
	"time"

	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/health"
)

// Require is what a node must be, besides working. The words are those of the root's
// Require.
type Require string

const (
	Any           Require = ""
	ReadWrite     Require = "read-write"
	ReadOnly      Require = "read-only"
	Primary       Require = "primary"
	Standby       Require = "standby"
	PreferStandby Require = "prefer-standby"
	PreferPrimary Require = "prefer-primary"
	Writable      Require = "writable" // the older name of ReadWrite
)

// Writes reports whether a node that refuses a write is of no use.
func (r Require) Writes() bool { return r == ReadWrite || r == Writable }

// Strict reports whether a node that is something else is not used.
func (r Require) Strict() bool {
	return r != Any && r != PreferStandby && r != PreferPrimary
}

// Writers reports whether the cluster is for writes, or for what must be the newest.
func (r Require) Writers() bool { return r.Writes() || r == Primary }

// depth returns how much a connection must be asked for the judgement of Misfit.
func (r Require) depth() dialect.Depth {
	if r == Primary || r == Standby {
		return dialect.DepthRole
	}
	return dialect.DepthAccess
}

// Second reports whether a node with the role is used only while no node of the
// preferred role is up.
func (r Require) Second(role health.Role) bool {
	return r == PreferStandby && role != health.RoleReplica || r == PreferPrimary && role != health.RolePrimary
}

// Misfit returns an error for a node that is not what is required, and nil for
// one that is.
func (r Require) Misfit(p *health.Replication) error {
	unfit := func(c health.Class, what string) error {
		return &health.Unfit{Class: c, Text: fmt.Sprintf("require %q: %s", string(r), what)}
	}
	var known bool
	switch closed := p.Role == health.RoleUnknown && p.Access == health.AccessRead && p.Hidden == ""; r {
	case ReadWrite, Writable:
		if known = p.Access != health.AccessUnknown; p.Access == health.AccessRead {
			return unfit(health.ReadOnly, "the server takes no writes")
		}
	case ReadOnly:
		if known = p.Access != health.AccessUnknown; p.Access == health.AccessWrite {
			return unfit(health.WrongRole, "the server takes writes")
		}
	case Primary:
		if known = p.Role != health.RoleUnknown; p.Role == health.RoleReplica {
			return unfit(health.WrongRole, "the server is a standby")
		}
		if closed { // as in the middle of a promotion
			return unfit(health.WrongRole, "the server takes no writes")
		}
	case Standby:
		if known = p.Role != health.RoleUnknown; p.Role == health.RolePrimary {
			return unfit(health.WrongRole, "the server is a primary")
		}
		if closed {
			return unfit(health.WrongRole, "the server follows no other")
		}
	default:
		return nil
	}
	if known {
		return nil
	}
	what := "the server does not say what it is"
	if p.Hidden != "" {
		what += ": " + p.Hidden
	}
	return unfit(health.Misconfigured, what)
}

// Wanted is what a cluster wants of a node's part in replication. The fields are those
// of the root's Config.
type Wanted struct {
	Require             Require
	MaxLag              time.Duration
	RoleQuery, LagQuery string
	Unknown             bool // nobody knows the backend's database
	Mixed               bool // the nodes may be of several groups
}

// Looks reports whether every probe looks at the node's part in
// replication.
func (w *Wanted) Looks() bool {
	return w.Require != Any || w.MaxLag > 0 || w.RoleQuery != "" || w.LagQuery != ""
}

// needs returns how much a node must tell of its part in replication to be used.
// must is false if it need not tell anything.
func (w *Wanted) needs() (depth dialect.Depth, must bool) {
	switch {
	case w.MaxLag > 0, w.RoleQuery != "", w.LagQuery != "":
		return dialect.DepthAll, true
	case w.Require.Strict():
		return w.Require.depth(), true
	}
	return dialect.DepthAccess, false
}

// Examine asks a connection for its part in replication, if somebody wants
// to know it. Of a probe the loop judges the answer, beside what the other nodes
// have said; any other connection must be to a node that is what is required. A
// node that does not tell more than it must is not judged for that.
func (w *Wanted) Examine(ctx context.Context, d dialect.Dialect, conn driver.Conn) error {
	f := dialect.ReportOf(ctx)
	all, depth := f.Want&health.ScopeRole != 0, w.Require.depth()
	need, must := w.needs()
	equal, brief := f.View != nil && w.RoleQuery == "", f.Brief && need == dialect.DepthAccess
	switch {
	case all && equal && !w.Require.Strict(): // a Galera node: nothing is left to ask
		f.Saw |= health.ScopeRole
		f.Replication = &health.Replication{Role: health.RolePrimary, Equal: true}
		return nil
	case !all && !w.Require.Strict(), !must && f.Brief && !f.Member:
		return nil
	case all && !equal && (!w.Looks() || brief && f.Member):
		depth = dialect.DepthStatus
	case all && !equal && !brief:
		depth = dialect.DepthAll
	}
	if need > dialect.DepthAccess {
		f.Extra = nil // all of it must be told
	}
	if err := w.ask(ctx, d, conn, depth); err != nil {
		if ctx.Err() != nil || must && (need > dialect.DepthAccess || f.Replication.Access == health.AccessUnknown) || !f.Excuses(health.Classify(err, d.Classify)) {
			return w.explain(err)
		}
		if !must {
			f.Replication = nil // what it told before counts
			return nil
		}
	}
	switch p := f.Replication; {
	case all && !equal && brief:
		p.Hidden = "the server gave no answer when it was asked for more"
	case equal:
		if p.Equal = true; p.Role == health.RoleUnknown && p.Access != health.AccessRead {
			p.Role = health.RolePrimary
		}
	}
	if all {
		f.Saw |= health.ScopeRole
		return nil
	}
	return w.Require.Misfit(f.Replication)
}

// explain says for which setting the question was that got an error.
func (w *Wanted) explain(err error) error {
	if w.Require == Any {
		return err
	}
	return fmt.Errorf("require %q: %w", string(w.Require), err)
}

// ask notes in the Report of ctx what the dialect, role_query and lag_query
// say. A panic of the backend is an error.
func (w *Wanted) ask(ctx context.Context, d dialect.Dialect, conn driver.Conn, depth dialect.Depth) (err error) {
	f := dialect.ReportOf(ctx)
	defer f.Recover(&err)
	f.Replication = &health.Replication{}
	if _, must := w.needs(); !must {
		extra, done := dialect.Extra(ctx)
		defer done()
		ctx = extra
	}
	if w.asksDialect(d, depth) {
		if err := d.Replication(ctx, conn, depth); err != nil {
			return err
		}
	}
	p := f.Replication
	if w.RoleQuery != "" {
		f.Asked = true
		rows, err := d.Ask(ctx, conn, w.RoleQuery, 2)
		if err != nil {
			return fmt.Errorf("role_query: %w", err)
		}
		readRole(p, rows)
	}
	if w.LagQuery != "" && depth == dialect.DepthAll && p.Role != health.RolePrimary {
		f.Asked = true
		rows, err := d.Ask(ctx, conn, w.LagQuery, 2)
		if err != nil {
			return fmt.Errorf("lag_query: %w", err)
		}
		readLag(p, rows)
	}
	return nil
}

// asksDialect reports whether the queries of the program leave something to ask. A
// backend that nobody knows is asked as if it were mysql's only where the program
// says with its check that it is.
func (w *Wanted) asksDialect(d dialect.Dialect, depth dialect.Depth) bool {
	if w.Unknown {
		return w.RoleQuery == "" && w.Require != Any
	}
	return w.RoleQuery == "" || w.LagQuery == "" && depth == dialect.DepthAll
}
