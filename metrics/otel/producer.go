// Package otel exports the clusters of a process to OpenTelemetry.
//
//	reader := metric.NewPeriodicReader(exporter, metric.WithProducer(clustersqlotel.NewProducer()))
//
// A collection reads one snapshot of each cluster. It waits for no node and starts
// no query. The series of a node or a cluster end when it is removed. Connections
// have the names of the semantic conventions for database clients; what these do
// not have begins with clustersql. The page docs/metrics.md of clustersql has every
// name. Spans are the work of a driver that traces, such as otelsql; Annotate puts
// the node of a connection on one.
package otel

import (
	"context"
	"slices"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/dbconv"

	"github.com/EnumApps/clustersql"
)

// ScopeName is the name of the instrumentation scope of the metrics.
const ScopeName = "github.com/EnumApps/clustersql/metrics/otel"

// A Producer exports clusters. Give it to a reader with [metric.WithProducer]. Any
// goroutine may use it.
type Producer struct {
	clusters func() []clustersql.Driver
}

var _ metric.Producer = (*Producer)(nil)

// NewProducer returns a producer of the given clusters. Without any, it exports
// every cluster of the process that is in use, also those that are made later; see
// [clustersql.Clusters].
func NewProducer(clusters ...clustersql.Driver) *Producer {
	if len(clusters) == 0 {
		return &Producer{clustersql.Clusters}
	}
	return &Producer{func() []clustersql.Driver { return clusters }}
}

// Produce reads one snapshot of each cluster. It never fails.
func (p *Producer) Produce(context.Context) ([]metricdata.ScopeMetrics, error) {
	var b batch
	seen := make(map[string]bool)
	for _, d := range p.clusters() {
		s := d.Status()
		if s.ID == "" || seen[s.ID] {
			continue // an empty Driver, or the program has named it twice
		}
		seen[s.ID] = true
		b.cluster(&s)
	}
	if len(b.metrics) == 0 {
		return nil, nil
	}
	scope := instrumentation.Scope{Name: ScopeName, SchemaURL: semconv.SchemaURL}
	return []metricdata.ScopeMetrics{{Scope: scope, Metrics: b.list()}}, nil
}

// Attributes of clustersql's own metrics and spans.
const (
	ClusterKey    = attribute.Key("clustersql.cluster")         // the ID of the cluster
	NodeKey       = attribute.Key("clustersql.node")            // the name of the node
	GenerationKey = attribute.Key("clustersql.node.generation") // see clustersql.NodeStatus; on spans alone

	stateKey  = attribute.Key("clustersql.state")
	causeKey  = attribute.Key("clustersql.cause")
	resultKey = attribute.Key("clustersql.result")
	reasonKey = attribute.Key("clustersql.reason")
	classKey  = attribute.Key("clustersql.error.class")
	sourceKey = attribute.Key("clustersql.source")
	roleKey   = attribute.Key("clustersql.role")
)

var (
	connCount  = dbconv.ClientConnectionCount{}
	createTime = dbconv.ClientConnectionCreateTime{}
	pending    = dbconv.ClientConnectionPendingRequests{}
	timeouts   = dbconv.ClientConnectionTimeouts{}
)

// cluster adds the metrics of a cluster.
func (b *batch) cluster(s *clustersql.ClusterStatus) {
	b.now, b.start = s.Time, time.Time{}
	for i := range s.Nodes {
		if added := s.Nodes[i].Added; b.start.IsZero() || added.Before(b.start) {
			b.start = added
		}
	}
	self := ClusterKey.String(s.ID)
	b.level(pending, int64(s.Waiting), semconv.DBClientConnectionPoolName(s.ID))
	b.total(own{"clustersql.opens.all_down", "{open}", "Opens that have met no usable node."}, s.OpensAllDown, self)
	b.total(own{"clustersql.statements.moved", "{call}", "Calls that a node refused or whose connection was gone, and that could be repeated on another one."}, s.Moved, self)
	b.total(own{"clustersql.failures.masked", "{failure}", "Failures of nodes in opens that gave a connection all the same."}, s.Masked, self)
	b.total(own{"clustersql.outcomes.unknown", "{error}", "Errors of statements that may have been run."}, s.Unknown, self)
	reloads := own{"clustersql.config.reloads", "{reload}", "Changes of the configuration as a whole, by result."}
	b.total(reloads, s.Reload.Count-s.Reload.Failed, self, resultKey.String("ok"))
	b.total(reloads, s.Reload.Failed, self, resultKey.String("error"))
	for i, src := range s.Sources {
		if slices.ContainsFunc(s.Sources[:i], func(other clustersql.SourceStatus) bool { return other.Name == src.Name }) {
			continue // two nodes are configured with the same name for discovery
		}
		answered := 0.0
		if !src.Answered.IsZero() {
			answered = float64(src.Answered.UnixMilli()) / 1000
		}
		b.gauge(own{"clustersql.discovery.last_success", "s", "When the source of discovery last gave an answer that counts, in Unix time; 0 before the first."}, answered, self, sourceKey.String(src.Name))
	}
	b.total(own{"clustersql.discovery.changes", "{change}", "Changes of nodes that discovery has made."}, s.DiscoveryChanges, self)
	b.total(own{"clustersql.discovery.errors", "{error}", "Questions to sources of discovery that got no answer that counts."}, s.DiscoveryErrors, self)
	for i := range s.Nodes {
		b.node(s.ID, &s.Nodes[i])
	}
}

