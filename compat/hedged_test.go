package compat

import (
	"context"
	"database/sql"
	"fmt"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/pgcluster"
	"github.com/lib/pq"
)

// Reads on PostgreSQL are hedged with pgx, whose connections can be cut, and not with
// lib/pq, whose sockets the cluster does not know. Each server has a database of its
// own, so that what a read returns says who has answered.
func TestHedgedReads(t *testing.T) {
	var servers []*pgcluster.Node
	for i := range 2 {
		c := pgcluster.StartT(t, pgcluster.Options{Nodes: 1})
		if err := c.Exec(t.Context(), "CREATE TABLE here (n INT)", fmt.Sprintf("INSERT INTO here VALUES (%d)", i+1), "GRANT SELECT ON here TO "+pgcluster.User); err != nil {
			t.Fatal(err)
		}
		servers = append(servers, c.Nodes[0])
	}
	t.Run("pgx: a slow server", func(t *testing.T) { slowServer(t, withPgx, servers, 1) })
	t.Run("pq: a slow server", func(t *testing.T) { slowServer(t, withPq, servers, 0) })
	t.Run("pgx: a frozen server", func(t *testing.T) { frozenServer(t, servers) })
}

// withPgx and withPq make clusters of the servers.
func withPgx(t *testing.T, servers []*pgcluster.Node, opts ...clustersql.Option) (clustersql.Driver, *sql.DB) {
	return pgCluster(t, servers, opts...)
}

func withPq(t *testing.T, servers []*pgcluster.Node, opts ...clustersql.Option) (clustersql.Driver, *sql.DB) {
	d, db, _ := pgStage{backend: &pq.Driver{}}.cluster(t, pgcluster.User, servers, len(servers), append(opts, clustersql.WithGroups(clustersql.GroupsAny))...)
	return d, db
}

type clusterOf func(*testing.T, []*pgcluster.Node, ...clustersql.Option) (clustersql.Driver, *sql.DB)

// hedgedCluster returns a cluster of the servers whose pool has idle connections to the
// first. A late call asks for no probe, and no connection is moved.
func hedgedCluster(t *testing.T, of clusterOf, servers []*pgcluster.Node, conns int) (clustersql.Driver, *sql.DB) {
	t.Helper()
	d, db := of(t, servers, clustersql.WithHedgedReads(true, 20*time.Millisecond), clustersql.WithLateAfter(0), clustersql.WithRebalance(clustersql.RebalanceOff, time.Minute))
	until(t, "the connections to be those of the first", func() bool { // on a busy machine an open may have left it
		db.SetMaxIdleConns(-1)
		db.SetMaxIdleConns(conns)
		for range 2 { // pgx pings a connection when it is taken from the pool for the first time
			for _, conn := range take(t, db, conns) {
				conn.Close()
			}
		}
		return d.Status().Nodes[0].OpenConns == conns
	})
	return d, db
}

// take takes connections from the pool.
func take(t *testing.T, db *sql.DB, conns int) (held []*sql.Conn) {
	t.Helper()
	for range conns {
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		held = append(held, conn)
	}
	return held
}

// slowServer locks the table of the first server while it is read. The other one answers if
// the connections are armed; else the read waits.
func slowServer(t *testing.T, of clusterOf, servers []*pgcluster.Node, armed int) {
	d, db := hedgedCluster(t, of, servers, 1)
	if s := d.Status().Nodes[0]; s.OpenConns != 1 || s.Cuttable != armed || s.HedgedReads.Armed != armed {
		t.Errorf("%d connections, %d can be cut; %+v", s.OpenConns, s.Cuttable, s.HedgedReads)
	}
	lock, err := adminOf(t, servers[0]).Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Rollback()
	if _, err := lock.Exec("LOCK TABLE here"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	by := make(chan int, 1)
	go func() {
		n := 0
		if err := db.QueryRowContext(ctx, "SELECT n FROM here").Scan(&n); err != nil {
			t.Error(err)
		}
		by <- n
	}()
	if armed == 0 { // ten times as long as an armed one waits
		until(t, "the read to wait", func() bool { return waiting(t, servers[0]) == 1 })
		select {
		case n := <-by:
			t.Fatalf("server %d has answered", n)
		case <-time.After(200 * time.Millisecond):
		}
		if err := lock.Rollback(); err != nil {
			t.Fatal(err)
		}
	}
	if n := <-by; n != 1+armed {
		t.Errorf("server %d has answered", n)
	}
	until(t, "the status", func() bool {
		h := d.Status().Nodes[0].HedgedReads
		return h == clustersql.HedgedReads{Launched: uint64(armed), Won: uint64(armed)}
	})
	if s := d.Status().Nodes[1]; s.HedgedReads.Armed != armed || s.OpenConns != armed {
		t.Errorf("the second has %d connections, %+v", s.OpenConns, s.HedgedReads)
	}
}

// waiting returns how many sessions of the server wait for a lock.
func waiting(t *testing.T, n *pgcluster.Node) (sessions int) {
	t.Helper()
	if err := adminOf(t, n).QueryRow("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'").Scan(&sessions); err != nil {
		t.Fatal(err)
	}
	return sessions
}

// frozenServer freezes the first server under connections that are read in all ways. Without
// hedged reads each would fail, once its connection is cut; late_after is off, so that
// nobody knows of the silence yet.
func frozenServer(t *testing.T, servers []*pgcluster.Node) {
	d, db := hedgedCluster(t, withPgx, servers, 4)
	prepared, err := db.Prepare("SELECT n FROM here WHERE n > $1")
	if err != nil {
		t.Fatal(err)
	}
	defer prepared.Close()
	held := take(t, db, 3)
	if s := d.Status().Nodes[0]; s.OpenConns != 4 || s.HedgedReads.Armed != 4 {
		t.Fatalf("%d connections, %+v", s.OpenConns, s.HedgedReads)
	}
	if err := servers[0].Freeze(); err != nil {
		t.Fatal(err)
	}
	defer servers[0].Resume()
	for i, read := range []struct {
		how string
		row func(ctx context.Context) *sql.Row
	}{
		{"prepared", func(ctx context.Context) *sql.Row { return prepared.QueryRowContext(ctx, 0) }},
		{"text", func(ctx context.Context) *sql.Row { return held[0].QueryRowContext(ctx, "SELECT n FROM here") }},
		{"arguments", func(ctx context.Context) *sql.Row {
			return held[1].QueryRowContext(ctx, "SELECT n FROM here WHERE n > $1", 0)
		}},
		{"prepared on the connection", func(ctx context.Context) *sql.Row {
			s, err := held[2].PrepareContext(ctx, "SELECT n FROM here WHERE n > $1 ORDER BY n")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.Close() })
			return s.QueryRowContext(ctx, 0)
		}},
	} {
		began, n := time.Now(), 0
		err := read.row(t.Context()).Scan(&n)
		took := time.Since(began)
		s := d.Status().Nodes[0]
		t.Logf("%s: server %d has answered after %s, and the first is %s", read.how, n, took.Round(time.Millisecond), s.State)
		if err != nil || n != 2 || s.State == clustersql.StateDown {
			t.Fatalf("%s: %d, %v; %s, %+v", read.how, n, err, s.State, s.HedgedReads)
		}
		until(t, "the read to be counted", func() bool { return d.Status().Nodes[0].HedgedReads.Won == uint64(i+1) })
	}
	if s := d.Status().Nodes[1]; s.HedgedReads.Armed != 4 {
		t.Errorf("the connections were not adopted: %+v", s.HedgedReads)
	}
}
