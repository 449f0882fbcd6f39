package health

import (
	"math"
	"testing"
	"time"
)

// The numbers are from the section on round-trip time of MongoDB's server
// selection specification, with alpha 0.2, in milliseconds.
func TestLatencyMeanFollowsTheSpecification(t *testing.T) {
	cases := []struct {
		before float64 // negative: no sample before
		sample float64
		want   float64
	}{
		{-1, 10, 10}, {-1, 0, 0}, {0, 5, 1}, {3.1, 36, 9.68}, {9.12, 9.12, 9.12}, {1, 1000, 200.8}, {0, 0.25, 0.05},
	}
	ms := func(x float64) time.Duration { return time.Duration(math.Round(x * 1e6)) }
	for _, tc := range cases {
		var l Latency
		if tc.before >= 0 {
			l = l.Add(ms(tc.before))
		}
		if got := l.Add(ms(tc.sample)).Mean(); got != ms(tc.want) {
			t.Errorf("mean of (%v, %v) = %v, want %v", tc.before, tc.sample, got, ms(tc.want))
		}
	}
}

func TestLatencyPercentilesAreOfTheLastSamples(t *testing.T) {
	var l Latency
	if got := l.Percentile(0.5); got != 0 {
		t.Errorf("without samples: %v", got)
	}
	for i := range 1000 {
		l = l.Add(time.Duration(i + 1))
	}
	for _, tc := range []struct {
		p    float64
		want time.Duration
	}{{0, 937}, {0.5, 968}, {0.99, 1000}, {1, 1000}, {2, 1000}, {-1, 937}} {
		if got := l.Percentile(tc.p); got != tc.want {
			t.Errorf("Percentile(%v) = %d, want %d", tc.p, got, tc.want)
		}
	}
	if l.Count() != 1000 {
		t.Errorf("Count = %d", l.Count())
	}
}

func TestLatencyIsImmutable(t *testing.T) {
	a := Latency{}.Add(time.Second)
	b := a.Add(3 * time.Second)
	a.Add(9 * time.Second)
	if a.Percentile(1) != time.Second || b.Percentile(1) != 3*time.Second || a.Deviation() != 0 || b.Deviation() == 0 {
		t.Errorf("a: %v, b: %v", a, b)
	}
}

// What a program reads of another one's times may be anything: none of it panics.
func TestLatencyOfAnything(t *testing.T) {
	for _, count := range []uint64{0, 1, 8, windowSize, 1000, 1 << 63, math.MaxUint64} {
		for _, samples := range [][]time.Duration{nil, make([]time.Duration, 3), make([]time.Duration, windowSize), make([]time.Duration, 1000)} {
			l := LatencyOf(count, 1, 1, samples)
			if l.Percentile(0.5) != 0 || len(l.Samples()) != min(len(samples), windowSize) {
				t.Errorf("count %d, %d samples: %d samples", count, len(samples), len(l.Samples()))
			}
			l.Add(time.Second)
		}
	}
}
