package clustersql

import (
	"time"

	"github.com/EnumApps/clustersql/internal/health"
)

// slots is how many attempts the node may have in flight now.
func (n *node) slots() int {
	switch f := &n.own.full; {
	case !n.own.health.State.Usable(), time.Now().Before(f.Until):
		return 0
	case f.Refused > 0:
		return 1
	}
	return n.cfg.MaxOpensPerNode
}

// refuseWaiting answers the requests that wait for a node that is down or
// full: no open pays for testing the one, and few for testing the other.
func (n *node) refuseWaiting() {
	if len(n.own.waiting) == 0 {
		return
	}
	why := n.own.fullWhy
	switch {
	case n.own.health.State == health.Draining:
		why = n.dial.failure(health.Neutral, n.whyDrained())
	case n.own.health.State == health.Down:
		why = known(n.snapshot.Load(), n.own.health.Reason)
	case why == nil:
		return
	}
	for _, r := range n.own.waiting {
		r.fail(why)
	}
	clear(n.own.waiting)
	n.own.waiting = n.own.waiting[:0]
}

// noteChance notes that an open which failed here may ask again, and wakes
// those that wait.
func (n *node) noteChance() {
	n.own.facts.chances++
	n.own.changed = n.own.changed || n.waiting.Load() > 0
}
