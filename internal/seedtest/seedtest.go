// Package seedtest gives seeds to tests that draw random numbers. A test that
// fails logs its seed, and the flag -seed runs it with the same seed again. The
// package knows nothing of clustersql and imports no other package of this
// module.
package seedtest

import (
	"flag"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"
)

var given = flag.Uint64("seed", 0, "the seed of the tests that draw; 0: a fresh one for each")

// A holding is the seed of a test. It is kept for as long as the test or one of
// its subtests uses it.
type holding struct {
	seed  uint64
	users map[testing.TB]bool
}

var (
	mu   sync.Mutex // guards held
	held = make(map[string]*holding)
)

// Of returns the seed of a test. The seed is never 0. A test and its subtests
// have the same seed, as long as the test uses it. A test that is run again
// gets a new one. If the caller's test fails, it logs how to run it with the
// same seed.
func Of(t testing.TB) uint64 {
	t.Helper()
	root, _, _ := strings.Cut(t.Name(), "/")
	seed, first := take(root, t)
	if !first {
		return seed
	}
	t.Cleanup(func() {
		giveBack(root, t)
		if t.Failed() {
			t.Logf("seed %d; again: go test -run '^%s$' -seed %d", seed, strings.ReplaceAll(t.Name(), "/", "$/^"), seed)
		}
	})
	return seed
}

// Rand returns a source of random numbers. The seed of the test and the test's
// name decide its numbers.
func Rand(t testing.TB) *rand.Rand {
	t.Helper()
	h := fnv.New64a()
	io.WriteString(h, t.Name())
	return rand.New(rand.NewPCG(Of(t), h.Sum64()))
}

// take returns the seed, and whether t gets it for the first time.
func take(root string, t testing.TB) (seed uint64, first bool) {
	mu.Lock()
	defer mu.Unlock()
	h := held[root]
	if h == nil {
		h = &holding{seed: *given, users: make(map[testing.TB]bool)}
		for h.seed == 0 {
			h.seed = rand.Uint64()
		}
		held[root] = h
	}
	first = !h.users[t]
	h.users[t] = true
	return h.seed, first
}

func giveBack(root string, t testing.TB) {
	mu.Lock()
	defer mu.Unlock()
	h := held[root]
	delete(h.users, t)
	if len(h.users) == 0 {
		delete(held, root)
	}
}

// A Source is one source of random numbers for many goroutines. Which goroutine
// gets which number depends on the scheduler.
type Source struct {
	mu   sync.Mutex // guards rand
	rand *rand.Rand
}

// NewSource returns a source whose numbers seed decides.
func NewSource(seed uint64) *Source {
	return &Source{rand: rand.New(rand.NewPCG(seed, 0))}
}

// IntN returns a random number from 0 to n-1.
func (s *Source) IntN(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rand.IntN(n)
}

// Until returns a random duration from 0 to below d.
func (s *Source) Until(d time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Duration(s.rand.Int64N(int64(d)))
}
