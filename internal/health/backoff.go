package health

import (
	"math/rand/v2"
	"time"
)

const (
	// BackoffFirst is the first wait of Backoff, before jitter.
	BackoffFirst = 250 * time.Millisecond
	// BackoffMost is the longest wait of Backoff.
	BackoffMost = 5 * time.Second
	// ProbeGap is the shortest time between the starts of two probes of one
	// node, however often a probe is asked for.
	ProbeGap = 100 * time.Millisecond
	// ProbeTicks is the number of ticks in one probe_interval. Regular probes
	// of this process start only at a tick. Waking an idle process costs more
	// than a probe does, so the probes of many nodes share one wake-up.
	ProbeTicks = 64
)

// Backoff returns the wait before the n-th test of a down node; n counts from
// 0. It uses equal jitter: half of the wait is fixed, the other half is random.
// The wait doubles with n, from BackoffFirst up to BackoffMost. See
// "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
func Backoff(n int, r *rand.Rand) time.Duration {
	d := BackoffMost
	if 0 <= n && n < 5 {
		d = min(BackoffFirst<<n, BackoffMost)
	}
	return d/2 + time.Duration(r.Int64N(int64(d/2)))
}

// Aligned shortens a wait by less than one tick, so that the wait ends on a
// tick. It reduces each part to a tick before it adds them, so that no sum
// overflows.
func Aligned(now time.Time, wait, tick time.Duration) time.Duration {
	if tick <= 0 {
		return wait
	}
	late := time.Duration(now.UnixNano()%int64(tick)) + wait%tick
	return wait - late%tick
}

// Jitter returns a random duration from 80 to 120 percent of d. It divides
// before it multiplies, so that no duration that a setting allows overflows.
func Jitter(d time.Duration, r *rand.Rand) time.Duration {
	return d/5*4 + time.Duration(r.Int64N(max(1, int64(d/5*2))))
}

// PromptGap is the shortest time between the start of a probe and that of a prompt
// round.
const PromptGap = ProbeGap / 2

// Where most calls are late, their node would be probed all the time. So a node
// that has had PromptBurst rounds in a row gets no more than one in PromptEvery. A
// node whose calls are late now and then never comes to that.
const (
	PromptBurst = 20
	PromptEvery = 500 * time.Millisecond
)

// A Prompt says how long the rounds of probes wait that late calls ask for. The zero
// Prompt has had none.
type Prompt struct {
	spent time.Time // PromptEvery after now for each round of late that is not made up for
}

// Wait returns how long the next round has to wait. probed is when the latest probe of any
// kind began.
func (p *Prompt) Wait(probed, now time.Time) time.Duration {
	wait := PromptGap - now.Sub(probed)
	if p.spent.Before(now) {
		return max(wait, 0)
	}
	return max(wait, p.spent.Sub(now)-(PromptBurst-1)*PromptEvery)
}

// Begin notes that a round begins.
func (p *Prompt) Begin(now time.Time) {
	if p.spent.Before(now) {
		p.spent = now
	}
	p.spent = p.spent.Add(PromptEvery)
}
