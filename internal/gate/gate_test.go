package gate

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql/internal/seedtest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 25 * time.Millisecond

// A crowd enters a gate; each caller stays for as long as stay says.
func crowd(t *testing.T, g *Gate, callers int, stay time.Duration) (most int64, entered []int) {
	var wg sync.WaitGroup
	var inside, peak atomic.Int64
	var mu sync.Mutex
	for k := range callers {
		wg.Go(func() {
			p := g.Enter(t.Context(), nil)
			if p == 0 {
				t.Error("not let in")
				return
			}
			mu.Lock()
			entered = append(entered, k)
			mu.Unlock()
			n := inside.Add(1)
			for old := peak.Load(); n > old && !peak.CompareAndSwap(old, n); old = peak.Load() {
			}
			time.Sleep(stay)
			inside.Add(-1)
			g.Leave(p)
		})
		synctest.Wait() // the callers come one after the other
	}
	wg.Wait()
	if g.queue != nil || g.waiting != 0 || g.inside != 0 {
		t.Errorf("left behind: %d in the queue, %d waiting, %d inside", len(g.queue), g.waiting, g.inside)
	}
	return peak.Load(), entered
}

func TestQuickCallersGoInInTheirOrderAndNoMoreThanTheWidth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		most, entered := crowd(t, New(8, patience), 1000, time.Millisecond)
		if most != 8 {
			t.Errorf("%d were inside at the same time, want 8", most)
		}
		if took := time.Since(began); took != 125*time.Millisecond {
			t.Errorf("1000 callers, eight at a time, took %s", took)
		}
		for i := 8; i < len(entered); i += 8 { // those of one moment have no order
			for _, k := range entered[i:min(i+8, len(entered))] {
				if k/8 != i/8 {
					t.Fatalf("caller %d went in among those from %d on", k, i)
				}
			}
		}
	})
}

// Callers that hang keep nobody out for long, however many they are: with a
// width of 8 a turn lets in 8, or an eighth of those that wait.
func TestSlowCallersKeepNobodyOut(t *testing.T) {
	for _, c := range []struct {
		callers int
		turns   int
	}{{8, 0}, {9, 1}, {16, 1}, {17, 2}, {1000, 29}} {
		synctest.Test(t, func(t *testing.T) {
			waiting, turns := c.callers-8, 0
			for ; waiting > 0; turns++ {
				waiting -= max(8, waiting/8)
			}
			if turns != c.turns {
				t.Fatalf("the sum says %d turns for %d callers", turns, c.callers)
			}
			g := New(8, patience)
			began := time.Now()
			var wg sync.WaitGroup
			var last atomic.Int64
			for range c.callers {
				wg.Go(func() {
					p := g.Enter(t.Context(), nil)
					last.Store(int64(time.Since(began)))
					time.Sleep(time.Hour)
					g.Leave(p)
				})
			}
			wg.Wait()
			if took := time.Duration(last.Load()); took != time.Duration(turns)*patience {
				t.Errorf("the last of %d callers went in after %s, want %d turns", c.callers, took, turns)
			}
			// None of those that were slow counts any more.
			if most, _ := crowd(t, g, 100, time.Millisecond); most != 8 {
				t.Errorf("%d were inside at the same time afterwards", most)
			}
		})
	}
}

func TestWhoWaitsMayLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(1, patience)
		first := g.Enter(t.Context(), nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if p := g.Enter(ctx, nil); p != 0 {
			t.Error("let in with a context that was done")
		}
		ended := make(chan struct{})
		time.AfterFunc(time.Millisecond, func() { close(ended) })
		if p := g.Enter(t.Context(), ended); p != 0 {
			t.Error("let in after the end")
		}
		if g.queue != nil || g.waiting != 0 {
			t.Errorf("%d left behind", len(g.queue))
		}
		var wg sync.WaitGroup
		wg.Go(func() { g.Leave(g.Enter(t.Context(), nil)) })
		synctest.Wait()
		g.Leave(first)
		wg.Wait()
	})
}

// Whatever callers do, whoever stays is let in, and afterwards nobody counts.
func TestGateOfRandomCallers(t *testing.T) {
	draw := seedtest.Rand(t)
	for range 200 {
		width, callers := 1+draw.IntN(6), 1+draw.IntN(60)
		type plan struct{ come, patience, stay time.Duration }
		plans := make([]plan, callers)
		for i := range plans {
			plans[i] = plan{ms(draw, 50), ms(draw, 100), ms(draw, 100)}
			if draw.IntN(3) > 0 {
				plans[i].patience = time.Hour
			}
		}
		synctest.Test(t, func(t *testing.T) {
			g := New(width, patience)
			var wg sync.WaitGroup
			for _, p := range plans {
				wg.Go(func() {
					time.Sleep(p.come)
					ctx, cancel := context.WithTimeout(t.Context(), p.patience)
					defer cancel()
					pass := g.Enter(ctx, nil)
					if pass == 0 {
						if ctx.Err() == nil {
							t.Error("turned away")
						}
						return
					}
					time.Sleep(p.stay)
					g.Leave(pass)
				})
			}
			wg.Wait()
			if g.queue != nil || g.waiting != 0 || g.inside != 0 {
				t.Errorf("left behind: %d in the queue, %d waiting, %d inside", len(g.queue), g.waiting, g.inside)
			}
		})
	}
}

func ms(draw *rand.Rand, most int) time.Duration {
	return time.Duration(draw.IntN(most)) * time.Millisecond
}
