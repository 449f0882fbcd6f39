package clustersql

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/EnumApps/clustersql/internal/conffile"
	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/dialects"
	"github.com/EnumApps/clustersql/internal/health"
	"github.com/EnumApps/clustersql/internal/logline"
	"github.com/EnumApps/clustersql/internal/roles"
)

// A part is what is known of a node's part in replication, by one probe. It does
// not change.
type part struct {
	health.Replication
	at       time.Time
	lag      health.Lag
	told     *health.Replication // what it said when it last told its role; nil: it never did
	since    time.Time           // since when it has had the role that it told last
	promoted time.Time           // when it was first seen as a primary after it was a replica
}

// A roleMemory is what a node's loop remembers of the answers about replication.
type roleMemory struct {
	lag        health.LagTracker
	verdict    *health.Unfit // what the last good probe showed against the node; nil: nothing
	briefTill  time.Time     // until then probes ask for no more than must be told
	hiddenTold bool          // the log has said that the node does not tell its lag
	outranked  bool          // its connections were given up for another node's promotion
	toldAlias  string        // the other name and the server that a log line has told of
}

// briefFor returns how long nothing more than must be is asked after the node did
// not answer such a question. Each of them costs the probe's connection. A member of
// a replication group may only be leaving it, and what it answers is old after that.
func (n *node) briefFor() time.Duration {
	if p := n.loop.facts.part; p != nil && p.Group != "" {
		return 5 * time.Second
	}
	return time.Minute
}

// memory returns the roleMemory of the loop.
func (l *loopState) memory() *roleMemory {
	if l.role == nil {
		l.role = new(roleMemory)
	}
	return l.role
}

// role returns the role in a snapshot.
func (s *snapshot) role() health.Role {
	if s.part == nil {
		return health.RoleUnknown
	}
	return s.part.Role
}

// chosen returns since when the node in a snapshot has had its role.
func (s *snapshot) chosen() time.Time {
	if s.part == nil {
		return time.Time{}
	}
	return s.part.since
}

