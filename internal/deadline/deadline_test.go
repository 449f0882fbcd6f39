package deadline

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

var errLate = fmt.Errorf("too late: %w", context.DeadlineExceeded)

func TestTimeoutPassesInTime(t *testing.T) {
	for _, d := range []time.Duration{1, time.Millisecond, 250 * time.Millisecond, 600 * time.Millisecond, 3 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			called := make(chan time.Duration, 1)
			ctx := New(t.Context(), d, errLate, func() { called <- time.Since(began) })
			defer ctx.Cancel()
			if at, ok := ctx.Deadline(); !ok || !at.Equal(began.Add(d)) {
				t.Errorf("deadline %v %v", at, ok)
			}
			child, stop := context.WithCancel(ctx)
			defer stop()
			<-child.Done()
			if took := <-called; took != d {
				t.Errorf("%v took %v", d, took)
			}
			if err := ctx.Err(); err != context.DeadlineExceeded || context.Cause(ctx) != errLate || context.Cause(child) != errLate {
				t.Errorf("%v, cause %v", err, context.Cause(ctx))
			}
		})
	}
}

// A step that comes late is not counted longer than it was to be, and one that
// comes very late is not counted at all.
func TestOwnLatenessIsLeftOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := New(t.Context(), 600*time.Millisecond, errLate, nil)
		defer ctx.Cancel()
		began := time.Now()
		ctx.timer.Stop() // as if the goroutine of the first step got no turn
		time.Sleep(150 * time.Millisecond)
		ctx.passed()
		ctx.timer.Stop()
		time.Sleep(700 * time.Millisecond)
		ctx.passed()
		<-ctx.Done()
		// The first step ended 50 ms late, the second one 600 ms, and is left out.
		// The other five were in time.
		if took := time.Since(began); took != 1350*time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

// A program that never gets a turn in time finds a silent node all the same.
func TestLatenessIsNotLeftOutForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := New(t.Context(), 600*time.Millisecond, errLate, nil)
		defer ctx.Cancel()
		late := 0
		for ; ctx.Err() == nil; late++ {
			ctx.timer.Stop()
			time.Sleep(time.Second)
			ctx.passed()
		}
		if late != steps+spare {
			t.Errorf("after %d late steps", late)
		}
	})
}

func TestCancelEndsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := New(t.Context(), time.Second, errLate, func() { t.Error("called") })
		ctx.Cancel()
		ctx.Cancel()
		if ctx.Err() != context.Canceled || context.Cause(ctx) != context.Canceled {
			t.Errorf("%v, cause %v", ctx.Err(), context.Cause(ctx))
		}
		time.Sleep(time.Minute)
		ctx.Shorten(time.Millisecond, errLate)
		time.Sleep(time.Minute)
		if ctx.Err() != context.Canceled {
			t.Errorf("later %v", ctx.Err())
		}
		parent, end := context.WithCancel(t.Context())
		ctx = New(parent, time.Second, errLate, nil)
		defer ctx.Cancel()
		end()
		if ctx.Err() != context.Canceled {
			t.Errorf("the parent's cancel: %v", ctx.Err())
		}
	})
}

func TestShorten(t *testing.T) {
	for _, tc := range []struct {
		to, want time.Duration
		err      error
	}{
		{time.Second, 1100 * time.Millisecond, context.Canceled},
		{1900 * time.Millisecond, 2 * time.Second, context.DeadlineExceeded},
		{time.Hour, 2 * time.Second, context.DeadlineExceeded},
	} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			ctx := New(t.Context(), 2*time.Second, errLate, nil)
			defer ctx.Cancel()
			time.Sleep(100 * time.Millisecond)
			ctx.Shorten(tc.to, context.Canceled)
			<-ctx.Done()
			if took := time.Since(began); took != tc.want || ctx.Err() != tc.err {
				t.Errorf("%v: %v after %v", tc.to, ctx.Err(), took)
			}
		})
	}
}

// An alarm goes off at the time that was set last, and not after it was stopped.
func TestAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a Alarm
		a.Stop()
		if a.At(time.Time{}) != nil {
			t.Error("no time is a time")
		}
		began := time.Now()
		a.At(began.Add(time.Second))
		<-a.At(began.Add(time.Minute))
		if took := time.Since(began); took != time.Minute {
			t.Errorf("it went off after %s", took)
		}
		<-a.At(began) // at once
		a.Last = time.Now().Add(time.Second)
		if a.Over() {
			t.Error("the last time has come")
		}
		for _, at := range []time.Time{{}, a.Last.Add(time.Hour)} {
			if <-a.At(at); !a.Over() || time.Now().After(a.Last.Add(1)) {
				t.Errorf("it went off at %s, and %s is the last time", time.Now(), a.Last)
			}
		}
		a.Last = time.Time{}
		if a.Over() {
			t.Error("no time is over")
		}
		c := a.At(time.Now().Add(time.Second))
		a.Stop()
		select {
		case <-c:
			t.Error("it went off after it was stopped")
		case <-time.After(time.Hour):
		}
	})
}
