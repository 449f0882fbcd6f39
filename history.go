package clustersql

import (
	"cmp"
	"encoding/json"
	"sync/atomic"
	"time"

	"github.com/EnumApps/clustersql/internal/counts"
	"github.com/EnumApps/clustersql/internal/dialects"
	"github.com/EnumApps/clustersql/internal/health"
	"github.com/EnumApps/clustersql/internal/history"
	"github.com/EnumApps/clustersql/internal/jsonform"
	"github.com/EnumApps/clustersql/internal/seen"
	"github.com/EnumApps/clustersql/internal/session"
)

// A tally is what is counted and remembered of one node, for whoever looks at its
// status. It begins with the node. Anyone may count and read.
type tally struct {
	counts.Node

	cluster *clusterTally               // immutable
	address atomic.Pointer[address]     // nil before the first look
	check   atomic.Pointer[ProbeResult] // the last probe; nil before the first
	past    history.Past                // guarded by the lock of the cluster's history

	seen seen.Node // for the calls under ReadYourWrites
}

// A clusterTally is what is counted and remembered of one cluster.
type clusterTally struct {
	counts.Cluster
	history history.Log[Event]
}

// A StateSince is a state that a node came into.
type StateSince struct {
	State State     `json:"state"`
	Since time.Time `json:"since"`
}

// A NodeHistory is in which states a node was lately, the oldest first. The last
// one is its present state.
type NodeHistory struct {
	Node   string       `json:"node"`
	States []StateSince `json:"states"`
}

// StateChanges counts the changes of a node's state that had the same new state
// and the same cause; see [Event.Cause].
type StateChanges struct {
	To    State  `json:"to"`
	Cause string `json:"cause,omitempty"`
	Count uint64 `json:"count"`
}

// note remembers an event, and gives it its number.
func (t *tally) note(e *Event) {
	t.cluster.history.Note(func(seq uint64) Event {
		e.Seq = seq
		if e.Kind == EventState {
			t.past.Note(health.State(e.From), health.State(e.To), e.Cause, e.Time)
		}
		return *e
	})
}

// fill fills in what a status says of the node's past.
func (t *tally) fill(s *NodeStatus, now time.Time) {
	t.cluster.history.Look(func() {
		for _, c := range t.past.Changes {
			s.Changes = append(s.Changes, StateChanges{State(c.To), c.Cause, c.Count})
		}
		s.Downs, s.Downtime = t.past.Downs, t.past.Downtime(now)
	})
}

// Events returns what lately happened in the cluster, the oldest first: at most
// the last 200 events. They are kept while the cluster is, also when it is not
// open, and those of removed nodes too. [Event.Seq] tells which ones are new since
// an earlier call.
func (d Driver) Events() []Event {
	if d.m == nil {
		return nil
	}
	return d.m.tally.history.Recent()
}

// History returns in which states each node was in the last 15 minutes, sorted by
// name. Of a node that has changed very often it is only the last 128 changes.
func (d Driver) History() []NodeHistory {
	if d.m == nil {
		return nil
	}
	nodes := *d.m.nodes.Load()
	all := make([]NodeHistory, len(nodes))
	d.m.tally.history.Look(func() {
		for i, n := range nodes {
			all[i].Node = n.name
			for _, s := range n.tally.past.States() {
				all[i].States = append(all[i].States, StateSince{State(s.State), s.Since})
			}
		}
	})
	return all
}

// Causes of events that are no class of an error.
const (
	causeCheck    = "check"          // a check has passed
	causeDrain    = "drain"          // the program drains the node
	causeUndrain  = "undrain"        // the program has ended that
	causeRemove   = "remove"         // the program has removed the node
	causeGroup    = "group"          // it is in another group than the nodes in use
	causeFailback = "failback_after" // that time is over
)

// causeOf returns the cause for what evidence does.
func causeOf(e *health.Evidence) string {
	if e.OK {
		return causeCheck
	}
	return e.Class.String()
}

// An address is the host and port of the DSN of a recipe, or its socket.
type address struct {
	of   *recipe
	text string // empty if it is not known
}

