package counts

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/EnumApps/clustersql/internal/health"
)

// A sample is in the first bucket whose bound it does not exceed.
func TestSamplesAreInTheirBuckets(t *testing.T) {
	var timings Timings
	if h := timings.Histogram(); h.Count() != 0 || h.Sum != 0 {
		t.Errorf("%+v", h)
	}
	for _, took := range []time.Duration{1, Bounds[0], Bounds[0] + 1, time.Second, time.Hour} {
		timings.Observe(took)
	}
	h := timings.Histogram()
	want := map[int]uint64{0: 2, 1: 1, 10: 1, len(Bounds): 1}
	for i, n := range h.Counts {
		if n != want[i] {
			t.Errorf("bucket %d has %d samples, want %d", i, n, want[i])
		}
	}
	if h.Count() != 5 || h.Sum != time.Hour+time.Second+2*Bounds[0]+2 {
		t.Errorf("%d samples of %v", h.Count(), h.Sum)
	}
}

// What is noted can be read again, and what is zero has no name.
func TestNodeCounts(t *testing.T) {
	var n Node
	var cluster Cluster
	if failed, refused, closed := n.Troubles(); failed != nil || refused != nil || closed != nil {
		t.Error("counters without trouble:", failed, refused, closed)
	}
	n.Failed(health.Silent)
	n.Refused(&cluster, health.Neutral, true, false)
	n.Refused(&cluster, health.NotReady, true, true)
	n.Closed(EndAge)
	n.NoteOpen(3)
	n.NoteOpen(2)
	n.Ask(EndRoom)
	n.SetProgress(1, 2, 100_000)
	failed, refused, closed := n.Troubles()
	if len(failed) != 1 || failed["silent"] != 1 || len(refused) != 1 || refused[health.NotReady.String()] != 1 || len(closed) != 1 || closed["max_age"] != 1 {
		t.Error(failed, refused, closed)
	}
	if n.Moved.Load() != 2 || cluster.Moved.Load() != 2 || n.Unknown.Load() != 1 || cluster.Unknown.Load() != 1 {
		t.Error("moved and unknown:", n.Moved.Load(), cluster.Moved.Load(), n.Unknown.Load(), cluster.Unknown.Load())
	}
	if good, rise, bad := n.Progress(); good != 1 || rise != 2 || bad != 65535 || n.Most() != 3 || n.Asked() != EndRoom {
		t.Error(good, rise, bad, n.Most(), n.Asked())
	}
}

// What is written as JSON can be read again.
func TestJSON(t *testing.T) {
	var timings Timings
	timings.Observe(time.Second)
	h, back := timings.Histogram(), Histogram{Counts: [len(Bounds) + 1]uint64{1: 7}}
	text, err := json.Marshal(&h)
	if err != nil || json.Unmarshal(text, &back) != nil || back != h {
		t.Errorf("%s: %+v (%v)", text, back, err)
	}
	var c Sessions
	c.Waited.Add(2)
	c.Time.Add(int64(3 * time.Second))
	r, again := c.Reads(), SessionReads{Missed: 1}
	if text, err = json.Marshal(r); err != nil || json.Unmarshal(text, &again) != nil || again != r {
		t.Errorf("%s: %+v (%v)", text, again, err)
	}
}
