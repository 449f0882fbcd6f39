package otel

import (
	"cmp"
	"slices"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/EnumApps/clustersql"
)

// A name is what is fixed about a metric. The instruments of package dbconv have
// it.
type name interface {
	Name() string
	Unit() string
	Description() string
}

// An own is the name of one of our metrics.
type own struct{ name, unit, description string }

func (o own) Name() string        { return o.name }
func (o own) Unit() string        { return o.unit }
func (o own) Description() string { return o.description }

// A batch takes the metrics of one collection.
type batch struct {
	now, start time.Time // of the snapshot; when the counters of the present node or cluster began
	metrics    map[string]*metricdata.Metrics
}

// list returns the metrics by name.
func (b *batch) list() []metricdata.Metrics {
	all := make([]metricdata.Metrics, 0, len(b.metrics))
	for _, m := range b.metrics {
		all = append(all, *m)
	}
	slices.SortFunc(all, func(a, b metricdata.Metrics) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// data returns the data of a metric, and a func that replaces it.
func data[T metricdata.Aggregation](b *batch, n name, empty T) (T, func(T)) {
	if b.metrics == nil {
		b.metrics = make(map[string]*metricdata.Metrics)
	}
	m := b.metrics[n.Name()]
	if m == nil {
		m = &metricdata.Metrics{Name: n.Name(), Unit: n.Unit(), Description: n.Description(), Data: empty}
		b.metrics[n.Name()] = m
	}
	d, _ := m.Data.(T)
	return d, func(d T) { m.Data = d }
}

// gauge adds a value of now.
func (b *batch) gauge(n name, v float64, attrs ...attribute.KeyValue) {
	d, set := data(b, n, metricdata.Gauge[float64]{})
	d.DataPoints = append(d.DataPoints, metricdata.DataPoint[float64]{Attributes: attribute.NewSet(attrs...), Time: b.now, Value: v})
	set(d)
}

// level adds a count that grows and shrinks.
func (b *batch) level(n name, v int64, attrs ...attribute.KeyValue) { sum(b, n, v, false, attrs) }

// total adds a count that only grows.
func (b *batch) total(n name, v uint64, attrs ...attribute.KeyValue) {
	sum(b, n, int64(v), true, attrs)
}

// seconds adds a time that only grows.
func (b *batch) seconds(n name, d time.Duration, attrs ...attribute.KeyValue) {
	sum(b, n, d.Seconds(), true, attrs)
}

func sum[N int64 | float64](b *batch, n name, v N, grows bool, attrs []attribute.KeyValue) {
	d, set := data(b, n, metricdata.Sum[N]{Temporality: metricdata.CumulativeTemporality, IsMonotonic: grows})
	d.DataPoints = append(d.DataPoints, metricdata.DataPoint[N]{Attributes: attribute.NewSet(attrs...), StartTime: b.start, Time: b.now, Value: v})
	set(d)
}

// times adds a histogram.
func (b *batch) times(n name, h clustersql.Histogram, attrs ...attribute.KeyValue) {
	d, set := data(b, n, metricdata.Histogram[float64]{Temporality: metricdata.CumulativeTemporality})
	p := metricdata.HistogramDataPoint[float64]{
		Attributes: attribute.NewSet(attrs...), StartTime: b.start, Time: b.now, Count: h.Count(), Sum: h.Sum().Seconds(),
	}
	before := uint64(0)
	for most, atMost := range h.Buckets {
		p.Bounds = append(p.Bounds, most.Seconds())
		p.BucketCounts = append(p.BucketCounts, atMost-before)
		before = atMost
	}
	p.BucketCounts = append(p.BucketCounts, p.Count-before)
	d.DataPoints = append(d.DataPoints, p)
	set(d)
}
