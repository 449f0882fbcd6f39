package health

import (
	"math/rand/v2"
	"time"
)

// A Saturation is what a node's loop knows of the node's room for connections.
// A node whose opens meet "too many connections" stays up. After a backoff one
// open at a time tries it. The other opens are refused without asking the node.
type Saturation struct {
	Until   time.Time // no attempt before this time; zero while there is room
	Refused int       // backoffs so far
}

// Again notes an attempt that met no room. It reports false for an attempt that
// met the same shortage as an earlier one: it ended before Until.
func (f *Saturation) Again(now time.Time, r *rand.Rand) bool {
	if now.Before(f.Until) {
		return false
	}
	f.Until = now.Add(Backoff(f.Refused, r))
	f.Refused++
	return true
}

// End notes an attempt that met room. It reports whether the node was full
// before.
func (f *Saturation) End() bool {
	was := f.Refused > 0
	*f = Saturation{}
	return was
}
