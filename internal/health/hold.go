package health

import (
	"fmt"
	"time"
)

// A Galera node that was frozen or cut off first says Synced, does work and
// serves stale reads for up to 6 s. Only then does it learn that the group went
// on without it. Its view number, wsrep_cluster_conf_id, tells from the first
// answer on: it is lower than that of the other nodes. After a shorter silence
// the view is the same, but the node may lack for seconds what the others have
// committed. Then wsrep_last_committed tells.

// A View is what a Galera node says of its group. A node that is no Galera
// node, or does not answer this, has none.
type View struct {
	Group string // which group; nodes of one cluster may be in two, replicated by other means
	Conf  uint64 // the number of the view; counts from 1
	Seqno uint64 // the number of the last transaction that the node has committed
}

// Peers is what the other nodes of a cluster show of the group. It is collected
// when a node that was silent gives a good answer.
type Peers struct {
	Count int    // how many nodes are up and show a view
	Conf  uint64 // the highest view number
	Seqno uint64 // the highest transaction, of the nodes that were looked at since the first good answer
	Stale bool   // a node was not looked at since the first good answer
	Alone bool   // no other node is usable
	Hold  time.Duration
}

// holds reports whether a node that went down by silence must still wait. All
// its answers since answered, the time of the first one, were good. own is the
// view that came with the latest answer.
func (v *Peers) holds(own View, answered, now time.Time) bool {
	switch {
	case v.Alone:
		return false
	case v.Count == 0:
		return now.Sub(answered) < v.Hold
	}
	return v.Stale || own.Conf < v.Conf || own.Seqno < v.Seqno
}

// held decides whether a node must wait before it comes up. It returns the new
// health, and whether the node waits. A node that never showed a view does not
// wait: it is no Galera node, or its check does not look. A node that did show
// one is not let in by evidence without a view, such as an open that was under
// way.
func (h Health) held(e Evidence, now time.Time) (Health, bool) {
	if e.View != nil {
		h.Conf = max(h.Conf, e.View.Conf)
	}
	if h.State != Down || !h.SilentBefore || h.Conf == 0 {
		return h, false
	}
	if e.View == nil || e.Peers == nil {
		return h, true
	}
	if h.Answered.IsZero() {
		h.Answered = now
	}
	if !e.Peers.holds(*e.View, h.Answered, now) {
		return h, false
	}
	h.Good = 0
	h.Reason = heldReason
	return h, true
}

// heldReason is the reason of a node that must wait. Its view is in the status.
const heldReason = "silent before: held until its view of the group and its last transaction are the others'"

// Outlasting turns a good check into evidence against the node when the node
// has been a donor for donorAfter. It also records since when the node is a
// donor. Checks that did not ask for the status change nothing.
func (h Health) Outlasting(e Evidence, donorAfter time.Duration, now time.Time) (Health, Evidence) {
	switch {
	case !e.OK || e.Saw&ScopeStatus == 0:
		return h, e
	case !e.Donor:
		h.DonorSince = time.Time{}
		return h, e
	case h.DonorSince.IsZero():
		h.DonorSince = now
	}
	if now.Sub(h.DonorSince) >= donorAfter {
		e = Evidence{Class: NotReady, Need: ScopeStatus, Probe: e.Probe,
			Reason: fmt.Sprintf("%s: donor or desynced for over %s (allow_donor = true keeps it in use)", NotReady, donorAfter)}
	}
	return h, e
}
