package otel

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/fakedb"
)

// fakeCluster makes a cluster with the given nodes, whose DSNs are their names.
func fakeCluster(t testing.TB, b *fakedb.Backend, name string, nodes ...string) clustersql.Driver {
	t.Helper()
	d := clustersql.NewDriver(b.Driver(), name, clustersql.WithStrategy(clustersql.Ordered),
		clustersql.WithLogger(slog.New(slog.DiscardHandler)), clustersql.WithSeed(1))
	for _, n := range nodes {
		if err := d.AddNode(n, n); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// collected returns what a reader of the SDK gets, one series a line.
func collected(t testing.TB, p *Producer) []string {
	t.Helper()
	reader := metric.NewManualReader(metric.WithProducer(p))
	provider := metric.NewMeterProvider(metric.WithReader(reader))
	defer provider.Shutdown(context.Background())
	var all metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, scope := range all.ScopeMetrics {
		if scope.Scope.Name != ScopeName || !strings.Contains(scope.Scope.SchemaURL, "1.43.0") {
			t.Errorf("the scope %+v", scope.Scope)
		}
		for _, m := range scope.Metrics {
			if m.Unit == "" || m.Description == "" {
				t.Errorf("%s has no unit or no description", m.Name)
			}
			lines = append(lines, points(m)...)
		}
	}
	return lines
}

// points returns the series of a metric.
func points(m metricdata.Metrics) (lines []string) {
	line := func(attrs fmt.Stringer, v any) { lines = append(lines, fmt.Sprintf("%s{%s} %v", m.Name, attrs, v)) }
	text := func(encoded string) fmt.Stringer { return stringer(encoded) }
	switch d := m.Data.(type) {
	case metricdata.Gauge[float64]:
		for _, p := range d.DataPoints {
			line(text(p.Attributes.Encoded(encoder)), p.Value)
		}
	case metricdata.Sum[int64]:
		for _, p := range d.DataPoints {
			line(text(p.Attributes.Encoded(encoder)), p.Value)
		}
	case metricdata.Sum[float64]:
		for _, p := range d.DataPoints {
			line(text(p.Attributes.Encoded(encoder)), p.Value)
		}
	case metricdata.Histogram[float64]:
		for _, p := range d.DataPoints {
			sum := uint64(0)
			for _, n := range p.BucketCounts {
				sum += n
			}
			line(text(p.Attributes.Encoded(encoder)), fmt.Sprint(p.Count, " in ", len(p.Bounds), " bounds, ", sum, " in ", len(p.BucketCounts), " buckets"))
		}
	}
	return lines
}

// encoder writes attributes as a=b, sorted.
var encoder = attribute.DefaultEncoder()

type stringer string

func (s stringer) String() string { return string(s) }

// A cluster with a node that is down, by every metric.
func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d := fakeCluster(t, b, "write_conn", "n1", "n2")
		defer d.Close()
		db := sql.OpenDB(d.Connector())
		defer db.Close()
		time.Sleep(time.Second)
		down := errors.New("the test has stopped it")
		b.Node("n1").SetHealth(down, 0, false)
		b.Node("n1").Set(fakedb.Script{Err: down})
		held, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer held.Close()
		if err := db.PingContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		got := collected(t, NewProducer(d))
		for _, want := range []string{
			`db.client.connection.count{db.client.connection.pool.name=write_conn/n2,db.client.connection.state=idle} 1`,
			`db.client.connection.count{db.client.connection.pool.name=write_conn/n2,db.client.connection.state=used} 1`,
			`db.client.connection.pending_requests{db.client.connection.pool.name=write_conn} 0`,
			`db.client.connection.timeouts{db.client.connection.pool.name=write_conn/n2} 0`,
			`db.client.connection.create_time{db.client.connection.pool.name=write_conn/n2} 3 in 14 bounds, 3 in 15 buckets`,
			`clustersql.node.state{clustersql.cluster=write_conn,clustersql.node=n1,clustersql.state=down} 1`,
			`clustersql.node.state{clustersql.cluster=write_conn,clustersql.node=n1,clustersql.state=up} 0`,
			`clustersql.node.usable{clustersql.cluster=write_conn,clustersql.node=n1} 0`,
			`clustersql.node.opens{clustersql.cluster=write_conn,clustersql.node=n2,clustersql.result=won} 2`,
			`clustersql.node.state.changes{clustersql.cause=check,clustersql.cluster=write_conn,clustersql.node=n2,clustersql.state=up} 1`,
			`clustersql.failures.masked{clustersql.cluster=write_conn} 1`,
			`clustersql.statements.moved{clustersql.cluster=write_conn} 0`,
		} {
			if !slices.Contains(got, want) {
				t.Errorf("no %s", want)
			}
		}
		if t.Failed() {
			t.Log(strings.Join(got, "\n"))
		}
		manual, err := os.ReadFile("../../docs/metrics.md")
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range got {
			name, _, _ := strings.Cut(line, "{")
			if !strings.Contains(string(manual), "`"+name+"`") {
				t.Errorf("docs/metrics.md does not have %s", name)
			}
		}
	})
}

