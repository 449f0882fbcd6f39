package selftest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"testing"
	"time"
)

// replicates writes one row through the cluster, reads it on every node, and
// deletes it.
func (c *cluster) replicates(t *testing.T) {
	db := sql.OpenDB(c.Connector())
	defer db.Close()
	table := c.selftest.Table
	if table == "" {
		table = "clustersql_selftest"
		mustExec(t, db, "CREATE TABLE IF NOT EXISTS "+table+" (id VARCHAR(64) PRIMARY KEY)")
	}
	id := "clustersql-" + rand.Text()
	mustExec(t, db, "INSERT INTO "+table+" (id) VALUES ('"+id+"')")
	defer mustExec(t, db, "DELETE FROM "+table+" WHERE id = '"+id+"'")
	c.eachNode(t, func(ctx context.Context, node string, db *sql.DB) {
		began := time.Now()
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		var last error // a new table may not be there yet either
		for ctx.Err() == nil {
			var n int
			err := db.QueryRowContext(ctx, "SELECT COUNT(*) FROM "+table+" WHERE id = '"+id+"'").Scan(&n)
			if n == 1 {
				t.Logf("%s: the row was there after %v", node, time.Since(began).Round(10*time.Microsecond))
				return
			}
			if ctx.Err() == nil {
				last = err
			}
			<-tick.C
		}
		t.Errorf("%s: the row did not arrive: %v", node, errors.Join(last, ctx.Err()))
	})
}

func mustExec(t *testing.T, db *sql.DB, statement string) {
	t.Helper()
	if _, err := db.ExecContext(context.Background(), statement); err != nil {
		t.Errorf("%s: %v", statement, err)
	}
}
