package clustersql

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/EnumApps/clustersql/internal/calls"
	"github.com/EnumApps/clustersql/internal/counts"
	"github.com/EnumApps/clustersql/internal/health"
	"github.com/EnumApps/clustersql/internal/hedge"
	"github.com/EnumApps/clustersql/internal/history"
	"github.com/EnumApps/clustersql/internal/jsonform"
	"github.com/EnumApps/clustersql/internal/logline"
	"github.com/EnumApps/clustersql/internal/seen"
)

// EventKind is the kind of an [Event].
type EventKind uint8

const (
	// EventState is a change of a node's state.
	EventState EventKind = iota
	// EventLost is about connections that broke while a statement used them, or
	// that the backend found broken.
	EventLost
	// EventRetired is about connections that the pool does not hand out again.
	// Work under way on them goes on.
	EventRetired
	// EventFailback is about a node that has been back for so long that it is
	// preferred again.
	EventFailback
	// EventCut is about connections whose sockets the cluster closed, while
	// calls may have been waiting on them.
	EventCut
	// EventHeld is about a node that answers again and is not used, because it
	// is in another Galera group than the nodes in use, has other data, or was
	// the primary before another node was promoted.
	EventHeld
	// EventRole is about a node that has another role than before; see Role.
	EventRole
	// EventDiscovery is about what was found, or about a source that gives no answer
	// any more. It has no node.
	EventDiscovery
	// EventReload is about what a reload or an Apply has changed, or why it has
	// changed nothing. It has no node.
	EventReload
)

var eventNames = [...]string{"state", "lost", "retired", "failback", "cut", "held", "role", "discovery", "reload"}

// String returns the kind's name in lower case.
func (k EventKind) String() string {
	if int(k) < len(eventNames) {
		return eventNames[k]
	}
	return fmt.Sprintf("EventKind(%d)", uint8(k))
}

// An Event is something that happened to a node. See [Config.OnEvent] and
// [Driver.Events].
type Event struct {
	// Seq is the number of the event in its cluster, from 1.
	Seq     uint64
	Time    time.Time
	Cluster string
	Node    string
	Kind    EventKind
	// Cause says in a word of a fixed list what led to it: a class of error, such
	// as "silent", or what the program or the cluster did, such as "drain" or
	// "rebalance". The manual has the list. Reason has the details.
	Cause string
	// From and To are the old and the new state of an EventState.
	From, To State
	// Role is the new role, in an EventRole.
	Role Role
	// Lag is how far the node is behind its primary, in an EventState about a node
	// that went down for that.
	Lag time.Duration
	// Conns is the number of connections, in events about connections.
	Conns int
	// Reason is the redacted reason. It is empty for a node that came up.
	Reason string
	// Dropped is the number of this node's events between the one before and
	// this one. They were dropped because [Config.OnEvent] had not returned for
	// too long.
	Dropped int
}

// callHook calls the program's hook with an event. If the hook panics,
// callHook recovers and logs that.
func (n *node) callHook(e *Event) {
	defer func() {
		if r := recover(); r != nil {
			n.dial.log.Print(logline.HookPanic, e.Kind.String(), n.dial.hide(fmt.Sprint(r)))
		}
	}()
	n.cfg().OnEvent(*e)
}

// emit logs an event, and calls the hook after the events before it. It waits
// for neither: they may take their time, or use this cluster. Only run calls
// it.
func (n *node) emit(e Event) {
	e.Time, e.Cluster, e.Node = time.Now(), n.dial.log.Cluster, n.name
	n.tally.note(&e)
	line, values := e.line()
	n.dial.log.Print(line, values...)
	if n.cfg().OnEvent == nil {
		return
	}
	dropped := n.hook.Put(func(dropped int) {
		e.Dropped = dropped
		n.callHook(&e)
	})
	if dropped == 1 {
		n.dial.log.Print(logline.HookHangs, calls.Room)
	}
}

