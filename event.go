package clustersql

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/EnumApps/clustersql/internal/health"
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
)

// String returns the kind's name in lower case.
func (k EventKind) String() string {
	names := [...]string{"state", "lost", "retired", "failback", "cut", "held", "role", "discovery"}
	if int(k) < len(names) {
		return names[k]
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
			n.dial.log.print(lineHookPanic, e.Kind.String(), n.dial.hide(fmt.Sprint(r)))
		}
	}()
	n.cfg().OnEvent(*e)
}

// emit logs an event, and calls the hook after the events before it. It waits
// for neither: they may take their time, or use this cluster. Only run calls
// it.
func (n *node) emit(e Event) {
	e.Time, e.Cluster, e.Node = time.Now(), n.dial.log.cluster, n.name
	n.tally.note(&e)
	line, values := e.line()
	n.dial.log.print(line, values...)
	if n.cfg().OnEvent == nil {
		return
	}
	dropped := n.hook.put(func(dropped int) {
		e.Dropped = dropped
		n.callHook(&e)
	})
	if dropped == 1 {
		n.dial.log.print(lineHookHangs, queueRoom)
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

// A logger writes lines that name the cluster and the node. If base is nil it
// uses [slog.Default], looked up for each line, because programs often set that
// after they have made their clusters.
type logger struct {
	base          *slog.Logger
	cluster, node string
	lines         *callQueue // makes the calls of the handler; nil: print makes them, for a caller of the API
}

// print writes one line, with values for its attributes; the last of them may be
// left out. It does not wait for the program's handler, which may hang, if the line
// is about a node.
func (l logger) print(kind *logLine, values ...any) {
	line := kind.record(values...)
	if l.lines == nil {
		l.write(line)
		return
	}
	l.lines.put(func(dropped int) {
		if dropped > 0 {
			l.write(lineDropped.record(dropped))
		}
		l.write(line)
	})
}

// record returns a line of the kind.
func (k *logLine) record(values ...any) slog.Record {
	line := slog.NewRecord(time.Now(), k.level, k.message, 0)
	line.Add("event", k.name)
	for i, v := range values {
		line.Add(k.attrs[i], v)
	}
	return line
}

// write calls the program's handler. It recovers from a panic of it.
func (l logger) write(line slog.Record) {
	defer func() { _ = recover() }()
	ctx, h := context.Background(), l.to().Handler()
	if h.Enabled(ctx, line.Level) {
		_ = h.Handle(ctx, line)
	}
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

// queueRoom is how many calls may wait in a callQueue.
const queueRoom = 256

// A callQueue makes calls of the program's code, which may hang. It makes them in
// order and one at a time, in a goroutine that ends when none is left. It drops
// those for which it has no room. Anyone may call the methods.
type callQueue struct {
	mu      sync.Mutex // guards what follows; never held across a call
	waiting []queued
	dropped int           // since the last one that found room
	idle    chan struct{} // closed when no call is left; nil if none is
}

type queued struct {
	call    func(dropped int)
	dropped int // calls that were dropped just before this one
}

// put adds a call, or drops it. It returns how many were dropped in a row by
// now. The call gets the number of those that were dropped just before it.
func (q *callQueue) put(call func(dropped int)) (dropped int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == queueRoom {
		q.dropped++
		return q.dropped
	}
	q.waiting = append(q.waiting, queued{call, q.dropped})
	q.dropped = 0
	if q.idle == nil {
		q.idle = make(chan struct{})
		go q.run()
	}
	return 0
}

// run makes the calls. A call may end its goroutine, as the FailNow of a test
// does; another goroutine then makes the rest.
func (q *callQueue) run() {
	done := false
	defer func() {
		if !done {
			go q.run()
		}
	}()
	for {
		next, ok := q.next()
		if !ok {
			done = true
			return
		}
		next.call(next.dropped)
	}
}

// next takes the oldest call. If there is none, the queue is idle.
func (q *callQueue) next() (next queued, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		q.waiting = nil
		close(q.idle)
		q.idle = nil
		return queued{}, false
	}
	next, q.waiting[0] = q.waiting[0], queued{}
	q.waiting = q.waiting[1:]
	return next, true
}

// wait waits until no call is left, or until limit is closed. It reports whether
// none is left.
func (q *callQueue) wait(limit <-chan struct{}) bool {
	idle := q.busy()
	return idle == nil || closedBefore(idle, limit)
}

// busy returns a channel that is closed when no call is left, or nil if none is
// left now.
func (q *callQueue) busy() <-chan struct{} {
	if q == nil {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.idle
}
