package health

import (
	"encoding/json"
	"math"
	"slices"
	"time"

	"github.com/EnumApps/clustersql/internal/jsonform"
)

const (
	ewmaAlpha      = 0.2  // weight of a new sample in the mean
	deviationAlpha = 0.25 // weight of a new sample in the deviation, as beta of RFC 6298
	windowSize     = 64   // samples kept for percentiles
)

// Latency summarises how long something took. It is an immutable value. The
// zero Latency has no samples.
type Latency struct {
	mean, deviation float64 // nanoseconds
	count           uint64
	window          *[windowSize]time.Duration // never written once it is published; nil without samples
}

// LatencyOf returns the latency that has these values. They may be anything: of a
// count that its samples do not fit to, the samples are believed.
func LatencyOf(count uint64, mean, deviation time.Duration, samples []time.Duration) Latency {
	l := Latency{mean: float64(mean), deviation: float64(deviation)}
	if n := min(len(samples), windowSize); n > 0 {
		l.count = max(count, uint64(n))
		l.window = new([windowSize]time.Duration)
		for i, d := range samples[len(samples)-n:] {
			l.window[(l.count-uint64(n)+uint64(i))%windowSize] = d
		}
		if n < windowSize {
			l.count = uint64(n)
		}
	}
	return l
}

// Count returns the number of samples ever taken.
func (l Latency) Count() uint64 { return l.count }

// Mean returns the exponentially weighted moving average with a weight of 0.2
// for a new sample; the first sample sets it. It is 0 without samples.
// The estimator is that of MongoDB's server selection specification.
func (l Latency) Mean() time.Duration { return time.Duration(math.Round(l.mean)) }

// Deviation returns the smoothed mean deviation of RFC 6298, with a weight of
// 0.25 for a new sample. It is 0 with fewer than two samples.
func (l Latency) Deviation() time.Duration { return time.Duration(math.Round(l.deviation)) }

// Percentile returns the value that p of the last 64 samples do not exceed,
// by the nearest-rank method; p runs from 0 to 1. It is 0 without samples.
func (l Latency) Percentile(p float64) time.Duration {
	n := int(min(l.count, windowSize))
	if n == 0 {
		return 0
	}
	sorted := slices.Clone(l.window[:n])
	slices.Sort(sorted)
	rank := int(math.Ceil(p*float64(n))) - 1
	return sorted[max(0, min(rank, n-1))]
}

// Samples returns the last 64 samples, the oldest first.
func (l Latency) Samples() []time.Duration {
	n := int(min(l.count, windowSize))
	switch {
	case n == 0:
		return nil
	case n < windowSize:
		return slices.Clone(l.window[:n])
	}
	oldest := int(l.count % windowSize)
	return slices.Concat(l.window[oldest:], l.window[:oldest])
}

// Add returns l with one more sample. It copies the window, so that a published
// Latency never changes.
func (l Latency) Add(d time.Duration) Latency {
	x := float64(d)
	if l.count == 0 {
		l.mean = x
	} else {
		l.deviation += deviationAlpha * (math.Abs(x-l.mean) - l.deviation)
		l.mean += ewmaAlpha * (x - l.mean)
	}
	var w [windowSize]time.Duration
	if l.window != nil {
		w = *l.window
	}
	w[l.count%windowSize] = d
	l.window = &w
	l.count++
	return l
}

// A latencyJSON is a Latency in JSON. The samples are whole microseconds, to keep
// them short.
type latencyJSON struct {
	Count     uint64           `json:"count"`
	Mean      jsonform.Seconds `json:"mean_seconds"`
	Deviation jsonform.Seconds `json:"deviation_seconds"`
	P50       jsonform.Seconds `json:"p50_seconds"`
	P99       jsonform.Seconds `json:"p99_seconds"`
	Max       jsonform.Seconds `json:"max_seconds"`
	Samples   []int64          `json:"samples_us,omitempty"`
}

// MarshalJSON writes the numbers of samples, the averages, percentiles of the last
// 64 samples, and these samples in microseconds, the oldest first.
func (l Latency) MarshalJSON() ([]byte, error) {
	out := latencyJSON{
		Count: l.Count(), Mean: jsonform.Seconds(l.Mean()), Deviation: jsonform.Seconds(l.Deviation()),
		P50: shownPercentile(l, 0.5), P99: shownPercentile(l, 0.99), Max: shownPercentile(l, 1),
	}
	for _, d := range l.Samples() {
		out.Samples = append(out.Samples, d.Microseconds())
	}
	return json.Marshal(out)
}

// shownPercentile returns a percentile as it is among the samples in JSON.
func shownPercentile(l Latency, p float64) jsonform.Seconds {
	return jsonform.Seconds(l.Percentile(p).Truncate(time.Microsecond))
}

// UnmarshalJSON reads what MarshalJSON writes. The percentiles are worked out from
// the samples.
func (l *Latency) UnmarshalJSON(text []byte) error {
	var in latencyJSON
	if err := json.Unmarshal(text, &in); err != nil {
		return err
	}
	samples := make([]time.Duration, len(in.Samples))
	for i, us := range in.Samples {
		samples[i] = time.Duration(us) * time.Microsecond
	}
	*l = LatencyOf(in.Count, time.Duration(in.Mean), time.Duration(in.Deviation), samples)
	return nil
}
