package health

import "time"

// A Cut of a node's connections that is due waits for a proof that the node is silent,
// and not the network, this program or the whole group: a fellow has answered since the
// silence began, a dial of this node that began after that was not answered, and
// a fellow has answered during that dial. A fellow's answer alone proves nothing:
// when a network comes back, one node is the first to answer. Nor does a dial
// alone: the whole group may have fallen silent when it began. Without the proof,
// calls hang until hang_limit, or longer while dials fail for a reason of their
// own, such as a name service. The only node of a cluster has nobody to be
// compared with: its silence is taken for its own.
//
// The zero Cut is none.
type Cut struct {
	Reason     string // empty: no cut is due
	Raise      bool   // the conns are not retired yet
	Proven     bool
	silent     bool      // the last dial was not answered or refused; else it failed for a reason of its own, and says nothing
	heard      bool      // the server was heard of after the silence began: that a dial is refused says nothing either
	Generation uint64    // when it became due
	Since      time.Time // the node has been silent since then
}

// Due reports whether there is one.
func (c *Cut) Due() bool { return c.Reason != "" }

// Prove looks whether a silent probe proves that the cut is right. fellows reports
// whether fellows have answered as they must for that. A refused dial proves nothing:
// the node may be slow, and out of a service meanwhile. The lasting connection has until
// hang_limit to answer then. The sessions of a process that died are reset, and do not
// hang.
func (c *Cut) Prove(e *Evidence, fellows func() bool) {
	if !c.Due() || !e.Probe || !e.Fresh {
		return
	}
	silent := e.Class == Silent && !e.OK
	c.silent = silent || e.Class == Refused && !c.heard
	if silent {
		c.Proven = c.Proven || fellows()
	}
}

// Waits reports whether the cut waits for its proof. limit is hang_limit.
func (c *Cut) Waits(limit time.Duration, now time.Time) bool {
	return !c.Proven && (!c.silent || now.Sub(c.Since) < limit)
}

// Until shortens a wait so that it ends when the cut waits no longer.
func (c *Cut) Until(wait, limit time.Duration, now time.Time) time.Duration {
	left := c.Since.Add(limit).Sub(now)
	if !c.Due() || left <= 0 {
		return wait
	}
	return min(wait, left)
}

// Postpone takes when the server was last heard of on any connection. It reports whether
// that was after the silence began. Then the sessions that are there are not silent: the
// silence counts from then on, and needs another proof.
func (c *Cut) Postpone(heard time.Time) bool {
	if !heard.After(c.Since) {
		return false
	}
	c.Since, c.heard, c.silent, c.Proven = heard, true, false, false
	return true
}

// Drop drops the cut if the evidence is an answer: the node is not silent any more. raise
// says that the answer retires the conns, which were spared until now. h is the state of
// the node.
func (c *Cut) Drop(e *Evidence, h *Health) (dropped, raise bool) {
	if !c.Due() || !e.Answered() {
		return false, false
	}
	raise = c.Raise && e.Retires()
	h.Spared(c.Raise && !raise)
	*c = Cut{}
	return true, raise
}
