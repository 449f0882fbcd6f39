package clustersql

import (
	"testing"
	"time"
)

// A wait ends on a tick, never later than it was to, and less than a tick
// earlier.
func TestWaitsAreAligned(t *testing.T) {
	const tick = time.Second / probeTicks
	from := time.Date(2026, 1, 2, 3, 4, 5, 678_901_234, time.UTC)
	for i := range 10_000 {
		now := from.Add(time.Duration(i) * 7919 * time.Microsecond)
		wait := jitter(time.Second)
		got := aligned(now, wait, tick)
		if got > wait || got <= wait-tick || now.Add(got).UnixNano()%int64(tick) != 0 {
			t.Fatalf("%v became %v, %v after a tick", wait, got, now.Add(got).UnixNano()%int64(tick))
		}
	}
}

func TestBackoffIsBoundedWithEqualJitter(t *testing.T) {
	for n := range 200 {
		full := backoffMost
		if n < 5 {
			full = min(backoffFirst<<n, backoffMost)
		}
		for range 50 {
			if d := backoff(n); d < full/2 || d >= full {
				t.Fatalf("backoff(%d) = %v, want within [%v, %v)", n, d, full/2, full)
			}
		}
	}
	for range 1000 {
		if d := jitter(time.Second); d < 800*time.Millisecond || d >= 1200*time.Millisecond {
			t.Fatalf("jitter(1s) = %v", d)
		}
	}
}
