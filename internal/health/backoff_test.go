package health

import (
	"math"
	"testing"
	"time"

	"github.com/EnumApps/clustersql/internal/seedtest"
)

// leastWait is the lower bound of the wait before a regular probe, exclusive,
// as mostWait is the upper one. The wait is drawn from 80 to 120 percent of the
// interval and then shortened by less than a tick.
func leastWait(interval time.Duration) time.Duration { return interval*4/5 - interval/ProbeTicks }
func mostWait(interval time.Duration) time.Duration  { return interval * 6 / 5 }

// A wait ends on a tick: never later than asked, and less than a tick earlier.
func TestWaitsAreAligned(t *testing.T) {
	const tick = time.Second / ProbeTicks
	r := seedtest.Rand(t)
	from := time.Date(2026, 1, 2, 3, 4, 5, 678_901_234, time.UTC)
	for i := range 10_000 {
		now := from.Add(time.Duration(i) * 7919 * time.Microsecond)
		wait := Jitter(time.Second, r)
		got := Aligned(now, wait, tick)
		if got > wait || got <= wait-tick || now.Add(got).UnixNano()%int64(tick) != 0 {
			t.Fatalf("%v became %v, %v after a tick", wait, got, now.Add(got).UnixNano()%int64(tick))
		}
		if got <= leastWait(time.Second) || got >= mostWait(time.Second) {
			t.Fatalf("a wait of %v", got)
		}
	}
}

func TestBackoffIsBoundedWithEqualJitter(t *testing.T) {
	r := seedtest.Rand(t)
	for n := range 200 {
		full := BackoffMost
		if n < 5 {
			full = min(BackoffFirst<<n, BackoffMost)
		}
		for range 50 {
			if d := Backoff(n, r); d < full/2 || d >= full {
				t.Fatalf("backoff(%d) = %v, want within [%v, %v)", n, d, full/2, full)
			}
		}
	}
	for range 1000 {
		if d := Jitter(time.Second, r); d < 800*time.Millisecond || d >= 1200*time.Millisecond {
			t.Fatalf("jitter(1s) = %v", d)
		}
	}
}

// No wait overflows, however long the interval is.
func TestWaitsDoNotOverflow(t *testing.T) {
	r := seedtest.Rand(t)
	now := time.Date(2200, 1, 2, 3, 4, 5, 6, time.UTC)
	for _, interval := range []time.Duration{1, time.Millisecond, 24 * time.Hour, 700_000 * time.Hour, math.MaxInt64 / 2} {
		for range 1000 {
			wait := Jitter(interval, r)
			if wait < interval/5*4 || wait > interval/5*6 && interval > 5 {
				t.Fatalf("jitter(%v) = %v", interval, wait)
			}
			tick := interval / ProbeTicks
			if got := Aligned(now, wait, tick); got > wait || got < wait-tick {
				t.Fatalf("%v became %v", wait, got)
			}
		}
	}
	if d := Backoff(math.MaxInt, r); d < BackoffMost/2 || d >= BackoffMost {
		t.Error(d)
	}
}

// What people must correct does not pass by itself, and an unknown failure not for ever.
func TestMayPass(t *testing.T) {
	for i, tc := range []struct {
		class  Class
		worked bool
		lasts  time.Duration
		want   bool
	}{
		{Neutral, true, 0, false}, {Misconfigured, true, 0, false}, {Silent, false, time.Hour, true}, {NotReady, true, 0, true},
		{Failed, true, UnknownPasses - 1, true}, {Failed, true, UnknownPasses, false}, {Failed, false, 0, false},
	} {
		if got := tc.class.MayPass(tc.worked, tc.lasts); got != tc.want {
			t.Errorf("%d: %v", i, got)
		}
	}
}

// Late calls get so many prompt rounds in a row, and then one in each half second.
func TestPromptRounds(t *testing.T) {
	var p Prompt
	now := time.Unix(1e9, 0)
	if wait := p.Wait(now, now); wait != PromptGap {
		t.Errorf("after a probe it waits %s", wait)
	}
	for i := range PromptBurst {
		if wait := p.Wait(time.Time{}, now); wait > 0 {
			t.Fatalf("round %d waits %s", i, wait)
		}
		p.Begin(now)
	}
	for range 3 {
		wait := p.Wait(time.Time{}, now)
		if wait != PromptEvery {
			t.Fatalf("the next one waits %s", wait)
		}
		now = now.Add(wait)
		p.Begin(now)
	}
	if wait := p.Wait(time.Time{}, now.Add(time.Minute)); wait > 0 {
		t.Errorf("a minute later it waits %s", wait)
	}
}
