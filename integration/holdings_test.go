package integration

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/EnumApps/clustersql/internal/galera"
)

// Holdings are what this process and the servers hold for the soak while
// nothing is under way. Goroutines and sockets that belong to a connection do
// not count.
type holdings struct {
	conns      []int // the application's connections on each server
	goroutines int
	sockets    int
	heap       uint64 // bytes in use after a garbage collection
}

func (h holdings) String() string {
	return fmt.Sprintf("%d goroutines, %d sockets, %.1f MB of heap beside connections %v", h.goroutines, h.sockets, float64(h.heap)/1e6, h.conns)
}

// take records the holdings when nothing is under way and the cluster is whole.
// It asserts that each server has only the connections that the pools know, and
// one for probes for each user. go-sql-driver has one goroutine for each
// connection.
func (s *soak) take(t *testing.T) holdings {
	t.Helper()
	var h holdings
	want := make([]int, len(s.c.Nodes))
	pooled, known := 0, 0
	waitOr(t, "the servers to hold what the pools and the probes have", func() bool {
		clear(want)
		pooled, known = 0, 0
		for _, u := range s.ledger.users {
			u.visit(t)
			pooled += u.db.Stats().OpenConnections + u.fresh.Stats().OpenConnections
			for _, n := range u.d.Status().Nodes {
				i := slices.IndexFunc(s.c.Nodes, func(m *galera.Node) bool { return m.Name == n.Name })
				want[i] += n.OpenConns + 1
				known += n.OpenConns
			}
		}
		h.conns = serverConnsOf(t, s.c)
		return pooled == known && slices.Equal(h.conns, want)
	}, func() string {
		return fmt.Sprintf("the servers have %v, with probes they should have %v; the pools have %d, of which %d are known", h.conns, want, pooled, known)
	})
	conns := known + len(s.ledger.users)*len(s.c.Nodes)
	waitOr(t, "goroutines and sockets to end", func() bool {
		closeIdle(s.c)
		h.goroutines, h.sockets = runtime.NumGoroutine()-conns, countSockets(t)-conns
		return len(s.held) == 0 || h.goroutines <= s.held[0].goroutines && h.sockets <= s.held[0].sockets
	}, func() string {
		return fmt.Sprintf("%s, at first %s; of %d connections\n%s", h, s.held[0], conns, stacks())
	})
	runtime.GC()
	runtime.GC()
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	h.heap = mem.HeapAlloc
	s.held = append(s.held, h)
	return h
}

// visit takes every idle connection out of the pool and puts it back. Only in
// this way does database/sql learn which of them were closed.
func (u *user) visit(t *testing.T) {
	t.Helper()
	for _, conn := range hold(t, u.db, u.db.Stats().Idle) {
		conn.Close()
	}
}

// flat asserts that the heap does not grow. It compares the lowest value in the
// last third of the run with the highest in the first third, in which
// everything was made that is made only once.
func (s *soak) flat(t *testing.T) {
	t.Helper()
	third := len(s.held) / 3
	if third < 3 {
		return // too short to judge
	}
	heap := func(h []holdings) (low, high uint64) {
		low = h[0].heap
		for _, x := range h {
			low, high = min(low, x.heap), max(high, x.heap)
		}
		return low, high
	}
	_, was := heap(s.held[:third])
	is, _ := heap(s.held[len(s.held)-third:])
	const slack = 1 << 20 // for the books, two bytes for each line
	if is > was+slack {
		t.Errorf("the heap grows: at most %d bytes in the first third, at least %d in the last", was, is)
	}
}

// waitOr is waitFor, and logs state if the condition does not become true.
func waitOr(t *testing.T, what string, cond func() bool, state func() string) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s: %s", what, state())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// stacks returns the stacks of all goroutines. Equal ones are counted.
func stacks() string {
	buf := make([]byte, 4<<20)
	counts := make(map[string]int)
	for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if _, body, ok := strings.Cut(g, "\n"); ok {
			counts[body]++
		}
	}
	var lines []string
	for body, n := range counts {
		lines = append(lines, fmt.Sprintf("%d×\n%s", n, body))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n\n")
}
