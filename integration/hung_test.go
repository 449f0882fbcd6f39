package integration

import (
	"context"
	"database/sql"
	"sync"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/galera"
	"github.com/EnumApps/clustersql/internal/seedtest"
	"github.com/go-sql-driver/mysql"
)

// hungMost returns the longest that a call may hang on a node that freezes: late_after,
// 50 ms from the probe before, two waits, each of 140 ms on a node that answers probes
// within 46 ms and takes connections within 70, and 30 ms for all else.
func hungMost(n clustersql.NodeStatus) time.Duration {
	least := 140 * time.Millisecond
	return usual.LateAfter + 50*time.Millisecond + 30*time.Millisecond +
		max(least, 3*n.ProbeLatency.Percentile(1)) + max(least, 2*n.OpenLatency.Percentile(1))
}

// hungCallsReturnSoon freezes the node in use, and then begins calls of every kind
// on it. All return soon, although the group itself has not yet seen that the node is
// gone. The time in which this machine was late is left out.
func hungCallsReturnSoon(t *testing.T, c *galera.Cluster) {
	run(t, c, "DROP TABLE IF EXISTS app.hung", "CREATE TABLE app.hung (id INT PRIMARY KEY AUTO_INCREMENT, i INT)")
	draws := seedtest.Rand(t)
	for round := range 3 {
		worst, allowed, late := hungOnce(t, c, time.Duration(draws.Int64N(int64(time.Second))))
		t.Logf("round %d: the longest call hung for %s of %s; this program, or another node, was late by up to %s", round, worst.Round(time.Millisecond), allowed.Round(time.Millisecond), late.Round(time.Millisecond))
		// Each of the four waits may be late once, and so may the answer. In a wait of
		// 140 ms another node has to answer, which is asked after a third of it. Where
		// either is late by half of what is left, the probes may have to find it alone.
		most := allowed + 5*late
		if late > 45*time.Millisecond {
			most = max(most, usual.ProbeInterval*6/5+time.Duration(usual.Fall)*usual.ProbeTimeout+5*late)
		}
		if worst > most {
			t.Errorf("round %d: a call hung for %s", round, worst)
		}
		if err := c.Heal(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
}

func hungOnce(t *testing.T, c *galera.Cluster, phase time.Duration) (worst, allowed, late time.Duration) {
	var told diary
	d := clustersql.NewDriver(mysql.MySQLDriver{}, t.Name(), clustersql.WithStrategy(clustersql.Ordered), clustersql.WithOnEvent(told.write))
	defer d.Close()
	for _, n := range c.Nodes {
		if err := d.AddNode(n.Name, n.DSN("")); err != nil {
			t.Fatal(err)
		}
	}
	db := sql.OpenDB(d.Connector())
	defer db.Close()
	waitFor(t, "all nodes to be up, and probed a few times", func() bool {
		up := 0
		for _, s := range d.Status().Nodes {
			if s.State == clustersql.StateUp && s.ProbeLatency.Count() >= 3 {
				up++
			}
		}
		return up == len(c.Nodes)
	})
	calls := hungCallsOn(t, db)
	time.Sleep(phase) // between two probes; the time to freeze in is what is tried, and no event marks it
	ended, lateness := make(chan struct{}), make(chan time.Duration)
	go func() { lateness <- worstLateness(ended) }()
	if err := c.Nodes[0].Freeze(); err != nil {
		t.Fatal(err)
	}
	frozen := time.Now()
	allowed = hungMost(d.Status().Nodes[0])
	var mu sync.Mutex
	var all sync.WaitGroup
	for what, call := range calls {
		all.Go(func() {
			err := call()
			took := time.Since(frozen)
			mu.Lock()
			defer mu.Unlock()
			worst = max(worst, took)
			if err == nil {
				t.Errorf("%s: no error from a frozen node", what)
			}
		})
	}
	all.Wait()
	close(ended)
	late = <-lateness
	for _, n := range d.Status().Nodes[1:] { // whose answers tell that it is the node
		late = max(late, n.ProbeLatency.Percentile(1))
	}
	time.Sleep(time.Second) // that nothing happens to the others can only be waited for
	told.mu.Lock()
	defer told.mu.Unlock()
	for _, e := range told.events {
		if e.Node != c.Nodes[0].Name && (e.Kind == clustersql.EventCut || e.Kind == clustersql.EventState && (e.To == clustersql.StateDown || e.To == clustersql.StateSuspect)) {
			t.Errorf("another node: %+v", e)
		}
	}
	return worst, allowed, late
}

// hungCallsOn prepares calls, each on a connection of its own.
func hungCallsOn(t *testing.T, db *sql.DB) map[string]func() error {
	t.Helper()
	ctx := context.Background()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	conn := func() *sql.Conn {
		c, err := db.Conn(ctx)
		must(err)
		t.Cleanup(func() { c.Close() })
		return c
	}
	tx := func() *sql.Tx {
		x, err := db.Begin()
		must(err)
		_, err = x.Exec("INSERT INTO hung (i) VALUES (1)")
		must(err)
		t.Cleanup(func() { _ = x.Rollback() })
		return x
	}
	forExec, forQuery, forStmt, inTx, commits := conn(), conn(), conn(), tx(), tx()
	stmt, err := forStmt.PrepareContext(ctx, "INSERT INTO hung (i) VALUES (?)")
	must(err)
	t.Cleanup(func() { stmt.Close() })
	return map[string]func() error{
		"an insert":                 func() error { _, err := forExec.ExecContext(ctx, "INSERT INTO hung (i) VALUES (2)"); return err },
		"a read":                    func() error { return forQuery.QueryRowContext(ctx, "SELECT COUNT(*) FROM hung").Scan(new(int)) },
		"a prepared statement":      func() error { _, err := stmt.ExecContext(ctx, 3); return err },
		"a read in a transaction":   func() error { return inTx.QueryRow("SELECT COUNT(*) FROM hung").Scan(new(int)) },
		"the commit of another one": commits.Commit,
	}
}