var states = [...]clustersql.State{
	clustersql.StateUnknown, clustersql.StateUp, clustersql.StateSuspect, clustersql.StateDown, clustersql.StateDraining,
}

// node adds the metrics of a node.
func (b *batch) node(cluster string, s *clustersql.NodeStatus) {
	b.start = s.Added
	pool := semconv.DBClientConnectionPoolName(cluster + "/" + s.Name)
	b.level(connCount, int64(s.IdleConns), pool, semconv.DBClientConnectionStateIdle)
	b.level(connCount, int64(max(0, s.OpenConns-s.IdleConns)), pool, semconv.DBClientConnectionStateUsed)
	b.times(createTime, s.OpenTimes, pool)
	b.total(timeouts, s.ErrorsByClass["silent"], pool)

	self := []attribute.KeyValue{ClusterKey.String(cluster), NodeKey.String(s.Name)}
	with := func(more ...attribute.KeyValue) []attribute.KeyValue { return append(self[:2:2], more...) }
	for _, st := range states {
		b.gauge(own{"clustersql.node.state", "1", "1 for the state of the node, and 0 for the others."}, flag(st == s.State), with(stateKey.String(st.String()))...)
	}
	b.gauge(own{"clustersql.node.usable", "1", "Whether opens go to the node."}, flag(s.State != clustersql.StateDown && s.State != clustersql.StateDraining), self...)
	b.gauge(own{"clustersql.node.full", "1", "Whether the node has lately had no room for a connection."}, flag(s.Full), self...)
	b.gauge(own{"clustersql.node.role", "1", "The role of the node in replication; always 1."}, 1, with(roleKey.String(s.Role.String()))...)
	b.gauge(own{"clustersql.node.weight", "1", "The weight of the node."}, float64(s.Weight), self...)
	b.gauge(own{"clustersql.node.priority", "1", "The priority of the node: a lower one is used first."}, float64(s.Priority), self...)
	b.gauge(own{"clustersql.node.opens.in_flight", "{attempt}", "Attempts to open a connection that have not returned."}, float64(s.Attempts), self...)
	if s.LagUnknown == "" {
		b.gauge(own{"clustersql.node.lag", "s", "How far the node was behind its primary at the last look."}, s.Lag.Seconds(), self...)
	}
	if r := &s.SessionReads; *r != (clustersql.SessionReads{}) {
		calls := own{"clustersql.node.session.calls", "{call}", "Calls under ReadYourWrites by how the node was known to have what their session has seen."}
		b.total(calls, r.Known, with(resultKey.String("known"))...)
		b.total(calls, r.Asked, with(resultKey.String("asked"))...)
		b.total(calls, r.Waited, with(resultKey.String("waited"))...)
		b.total(calls, r.Moved, with(resultKey.String("moved"))...)
		b.seconds(own{"clustersql.node.session.wait", "s", "How long such calls have waited on the node in all."}, r.WaitTime, self...)
		positions := own{"clustersql.node.session.positions", "{question}", "Positions that were asked for after such calls, by result."}
		b.total(positions, r.Positions, with(resultKey.String("ok"))...)
		b.total(positions, r.Missed, with(resultKey.String("error"))...)
	}
	if r := &s.HedgedReads; *r != (clustersql.HedgedReads{}) {
		hedged := own{"clustersql.node.hedged_reads", "{read}", "Reads that took long and were sent to another node too: all of them, and those that it or this node has answered first."}
		b.total(hedged, r.Launched, with(resultKey.String("launched"))...)
		b.total(hedged, r.Won, with(resultKey.String("won"))...)
		b.total(hedged, r.Lost, with(resultKey.String("lost"))...)
		b.gauge(own{"clustersql.node.hedged_connections", "{connection}", "Connections whose reads are hedged."}, float64(r.Armed), self...)
	}
	b.seconds(own{"clustersql.node.downtime", "s", "How long the node has been down in all."}, s.Downtime, self...)
	for _, c := range s.Changes {
		b.total(own{"clustersql.node.state.changes", "{change}", "Changes of state by the new state and by what led to it."}, c.Count, with(stateKey.String(c.To.String()), causeKey.String(c.Cause))...)
	}
	opens := own{"clustersql.node.opens", "{attempt}", "Attempts to open a connection that have ended, by result."}
	b.total(opens, s.Won, with(resultKey.String("won"))...)
	b.total(opens, s.Lost, with(resultKey.String("lost"))...)
	b.total(opens, s.Errors, with(resultKey.String("error"))...)
	probes := own{"clustersql.node.probes", "{probe}", "Probes that have ended, by result."}
	b.total(probes, s.Probes-s.ProbeErrors, with(resultKey.String("ok"))...)
	b.total(probes, s.ProbeErrors, with(resultKey.String("error"))...)
	b.times(own{"clustersql.node.probe.duration", "s", "How long checks on the probe's lasting connection took."}, s.ProbeTimes, self...)
	for reason, count := range s.ClosedBy {
		b.total(own{"clustersql.node.connections.closed", "{connection}", "Connections of database/sql that were closed, by reason."}, count, with(reasonKey.String(reason))...)
	}
	errors := own{"clustersql.node.errors", "{error}", "Failed attempts and probes, and errors of statements that say something about the node, by class."}
	for class, count := range s.ErrorsByClass {
		b.total(errors, count+s.RefusedByClass[class], with(classKey.String(class))...)
	}
	for class, count := range s.RefusedByClass {
		if _, told := s.ErrorsByClass[class]; !told {
			b.total(errors, count, with(classKey.String(class))...)
		}
	}
}

func flag(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
