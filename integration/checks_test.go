package integration

import (
	"context"
	"database/sql"
	"strings"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/galera"
)

// healed undoes a test's faults at the end of the test.
func healed(t *testing.T, c *galera.Cluster) {
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if err := c.Heal(ctx); err != nil {
			t.Error(err)
		}
	})
}

// openChecked opens a database without a pool on all nodes. It waits until they
// are up.
func openChecked(t *testing.T, c *galera.Cluster, opts ...clustersql.Option) (clustersql.Driver, *sql.DB) {
	t.Helper()
	d := newCluster(t, c, append([]clustersql.Option{clustersql.WithCheck(clustersql.CheckGalera)}, opts...)...)
	db := sql.OpenDB(d.Connector())
	t.Cleanup(func() { db.Close() })
	db.SetMaxIdleConns(-1)
	for i := range c.Nodes {
		waitState(t, d, i, clustersql.StateUp)
	}
	return d, db
}

func waitState(t *testing.T, d clustersql.Driver, node int, want clustersql.State) {
	t.Helper()
	waitFor(t, "node "+want.String(), func() bool { return d.Status().Nodes[node].State == want })
}

// unused opens connections and asserts that the node gave none of them.
func unused(t *testing.T, d clustersql.Driver, db *sql.DB, node int) {
	t.Helper()
	before := d.Status().Nodes[node].Won
	openMany(t, db, 100)
	if s := d.Status().Nodes[node]; s.Won != before {
		t.Errorf("the node was used: %+v", s)
	}
}

// A desynced node is ranked last and keeps its connections. After donor_after
// it is drained. When it is in sync again it comes back.
func desyncedNodeIsLast(t *testing.T, c *galera.Cluster) {
	healed(t, c)
	d, db := openChecked(t, c)
	if err := c.Nodes[0].Desync(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the donor to be seen", func() bool { return d.Status().Nodes[0].Donor })
	seen := time.Now()
	if s := d.Status().Nodes[0]; s.State != clustersql.StateUp || s.Generation != 0 {
		t.Errorf("%+v", s)
	}
	unused(t, d, db, 0)
	waitState(t, d, 0, clustersql.StateDown)
	if took := time.Since(seen); took < 3*time.Second || took > 9*time.Second {
		t.Errorf("drained after %s", took)
	}
	unused(t, d, db, 0)
	if err := c.Nodes[0].Desync(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	waitState(t, d, 0, clustersql.StateUp)
}

// If writable is required, a read-only node's check fails. The node gives no
// connection, and later comes back.
func readOnlyNodeIsNotUsed(t *testing.T, c *galera.Cluster) {
	healed(t, c)
	d, db := openChecked(t, c, clustersql.WithRequire("writable"))
	if err := c.Nodes[1].ReadOnly(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	unused(t, d, db, 1)
	waitState(t, d, 1, clustersql.StateDown)
	if s := d.Status().Nodes[1]; !strings.HasPrefix(s.Reason, "read-only: ") {
		t.Errorf("%+v", s)
	}
	if err := c.Nodes[1].ReadOnly(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	waitState(t, d, 1, clustersql.StateUp)
}

// The error of a user's own READ ONLY transaction takes no node down.
func readOnlyTransactionIsNoEvidence(t *testing.T, c *galera.Cluster) {
	d, db := openChecked(t, c, clustersql.WithRequire("writable"))
	run(t, c, "CREATE TABLE IF NOT EXISTS app.untouched (id INT PRIMARY KEY)")
	tx, err := db.BeginTx(t.Context(), &sql.TxOptions{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.ExecContext(t.Context(), "INSERT INTO untouched VALUES (1)"); err == nil || !strings.Contains(err.Error(), "1792") {
		t.Errorf("a write in a READ ONLY transaction: %v", err)
	}
	for _, s := range d.Status().Nodes {
		if s.State != clustersql.StateUp || s.Generation != 0 {
			t.Errorf("%+v", s)
		}
	}
	if err := tx.Rollback(); err != nil {
		t.Error(err)
	}
	if _, err := db.ExecContext(t.Context(), "DROP TABLE untouched"); err != nil {
		t.Error(err)
	}
}

// The status of a node that rejects queries says that all is well, but the node
// refuses DO 1.
func rejectingNodeIsSeen(t *testing.T, c *galera.Cluster) {
	healed(t, c)
	d, db := openChecked(t, c)
	if err := c.Nodes[2].RejectQueries(t.Context(), "ALL"); err != nil {
		t.Fatal(err)
	}
	unused(t, d, db, 2)
	waitState(t, d, 2, clustersql.StateDown)
	if err := c.Nodes[2].RejectQueries(t.Context(), "NONE"); err != nil {
		t.Fatal(err)
	}
	waitState(t, d, 2, clustersql.StateUp)
}

// A node that is cut off from its group is not used once it is non-primary. It
// is used again when it has rejoined.
func isolatedNodeIsSeen(t *testing.T, c *galera.Cluster) {
	healed(t, c)
	d, db := openChecked(t, c)
	if err := c.Nodes[0].Isolate(t.Context()); err != nil {
		t.Fatal(err)
	}
	waitState(t, d, 0, clustersql.StateDown)
	unused(t, d, db, 0)
	if err := c.Nodes[0].Rejoin(t.Context()); err != nil {
		t.Fatal(err)
	}
	waitState(t, d, 0, clustersql.StateUp)
}
