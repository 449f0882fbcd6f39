package clustersql

import "sync/atomic"

// A bulletin wakes whoever waits for news of a cluster: a node's state has
// changed, or the membership has. What changed is published before it is
// posted, so a reader takes next first and looks then.
type bulletin struct{ current atomic.Pointer[chan struct{}] }

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

func (b *bulletin) post() {
	if c := b.current.Swap(nil); c != nil {
		close(*c)
	}
}