// noteLoss emits an event about the first lost connection at once. It only
// counts further ones until the next probe; flushLosses emits these together.
// The reason is that a dying node loses hundreds of connections.
func (n *node) noteLoss(reason string) {
	n.loop.lossCount++
	n.loop.lossReason = reason
	if !n.loop.lossReported {
		n.loop.lossReported = true
		n.emitLosses()
	}
}

func (n *node) emitLosses() {
	if n.loop.lossCount > 0 {
		n.emit(Event{Kind: EventLost, Conns: n.loop.lossCount, Reason: n.loop.lossReason, Cause: health.Lost.String()})
		n.loop.lossCount = 0
	}
}

// flushLosses emits an event about the losses that are in no event yet. The
// next loss is then a first one again.
func (n *node) flushLosses() {
	n.emitLosses()
	n.loop.lossReported = false
}

// line returns the kind of the event's line, and the values of its attributes.
func (e *Event) line() (line *logline.Line, values []any) {
	switch e.Kind {
	case EventState:
		if values = []any{e.From.String(), e.Cause, e.Reason}; e.Lag > 0 {
			values = append(values, e.Lag.String())
		}
		return logline.State[e.To], values
	case EventHeld:
		return logline.Held, []any{e.Cause, e.Reason}
	case EventRole:
		return logline.Role, []any{e.Role.String(), e.Cause, e.Reason}
	case EventDiscovery:
		if e.Cause == causeUnanswered {
			return logline.Unanswered, []any{e.Reason}
		}
		return logline.Found, []any{e.Reason}
	case EventReload:
		if e.Cause == causeMistake {
			return logline.NotReloaded, []any{e.Reason}
		}
		return logline.Reloaded, []any{e.Reason}
	case EventFailback:
		return logline.Failback, []any{e.Cause, e.Reason}
	case EventCut:
		line = logline.Cut
	case EventRetired:
		line = logline.Retired
	default:
		line = logline.Lost
	}
	return line, []any{e.Conns, e.Cause, e.Reason}
}

// An eventJSON is an Event in JSON. What does not belong to the event's kind is
// left out.
type eventJSON struct {
	Seq     uint64           `json:"seq"`
	Time    time.Time        `json:"time"`
	Cluster string           `json:"cluster"`
	Node    string           `json:"node"`
	Kind    EventKind        `json:"kind"`
	Cause   string           `json:"cause,omitempty"`
	From    *State           `json:"from,omitempty"`
	To      *State           `json:"to,omitempty"`
	Role    *Role            `json:"role,omitempty"`
	Lag     jsonform.Seconds `json:"lag_seconds,omitempty"`
	Conns   int              `json:"conns,omitempty"`
	Reason  string           `json:"reason,omitempty"`
	Dropped int              `json:"dropped,omitempty"`
}

