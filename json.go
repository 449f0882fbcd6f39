package clustersql

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/EnumApps/clustersql/internal/health"
)

// A status and an event are read and written by package encoding/json. The names
// are in lower case with underscores. Durations are numbers of seconds, and the
// names of these end with _seconds. States, kinds and roles are words.

// seconds is a duration as a number of seconds.
type seconds time.Duration

func (s seconds) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, time.Duration(s).Seconds(), 'f', -1, 64), nil
}

func (s *seconds) UnmarshalJSON(text []byte) error {
	var f float64
	if err := json.Unmarshal(text, &f); err != nil {
		return err
	}
	*s = seconds(f * float64(time.Second))
	return nil
}

type plainNodeStatus NodeStatus

// A nodeJSON is a NodeStatus in JSON.
type nodeJSON struct {
	*plainNodeStatus
	Lag      seconds `json:"lag_seconds"`
	Downtime seconds `json:"downtime_seconds"`
}

// MarshalJSON writes the status with the names that the manual has.
func (s NodeStatus) MarshalJSON() ([]byte, error) {
	return json.Marshal(nodeJSON{(*plainNodeStatus)(&s), seconds(s.Lag), seconds(s.Downtime)})
}

// UnmarshalJSON reads what MarshalJSON writes. Names that it does not know are
// skipped: a newer version may have written them.
func (s *NodeStatus) UnmarshalJSON(text []byte) error {
	in := nodeJSON{plainNodeStatus: new(plainNodeStatus)}
	if err := json.Unmarshal(text, &in); err != nil {
		return fmt.Errorf("clustersql: the status of a node: %w", err)
	}
	*s = NodeStatus(*in.plainNodeStatus)
	s.Lag, s.Downtime = time.Duration(in.Lag), time.Duration(in.Downtime)
	return nil
}

type plainProbeResult ProbeResult

type probeJSON struct {
	*plainProbeResult
	Took seconds `json:"took_seconds"`
}

