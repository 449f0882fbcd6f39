package clustersql

import (
	"math/rand/v2"
	"time"
)

const (
	backoffFirst = 250 * time.Millisecond
	backoffMost  = 5 * time.Second
	// probeGap is the least time between the starts of two probes of a node,
	// however often one is asked for.
	probeGap = 100 * time.Millisecond
	// probeTicks is how many moments of a probe_interval there are at which
	// regular probes start, in this process: to wake an idle process costs more
	// than a probe does, so many nodes wake it together.
	probeTicks = 64
)

// backoff is the wait before a down node is tested for the n-th time, from 0:
// equal jitter, half of it fixed and half random, doubling up to backoffMost.
// See "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
func backoff(n int) time.Duration {
	d := backoffMost
	if n < 5 {
		d = min(backoffFirst<<n, backoffMost)
	}
	return d/2 + rand.N(d/2)
}

// aligned shortens a wait, by less than a tick, so that it ends on one.
func aligned(now time.Time, wait, tick time.Duration) time.Duration {
	late := time.Duration((now.UnixNano() + int64(wait)) % int64(tick))
	return wait - late
}

// jitter spreads d over 80 to 120 percent of it.
func jitter(d time.Duration) time.Duration {
	return d*4/5 + rand.N(d*2/5)
}