// A source of discovery shows when it last answered, and what it has not answered.
func TestDiscoveryMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		source := func(context.Context) ([]clustersql.Node, error) { // never called twice at once
			if asked++; asked > 1 {
				return nil, errors.New("the test has stopped it")
			}
			return []clustersql.Node{{Name: "n1", DSN: "n1"}}, nil
		}
		d := clustersql.NewDriver(fakedb.New().Driver(), "found_conn", clustersql.WithLogger(slog.New(slog.DiscardHandler)), clustersql.WithSeed(1), clustersql.WithSource(source, 10*time.Second))
		defer d.Close()
		db := sql.OpenDB(d.Connector())
		defer db.Close()
		time.Sleep(time.Minute)
		got, s := collected(t, NewProducer(d)), d.Status()
		manual, err := os.ReadFile("../../docs/metrics.md")
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{
			fmt.Sprintf(`clustersql.discovery.last_success{clustersql.cluster=found_conn,clustersql.source=source} %v`, float64(s.Sources[0].Answered.UnixMilli())/1000),
			`clustersql.discovery.changes{clustersql.cluster=found_conn} 1`,
			fmt.Sprintf(`clustersql.discovery.errors{clustersql.cluster=found_conn} %d`, s.DiscoveryErrors),
		} {
			name, _, _ := strings.Cut(want, "{")
			if !slices.Contains(got, want) || !strings.Contains(string(manual), "`"+name+"`") {
				t.Errorf("no %s:\n%s", want, strings.Join(got, "\n"))
			}
		}
		if s.DiscoveryErrors < 3 {
			t.Errorf("%d errors in a minute", s.DiscoveryErrors)
		}
	})
}

// The series of a node that is removed end, and so do those of a closed cluster.
// A node that hangs holds no collection up.
func TestSeriesEndWithTheirNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		b.Node("n1").Set(fakedb.Script{Delay: time.Hour})
		d := fakeCluster(t, b, "hung_conn", "n1", "n2")
		db := sql.OpenDB(d.Connector())
		if err := db.PingContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		p := NewProducer()
		has := func(what string) bool {
			began := time.Now()
			found := slices.ContainsFunc(collected(t, p), func(line string) bool { return strings.Contains(line, what) })
			if took := time.Since(began); took != 0 {
				t.Errorf("it took %v", took)
			}
			return found
		}
		if !has("clustersql.node=n1") || !has("hung_conn/n2") {
			t.Error("the cluster is not there")
		}
		if err := d.DelNode("n1"); err != nil {
			t.Fatal(err)
		}
		if has("clustersql.node=n1") || has("hung_conn/n1") || !has("clustersql.node=n2") {
			t.Error("after DelNode")
		}
		db.Close()
		d.Close()
		if has("hung_conn") {
			t.Error("after Close")
		}
		collected(t, NewProducer(clustersql.Driver{}, d, d)) // an empty one, and one twice
	})
}

// A span gets the node of a connection, also through a driver that wraps the
// cluster's.
func TestAnnotate(t *testing.T) {
	d := fakeCluster(t, fakedb.New(), t.Name(), "n1")
	defer d.Close()
	db := sql.OpenDB(d.Connector())
	defer db.Close()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	recorder := tracetest.NewSpanRecorder()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)).Tracer("test")
	_, span := tracer.Start(t.Context(), "query")
	if err := Annotate(span, conn); err != nil {
		t.Fatal(err)
	}
	span.End()
	attrs := recorder.Ended()[0].Attributes()
	if len(attrs) != 2 || attrs[0] != NodeKey.String("n1") || attrs[1] != GenerationKey.Int64(0) {
		t.Errorf("%v", attrs)
	}
	if err := Annotate(span, conn); err != nil { // it has ended
		t.Error(err)
	}
}