// address returns where the node is.
func (n *node) address() string {
	r, known := n.dial.recipe(), n.tally.address.Load()
	if known == nil || known.of != r {
		known = &address{r, cmp.Or(r.addr, n.dial.hide(dialects.AddressOf(n.dial.dialect, r.dsn, parameterPrefix)))}
		n.tally.address.Store(known)
	}
	return known.text
}

// countEnd counts the end of a connection that database/sql has closed. Those that
// the cluster closes are counted where it does so.
func (n *node) countEnd(by session.Closer, w winner) {
	why := counts.EndPool
	switch {
	case by == session.ByCluster:
		return
	case by == session.GivingWay:
		why = n.tally.Asked()
	case w.socket.Cause() != nil:
		why = counts.EndCut
	case n.generation.Load() != w.born:
		why = n.retiredBy()
	case by == session.Broken:
		why = counts.EndError
	}
	n.tally.Closed(why)
}

// retiredBy says why the connections of older generations are closed.
func (n *node) retiredBy() counts.End {
	if n.draining.Load() {
		return counts.EndDrain
	}
	return counts.EndGeneration
}

// publishProgress publishes what a status tells of the way down or up. Only run
// calls it, except before the node's first start.
func (n *node) publishProgress() {
	h := &n.loop.health
	held := int64(0)
	if h.State == health.Down && h.SilentBefore && h.Conf != 0 && !h.Answered.IsZero() {
		held = h.Answered.UnixNano()
	}
	n.tally.Held.Store(held)
	n.tally.SetProgress(h.Good, h.Rises(n.cfg().Rise), h.Bad())
	n.tally.Probing.Store(n.loop.probing)
}

// Latency summarises how long something took. It is an immutable value. The
// zero Latency has no samples.
type Latency struct{ l health.Latency }

// Count returns the number of all samples since the start.
func (l Latency) Count() uint64 { return l.l.Count() }

// Mean returns the exponentially weighted moving average. A new sample has a
// weight of 0.2; the first sample sets the average. Without samples it is 0.
// The estimator is that of MongoDB's server selection specification.
func (l Latency) Mean() time.Duration { return l.l.Mean() }

// Deviation returns the smoothed mean deviation of RFC 6298. A new sample has a
// weight of 0.25. With fewer than two samples it is 0.
func (l Latency) Deviation() time.Duration { return l.l.Deviation() }

// Percentile returns the value that a part p of the last 64 samples do not
// exceed, by the nearest-rank method. p is from 0 to 1. Without samples it is
// 0.
func (l Latency) Percentile(p float64) time.Duration { return l.l.Percentile(p) }

// Samples returns the last 64 samples, the oldest first. The slice is the
// caller's.
func (l Latency) Samples() []time.Duration { return l.l.Samples() }

// A latencyJSON is a Latency in JSON. The samples are whole microseconds, to keep
// them short.
type latencyJSON struct {
	Count     uint64           `json:"count"`
	Mean      jsonform.Seconds `json:"mean_seconds"`
	Deviation jsonform.Seconds `json:"deviation_seconds"`
	P50       jsonform.Seconds `json:"p50_seconds"`
	P99       jsonform.Seconds `json:"p99_seconds"`
	Max       jsonform.Seconds `json:"max_seconds"`
	Samples   []int64          `json:"samples_us,omitempty"`
}

// MarshalJSON writes the numbers of samples, the averages, percentiles of the last
// 64 samples, and these samples in microseconds, the oldest first.
func (l Latency) MarshalJSON() ([]byte, error) {
	out := latencyJSON{
		Count: l.Count(), Mean: jsonform.Seconds(l.Mean()), Deviation: jsonform.Seconds(l.Deviation()),
		P50: shownPercentile(l, 0.5), P99: shownPercentile(l, 0.99), Max: shownPercentile(l, 1),
	}
	for _, d := range l.Samples() {
		out.Samples = append(out.Samples, d.Microseconds())
	}
	return json.Marshal(out)
}

// shownPercentile returns a percentile as it is among the samples in JSON.
func shownPercentile(l Latency, p float64) jsonform.Seconds {
	return jsonform.Seconds(l.Percentile(p).Truncate(time.Microsecond))
}

