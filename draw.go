package clustersql

import (
	"hash/fnv"
	"io"
	"math/rand/v2"
	"sync"
)

// A cluster draws random numbers for two kinds of users. Each node's loop has a
// source of its own, which nobody else touches. Callers' goroutines share one
// source per cluster. All of them come from [Config.Seed], so that a test which
// names its seed meets the same draws again.

// newRand returns the source that belongs to a name under a seed. Two names
// have sources that know nothing of each other.
func newRand(seed uint64, name string) *rand.Rand {
	h := fnv.New64a()
	io.WriteString(h, name)
	return rand.New(rand.NewPCG(seed, h.Sum64()))
}

// A lockedRand is a source for many goroutines.
type lockedRand struct {
	mu   sync.Mutex // guards what follows; never held across a wait
	rand *rand.Rand
}

// IntN draws from 0 to below n.
func (l *lockedRand) IntN(n int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rand.IntN(n)
}

// Int64N draws from 0 to below n.
func (l *lockedRand) Int64N(n int64) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rand.Int64N(n)
}

// draw draws from 0 to below n for an open: it is what a strategy of this
// package is given to draw with.
func (m *manager) draw(n int) int { return m.draws.IntN(n) }

// runtimeDraw draws from 0 to below n for a strategy that is asked outside of
// a cluster.
func runtimeDraw(n int) int { return rand.IntN(n) }
