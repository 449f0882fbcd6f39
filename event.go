package clustersql

import (
	"context"
	"fmt"
	"log/slog"
	"time"
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
	// is in another Galera group than the nodes in use.
	EventHeld
)

// String returns the kind's name in lower case.
func (k EventKind) String() string {
	names := [...]string{"state", "lost", "retired", "failback", "cut", "held"}
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
	// From and To are the old and the new state of an EventState.
	From, To State
	// Conns is the number of connections, in events about connections.
	Conns int
	// Reason is the redacted reason. It is empty for a node that came up.
	Reason string
}

// level returns Warn for bad news and Info for the rest.
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

// log writes one line for the event.
func (e *Event) log(l logger) {
	if e.Kind == EventState {
		l.print(e.level(), "node "+e.To.String(), "from", e.From.String(), "reason", e.Reason)
		return
	}
	if e.Kind == EventHeld {
		l.print(e.level(), "node held", "reason", e.Reason)
		return
	}
	if e.Kind == EventFailback {
		l.print(e.level(), "node preferred again", "reason", e.Reason)
		return
	}
	l.print(e.level(), "connections "+e.Kind.String(), "count", e.Conns, "reason", e.Reason)
}

// callHook calls the program's hook with an event. If the hook panics,
// callHook recovers and logs that.
func (n *node) callHook(e *Event) {
	defer func() {
		if r := recover(); r != nil {
			n.dial.log.print(slog.LevelError, "OnEvent panicked", "event", e.Kind.String(), "panic", n.dial.redact.Text(redacted(*n.members.Load(), fmt.Sprint(r))))
		}
	}()
	n.cfg.OnEvent(*e)
}

// emit logs an event and then calls the hook, after the events before it. It
// does so in a goroutine of the life, because a hook may take its time or use
// this cluster. Only run calls it.
func (n *node) emit(l *life, e Event) { n.emitCounted(l, e, nil) }

// emitCounted is emit for an event whose number of connections is not known
// yet. The number comes on counted. If it is 0 there is no event.
func (n *node) emitCounted(l *life, e Event, counted <-chan int) {
	e.Time, e.Cluster, e.Node = time.Now(), n.dial.log.cluster, n.name
	before, done := n.loop.lastEvent, make(chan struct{})
	n.loop.lastEvent = done
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
			n.callHook(&e)
		}
	})
}

// noteLoss emits an event about the first lost connection at once. It only
// counts further ones until the next probe; flushLosses emits these together.
// The reason is that a dying node loses hundreds of connections.
func (n *node) noteLoss(l *life, reason string) {
	n.loop.lossCount++
	n.loop.lossReason = reason
	if !n.loop.lossReported {
		n.loop.lossReported = true
		n.emitLosses(l)
	}
}

func (n *node) emitLosses(l *life) {
	if n.loop.lossCount > 0 {
		n.emit(l, Event{Kind: EventLost, Conns: n.loop.lossCount, Reason: n.loop.lossReason})
		n.loop.lossCount = 0
	}
}

// flushLosses emits an event about the losses that are in no event yet. The
// next loss is then a first one again.
func (n *node) flushLosses(l *life) {
	n.emitLosses(l)
	n.loop.lossReported = false
}

// A logger writes lines that name the cluster and the node. If base is nil it
// uses [slog.Default], looked up for each line, because programs often set that
// after they have made their clusters.
type logger struct {
	base          *slog.Logger
	cluster, node string
}

// print writes one line. It recovers from a panic of the program's handler.
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
