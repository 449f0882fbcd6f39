package integration

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/galera"
	"github.com/go-sql-driver/mysql"
	"go.uber.org/goleak"
)

// newCluster returns a cluster with all of c's nodes, given by their DSNs.
func newCluster(t *testing.T, c *galera.Cluster, opts ...clustersql.Option) clustersql.Driver {
	t.Helper()
	return newClusterOf(t, c, galera.User, "", opts...)
}

// newClusterOf is newCluster for a user, whose DSNs have parameters.
func newClusterOf(t *testing.T, c *galera.Cluster, user, params string, opts ...clustersql.Option) clustersql.Driver {
	t.Helper()
	d := clustersql.NewDriver(mysql.MySQLDriver{}, t.Name(), opts...)
	t.Cleanup(func() { d.Close() })
	for _, n := range c.Nodes {
		if err := d.AddNode(n.Name, dsnOf(n, user, params)); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// dsnOf returns a DSN of a node for a user that makeUser has made.
func dsnOf(n *galera.Node, user, params string) string {
	return strings.Replace(n.DSN(params), galera.User+":", user+":", 1)
}

// makeUser makes a user with the rights and the password of the user app.
func makeUser(t *testing.T, c *galera.Cluster, name string) {
	t.Helper()
	run(t, c, "CREATE USER IF NOT EXISTS "+name+"@'%' IDENTIFIED BY '"+galera.Password+"'", "GRANT ALL ON "+galera.Database+".* TO "+name+"@'%'")
}

// One server accepts connections and keeps silent, and its DSN has no
// readTimeout. A hundred opens succeed, and no goroutine or socket is left.
func silentNodeCostsNothing(t *testing.T, c *galera.Cluster) {
	silent := listenSilently(t)
	goroutines, sockets := goleak.IgnoreCurrent(), countSockets(t)
	d := newCluster(t, c)
	cfg, err := mysql.ParseDSN(c.Nodes[0].DSN(""))
	if err != nil {
		t.Fatal(err)
	}
	cfg.Addr = silent.Addr().String()
	if err := d.AddNode("silent", cfg.FormatDSN()); err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(d.Connector())
	db.SetMaxIdleConns(-1)
	openMany(t, db, 100)
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	for _, s := range d.Status().Nodes {
		t.Logf("%s: %s, won %d, lost %d, failed %d", s.Name, s.State, s.Won, s.Lost, s.Errors)
		if s.Attempts != 0 || s.OpenConns != 0 || s.Name == "silent" && s.Won != 0 {
			t.Errorf("%+v", s)
		}
	}
	if err := goleak.Find(goroutines); err != nil {
		t.Error(err)
	}
	waitFor(t, "the sockets to be closed", func() bool { return countSockets(t) <= sockets })
	waitFor(t, "the servers to hold no connection", func() bool { return serverConns(t, c) == 0 })
}

// listenSilently accepts connections and sends nothing. It closes its end of a
// connection when the peer has closed.
func listenSilently(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				_, _ = io.Copy(io.Discard, conn)
			})
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return l
}

// countSockets returns the number of this process's sockets.
func countSockets(t *testing.T) int {
	t.Helper()
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	sockets := 0
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && strings.HasPrefix(to, "socket:") {
			sockets++
		}
	}
	return sockets
}

// A node that refuses work with error 1047 still accepts connections and
// answers everything else. None of its connections is handed out.
func refusingNodeIsNotUsed(t *testing.T, c *galera.Cluster) {
	ctx := t.Context()
	if err := c.Nodes[0].RejectQueries(ctx, "ALL"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Heal(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	d := newCluster(t, c)
	db := sql.OpenDB(d.Connector())
	defer db.Close()
	db.SetMaxIdleConns(-1)
	openMany(t, db, 200)
	s := d.Status().Nodes[0]
	if s.Won != 0 || s.State != clustersql.StateDown || !strings.Contains(s.Reason, "1047") {
		t.Errorf("%+v", s)
	}
	if err := c.Nodes[0].RejectQueries(ctx, "NONE"); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the node to come back", func() bool { return d.Status().Nodes[0].State == clustersql.StateUp })
	waitFor(t, "the node to be used again", func() bool {
		openMany(t, db, 50)
		return d.Status().Nodes[0].Won > 0
	})
}

// While one node is killed and started again, opens succeed.
func killedNodeIsMasked(t *testing.T, c *galera.Cluster) {
	d := newCluster(t, c)
	db := sql.OpenDB(d.Connector())
	defer db.Close()
	db.SetMaxIdleConns(-1)
	openMany(t, db, 50)
	if err := c.Nodes[1].Kill(); err != nil {
		t.Fatal(err)
	}
	openMany(t, db, 200)
	if s := d.Status().Nodes[1]; s.State != clustersql.StateDown {
		t.Errorf("%+v", s)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := c.Heal(ctx); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the node to come back", func() bool { return d.Status().Nodes[1].State == clustersql.StateUp })
	openMany(t, db, 50)
}

// All statements of a transaction run on the node on which it began.
func transactionStays(t *testing.T, c *galera.Cluster) {
	db := sql.OpenDB(newCluster(t, c).Connector())
	defer db.Close()
	db.SetMaxIdleConns(-1)
	for range 20 {
		tx, err := db.Begin()
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for range 5 {
			var node string
			if err := tx.QueryRow("SELECT @@wsrep_node_name").Scan(&node); err != nil {
				t.Fatal(err)
			}
			seen[node] = true
		}
		if err := tx.Commit(); err != nil {
			t.Error(err)
		}
		if len(seen) != 1 {
			t.Errorf("one transaction on %v", seen)
		}
	}
}

// Everything that go-sql-driver can do works through clustersql.
func statementsWork(t *testing.T, c *galera.Cluster) {
	db := sql.OpenDB(newCluster(t, c).Connector())
	defer db.Close()
	ctx := t.Context()
	run(t, c, "DROP TABLE IF EXISTS app.works", "CREATE TABLE app.works (id BIGINT UNSIGNED PRIMARY KEY, body TEXT)")
	conn, err := db.Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const high = uint64(1)<<63 + 7
	stmt, err := conn.PrepareContext(ctx, "INSERT INTO works VALUES (?, ?)")
	if err != nil {
		t.Fatal(err)
	}
	defer stmt.Close()
	if _, err := stmt.ExecContext(ctx, high, sql.NullString{String: "x", Valid: true}); err != nil {
		t.Error(err)
	}
	var id uint64
	var body string
	if err := conn.QueryRowContext(ctx, "SELECT id, body FROM works WHERE id = ?", high).Scan(&id, &body); err != nil || id != high || body != "x" {
		t.Errorf("%d %q %v", id, body, err)
	}
	err = conn.Raw(func(c any) error {
		if raw := fmt.Sprintf("%T", c.(clustersql.Conn).Raw()); raw != "*mysql.mysqlConn" {
			return fmt.Errorf("Raw gave a %s", raw)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if _, err := conn.ExecContext(ctx, "DROP TABLE works"); err != nil {
		t.Error(err)
	}
}
