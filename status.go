package clustersql

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/EnumApps/clustersql/internal/counts"
	"github.com/EnumApps/clustersql/internal/discovery"
	"github.com/EnumApps/clustersql/internal/health"
	"github.com/EnumApps/clustersql/internal/jsonform"
)

// ClusterStatus is a snapshot of a cluster. Its counters start when the cluster is
// made. Package encoding/json can write and read it; the manual has the names.
type ClusterStatus struct {
	Name string `json:"name"`
	// ID is the name, with #2 and so on behind it where an earlier cluster in use
	// has the same name. It is unique among [Clusters], and stays.
	ID       string    `json:"id"`
	Time     time.Time `json:"time"`     // of the snapshot
	Strategy string    `json:"strategy"` // its name
	Open     bool      `json:"open"`     // a connector is open: opens may come, and the nodes are probed

	Usable       int       `json:"usable"`                  // nodes to which opens go
	AllDownSince time.Time `json:"all_down_since,omitzero"` // since when there is no such node; zero if there is one, if the cluster has no node, or is not open
	Waiting      int       `json:"waiting"`                 // opens that wait for a node
	MaxOpens     int       `json:"max_opens"`               // see [Config.MaxOpensPerNode]

	OpensAllDown uint64 `json:"opens_all_down"`  // opens that have met no usable node
	Masked       uint64 `json:"masked"`          // failures of nodes in opens that gave a connection all the same
	Moved        uint64 `json:"moved"`           // statements and other calls that a node refused, and that database/sql could send to another one
	Unknown      uint64 `json:"unknown_outcome"` // errors that are an [ErrUnknownOutcome]

	DiscoveryChanges uint64 `json:"discovery_changes"` // of nodes, that discovery has made
	DiscoveryErrors  uint64 `json:"discovery_errors"`  // questions to sources that got no answer that counts

	Nodes []NodeStatus `json:"nodes"` // sorted by name

	Reload  ReloadStatus   `json:"reload,omitzero"`   // of the last one
	Sources []SourceStatus `json:"sources,omitempty"` // of discovery
	Unused  []UnusedNode   `json:"unused,omitempty"`  // what discovery has found and does not use
}

// ReloadStatus says how a cluster's configuration was last changed as a whole: by
// [Registry.Reload], [Registry.Watch] or [Driver.Apply]. The zero value says that it
// was not.
type ReloadStatus struct {
	At      time.Time `json:"at,omitzero"`      // of the last one
	Err     string    `json:"err,omitempty"`    // why it failed; empty if it did not
	Applied time.Time `json:"applied,omitzero"` // of the last one that did not fail
	Changes int       `json:"changes"`          // lines of its Diff about this cluster
	Count   uint64    `json:"count"`            // how many there were
	Failed  uint64    `json:"failed"`           // how many of them failed
}

