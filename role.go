package clustersql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

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
	switch r {
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
	case RequireStandby:
		if known = p.Role != health.RoleUnknown; p.Role == health.RolePrimary {
			return unfit(health.WrongRole, "the server is a primary")
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

// examineRole asks a connection for its part in replication, if somebody wants
// to know it. Of a probe the loop judges the answer, beside what the other nodes
// have said; any other connection must be to a node that is what is required.
func (c *Config) examineRole(ctx context.Context, d dialect.Dialect, conn driver.Conn) error {
	f := dialect.ReportOf(ctx)
	all, depth := f.Want&health.ScopeRole != 0, c.Require.depth()
	switch equal := f.View != nil && c.RoleQuery == ""; {
	case all && equal && !c.Require.strict(): // a Galera node: nothing is left to ask
		f.Saw |= health.ScopeRole
		f.Replication = &health.Replication{Role: health.RolePrimary, Equal: true}
		return nil
	case !all && !c.Require.strict():
		return nil
	case all && !equal && c.looksAtRoles():
		depth = dialect.DepthAll
	case all && !equal:
		depth = dialect.DepthStatus
	}
	switch err := c.askRole(ctx, d, conn, depth); {
	case err == nil:
	case c.Require != RequireAny:
		return fmt.Errorf("require %q: %w", string(c.Require), err)
	case c.looksAtRoles() || ctx.Err() != nil || !passes(health.Classify(err, d.Classify)):
		return err
	default: // the status does not have it
		f.Replication = nil
		return nil
	}
	if all {
		f.Saw |= health.ScopeRole
		return nil
	}
	return c.Require.misfit(f.Replication)
}

// passes reports whether an error is the answer of a node that works.
func passes(c health.Class) bool {
	return c == health.Neutral || c == health.Misconfigured || c == health.Saturated
}

// askRole notes in the Report of ctx what the dialect, role_query and lag_query
// say.
func (c *Config) askRole(ctx context.Context, d dialect.Dialect, conn driver.Conn, depth dialect.Depth) error {
	f := dialect.ReportOf(ctx)
	f.Replication = &health.Replication{}
	if c.RoleQuery == "" || c.LagQuery == "" && depth == dialect.DepthAll {
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

// readRole reads the answer to role_query: one row, with a word for the role and
// perhaps whether the node takes writes.
func readRole(p *health.Replication, rows [][]string) {
	p.Role, p.Access, p.Equal = health.RoleUnknown, health.AccessUnknown, false
	if len(rows) == 1 && len(rows[0]) > 0 {
		switch strings.ToLower(strings.TrimSpace(rows[0][0])) {
		case "primary":
			p.Role, p.Access = health.RolePrimary, health.AccessWrite
		case "standby", "replica":
			p.Role, p.Access = health.RoleReplica, health.AccessRead
		}
	}
	switch {
	case p.Role == health.RoleUnknown:
		p.Hidden = "role_query: the answer is not one row with \"primary\", \"standby\" or \"replica\""
	case len(rows[0]) < 2:
	case dialect.IsTrue(rows[0][1]):
		p.Access = health.AccessWrite
	default:
		p.Access = health.AccessRead
	}
}

// readLag reads the answer to lag_query: one row with a number of seconds. It
// replaces what the dialect knows of the lag.
func readLag(p *health.Replication, rows [][]string) {
	p.Position, p.Received, p.Stream, p.Told = nil, nil, health.StreamUnknown, false
	p.Hidden = "lag_query: the answer is not one row with a number of seconds"
	if len(rows) != 1 || len(rows[0]) == 0 {
		return
	}
	seconds, err := strconv.ParseFloat(strings.TrimSpace(rows[0][0]), 64)
	if err == nil && seconds >= 0 && seconds <= longestDelay.Seconds() {
		p.Said, p.Told, p.Hidden = time.Duration(seconds*float64(time.Second)), true, ""
	}
}

// A part is what is known of a node's part in replication, by one probe. It does
// not change.
type part struct {
	health.Replication
	at       time.Time
	lag      health.Lag
	known    health.Role // the last one that it told
	promoted time.Time   // when it was first seen as a primary after it was a replica
}

// role returns the role in a snapshot.
func (s *snapshot) role() health.Role {
	if s.part == nil {
		return health.RoleUnknown
	}
	return s.part.Role
}

// judgeRole looks at what a good probe says of the node's part in replication,
// beside what the other nodes say. It may become evidence against the node. Only
// run calls it.
func (n *node) judgeRole(e *health.Evidence) {
	if !e.OK || e.Saw&health.ScopeRole == 0 {
		return
	}
	if e.Replication == nil {
		n.loop.facts.part = nil
		return
	}
	fellows, now := n.fellows(), time.Now()
	p := n.noteRole(e.Replication, fellows, now)
	used := n.loop.health.State == health.Up || n.loop.health.State == health.Suspect
	against := func(c health.Class, text string) {
		e.Against(c, health.ScopeRole, fmt.Sprintf("%s: %s", c, text))
	}
	var unfit *health.Unfit
	switch rival, outranked := n.outranked(p, fellows); {
	case n.cfg.Groups != GroupsAny && p.Elsewhere(used, fellows):
		n.hold(against, "it has other data than most nodes (its system_identifier differs): held (groups = \"any\" uses both)")
	case outranked:
		n.hold(against, fmt.Sprintf("%s is the new primary: held until it is a standby", rival))
	case p.Unfit != "":
		against(health.NotReady, p.Unfit)
	case p.Outside(used, fellows):
		against(health.NotReady, "its replication group runs without it")
	case errors.As(n.cfg.Require.misfit(&p.Replication), &unfit):
		against(unfit.Class, unfit.Text)
	case n.cfg.MaxLag == 0:
	case !p.lag.Known:
		against(health.Lagging, "the lag is not known, and max_lag is set: "+p.lag.Why+p.fault())
	case p.lag.For > n.cfg.MaxLag:
		against(health.Lagging, fmt.Sprintf("further behind its primary than max_lag (%s)", n.cfg.MaxLag)+p.fault())
	}
}

// fault is the end of a reason: what the node says of its stream, if that is
// broken.
func (p *part) fault() string {
	if p.Fault == "" {
		return ""
	}
	return ": " + p.Fault
}

// noteRole publishes what the node says of itself, and tells of a new role.
func (n *node) noteRole(said *health.Replication, fellows []health.Fellow, now time.Time) *part {
	s := &n.loop.facts
	notes := n.note()
	p := &part{Replication: *said, at: now, lag: notes.lag.Next(said, fellows, notes.absent, now)}
	p.known = p.Role
	was := part{}
	if s.part != nil {
		was = *s.part
	}
	switch {
	case p.Role == health.RoleUnknown: // it may be between two roles
		p.known, p.promoted = was.known, was.promoted
	case p.Role != health.RolePrimary:
	case was.known == health.RoleReplica:
		p.promoted = now
	default:
		p.promoted = was.promoted
	}
	notes.succession = p.known == health.RolePrimary && (was.known != p.known || was.Timeline < p.Timeline)
	s.part, notes.outranked = p, false
	if was.known != p.known && was.known != health.RoleUnknown {
		n.emit(Event{Kind: EventRole, Role: Role(p.Role), Reason: fmt.Sprintf("%s, was %s", p.Role, was.known)})
	}
	n.tellHidden(p)
	return p
}

// tellHidden writes one line if the lag of a replica is wanted, and the node may
// not tell it.
func (n *node) tellHidden(p *part) {
	if n.note().hiddenTold || p.Role == health.RolePrimary || p.Hidden == "" || !n.cfg.looksAtRoles() {
		return
	}
	n.note().hiddenTold = true
	n.dial.log.print(slog.LevelWarn, "the node does not tell its lag", "reason", p.Hidden)
}

// hold makes a good probe evidence against a node that is held back because of
// its fellows, and tells of it once.
func (n *node) hold(against func(health.Class, string), text string) {
	against(health.WrongRole, text)
	if h := &n.loop.health; h.State != health.Down || h.Reason != fmt.Sprintf("%s: %s", health.WrongRole, text) {
		n.emit(Event{Kind: EventHeld, Reason: fmt.Sprintf("%s: %s", health.WrongRole, text)})
	}
}

// Role is the part that a node has in replication, as it says itself.
type Role uint8

const (
	// RoleUnknown is a node that does not say, or was not asked.
	RoleUnknown Role = iota
	// RolePrimary is a node that follows no other server. All nodes of a Galera
	// group are such nodes.
	RolePrimary
	// RoleReplica is a node that follows another server: a standby.
	RoleReplica
)

// String returns the role's name in lower case.
func (r Role) String() string {
	if r > RoleReplica {
		return fmt.Sprintf("Role(%d)", uint8(r))
	}
	return health.Role(r).String()
}

// Access says whether transactions on a node may write, as it says itself.
type Access uint8

const (
	// AccessUnknown is a node that does not say, or was not asked.
	AccessUnknown Access = iota
	// AccessReadWrite is a node that takes writes.
	AccessReadWrite
	// AccessReadOnly is a node that refuses writes.
	AccessReadOnly
)

// String returns libpq's word for it.
func (a Access) String() string {
	if a > AccessReadOnly {
		return fmt.Sprintf("Access(%d)", uint8(a))
	}
	return health.Access(a).String()
}
