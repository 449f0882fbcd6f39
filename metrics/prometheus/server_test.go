package prometheus

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	client "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/fakedb"
	"github.com/EnumApps/clustersql/internal/throwaway"
)

// tool returns the path of one of the programs of Prometheus.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		err = fmt.Errorf("%s is not installed: apt-get install prometheus, or ./test.sh install", name)
	}
	throwaway.Demand(t, err)
	return path
}

// A server is a real Prometheus that scrapes one target twice a second.
type server struct{ url string }

// startServer starts a Prometheus. It ends with the test.
func startServer(t *testing.T, target string) server {
	t.Helper()
	path := tool(t, "prometheus")
	throwaway.Demand(t, throwaway.Supported())
	box, err := throwaway.New(throwaway.Plan{Name: "prometheus", Path: os.Getenv("PATH")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { box.End(func(p *throwaway.Process) { _ = p.Kill() }) })
	alerts, err := filepath.Abs("alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(box.Dir(), "prometheus.yml")
	text := "global: {scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}\n" +
		"rule_files: [" + strconv.Quote(alerts) + "]\n" +
		"scrape_configs: [{job_name: app, static_configs: [{targets: [" + strconv.Quote(strings.TrimPrefix(target, "http://")) + "]}]}]\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 3 { // somebody else may take the port before Prometheus does
		addr := freeAddress(t)
		out := new(strings.Builder)
		p, err := box.Start(box.Command(box.Dir(), out, path, "--config.file", config, "--storage.tsdb.path", filepath.Join(box.Dir(), "data"), "--web.listen-address", addr))
		if err != nil {
			t.Fatal(err)
		}
		s := server{"http://" + addr}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		err = throwaway.Poll(ctx, p.Done(), func() bool {
			resp, err := http.Get(s.url + "/-/ready")
			if err == nil {
				resp.Body.Close()
			}
			return err == nil && resp.StatusCode == http.StatusOK
		})
		cancel()
		if err == nil {
			return s
		}
		_ = p.Kill()
		<-p.Done()
		t.Logf("%v: %s", err, out)
	}
	t.Fatal("Prometheus does not start")
	return server{}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// ask returns the values of a PromQL query, by the labels cluster, node, cause and
// alertname.
func (s server) ask(t *testing.T, query string) map[string]float64 {
	t.Helper()
	resp, err := http.Get(s.url + "/api/v1/query?query=" + url.QueryEscape(query))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Status, Error string
		Data          struct {
			Result []struct {
				Metric map[string]string
				Value  [2]any
			}
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Status != "success" {
		t.Fatalf("%s: %v %s", query, err, answer.Error)
	}
	found := make(map[string]float64)
	for _, r := range answer.Data.Result {
		text, _ := r.Value[1].(string)
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		var key []string
		for _, label := range []string{"cluster", "node", "cause", "alertname"} {
			if v := r.Metric[label]; v != "" {
				key = append(key, v)
			}
		}
		found[strings.Join(key, " ")] = v
	}
	return found
}

// until asks until the answer is as wanted. A real server needs some time.
func (s server) until(t *testing.T, query string, want func(map[string]float64) bool) {
	t.Helper()
	var got map[string]float64
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if got = s.ask(t, query); want(got) {
			return
		}
	}
	t.Fatalf("%s is %v", query, got)
}

// A real Prometheus watches a program through a fault: a node goes down under
// load and comes back, another one is removed. PromQL tells what happened.
func TestPrometheusSeesAFault(t *testing.T) {
	b := fakedb.New()
	d := fakeCluster(t, b, "shop", []clustersql.Option{
		clustersql.WithStrategy(clustersql.Ordered), clustersql.WithProbe(100*time.Millisecond, 50*time.Millisecond),
	}, "n1", "n2", "n3")
	defer d.Close()
	db := sql.OpenDB(d.Connector())
	defer db.Close()
	registry := client.NewRegistry()
	registry.MustRegister(NewCollector(d))
	program := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	defer program.Close()
	defer http.DefaultClient.CloseIdleConnections()
	prom := startServer(t, program.URL)

	is := func(key string, v float64) func(map[string]float64) bool {
		return func(got map[string]float64) bool { have, ok := got[key]; return ok && have == v }
	}
	gone := func(got map[string]float64) bool { return len(got) == 0 }
	prom.until(t, `sum by (cluster) (clustersql_node_usable)`, is("shop", 3))
	prom.until(t, `clustersql_node_state{state="up",node="n1"}`, is("shop n1", 1))

	if err := db.PingContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	down := errors.New("the test has stopped it")
	b.Node("n1").SetHealth(down, 0, false)
	b.Node("n1").Set(fakedb.Script{Err: down})
	prom.until(t, `clustersql_node_state{state="down"} == 1`, is("shop n1", 1))
	prom.until(t, `sum by (cluster) (clustersql_node_usable)`, is("shop", 2))
	prom.until(t, `ALERTS{alertname="ClustersqlNodeDown"}`, is("shop n1 ClustersqlNodeDown", 1)) // pending
	conn, err := d.Open("")
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	prom.until(t, `clustersql_node_opens_total{node="n2",result="won"} >= 1`, func(got map[string]float64) bool { return len(got) == 1 })

	b.Node("n1").SetHealth(nil, 0, false)
	b.Node("n1").Set(fakedb.Script{})
	prom.until(t, `clustersql_node_state{state="up",node="n1"}`, is("shop n1", 1))
	prom.until(t, `max_over_time(clustersql_node_state{state="down"}[5m]) == 1`, is("shop n1", 1))
	prom.until(t, `clustersql_node_state_changes_total{to="down"}`, is("shop n1 not ready", 1))
	prom.until(t, `clustersql_node_down_seconds_total > 0`, func(got map[string]float64) bool {
		return len(got) == 1 && got["shop n1"] > 0 && got["shop n1"] < 60
	})
	prom.until(t, `histogram_quantile(0.9, clustersql_node_open_duration_seconds_bucket{node="n2"}) < 10`, func(got map[string]float64) bool { return len(got) == 1 })
	prom.until(t, `clustersql_node_connections_closed_total{reason="generation"}`, is("shop n1", 1)) // the pool's
	prom.until(t, `sum by (cluster) (clustersql_node_connections)`, is("shop", 0))

	if err := d.DelNode("n3"); err != nil {
		t.Fatal(err)
	}
	prom.until(t, `clustersql_node_usable{node="n3"}`, gone)
	prom.until(t, `clustersql_opens_waiting`, is("shop", 0))
}

// promtool reads the alerts, and finds that they fire as they are to. It reads what the
// dashboard asks, too.
func TestAlertRules(t *testing.T) {
	promtool := tool(t, "promtool")
	for _, args := range [][]string{{"check", "rules", "alerts.yml"}, {"test", "rules", "alerts_test.yml"}} {
		if out, err := exec.CommandContext(t.Context(), promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	// What the panels of the dashboard ask are rules too, once Grafana has filled in its
	// variables.
	var rules strings.Builder
	rules.WriteString("groups: [{name: panels, rules: [")
	exprs := dashboardExprs(t)
	for i, expr := range exprs {
		filled := regexp.MustCompile(`\$\w+`).ReplaceAllStringFunc(expr, func(variable string) string {
			if variable == "$__rate_interval" {
				return "1m"
			}
			return ".*"
		})
		fmt.Fprintf(&rules, "{record: 'panel:%d', expr: %s},\n", i, strconv.Quote(filled))
	}
	rules.WriteString("]}]\n")
	file := filepath.Join(t.TempDir(), "panels.yml")
	if err := os.WriteFile(file, []byte(rules.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), promtool, "check", "rules", file).CombinedOutput(); err != nil || !strings.Contains(string(out), fmt.Sprintf("%d rules found", len(exprs))) {
		t.Errorf("the dashboard's %d questions: %v\n%s", len(exprs), err, out)
	}
	d := fakeCluster(t, fakedb.New(), t.Name(), nil, "n1")
	defer d.Close()
	families, _ := NewCollector(d).Gather()
	check := exec.CommandContext(t.Context(), promtool, "check", "metrics")
	check.Stdin = strings.NewReader(strings.Join(written(t, families), "\n") + "\n")
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}
