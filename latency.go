package clustersql

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/EnumApps/clustersql/internal/health"
)

// Latency summarises how long something took. It is an immutable value. The
// zero Latency has no samples.
type Latency struct{ l health.Latency }

// Count returns the number of all samples since the start.
func (l Latency) Count() uint64 { return l.l.Count() }

// Mean returns the exponentially weighted moving average. A new sample has a
// weight of 0.2; the first sample sets the average. Without samples it is 0.
// The estimator is that of MongoDB's server selection specification.
func (l Latency) Mean() time.Duration { return l.l.Mean() }

// Deviation returns the smoothed mean deviation of RFC 6298. A new sample has a
// weight of 0.25. With fewer than two samples it is 0.
func (l Latency) Deviation() time.Duration { return l.l.Deviation() }

// Percentile returns the value that a part p of the last 64 samples do not
// exceed, by the nearest-rank method. p is from 0 to 1. Without samples it is
// 0.
func (l Latency) Percentile(p float64) time.Duration { return l.l.Percentile(p) }

// Samples returns the last 64 samples, the oldest first. The slice is the
// caller's.
func (l Latency) Samples() []time.Duration { return l.l.Samples() }

// timeBounds are the upper bounds of the buckets of every Histogram.
var timeBounds = [...]time.Duration{
	500 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond,
	25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

// timings counts how long something took. Anyone may add and read.
type timings struct {
	counts [len(timeBounds) + 1]atomic.Uint64
	sum    atomic.Int64
}

// observe adds a sample to the timings at p, which it makes with the first.
func observe(p *atomic.Pointer[timings], took time.Duration) {
	t := p.Load()
	if t == nil {
		p.CompareAndSwap(nil, new(timings))
		t = p.Load()
	}
	i, _ := slices.BinarySearch(timeBounds[:], took)
	t.counts[i].Add(1)
	t.sum.Add(int64(took))
}

// histogram returns the timings at p. Samples that come meanwhile may be in the
// counts and not yet in the sum.
func histogram(p *atomic.Pointer[timings]) (h Histogram) {
	if t := p.Load(); t != nil {
		for i := range t.counts {
			h.counts[i] = t.counts[i].Load()
		}
		h.sum = time.Duration(t.sum.Load())
	}
	return h
}

// A Histogram counts how long something took, in fixed buckets, since the node
// was added. It is an immutable value. The zero Histogram has no samples.
type Histogram struct {
	counts [len(timeBounds) + 1]uint64 // by bucket; the last has no upper bound
	sum    time.Duration
}

// Count returns the number of samples.
func (h Histogram) Count() (n uint64) {
	for _, c := range h.counts {
		n += c
	}
	return n
}

// Sum returns how long all samples took together.
func (h Histogram) Sum() time.Duration { return h.sum }

// Buckets calls yield for every bucket but the last, which has no upper bound,
// from the smallest: with the longest time that belongs to it, and with how many
// samples took no longer than that. Every Histogram has the same buckets. It can be
// used with range.
func (h Histogram) Buckets(yield func(most time.Duration, atMost uint64) bool) {
	n := uint64(0)
	for i, bound := range timeBounds {
		if n += h.counts[i]; !yield(bound, n) {
			return
		}
	}
}
