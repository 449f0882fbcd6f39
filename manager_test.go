package clustersql

import (
	"context"
	"crypto/rand"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/EnumApps/clustersql/internal/galera"
)

// TestConfiguredClusters is for users to run before production, with their own
// nodes in config.toml. It connects to every cluster and node of the file. It
// writes only if the file names a table, or asks for throwaway nodes, which the
// test then starts itself.
func TestConfiguredClusters(t *testing.T) {
	settings, err := readSelftest("")
	if err != nil {
		t.Fatal(err)
	}
	if settings.Throwaway {
		startThrowawayNodes(t)
	}
	r, err := Load("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	for _, name := range r.Names() {
		d, _ := r.Driver(name)
		t.Run(name, func(t *testing.T) { testCluster(t, d, settings) })
	}
}

// startThrowawayNodes starts real nodes. It sets the variables that the DSNs of
// the configuration file use.
func startThrowawayNodes(t *testing.T) {
	c := galera.StartT(t, galera.Options{})
	for i, n := range c.Nodes {
		t.Setenv(fmt.Sprintf("GALERA%d_DSN", i+1), n.DSN(""))
	}
}

func testCluster(t *testing.T, d Driver, settings Selftest) {
	before := goleak.IgnoreCurrent()
	t.Run("every node answers", func(t *testing.T) { testNodesAnswer(t, d) })
	t.Run("the nodes are one cluster", func(t *testing.T) { testOneCluster(t, d) })
	t.Run("concurrent opens", func(t *testing.T) { testConcurrentOpens(t, d) })
	t.Run("a refused node is masked", func(t *testing.T) { testRefusedNodeIsMasked(t, d) })
	switch {
	case settings.Throwaway || settings.Table != "":
		t.Run("what is written on one is read on each", func(t *testing.T) { testReplication(t, d, settings) })
	default:
		t.Log("nothing was written: set [selftest] table in the configuration file to test replication too")
	}
	if err := goleak.Find(before); err != nil {
		t.Errorf("after Close something is left: %v", err)
	}
}

// eachNode opens a sql.DB on each node of the cluster by itself, without a
// race.
func eachNode(t *testing.T, d Driver, f func(t *testing.T, ctx context.Context, node string, db *sql.DB)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for _, n := range *d.m.nodes.Load() {
		db := sql.OpenDB(n.dial.connector)
		f(t, ctx, n.name, db)
		if err := db.Close(); err != nil {
			t.Errorf("%s: %v", n.name, err)
		}
	}
}

// testNodesAnswer dials and checks every node as the cluster does.
func testNodesAnswer(t *testing.T, d Driver) {
	for _, n := range *d.m.nodes.Load() {
		ctx, cancel := context.WithTimeoutCause(t.Context(), n.cfg.AttemptTimeout, attemptTimeout(n.cfg.AttemptTimeout))
		began := time.Now()
		var r dialed
		n.dial.open(ctx, nil, question{}, &r)
		cancel()
		if r.failed != nil {
			t.Errorf("%s: %s", n.name, r.failed.reason())
			continue
		}
		t.Logf("%s: dialled and checked in %v", n.name, time.Since(began).Round(10*time.Microsecond))
		n.dial.close(r.conn)
	}
}

// testOneCluster compares Galera's cluster UUID between nodes, and asks each
// node for its state.
func testOneCluster(t *testing.T, d Driver) {
	uuids := map[string][]string{}
	eachNode(t, d, func(t *testing.T, ctx context.Context, node string, db *sql.DB) {
		var name, uuid, state string
		err := db.QueryRowContext(ctx, "SHOW STATUS LIKE 'wsrep_cluster_state_uuid'").Scan(&name, &uuid)
		if err != nil || uuid == "" {
			t.Logf("%s: no Galera: nothing to compare (%v)", node, err)
			return
		}
		uuids[uuid] = append(uuids[uuid], node)
		if err := db.QueryRowContext(ctx, "SHOW STATUS LIKE 'wsrep_local_state_comment'").Scan(&name, &state); err != nil {
			t.Errorf("%s: %v", node, err)
		} else if state != "Synced" {
			t.Errorf("%s is %s, not Synced", node, state)
		}
	})
	if len(uuids) > 1 {
		t.Errorf("the nodes are of %d different clusters: %v", len(uuids), uuids)
	}
}

