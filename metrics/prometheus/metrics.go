package prometheus

import (
	"slices"

	client "github.com/prometheus/client_golang/prometheus"

	"github.com/EnumApps/clustersql"
)

// The names and labels of the metrics. Labels are in the order of the alphabet,
// which is how a Metric has to have them.
var (
	metrics []*metric

	nodes         = desc("nodes", "Nodes of the cluster by state.", "cluster", "state")
	opensWaiting  = desc("opens_waiting", "Opens that wait until a node may be asked.", "cluster")
	opensAllDown  = desc("opens_all_down_total", "Opens that have met no usable node.", "cluster")
	moved         = desc("statements_moved_total", "Calls that a node refused or whose connection was gone, and that could be repeated on another one.", "cluster")
	masked        = desc("masked_failures_total", "Failures of nodes in opens that gave a connection all the same.", "cluster")
	unknown       = desc("unknown_outcomes_total", "Errors of statements that may have been run.", "cluster")
	info          = desc("info", "The version of clustersql, and the cluster's strategy; always 1.", "cluster", "strategy", "version")
	reloadOK      = desc("config_last_reload_successful", "Whether the last change of the configuration as a whole was a success; missing before the first.", "cluster")
	reloadTime    = desc("config_last_reload_success_timestamp_seconds", "When the configuration was last changed as a whole; missing before the first.", "cluster")
	reloads       = desc("config_reloads_total", "Changes of the configuration as a whole, by result.", "cluster", "result")
	sourceTime    = desc("discovery_last_success_timestamp_seconds", "When the source of discovery last gave an answer that counts; 0 before the first.", "cluster", "source")
	found         = desc("discovery_changes_total", "Changes of nodes that discovery has made.", "cluster")
	unheard       = desc("discovery_errors_total", "Questions to sources of discovery that got no answer that counts.", "cluster")
	nodeState     = desc("node_state", "1 for the state of the node, and 0 for the others.", "cluster", "node", "state")
	nodeUsable    = desc("node_usable", "Whether opens go to the node.", "cluster", "node")
	nodeSince     = desc("node_state_since_timestamp_seconds", "When the present state began.", "cluster", "node")
	nodeDown      = desc("node_down_seconds_total", "How long the node has been down in all.", "cluster", "node")
	nodeChanges   = desc("node_state_changes_total", "Changes of state by the new state and by what led to it.", "cause", "cluster", "node", "to")
	nodeWeight    = desc("node_weight", "The weight of the node.", "cluster", "node")
	nodePriority  = desc("node_priority", "The priority of the node: a lower one is used first.", "cluster", "node")
	nodeConns     = desc("node_connections", "Connections that database/sql holds: in use, idle, or retired.", "cluster", "node", "state")
	nodeInFlight  = desc("node_opens_in_flight", "Attempts to open a connection that have not returned.", "cluster", "node")
	nodeOpens     = desc("node_opens_total", "Attempts to open a connection that have ended, by result.", "cluster", "node", "result")
	nodeOpenTime  = desc("node_open_duration_seconds", "How long fresh connections took: dial, handshake and check.", "cluster", "node")
	nodeProbes    = desc("node_probes_total", "Probes that have ended, by result.", "cluster", "node", "result")
	nodeProbeTime = desc("node_probe_duration_seconds", "How long checks on the probe's lasting connection took.", "cluster", "node")
	nodeClosed    = desc("node_connections_closed_total", "Connections of database/sql that were closed, by reason.", "cluster", "node", "reason")
	nodeErrors    = desc("node_errors_total", "Failed attempts and probes, and errors of statements that say something about the node, by class.", "class", "cluster", "node")
	nodeFull      = desc("node_full", "Whether the node has lately had no room for a connection.", "cluster", "node")
	nodeSessions  = desc("node_session_calls_total", "Calls under ReadYourWrites by how the node was known to have what their session has seen; missing before the first.", "cluster", "node", "result")
	nodeWaits     = desc("node_session_wait_seconds_total", "How long such calls have waited on the node in all; missing before the first.", "cluster", "node")
	nodePositions = desc("node_session_positions_total", "Positions that were asked for after such calls, by result; missing before the first.", "cluster", "node", "result")
	nodeHedged    = desc("node_hedged_reads_total", "Reads that took long and were sent to another node too: all of them, and those that it or this node has answered first; missing where reads are not hedged.", "cluster", "node", "result")
	nodeArmed     = desc("node_hedged_connections", "Connections whose reads are hedged; missing where none ever was.", "cluster", "node")
	nodeLag       = desc("node_lag_seconds", "How far the node was behind its primary at the last look; missing while that is not known.", "cluster", "node")
	nodeRole      = desc("node_role", "The role of the node in replication; always 1.", "cluster", "node", "role")
)

// A metric is what all series of one name have in common.
type metric struct {
	*client.Desc
	at         int // its index among metrics
	name, help string
}

func desc(name, help string, labels ...string) *metric {
	name = "clustersql_" + name
	m := &metric{client.NewDesc(name, help, labels, nil), len(metrics), name, help}
	metrics = append(metrics, m)
	return m
}

// states are sorted by name. A registry sorts what it gets; what is sorted already
// costs it least.
var states = [...]clustersql.State{
	clustersql.StateDown, clustersql.StateDraining, clustersql.StateSuspect, clustersql.StateUnknown, clustersql.StateUp,
}

