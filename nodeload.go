package clustersql

import "sync/atomic"

// A nodeLoad is how much of a node's work comes from this cluster: connections of
// the node's present generation, and opens under way. Everything in it may be
// used by any goroutine.
type nodeLoad struct {
	// planned counts launches whose open has not ended. It is raised before
	// anyone else plans, so that opens that come together see each other.
	planned atomic.Int64
	// conns is the tally of the newest generation that has one.
	conns atomic.Pointer[tally]
}

// A tally counts the connections of one generation. Those of an older one
// linger in database/sql's pool until they are asked for; they count nowhere.
type tally struct {
	generation uint64
	open       atomic.Int64
}

// join counts a connection of a generation; the caller lowers what it gets
// when the connection is closed.
func (l *nodeLoad) join(generation uint64) *atomic.Int64 {
	for {
		t := l.conns.Load()
		if t == nil || t.generation != generation {
			fresh := &tally{generation: generation}
			older := t != nil && t.generation > generation // too old to count
			if !older && !l.conns.CompareAndSwap(t, fresh) {
				continue
			}
			t = fresh
		}
		t.open.Add(1)
		return &t.open
	}
}

// of returns the load while the given generation is the present one.
func (l *nodeLoad) of(generation uint64) int {
	n := l.planned.Load()
	if t := l.conns.Load(); t != nil && t.generation == generation {
		n += t.open.Load()
	}
	return int(n)
}
