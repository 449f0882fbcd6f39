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

// A Way is how the calls of a Check read: on all servers, or on those that lag alone.
type Way struct {
	Get   func(ctx context.Context, key int) (int64, error)
	Calls func() Calls // what the sessions' calls have done so far
}

// Check runs sessions on servers that lag. With them no read sees less than it must, and
// the same check finds reads that do without. Of the options it needs Put, Behind, Open,
// Carry, and Reads, which are those with sessions. The writer is among all, and not
// among far, where a read of what was just written has to wait, or sees less. lag disturbs the servers until the
// context that it returns is done, and with deaths kills some.
//
// A read that is behind for longer than it may wait fails, by contract. How many do is
// the servers' affair.
func Check(t *testing.T, o Options, all, far Way, lag func(t *testing.T, deaths bool) context.Context) {
	t.Helper()
	o.Sessions, o.Longest, o.Seed = AtOnce, 20*time.Minute, 1
	t.Run("costs", func(t *testing.T) {
		o := o
		o.From = 1000
		t.Log("| | " + CostHead + " |")
		for i, w := range []Way{all, far} {
			o.Get = w.Get
			o.From += int64(i) * 1000
			c, err := Costs(t.Context(), o, w.Calls, 300)
			t.Logf("| %s | %s |", [...]string{"any server", "another server than the writer's"}[i], c)
			if err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("without", func(t *testing.T) {
		o := o
		o.From, o.Reads, o.Open, o.Carry, o.Get = 500_000, 2000, func(ctx context.Context) context.Context { return ctx }, nil, far.Get
		r := Run(lag(t, false), o)
		t.Log(r)
		if r.Stale < 10 {
			t.Error("the check found hardly any stale reads where there must be some")
		}
	})
	t.Run("on servers that lag", func(t *testing.T) {
		o := o
		o.From, o.Reads, o.Get = 1_000_000, max(o.Reads/4, 500), far.Get
		before := far.Calls()
		r := Run(lag(t, false), o)
		after := far.Calls()
		t.Log(r)
		r.judge(t)
		if after.Waited+after.Moved == before.Waited+before.Moved {
			t.Error("no read had to wait")
		}
	})
	t.Run("ReadYourWrites", func(t *testing.T) {
		o := o
		o.From, o.Get = 2_000_000, all.Get
		r := Run(lag(t, true), o)
		t.Log(r)
		r.judge(t)
		if r.Reads+r.Behind < o.Reads*3/4 {
			t.Errorf("too few reads: %v, %v", r.FirstError, r.FirstWriteErr)
		}
	})
}

// judge fails the test if a read has seen less than it must, or if reads fail that are
// not behind.
func (r *Result) judge(t *testing.T) {
	t.Helper()
	if bad := r.Stale + r.Backward; bad > 0 {
		t.Errorf("%d reads saw less than they must: %s", bad, r.Example)
	}
	if r.ReadErrors > (r.Reads+r.Behind)/10 {
		t.Errorf("reads fail: %v, %v", r.FirstError, r.FirstWriteErr)
	}
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
