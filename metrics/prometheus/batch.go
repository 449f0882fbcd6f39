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

// A sample is one series with its value. It is not changed after it was sent. What a
// registry would have to make of it is made before that: a registry takes all samples
// in one goroutine, and this one works beside it.
type sample struct {
	of        *metric
	labels    []*dto.LabelPair
	value     float64
	gauge     *dto.Gauge // one of the three
	counter   *dto.Counter
	histogram *dto.Histogram
}

// Desc is part of [client.Metric].
func (s *sample) Desc() *client.Desc { return s.of.Desc }

// Write is part of [client.Metric].
func (s *sample) Write(out *dto.Metric) error {
	out.Label, out.Gauge, out.Counter, out.Histogram = s.labels, s.gauge, s.counter, s.histogram
	return nil
}

// next returns the next place of a slab. What was taken before stays where it is.
func next[T any](slab *[]T, room int) *T {
	if len(*slab) == cap(*slab) {
		*slab = make([]T, 0, max(room, 32))
	}
	*slab = (*slab)[:len(*slab)+1]
	return &(*slab)[len(*slab)-1]
}

// sample returns a sample without its value.
func (b *batch) sample(m *metric, l []*dto.LabelPair) *sample {
	s := next(&b.samples, b.room)
	s.of, s.labels = m, l
	return s
}

func (b *batch) add(s *sample, typ dto.MetricType) {
	if b.out != nil {
		b.out <- s
		return
	}
	f := b.families[s.of.at]
	if f == nil {
		f = &dto.MetricFamily{Name: &s.of.name, Help: &s.of.help, Type: typ.Enum()}
		b.families[s.of.at] = f
	}
	out := next(&b.metrics, b.room)
	_ = s.Write(out)
	f.Metric = append(f.Metric, out)
}

func (b *batch) gauge(m *metric, l []*dto.LabelPair, v float64) {
	s := b.sample(m, l)
	s.value, s.gauge = v, next(&b.gauges, b.room)
	s.gauge.Value = &s.value
	b.add(s, dto.MetricType_GAUGE)
}

func (b *batch) counter(m *metric, l []*dto.LabelPair, v float64) {
	s := b.sample(m, l)
	s.value, s.counter = v, next(&b.counters, b.room/2)
	s.counter.Value = &s.value
	b.add(s, dto.MetricType_COUNTER)
}

func (b *batch) histogram(m *metric, l []*dto.LabelPair, h *clustersql.Histogram) {
	s := b.sample(m, l)
	s.histogram = histogramOf(h)
	b.add(s, dto.MetricType_HISTOGRAM)
}

// room is how many buckets a histogram has room for at once. There may be more one day:
// this module and that of the histogram are of versions of their own.
const room = 16

// A counted is a histogram as Prometheus has it, with the room for all of it.
type counted struct {
	dto.Histogram
	count  uint64
	sum    float64
	list   [room]*dto.Bucket
	bucket [room]dto.Bucket
	counts [room]uint64
}

// bounds are the upper ends of all buckets, which all histograms share.
var bounds = func() (all []*float64) {
	for most := range new(clustersql.Histogram).Buckets {
		seconds := most.Seconds()
		all = append(all, &seconds)
	}
	return all
}()

// histogramOf returns a histogram as Prometheus has it.
func histogramOf(times *clustersql.Histogram) *dto.Histogram {
	h := &counted{count: times.Count(), sum: times.Sum().Seconds()}
	h.SampleCount, h.SampleSum, h.Bucket = &h.count, &h.sum, h.list[:0]
	for _, atMost := range times.Buckets {
		var (
			i     = len(h.Bucket)
			b     *dto.Bucket
			count *uint64
		)
		if i < room {
			b, count = &h.bucket[i], &h.counts[i]
		} else {
			b, count = new(dto.Bucket), new(uint64)
		}
		*count = atMost
		b.UpperBound, b.CumulativeCount = bounds[i], count
		h.Bucket = append(h.Bucket, b)
	}
	return &h.Histogram
}