// UnmarshalJSON reads what MarshalJSON writes. The percentiles are worked out from
// the samples.
func (l *Latency) UnmarshalJSON(text []byte) error {
	var in latencyJSON
	if err := json.Unmarshal(text, &in); err != nil {
		return err
	}
	samples := make([]time.Duration, len(in.Samples))
	for i, us := range in.Samples {
		samples[i] = time.Duration(us) * time.Microsecond
	}
	l.l = health.LatencyOf(in.Count, time.Duration(in.Mean), time.Duration(in.Deviation), samples)
	return nil
}

// A Histogram counts how long something took, in fixed buckets, since the node
// was added. It is an immutable value. The zero Histogram has no samples.
type Histogram struct{ h counts.Histogram }

// Count returns the number of samples.
func (h Histogram) Count() (n uint64) { return h.h.Count() }

// Sum returns how long all samples took together.
func (h Histogram) Sum() time.Duration { return h.h.Sum }

// Buckets calls yield for every bucket but the last, which has no upper bound,
// from the smallest: with the longest time that belongs to it, and with how many
// samples took no longer than that. Every Histogram has the same buckets. It can be
// used with range.
func (h Histogram) Buckets(yield func(most time.Duration, atMost uint64) bool) {
	n := uint64(0)
	for i, bound := range counts.Bounds {
		if n += h.h.Counts[i]; !yield(bound, n) {
			return
		}
	}
}

// A histogramJSON is a Histogram in JSON. counts[i] is the number of samples in the
// bucket i alone. The manual has the bounds of the buckets.
type histogramJSON struct {
	Count  uint64           `json:"count"`
	Sum    jsonform.Seconds `json:"sum_seconds"`
	Counts []uint64         `json:"counts,omitempty"`
}

// MarshalJSON writes the number of samples, their sum, and the number of samples
// in each bucket, the last of which has no upper bound.
func (h Histogram) MarshalJSON() ([]byte, error) {
	out := histogramJSON{Count: h.Count(), Sum: jsonform.Seconds(h.h.Sum)}
	if out.Count > 0 {
		out.Counts = h.h.Counts[:]
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (h *Histogram) UnmarshalJSON(text []byte) error {
	var in histogramJSON
	if err := json.Unmarshal(text, &in); err != nil {
		return err
	}
	h.h.Sum = time.Duration(in.Sum)
	clear(h.h.Counts[:])
	copy(h.h.Counts[:], in.Counts)
	return nil
}

// SessionReads counts the calls under [ReadYourWrites] on a node. Each that begins
// outside a transaction, or begins one, and comes after another of its session is
// counted once, by how it was known that the node has what the calls before have seen.
type SessionReads struct {
	Known  uint64 `json:"known"`  // the node was known to have it: nothing was asked
	Asked  uint64 `json:"asked"`  // the node was asked, and had it
	Waited uint64 `json:"waited"` // it had it after a wait
	Moved  uint64 `json:"moved"`  // it did not have it within causal_timeout: the call went to another node, or failed

	WaitTime  time.Duration `json:"-"`         // of those in Waited and Moved
	Positions uint64        `json:"positions"` // answers to questions for the position after a call
	Missed    uint64        `json:"missed"`    // calls after which there was no answer
}

// sessionReads returns the counts as a program gets them.
func sessionReads(c *counts.Sessions) SessionReads {
	return SessionReads{
		Known: c.Known.Load(), Asked: c.Asked.Load(), Waited: c.Waited.Load(), Moved: c.Moved.Load(),
		WaitTime: time.Duration(c.Time.Load()), Positions: c.Positions.Load(), Missed: c.Missed.Load(),
	}
}

type plainSessionReads SessionReads

type sessionJSON struct {
	*plainSessionReads
	WaitTime jsonform.Seconds `json:"wait_seconds"`
}

// MarshalJSON writes the counts with the names that the manual has.
func (r SessionReads) MarshalJSON() ([]byte, error) {
	return json.Marshal(sessionJSON{(*plainSessionReads)(&r), jsonform.Seconds(r.WaitTime)})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (r *SessionReads) UnmarshalJSON(text []byte) error {
	in := sessionJSON{plainSessionReads: new(plainSessionReads)}
	if err := json.Unmarshal(text, &in); err != nil {
		return err
	}
	*r = SessionReads(*in.plainSessionReads)
	r.WaitTime = time.Duration(in.WaitTime)
	return nil
}
