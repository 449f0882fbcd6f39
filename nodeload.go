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

// A seat is one connection's place in a tally.
type seat struct {
	open *atomic.Int64
	left atomic.Bool
}

// leave gives it up, once.
func (s *seat) leave() {
	if s.left.CompareAndSwap(false, true) {
		s.open.Add(-1)
	}
}

// join counts a connection of a generation, until its seat is left.
func (l *nodeLoad) join(generation uint64) *seat { return &seat{open: l.count(generation)} }

func (l *nodeLoad) count(generation uint64) *atomic.Int64 {
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

// of returns the load while the given generation is the present one, and how
// much of it are connections.
func (l *nodeLoad) of(generation uint64) (load, conns int) {
	if t := l.conns.Load(); t != nil && t.generation == generation {
		conns = int(t.open.Load())
	}
	return int(l.planned.Load()) + conns, conns
}
