package health

import (
	"cmp"
	"time"
)

// The nodes of a cluster hold the same data only if they are one Galera group.
// A node that was started by itself with --wsrep-new-cluster is Synced and
// writable, and what is written there is on no other node. Groups are told apart
// by wsrep_cluster_state_uuid, or by wsrep_cluster_conf_id if that differs and
// stays so. Every actor judges its own node by what all nodes show, in an order
// that is the same for all.

// A standing is how a node's group compares with those of the other nodes.
type standing uint8

const (
	together  standing = iota // there is no other group, or this one is to be used
	another                   // another group is to be used
	unsettled                 // the views differ; that may pass, or the looks are from different times
)

// A party is the nodes of a cluster that show the same view.
type party struct {
	group         string
	conf          uint64
	nodes, usable int
	size          int // of the view
}

// outranks reports whether p is to be used rather than q: more of the cluster's
// nodes are in it, or are used already, or its view has more nodes or is older.
func (p *party) outranks(q *party) bool {
	return cmp.Or(cmp.Compare(p.nodes, q.nodes), cmp.Compare(p.usable, q.usable), cmp.Compare(p.size, q.size),
		cmp.Compare(p.conf, q.conf), cmp.Compare(p.group, q.group)) > 0
}

// add counts a node that shows a view.
func add(parties []party, v *View, usable bool) []party {
	var p *party
	for i := range parties {
		if parties[i].group == v.Group && parties[i].conf == v.Conf {
			p = &parties[i]
		}
	}
	if p == nil {
		parties = append(parties, party{group: v.Group, conf: v.Conf})
		p = &parties[len(parties)-1]
	}
	p.nodes++
	p.size = max(p.size, v.Size)
	if usable {
		p.usable++
	}
	return parties
}

// compare returns the standing of a node that shows own, or no view if own is
// nil. used says whether the node is in use. alone says that no other node shows
// another view.
func (p *Peers) compare(own *View, used bool) (at standing, alone bool) {
	var parties []party
	inUse := false // a node with a view is
	if own != nil {
		parties = add(nil, own, used)
	}
	for i := range p.Nodes {
		if n := &p.Nodes[i]; n.shows() {
			parties = add(parties, &n.View, n.Usable)
			inUse = inUse || n.Usable
		}
	}
	switch {
	case p.Mixed:
		return together, true
	case own == nil && inUse:
		return another, false
	case own == nil, len(parties) == 1:
		return together, true
	}
	best := &parties[0]
	for i := range parties {
		if parties[i].outranks(best) {
			best = &parties[i]
		}
	}
	switch {
	case best == &parties[0]:
		return together, false
	case best.group != own.Group:
		return another, false
	}
	return unsettled, false
}

// stale reports whether a node that shows a view has not looked since then.
func (p *Peers) stale(since time.Time) bool {
	for i := range p.Nodes {
		if n := &p.Nodes[i]; n.shows() && !n.Looked.After(since) {
			return true
		}
	}
	return false
}

// elsewhere decides whether a node that is not used must wait because of its
// group. Views that differ are compared twice, by looks that are new each time:
// the looks of two nodes are never of the same moment. When the group in use is
// gone, the node waits for silence_hold more: what was written there may come
// back.
func (h *Health) elsewhere(e *Evidence, now time.Time) (Effects, bool) {
	at, alone := e.Peers.compare(e.View, false)
	switch {
	case at == unsettled && h.SilentBefore:
		return Effects{}, false // it may only not know the new view yet; see lags
	case at == unsettled && e.Peers.stale(h.Answered):
		h.Good = min(h.Good+1, 1)
		return Effects{Compare: true}, true
	case at == unsettled && h.differed == 0:
		h.differed, h.Answered = 1, now
		return Effects{Compare: true}, true
	case at == together && alone && !h.apart.IsZero() && now.Sub(h.apart) < e.Peers.Hold:
		return Effects{}, true
	case at == together:
		h.differed = 0
		return Effects{}, false
	}
	reason := apartReason(e.View)
	eff := Effects{Held: h.State == Down && h.Reason != reason}
	if h.State != Down {
		eff = h.move(Down, reason, now)
		h.Class, h.Caused = NotReady, now
	}
	h.Good, h.Reason, h.apart = 0, reason, now
	return eff, true
}

// Apart turns a good check of a node in use into evidence against it, if the
// node is not of the group that is to be used. own is its view at its last look,
// nil if it showed none then. Views of one group that differ must do so for
// silence_hold, by looks of all nodes: nodes do not install a view at the same
// moment.
func (h *Health) Apart(e *Evidence, now time.Time) Effects {
	if !e.OK || e.Peers == nil || h.State != Up && h.State != Suspect {
		return Effects{}
	}
	at, _ := e.Peers.compare(e.View, true)
	if at == unsettled && e.View.Conf != h.apartConf { // its view still changes
		h.apart, h.apartConf = time.Time{}, e.View.Conf
	}
	switch {
	case at == together:
		h.apart = time.Time{}
		return Effects{}
	case h.apart.IsZero() && (at == unsettled || e.Saw&ScopeView == 0):
		h.apart = now // it looks again at every probe from now on
		return Effects{Compare: true}
	case e.Saw&ScopeView == 0, at == unsettled && (now.Sub(h.apart) < e.Peers.Hold || e.Peers.stale(h.apart)):
		return Effects{Compare: true}
	}
	h.apart = now
	e.Against(NotReady, ScopeView, apartReason(e.View))
	return Effects{}
}

// Differs reports whether a used node's view differs from the others'.
func (h Health) Differs() bool { return h.State != Down && !h.apart.IsZero() }

// apartReason is the reason of a node that is held because of its group. Its
// view is in the status.
func apartReason(own *View) string {
	if own == nil {
		return NotReady.String() + ": it shows no Galera view, and other nodes do: held (groups = \"any\" uses both)"
	}
	return NotReady.String() + ": it is in another Galera group than the nodes in use: held (groups = \"any\" uses both)"
}
