package statuspage

import (
	"crypto/rand"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/EnumApps/clustersql"
)

const (
	// tick is the time between two snapshots while somebody looks.
	tick = 500 * time.Millisecond
	// manyNodes is from how many nodes on the plots and the times are sent less
	// often, every slowTick.
	manyNodes = 50
	slowTick  = 5 * time.Second
	// rateWindow is the time over which a rate is worked out.
	rateWindow = 5 * time.Second
	// rateMemory is how old the counts may be that a rate is worked out from.
	rateMemory = 30 * time.Second
)

// A hub takes the snapshots of all viewers. It has no goroutine: a viewer whose
// tick is there asks for a frame, and the first of them takes it. The ticks of
// all viewers fall into the same moments.
type hub struct {
	// immutable
	source  func() []clustersql.Driver
	process string
	id      string    // of this hub: a page that was loaded from another one loads itself again
	base    time.Time // where the seconds of strips begin, and the ticks

	mu     sync.Mutex // guards the fields below
	latest *frame     // nil before the first
	slowAt time.Time  // when the slow columns were last worked out
	counts []countsAt // for the rates, oldest first
}

// A frame is a snapshot and the page's rows for it. It is never changed after
// it was made, except for what is remembered of its encoding.
type frame struct {
	hub     *hub
	snap    *Snapshot
	version uint64       // grows when something on the page has changed
	shape   string       // stands for the names: where they change, a page loads itself again
	rows    []row        // of the page, and then of each cluster and its nodes
	events  []seenEvents // of each cluster

	mu      sync.Mutex // guards the fields below
	from    uint64     // of encoded
	encoded []byte     // nil if there is none
}

// countsAt are the connections that every node had handed out at one moment, in
// the order of the rows.
type countsAt struct {
	at    time.Time
	shape string
	won   []uint64
}

func newHub(source func() []clustersql.Driver) *hub {
	h := &hub{source: source, base: time.Now(), id: rand.Text()[:8]}
	h.process = filepath.Base(os.Args[0])
	if host, err := os.Hostname(); err == nil {
		h.process += " on " + host
	}
	h.process += ", process " + strconv.Itoa(os.Getpid())
	return h
}

// untilTick returns the time until the next tick.
func (h *hub) untilTick() time.Duration {
	return tick - time.Since(h.base)%tick
}

// fresh returns a frame that is not older than maxAge.
func (h *hub) fresh(maxAge time.Duration) *frame {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if f := h.latest; f != nil && now.Sub(f.snap.Time) <= maxAge {
		return f
	}
	h.latest = h.take(now)
	return h.latest
}

// take makes the frame that follows the latest one. The caller holds h.mu.
func (h *hub) take(now time.Time) *frame {
	snap := Take(h.source()...)
	snap.Process = h.process
	f := &frame{hub: h, snap: snap, shape: h.shapeOf(snap), version: 1}
	var before *frame // nil if there is none, or none of the same names
	if last := h.latest; last != nil {
		f.version = last.version + 1
		if last.shape == f.shape {
			before = last
		}
	}
	nodes := 0
	for i := range snap.Clusters {
		nodes += len(snap.Clusters[i].Nodes)
	}
	lazy := false
	if lazy = nodes >= manyNodes && before != nil && now.Sub(h.slowAt) < slowTick; !lazy {
		h.slowAt = now
	}
	b := builder{frame: f, before: before, lazy: lazy, rates: h.rates(f, now)}
	f.rows = make([]row, 0, 1+len(snap.Clusters)+nodes)
	addRow(&b, pageKind, pageColumns, snap)
	for i := range snap.Clusters {
		c := &snap.Clusters[i]
		b.addEvents(c, i)
		b.marks = c.marks(now)
		addRow(&b, clusterKind, clusterColumns, &clusterRow{&c.Status, c, b.sum(c)})
		for j := range c.Nodes {
			addRow(&b, nodeKind, nodeColumns, h.nodeRow(c, j, &b))
		}
	}
	if before != nil && !b.changed {
		f.version = before.version
	}
	return f
}

