package prometheus

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	client "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/fakedb"
)

// fakeCluster makes a cluster with the given nodes, whose DSNs are their names.
func fakeCluster(t testing.TB, b *fakedb.Backend, name string, opts []clustersql.Option, nodes ...string) clustersql.Driver {
	t.Helper()
	d := clustersql.NewDriver(b.Driver(), name, append([]clustersql.Option{
		clustersql.WithLogger(slog.New(slog.DiscardHandler)), clustersql.WithSeed(1),
	}, opts...)...)
	for _, n := range nodes {
		if err := d.AddNode(n, n); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// written returns what Prometheus would read, one series a line.
func written(t testing.TB, families []*dto.MetricFamily) []string {
	t.Helper()
	var b strings.Builder
	out := expfmt.NewEncoder(&b, expfmt.NewFormat(expfmt.TypeTextPlain))
	for _, f := range families {
		if err := out.Encode(f); err != nil {
			t.Fatal(err)
		}
	}
	return strings.Split(strings.TrimSpace(b.String()), "\n")
}

// scrape returns the lines of a scrape. The registry, which checks everything,
// and the collector alone say the same.
func scrape(t testing.TB, c *Collector) []string {
	t.Helper()
	registry := client.NewPedanticRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	alone, err := c.Gather()
	if err != nil {
		t.Fatal(err)
	}
	lines, again := written(t, families), written(t, alone)
	slices.Sort(lines)
	slices.Sort(again)
	if !slices.Equal(lines, again) {
		t.Errorf("the registry says\n%s\nand the collector\n%s", strings.Join(lines, "\n"), strings.Join(again, "\n"))
	}
	return lines
}

var errRefused = errors.New("connection refused by the test")

// A cluster with a node that is down: every metric, by name and value.
func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d := fakeCluster(t, b, "write_conn", []clustersql.Option{clustersql.WithStrategy(clustersql.Ordered)}, "n1", "n2", "n3")
		defer d.Close()
		db := sql.OpenDB(d.Connector())
		defer db.Close()
		db.SetMaxIdleConns(8)
		time.Sleep(time.Second)
		b.Node("n1").SetHealth(errRefused, 0, false)
		b.Node("n1").Set(fakedb.Script{Err: errRefused})
		held, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer held.Close()
		if err := db.PingContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		if err := d.Drain("n3"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		got := scrape(t, NewCollector(d))
		for _, want := range []string{
			`clustersql_nodes{cluster="write_conn",state="up"} 1`,
			`clustersql_nodes{cluster="write_conn",state="suspect"} 0`,
			`clustersql_nodes{cluster="write_conn",state="down"} 1`,
			`clustersql_nodes{cluster="write_conn",state="draining"} 1`,
			`clustersql_node_state{cluster="write_conn",node="n1",state="down"} 1`,
			`clustersql_node_state{cluster="write_conn",node="n1",state="up"} 0`,
			`clustersql_node_state{cluster="write_conn",node="n2",state="up"} 1`,
			`clustersql_node_usable{cluster="write_conn",node="n1"} 0`,
			`clustersql_node_usable{cluster="write_conn",node="n2"} 1`,
			`clustersql_node_state_changes_total{cause="check",cluster="write_conn",node="n1",to="up"} 1`,
			`clustersql_node_state_changes_total{cause="drain",cluster="write_conn",node="n3",to="draining"} 1`,
			`clustersql_node_weight{cluster="write_conn",node="n1"} 1`,
			`clustersql_node_priority{cluster="write_conn",node="n1"} 0`,
			`clustersql_node_connections{cluster="write_conn",node="n2",state="used"} 1`,
			`clustersql_node_connections{cluster="write_conn",node="n2",state="idle"} 1`,
			`clustersql_node_connections{cluster="write_conn",node="n2",state="retired"} 0`,
			`clustersql_node_opens_in_flight{cluster="write_conn",node="n2"} 0`,
			`clustersql_node_opens_total{cluster="write_conn",node="n2",result="won"} 2`,
			`clustersql_node_opens_total{cluster="write_conn",node="n1",result="error"} 1`,
			`clustersql_node_open_duration_seconds_bucket{cluster="write_conn",node="n2",le="0.0005"} 3`,
			`clustersql_node_open_duration_seconds_bucket{cluster="write_conn",node="n2",le="+Inf"} 3`,
			`clustersql_node_open_duration_seconds_count{cluster="write_conn",node="n2"} 3`,
			`clustersql_node_probes_total{cluster="write_conn",node="n2",result="error"} 0`,
			`clustersql_node_full{cluster="write_conn",node="n2"} 0`,
			`clustersql_node_role{cluster="write_conn",node="n2",role="unknown"} 1`,
			`clustersql_opens_waiting{cluster="write_conn"} 0`,
			`clustersql_opens_all_down_total{cluster="write_conn"} 0`,
			`clustersql_statements_moved_total{cluster="write_conn"} 0`,
			`clustersql_masked_failures_total{cluster="write_conn"} 1`,
			`clustersql_unknown_outcomes_total{cluster="write_conn"} 0`,
			`# TYPE clustersql_node_down_seconds_total counter`,
			`# TYPE clustersql_node_connections gauge`,
			`# TYPE clustersql_node_open_duration_seconds histogram`,
		} {
			if !slices.Contains(got, want) {
				t.Errorf("no %s", want)
			}
		}
		if t.Failed() {
			t.Log(strings.Join(got, "\n"))
		}
		for _, m := range metrics {
			if !slices.ContainsFunc(got, func(line string) bool { return strings.HasPrefix(line, m.name) }) &&
				!slices.Contains([]*metric{nodeLag, nodeHedged, nodeArmed, nodeSessions, nodeWaits, nodePositions, nodeClosed, reloadOK, reloadTime, sourceTime}, m) { // which this cluster has no value for
				t.Errorf("nothing of %s", m.name)
			}
		}
	})
}

