package compat

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"strings"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/pgcluster"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// pgx dials through clustersql, so that its connections can be cut.
func Example_pgx() {
	d := clustersql.NewDriver(nil, "pg_conn", clustersql.WithRequire(clustersql.RequireWritable))
	for _, host := range []string{"dbhost1", "dbhost2"} {
		cfg, err := pgx.ParseConfig("postgres://app:password@" + host + "/db")
		if err != nil {
			log.Fatal(err)
		}
		cfg.DialFunc = clustersql.Dial
		d.AddConnector(host, stdlib.GetConnector(*cfg))
	}
	db := sql.OpenDB(d.Connector())

	fmt.Println(d.Nodes())
	db.Close()
	// Output: [dbhost1 dbhost2]
}

// pgCluster returns a cluster of servers that each have their own database.
func pgCluster(t *testing.T, servers []*pgcluster.Node, opts ...clustersql.Option) (clustersql.Driver, *sql.DB) {
	t.Helper()
	opts = append(opts, clustersql.WithStrategy(clustersql.Ordered), clustersql.WithCheckQuery("SELECT NOT pg_is_in_recovery()"), clustersql.WithGroups(clustersql.GroupsAny))
	d := clustersql.NewDriver(nil, t.Name(), opts...)
	t.Cleanup(func() { d.Close() })
	for i, p := range servers {
		cfg, err := pgx.ParseConfig(p.DSN(""))
		if err != nil {
			t.Fatal(err)
		}
		cfg.DialFunc = clustersql.Dial
		if err := d.AddConnector(fmt.Sprintf("n%d", i+1), stdlib.GetConnector(*cfg)); err != nil {
			t.Fatal(err)
		}
	}
	db := sql.OpenDB(d.Connector())
	t.Cleanup(func() { db.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := d.WaitReady(ctx, len(servers)); err != nil {
		t.Fatal(err)
	}
	return d, db
}

func serverOf(t *testing.T, db *sql.DB) (port int) {
	t.Helper()
	if err := db.QueryRow("SELECT inet_server_port() WHERE $1 = 1", 1).Scan(&port); err != nil {
		t.Error(err)
	}
	return port
}

// pgx runs on real PostgreSQL servers. One is frozen, one is killed, and one
// ends a connection.
func TestPgx(t *testing.T) {
	var servers []*pgcluster.Node
	for range 2 {
		servers = append(servers, pgcluster.StartT(t, pgcluster.Options{Nodes: 1}).Nodes...)
	}
	t.Run("a connection that the server ends", func(t *testing.T) { pgxConnEnds(t, servers) })
	t.Run("what hangs on a frozen server is cut", func(t *testing.T) { pgxIsCut(t, servers) })
	t.Run("a killed server is masked", func(t *testing.T) { pgxIsMasked(t, servers) })
}

func pgxConnEnds(t *testing.T, servers []*pgcluster.Node) {
	events := make(chan clustersql.Event, 100)
	d, db := pgCluster(t, servers, clustersql.WithOnEvent(func(e clustersql.Event) {
		if e.Node == "n1" {
			events <- e
		}
	}))
	if port := serverOf(t, db); port != servers[0].Port() {
		t.Errorf("on port %d, and the first server's is %d", port, servers[0].Port())
	}
	var pid int
	if err := db.QueryRow("SELECT pg_backend_pid()").Scan(&pid); err != nil {
		t.Fatal(err)
	}
	admin := adminOf(t, servers[0])
	var done bool
	if err := admin.QueryRow("SELECT pg_terminate_backend($1, 5000)", pid).Scan(&done); err != nil || !done {
		t.Fatal(done, err)
	}
	// The end is seen before the statement is sent. It is one session's: a probe
	// looks after the node, which stays in use.
	if _, err := db.Exec("SELECT 1"); err != nil {
		t.Errorf("a statement met the ended connection: %v", err)
	}
	for deadline := time.After(30 * time.Second); ; {
		select {
		case e := <-events:
			if e.Kind == clustersql.EventState && e.From != clustersql.StateUnknown {
				t.Errorf("one ended connection: %v", e)
			}
			if e.Kind != clustersql.EventLost {
				continue
			}
		case <-deadline:
			t.Fatalf("%+v", d.Status().Nodes[0])
		}
		break
	}
	probes := d.Status().Nodes[0].Probes
	for d.Status().Nodes[0].Probes == probes {
		time.Sleep(10 * time.Millisecond)
	}
	db.SetMaxIdleConns(0)
	if port := serverOf(t, db); port != servers[0].Port() {
		t.Errorf("one ended connection moved the cluster to port %d", port)
	}
	for len(events) > 0 {
		if e := <-events; e.Kind == clustersql.EventState {
			t.Errorf("one ended connection: %v", e)
		}
	}
	if s := d.Status().Nodes[0]; s.State != clustersql.StateUp || s.Generation != 0 {
		t.Errorf("%+v", s)
	}
}

func pgxIsCut(t *testing.T, servers []*pgcluster.Node) {
	d, db := pgCluster(t, servers)
	ended := make(chan error, 1)
	go func() {
		_, err := db.ExecContext(context.Background(), "SELECT pg_sleep(60)")
		ended <- err
	}()
	waitAsleep(t, servers[0])
	if s := d.Status().Nodes[0]; s.OpenConns != 1 || s.Cuttable != 1 {
		t.Errorf("%d of %d connections can be cut", s.Cuttable, s.OpenConns)
	}
	if err := servers[0].Freeze(); err != nil {
		t.Fatal(err)
	}
	defer servers[0].Resume()
	began := time.Now()
	err := <-ended
	t.Logf("after %v: %v", time.Since(began).Round(time.Millisecond), err)
	if err == nil || !strings.Contains(err.Error(), "clustersql cut the connection (silent") || !errors.Is(err, clustersql.ErrUnknownOutcome) {
		t.Errorf("got %v", err)
	}
	if port := serverOf(t, db); port != servers[1].Port() {
		t.Errorf("on port %d, and the second server's is %d", port, servers[1].Port())
	}
}

// waitAsleep waits until the server runs a pg_sleep.
func waitAsleep(t *testing.T, n *pgcluster.Node) {
	t.Helper()
	admin := adminOf(t, n)
	deadline := time.Now().Add(30 * time.Second)
	for asleep := 0; asleep == 0; time.Sleep(10 * time.Millisecond) {
		if err := admin.QueryRow("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'").Scan(&asleep); err != nil || time.Now().After(deadline) {
			t.Fatalf("%d asleep, %v", asleep, err)
		}
	}
}

func pgxIsMasked(t *testing.T, servers []*pgcluster.Node) {
	d, db := pgCluster(t, servers)
	db.SetMaxIdleConns(0)
	serverOf(t, db)
	if err := servers[0].Kill(); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if port := serverOf(t, db); port != servers[1].Port() {
			t.Errorf("on port %d", port)
		}
	}
	if s := d.Status().Nodes[0]; s.State != clustersql.StateDown || !strings.HasPrefix(s.Reason, "refused: ") {
		t.Errorf("%v: %s", s.State, s.Reason)
	}
}
