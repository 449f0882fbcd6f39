package compat

import (
	"database/sql"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/pgcluster"
)

// probesCost counts what the probes of a cluster cost each server, by the server's own
// count, and fails the test if that is more than it may be. A server tells all of it
// when a session has ended. So two clusters are compared, of which one lives for five
// probes more. A probe that comes too late is followed by another one: then it counts
// anew.
func (s pgStage) probesCost(t *testing.T) {
	for _, tc := range []struct {
		name string
		opts []clustersql.Option
		most float64 // statements of a probe
	}{
		{"defaults", nil, 1.2},
		{"prefer-standby", []clustersql.Option{clustersql.WithRequire(clustersql.RequirePreferStandby)}, 2},
	} {
		var statements, sessions []float64
		for try, alone := 0, false; !alone; try++ {
			if try == 5 {
				t.Fatal("the probes were never left alone")
			}
			short, quiet := s.live(t, 4, tc.opts)
			long, still := s.live(t, 9, tc.opts)
			alone, statements, sessions = quiet && still, nil, nil
			for i := range short {
				statements = append(statements, (long[i].statements-short[i].statements)/5)
				sessions = append(sessions, (long[i].sessions-short[i].sessions)/5)
			}
		}
		t.Logf("%s: a probe costs %v statements and %v connections", tc.name, statements, sessions)
		for i := range statements {
			if statements[i] > tc.most+0.01 || statements[i] < 0.2 || sessions[i] > 0 {
				t.Errorf("%s: n%d: more than %.1f statements or any connection", tc.name, i+1, tc.most)
			}
		}
	}
}

// A pgCost is what a server has counted.
type pgCost struct{ statements, sessions float64 }

// live has a cluster probe each server so many times, and returns what that has cost
// each. ok is false if a probe failed, or one server was probed more often than
// another one.
func (s pgStage) live(t *testing.T, probes uint64, opts []clustersql.Option) (costs []pgCost, ok bool) {
	t.Helper()
	ok = true
	for _, n := range s.Nodes[:2] { // a primary and a standby, one after the other: they are not probed at the same moments
		before := costOf(t, n)
		d, db, _ := s.cluster(t, pgcluster.User, []*pgcluster.Node{n}, 1, append([]clustersql.Option{clustersql.WithProbe(150*time.Millisecond, 150*time.Millisecond)}, opts...)...)
		until(t, "the probes", func() bool { return d.Status().Nodes[0].Probes >= probes })
		is := d.Status().Nodes[0]
		db.Close()
		d.Close()
		ok = ok && is.Probes == probes && is.ProbeErrors == 0
		after := costOf(t, n)
		costs = append(costs, pgCost{after.statements - before.statements, after.sessions - before.sessions})
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
