package clustersql

import (
	"context"
	"slices"
	"sync/atomic"

	"github.com/EnumApps/clustersql/internal/health"
)

// A life is one run of a node's actor. It begins with the first connector or
// when the node is added. It ends with the last connector's Close or when the
// node is removed. The channels belong to the life and not to the node, so that
// nothing of an earlier life can reach a later one.
type life struct {
	// the mailbox; never closed; unbuffered, except check
	open    chan *request         // from opens
	outcome chan outcome          // from this life's attempts and probes
	report  chan *health.Evidence // from conns
	outrun  chan outrun           // from opens
	check   chan struct{}         // from anyone: probe soon; has room for one

	late bool            // the node was added to a cluster in use
	told []*callQueue    // what the loop and its goroutines put events and log lines into
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

// ended reports whether the life's last goroutine has ended, and all events and
// log lines of the node have been delivered.
func (l *life) ended() bool {
	return l.busy.Load() == 0 && !slices.ContainsFunc(l.told, func(q *callQueue) bool { return q.busy() != nil })
}

// wait waits until the life has ended, or until limit is closed. It reports
// whether the life has ended.
func (l *life) wait(limit <-chan struct{}) bool {
	if !closedBefore(l.idle, limit) {
		return false
	}
	for _, q := range l.told {
		if !q.wait(limit) {
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