// judgeRole looks at what a good probe says of the node's part in replication,
// beside what the other nodes say. It may become evidence against the node. Only
// run calls it.
func (n *node) judgeRole(e *health.Evidence) {
	if !e.OK || e.Saw&health.ScopeRole == 0 || e.Replication == nil {
		return
	}
	now := time.Now()
	fellows := n.fellows(now)
	p := n.noteRole(e.Replication, fellows, now)
	used := n.loop.health.State == health.Up || n.loop.health.State == health.Suspect
	near := without(fellows, func(f health.Fellow) bool { return f.Gone })
	m := n.loop.memory()
	m.verdict = nil
	against := func(c health.Class, text string) {
		m.verdict = &health.Unfit{Class: c, Need: health.ScopeRole, Text: fmt.Sprintf("%s: %s", c, text)}
		e.Against(c, health.ScopeRole, m.verdict.Text)
	}
	limit := n.cfg().MaxLag
	if n.loop.health.State == health.Down && n.loop.health.Class == health.Lagging {
		limit = limit * 4 / 5 // one that is about there is not taken in and out all the time
	}
	var unfit *health.Unfit
	switch rival, outranked := n.outranked(p, fellows, near); {
	case n.cfg().Groups != GroupsAny && p.Elsewhere(used, near):
		n.hold(against, "it has other data than most nodes (its system_identifier differs): held (groups = \"any\" uses both)")
	case outranked:
		n.hold(against, fmt.Sprintf("%s is the new primary: held until it is a standby", rival))
	case p.Unfit != "":
		against(health.NotReady, p.Unfit)
	case p.Outside(used, near):
		against(health.NotReady, "its replication group runs without it")
	case errors.As(n.cfg().Require.is().Misfit(&p.Replication), &unfit):
		against(unfit.Class, unfit.Text)
	case n.cfg().MaxLag == 0:
	case !p.lag.Known:
		against(health.Lagging, "the lag is not known, and max_lag is set: "+p.lag.Why+p.fault())
	case p.lag.For > limit:
		against(health.Lagging, fmt.Sprintf("further behind its primary than max_lag (%s)", n.cfg().MaxLag)+p.fault())
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

// missLag turns the failure of a probe into evidence of an unknown lag, if the server
// does work and has not told its lag for longer than max_lag. The failure alone
// retires nothing.
func (n *node) missLag(e *health.Evidence) {
	p := n.loop.facts.part
	if n.cfg().MaxLag == 0 || e.Class != health.Failed || !e.Spoke && !e.Goes || p == nil || p.Role == health.RolePrimary || time.Since(p.at) <= n.cfg().MaxLag {
		return
	}
	e.Spent = !e.Goes
	e.Against(health.Lagging, health.ScopeRole, fmt.Sprintf("%s: the lag is not known, and max_lag is set: the server does not answer that", health.Lagging))
}

// noteRole publishes what the node says of itself, and tells of a new role.
func (n *node) noteRole(said *health.Replication, fellows []health.Fellow, now time.Time) *part {
	s := &n.loop.facts
	p, before := &part{Replication: *said, at: now}, s.part
	if before != nil {
		p.told, p.since, p.promoted = before.told, before.since, before.promoted
		p.Replication = said.Completed(before.told)
	}
	p.lag = n.loop.memory().lag.Next(&p.Replication, fellows, now)
	if begins := before == nil || !before.lag.Known; begins && p.Role == health.RoleReplica && p.Stream == health.StreamBroken && n.unheard() {
		p.lag = health.Lag{Why: "it receives nothing, and not all nodes have been heard of"}
	}
	s.part, n.loop.memory().outranked = p, false
	n.tellHidden(p)
	was := p.told
	if p.Role == health.RoleUnknown {
		return p
	}
	p.told = &p.Replication
	if was != nil && was.Role == p.Role {
		return p
	}
	p.since, p.promoted = now, time.Time{}
	n.news.Touch() // the nodes may rebalance now
	if was != nil {
		if p.Role == health.RolePrimary && promotes(was, &p.Replication, without(fellows, func(f health.Fellow) bool { return f.Silent })) {
			p.promoted = now
		}
		n.emit(Event{Kind: EventRole, Role: Role(p.Role), Reason: fmt.Sprintf("%s, was %s", p.Role, was.Role), Cause: health.WrongRole.String()})
	}
	if p.Role == health.RolePrimary && (was != nil || !p.Equal) {
		n.askRivals()
	}
	return p
}

// unheard reports whether nothing was heard yet of another node.
func (n *node) unheard() bool {
	return slices.ContainsFunc(n.nodes(), func(other *node) bool {
		s := other.snapshot.Load()
		return other != n && s.state == health.Unknown && s.part == nil
	})
}

// askRivals wakes the nodes that were primaries when last asked: this one is now.
func (n *node) askRivals() {
	n.publish()
	for _, other := range n.nodes() {
		if other != n && other.snapshot.Load().role() == health.RolePrimary {
			other.checkNow()
		}
	}
}

// promotes reports whether a replica that is a primary now was promoted. One that
// took writes before may only be set up anew: it was promoted if there is no other
// primary. Of one that does not tell whom it follows nobody knows: it may only have
// been closed for a moment.
func promotes(was, now *health.Replication, fellows []health.Fellow) bool {
	switch {
	case was.Assumed || now.Assumed:
		return false
	case was.Access == health.AccessRead:
		return true
	}
	return !slices.ContainsFunc(fellows, func(f health.Fellow) bool { return f.Replication.Role == health.RolePrimary })
}

// tellHidden writes one line if the lag of a node is wanted, and the node does not
// tell it.
func (n *node) tellHidden(p *part) {
	wanted := n.cfg().MaxLag > 0 || n.cfg().LagQuery != ""
	if n.loop.memory().hiddenTold || p.Role == health.RolePrimary && !p.Assumed || p.Hidden == "" || !wanted {
		return
	}
	n.loop.memory().hiddenTold = true
	n.dial.log.Print(logline.Hidden, p.Hidden)
}

// hold makes a good probe evidence against a node that is held back because of
// its fellows, and tells of it once.
func (n *node) hold(against func(health.Class, string), text string) {
	against(health.WrongRole, text)
	reason := fmt.Sprintf("%s: %s", health.WrongRole, text)
	if h := &n.loop.health; h.State != health.Draining && (h.State != health.Down || h.Reason != reason) {
		n.emit(Event{Kind: EventHeld, Reason: reason, Cause: health.WrongRole.String()})
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

// is returns the requirement in the form in which it can be judged.
func (r Require) is() roles.Require { return roles.Require(r) }

// wanted returns what the cluster wants of a node's part in replication.
func (c *Config) wanted(d dialect.Dialect) *roles.Wanted {
	return &roles.Wanted{Require: c.Require.is(), MaxLag: c.MaxLag, RoleQuery: c.RoleQuery, LagQuery: c.LagQuery, Unknown: dialects.Unknown(d)}
}

// looksAtRoles reports whether every probe looks at the node's part in
// replication.
func (c *Config) looksAtRoles() bool { return c.wanted(nil).Looks() }
