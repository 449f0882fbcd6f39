package gate

import (
	"sync/atomic"
	"time"
)

// News tells waiting goroutines that something has changed. A writer publishes the
// change first and calls Notify after that. So a reader must call Next first and look
// for changes after that. The zero News has none. Any goroutine may use it.
type News struct {
	current  atomic.Pointer[chan struct{}]
	notified atomic.Int64 // time of the last Notify or Touch, in Unix nanoseconds
}

// Next returns a channel that the next Notify closes.
func (n *News) Next() <-chan struct{} {
	for {
		if ch := n.current.Load(); ch != nil {
			return *ch
		}
		ch := make(chan struct{})
		n.current.CompareAndSwap(nil, &ch)
	}
}

// Age returns how long before now the last Notify or Touch was.
func (n *News) Age(now time.Time) time.Duration { return now.Sub(time.Unix(0, n.notified.Load())) }

// Touch notes a change that nobody waits for.
func (n *News) Touch() { n.notified.Store(time.Now().UnixNano()) }

// Notify notes a change, and wakes all that wait.
func (n *News) Notify() {
	n.Touch()
	if ch := n.current.Swap(nil); ch != nil {
		close(*ch)
	}
}
