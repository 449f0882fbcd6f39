package simulation

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql/internal/race"
)

var (
	simulateSeed = flag.Uint64("simulate.seed", 0, "the one seed that TestSimulation runs; 0: the usual ones")
	simulateFor  = flag.Duration("simulate.for", 0, "run TestSimulation on fresh seeds for as long")
)

// A simulation is a cluster on fakedb in virtual time, with a schedule of
// faults, calls and changes of membership that its seed alone decides; what
// has to hold whatever happens (see simRules) is checked after every step.
//
//	go test -run 'TestSimulation$' -count 20 ./internal/simulation -simulate.seed 17
//
// runs one seed again, twenty times. The schedule is the same each time, and so
// is the jitter of probes. What the scheduler makes of calls of the same instant
// is not, nor is which of them has which of the numbers that calls draw: a
// violation that hangs on those may need many runs to come back.
func TestSimulation(t *testing.T) {
	if *simulateSeed != 0 {
		simulateReported(t, *simulateSeed, new(tally))
		return
	}
	if *simulateFor > 0 {
		simulateOn(t, *simulateFor)
		return
	}
	seeds := uint64(300)
	switch {
	case race.Enabled: // which makes a seed ten times as long
		seeds = 15
	case testing.Short():
		seeds = 30
	}
	sum := new(tally)
	for seed := range seeds {
		simulateReported(t, seed+1, sum)
	}
	t.Log(sum)
	for what, n := range sum.counts() {
		if n == 0 && seeds >= 300 { // fewer may miss one
			t.Errorf("%d seeds, and not one has come to this: %s", seeds, what)
		}
	}
}

// simulateOn takes fresh seeds for as long as it is told.
func simulateOn(t *testing.T, d time.Duration) {
	seeds, failed, sum := 0, []uint64(nil), new(tally)
	end := time.Now().Add(d)
	for told := time.Now(); time.Now().Before(end); seeds++ {
		seed := rand.Uint64N(1<<53) + 1
		if !simulateReported(t, seed, sum) {
			failed = append(failed, seed)
		}
		if time.Since(told) > 10*time.Second {
			told = time.Now()
			fmt.Printf("%d seeds, failed: %v\n", seeds+1, failed)
		}
	}
	fmt.Printf("%d seeds in %s, failed: %v\n%s\n", seeds, d, failed, sum)
}

// simulateReported runs one seed and reports what it violates at once, in case
// that another one does not come back.
func simulateReported(t *testing.T, seed uint64, sum *tally) bool {
	stuck := time.AfterFunc(2*time.Minute, func() { fmt.Fprintf(os.Stderr, "seed %d has not ended\n", seed) })
	defer stuck.Stop()
	report := simulate(t, seed, sum)
	if report == "" {
		return true
	}
	fmt.Fprintln(os.Stderr, report)
	t.Errorf("seed %d: violated, see above; again: go test -run 'TestSimulation$' -count 20 ./internal/simulation -simulate.seed %d", seed, seed)
	return false
}

// simulate runs one seed in a bubble of its own. The report is empty when all
// held.
func simulate(t *testing.T, seed uint64, sum *tally) (report string) {
	return simulatePlan(t, newSchedule(seed), sum)
}

func simulatePlan(t *testing.T, plan *schedule, sum *tally) (report string) {
	var w *world
	defer func() {
		if r := recover(); r != nil { // the bubble's deadlock, or a goroutine that is left
			what := fmt.Sprint(r)
			if w != nil && w.violated() != "" {
				what = w.violated()
			}
			report = fmt.Sprintf("%s\n%sviolated: %s", plan, w.lastSteps(), what)
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		w = newWorld(t.Name(), plan, sum)
		w.run()
		if violation := w.violated(); violation != "" {
			report = fmt.Sprintf("%s\n%sviolated: %s", plan, w.lastSteps(), violation)
		}
	})
	return report
}

// The same with reads that are hedged, often after a millisecond: nothing but a read is
// ever sent twice.
func TestSimulationOfHedgedReads(t *testing.T) {
	seeds := uint64(150)
	switch {
	case race.Enabled: // which makes a seed ten times as long
		seeds = 10
	case testing.Short():
		seeds = 30
	}
	first, end := uint64(1), time.Time{}
	switch {
	case *simulateSeed != 0:
		first, seeds = *simulateSeed, 1
	case *simulateFor > 0: // fresh seeds, for a part of the time
		first, seeds, end = rand.Uint64N(1<<53)+1, 1<<32, time.Now().Add(*simulateFor/4)
	}
	sum, done := new(tally), 0
	for seed := first; seed < first+seeds && (end.IsZero() || time.Now().Before(end)); seed++ {
		done++
		if report := simulatePlan(t, hedgedSchedule(seed), sum); report != "" {
			t.Errorf("seed %d: violated; again: go test -run 'TestSimulationOfHedgedReads$' ./internal/simulation -simulate.seed %d\n%s", seed, seed, report)
		}
	}
	t.Logf("%d seeds from %d on, %d reads came to another connection\n%s", done, first, sum.hedged, sum)
	if sum.hedged == 0 && done >= 30 {
		t.Error("no read was hedged")
	}
}

// A tally counts what the seeds have come to, to show that the rules were
// put to the test.
type tally struct {
	calls, good, moved, repeated, unknown, cancelled, refused, lost int
	handed, retired, downs, cuts, allBad, closed, overlooked        int

	hedged int
}

func (s *tally) counts() map[string]int {
	return map[string]int{
		"calls": s.calls, "calls that succeeded": s.good, "statements that moved to another conn": s.moved,
		"statements that ran again because they may": s.repeated, "unknown outcomes": s.unknown,
		"calls whose context ended": s.cancelled, "statements refused": s.refused, "statements lost under way": s.lost,
		"conns handed out": s.handed, "conns retired": s.retired, "nodes down": s.downs, "conns cut": s.cuts,
		"opens while all nodes were down": s.allBad, "calls on a closed database": s.closed,
		"opens past a node that was down": s.overlooked,
	}
}

// String shows the counts.
func (s *tally) String() string {
	var b strings.Builder
	for what, n := range s.counts() {
		fmt.Fprintf(&b, "%8d %s\n", n, what)
	}
	return b.String()
}
