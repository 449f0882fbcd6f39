package hedge

import (
	"sync/atomic"
	"time"
)

// A Node keeps what is known of the hedged reads of one node. The zero Node has had
// none. Anyone may call the methods. Those that only look may be called on nil.
type Node struct {
	Delay
	Armed    atomic.Int64 // connections whose reads are watched
	Launched atomic.Uint64

	won, lost atomic.Uint64
	outrun    atomic.Int64 // when another node last answered before this one, in Unix nanoseconds; 0: never
}

// Settle notes what has come of a read that was launched. chosen says that the read had a
// time of its own after which it was.
func (n *Node) Settle(o Outcome, chosen bool, least time.Duration, now time.Time) {
	if o != Won {
		n.lost.Add(1)
		return
	}
	n.won.Add(1)
	n.outrun.Store(now.UnixNano())
	if !chosen {
		n.Win(least)
	}
}

// Counts returns how many reads were launched, and how many of them the other node has won
// and lost.
func (n *Node) Counts() (armed int, launched, won, lost uint64) {
	if n == nil {
		return 0, 0, 0, 0
	}
	won, lost = n.won.Load(), n.lost.Load() // before launched, which is never less
	return int(n.Armed.Load()), n.Launched.Load(), won, lost
}

// avoidFor is how long opens ask a node last on which a read has just been outrun: by
// then a probe has told more.
const avoidFor = time.Second

// Avoided reports whether another node has just answered a read before this one.
// Opens ask such a node last.
func (n *Node) Avoided(now time.Time) bool {
	return n != nil && now.UnixNano()-n.outrun.Load() < int64(avoidFor)
}

// Outrun returns when another node last answered before this one; zero if none ever did.
func (n *Node) Outrun() time.Time {
	if n == nil || n.outrun.Load() == 0 {
		return time.Time{}
	}
	return time.Unix(0, n.outrun.Load())
}
