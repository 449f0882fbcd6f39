package session

import (
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql/internal/seedtest"
)

// An alarm goes off for each call that takes its time, at the end of it, and for no other
// one, whatever times the calls before had.
func TestAlarmGoesOffInTime(t *testing.T) {
	draw := seedtest.Rand(t)
	synctest.Test(t, func(t *testing.T) {
		var at atomic.Int64
		var offs int64
		a := newAlarm(func() { at.Store(clock()) })
		for i := range 20_000 {
			after := time.Duration(1+draw.IntN(50)) * time.Millisecond
			took := time.Duration(draw.Int64N(int64(2 * after)))
			if i/100%2 == 1 && draw.IntN(50) > 0 {
				took /= 100
			}
			if took == after {
				took++ // either is right
			}
			began := clock()
			at.Store(0)
			a.start(after)
			time.Sleep(took)
			synctest.Wait()
			off := a.stop()
			if i/100%2 == 0 { // else the calls follow closely, unless they take long
				time.Sleep(time.Duration(draw.IntN(60)) * time.Millisecond)
				synctest.Wait()
			}
			want := int64(0)
			if took > after {
				want = began + int64(after)
				offs++
			}
			if at.Load() != want || off != (want != 0) {
				t.Fatalf("call %d took %s of %s: stop says %t; it went off %s after it began", i, took, after, off, time.Duration(at.Load()-began))
			}
		}
		if offs == 0 {
			t.Error("it never went off")
		}
	})
}

// Where calls follow each other closely, the timer is set once in the time that they have.
// It fires once when they end. Where they are rare, it never fires in vain.
func TestAlarmFiresSeldom(t *testing.T) {
	const after = 40 * time.Millisecond
	for _, tc := range []struct {
		every time.Duration
		most  int // times that the timer is set, for 10,000 calls
		runs  bool
	}{{time.Millisecond, many + 10_000/39 + 1, true}, {after/part + 1, 10_000, false}, {time.Second, 10_000, false}} {
		synctest.Test(t, func(t *testing.T) {
			a := newAlarm(func() { t.Error("it went off") })
			set, last := 0, int64(never)
			for range 10_000 {
				a.start(after)
				if next := a.next.Load(); next != last {
					set, last = set+1, next
				}
				if last > clock()+int64(after) {
					t.Fatalf("every %s: the timer fires when the call is late already", tc.every)
				}
				a.stop()
				if runs := a.next.Load() != never; runs && !tc.runs {
					t.Fatalf("every %s: the timer runs on", tc.every)
				}
				time.Sleep(tc.every)
			}
			if set > tc.most { // a call that began a millisecond ago has 39 left
				t.Errorf("every %s: the timer was set %d times, want %d at most", tc.every, set, tc.most)
			}
			time.Sleep(after)
			synctest.Wait()
			if a.next.Load() != never {
				t.Errorf("every %s: the timer runs while no call is under way", tc.every)
			}
		})
	}
}

// On real time, with calls that are about as long as they may be, stop tells what off has
// been called for: nothing is lost and nothing is told twice.
func TestAlarmCountsAsStopTells(t *testing.T) {
	var went atomic.Int64
	told := int64(0)
	a := newAlarm(func() { went.Add(1) })
	draw := rand.New(rand.NewPCG(1, 2))
	for range 2_000 {
		after := time.Duration(20+draw.IntN(100)) * time.Microsecond
		a.start(after)
		for until := time.Now().Add(time.Duration(draw.IntN(200)) * time.Microsecond); time.Now().Before(until); {
		}
		if a.stop() {
			told++
		}
	}
	for deadline := time.Now().Add(10 * time.Second); went.Load() != told; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("off was called %d times, and stop told of %d", went.Load(), told)
		}
	}
	t.Logf("%d of 2000", told)
}

// BenchmarkAlarm is what an alarm adds to a call that follows closely on another one, and
// to a rare one.
func BenchmarkAlarm(b *testing.B) {
	for _, rare := range []bool{false, true} {
		b.Run(map[bool]string{false: "close", true: "rare"}[rare], func(b *testing.B) {
			a := newAlarm(func() {})
			b.ReportAllocs()
			for b.Loop() {
				if rare {
					a.began -= int64(time.Hour)
				}
				a.start(time.Hour)
				a.stop()
			}
		})
	}
}
