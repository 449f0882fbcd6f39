package prometheus

import (
	"database/sql"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"testing"
	"time"

	client "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/fakedb"
	"github.com/EnumApps/clustersql/internal/race"
)

// manyNodes makes clusters with many nodes. They are not open: a scrape does not
// care.
func manyNodes(t testing.TB, clusters, nodes int) []clustersql.Driver {
	t.Helper()
	b := fakedb.New()
	var all []clustersql.Driver
	for c := range clusters {
		d := clustersql.NewDriver(b.Driver(), fmt.Sprintf("%s/%d", t.Name(), c), clustersql.WithLogger(slog.New(slog.DiscardHandler)))
		t.Cleanup(func() { d.Close() })
		for n := range nodes {
			if err := d.AddNode(fmt.Sprintf("node%d", n), fmt.Sprintf("dsn%d", n)); err != nil {
				t.Fatal(err)
			}
		}
		all = append(all, d)
	}
	return all
}

// usedNodes makes the same and has all nodes probed and opened on, some of them in vain.
// So each has what a node of a running program has to tell. They are not open any more.
func usedNodes(t testing.TB, clusters, nodes int) []clustersql.Driver {
	t.Helper()
	b := fakedb.New()
	for n := range nodes {
		if n%3 == 0 {
			b.Node(fmt.Sprintf("dsn%d", n)).Set(fakedb.Script{Err: errRefused})
		}
	}
	var all []clustersql.Driver
	for c := range clusters {
		d := clustersql.NewDriver(b.Driver(), fmt.Sprintf("%s/%d", t.Name(), c), clustersql.WithLogger(slog.New(slog.DiscardHandler)), clustersql.WithStrategy(clustersql.Race))
		t.Cleanup(func() { d.Close() })
		for n := range nodes {
			if err := d.AddNode(fmt.Sprintf("node%d", n), fmt.Sprintf("dsn%d", n)); err != nil {
				t.Fatal(err)
			}
		}
		db := sql.OpenDB(d.Connector())
		if err := d.WaitReady(t.Context(), nodes/2); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			if err := db.PingContext(t.Context()); err != nil {
				t.Fatal(err)
			}
			db.SetMaxIdleConns(-1)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		all = append(all, d)
	}
	return all
}

// A scrape of 3 clusters with 300 nodes each costs about as much as to write its result
// as text, and less without a registry: a fifth to a half of that. All are measured in
// turn, and the best of each is the one in which least of other programs ran. A
// registry has goroutines of its own, which wait for a busy machine's processors, so it
// may take four times as long, and the rest twice. BenchmarkScrape has the times
// themselves.
func TestScrapeIsCheap(t *testing.T) {
	c := NewCollector(usedNodes(t, 3, 300)...)
	registry := client.NewRegistry()
	registry.MustRegister(c)
	gather := func(from client.Gatherer) func() {
		return func() {
			if _, err := from.Gather(); err != nil {
				t.Fatal(err)
			}
		}
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	rounds := 60
	if race.Enabled { // each is ten times as long
		rounds = 5
	}
	costs := best(rounds, gather(registry), gather(c), func() {
		out := expfmt.NewEncoder(io.Discard, expfmt.NewFormat(expfmt.TypeTextPlain))
		for _, f := range families {
			if err := out.Encode(f); err != nil {
				t.Fatal(err)
			}
		}
	})
	registered, bare, written := costs[0], costs[1], costs[2]
	t.Logf("through a registry %v, without one %v, written as text %v", registered, bare, written)
	if registered > 4*written || bare > 2*written {
		t.Error("that is too much")
	}
}

// best runs the functions in turn, n times, and returns the shortest time of each.
func best(n int, all ...func()) []time.Duration {
	least := make([]time.Duration, len(all))
	for range n {
		for i, f := range all {
			began := time.Now()
			f()
			if took := time.Since(began); least[i] == 0 || took < least[i] {
				least[i] = took
			}
		}
	}
	return least
}

// BenchmarkScrape is a scrape of 3 clusters with 300 nodes each. The goal is 20 ms
// to gather.
func BenchmarkScrape(b *testing.B) {
	c := NewCollector(usedNodes(b, 3, 300)...)
	registry := client.NewRegistry()
	registry.MustRegister(c)
	b.Run("without-registry", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.Gather(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("gather", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := registry.Gather(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("gather-and-write", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			families, err := registry.Gather()
			if err != nil {
				b.Fatal(err)
			}
			out := expfmt.NewEncoder(io.Discard, expfmt.NewFormat(expfmt.TypeTextPlain))
			for _, f := range families {
				if err := out.Encode(f); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}

// BenchmarkStatus is what the core takes of that.
func BenchmarkStatus(b *testing.B) {
	all := manyNodes(b, 3, 300)
	b.ReportAllocs()
	for b.Loop() {
		for _, d := range all {
			runtime.KeepAlive(d.Status())
		}
	}
}
