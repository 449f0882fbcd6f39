package hedge

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/EnumApps/clustersql/internal/balance"
	"github.com/EnumApps/clustersql/internal/health"
	"github.com/EnumApps/clustersql/internal/seedtest"
)

const least = 20 * time.Millisecond

// The delay stays within its bounds, and comes to the time that about 99 of 100 reads
// need.
func TestDelayIsTheTimeThatMostReadsNeed(t *testing.T) {
	var d Delay
	if got := d.Now(least); got != least {
		t.Errorf("it begins with %s", got)
	}
	for range 100 {
		d.Answer(least)
	}
	if got := d.Now(least); got != least {
		t.Errorf("%s is less than the least", got)
	}
	for range 100 {
		d.Exceed(least)
	}
	if got := d.Now(least); got != Most {
		t.Errorf("%s, and %s is the most", got, Most)
	}
	if got := d.Now(time.Second); got != time.Second {
		t.Errorf("%s, where the least is a second", got)
	}
	// Of reads whose times are drawn evenly up to 200 ms, 99 of 100 take up to 198 ms. The
	// delay goes up and down around that: in 20,000 reads its mean is not off by a tenth.
	draws := seedtest.Rand(t)
	inTime, sum := 0, time.Duration(0)
	const reads = 20_000
	for i := range 2 * reads {
		if took := time.Duration(draws.Int64N(int64(200 * time.Millisecond))); took > d.Now(least) {
			d.Exceed(least)
		} else if inTime++; inTime%Batch == 0 {
			d.Answer(least)
		}
		if i >= reads {
			sum += d.Now(least)
		}
	}
	if mean := sum / reads; mean < 178*time.Millisecond || mean > 218*time.Millisecond {
		t.Errorf("the delay is %s in the mean", mean)
	}
}

// A read that another node answers first leaves the delay as it was.
func TestDelayIsTheReadsAndNotTheNodes(t *testing.T) {
	var d Delay
	for range 5 {
		d.Exceed(least)
	}
	before := d.Now(least)
	d.Exceed(least)
	d.Win(least)
	if after := d.Now(least); math.Abs(float64(after-before)) > 10 {
		t.Errorf("%s, and was %s", after, before)
	}
}

// What is right costs nothing, and what is in vain is bounded.
func TestBudgetIsSpentInVainOnly(t *testing.T) {
	now := time.Now()
	for _, tc := range []struct {
		outcome Outcome
		most    int // of 1000, at one moment
	}{{Won, 1000}, {Unsent, 61}, {Lost, 16}} {
		var b Budget
		took := 0
		for range 1000 {
			if b.Take(now, 3) {
				took++
				b.Settle(tc.outcome)
			}
		}
		if took != tc.most {
			t.Errorf("outcome %d: %d of 1000, want %d", tc.outcome, took, tc.most)
		}
	}
	var b Budget
	flying := 0
	for b.Take(now, 40+flying) {
		flying++
	}
	if flying != 40 {
		t.Errorf("%d at once with 40 connections", flying)
	}
	for i := range 3 { // one comes back in five seconds
		now = now.Add(refill)
		b.Settle(Lost)
		if !b.Take(now, 80) || b.Take(now, 80) {
			t.Errorf("round %d: not one after %s", i, refill)
		}
	}
	if b.Take(now.Add(-time.Hour), 80) {
		t.Error("a clock that goes back fills it")
	}
}

// Only nodes that are plainly well get a read, those first that nothing speaks against.
func TestOrder(t *testing.T) {
	now := time.Now()
	near := health.Latency{}.Add(time.Millisecond)
	far := health.Latency{}.Add(40 * time.Millisecond)
	up := func(name string, change func(*Candidate)) Candidate {
		c := Candidate{Member: balance.Member{Name: name, State: health.Up, RoundTrip: near}}
		change(&c)
		return c
	}
	all := []Candidate{
		up("outrun", func(c *Candidate) { c.Outrun = now.Add(-OutrunFor / 2) }),
		up("second", func(c *Candidate) { c.Second = true }),
		up("standby", func(c *Candidate) { c.Priority = 1 }),
		up("back", func(c *Candidate) { c.Returning = true }),
		up("unmeasured", func(c *Candidate) { c.RoundTrip = health.Latency{} }),
		up("far", func(c *Candidate) { c.RoundTrip = far }),
		up("loaded", func(c *Candidate) { c.Load = 5 }),
		up("b", func(*Candidate) {}),
		up("a", func(c *Candidate) { c.Outrun = now.Add(-OutrunFor) }),
		up("donor", func(c *Candidate) { c.Donor = true }),
		up("full", func(c *Candidate) { c.Full = true }),
	}
	for _, s := range []health.State{health.Unknown, health.Suspect, health.Down, health.Draining} {
		all = append(all, up(fmt.Sprint(s), func(c *Candidate) { c.State = s }))
	}
	var got []string
	for _, i := range Order(all, now) {
		got = append(got, all[i].Name)
	}
	if want := "[a b loaded far unmeasured back standby second outrun]"; fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
}
