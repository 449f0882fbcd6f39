package integration

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/galera"
	"github.com/go-sql-driver/mysql"
)

// firstOf asks the nodes one after the other, in the order of their names.
var firstOf = clustersql.NewStrategy("by name", func(nodes []clustersql.NodeStatus) []clustersql.Launch {
	var plan []clustersql.Launch
	for _, n := range nodes {
		plan = append(plan, clustersql.Launch{Node: n.Name, Wait: time.Second})
	}
	return plan
})

// turnAway makes a node refuse work until the test ends.
func turnAway(t *testing.T, c *galera.Cluster, n *galera.Node) {
	t.Helper()
	if err := n.RejectQueries(t.Context(), "ALL"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Heal(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

func makeTable(t *testing.T, c *galera.Cluster, statements ...string) {
	t.Helper()
	run(t, c, append([]string{"DROP TABLE IF EXISTS app.refusals", "CREATE TABLE app.refusals (id INT PRIMARY KEY AUTO_INCREMENT, who VARCHAR(64), KEY (who))"}, statements...)...)
}

// rowsOf returns how many rows a writer has on the last node, once that node
// has everything.
func rowsOf(t *testing.T, c *galera.Cluster, who string) int {
	t.Helper()
	conn, err := c.Nodes[len(c.Nodes)-1].AdminDB().Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// The administrator's sessions have wsrep_dirty_reads on. With it nothing
	// waits.
	if _, err := conn.ExecContext(t.Context(), "SET SESSION wsrep_sync_wait=1, wsrep_dirty_reads=0"); err != nil {
		t.Fatal(err)
	}
	defer conn.ExecContext(context.Background(), "SET SESSION wsrep_sync_wait=DEFAULT, wsrep_dirty_reads=1")
	var n int
	if err := conn.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM app.refusals WHERE who LIKE ?", who).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// A pool is full of connections to a node that begins to refuse work in the
// middle of traffic. Some statements are prepared, some are not. No autocommit
// read or write fails, and every row is there once.
func refusedStatementsMoveUnseen(t *testing.T, c *galera.Cluster) {
	const workers = 32
	makeTable(t, c)
	d := newCluster(t, c, clustersql.WithStrategy(firstOf))
	db := sql.OpenDB(d.Connector())
	defer db.Close()
	db.SetMaxIdleConns(workers)
	waitFor(t, "the nodes to be up", func() bool { return up(d) == len(c.Nodes) })
	for _, conn := range hold(t, db, workers) {
		conn.Close()
	}
	if first := d.Status().Nodes[0]; first.OpenConns < workers {
		t.Fatalf("%d connections to the first node", first.OpenConns)
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var written, read, failed atomic.Int64
	for w := range workers {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				if err := readAndWrite(db, fmt.Sprintf("w%d-%d", w, i)); err != nil {
					failed.Add(1)
					t.Error(err)
					return
				}
				written.Add(2)
				read.Add(2)
			}
		})
	}
	waitFor(t, "traffic before the fault", func() bool { return written.Load() > 10*workers })
	before := written.Load()
	turnAway(t, c, c.Nodes[0])
	waitFor(t, "the node to be down", func() bool { return d.Status().Nodes[0].State == clustersql.StateDown })
	fell := written.Load()
	waitFor(t, "traffic during the fault", func() bool { return written.Load() > fell+10*workers })
	after := written.Load()
	if err := c.Nodes[0].RejectQueries(t.Context(), "NONE"); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the node to be up", func() bool { return up(d) == len(c.Nodes) })
	stop()
	wg.Wait()
	t.Logf("%d reads and %d writes, %d before and %d after the fault; %d failed", read.Load(), written.Load(), before, written.Load()-before, failed.Load())
	if before == 0 || after == before {
		t.Error("no traffic before or during the fault: the test shows nothing")
	}
	if n := rowsOf(t, c, "w%"); int64(n) != written.Load() {
		t.Errorf("%d rows, %d were acknowledged", n, written.Load())
	}
	if g := d.Status().Nodes[0].Generation; g == 0 {
		t.Error("the node's connections were not retired")
	}
}

func readAndWrite(db *sql.DB, who string) error {
	var n int
	if _, err := db.Exec("INSERT INTO refusals (who) VALUES (?)", who); err != nil {
		return fmt.Errorf("prepared write: %w", err)
	}
	if err := db.QueryRow("SELECT 1 FROM refusals WHERE who = ? UNION SELECT 1", who).Scan(&n); err != nil {
		return fmt.Errorf("prepared read: %w", err)
	}
	if _, err := db.Exec("/* plain */ INSERT INTO refusals (who) VALUES ('" + who + "')"); err != nil {
		return fmt.Errorf("plain write: %w", err)
	}
	if err := db.QueryRow("(SELECT 1 FROM refusals LIMIT 1)").Scan(&n); err != nil {
		return fmt.Errorf("plain read: %w", err)
	}
	return nil
}

func up(d clustersql.Driver) int {
	n := 0
	for _, s := range d.Status().Nodes {
		if s.State == clustersql.StateUp {
			n++
		}
	}
	return n
}

// What may have run in part is not run again. Both a procedure and two
// statements in one call are refused at their second half. The first half is
// there exactly once, and the caller gets the server's error.
func refusedHalvesSurface(t *testing.T, c *galera.Cluster) {
	makeTable(t, c, "DROP PROCEDURE IF EXISTS app.halves",
		"CREATE PROCEDURE app.halves(w VARCHAR(64)) BEGIN INSERT INTO refusals (who) VALUES (w); COMMIT; DO SLEEP(2); INSERT INTO refusals (who) VALUES (w); END")
	for who, tc := range map[string]struct{ params, statement string }{
		"called":    {"", "CALL halves('called')"},
		"both":      {"multiStatements=true", "INSERT INTO refusals (who) VALUES ('both'); DO SLEEP(2); INSERT INTO refusals (who) VALUES ('both')"},
		"in a stmt": {"", "CALL halves(?)"},
	} {
		t.Run(who, func(t *testing.T) {
			d := clustersql.NewDriver(mysql.MySQLDriver{}, t.Name(), clustersql.WithStrategy(firstOf))
			defer d.Close()
			for _, n := range c.Nodes {
				if err := d.AddNode(n.Name, n.DSN(tc.params)); err != nil {
					t.Fatal(err)
				}
			}
			db := sql.OpenDB(d.Connector())
			defer db.Close()
			waitFor(t, "the nodes to be up", func() bool { return up(d) == len(c.Nodes) })
			ended := make(chan error, 1)
			go func() {
				var args []any
				if who == "in a stmt" {
					args = append(args, who)
				}
				_, err := db.ExecContext(context.Background(), tc.statement, args...)
				ended <- err
			}()
			waitFor(t, "the first half", func() bool { return rowsOf(t, c, who) == 1 })
			turnAway(t, c, c.Nodes[0])
			err := <-ended
			var refused *mysql.MySQLError
			if !errors.As(err, &refused) || refused.Number != 1047 || errors.Is(err, driver.ErrBadConn) {
				t.Errorf("the caller got %v", err)
			}
			if n := rowsOf(t, c, who); n != 1 {
				t.Errorf("the first half is there %d times", n)
			}
			var node string
			if err := db.QueryRow("SELECT @@wsrep_node_name FROM refusals LIMIT 1").Scan(&node); err != nil || node == c.Nodes[0].Name {
				t.Errorf("the next statement ran on %q, %v", node, err)
			}
		})
	}
}

// In a cluster whose reads are marked idempotent, no read fails when the node
// on which all of them run is killed.
func lostReadsRunAgain(t *testing.T, c *galera.Cluster) {
	const workers = 16
	makeTable(t, c)
	d := newCluster(t, c, clustersql.WithStrategy(firstOf), clustersql.WithIdempotent(true))
	db := sql.OpenDB(d.Connector())
	defer db.Close()
	db.SetMaxIdleConns(workers)
	waitFor(t, "the nodes to be up", func() bool { return up(d) == len(c.Nodes) })
	for _, conn := range hold(t, db, workers) {
		conn.Close()
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var read, moved atomic.Int64
	for range workers {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				query, args := "SELECT @@wsrep_node_name", []any(nil)
				if i%2 == 0 {
					query, args = query+" WHERE ? = 1", []any{1} // with an argument, the query is prepared
				}
				var node string
				if err := db.QueryRow(query, args...).Scan(&node); err != nil {
					t.Error(err)
					return
				}
				read.Add(1)
				if node != c.Nodes[0].Name {
					moved.Add(1)
				}
			}
		})
	}
	waitFor(t, "traffic before the fault", func() bool { return read.Load() > 10*workers })
	if err := c.Nodes[0].Kill(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Heal(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	waitFor(t, "the reads to move", func() bool { return moved.Load() > 1000 })
	stop()
	wg.Wait()
	t.Logf("%d reads, %d of them on another node", read.Load(), moved.Load())
}
