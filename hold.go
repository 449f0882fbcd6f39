package clustersql

import (
	"fmt"
	"time"
)

// A Galera node that was frozen or cut off says Synced, does work and serves
// stale reads for up to 6 s before it learns that the group went on without
// it. One thing tells from its first answer on: the number of its view,
// wsrep_cluster_conf_id, is behind that of the others. After a shorter silence
// the view is the same, and the node may lack for seconds what the others have
// committed: wsrep_last_committed tells.

// A view is what a Galera node takes its group to be. A node that does not
// tell, or is no Galera node, has none.
type view struct {
	group string // which one: nodes of a cluster may be of two, replicated by other means
	conf  uint64 // counts its views, from 1
	seqno uint64 // counts its transactions: the last that the node has committed
}

// views is what the other nodes of a cluster show of the group, beside the
// first good answer of a node that was silent.
type views struct {
	nodes   int    // up, and telling their view
	newest  uint64 // the highest number
	last    uint64 // the highest transaction, of those that were looked at since the answer
	stale   bool   // one of them was not looked at since the answer
	alone   bool   // no other node is usable
	longest time.Duration
}

// holds reports whether a node that went down by silence and gives a good
// answer is to wait still: its answers since the first one are good, the
// latest comes with its own view.
func (v *views) holds(own view, answered, now time.Time) bool {
	switch {
	case v.alone:
		return false
	case v.nodes == 0:
		return now.Sub(answered) < v.longest
	}
	return v.stale || own.conf < v.newest || own.seqno < v.last
}

// held is the state of a node that has to wait, or not: health before and
// whether it waits. A node that never showed a view is no Galera node, or its
// check does not look; one that did is not let in by who did not look, such as
// an open that was under way.
func (h health) held(e evidence, now time.Time) (health, bool) {
	if e.view != nil {
		h.conf = max(h.conf, e.view.conf)
	}
	if h.state != StateDown || !h.hushed || h.conf == 0 {
		return h, false
	}
	if e.view == nil || e.views == nil {
		return h, true
	}
	if h.answered.IsZero() {
		h.answered = now
	}
	if !e.views.holds(*e.view, h.answered, now) {
		return h, false
	}
	h.good = 0
	h.reason = fmt.Sprintf("%s before: held until its view of the group (%d) and its last transaction (%d) are the others'", classSilent, e.view.conf, e.view.seqno)
	return h, true
}

// views collects what the other nodes of its group show, and has those look
// again that have not since the node's first good answer.
func (n *node) views(group string, answered time.Time) *views {
	v := &views{alone: n.alone(), longest: n.cfg.SilenceHold}
	for _, other := range *n.members.Load() {
		s := other.snapshot.Load()
		if other == n || s.State != StateUp || s.ConfID == 0 || s.group != group {
			continue
		}
		v.nodes++
		v.newest = max(v.newest, s.ConfID)
		if !s.confSeen.After(answered) {
			v.stale = true
			other.nudge()
			continue
		}
		v.last = max(v.last, s.seqno)
	}
	return v
}
