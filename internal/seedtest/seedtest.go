// Package seedtest gives tests seeds: a test that draws says its seed when it
// fails, and takes it again with -seed.
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

// A holding is the seed of a test, for as long as the test or a part of it
// needs it.
type holding struct {
	seed  uint64
	users map[testing.TB]bool
}

var (
	mu   sync.Mutex // guards what follows
	held = make(map[string]*holding)
)

// Of returns the seed of a test, never 0. A test and its subtests have one as
// long as the test holds it; a test that is run again has a fresh one. When
// the caller fails it says how to run it with the same seed.
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

// Rand returns a source that the seed of a test, and its name, decide.
func Rand(t testing.TB) *rand.Rand {
	t.Helper()
	h := fnv.New64a()
	io.WriteString(h, t.Name())
	return rand.New(rand.NewPCG(Of(t), h.Sum64()))
}

// take returns the seed, and whether t has it for the first time.
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

// A Source is one source for many goroutines. Which of them has which of its
// numbers the scheduler decides.
type Source struct {
	mu   sync.Mutex // guards what follows
	rand *rand.Rand
}

// NewSource returns a source that a seed decides.
func NewSource(seed uint64) *Source {
	return &Source{rand: rand.New(rand.NewPCG(seed, 0))}
}

// IntN draws from 0 to below n.
func (s *Source) IntN(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rand.IntN(n)
}

// Until draws from 0 to below d.
func (s *Source) Until(d time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Duration(s.rand.Int64N(int64(d)))
}
