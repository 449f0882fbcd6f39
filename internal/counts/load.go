// Package counts counts what happens on a node and in a cluster.
//
// It has no goroutine and no lock: what it counts is atomic. The root imports the
// package; it imports health and jsonform.
package counts

import "sync/atomic"

// A Load is how much work this cluster has on a node: connections of the node's
// present generation, and opens under way. The zero Load is none. Any goroutine may
// use it.
type Load struct {
	// Planned counts launches whose open has not ended. An open raises it as it
	// launches, so that opens of the same moment see each other.
	Planned atomic.Int64
	// conns is the count of the newest generation that has one.
	conns atomic.Pointer[count]
}

// A count counts the connections of one generation. Connections of older
// generations may stay in database/sql's pool until they are next asked for, and
// are not part of the load.
type count struct {
	generation uint64
	open       atomic.Int64
}

// A Place is the part of one connection in a Load.
type Place struct {
	open *atomic.Int64
	left atomic.Bool
}

// Leave ends the counting of the connection. Only the first call has an effect.
func (p *Place) Leave() {
	if p.left.CompareAndSwap(false, true) {
		p.open.Add(-1)
	}
}

// Join counts a connection of a generation until its Place is left.
func (l *Load) Join(generation uint64) *Place { return &Place{open: l.count(generation)} }

func (l *Load) count(generation uint64) *atomic.Int64 {
	for {
		t := l.conns.Load()
		if t == nil || t.generation != generation {
			fresh := &count{generation: generation}
			older := t != nil && t.generation > generation // older than the newest: not part of the load
			if !older && !l.conns.CompareAndSwap(t, fresh) {
				continue
			}
			t = fresh
		}
		t.open.Add(1)
		return &t.open
	}
}

// Of returns the load if the given generation is the present one, and how many
// connections are in it.
func (l *Load) Of(generation uint64) (load, conns int) {
	if t := l.conns.Load(); t != nil && t.generation == generation {
		conns = int(t.open.Load())
	}
	return int(l.Planned.Load()) + conns, conns
}
