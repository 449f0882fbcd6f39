package health

import (
	"math/rand/v2"
	"time"
)

// A fullness is what a node's loop knows of the node's room for connections.
// While opens meet "too many connections" the node stays up, and is tried by
// one open at a time, after a backoff; the others are refused here.
type Saturation struct {
	Until   time.Time // no attempt before that; zero while there is room
	Refused int       // backoffs so far
}

// again notes an attempt that met no room, and reports whether it is not one
// of several that met it together.
func (f *Saturation) Again(now time.Time, r *rand.Rand) bool {
	if now.Before(f.Until) {
		return false
	}
	f.Until = now.Add(Backoff(f.Refused, r))
	f.Refused++
	return true
}

// end notes one that did, and reports whether the node was full before.
func (f *Saturation) End() bool {
	was := f.Refused > 0
	*f = Saturation{}
	return was
}
