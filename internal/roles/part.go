package roles

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/EnumApps/clustersql/internal/health"
)

// A Part is what is known of a node's part in replication, by one probe. It does
// not change. The methods may be called on nil, of a node that has told nothing.
type Part struct {
	health.Replication
	At       time.Time
	Lag      health.Lag
	Told     *health.Replication // what it said when it last told its role; nil: it never did
	Since    time.Time           // since when it has had the role that it told last
	Promoted time.Time           // when it was first seen as a primary after it was a replica
}

// Taken returns the role, and since when the node has it.
func (p *Part) Taken() (role health.Role, since time.Time) {
	if p == nil {
		return health.RoleUnknown, time.Time{}
	}
	return p.Role, p.Since
}

// Grouped reports whether the node is set up for a group whose members decide who may
// serve.
func (p *Part) Grouped() bool { return p != nil && p.Group != "" }

// BriefFor returns how long nothing more than must be is asked after a question for more
// got no answer. Each costs the probe's connection. A member of a group may only be
// leaving it.
func (p *Part) BriefFor() time.Duration {
	if p.Grouped() {
		return 5 * time.Second
	}
	return time.Minute
}

// fault is the end of a reason: what the node says of its stream, if that is
// broken.
func (p *Part) fault() string {
	if p.Fault == "" {
		return ""
	}
	return ": " + p.Fault
}

// A Memory is what is remembered of a node's answers about replication.
type Memory struct {
	Verdict   *health.Unfit // what the last good probe showed against the node; nil: nothing
	BriefTill time.Time     // until then probes ask for no more than must be told
	Outranked bool          // its connections were given up for another node's promotion

	hidden bool // it was told that the node does not tell its lag
	lag    health.LagTracker
	rival  string // the node that was last found to be the new primary in place of this one
}

// Take returns the part of a node that says something of itself. before is its part so
// far, and h its state. unheard says that nothing was heard yet of a node that is none of
// fellows; both must come from one look. turned says that the role is another one than
// before, or the first. rivals says that the nodes which it may have taken the role from
// are to be asked: it is a primary now, or has seen that another node was promoted.
func (m *Memory) Take(said *health.Replication, before *Part, h *health.Health, fellows []health.Fellow, unheard bool, now time.Time) (p *Part, turned, rivals bool) {
	p = &Part{Replication: *said, At: now}
	if before != nil {
		p.Told, p.Since, p.Promoted = before.Told, before.Since, before.Promoted
		p.Replication = said.Completed(before.Told)
	}
	if h.State == health.Down && !h.Class.Unsuited() {
		m.lag.Missed()
	}
	p.Lag = m.lag.Next(&p.Replication, fellows, now)
	if begins := before == nil || !before.Lag.Known; begins && p.Role == health.RoleReplica && p.Stream == health.StreamBroken && unheard {
		p.Lag = health.Lag{Why: "it receives nothing, and not all nodes have been heard of"}
	}
	m.Outranked = false
	was := p.Told
	if p.Role == health.RoleUnknown {
		return p, false, false
	}
	p.Told = &p.Replication
	if was != nil && was.Role == p.Role {
		return p, false, p.Role == health.RoleReplica && p.Timeline > was.Timeline
	}
	p.Since, p.Promoted = now, time.Time{}
	if was != nil && p.Role == health.RolePrimary && health.Promotes(was, &p.Replication, health.Without(fellows, func(f health.Fellow) bool { return f.Silent })) {
		p.Promoted = now
	}
	return p, true, p.Role == health.RolePrimary && (was != nil || !p.Equal || p.Group != "") || was == nil && p.System != ""
}

// Hides reports whether a lag that is wanted is not told, once.
func (w *Wanted) Hides(m *Memory, p *Part) bool {
	if m.hidden || p.Role == health.RolePrimary && !p.Assumed || p.Hidden == "" || w.MaxLag == 0 && w.LagQuery == "" {
		return false
	}
	m.hidden = true
	return true
}