// collect adds the metrics of a cluster to the batch.
func (c *cluster) collect(s *clustersql.ClusterStatus, version string, b *batch) {
	b.room = len(s.Nodes)*metricsPerNode + 20
	var inState [clustersql.StateDraining + 1]int
	seen := make(map[string]*node, len(s.Nodes))
	for i := range s.Nodes {
		n := &s.Nodes[i]
		l := c.nodes[n.Name]
		if l == nil {
			l = newNode(c.id, n.Name)
		}
		seen[n.Name] = l
		inState[n.State]++
		l.collect(n, b)
	}
	c.nodes = seen
	for _, st := range states {
		b.gauge(nodes, c.with("state", st.String()), float64(inState[st]))
	}
	b.gauge(opensWaiting, c.plain, float64(s.Waiting))
	b.counter(opensAllDown, c.plain, float64(s.OpensAllDown))
	b.counter(moved, c.plain, float64(s.Moved))
	b.counter(masked, c.plain, float64(s.Masked))
	b.counter(unknown, c.plain, float64(s.Unknown))
	if r := &s.Reload; !r.At.IsZero() {
		b.gauge(reloadOK, c.plain, flag(r.Err == ""))
		if !r.Applied.IsZero() {
			b.gauge(reloadTime, c.plain, float64(r.Applied.UnixMilli())/1000)
		}
	}
	b.counter(reloads, c.with("result", "error"), float64(s.Reload.Failed))
	b.counter(reloads, c.with("result", "ok"), float64(s.Reload.Count-s.Reload.Failed))
	for i, src := range s.Sources {
		if slices.ContainsFunc(s.Sources[:i], func(other clustersql.SourceStatus) bool { return other.Name == src.Name }) {
			continue // two nodes are configured with the same name for discovery
		}
		answered := 0.0
		if !src.Answered.IsZero() {
			answered = float64(src.Answered.UnixMilli()) / 1000
		}
		b.gauge(sourceTime, c.with("source", src.Name), answered)
	}
	b.counter(found, c.plain, float64(s.DiscoveryChanges))
	b.counter(unheard, c.plain, float64(s.DiscoveryErrors))
	b.gauge(info, pairs("cluster", c.id, "strategy", s.Strategy, "version", version), 1)
}

// metricsPerNode is how many metrics of a node there are about, so that a scrape
// takes their room at once.
const metricsPerNode = 28

// collect adds the metrics of a node to the batch.
func (n *node) collect(s *clustersql.NodeStatus, b *batch) {
	for i, st := range states {
		b.gauge(nodeState, n.states[i], flag(st == s.State))
	}
	b.gauge(nodeUsable, n.plain, flag(s.State != clustersql.StateDown && s.State != clustersql.StateDraining))
	b.gauge(nodeSince, n.plain, float64(s.Since.UnixMilli())/1000)
	b.counter(nodeDown, n.plain, s.Downtime.Seconds())
	for _, c := range s.Changes {
		b.counter(nodeChanges, n.change(c.Cause, c.To.String()), float64(c.Count))
	}
	b.gauge(nodeWeight, n.plain, float64(s.Weight))
	b.gauge(nodePriority, n.plain, float64(s.Priority))
	b.gauge(nodeConns, n.idle, float64(s.IdleConns))
	b.gauge(nodeConns, n.retired, float64(s.RetiredConns))
	b.gauge(nodeConns, n.used, float64(max(0, s.OpenConns-s.IdleConns-s.RetiredConns)))
	b.gauge(nodeInFlight, n.plain, float64(s.Attempts))
	b.counter(nodeOpens, n.failed, float64(s.Errors))
	b.counter(nodeOpens, n.lost, float64(s.Lost))
	b.counter(nodeOpens, n.won, float64(s.Won))
	b.histogram(nodeOpenTime, n.plain, &s.OpenTimes)
	b.counter(nodeProbes, n.failed, float64(s.ProbeErrors))
	b.counter(nodeProbes, n.passed, float64(s.Probes-s.ProbeErrors))
	b.histogram(nodeProbeTime, n.plain, &s.ProbeTimes)
	for reason, count := range s.ClosedBy {
		b.counter(nodeClosed, n.with("reason", reason), float64(count))
	}
	for class, count := range s.ErrorsByClass {
		b.counter(nodeErrors, n.class(class), float64(count+s.RefusedByClass[class]))
	}
	for class, count := range s.RefusedByClass {
		if _, told := s.ErrorsByClass[class]; !told {
			b.counter(nodeErrors, n.class(class), float64(count))
		}
	}
	b.gauge(nodeFull, n.plain, flag(s.Full))
	if r := &s.SessionReads; *r != (clustersql.SessionReads{}) {
		b.counter(nodeSessions, n.with("result", "asked"), float64(r.Asked))
		b.counter(nodeSessions, n.with("result", "known"), float64(r.Known))
		b.counter(nodeSessions, n.with("result", "moved"), float64(r.Moved))
		b.counter(nodeSessions, n.with("result", "waited"), float64(r.Waited))
		b.counter(nodeWaits, n.plain, r.WaitTime.Seconds())
		b.counter(nodePositions, n.failed, float64(r.Missed))
		b.counter(nodePositions, n.passed, float64(r.Positions))
	}
	if r := &s.HedgedReads; *r != (clustersql.HedgedReads{}) {
		b.counter(nodeHedged, n.with("result", "launched"), float64(r.Launched))
		b.counter(nodeHedged, n.with("result", "lost"), float64(r.Lost))
		b.counter(nodeHedged, n.with("result", "won"), float64(r.Won))
		b.gauge(nodeArmed, n.plain, float64(r.Armed))
	}
	if s.LagUnknown == "" {
		b.gauge(nodeLag, n.plain, s.Lag.Seconds())
	}
	b.gauge(nodeRole, n.with("role", s.Role.String()), 1)
}

func flag(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