// MarshalJSON writes the event with the names that the manual has.
func (e Event) MarshalJSON() ([]byte, error) {
	out := eventJSON{
		Seq: e.Seq, Time: e.Time, Cluster: e.Cluster, Node: e.Node, Kind: e.Kind, Cause: e.Cause,
		Lag: jsonform.Seconds(e.Lag), Conns: e.Conns, Reason: e.Reason, Dropped: e.Dropped,
	}
	switch e.Kind {
	case EventState:
		out.From, out.To = &e.From, &e.To
	case EventRole:
		out.Role = &e.Role
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (e *Event) UnmarshalJSON(text []byte) error {
	var from, to State
	var role Role
	in := eventJSON{From: &from, To: &to, Role: &role}
	if err := json.Unmarshal(text, &in); err != nil {
		return fmt.Errorf("clustersql: an event: %w", err)
	}
	*e = Event{
		Seq: in.Seq, Time: in.Time, Cluster: in.Cluster, Node: in.Node, Kind: in.Kind, Cause: in.Cause,
		From: from, To: to, Role: role, Lag: time.Duration(in.Lag), Conns: in.Conns, Reason: in.Reason, Dropped: in.Dropped,
	}
	return nil
}

// MarshalText returns the kind's name.
func (k EventKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads the kind's name.
func (k *EventKind) UnmarshalText(text []byte) error {
	return jsonform.Word(k, EventKind(len(eventNames)-1), "kind of event", text)
}

// emit logs an event about the cluster, and calls the hook after the events of the
// cluster before it. It waits for neither.
func (m *manager) emit(e Event) {
	log := m.log
	log.Lines = &m.lines
	line, values := e.line()
	log.Print(line, values...)
	m.tell(e)
}

// tell is emit without a line in the log.
func (m *manager) tell(e Event) {
	e.Time, e.Cluster = time.Now(), m.name
	(&tally{cluster: &m.tally}).note(&e)
	log := m.log
	log.Lines = &m.lines
	if m.cfg().OnEvent == nil {
		return
	}
	m.hook.Put(func(dropped int) {
		defer func() {
			if r := recover(); r != nil {
				log.Print(logline.HookPanic, e.Kind.String(), redacted(*m.nodes.Load(), fmt.Sprint(r)))
			}
		}()
		e.Dropped = dropped
		m.cfg().OnEvent(e)
	})
}

// A tally is what is counted and remembered of one node, for whoever looks at its
// status. It begins with the node. Anyone may count and read.
type tally struct {
	counts.Node

	cluster *clusterTally               // immutable
	address atomic.Pointer[address]     // nil before the first look
	check   atomic.Pointer[ProbeResult] // the last probe; nil before the first
	past    history.Past                // guarded by the lock of the cluster's history

	seen   seen.Node                  // for the calls under ReadYourWrites
	hedges atomic.Pointer[hedge.Node] // nil before the first connection whose reads are hedged
}

// A clusterTally is what is counted and remembered of one cluster.
type clusterTally struct {
	counts.Cluster
	history history.Log[Event]
	hedges  hedge.Budget
	beside  func(context.Context, []launch) (winner, bool) // see manager.beside
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
	t.cluster.history.Note(func(seq uint64) Event {
		e.Seq = seq
		if e.Kind == EventState {
			t.past.Note(health.State(e.From), health.State(e.To), e.Cause, e.Time)
		}
		return *e
	})
}

// Events returns what lately happened in the cluster, the oldest first: at most
// the last 200 events. They are kept while the cluster is, also when it is not
// open, and those of removed nodes too. [Event.Seq] tells which ones are new since
// an earlier call.
func (d Driver) Events() []Event {
	if d.m == nil {
		return nil
	}
	return d.m.tally.history.Recent()
}

// History returns in which states each node was in the last 15 minutes, sorted by
// name. Of a node that has changed very often it is only the last 128 changes.
func (d Driver) History() []NodeHistory {
	if d.m == nil {
		return nil
	}
	nodes := *d.m.nodes.Load()
	all := make([]NodeHistory, len(nodes))
	d.m.tally.history.Look(func() {
		for i, n := range nodes {
			all[i].Node = n.name
			for _, s := range n.tally.past.States() {
				all[i].States = append(all[i].States, StateSince{State(s.State), s.Since})
			}
		}
	})
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

// These are the causes of an EventReload.
const (
	causeChanged = "changed"
	causeMistake = "mistake"
)

// These are the causes of an EventDiscovery.
const (
	causeFound      = "found"
	causeUnanswered = "unanswered"
)

// noteReload notes how a reload of the cluster ended, and tells that to emit.
func (m *manager) noteReload(diff Diff, err error, emit func(Event)) {
	m.setReload(len(diff.Changes), err)
	switch {
	case err != nil:
		emit(Event{Kind: EventReload, Cause: causeMistake, Reason: err.Error()})
	case len(diff.Changes) > 0:
		emit(Event{Kind: EventReload, Cause: causeChanged, Reason: diff.summary()})
	}
}
