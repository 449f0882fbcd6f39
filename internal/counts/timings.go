package counts

import (
	"encoding/json"
	"slices"
	"sync/atomic"
	"time"

	"github.com/EnumApps/clustersql/internal/jsonform"
)

// Bounds are the upper bounds of the buckets of every Histogram.
var Bounds = [...]time.Duration{
	500 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond,
	25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

// Timings count how long something took. The zero Timings have no samples, and need
// little room. Anyone may add and read.
type Timings struct {
	p atomic.Pointer[timings] // nil before the first sample
}

type timings struct {
	counts [len(Bounds) + 1]atomic.Uint64
	sum    atomic.Int64
}

// Observe adds a sample.
func (t *Timings) Observe(took time.Duration) {
	p := t.p.Load()
	if p == nil {
		t.p.CompareAndSwap(nil, new(timings))
		p = t.p.Load()
	}
	i, _ := slices.BinarySearch(Bounds[:], took)
	p.counts[i].Add(1)
	p.sum.Add(int64(took))
}

// Histogram returns the samples so far. Those that come meanwhile may be in the
// counts and not yet in the sum.
func (t *Timings) Histogram() (h Histogram) {
	if p := t.p.Load(); p != nil {
		for i := range p.counts {
			h.Counts[i] = p.counts[i].Load()
		}
		h.Sum = time.Duration(p.sum.Load())
	}
	return h
}

// A Histogram is what was counted. The zero Histogram has no samples.
type Histogram struct {
	Counts [len(Bounds) + 1]uint64 // by bucket; the last has no upper bound
	Sum    time.Duration
}

// Count returns the number of samples.
func (h *Histogram) Count() (n uint64) {
	for _, c := range h.Counts {
		n += c
	}
	return n
}

// A histogramJSON is a Histogram in JSON. counts[i] is the number of samples in the
// bucket i alone. The manual has the bounds of the buckets.
type histogramJSON struct {
	Count  uint64           `json:"count"`
	Sum    jsonform.Seconds `json:"sum_seconds"`
	Counts []uint64         `json:"counts,omitempty"`
}

// MarshalJSON writes the number of samples, their sum, and the number of samples
// in each bucket, the last of which has no upper bound.
func (h *Histogram) MarshalJSON() ([]byte, error) {
	out := histogramJSON{Count: h.Count(), Sum: jsonform.Seconds(h.Sum)}
	if out.Count > 0 {
		out.Counts = h.Counts[:]
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (h *Histogram) UnmarshalJSON(text []byte) error {
	var in histogramJSON
	if err := json.Unmarshal(text, &in); err != nil {
		return err
	}
	h.Sum = time.Duration(in.Sum)
	clear(h.Counts[:])
	copy(h.Counts[:], in.Counts)
	return nil
}
