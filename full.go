package clustersql

import "time"

// A fullness is what a node's loop knows of the node's room for connections.
// While opens meet "too many connections" the node stays up, and is tried by
// one open at a time, after a backoff; the others are refused here.
type fullness struct {
	until   time.Time  // no attempt before that; zero while there is room
	refused int        // backoffs so far
	why     *dialError // of the last attempt that met no room
}

// again notes an attempt that met no room, and reports whether it is not one
// of several that met it together.
func (f *fullness) again(why *dialError, now time.Time) bool {
	f.why = why
	if now.Before(f.until) {
		return false
	}
	f.until = now.Add(backoff(f.refused))
	f.refused++
	return true
}

// end notes one that did, and reports whether the node was full before.
func (f *fullness) end() bool {
	was := f.refused > 0
	*f = fullness{}
	return was
}

// slots is how many attempts the node may have in flight now.
func (n *node) slots() int {
	switch f := &n.own.full; {
	case !n.own.health.state.usable(), time.Now().Before(f.until):
		return 0
	case f.refused > 0:
		return 1
	}
	return n.cfg.MaxOpensPerNode
}

// refuseWaiting answers the requests that wait for a node that is down or
// full: no open pays for testing the one, and few for testing the other.
func (n *node) refuseWaiting() {
	if len(n.own.waiting) == 0 {
		return
	}
	why := n.own.full.why
	switch {
	case n.own.health.state == StateDraining:
		why = n.dial.failure(classNeutral, n.whyDrained())
	case n.own.health.state == StateDown:
		why = known(n.snapshot.Load(), n.own.health.reason)
	case why == nil:
		return
	}
	for _, r := range n.own.waiting {
		r.fail(why)
	}
	clear(n.own.waiting)
	n.own.waiting = n.own.waiting[:0]
}

// noteChance notes that an open which failed here may ask again, and wakes
// those that wait.
func (n *node) noteChance() {
	n.own.status.chances++
	n.own.changed = n.own.changed || n.waiting.Load() > 0
}
