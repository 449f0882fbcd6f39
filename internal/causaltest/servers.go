package causaltest

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// AtOnce is how many sessions Check has at a time. Their counters are those from 0.
const AtOnce = 12

// Check runs sessions on servers that lag. With them no read sees less than it must, and
// the same check finds reads that do without. Of the options it needs Put, Get, Open,
// Carry, and Reads, which are those with sessions. lag disturbs the servers until the
// context that it returns is done, and with deaths kills some.
func Check(t *testing.T, o Options, lag func(t *testing.T, deaths bool) context.Context) {
	t.Helper()
	o.Sessions, o.Longest, o.Seed = AtOnce, 20*time.Minute, 1
	t.Run("costs", func(t *testing.T) {
		o := o
		o.From = 1000
		read, readSession, write, writeSession, err := Costs(t.Context(), o, 300)
		t.Logf("a read takes %s, in a session %s; a write %s, in a session %s: %v", read, readSession, write, writeSession, err)
		if err != nil {
			t.Error(err)
		}
	})
	t.Run("without", func(t *testing.T) {
		o := o
		o.From, o.Reads, o.Open, o.Carry = 500_000, 2000, func(ctx context.Context) context.Context { return ctx }, nil
		r := Run(lag(t, false), o)
		t.Log(r)
		if r.Stale < 10 {
			t.Error("the check found hardly any stale reads where there must be some")
		}
	})
	t.Run("ReadYourWrites", func(t *testing.T) {
		o := o
		o.From = 1_000_000
		r := Run(lag(t, true), o)
		t.Log(r)
		if bad := r.Stale + r.Backward; bad > 0 {
			t.Errorf("%d reads saw less than they must: %s", bad, r.Example)
		}
		if r.Reads < o.Reads*3/4 || r.ReadErrors > r.Reads/10 {
			t.Errorf("too few reads: %v, %v", r.FirstError, r.FirstWriteErr)
		}
	})
}

// Disturb runs the loops, each with draws of its own, until the context that it returns
// is done. That is at the end of the test, which waits for them.
func Disturb(t *testing.T, loops ...func(ctx context.Context, draw *rand.Rand)) context.Context {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	var work sync.WaitGroup
	t.Cleanup(func() {
		stop()
		work.Wait()
	})
	for i, loop := range loops {
		work.Go(func() { loop(ctx, rand.New(rand.NewPCG(uint64(i), 0))) })
	}
	return ctx
}

// Pause waits, and reports whether ctx goes on.
func Pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// Moments calls stop and start by turns: what is stopped stays so for 20 to 320 ms, and
// goes on for at most 200 ms.
func Moments(stop, start func(ctx context.Context)) func(ctx context.Context, draw *rand.Rand) {
	return func(ctx context.Context, draw *rand.Rand) {
		for ctx.Err() == nil {
			stop(ctx)
			Pause(ctx, time.Duration(20+draw.IntN(300))*time.Millisecond)
			start(context.Background())
			Pause(ctx, time.Duration(draw.IntN(200))*time.Millisecond)
		}
	}
}