// A builder makes the rows of a frame.
type builder struct {
	frame   *frame
	before  *frame // nil if there is none, or none of the same names
	lazy    bool
	changed bool
	rates   []float64              // of the nodes in order; nil if they are not known
	node    int                    // the next node's index in rates
	marks   map[string][]time.Time // of the nodes of the cluster that is added
}

func addRow[T any](b *builder, kind *kindOfRow, columns []column[T], v *T) {
	var before row
	if b.before != nil {
		before = b.before.rows[len(b.frame.rows)]
	}
	r, changed := newRow(kind, columns, v, before, b.frame.version, b.lazy)
	b.frame.rows = append(b.frame.rows, r)
	b.changed = b.changed || changed
}

// addEvents adds the events of the cluster with the given number.
func (b *builder) addEvents(c *Cluster, number int) {
	var before seenEvents
	if b.before != nil {
		before = b.before.events[number]
	}
	events, changed := seen(c, before, b.frame.version)
	b.frame.events = append(b.frame.events, events)
	b.changed = b.changed || changed
}

// sum returns the rate of a cluster, whose nodes come next.
func (b *builder) sum(c *Cluster) string {
	if b.rates == nil {
		return ""
	}
	sum := 0.0
	for _, r := range b.rates[b.node : b.node+len(c.Nodes)] {
		sum += r
	}
	return rateText(sum)
}

// nodeRow returns the row of the cluster's node with the given number.
func (h *hub) nodeRow(c *Cluster, number int, b *builder) *nodeRow {
	n := &c.Status.Nodes[number]
	r := &nodeRow{NodeStatus: n, Node: &c.Nodes[number], maxOpens: c.Status.MaxOpens, base: h.base, marks: b.marks[n.Name]}
	if number < len(c.History) && c.History[number].Node == n.Name { // else a node has just come or gone
		r.states = c.History[number].States
	}
	if b.rates != nil {
		r.rate = rateText(b.rates[b.node])
	}
	b.node++
	return r
}

func rateText(rate float64) string { return strconv.FormatFloat(rate, 'f', 1, 64) }

// rates returns the connections handed out per second by each node lately, or
// nil if nobody looked before. The caller holds h.mu.
func (h *hub) rates(f *frame, now time.Time) []float64 {
	var won []uint64
	for i := range f.snap.Clusters {
		for j := range f.snap.Clusters[i].Nodes {
			won = append(won, f.snap.Clusters[i].Status.Nodes[j].Won)
		}
	}
	for len(h.counts) > 0 && (now.Sub(h.counts[0].at) > rateMemory || h.counts[0].shape != f.shape ||
		len(h.counts) > 1 && now.Sub(h.counts[1].at) >= rateWindow) {
		h.counts = h.counts[1:]
	}
	var rates []float64
	if len(h.counts) > 0 {
		if past := now.Sub(h.counts[0].at).Seconds(); past >= tick.Seconds()/2 {
			for i, n := range won {
				rates = append(rates, float64(n-min(n, h.counts[0].won[i]))/past)
			}
		}
	}
	if last := len(h.counts) - 1; last < 0 || now.Sub(h.counts[last].at) >= tick {
		h.counts = append(h.counts, countsAt{now, f.shape, won})
	}
	return rates
}

// shapeOf stands for the names of clusters and nodes and for this hub.
func (h *hub) shapeOf(s *Snapshot) string {
	names := fnv.New64a()
	for i := range s.Clusters {
		fmt.Fprintf(names, "%q:", s.Clusters[i].Status.ID)
		for j := range s.Clusters[i].Nodes {
			fmt.Fprintf(names, "%q,", s.Clusters[i].Nodes[j].Name)
		}
	}
	return h.id + strconv.FormatUint(names.Sum64(), 36)
}
