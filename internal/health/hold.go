package health

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
type View struct {
	Group string // which one: nodes of a cluster may be of two, replicated by other means
	Conf  uint64 // counts its views, from 1
	Seqno uint64 // counts its transactions: the last that the node has committed
}

// views is what the other nodes of a cluster show of the group, beside the
// first good answer of a node that was silent.
type Peers struct {
	Count int    // up, and telling their view
	Conf  uint64 // the highest number
	Seqno uint64 // the highest transaction, of those that were looked at since the answer
	Stale bool   // one of them was not looked at since the answer
	Alone bool   // no other node is usable
	Hold  time.Duration
}

// holds reports whether a node that went down by silence and gives a good
// answer is to wait still: its answers since the first one are good, the
// latest comes with its own view.
func (v *Peers) holds(own View, answered, now time.Time) bool {
	switch {
	case v.Alone:
		return false
	case v.Count == 0:
		return now.Sub(answered) < v.Hold
	}
	return v.Stale || own.Conf < v.Conf || own.Seqno < v.Seqno
}

// held is the state of a node that has to wait, or not: health before and
// whether it waits. A node that never showed a view is no Galera node, or its
// check does not look; one that did is not let in by who did not look, such as
// an open that was under way.
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

// heldReason is the reason of a node that has to wait. Its view is in the
// status.
const heldReason = "silent before: held until its view of the group and its last transaction are the others'"

// outlasting turns a good check into evidence against the node when that has
// been a donor for donorAfter, and keeps since when it is one. Checks that did
// not ask for the status change nothing.
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
