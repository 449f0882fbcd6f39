package counts

import (
	"math"
	"sync/atomic"

	"github.com/EnumApps/clustersql/internal/health"
)

// A Node counts what happens on one node, for whoever looks at its status. It begins
// with the node. Anyone may count and read. Nothing here is counted for each
// statement: only opens, checks, errors and the ends of connections are.
type Node struct {
	Chosen  atomic.Uint64 // launches on the node
	Outrun  atomic.Uint64 // attempts that a node that was asked later has outrun
	Moved   atomic.Uint64 // calls that the node has refused, and that go to another one
	Unknown atomic.Uint64 // errors of statements that may have run
	Opens   Timings       // of fresh connections
	Trips   Timings       // of checks on the lasting connection
	Probing atomic.Bool   // a probe is under way
	Held    atomic.Int64  // since when it answers and is held, because it was silent, in Unix nanoseconds; 0 if it is not

	most     atomic.Int64 // most connections at one time
	asked    atomic.Uint32
	progress atomic.Uint64
	troubles atomic.Pointer[troubles] // nil before the first
}

// A Cluster counts what happens in one cluster.
type Cluster struct {
	Moved   atomic.Uint64 // see Node
	Unknown atomic.Uint64 // see Node
	Masked  atomic.Uint64 // failures of nodes in opens that gave a connection all the same
	AllDown atomic.Uint64 // opens that have met no usable node
	Found   atomic.Uint64 // changes that discovery has made
	Unheard atomic.Uint64 // answers of sources that do not count, and those that did not come

	Sessions atomic.Bool // a call of a session has come: probes ask for positions
}

// troubles counts what does not happen on a node on which all goes well.
type troubles struct {
	closed  [len(endNames)]atomic.Uint64
	failed  [health.Classes]atomic.Uint64 // attempts and probes, by class
	refused [health.Classes]atomic.Uint64 // statements, by class
}

// trouble returns the counters to write to. They are made with the first trouble.
func (n *Node) trouble() *troubles {
	if n.troubles.Load() == nil {
		n.troubles.CompareAndSwap(nil, new(troubles))
	}
	return n.troubles.Load()
}

// Failed counts an attempt or a probe that has failed.
func (n *Node) Failed(c health.Class) { n.trouble().failed[c].Add(1) }

// Refused counts an error of a statement, on the node and in its cluster. moved says
// that another node may get it, and unknown that it may have run.
func (n *Node) Refused(cluster *Cluster, c health.Class, moved, unknown bool) {
	if c != health.Neutral {
		n.trouble().refused[c].Add(1)
	}
	if moved {
		n.Moved.Add(1)
		cluster.Moved.Add(1)
	}
	if unknown {
		n.Unknown.Add(1)
		cluster.Unknown.Add(1)
	}
}

// Closed counts connections that database/sql held and that were closed.
func (n *Node) Closed(why End) { n.trouble().closed[why].Add(1) }

// Troubles returns the counters that are not zero, by name: attempts and probes by
// class, statements by class, and connections by why they were closed. A map is nil
// if all of it are zero. The maps are the caller's.
func (n *Node) Troubles() (failed, refused, closed map[string]uint64) {
	t := n.troubles.Load()
	if t == nil {
		return nil, nil, nil
	}
	className := func(i int) string { return health.Class(i).String() }
	return byName(t.failed[:], className), byName(t.refused[:], className), byName(t.closed[:], func(i int) string { return endNames[i] })
}

func byName(counters []atomic.Uint64, name func(i int) string) map[string]uint64 {
	var counts map[string]uint64
	for i := range counters {
		if n := counters[i].Load(); n > 0 {
			if counts == nil {
				counts = make(map[string]uint64)
			}
			counts[name(i)] = n
		}
	}
	return counts
}

// NoteOpen notes how many connections there are now.
func (n *Node) NoteOpen(conns int) {
	for {
		most := n.most.Load()
		if int64(conns) <= most || n.most.CompareAndSwap(most, int64(conns)) {
			return
		}
	}
}

// Most returns the most connections that there were at one time.
func (n *Node) Most() int { return int(n.most.Load()) }

// Ask notes the end to which connections are asked to come.
func (n *Node) Ask(end End) { n.asked.Store(uint32(end)) }

// Asked returns the end to which connections were last asked to come.
func (n *Node) Asked() End { return End(n.asked.Load()) }

// SetProgress notes how far the node has come on its way down or up: the good checks
// in a row, how many it needs, and the signs of silence in a row.
func (n *Node) SetProgress(good, rise, bad int) {
	small := func(n int) uint64 { return uint64(min(n, math.MaxUint16)) }
	n.progress.Store(small(good) | small(rise)<<16 | small(bad)<<32)
}

// Progress returns what was noted last. All three are of one moment.
func (n *Node) Progress() (good, rise, bad int) {
	p := n.progress.Load()
	return int(uint16(p)), int(uint16(p >> 16)), int(uint16(p >> 32))
}

// An End is a reason why a connection that database/sql held was closed.
type End uint8

const (
	EndPool       End = iota // by database/sql, for its own limits or its Close
	EndError                 // it broke
	EndGeneration            // the node's connections were retired
	EndDrain                 // the node was drained or removed
	EndCut                   // its socket was cut
	EndRebalance             // another node is to have it
	EndAge                   // max_age
	EndRoom                  // the node was full, and opens waited
	EndHedge                 // another connection has answered a hedged read first
)

var endNames = [...]string{"pool", "error", "generation", "drain", "cut", "rebalance", "max_age", "room", "hedge"}

// String returns the name that a status has for it.
func (e End) String() string { return endNames[e] }
