package clustersql

import (
	"context"
	"slices"
	"sync/atomic"
	"time"
	"weak"

	"github.com/EnumApps/clustersql/internal/calls"
	"github.com/EnumApps/clustersql/internal/drivers"
	"github.com/EnumApps/clustersql/internal/health"
)

// A life is one run of a node's actor. It begins with the first connector or
// when the node is added. It ends with the last connector's Close or when the
// node is removed. The channels belong to the life and not to the node, so that
// nothing of an earlier life can reach a later one.
type life struct {
	// the mailbox; never closed; unbuffered, except check and slow
	open    chan *request         // from opens
	outcome chan outcome          // from this life's attempts and probes
	report  chan *health.Evidence // from conns
	outrun  chan outrun           // from opens
	check   chan struct{}         // from anyone: probe soon; has room for one
	slow    chan struct{}         // from conns: a call takes long; has room for one

	late bool            // the node was added to a cluster in use
	told []*calls.Queue  // what the loop and its goroutines put events and log lines into
	ctx  context.Context // done when the life is to end; its cause is the reason
	stop context.CancelCauseFunc

	over chan struct{} // closed by run when the loop has ended
	idle chan struct{} // closed when the loop and all goroutines that it started have ended
	// busy counts the loop and every goroutine it started. Only the loop adds,
	// and it counts itself until it ends. So busy reaches zero only once.
	busy atomic.Int64
}

func newLife(parent context.Context, late bool) *life {
	l := &life{
		late:    late,
		open:    make(chan *request),
		outcome: make(chan outcome),
		report:  make(chan *health.Evidence),
		outrun:  make(chan outrun),
		check:   make(chan struct{}, 1),
		slow:    make(chan struct{}, 1),
		over:    make(chan struct{}),
		idle:    make(chan struct{}),
	}
	l.ctx, l.stop = context.WithCancelCause(parent)
	l.busy.Store(1)
	return l
}

// start runs f in a goroutine of this life. Only the loop may call it.
func (l *life) start(f func()) {
	l.busy.Add(1)
	go func() {
		defer l.release()
		f()
	}()
}

func (l *life) release() {
	if l.busy.Add(-1) == 0 {
		close(l.idle)
	}
}

// send delivers an outcome to the loop. If the loop has ended, send only
// answers the open.
func (l *life) send(o outcome) {
	select {
	case l.outcome <- o:
	case <-l.over:
		o.answer()
	}
}

// checkNow asks the actor to probe a down node soon, or to look at the status
// of one that is up. It never waits. Anyone may call it.
func (n *node) checkNow() {
	if l := n.life.Load(); l != nil {
		l.checkNow()
	}
}

// checkNow asks the loop to look at its node. It never waits.
func (l *life) checkNow() {
	select {
	case l.check <- struct{}{}:
	default: // a request is there already
	}
}

// ended reports whether the life's last goroutine has ended, and all events and
// log lines of the node have been delivered.
func (l *life) ended() bool {
	return l.busy.Load() == 0 && !slices.ContainsFunc(l.told, func(q *calls.Queue) bool { return q.Busy() != nil })
}

// wait waits until the life has ended, or until limit is closed. It reports
// whether the life has ended.
func (l *life) wait(limit <-chan struct{}) bool {
	if !closedBefore(l.idle, limit) {
		return false
	}
	for _, q := range l.told {
		if !q.Wait(limit) {
			return false
		}
	}
	return true
}

func closedBefore(c, limit <-chan struct{}) bool {
	select {
	case <-c:
		return true
	case <-limit:
		return false
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// release counts one connector less. The last one stops the actors and waits
// for everything that they started, also beside or after a close. For a backend
// that does not react to cancel it waits at most attempt_timeout.
func (m *manager) release() {
	m.mu.Lock()
	m.connectors--
	if m.connectors > 0 {
		m.mu.Unlock()
		return
	}
	h := m.remains()
	m.mu.Unlock()
	h.end(m.cfg().AttemptTimeout)
}

// close ends the cluster for good. On return it has ended, for the first caller
// and for every later one.
func (m *manager) close() error {
	m.mu.Lock()
	first := !m.closed
	m.closed = true
	if first {
		for _, n := range *m.nodes.Load() {
			m.giveUp(n.dial.recipe().owned, n.life.Load())
			if heir := n.heir.Load(); heir != nil {
				m.giveUp(heir.dial.recipe().owned, heir.life.Load())
			}
		}
	}
	h := m.remains()
	m.mu.Unlock()
	h.end(m.cfg().AttemptTimeout)
	if first {
		w := weak.Make(m)
		roll.strike(m.id, w)
		exported.withdraw(m.name, w)
	}
	return nil
}

// giveUp closes the connector of a node that was refused or leaves the cluster,
// after the last goroutine of its last life has ended. c and l may be nil. The
// connector's Close may hang, so it has a goroutine of its own. The caller holds
// m.mu.
func (m *manager) giveUp(c *drivers.Owned, l *life) {
	if c == nil {
		return
	}
	closed := make(chan struct{})
	m.closing = append(slices.DeleteFunc(m.closing, isClosed), closed)
	go func() {
		defer close(closed)
		if l != nil {
			<-l.idle
		}
		<-c.Leave()
		drivers.Close(c)
	}()
}

// A remains is what has to end before a cluster has ended.
type remains struct {
	stop    context.CancelCauseFunc // nil if the cluster was never used
	lives   []*life
	closing []<-chan struct{}
	told    []*calls.Queue // about the cluster
}

// remains returns what has not ended: the latest life of each node, the lives
// of removed nodes, and the closing of connectors. The caller holds m.mu.
func (m *manager) remains() remains {
	m.leaving = slices.DeleteFunc(m.leaving, (*life).ended)
	m.closing = slices.DeleteFunc(m.closing, isClosed)
	h := remains{stop: m.stop, lives: slices.Clone(m.leaving), closing: slices.Clone(m.closing), told: []*calls.Queue{&m.lines, &m.hook}}
	if m.finder.over != nil {
		h.closing = append(h.closing, m.finder.over)
	}
	for _, member := range *m.nodes.Load() {
		for _, n := range []*node{member, member.heir.Load()} {
			if n == nil {
				continue
			}
			if l := n.life.Load(); l != nil && !l.ended() {
				h.lives = append(h.lives, l)
			}
		}
	}
	return h
}

// end stops the actors and waits until all has ended, or until the limit is
// over.
func (h remains) end(limit time.Duration) {
	if h.stop != nil {
		h.stop(ErrClosed)
	}
	over, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for _, l := range h.lives {
		if !l.wait(over.Done()) {
			return
		}
	}
	for _, closed := range h.closing {
		if !closedBefore(closed, over.Done()) {
			return
		}
	}
	for _, q := range h.told {
		if !q.Wait(over.Done()) {
			return
		}
	}
}

// cancelAfter calls cancel a grace after the first of the contexts is done. The
// func that it returns stops that. cancel may still run once while it does.
func cancelAfter(grace time.Duration, cancel func(), ctxs ...context.Context) (off func()) {
	started := make(chan *time.Timer, len(ctxs))
	stops := make([]func() bool, len(ctxs))
	for i, ctx := range ctxs {
		stops[i] = context.AfterFunc(ctx, func() { started <- time.AfterFunc(grace, cancel) })
	}
	return func() {
		for _, stop := range stops {
			if !stop() {
				(<-started).Stop()
			}
		}
	}
}