// NodeStatus is a snapshot of one node. Its counters start when the node is
// added.
type NodeStatus struct {
	Name     string `json:"name"`
	Address  string `json:"address,omitempty"` // host and port, or the socket, of its DSN; empty if it is not known
	Origin   string `json:"origin"`            // who has added it: "code", "file" (a configuration file), "dsn" (a DSN with a list of hosts), or the source of discovery
	Pending  string `json:"pending,omitempty"` // what a reload or discovery has asked for, and what it waits for; empty if nothing waits
	Priority int    `json:"priority"`          // see [NodeConfig]
	Weight   int    `json:"weight"`

	State  State     `json:"state"`
	Reason string    `json:"reason,omitempty"` // why the node is suspect or down, redacted; empty when up
	Since  time.Time `json:"since,omitzero"`   // when State began
	// WhyNot says in a sentence why an open that begins now does not ask this node
	// first. It is empty if it does. Strategies get it empty.
	WhyNot    string `json:"why_not,omitempty"`
	Returning bool   `json:"returning,omitempty"` // back for less than failback_after: Ordered asks it after the others
	Full      bool   `json:"full,omitempty"`      // an open found no room for a connection there (such as error 1040): asked last; after a backoff one open at a time tries it
	Donor     bool   `json:"donor,omitempty"`     // the node says that it is a Galera donor or desynced, and is asked last; always false if Config.AllowDonor is set
	SameAs    string `json:"same_as,omitempty"`   // the node that is the same server under another name, and has its share; "" if there is none
	ConfID    uint64 `json:"conf_id,omitempty"`   // wsrep_cluster_conf_id at the last look: the number of its view of the Galera group; 0 if it showed none
	Role      Role   `json:"role"`                // its part in replication, at the last look
	Access    Access `json:"access"`              // whether it takes writes, at the last look
	Timeline  uint64 `json:"timeline,omitempty"`  // PostgreSQL's, which grows with every promotion; 0 if it is not known
	// Position is how far the node was in what is replicated, at the last look:
	// Galera's wsrep_last_committed, PostgreSQL's LSN, or the number of transactions
	// of each GTID domain (MariaDB) or server (MySQL). It is empty if it is not known.
	// Strategies get it empty.
	Position string `json:"position,omitempty"`
	// Lag is how far a replica was behind its primary at the last look. It means
	// nothing if LagUnknown, the reason why it is not known, is not empty.
	Lag        time.Duration `json:"-"`
	LagUnknown string        `json:"lag_unknown,omitempty"`

	ReturnedAt time.Time `json:"returned_at,omitzero"` // when Returning ends; zero if it is false
	FullUntil  time.Time `json:"full_until,omitzero"`  // no open asks a full node before that; zero if it is not full
	HeldUntil  time.Time `json:"held_until,omitzero"`  // until when a node that was silent and answers again is held at the longest; zero if that depends on what it shows, or if it is not held

	// Good and Bad say how far the node is on its way. A down node comes up when
	// Good, the good checks in a row, has reached Rise. A node that is used goes
	// down when Bad, the signs of silence in a row, has reached Fall. Other
	// evidence takes it down at once.
	Good int `json:"good"`
	Rise int `json:"rise"`
	Bad  int `json:"bad"`
	Fall int `json:"fall"`

	NextCheck time.Time   `json:"next_check,omitzero"` // when the next probe is due; zero while no connector is open
	Probing   bool        `json:"probing,omitempty"`   // a probe is under way
	LastProbe ProbeResult `json:"last_probe"`

	// Generation grows by one when the node goes down, is drained or is
	// removed. It does not grow when the node goes down because of failures
	// without a known reason. The pool does not hand out connections of an
	// older generation.
	Generation uint64 `json:"generation"`
	OpenConns  int    `json:"open_conns"` // connections handed to database/sql and not closed yet
	// IdleConns and RetiredConns are parts of OpenConns: those that lie idle in
	// database/sql's pool, and those of older generations, which finish their
	// work. The others are in use. Strategies get both as 0.
	IdleConns    int `json:"idle_conns"`
	RetiredConns int `json:"retired_conns"`
	MostConns    int `json:"most_conns"` // the most that OpenConns has been
	Cuttable     int `json:"cuttable"`   // of OpenConns, those that the cluster can cut; see Dial
	// Load is what Balanced compares: open connections of the present
	// generation, plus launches whose open has not ended.
	Load     int `json:"load"`
	Attempts int `json:"attempts"` // attempts in flight
	Deaf     int `json:"deaf"`     // attempts, probes and closes that are past their deadline and whose backend has not returned

	Chosen uint64 `json:"chosen"` // launches on the node: opens that asked it
	Opens  uint64 `json:"opens"`  // attempts started
	Won    uint64 `json:"won"`    // connections handed to database/sql, but for those that met a close on their way
	Lost   uint64 `json:"lost"`   // attempts that ended because another node won, the caller left, or a Close came
	Errors uint64 `json:"errors"` // attempts that failed
	Outrun uint64 `json:"outrun"` // attempts that a node that was asked later has outrun

	Probes      uint64 `json:"probes"`       // probes that have ended
	ProbeErrors uint64 `json:"probe_errors"` // of Probes, those that failed

	Downs    uint64         `json:"downs"`             // how often the node went down
	Downtime time.Duration  `json:"-"`                 // how long it has been down in all, up to now
	Changes  []StateChanges `json:"changes,omitempty"` // of its state so far

	// ErrorsByClass counts the attempts and probes that have failed, by the class
	// of the error. RefusedByClass counts the errors of statements that say
	// something about the node or its connection. ClosedBy counts the connections
	// that database/sql held, by why they were closed: "pool" (by database/sql
	// itself), "error", "generation" (retired with the node's others), "drain",
	// "cut", "rebalance", "max_age", "room" (for others, on a full node), and "hedge"
	// (another one has answered a read first). A
	// name is missing while its count is 0. The maps are the caller's.
	ErrorsByClass  map[string]uint64 `json:"errors_by_class,omitempty"`
	RefusedByClass map[string]uint64 `json:"refused_by_class,omitempty"`
	ClosedBy       map[string]uint64 `json:"closed_by,omitempty"`
	Moved          uint64            `json:"moved"` // see [ClusterStatus]
	SessionReads   SessionReads      `json:"session_reads"`
	HedgedReads    HedgedReads       `json:"hedged_reads"`
	Unknown        uint64            `json:"unknown_outcome"` // see [ClusterStatus]

	Added            time.Time `json:"added,omitzero"`
	LastSuccess      time.Time `json:"last_success,omitzero"`        // when a connection was last handed out
	LastError        time.Time `json:"last_error,omitzero"`          // when an attempt, a probe or a statement last failed
	LastErrorMessage string    `json:"last_error_message,omitempty"` // redacted

	ProbeLatency Latency   `json:"probe_latency"` // of checks on the lasting probe connection
	OpenLatency  Latency   `json:"open_latency"`  // of fresh connections: dial, handshake and check
	ProbeTimes   Histogram `json:"probe_times"`   // the same checks, counted
	OpenTimes    Histogram `json:"open_times"`    // the same connections, counted
}

