package statuspage

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/EnumApps/clustersql"
)

// seenEvents are the events of a cluster, and for each the version of the page
// that first had it.
type seenEvents struct {
	cluster  string
	events   []clustersql.Event
	versions []uint64
}

// An eventData is an event as the page and its script get it.
type eventData struct {
	Level   string `json:"level"`
	Shape   string `json:"shape"`
	Stamp   string `json:"stamp"` // for machines
	Time    string `json:"time"`
	Cluster string `json:"cluster"`
	Node    string `json:"node"`
	Text    string `json:"text"`

	at time.Time
}

// seen returns the events of a cluster with their versions. before are those of
// the frame before. The numbers of a cluster's events have no gap.
func seen(c *Cluster, before seenEvents, version uint64) (all seenEvents, changed bool) {
	all = seenEvents{c.Status.ID, c.Events, make([]uint64, len(c.Events))}
	for i := range c.Events {
		all.versions[i] = version
		if len(before.events) > 0 && c.Events[i].Seq >= before.events[0].Seq {
			if old := int(c.Events[i].Seq - before.events[0].Seq); old < len(before.versions) {
				all.versions[i] = before.versions[old]
				continue
			}
		}
		changed = true
	}
	return all, changed
}

// eventsAfter returns the events that a page does not have which has shown a
// version, oldest first.
func (f *frame) eventsAfter(version uint64) []eventData {
	all := []eventData{}
	for _, s := range f.events {
		for i := range s.events {
			if s.versions[i] > version {
				all = append(all, dataOf(s.cluster, &s.events[i]))
			}
		}
	}
	slices.SortStableFunc(all, func(a, b eventData) int { return a.at.Compare(b.at) })
	return all
}

func dataOf(cluster string, e *clustersql.Event) eventData {
	text, level, shape := inWords(e)
	return eventData{
		Level: level.String(), Shape: string(shape), Stamp: e.Time.Format(time.RFC3339Nano), Time: e.Time.Format(time.TimeOnly),
		Cluster: cluster, Node: e.Node, Text: text, at: e.Time,
	}
}

// inWords says what happened and why, how bad that is, and which shape stands
// beside it.
func inWords(e *clustersql.Event) (text string, level Level, shape Kind) {
	conns := fmt.Sprintf("%d connections", e.Conns)
	if e.Conns == 1 {
		conns = "1 connection"
	}
	what := "something happened"
	level, shape = LevelWarn, KindHold
	switch e.Kind {
	case clustersql.EventState:
		what = fmt.Sprintf("%s, was %s", e.To, e.From)
		level, shape = levelOfState(e.To), kindOfState(e.To)
	case clustersql.EventLost:
		what, shape = conns+" lost", KindGoingDown
	case clustersql.EventRetired:
		what, level = conns+" retired", LevelWell
	case clustersql.EventFailback:
		what, level, shape = "preferred again", LevelWell, KindUp
	case clustersql.EventCut:
		what, shape = conns+" cut", KindDown
	case clustersql.EventHeld:
		what = "held"
	case clustersql.EventRole:
		what, level, shape = "is "+e.Role.String()+" now", LevelWell, KindStandby
	case clustersql.EventDiscovery:
		what, level, shape = "discovery", LevelWell, KindUnknown
	case clustersql.EventReload:
		what, level, shape = "reloaded", LevelWell, KindUnknown
		if e.Cause == "mistake" {
			what, level = "not reloaded: all is as it was", LevelWarn
		}
	}
	return sentence(what, e.Reason), level, shape
}

func levelOfState(s clustersql.State) Level {
	switch s {
	case clustersql.StateUp:
		return LevelWell
	case clustersql.StateDown:
		return LevelBad
	}
	return LevelWarn
}

func kindOfState(s clustersql.State) Kind {
	switch s {
	case clustersql.StateUp:
		return KindUp
	case clustersql.StateSuspect:
		return KindGoingDown
	case clustersql.StateDown:
		return KindDown
	case clustersql.StateDraining:
		return KindDrain
	}
	return KindUnknown
}

// sentence joins what happened and why.
func sentence(what, reason string) string {
	if reason == "" {
		return what + "."
	}
	return what + ": " + strings.TrimSuffix(reason, ".") + "."
}

func appendEvents(b []byte, events []eventData) []byte {
	if len(events) == 0 {
		return b
	}
	text, _ := json.Marshal(events) // no error: they are texts
	return append(append(b, `,"events":`...), text...)
}

// newestFirst returns the events as the page shows them.
func newestFirst(events []eventData) []eventData {
	slices.Reverse(events)
	return events
}

// marks returns for each node when something happened to it in the last 15
// minutes that is no change of its state.
func (c *Cluster) marks(now time.Time) map[string][]time.Time {
	marks := make(map[string][]time.Time)
	for i := range c.Events {
		e := &c.Events[i]
		if e.Kind != clustersql.EventState && now.Sub(e.Time) <= stripSpan {
			marks[e.Node] = append(marks[e.Node], e.Time)
		}
	}
	return marks
}
