package clustersql

import (
	"cmp"
	"math"
	"sync/atomic"
	"time"

	"github.com/EnumApps/clustersql/internal/health"
	"github.com/EnumApps/clustersql/internal/session"
)

// A tally counts what happens on one node, for whoever looks at its status. It
// begins with the node. Anyone may count and read. Nothing here is counted for
// each statement: only opens, checks, errors and the ends of connections are.
type tally struct {
	// immutable
	cluster *clusterTally
	added   time.Time

	// shared
	address  atomic.Pointer[address] // nil before the first look
	chosen   atomic.Uint64
	most     atomic.Int64 // most connections at one time
	outrun   atomic.Uint64
	moved    atomic.Uint64
	unknown  atomic.Uint64
	troubles atomic.Pointer[troubles]    // nil before the first
	opens    atomic.Pointer[timings]     // of fresh connections; nil before the first
	trips    atomic.Pointer[timings]     // of checks on the lasting connection; nil before the first
	asked    atomic.Uint32               // the end to which connections were last asked to come
	probing  atomic.Bool                 // a probe is under way
	check    atomic.Pointer[ProbeResult] // the last probe; nil before the first
	progress atomic.Uint64               // see progress
	held     atomic.Int64                // since when it answers and is held, because it was silent, in Unix nanoseconds; 0 if it is not

	past past // guarded by the lock of the cluster's history
}

// A clusterTally counts what happens in one cluster.
type clusterTally struct {
	moved   atomic.Uint64
	unknown atomic.Uint64
	masked  atomic.Uint64
	allDown atomic.Uint64
	found   atomic.Uint64 // changes that discovery has made
	unheard atomic.Uint64 // answers of sources that do not count, and those that did not come
	history history
}

// troubles counts what does not happen on a node on which all goes well.
type troubles struct {
	closed  [len(endNames)]atomic.Uint64
	failed  [health.Classes]atomic.Uint64 // attempts and probes, by class
	refused [health.Classes]atomic.Uint64 // statements, by class
}

// trouble returns the counters to write to. They are made with the first trouble.
func (t *tally) trouble() *troubles {
	if t.troubles.Load() == nil {
		t.troubles.CompareAndSwap(nil, new(troubles))
	}
	return t.troubles.Load()
}

// A progress says how far a node has come on its way down or up.
type progress struct{ good, rise, bad uint16 }

// packed returns the progress as one number.
func (p progress) packed() uint64 { return uint64(p.good) | uint64(p.rise)<<16 | uint64(p.bad)<<32 }

// unpacked returns the progress of that number.
func unpacked(n uint64) progress { return progress{uint16(n), uint16(n >> 16), uint16(n >> 32)} }

// An end is a reason why a connection that database/sql held was closed.
type end uint8

const (
	endPool       end = iota // by database/sql, for its own limits or its Close
	endError                 // it broke
	endGeneration            // the node's connections were retired
	endDrain                 // the node was drained or removed
	endCut                   // its socket was cut
	endRebalance             // another node is to have it
	endAge                   // max_age
	endRoom                  // the node was full, and opens waited
)

var endNames = [...]string{"pool", "error", "generation", "drain", "cut", "rebalance", "max_age", "room"}

// An address is the host and port of the DSN of a recipe, or its socket.
type address struct {
	of   *recipe
	text string // empty if it is not known
}

// address returns where the node is.
func (n *node) address() string {
	r, known := n.dial.recipe(), n.tally.address.Load()
	if known == nil || known.of != r {
		known = &address{r, cmp.Or(r.addr, n.dial.hide(addressOf(n.dial.dialect, r.dsn)))}
		n.tally.address.Store(known)
	}
	return known.text
}

// noteOpen notes how many connections there are now.
func (t *tally) noteOpen(conns int) {
	for {
		most := t.most.Load()
		if int64(conns) <= most || t.most.CompareAndSwap(most, int64(conns)) {
			return
		}
	}
}

// countRefused counts an error of a statement.
func (t *tally) countRefused(c health.Class, moved, unknown bool) {
	if c != health.Neutral {
		t.trouble().refused[c].Add(1)
	}
	if moved {
		t.moved.Add(1)
		t.cluster.moved.Add(1)
	}
	if unknown {
		t.unknown.Add(1)
		t.cluster.unknown.Add(1)
	}
}

// countEnd counts the end of a connection that database/sql has closed. Those that
// the cluster closes are counted where it does so.
func (n *node) countEnd(by session.Closer, w winner) {
	why := endPool
	switch {
	case by == session.ByCluster:
		return
	case by == session.GivingWay:
		why = end(n.tally.asked.Load())
	case w.socket.Cause() != nil:
		why = endCut
	case n.generation.Load() != w.born:
		why = n.retiredBy()
	case by == session.Broken:
		why = endError
	}
	n.tally.trouble().closed[why].Add(1)
}

// retiredBy says why the connections of older generations are closed.
func (n *node) retiredBy() end {
	if n.draining.Load() {
		return endDrain
	}
	return endGeneration
}

// byName returns the counters that are not zero, by name; nil if all are.
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

func className(i int) string { return health.Class(i).String() }

// small returns n, or the greatest number of a progress.
func small(n int) uint16 { return uint16(min(n, math.MaxUint16)) }

// publishProgress publishes what a status tells of the way down or up. Only run
// calls it, except before the node's first start.
func (n *node) publishProgress() {
	h := &n.loop.health
	held := int64(0)
	if h.State == health.Down && h.SilentBefore && h.Conf != 0 && !h.Answered.IsZero() {
		held = h.Answered.UnixNano()
	}
	n.tally.held.Store(held)
	n.tally.progress.Store(progress{small(h.Good), small(h.Rises(n.cfg().Rise)), small(h.Bad())}.packed())
	n.tally.probing.Store(n.loop.probing)
}
