package compat

import (
	"context"
	"database/sql"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/pgcluster"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// probesCost counts what the probes of a cluster cost each server, and fails the test if
// that is more than it may be. Statements and sessions are by the server's own count.
// It tells all of it when a session has ended. So two clusters are compared, of which one
// lives for five probes more. A probe that comes too late is followed by another one: then
// it counts anew.
func (s pgStage) probesCost(t *testing.T) {
	for _, tc := range []struct {
		name string
		opts []clustersql.Option
		most pgCost // of a probe
	}{
		{"defaults", nil, pgCost{statements: 1.2, sent: 45, received: 45}},
		{"prefer-standby", []clustersql.Option{clustersql.WithRequire(clustersql.RequirePreferStandby)}, pgCost{statements: 2, sent: 140, received: 140}},
	} {
		var each []pgCost
		for try, alone := 0, false; !alone; try++ {
			if try == 5 {
				t.Fatal("the probes were never left alone")
			}
			short, quiet := s.live(t, 4, tc.opts)
			long, still := s.live(t, 9, tc.opts)
			alone, each = quiet && still, nil
			for i := range short {
				c := long[i].less(short[i]).of(5)
				each = append(each, c)
				// Or others have worked there too: the server itself, or a session whose end was counted late.
				alone = alone && (try == 4 || c.sessions == 0 && c.statements >= 0.2 && c.statements <= tc.most.statements+0.01)
			}
		}
		for i, c := range each {
			t.Logf("%s: n%d: a probe costs %.1f statements, %.1f connections, %.0f bytes to the server and %.0f from it", tc.name, i+1, c.statements, c.sessions, c.sent, c.received)
			if c.statements > tc.most.statements+0.01 || c.statements < 0.2 || c.sessions > 0 || c.sent > tc.most.sent || c.received > tc.most.received || c.sent < 1 || c.received < 1 {
				t.Errorf("%s: n%d: more than %+v, or any connection", tc.name, i+1, tc.most)
			}
		}
	}
}

// A pgCost is what a server has counted, and the bytes to it and from it.
type pgCost struct{ statements, sessions, sent, received float64 }

func (c pgCost) less(d pgCost) pgCost {
	return pgCost{c.statements - d.statements, c.sessions - d.sessions, c.sent - d.sent, c.received - d.received}
}

func (c pgCost) of(n float64) pgCost {
	return pgCost{c.statements / n, c.sessions / n, c.sent / n, c.received / n}
}

// A wire counts the bytes of a connection.
type wire struct {
	net.Conn
	sent, received *atomic.Int64
}

func (w wire) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	w.received.Add(int64(n))
	return n, err
}

func (w wire) Write(b []byte) (int, error) {
	n, err := w.Conn.Write(b)
	w.sent.Add(int64(n))
	return n, err
}

// live has a cluster probe each server so many times, and returns what that has cost
// each. ok is false if a probe failed, or one server was probed more often than
// another one.
func (s pgStage) live(t *testing.T, probes uint64, opts []clustersql.Option) (costs []pgCost, ok bool) {
	t.Helper()
	ok = true
	for _, n := range s.Nodes[:2] { // a primary and a standby, one after the other: they are not probed at the same moments
		var sent, received atomic.Int64
		cfg, err := pgx.ParseConfig(n.DSNOf(pgcluster.User, ""))
		if err != nil {
			t.Fatal(err)
		}
		cfg.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := clustersql.Dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return wire{conn, &sent, &received}, nil
		}
		before := costOf(t, n)
		d := clustersql.NewDriver(s.backend, t.Name(), append([]clustersql.Option{clustersql.WithLogger(slog.New(slog.DiscardHandler)), clustersql.WithProbe(150*time.Millisecond, 150*time.Millisecond)}, opts...)...)
		if err := d.AddConnector("n1", stdlib.GetConnector(*cfg)); err != nil {
			t.Fatal(err)
		}
		db := sql.OpenDB(d.Connector())
		until(t, "the probes", func() bool { return d.Status().Nodes[0].Probes >= probes })
		is := d.Status().Nodes[0]
		db.Close()
		d.Close()
		ok = ok && is.Probes == probes && is.ProbeErrors == 0
		after := costOf(t, n)
		costs = append(costs, pgCost{after.statements - before.statements, after.sessions - before.sessions, float64(sent.Load()), float64(received.Load())})
	}
	return costs, ok
}

// costOf asks on a connection of its own, after all other sessions have ended.
func costOf(t *testing.T, n *pgcluster.Node) (c pgCost) {
	t.Helper()
	db, err := sql.Open("pgx", n.DSNOf(pgcluster.Admin, ""))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxIdleConns(-1)
	until(t, "the sessions to end", func() bool {
		var others int
		err := db.QueryRow("SELECT count(*) FROM pg_stat_activity WHERE usename = '" + pgcluster.User + "'").Scan(&others)
		return err == nil && others == 0
	})
	if err := db.QueryRow("SELECT xact_commit + xact_rollback, sessions FROM pg_stat_database WHERE datname = '"+pgcluster.Database+"'").Scan(&c.statements, &c.sessions); err != nil {
		t.Fatal(err)
	}
	return c
}
