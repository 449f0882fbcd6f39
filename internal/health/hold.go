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
// node, or does not answer this, has none. Members of MySQL's Group Replication
// have a View too, beside their part in replication.
type View struct {
	Group string // wsrep_cluster_state_uuid: nodes with different ones are no group
	Conf  uint64 // the number of the view; counts from 1 since the group was bootstrapped
	Seqno uint64 // the number of the last transaction that the node has committed
	Size  int    // how many nodes are in the view; 0 if the node does not say

	Member string // the node's own number in the group, another one after each start
}

// Peers is what the other nodes of a cluster show of their groups.
type Peers struct {
	Nodes []Peer        // those that answer their probes
	Alone bool          // no other node is usable
	Hold  time.Duration // silence_hold
	Mixed bool          // the cluster may be made of several groups
}

// A Peer is another node that answers.
type Peer struct {
	View   View      // at its last look; the zero View if it shows none
	Looked time.Time // time of that look; zero if nobody looked yet
	Usable bool
	Up     bool // and there is no sign of trouble
}

func (p *Peer) shows() bool { return p.View.Conf != 0 }

// lags reports whether a node that went down by silence must still wait. All
// its answers since answered, the time of the first one, were good. own is the
// view that came with the latest answer. stale says that another node was not
// looked at since then.
func (p *Peers) lags(own View, answered, now time.Time) (waits, stale bool) {
	var conf, seqno uint64
	count := 0
	for i := range p.Nodes {
		n := &p.Nodes[i]
		if !n.Up || !n.shows() || n.View.Group != own.Group {
			continue
		}
		count++
		conf = max(conf, n.View.Conf)
		if !n.Looked.After(answered) {
			stale = true
			continue
		}
		seqno = max(seqno, n.View.Seqno)
	}
	switch {
	case p.Alone:
		return false, false
	case count == 0:
		return now.Sub(answered) < p.Hold, false
	}
	return stale || own.Conf < conf || own.Seqno < seqno, stale
}

// held decides whether a node that is not used must wait before it is. It
// returns the new health, and whether the node waits. A node of another group
// than the one in use waits, whatever took it out of use. A node that was silent
// also waits until it has caught up. A node that never showed a view does not
// wait for that: it is no Galera node, or its check does not look. A node that
// did show one is not let in by evidence without a view, such as an open that
// was under way.
func (h *Health) held(e *Evidence, now time.Time) (eff Effects, waits bool) {
	if e.Peers == nil {
		return Effects{}, h.State == Down && (h.Conf != 0 && h.SilentBefore || !h.apart.IsZero())
	}
	if h.Answered.IsZero() {
		h.Answered = now
	}
	eff, waits = h.elsewhere(e, now)
	if waits || h.State != Down || !h.SilentBefore || h.Conf == 0 {
		return eff, waits
	}
	if e.View == nil {
		return Effects{}, true
	}
	waits, stale := e.Peers.lags(*e.View, h.Answered, now)
	if waits {
		h.Good, h.Reason = 0, heldReason
	}
	return Effects{Compare: stale}, waits
}

// heldReason is the reason of a node that must wait. Its view is in the status.
const heldReason = "silent before: held until its view of the group and its last transaction are the others'"

// Outlasting turns a good check into evidence against the node when the node
// has been a donor for donorAfter and a better node is usable. It also records
// since when the node is a donor. Checks that did not ask for the status change
// nothing. The last usable node is used last, which is now.
func (h *Health) Outlasting(e *Evidence, donorAfter time.Duration, better bool, now time.Time) {
	switch {
	case !e.OK || e.Saw&ScopeStatus == 0:
		return
	case !e.Donor:
		h.DonorSince = time.Time{}
		return
	case h.DonorSince.IsZero():
		h.DonorSince = now
	}
	if better && now.Sub(h.DonorSince) >= donorAfter {
		e.Against(NotReady, ScopeStatus,
			fmt.Sprintf("%s: donor or desynced for over %s (allow_donor = true keeps it in use)", NotReady, donorAfter))
	}
}

// Against turns a good check into evidence against the node. The connection goes
// on.
func (e *Evidence) Against(c Class, need Scope, reason string) {
	*e = Evidence{Class: c, Need: need, Reason: reason, Probe: e.Probe, Fresh: e.Fresh, Began: e.Began, Spent: e.Spent, Goes: !e.Spent}
}
