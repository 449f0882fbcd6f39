// Package hedge decides how long a read may take before it is sent to another node
// too, how often that may be in vain, and in which order the nodes are asked.
//
// It has one lock, and no goroutine, channel or clock. The root imports it; it imports
// the packages balance and health.
package hedge

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/EnumApps/clustersql/internal/balance"
	"github.com/EnumApps/clustersql/internal/health"
)

// Most is the longest time that a read may take before it is hedged, unless the least
// is more.
const Most = 500 * time.Millisecond

// Batch is how many answered reads are told at once.
const Batch = 64

// With these two about one read of 85 takes longer than the delay.
const (
	growth    = 1.2   // for each read that takes longer
	shrinkage = 0.872 // for each Batch of reads that were answered in time
)

// A Delay is how long a read on a node may take before it is hedged. It comes to what
// about 99 of 100 reads need. The reads themselves move it, without a clock. The zero
// Delay is the least. Anyone may call the methods. least is the setting.
type Delay struct{ now atomic.Int64 }

// Now returns the delay.
func (d *Delay) Now(least time.Duration) time.Duration { return bounded(d.now.Load(), least) }

// Exceed notes a read that has taken longer than the delay.
func (d *Delay) Exceed(least time.Duration) { d.scale(growth, least) }

// Answer notes a Batch of reads that were answered in time.
func (d *Delay) Answer(least time.Duration) { d.scale(shrinkage, least) }

// Win takes back one Exceed: another node has answered first, so it was this node, and
// not the read, that took long. Other reads on it are not to wait longer for that.
func (d *Delay) Win(least time.Duration) { d.scale(1/growth, least) }

func (d *Delay) scale(by float64, least time.Duration) {
	for {
		now := d.now.Load()
		if d.now.CompareAndSwap(now, int64(bounded(int64(float64(bounded(now, least))*by), least))) {
			return
		}
	}
}

func bounded(d int64, least time.Duration) time.Duration {
	return min(max(time.Duration(d), least), max(Most, least))
}

// The Budget is of burst hedged reads that were in vain, and one more in each refill.
const (
	leastBurst = 16
	refill     = 5 * time.Second
)

// A Budget bounds how many reads are hedged in vain. One that was right costs nothing,
// so that there is no bound on these: a node that has frozen may have all its
// connections hang. Where queries are slow on every node, the other one does not
// answer sooner, and the budget is soon spent. The zero Budget is full. Anyone may call
// the methods.
type Budget struct {
	mu     sync.Mutex // guards what follows
	spent  float64
	flying int       // taken, and not settled
	as     time.Time // when spent was what it says
}

// Take takes one, for a read that is about to be hedged. conns is how many connections
// the cluster has, with those that were opened for hedged reads. It reports whether there was one left.
func (b *Budget) Take(now time.Time, conns int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if passed := now.Sub(b.as); passed > 0 {
		b.spent = max(0, b.spent-float64(passed)/float64(refill))
		b.as = now
	}
	if b.spent+1 > float64(max(leastBurst, conns-b.flying)) {
		return false
	}
	b.spent++
	b.flying++
	return true
}

// An Outcome is what has come of a hedged read.
type Outcome uint8

const (
	Won    Outcome = iota // the other node has answered first
	Unsent                // the read was answered while the other connection was being opened
	Lost                  // the other node has run it in vain
)

// costs are what outcomes take from the budget: a connection is less than a read.
var costs = [...]float64{Won: 0, Unsent: 0.25, Lost: 1}

// Settle gives back what was taken for a read and not spent.
func (b *Budget) Settle(o Outcome) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.flying--
	b.spent = max(0, b.spent-1+costs[o])
}

// OutrunFor is how long a node counts as lately outrun.
const OutrunFor = 10 * time.Second

// A Candidate is a node that may get a hedged read.
type Candidate struct {
	balance.Member
	Outrun time.Time // when another node last answered a read before it; zero if none ever did
}

// Order returns the indexes of the candidates that may get a read, in the order in which
// they are asked. A node that is not plainly well gets none: the read is under way
// already, and may be answered where it is.
func Order(all []Candidate, now time.Time) []int {
	var order []int
	for i := range all {
		if c := &all[i]; c.State == health.Up && !c.Donor && !c.Full {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		x, y := &all[a], &all[b]
		return cmp.Or(
			balance.CompareBools(x.outrun(now), y.outrun(now)), balance.CompareBools(x.Second, y.Second), cmp.Compare(x.Priority, y.Priority),
			balance.CompareBools(x.Returning, y.Returning), cmp.Compare(x.band(), y.band()), cmp.Compare(x.Load, y.Load), cmp.Compare(x.Name, y.Name),
		)
	})
	return order
}

func (c *Candidate) outrun(now time.Time) bool {
	return !c.Outrun.IsZero() && now.Sub(c.Outrun) < OutrunFor
}

// band makes nodes equal whose round trips are: among these the load decides.
func (c *Candidate) band() int64 {
	if c.RoundTrip.Count() == 0 {
		return 1 << 62
	}
	return int64(c.RoundTrip.Mean() / (15 * time.Millisecond))
}
