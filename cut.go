package clustersql

import (
	"errors"
	"fmt"
)

// errCut is in the tree of what a call on a cut connection returns.
var errCut = errors.New("clustersql cut the connection")

// A cutOrder says that the conns of generations before below are cut, and why.
type cutOrder struct {
	below uint64
	why   error
}

// cut closes the sockets of all conns of older generations, so that queries
// that hang on them return. The generation has been raised before: database/sql
// must not meet the node again. Only run calls it.
func (n *node) cut(l *life, reason string) {
	o := &cutOrder{n.generation.Load(), fmt.Errorf("%w (%s)", errCut, reason)}
	n.cutOrder.Store(o)
	counted := make(chan int, 1)
	n.tellWhen(l, Event{Kind: EventCut, Reason: reason}, counted)
	l.start(func() {
		count := 0
		for _, s := range n.conns.older(o.below) {
			if s.Cut(o.why) {
				count++
			}
		}
		counted <- count
	})
}

// obeyCut cuts a conn that was on its way to database/sql when its node was
// cut, and so was in nobody's list.
func (n *node) obeyCut(w winner) {
	if o := n.cutOrder.Load(); o != nil && w.born < o.below {
		w.socket.Cut(o.why)
	}
}