// A primary and a standby of PostgreSQL, and a node that is in no replication: each role
// is told, and the lag where it is known.
func TestRoleMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		for i, name := range []string{"n1", "n2"} {
			standby := i > 0
			b.Node(name).OnQuery(func(query string) ([][]driver.Value, bool) {
				switch {
				case !strings.HasPrefix(query, "SELECT r.standby"):
					return nil, false
				case standby: // it has not all, and its last transaction is old
					return [][]driver.Value{{true, "on", "77", "1", "100", "150", 33.0, true, "streaming", "1"}}, true
				}
				return [][]driver.Value{{false, "off", "77", "x00000001", "200", nil, nil, false, nil, nil}}, true
			})
		}
		d := fakeCluster(t, b, "pg_conn", []clustersql.Option{clustersql.WithDialect(clustersql.DialectPostgres), clustersql.WithMaxLag(time.Hour)}, "n1", "n2")
		defer d.Close()
		other := fakeCluster(t, b, "other_conn", nil, "n3")
		defer other.Close()
		for _, c := range []clustersql.Driver{d, other} {
			db := sql.OpenDB(c.Connector())
			defer db.Close()
		}
		time.Sleep(10 * time.Second)
		got := scrape(t, NewCollector(d, other))
		lag := d.Status().Nodes[1].Lag.Seconds()
		for _, want := range []string{
			`clustersql_node_role{cluster="pg_conn",node="n1",role="primary"} 1`,
			`clustersql_node_role{cluster="pg_conn",node="n2",role="replica"} 1`,
			`clustersql_node_role{cluster="other_conn",node="n3",role="unknown"} 1`,
			`clustersql_node_lag_seconds{cluster="pg_conn",node="n1"} 0`,
			`clustersql_node_lag_seconds{cluster="pg_conn",node="n2"} ` + strconv.FormatFloat(lag, 'g', -1, 64),
		} {
			if !slices.Contains(got, want) {
				t.Errorf("no %s in\n%s", want, strings.Join(got, "\n"))
			}
		}
		if lag < 30 {
			t.Errorf("the standby is %v s behind: the test shows nothing", lag)
		}
		for _, line := range got {
			if strings.HasPrefix(line, `clustersql_node_lag_seconds{cluster="other_conn"`) {
				t.Errorf("of a node whose lag is not known there is %s", line)
			}
		}
	})
}

// Connections that are closed are counted by why: of the pool, drained, and after a
// fault.
func TestClosedMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d := fakeCluster(t, b, "closed_conn", []clustersql.Option{clustersql.WithStrategy(clustersql.Ordered)}, "n1", "n2", "n3")
		defer d.Close()
		db := sql.OpenDB(d.Connector())
		defer db.Close()
		idle := func() {
			t.Helper()
			db.SetMaxIdleConns(4)
			if err := db.PingContext(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		idle()
		db.SetMaxIdleConns(-1) // n1: the pool
		idle()
		b.Node("n1").SetHealth(errRefused, 0, false) // n1: with its others
		b.Node("n1").Set(fakedb.Script{Err: errRefused})
		time.Sleep(5 * time.Second)
		idle()
		if err := d.Drain("n2"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		got := scrape(t, NewCollector(d))
		for _, want := range []string{
			`clustersql_node_connections_closed_total{cluster="closed_conn",node="n1",reason="pool"} 1`,
			`clustersql_node_connections_closed_total{cluster="closed_conn",node="n1",reason="generation"} 1`,
			`clustersql_node_connections_closed_total{cluster="closed_conn",node="n2",reason="drain"} 1`,
		} {
			if !slices.Contains(got, want) {
				t.Errorf("no %s in\n%s", want, strings.Join(got, "\n"))
			}
		}
	})
}

