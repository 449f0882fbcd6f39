// Package prometheus exports the clusters of a process to Prometheus.
//
//	registry.MustRegister(clustersqlprometheus.NewCollector())
//
// A scrape reads one snapshot of each cluster. It waits for no node and starts no
// query, so a node that hangs holds nothing up. The series of a node or a cluster
// end when it is removed. The labels are the cluster's ID, the node's name, the name
// of a source of discovery, and words of fixed lists: no text of an error and no
// connection is ever one, and no address but that in the name of a node that
// discovery has found. The page docs/metrics.md of clustersql has every name.
package prometheus

import (
	"cmp"
	"runtime/debug"
	"slices"
	"sync"

	client "github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/EnumApps/clustersql"
)

// A Collector exports clusters. It is a [client.Collector]: register one with a
// registry. It is a [client.Gatherer] too. Any goroutine may use it.
type Collector struct {
	clusters func() []clustersql.Driver
	version  string

	mu     sync.Mutex          // guards what follows
	labels map[string]*cluster // of the last scrape, by the ID of the cluster
}

var (
	_ client.Collector = (*Collector)(nil)
	_ client.Gatherer  = (*Collector)(nil)
)

// NewCollector returns a collector of the given clusters. Without any, it exports
// every cluster of the process that is in use, also those that are made later; see
// [clustersql.Clusters].
func NewCollector(clusters ...clustersql.Driver) *Collector {
	c := &Collector{clusters: clustersql.Clusters, version: version(), labels: make(map[string]*cluster)}
	if len(clusters) > 0 {
		c.clusters = func() []clustersql.Driver { return clusters }
	}
	return c
}

// version returns the version of clustersql in this program.
func version() string {
	const path = "github.com/EnumApps/clustersql"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range append(info.Deps, &info.Main) {
			if m.Path == path && m.Version != "" {
				return m.Version
			}
		}
	}
	return "unknown"
}

// Describe describes every metric.
func (c *Collector) Describe(out chan<- *client.Desc) {
	for _, m := range metrics {
		out <- m.Desc
	}
}

// Collect reads one snapshot of each cluster. A registry calls it at each scrape.
func (c *Collector) Collect(out chan<- client.Metric) { c.collect(&batch{out: out}) }

// Gather reads one snapshot of each cluster, as Collect does, and returns all that
// a registry would make of it. So a Collector can be scraped without a registry,
// which takes a fourth of the time: a registry checks each metric anew, and with
// hundreds of nodes there are tens of thousands. It never fails.
func (c *Collector) Gather() ([]*dto.MetricFamily, error) {
	b := &batch{families: make([]*dto.MetricFamily, len(metrics))}
	c.collect(b)
	found := slices.DeleteFunc(b.families, func(f *dto.MetricFamily) bool { return f == nil })
	slices.SortFunc(found, func(a, b *dto.MetricFamily) int { return cmp.Compare(a.GetName(), b.GetName()) })
	return found, nil
}

func (c *Collector) collect(b *batch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := make(map[string]*cluster, len(c.labels))
	for _, d := range c.clusters() {
		s := d.Status()
		if s.ID == "" || seen[s.ID] != nil {
			continue // an empty Driver, or the program has named it twice
		}
		l := c.labels[s.ID]
		if l == nil {
			l = newCluster(s.ID)
		}
		seen[s.ID] = l
		l.collect(&s, c.version, b)
	}
	c.labels = seen
}