// Judge looks at a node's part beside those of its fellows, and sets the memory's
// Verdict. h is the node's state. held says that the node is held back because of what
// another one is.
func (w *Wanted) Judge(m *Memory, p *Part, h *health.Health, fellows []health.Fellow) (held bool) {
	used := h.State == health.Up || h.State == health.Suspect
	near := near(fellows)
	m.Verdict = nil
	against := func(c health.Class, text string) {
		m.Verdict = &health.Unfit{Class: c, Need: health.ScopeRole, Text: fmt.Sprintf("%s: %s", c, text)}
	}
	limit := w.MaxLag
	if h.State == health.Down && h.Class == health.Lagging {
		limit = limit * 4 / 5 // one that is about there is not taken in and out all the time
	}
	var unfit *health.Unfit
	switch why, outranked := w.Outranked(m, p, fellows); {
	case !w.Mixed && p.Elsewhere(used, near):
		against(health.WrongRole, "it has other data than most nodes (its system_identifier differs): held (groups = \"any\" uses both)")
		return true
	case outranked:
		against(health.WrongRole, why+": held until it is a standby")
		return true
	case p.Unfit != "":
		against(health.NotReady, p.Unfit)
	case p.Outside(used, near):
		against(health.NotReady, "its replication group runs without it")
	case errors.As(w.Require.Misfit(&p.Replication), &unfit):
		against(unfit.Class, unfit.Text)
	case w.MaxLag == 0:
	case !p.Lag.Known:
		against(health.Lagging, "the lag is not known, and max_lag is set: "+p.Lag.Why+p.fault())
	case p.Lag.For > limit:
		against(health.Lagging, fmt.Sprintf("further behind its primary than max_lag (%s)", w.MaxLag)+p.fault())
	}
	return false
}

// near returns the fellows that are not gone.
func near(fellows []health.Fellow) []health.Fellow {
	return health.Without(fellows, func(f health.Fellow) bool { return f.Gone })
}

// Outranked reports whether a node is an old primary, and why. In a cluster of
// writers, or one that bounds the lag, the new one counts whether it answers or not;
// else only fellows that are not gone do. A cluster that accepts every node looks at
// timelines only: several servers may be meant to take writes.
func (w *Wanted) Outranked(m *Memory, p *Part, fellows []health.Fellow) (why string, ok bool) {
	before := m.rival
	m.rival = ""
	if w.Mixed || p.Role != health.RolePrimary {
		return "", false
	}
	if !w.Require.Writers() && w.MaxLag == 0 {
		fellows = near(fellows)
	}
	if w.Require == Any {
		if p.Timeline == 0 {
			return "", false
		}
		fellows = health.Without(fellows, func(f health.Fellow) bool { return f.Replication.Timeline == 0 })
	}
	if rival, ok := p.Replication.Outranked(p.Promoted, fellows); ok {
		m.rival = rival.Name
		return rival.Name + " is the new primary", true
	}
	if follower, ok := p.Passed(before, fellows); ok {
		m.rival = follower.Name
		return fmt.Sprintf("%s is on timeline %d, and this primary on %d", follower.Name, follower.Replication.Timeline, p.Timeline), true
	}
	// The new primary may have become a replica of one that nobody has seen yet.
	i := slices.IndexFunc(fellows, func(f health.Fellow) bool { return f.Name == before })
	if i < 0 || p.Timeline != 0 || !p.FollowsAnother(fellows[i].Replication) {
		return "", false
	}
	m.rival = before
	return before + " was the new primary, and follows another one", true
}

// Miss turns the failure of a probe into evidence of an unknown lag, if the server
// does work and has not told its lag for longer than max_lag. The failure alone
// retires nothing.
func (w *Wanted) Miss(e *health.Evidence, p *Part, now time.Time) {
	if w.MaxLag == 0 || e.Class != health.Failed || !e.Spoke && !e.Goes || p == nil || p.Role == health.RolePrimary || now.Sub(p.At) <= w.MaxLag {
		return
	}
	e.Spent = !e.Goes
	e.Against(health.Lagging, health.ScopeRole, fmt.Sprintf("%s: the lag is not known, and max_lag is set: the server does not answer that", health.Lagging))
}
