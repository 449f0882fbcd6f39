package simulation

import (
	"cmp"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

// checkGoroutines bounds what runs by what is there: nodes, conns, calls.
func (w *world) checkGoroutines() { w.judgeGoroutines(runtime.NumGoroutine()) }

// judgeGoroutines counts the goroutines one by one where there seem to be too many.
// NumGoroutine also counts those that have ended, while the garbage collector frees
// their stacks: hundreds, where the seeds before had many.
func (w *world) judgeGoroutines(seem int) {
	stats := w.backend.Stats()
	most := 100 + 40*w.plan.settings.nodes + 2*stats.Live + 8*w.callsOut() + int(w.opening.Load())*(4+4*w.plan.settings.nodes)
	if seem <= most {
		return
	}
	if stacks := goroutines(); len(stacks) > most {
		w.violate("%d goroutines, and %d are enough for %d conns and %d calls:\n%s", len(stacks), most, stats.Live, w.callsOut(), summary(stacks))
	}
}

// summary counts goroutines by what has begun them and by where they are, most first.
func summary(stacks []string) string {
	counts := map[string]int{}
	for _, s := range stacks {
		counts[place(s)]++
	}
	lines := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(counts[b]-counts[a], strings.Compare(a, b))
	})
	for i, l := range lines {
		lines[i] = fmt.Sprintf("%6d %s", counts[l], l)
	}
	return strings.Join(lines, "\n")
}

// place returns the innermost func of ours on a stack, or else its outermost one, and who
// has begun the goroutine.
func place(stack string) string {
	at, creator := "", "nobody"
	for _, line := range strings.Split(stack, "\n")[1:] {
		if by, ok := strings.CutPrefix(line, "created by "); ok {
			creator, _, _ = strings.Cut(by, " in goroutine ")
			break
		}
		if strings.HasPrefix(line, "\t") || strings.Contains(at, "EnumApps") {
			continue
		}
		at = line[:max(strings.LastIndex(line, "("), 0)]
	}
	return at + ", begun by " + creator
}

// bubble returns the stacks of the bubble's goroutines.
func bubble() string { return strings.Join(goroutines(), "\n\n") }

// goroutines returns them one by one, but for those of the test itself.
func goroutines() (stacks []string) {
	buf := make([]byte, 1<<20)
	for runtime.Stack(buf, true) == len(buf) {
		buf = make([]byte, 2*len(buf))
	}
	buf = buf[:runtime.Stack(buf, true)]
	all := strings.Split(string(buf), "\n\n")
	mine := all[0][strings.Index(all[0], "synctest bubble"):]
	mine = mine[:strings.Index(mine, "]")]
	for _, g := range all[1:] {
		head, _, _ := strings.Cut(g, "\n")
		if strings.Contains(g, "created by testing/synctest.Test ") || strings.Contains(head, "[synctest.Run") {
			continue
		}
		if strings.Contains(head, mine+"]") || strings.Contains(head, mine+",") {
			stacks = append(stacks, g)
		}
	}
	return stacks
}

// What runs is counted one by one, and a violation says what it is. Goroutines that have
// ended are none.
func TestSimulationCountsGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plan := newSchedule(1)
		w := newWorld(t.Name(), plan, new(tally))
		defer w.driver.Close()
		w.judgeGoroutines(10_000)
		if what := w.violated(); what != "" {
			t.Errorf("there are few goroutines: %s", what)
		}
		end := make(chan struct{})
		var many sync.WaitGroup
		for range 1000 {
			many.Go(func() { <-end })
		}
		synctest.Wait()
		w.checkGoroutines()
		if what := w.violated(); !strings.Contains(what, "  1000 ") || !strings.Contains(what, "TestSimulationCountsGoroutines.func") {
			t.Errorf("there are 1000 more: %q", what)
		}
		close(end)
		many.Wait()
	})
}
