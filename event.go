package clustersql

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// EventKind is what an [Event] tells of.
type EventKind uint8

const (
	// EventState is a change of a node's state.
	EventState EventKind = iota
	// EventLost is connections that broke while a statement was on them, or
	// that the backend found broken.
	EventLost
	// EventRetired is connections that the pool gives up: it does not hand
	// them out again, and work under way on them goes on.
	EventRetired
	// EventFailback is a node that has been back for long enough to be
	// preferred again.
	EventFailback
	// EventCut is connections whose sockets were closed under whatever hung
	// on them.
	EventCut
)

// String returns the kind's name in lower case.
func (k EventKind) String() string {
	names := [...]string{"state", "lost", "retired", "failback", "cut"}
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("EventKind(%d)", uint8(k))
}

// An Event is something that happened to a node. See [Config.OnEvent].
type Event struct {
	Time    time.Time
	Cluster string
	Node    string
	Kind    EventKind
	// From and To are the states of an EventState.
	From, To State
	// Conns is how many connections an event of another kind is about.
	Conns int
	// Reason says why, redacted. It is empty for a node that came up.
	Reason string
}

// level is bad news' Warn, and Info for the rest.
func (e *Event) level() slog.Level {
	switch e.Kind {
	case EventState:
		if e.To == StateDown || e.To == StateSuspect {
			return slog.LevelWarn
		}
		return slog.LevelInfo
	case EventRetired, EventFailback:
		return slog.LevelInfo
	}
	return slog.LevelWarn
}

// log writes the event's line.
func (e *Event) log(l logger) {
	if e.Kind == EventState {
		l.print(e.level(), "node "+e.To.String(), "from", e.From.String(), "reason", e.Reason)
		return
	}
	if e.Kind == EventFailback {
		l.print(e.level(), "node preferred again", "reason", e.Reason)
		return
	}
	l.print(e.level(), "connections "+e.Kind.String(), "count", e.Conns, "reason", e.Reason)
}

// hand gives the event to the program's hook. A panic of it ends here, and is
// logged.
func (e *Event) hand(hook func(Event), l logger) {
	defer func() {
		if r := recover(); r != nil {
			l.print(slog.LevelError, "OnEvent panicked", "event", e.Kind.String(), "panic", fmt.Sprint(r))
		}
	}()
	hook(*e)
}

// tell logs an event and hands it to the hook, after the ones before it, in
// goroutines of the life: a handler may take its time, or use the very cluster.
// Only run calls it.
func (n *node) tell(l *life, e Event) { n.tellWhen(l, e, nil) }

// tellWhen is tell for an event whose number of connections is not known yet:
// it comes on counted, and none makes no event.
func (n *node) tellWhen(l *life, e Event, counted <-chan int) {
	e.Time, e.Cluster, e.Node = time.Now(), n.dial.log.cluster, n.name
	before, done := n.own.lastTold, make(chan struct{})
	n.own.lastTold = done
	l.start(func() {
		defer close(done)
		if before != nil {
			<-before
		}
		if counted != nil {
			if e.Conns = <-counted; e.Conns == 0 {
				return
			}
		}
		e.log(n.dial.log)
		if n.cfg.OnEvent != nil {
			e.hand(n.cfg.OnEvent, n.dial.log)
		}
	})
}

// noteLoss tells of a lost connection: of the first one at once, of those that
// follow it until the next probe together. A dying node loses hundreds.
func (n *node) noteLoss(l *life, reason string) {
	n.own.lossCount++
	n.own.lossReason = reason
	if !n.own.lossTold {
		n.own.lossTold = true
		n.tellLosses(l)
	}
}

func (n *node) tellLosses(l *life) {
	if n.own.lossCount > 0 {
		n.tell(l, Event{Kind: EventLost, Conns: n.own.lossCount, Reason: n.own.lossReason})
		n.own.lossCount = 0
	}
}

// flushLosses tells of the losses since the last probe.
func (n *node) flushLosses(l *life) {
	n.tellLosses(l)
	n.own.lossTold = false
}

// A logger names cluster and node in every line. Without a base it follows
// [slog.Default], which programs often set after their clusters are made.
type logger struct {
	base          *slog.Logger
	cluster, node string
}

// print writes one line. A panic of the program's handler ends here.
func (l logger) print(level slog.Level, msg string, args ...any) {
	defer func() { _ = recover() }()
	l.to().Log(context.Background(), level, msg, args...)
}

// to returns the logger for one line.
func (l logger) to() *slog.Logger {
	base := l.base
	if base == nil {
		base = slog.Default()
	}
	base = base.With("cluster", l.cluster)
	if l.node != "" {
		base = base.With("node", l.node)
	}
	return base
}
