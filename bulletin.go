package clustersql

import (
	"sync/atomic"
	"time"
)

// A bulletin wakes whoever waits for news of a cluster: a node's state has
// changed, or the membership has. What changed is published before it is
// posted, so a reader takes next first and looks then.
type bulletin struct {
	current atomic.Pointer[chan struct{}]
	posted  atomic.Int64 // when the last one was, in Unix nanoseconds
}

// next returns a channel that the next post closes.
func (b *bulletin) next() <-chan struct{} {
	for {
		if c := b.current.Load(); c != nil {
			return *c
		}
		c := make(chan struct{})
		b.current.CompareAndSwap(nil, &c)
	}
}

// age is how long ago the last post was.
func (b *bulletin) age(now time.Time) time.Duration { return now.Sub(time.Unix(0, b.posted.Load())) }

func (b *bulletin) post() {
	b.posted.Store(time.Now().UnixNano())
	if c := b.current.Swap(nil); c != nil {
		close(*c)
	}
}
