package clustersql

import (
	"context"
	"database/sql/driver"
	"fmt"

	"github.com/EnumApps/clustersql/internal/conffile"
	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/health"
)

// Require is what a node must be, besides working, for a cluster to use it; see
// [Config.Require]. The words are those of libpq's target_session_attrs, and
// prefer-primary.
type Require string

const (
	// RequireAny accepts every node that works. In a file it may be written as
	// "any".
	RequireAny Require = ""
	// RequireReadWrite accepts only nodes on which transactions may write.
	RequireReadWrite Require = "read-write"
	// RequireReadOnly accepts only nodes on which transactions may not write.
	RequireReadOnly Require = "read-only"
	// RequirePrimary accepts only nodes that follow no other server.
	RequirePrimary Require = "primary"
	// RequireStandby accepts only nodes that follow another server.
	RequireStandby Require = "standby"
	// RequirePreferStandby accepts every node, and uses the others only while no
	// standby is up.
	RequirePreferStandby Require = "prefer-standby"
	// RequirePreferPrimary accepts every node, and uses the others only while no
	// primary is up.
	RequirePreferPrimary Require = "prefer-primary"
	// RequireWritable is the older name of RequireReadWrite.
	RequireWritable Require = "writable"
)

// UnmarshalText sets the value from its text in config.toml.
func (r *Require) UnmarshalText(text []byte) error {
	if string(text) == "any" {
		text = nil
	}
	return setChoice(r, text, Require.problem)
}

func (r Require) problem() error {
	switch r {
	case RequireAny, RequireReadWrite, RequireReadOnly, RequirePrimary, RequireStandby, RequirePreferStandby, RequirePreferPrimary, RequireWritable:
		return nil
	}
	return fmt.Errorf("there is no %s to require: use \"read-write\", \"read-only\", \"primary\", \"standby\", \"prefer-standby\" or \"prefer-primary\", or leave it out", conffile.Quote(string(r)))
}

// writes reports whether a node that refuses a write is of no use.
func (r Require) writes() bool { return r == RequireReadWrite || r == RequireWritable }

// strict reports whether a node that is something else is not used.
func (r Require) strict() bool {
	return r != RequireAny && r != RequirePreferStandby && r != RequirePreferPrimary
}

// writers reports whether the cluster is for writes, or for what must be the newest.
func (r Require) writers() bool { return r.writes() || r == RequirePrimary }

// depth returns how much a connection must be asked for the judgement of misfit.
func (r Require) depth() dialect.Depth {
	if r == RequirePrimary || r == RequireStandby {
		return dialect.DepthRole
	}
	return dialect.DepthAccess
}

// second reports whether a node with the role is used only while no node of the
// preferred role is up.
func (r Require) second(role health.Role) bool {
	return r == RequirePreferStandby && role != health.RoleReplica || r == RequirePreferPrimary && role != health.RolePrimary
}

