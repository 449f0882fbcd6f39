package clustersql

import (
	"slices"
	"sync"
	"time"

	"github.com/EnumApps/clustersql/internal/health"
)

// eventsKept is how many events a cluster remembers.
const eventsKept = 200

// statesKept is for how long a node's states are remembered, and changesKept how
// many changes of them at most.
const (
	statesKept  = 15 * time.Minute
	changesKept = 128
)

// A history remembers what lately happened in a cluster. Its memory is bounded,
// and taken when something happens.
type history struct {
	mu     sync.Mutex // guards what follows, and the past of every node; never held across a wait
	events []Event    // the last eventsKept; a ring once it is full
	seq    uint64     // of the latest event
}

// A past is what a history remembers of one node.
type past struct {
	states  []StateSince // oldest first, without the one in which it was added; so empty at first
	lost    bool         // there were older ones
	changes []StateChanges
	downs   uint64
	downFor time.Duration // of the times down that are over
}

// A StateSince is a state that a node came into.
type StateSince struct {
	State State     `json:"state"`
	Since time.Time `json:"since"`
}

// A NodeHistory is in which states a node was lately, the oldest first. The last
// one is its present state.
type NodeHistory struct {
	Node   string       `json:"node"`
	States []StateSince `json:"states"`
}

// StateChanges counts the changes of a node's state that had the same new state
// and the same cause; see [Event.Cause].
type StateChanges struct {
	To    State  `json:"to"`
	Cause string `json:"cause,omitempty"`
	Count uint64 `json:"count"`
}

// note remembers an event, and gives it its number.
func (t *tally) note(e *Event) {
	h := &t.cluster.history
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seq++
	e.Seq = h.seq
	if len(h.events) < eventsKept {
		h.events = append(h.events, *e)
	} else {
		h.events[(h.seq-1)%eventsKept] = *e
	}
	if e.Kind == EventState {
		t.past.note(e, t.added)
	}
}

// note remembers a change of state.
func (p *past) note(e *Event, added time.Time) {
	if e.To == StateDown {
		p.downs++
	}
	if e.From == StateDown {
		p.downFor += e.Time.Sub(p.current(added).Since)
	}
	p.states = append(p.states, StateSince{e.To, e.Time})
	old := max(0, len(p.states)-changesKept)
	for old+1 < len(p.states) && e.Time.Sub(p.states[old+1].Since) > statesKept {
		old++
	}
	p.states, p.lost = slices.Delete(p.states, 0, old), p.lost || old > 0
	i := slices.IndexFunc(p.changes, func(c StateChanges) bool { return c.To == e.To && c.Cause == e.Cause })
	if i < 0 {
		i, p.changes = len(p.changes), append(p.changes, StateChanges{To: e.To, Cause: e.Cause})
	}
	p.changes[i].Count++
}

// current returns the present state.
func (p *past) current(added time.Time) StateSince {
	if len(p.states) == 0 {
		return StateSince{StateUnknown, added}
	}
	return p.states[len(p.states)-1]
}

// all returns the states, the oldest first.
func (p *past) all(added time.Time) []StateSince {
	if p.lost {
		return slices.Clone(p.states)
	}
	return append([]StateSince{{StateUnknown, added}}, p.states...)
}

// fill fills in what a status says of the node's past.
func (t *tally) fill(s *NodeStatus, now time.Time) {
	t.cluster.history.mu.Lock()
	defer t.cluster.history.mu.Unlock()
	p := &t.past
	s.Changes = slices.Clone(p.changes)
	s.Downs, s.Downtime = p.downs, p.downFor
	if c := p.current(t.added); c.State == StateDown {
		s.Downtime += max(0, now.Sub(c.Since))
	}
}

// recent returns the events, oldest first.
func (h *history) recent() []Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.events) < eventsKept {
		return slices.Clone(h.events)
	}
	first := h.seq % eventsKept
	return slices.Concat(h.events[first:], h.events[:first])
}

// Events returns what lately happened in the cluster, the oldest first: at most
// the last 200 events. They are kept while the cluster is, also when it is not
// open, and those of removed nodes too. [Event.Seq] tells which ones are new since
// an earlier call.
func (d Driver) Events() []Event {
	if d.m == nil {
		return nil
	}
	return d.m.tally.history.recent()
}

// History returns in which states each node was in the last 15 minutes, sorted by
// name. Of a node that has changed very often it is only the last 128 changes.
func (d Driver) History() []NodeHistory {
	if d.m == nil {
		return nil
	}
	nodes := *d.m.nodes.Load()
	all := make([]NodeHistory, len(nodes))
	h := &d.m.tally.history
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, n := range nodes {
		all[i] = NodeHistory{n.name, n.tally.past.all(n.tally.added)}
	}
	return all
}

// Causes of events that are no class of an error.
const (
	causeCheck    = "check"          // a check has passed
	causeDrain    = "drain"          // the program drains the node
	causeUndrain  = "undrain"        // the program has ended that
	causeRemove   = "remove"         // the program has removed the node
	causeGroup    = "group"          // it is in another group than the nodes in use
	causeFailback = "failback_after" // that time is over
)

// causeOf returns the cause for what evidence does.
func causeOf(e *health.Evidence) string {
	if e.OK {
		return causeCheck
	}
	return e.Class.String()
}
