package compat

import (
	"context"
	"database/sql/driver"
	"errors"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/pgcluster"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/lib/pq"
)

// A server shuts down while a commit waits for a standby: it has committed, and
// does not answer. Both drivers return a driver.ErrBadConn then. The caller is
// told that it is not known whether the INSERT was run, and it is there once.
func TestUnansweredInsertIsNotRepeated(t *testing.T) {
	c := pgcluster.StartT(t, pgcluster.Options{Nodes: 2, Synchronous: true})
	primary, standby := c.Nodes[0], c.Nodes[1]
	if err := c.Exec(t.Context(), "CREATE TABLE once (k TEXT)", "GRANT ALL ON once TO "+pgcluster.User); err != nil {
		t.Fatal(err)
	}
	for name, backend := range map[string]driver.Driver{"pgx": stdlib.GetDefaultDriver(), "pq": &pq.Driver{}} {
		t.Run(name, func(t *testing.T) {
			_, db, _ := pgStage{backend: backend}.cluster(t, pgcluster.User, []*pgcluster.Node{primary}, 1, clustersql.WithRequire(clustersql.RequireWritable))
			if err := standby.Kill(); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			ended := make(chan error, 1)
			go func() {
				_, err := db.ExecContext(ctx, "INSERT INTO once VALUES ('"+name+"')")
				ended <- err
			}()
			until(t, "the commit to wait", func() bool {
				n, err := primary.Query(ctx, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
				return err == nil && n == "1"
			})
			if err := errors.Join(primary.Shutdown(ctx), primary.Start(ctx), standby.Start(ctx)); err != nil {
				t.Fatal(err)
			}
			if err := <-ended; !errors.Is(err, clustersql.ErrUnknownOutcome) {
				t.Errorf("got %v", err)
			}
			if n, err := primary.Query(ctx, "SELECT count(*) FROM once WHERE k = '"+name+"'"); err != nil || n != "1" {
				t.Errorf("it is there %s times, %v", n, err)
			}
		})
	}
}