// misfit returns an error for a node that is not what is required, and nil for
// one that is.
func (r Require) misfit(p *health.Replication) error {
	unfit := func(c health.Class, what string) error {
		return &health.Unfit{Class: c, Text: fmt.Sprintf("require %q: %s", string(r), what)}
	}
	var known bool
	switch closed := p.Role == health.RoleUnknown && p.Access == health.AccessRead && p.Hidden == ""; r {
	case RequireReadWrite, RequireWritable:
		if known = p.Access != health.AccessUnknown; p.Access == health.AccessRead {
			return unfit(health.ReadOnly, "the server takes no writes")
		}
	case RequireReadOnly:
		if known = p.Access != health.AccessUnknown; p.Access == health.AccessWrite {
			return unfit(health.WrongRole, "the server takes writes")
		}
	case RequirePrimary:
		if known = p.Role != health.RoleUnknown; p.Role == health.RoleReplica {
			return unfit(health.WrongRole, "the server is a standby")
		}
		if closed { // as in the middle of a promotion
			return unfit(health.WrongRole, "the server takes no writes")
		}
	case RequireStandby:
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

// looksAtRoles reports whether every probe looks at the node's part in
// replication.
func (c *Config) looksAtRoles() bool {
	return c.Require != RequireAny || c.MaxLag > 0 || c.RoleQuery != "" || c.LagQuery != ""
}

// needs returns how much a node must tell of its part in replication to be used.
// must is false if it need not tell anything.
func (c *Config) needs() (depth dialect.Depth, must bool) {
	switch {
	case c.MaxLag > 0, c.RoleQuery != "", c.LagQuery != "":
		return dialect.DepthAll, true
	case c.Require.strict():
		return c.Require.depth(), true
	}
	return dialect.DepthAccess, false
}

// examineRole asks a connection for its part in replication, if somebody wants
// to know it. Of a probe the loop judges the answer, beside what the other nodes
// have said; any other connection must be to a node that is what is required. A
// node that does not tell more than it must is not judged for that.
func (c *Config) examineRole(ctx context.Context, d dialect.Dialect, conn driver.Conn) error {
	f := dialect.ReportOf(ctx)
	all, depth := f.Want&health.ScopeRole != 0, c.Require.depth()
	need, must := c.needs()
	equal, brief := f.View != nil && c.RoleQuery == "", f.Brief && need == dialect.DepthAccess
	switch {
	case all && equal && !c.Require.strict(): // a Galera node: nothing is left to ask
		f.Saw |= health.ScopeRole
		f.Replication = &health.Replication{Role: health.RolePrimary, Equal: true}
		return nil
	case !all && !c.Require.strict(), !must && f.Brief:
		return nil
	case all && !equal && !c.looksAtRoles():
		depth = dialect.DepthStatus
	case all && !equal && !brief:
		depth = dialect.DepthAll
	}
	if need > dialect.DepthAccess {
		f.Extra = nil // all of it must be told
	}
	if err := c.askRole(ctx, d, conn, depth); err != nil {
		if ctx.Err() != nil || must && (need > dialect.DepthAccess || f.Replication.Access == health.AccessUnknown) || !f.Excuses(health.Classify(err, d.Classify)) {
			return c.explain(err)
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
	return c.Require.misfit(f.Replication)
}

// explain says for which setting the question was that got an error.
func (c *Config) explain(err error) error {
	if c.Require == RequireAny {
		return err
	}
	return fmt.Errorf("require %q: %w", string(c.Require), err)
}

// askRole notes in the Report of ctx what the dialect, role_query and lag_query
// say. A panic of the backend is an error.
func (c *Config) askRole(ctx context.Context, d dialect.Dialect, conn driver.Conn, depth dialect.Depth) (err error) {
	f := dialect.ReportOf(ctx)
	defer f.Recover(&err)
	f.Replication = &health.Replication{}
	if _, must := c.needs(); !must {
		extra, done := dialect.Extra(ctx)
		defer done()
		ctx = extra
	}
	if c.asksDialect(d, depth) {
		if err := d.Replication(ctx, conn, depth); err != nil {
			return err
		}
	}
	p := f.Replication
	if c.RoleQuery != "" {
		f.Asked = true
		rows, err := d.Ask(ctx, conn, c.RoleQuery, 2)
		if err != nil {
			return fmt.Errorf("role_query: %w", err)
		}
		readRole(p, rows)
	}
	if c.LagQuery != "" && depth == dialect.DepthAll && p.Role != health.RolePrimary {
		f.Asked = true
		rows, err := d.Ask(ctx, conn, c.LagQuery, 2)
		if err != nil {
			return fmt.Errorf("lag_query: %w", err)
		}
		readLag(p, rows)
	}
	return nil
}

// asksDialect reports whether the queries of the program leave something to ask. A
// backend that nobody knows is asked as if it were mysql's only where the program
// says with its check that it is; see suits.
func (c *Config) asksDialect(d dialect.Dialect, depth dialect.Depth) bool {
	if _, unknown := d.(generic); unknown {
		return c.RoleQuery == "" && c.Require != RequireAny
	}
	return c.RoleQuery == "" || c.LagQuery == "" && depth == dialect.DepthAll
}
