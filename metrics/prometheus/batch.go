package prometheus

import (
	client "github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/EnumApps/clustersql"
)

// A batch takes the metrics of one scrape. It sends them to a registry, or sorts
// them into families.
type batch struct {
	out      chan<- client.Metric // nil: into families
	families []*dto.MetricFamily  // by the index of the metric; nil while it has no series

	// room is how many series there are about in the next cluster. What is made of
	// them is taken from the slabs, which have the room for that at once.
	room     int
	samples  []sample
	metrics  []dto.Metric
	gauges   []dto.Gauge
	counters []dto.Counter
}

// A sample is one series with its value. It is not changed after it was sent.
type sample struct {
	of     *metric
	labels []*dto.LabelPair
	typ    dto.MetricType
	value  float64
	times  *clustersql.Histogram // of a histogram
}

// Desc is part of [client.Metric].
func (s *sample) Desc() *client.Desc { return s.of.Desc }

// Write is part of [client.Metric].
func (s *sample) Write(out *dto.Metric) error {
	s.write(out, func() *dto.Gauge { return new(dto.Gauge) }, func() *dto.Counter { return new(dto.Counter) })
	return nil
}

func (s *sample) write(out *dto.Metric, newGauge func() *dto.Gauge, newCounter func() *dto.Counter) {
	out.Label = s.labels
	switch s.typ {
	case dto.MetricType_COUNTER:
		out.Counter = newCounter()
		out.Counter.Value = &s.value
	case dto.MetricType_HISTOGRAM:
		out.Histogram = buckets(s.times)
	default:
		out.Gauge = newGauge()
		out.Gauge.Value = &s.value
	}
}

// next returns the next place of a slab. What was taken before stays where it is.
func next[T any](slab *[]T, room int) *T {
	if len(*slab) == cap(*slab) {
		*slab = make([]T, 0, max(room, 32))
	}
	*slab = (*slab)[:len(*slab)+1]
	return &(*slab)[len(*slab)-1]
}

func (b *batch) add(m *metric, l []*dto.LabelPair, typ dto.MetricType, v float64, h *clustersql.Histogram) {
	s := next(&b.samples, b.room)
	*s = sample{m, l, typ, v, h}
	if b.out != nil {
		b.out <- s
		return
	}
	f := b.families[m.at]
	if f == nil {
		f = &dto.MetricFamily{Name: &m.name, Help: &m.help, Type: typ.Enum()}
		b.families[m.at] = f
	}
	out := next(&b.metrics, b.room)
	s.write(out, func() *dto.Gauge { return next(&b.gauges, b.room) }, func() *dto.Counter { return next(&b.counters, b.room/2) })
	f.Metric = append(f.Metric, out)
}

func (b *batch) gauge(m *metric, l []*dto.LabelPair, v float64) {
	b.add(m, l, dto.MetricType_GAUGE, v, nil)
}

func (b *batch) counter(m *metric, l []*dto.LabelPair, v float64) {
	b.add(m, l, dto.MetricType_COUNTER, v, nil)
}

func (b *batch) histogram(m *metric, l []*dto.LabelPair, h *clustersql.Histogram) {
	b.add(m, l, dto.MetricType_HISTOGRAM, 0, h)
}

// buckets returns a histogram as Prometheus has it.
func buckets(times *clustersql.Histogram) *dto.Histogram {
	const room = 16
	type bucket struct {
		dto.Bucket
		bound float64
		count uint64
	}
	var (
		count, sum = times.Count(), times.Sum().Seconds()
		h          = &dto.Histogram{SampleCount: &count, SampleSum: &sum, Bucket: make([]*dto.Bucket, 0, room)}
		all        = make([]bucket, room)
	)
	for most, atMost := range times.Buckets {
		b := new(bucket)
		if i := len(h.Bucket); i < room {
			b = &all[i]
		}
		b.bound, b.count = most.Seconds(), atMost
		b.UpperBound, b.CumulativeCount = &b.bound, &b.count
		h.Bucket = append(h.Bucket, &b.Bucket)
	}
	return h
}
