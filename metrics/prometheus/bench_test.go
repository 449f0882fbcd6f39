package prometheus

import (
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"testing"

	client "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/fakedb"
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

// BenchmarkScrape is a scrape of 3 clusters with 300 nodes each. The goal is 20 ms
// to gather.
func BenchmarkScrape(b *testing.B) {
	registry := client.NewRegistry()
	registry.MustRegister(NewCollector(manyNodes(b, 3, 300)...))
	b.Run("without-registry", func(b *testing.B) {
		c := NewCollector(manyNodes(b, 3, 300)...)
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
