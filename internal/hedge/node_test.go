package hedge

import (
	"testing"
	"time"
)

// A node that was outrun is asked last for a moment, and every read is counted once.
func TestNodeIsOutrun(t *testing.T) {
	now := time.Unix(1e9, 0)
	var none *Node
	if none.Avoided(now) || !none.Outrun().IsZero() {
		t.Error("a node without hedged reads was outrun")
	}
	if armed, launched, won, lost := none.Counts(); armed != 0 || launched+won+lost != 0 {
		t.Error("and has counted some")
	}
	var n Node
	for range 3 {
		n.Launched.Add(1)
	}
	n.Settle(Lost, false, least, now)
	n.Settle(Unsent, false, least, now)
	if n.Avoided(now) || !n.Outrun().IsZero() {
		t.Error("it was outrun before it was")
	}
	for range 4 {
		n.Exceed(least)
	}
	before := n.Now(least)
	n.Settle(Won, true, least, now)
	if got := n.Now(least); got != before {
		t.Errorf("a read with a time of its own has moved the delay from %s to %s", before, got)
	}
	n.Settle(Won, false, least, now)
	if got := n.Now(least); got >= before {
		t.Errorf("a read that was won leaves the delay at %s", got)
	}
	if !n.Avoided(now.Add(avoidFor-1)) || n.Avoided(now.Add(avoidFor)) || !n.Outrun().Equal(now) {
		t.Error("outrun at another time")
	}
	if _, launched, won, lost := n.Counts(); launched != 3 || won != 2 || lost != 2 {
		t.Error(launched, won, lost)
	}
}