// A change of the configuration that fails shows.
func TestReloadMetrics(t *testing.T) {
	d := fakeCluster(t, fakedb.New(), "reloaded_conn", nil, "n1")
	defer d.Close()
	c := NewCollector(d)
	want := func(lines ...string) {
		t.Helper()
		got := scrape(t, c)
		for _, line := range lines {
			if !slices.Contains(got, line) {
				t.Errorf("no %s", line)
			}
		}
	}
	want(`clustersql_config_reloads_total{cluster="reloaded_conn",result="ok"} 0`, `clustersql_config_reloads_total{cluster="reloaded_conn",result="error"} 0`)
	if _, err := d.Apply(nil); err == nil {
		t.Fatal("a cluster without nodes was applied")
	}
	want(`clustersql_config_last_reload_successful{cluster="reloaded_conn"} 0`, `clustersql_config_reloads_total{cluster="reloaded_conn",result="error"} 1`)
	if _, err := d.Apply([]clustersql.Node{{Name: "n1", DSN: "n1"}}); err != nil {
		t.Fatal(err)
	}
	applied := strconv.FormatFloat(float64(d.Status().Reload.Applied.UnixMilli())/1000, 'g', -1, 64)
	want(`clustersql_config_last_reload_successful{cluster="reloaded_conn"} 1`, `clustersql_config_reloads_total{cluster="reloaded_conn",result="ok"} 1`,
		`clustersql_config_last_reload_success_timestamp_seconds{cluster="reloaded_conn"} `+applied)
}

// A source of discovery that has never answered has the time 0, and one that has keeps
// the time of its answer when it fails.
func TestDiscoveryMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var answer []clustersql.Node
		err := errRefused
		var mu sync.Mutex
		source := func(context.Context) ([]clustersql.Node, error) {
			mu.Lock()
			defer mu.Unlock()
			return answer, err
		}
		d := fakeCluster(t, fakedb.New(), "found_conn", []clustersql.Option{clustersql.WithSource(source, 10*time.Second)})
		defer d.Close()
		c := NewCollector(d)
		want := func(lines ...string) {
			t.Helper()
			got := scrape(t, c)
			for _, line := range lines {
				if !slices.Contains(got, line) {
					t.Errorf("no %s:\n%s", line, strings.Join(got, "\n"))
				}
			}
		}
		want(`clustersql_discovery_errors_total{cluster="found_conn"} 0`)
		db := sql.OpenDB(d.Connector())
		defer db.Close()
		synctest.Wait()
		want(`clustersql_discovery_last_success_timestamp_seconds{cluster="found_conn",source="source"} 0`,
			`clustersql_discovery_errors_total{cluster="found_conn"} 1`, `clustersql_discovery_changes_total{cluster="found_conn"} 0`)
		mu.Lock()
		answer, err = []clustersql.Node{{Name: "n1", DSN: "n1"}, {Name: "n2", DSN: "n2"}}, nil
		mu.Unlock()
		time.Sleep(5 * time.Second)
		mu.Lock()
		err = errRefused
		mu.Unlock()
		time.Sleep(time.Minute)
		s := d.Status()
		if answered := s.Sources[0].Answered; time.Since(answered) < 40*time.Second || s.DiscoveryErrors < 3 {
			t.Errorf("answered %s ago, %d errors", time.Since(answered), s.DiscoveryErrors)
		}
		want(fmt.Sprintf(`clustersql_discovery_last_success_timestamp_seconds{cluster="found_conn",source="source"} %s`,
			strconv.FormatFloat(float64(s.Sources[0].Answered.UnixMilli())/1000, 'g', -1, 64)),
			fmt.Sprintf(`clustersql_discovery_errors_total{cluster="found_conn"} %d`, s.DiscoveryErrors), `clustersql_discovery_changes_total{cluster="found_conn"} 2`)
	})
}

// The labels are the cluster, the node and words of fixed lists. No address, no
// error and no password is one.
func TestLabelsAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		const secret = "hunter22"
		dsn := "app:" + secret + "@tcp(10.1.2.3:3306)/db"
		b.Node(dsn).Set(fakedb.Script{Err: errors.New("no " + dsn)})
		d := clustersql.NewDriver(b.Driver(), "secret_conn", clustersql.WithLogger(slog.New(slog.DiscardHandler)), clustersql.WithDialect(clustersql.DialectMySQL))
		defer d.Close()
		if err := d.AddNode("n1", dsn); err != nil {
			t.Fatal(err)
		}
		db := sql.OpenDB(d.Connector())
		defer db.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := db.PingContext(ctx); err == nil {
			t.Fatal("the node works")
		}
		known := []string{"cluster", "node", "state", "to", "cause", "result", "reason", "class", "role", "le", "strategy", "version", "source"}
		label := regexp.MustCompile(`[{,](\w+)="((?:[^"\\]|\\.)*)"`)
		for _, line := range scrape(t, NewCollector(d)) {
			for _, m := range label.FindAllStringSubmatch(line, -1) {
				if !slices.Contains(known, m[1]) {
					t.Errorf("the label %s in %s", m[1], line)
				}
			}
			if strings.Contains(line, secret) || strings.Contains(line, "10.1.2.3") || strings.Contains(line, "3306") {
				t.Errorf("%s", line)
			}
		}
	})
}

