package integration

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/galera"
)

// frozenNodeIsCut freezes the only node of a cluster while a statement hangs
// on it, and another one is in the middle of its rows. Neither the DSN nor the
// callers have a timeout. Both return when the node is found silent.
func frozenNodeIsCut(t *testing.T, c *galera.Cluster) {
	d := newCluster(t, &galera.Cluster{Nodes: c.Nodes[:1]})
	db := sql.OpenDB(d.Connector())
	defer db.Close()
	waitFor(t, "the node to be up", func() bool { return d.Status().Nodes[0].State == clustersql.StateUp })
	ctx := context.Background()
	rows, err := db.QueryContext(ctx, "SELECT seq, REPEAT('x', 1000) FROM seq_1_to_1000000")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	if !rows.Next() {
		t.Fatal(rows.Err())
	}
	hung := make(chan error, 1)
	go func() {
		_, err := db.ExecContext(ctx, "DO SLEEP(60)")
		hung <- err
	}()
	waitFor(t, "the statement to be out", func() bool { return d.Status().Nodes[0].OpenConns == 2 })
	if s := d.Status().Nodes[0]; s.Cuttable != 2 {
		t.Errorf("%d of %d connections can be cut", s.Cuttable, s.OpenConns)
	}
	if err := c.Nodes[0].Freeze(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Heal(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	began := time.Now()
	for rows.Next() {
	}
	if rows.Err() == nil {
		t.Error("the rows came to their end")
	}
	t.Logf("rows ended after %v: %v", time.Since(began).Round(time.Millisecond), rows.Err())
	err = <-hung
	t.Logf("the statement ended after %v: %v", time.Since(began).Round(time.Millisecond), err)
	if err == nil || !strings.Contains(err.Error(), "clustersql cut the connection (silent") || !errors.Is(err, clustersql.ErrUnknownOutcome) {
		t.Errorf("got %v", err)
	}
}
