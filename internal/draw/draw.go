// Package draw makes the sources of random numbers of a cluster. All of them are
// made from its seed, so a test that sets the seed gets the same numbers again.
//
// A cluster draws for two kinds of users. Each node's loop has a source of its own,
// which nobody else touches. Callers' goroutines share one [Source]. The package has
// no goroutine. The root imports it; it imports no other package of this module.
package draw

import (
	"hash/fnv"
	"io"
	"math/rand/v2"
	"sync"
)

// New returns the source that belongs to a name under a seed. The sources of two
// names are independent of each other. One goroutine at a time may use it.
func New(seed uint64, name string) *rand.Rand {
	h := fnv.New64a()
	io.WriteString(h, name)
	return rand.New(rand.NewPCG(seed, h.Sum64()))
}

// A Source is a source of random numbers for many goroutines.
type Source struct {
	mu   sync.Mutex // guards what follows; never held across a wait
	rand *rand.Rand
}

// NewSource returns the Source that belongs to a name under a seed.
func NewSource(seed uint64, name string) *Source { return &Source{rand: New(seed, name)} }

// IntN returns a random number from 0 to n-1.
func (s *Source) IntN(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rand.IntN(n)
}

// Float64 returns a random number from 0 to 1, without 1.
func (s *Source) Float64() float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rand.Float64()
}

// Hold lets all draws wait until the func that it returns is called. It is for tests.
func (s *Source) Hold() (release func()) {
	s.mu.Lock()
	return s.mu.Unlock
}