// promtool's rules for names, as the client library has them.
func TestMetricNamesAreGood(t *testing.T) {
	d := fakeCluster(t, fakedb.New(), t.Name(), nil, "n1")
	defer d.Close()
	registry := client.NewRegistry()
	registry.MustRegister(NewCollector(d))
	problems, err := testutil.GatherAndLint(registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
}

// The series of a node that is removed end, and so do those of a closed cluster.
// Clusters that are made later are there.
func TestSeriesEndWithTheirNode(t *testing.T) {
	b := fakedb.New()
	c := NewCollector()
	first := fakeCluster(t, b, t.Name()+"/a", nil, "n1", "n2")
	has := func(what string) bool {
		return slices.ContainsFunc(scrape(t, c), func(line string) bool { return strings.Contains(line, what) })
	}
	a, second := t.Name()+"/a\"", t.Name()+"/b\""
	if !has(a) || !has(a+`,node="n2"`) || has(second) {
		t.Error("the first cluster")
	}
	if err := first.DelNode("n2"); err != nil {
		t.Fatal(err)
	}
	later := fakeCluster(t, b, t.Name()+"/b", nil, "n1")
	same := fakeCluster(t, b, t.Name()+"/b", nil, "n1")
	if has(a+`,node="n2"`) || !has(a+`,node="n1"`) || !has(second) || !has(t.Name()+`/b#2"`) {
		t.Error("after DelNode, and with two more clusters")
	}
	first.Close()
	if has(a) || !has(second) {
		t.Error("after Close")
	}
	later.Close()
	same.Close()
	if has(t.Name()) {
		t.Error("after the last Close")
	}
	if len(c.labels) != 0 {
		t.Errorf("labels of %d clusters are kept", len(c.labels))
	}
	scrape(t, NewCollector(clustersql.Driver{}, first, first)) // an empty one, and one twice
}

// A node that hangs holds no scrape up.
func TestScrapeWaitsForNoNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		b.Node("n1").Set(fakedb.Script{Delay: time.Hour})
		d := fakeCluster(t, b, "hung_conn", nil, "n1", "n2")
		defer d.Close()
		db := sql.OpenDB(d.Connector())
		defer db.Close()
		opened := make(chan error)
		go func() { opened <- db.PingContext(t.Context()) }()
		time.Sleep(100 * time.Millisecond)
		began := time.Now()
		scrape(t, NewCollector(d))
		if took := time.Since(began); took != 0 {
			t.Errorf("it took %v", took)
		}
		if err := <-opened; err != nil {
			t.Error(err)
		}
	})
}

// Scrapes may overlap.
func TestScrapesAtOnce(t *testing.T) {
	b := fakedb.New()
	d := fakeCluster(t, b, t.Name(), nil, "n1", "n2")
	defer d.Close()
	db := sql.OpenDB(d.Connector())
	defer db.Close()
	c := NewCollector(d)
	registry := client.NewRegistry()
	registry.MustRegister(c)
	done := make(chan error)
	for range 8 {
		go func() {
			for range 20 {
				families, err := registry.Gather()
				if err == nil {
					out := expfmt.NewEncoder(io.Discard, expfmt.NewFormat(expfmt.TypeTextPlain))
					for _, f := range families {
						err = errors.Join(err, out.Encode(f))
					}
				}
				if err == nil {
					_, err = c.Gather()
				}
				if err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// What a scrape of 900 nodes allocates. It bounds the work of one too.
func TestScrapeIsSmall(t *testing.T) {
	c := NewCollector(manyNodes(t, 3, 300)...)
	gather := func() {
		if _, err := c.Gather(); err != nil {
			t.Fatal(err)
		}
	}
	gather() // makes the labels
	families, _ := c.Gather()
	series := 0
	for _, f := range families {
		series += len(f.Metric)
	}
	if series < 900*20 || series > 900*metricsPerNode {
		t.Errorf("%d series of 900 nodes", series)
	}
	if per := testing.AllocsPerRun(5, gather) / 900; per > 40 {
		t.Errorf("%.0f allocations for each node", per)
	}
}