// State is how well a node works, as the cluster sees it.
type State uint8

const (
	// StateUnknown is a node that was never heard of.
	StateUnknown State = iota
	// StateUp is a node whose last check passed.
	StateUp
	// StateSuspect is a node with one sign of trouble. It is still used, and it
	// is being checked.
	StateSuspect
	// StateDown is a node that refused or was silent. Opens do not go there
	// while another node is usable. It is tested in the background.
	StateDown
	// StateDraining is a node that the program drains or has removed. Opens do
	// not go there. Work under way there may finish.
	StateDraining
)

// String returns the state's name in lower case.
func (s State) String() string {
	names := [...]string{"unknown", "up", "suspect", "down", "draining"}
	if int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// A ProbeResult is how the last probe of a node went. The zero ProbeResult stands
// for no probe.
type ProbeResult struct {
	Time time.Time     `json:"time,omitzero"` // when it ended
	Took time.Duration `json:"-"`
	OK   bool          `json:"ok"`
	// Layer says where a probe has failed: "name" (the name service), "dial",
	// "tls", "handshake", "query" or "state" (what the server says of its own
	// state, or what the cluster makes of that). It is empty if the probe passed.
	// Of a backend that does not dial with [Dial], name, dial and tls are known by
	// its errors alone.
	Layer string `json:"layer,omitempty"`
	Error string `json:"error,omitempty"` // redacted; empty if it passed
}

// A status and an event are read and written by package encoding/json. The names
// are in lower case with underscores. Durations are numbers of seconds, and the
// names of these end with _seconds. States, kinds and roles are words.

type plainNodeStatus NodeStatus

// A nodeJSON is a NodeStatus in JSON.
type nodeJSON struct {
	*plainNodeStatus
	Lag      jsonform.Seconds `json:"lag_seconds"`
	Downtime jsonform.Seconds `json:"downtime_seconds"`
}

// MarshalJSON writes the status with the names that the manual has.
func (s NodeStatus) MarshalJSON() ([]byte, error) {
	return json.Marshal(nodeJSON{(*plainNodeStatus)(&s), jsonform.Seconds(s.Lag), jsonform.Seconds(s.Downtime)})
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
	Took jsonform.Seconds `json:"took_seconds"`
}

// MarshalJSON writes the result with the names that the manual has.
func (r ProbeResult) MarshalJSON() ([]byte, error) {
	return json.Marshal(probeJSON{(*plainProbeResult)(&r), jsonform.Seconds(r.Took)})
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

// MarshalText returns the state's name.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the state's name.
func (s *State) UnmarshalText(text []byte) error {
	return jsonform.Word(s, StateDraining, "state", text)
}

// MarshalText returns the role's name.
func (r Role) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads the role's name.
func (r *Role) UnmarshalText(text []byte) error { return jsonform.Word(r, RoleReplica, "role", text) }

// MarshalText returns libpq's word for the access.
func (a Access) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads libpq's word for the access.
func (a *Access) UnmarshalText(text []byte) error {
	return jsonform.Word(a, AccessReadOnly, "access", text)
}

// A SourceStatus says what one source of discovery has said.
type SourceStatus struct {
	Name      string    `json:"name"`                // "dns" or "srv" with the name that is asked for, "members", or "source" for that of the program
	Asked     time.Time `json:"asked,omitzero"`      // when it was last asked
	Answered  time.Time `json:"answered,omitzero"`   // when it last gave an answer that counts
	Addresses []string  `json:"addresses,omitempty"` // of that answer, sorted
	Err       string    `json:"err,omitempty"`       // why the last answer does not count, redacted; empty if it does
}

// An UnusedNode is something that was found and is not used, or only stays for the
// time being.
type UnusedNode struct {
	Address string `json:"address"`
	Source  string `json:"source"`
	Why     string `json:"why"`
}

// shownFound returns what a round of discovery has come to.
func shownFound(f *discovery.Shown) (sources []SourceStatus, unused []UnusedNode) {
	for _, s := range f.Sources {
		sources = append(sources, SourceStatus{Name: s.Name, Asked: s.Asked, Answered: s.Answered, Addresses: s.Addrs, Err: s.Err})
	}
	for _, u := range f.Unused {
		unused = append(unused, UnusedNode{u.Addr, u.Source, u.Why})
	}
	return sources, unused
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

// MarshalJSON writes the numbers of samples, the averages, percentiles of the last
// 64 samples, and these samples in microseconds, the oldest first.
func (l Latency) MarshalJSON() ([]byte, error) { return l.l.MarshalJSON() }

// UnmarshalJSON reads what MarshalJSON writes. The percentiles are worked out from
// the samples.
func (l *Latency) UnmarshalJSON(text []byte) error { return l.l.UnmarshalJSON(text) }

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

// MarshalJSON writes the number of samples, their sum, and the number of samples
// in each bucket, the last of which has no upper bound.
func (h Histogram) MarshalJSON() ([]byte, error) { return h.h.MarshalJSON() }

// UnmarshalJSON reads what MarshalJSON writes.
func (h *Histogram) UnmarshalJSON(text []byte) error { return h.h.UnmarshalJSON(text) }

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

// MarshalJSON writes the counts with the names that the manual has.
func (r SessionReads) MarshalJSON() ([]byte, error) { return counts.SessionReads(r).MarshalJSON() }

// UnmarshalJSON reads what MarshalJSON writes.
func (r *SessionReads) UnmarshalJSON(text []byte) error {
	return (*counts.SessionReads)(r).UnmarshalJSON(text)
}