// concurrentOpens limits the load on a user's servers.
const concurrentOpens = 30

// testConcurrentOpens holds many connections at once, and finds none
// afterwards.
func testConcurrentOpens(t *testing.T, d Driver) {
	db := sql.OpenDB(d.Connector())
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	conns := make(chan *sql.Conn, concurrentOpens)
	var wg sync.WaitGroup
	for range concurrentOpens {
		wg.Go(func() {
			conn, err := db.Conn(ctx)
			if err != nil {
				t.Error(err)
				return
			}
			if err := conn.PingContext(ctx); err != nil {
				t.Error(err)
			}
			conns <- conn
		})
	}
	wg.Wait()
	close(conns)
	t.Logf("%d connections at once", len(conns))
	for conn := range conns {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	for _, s := range d.Status().Nodes {
		if s.OpenConns != 0 || s.Attempts != 0 {
			t.Errorf("%s: %d connections and %d attempts are left", s.Name, s.OpenConns, s.Attempts)
		}
		t.Logf("%s: won %d, lost %d, failed %d, open latency %v (p99 %v)", s.Name, s.Won, s.Lost, s.Errors,
			s.OpenLatency.Mean().Round(10*time.Microsecond), s.OpenLatency.Percentile(0.99).Round(10*time.Microsecond))
	}
}

// testRefusedNodeIsMasked adds a node on whose port nobody listens. Opens must
// not notice it, and its error must be shown.
func testRefusedNodeIsMasked(t *testing.T, d Driver) {
	const refused = "clustersql-selftest-refused"
	if err := d.AddConnector(refused, refusingConnector{}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.DelNode(refused); err != nil {
			t.Error(err)
		}
	}()
	db := sql.OpenDB(d.Connector())
	defer db.Close()
	for range 3 {
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatalf("a refused node was not masked: %v", err)
		}
		conn.Close()
	}
	for !shown(d, refused) {
		if err := db.PingContext(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func shown(d Driver, node string) bool {
	for _, s := range d.Status().Nodes {
		if s.Name == node {
			return s.State == StateDown && s.LastErrorMessage != ""
		}
	}
	return false
}

// A refusingConnector dials a loopback port on which nobody listens any more.
type refusingConnector struct{}

func (refusingConnector) Connect(ctx context.Context) (driver.Conn, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l.Close()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
	if err == nil {
		conn.Close()
		err = errors.New("somebody took the port")
	}
	return nil, err
}

func (refusingConnector) Driver() driver.Driver { return nil }

// testReplication writes one row through the cluster, reads it on every node,
// and deletes it.
func testReplication(t *testing.T, d Driver, settings Selftest) {
	db := sql.OpenDB(d.Connector())
	defer db.Close()
	table := settings.Table
	if table == "" {
		table = "clustersql_selftest"
		mustExec(t, db, "CREATE TABLE IF NOT EXISTS "+table+" (id VARCHAR(64) PRIMARY KEY)")
	}
	id := "clustersql-" + rand.Text()
	mustExec(t, db, "INSERT INTO "+table+" (id) VALUES ('"+id+"')")
	defer mustExec(t, db, "DELETE FROM "+table+" WHERE id = '"+id+"'")
	eachNode(t, d, func(t *testing.T, ctx context.Context, node string, db *sql.DB) {
		began := time.Now()
		for {
			var n int
			err := db.QueryRowContext(ctx, "SELECT COUNT(*) FROM "+table+" WHERE id = '"+id+"'").Scan(&n)
			if err != nil {
				t.Fatalf("%s: the row did not arrive: %v", node, err)
			}
			if n == 1 {
				t.Logf("%s: the row was there after %v", node, time.Since(began).Round(10*time.Microsecond))
				return
			}
		}
	})
}

func mustExec(t *testing.T, db *sql.DB, statement string) {
	t.Helper()
	if _, err := db.ExecContext(context.Background(), statement); err != nil {
		t.Errorf("%s: %v", statement, err)
	}
}
