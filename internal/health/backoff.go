package health

import (
	"math/rand/v2"
	"time"
)

const (
	BackoffFirst = 250 * time.Millisecond
	BackoffMost  = 5 * time.Second
	// probeGap is the least time between the starts of two probes of a node,
	// however often one is asked for.
	ProbeGap = 100 * time.Millisecond
	// probeTicks is how many moments of a probe_interval there are at which
	// regular probes start, in this process: to wake an idle process costs more
	// than a probe does, so many nodes wake it together.
	ProbeTicks = 64
)

// backoff is the wait before a down node is tested for the n-th time, from 0:
// equal jitter, half of it fixed and half random, doubling up to backoffMost.
// See "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
func Backoff(n int, r *rand.Rand) time.Duration {
	d := BackoffMost
	if 0 <= n && n < 5 {
		d = min(BackoffFirst<<n, BackoffMost)
	}
	return d/2 + time.Duration(r.Int64N(int64(d/2)))
}

// aligned shortens a wait, by less than a tick, so that it ends on one. Each
// addend is cut to a tick first, so that no sum overflows.
func Aligned(now time.Time, wait, tick time.Duration) time.Duration {
	if tick <= 0 {
		return wait
	}
	late := time.Duration(now.UnixNano()%int64(tick)) + wait%tick
	return wait - late%tick
}

// jitter spreads d over 80 to 120 percent of it. It divides before it
// multiplies, so that no duration that a setting can have overflows.
func Jitter(d time.Duration, r *rand.Rand) time.Duration {
	return d/5*4 + time.Duration(r.Int64N(max(1, int64(d/5*2))))
}