// MarshalJSON writes the result with the names that the manual has.
func (r ProbeResult) MarshalJSON() ([]byte, error) {
	return json.Marshal(probeJSON{(*plainProbeResult)(&r), seconds(r.Took)})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (r *ProbeResult) UnmarshalJSON(text []byte) error {
	in := probeJSON{plainProbeResult: new(plainProbeResult)}
	if err := json.Unmarshal(text, &in); err != nil {
		return err
	}
	*r = ProbeResult(*in.plainProbeResult)
	r.Took = time.Duration(in.Took)
	return nil
}

// An eventJSON is an Event in JSON. What does not belong to the event's kind is
// left out.
type eventJSON struct {
	Seq     uint64    `json:"seq"`
	Time    time.Time `json:"time"`
	Cluster string    `json:"cluster"`
	Node    string    `json:"node"`
	Kind    EventKind `json:"kind"`
	Cause   string    `json:"cause,omitempty"`
	From    *State    `json:"from,omitempty"`
	To      *State    `json:"to,omitempty"`
	Role    *Role     `json:"role,omitempty"`
	Lag     seconds   `json:"lag_seconds,omitempty"`
	Conns   int       `json:"conns,omitempty"`
	Reason  string    `json:"reason,omitempty"`
	Dropped int       `json:"dropped,omitempty"`
}

// MarshalJSON writes the event with the names that the manual has.
func (e Event) MarshalJSON() ([]byte, error) {
	out := eventJSON{
		Seq: e.Seq, Time: e.Time, Cluster: e.Cluster, Node: e.Node, Kind: e.Kind, Cause: e.Cause,
		Lag: seconds(e.Lag), Conns: e.Conns, Reason: e.Reason, Dropped: e.Dropped,
	}
	switch e.Kind {
	case EventState:
		out.From, out.To = &e.From, &e.To
	case EventRole:
		out.Role = &e.Role
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (e *Event) UnmarshalJSON(text []byte) error {
	var from, to State
	var role Role
	in := eventJSON{From: &from, To: &to, Role: &role}
	if err := json.Unmarshal(text, &in); err != nil {
		return fmt.Errorf("clustersql: an event: %w", err)
	}
	*e = Event{
		Seq: in.Seq, Time: in.Time, Cluster: in.Cluster, Node: in.Node, Kind: in.Kind, Cause: in.Cause,
		From: from, To: to, Role: role, Lag: time.Duration(in.Lag), Conns: in.Conns, Reason: in.Reason, Dropped: in.Dropped,
	}
	return nil
}

// A latencyJSON is a Latency in JSON. The samples are whole microseconds, to keep
// them short.
type latencyJSON struct {
	Count     uint64  `json:"count"`
	Mean      seconds `json:"mean_seconds"`
	Deviation seconds `json:"deviation_seconds"`
	P50       seconds `json:"p50_seconds"`
	P99       seconds `json:"p99_seconds"`
	Max       seconds `json:"max_seconds"`
	Samples   []int64 `json:"samples_us,omitempty"`
}

// MarshalJSON writes the numbers of samples, the averages, percentiles of the last
// 64 samples, and these samples in microseconds, the oldest first.
func (l Latency) MarshalJSON() ([]byte, error) {
	out := latencyJSON{
		Count: l.Count(), Mean: seconds(l.Mean()), Deviation: seconds(l.Deviation()),
		P50: shownPercentile(l, 0.5), P99: shownPercentile(l, 0.99), Max: shownPercentile(l, 1),
	}
	for _, d := range l.Samples() {
		out.Samples = append(out.Samples, d.Microseconds())
	}
	return json.Marshal(out)
}

// shownPercentile returns a percentile as it is among the samples in JSON.
func shownPercentile(l Latency, p float64) seconds {
	return seconds(l.Percentile(p).Truncate(time.Microsecond))
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

// A histogramJSON is a Histogram in JSON. counts[i] is the number of samples in the
// bucket i alone. The manual has the bounds of the buckets.
type histogramJSON struct {
	Count  uint64   `json:"count"`
	Sum    seconds  `json:"sum_seconds"`
	Counts []uint64 `json:"counts,omitempty"`
}

// MarshalJSON writes the number of samples, their sum, and the number of samples
// in each bucket, the last of which has no upper bound.
func (h Histogram) MarshalJSON() ([]byte, error) {
	out := histogramJSON{Count: h.Count(), Sum: seconds(h.sum)}
	if out.Count > 0 {
		out.Counts = h.counts[:]
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (h *Histogram) UnmarshalJSON(text []byte) error {
	var in histogramJSON
	if err := json.Unmarshal(text, &in); err != nil {
		return err
	}
	h.sum = time.Duration(in.Sum)
	clear(h.counts[:])
	copy(h.counts[:], in.Counts)
	return nil
}

// fromWord sets v to the value whose String is the word. last is the last value.
func fromWord[T interface {
	~uint8
	String() string
}](v *T, last T, what string, word []byte) error {
	for known := range last + 1 {
		if known.String() == string(word) {
			*v = known
			return nil
		}
	}
	return fmt.Errorf("clustersql: there is no %s %q", what, word)
}

// MarshalText returns the state's name.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the state's name.
func (s *State) UnmarshalText(text []byte) error { return fromWord(s, StateDraining, "state", text) }

// MarshalText returns the role's name.
func (r Role) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads the role's name.
func (r *Role) UnmarshalText(text []byte) error { return fromWord(r, RoleReplica, "role", text) }

// MarshalText returns libpq's word for the access.
func (a Access) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads libpq's word for the access.
func (a *Access) UnmarshalText(text []byte) error { return fromWord(a, AccessReadOnly, "access", text) }

// MarshalText returns the kind's name.
func (k EventKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads the kind's name.
func (k *EventKind) UnmarshalText(text []byte) error {
	return fromWord(k, EventRole, "kind of event", text)
}
