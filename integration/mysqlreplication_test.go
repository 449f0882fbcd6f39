package integration

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/causaltest"
	"github.com/EnumApps/clustersql/internal/mysqlgroup"
)

// All of this is on one primary of MySQL and its two replicas, one after the other.
// It runs where such servers were unpacked: see ./test.sh group-replication.
func TestMySQLReplication(t *testing.T) {
	var log strings.Builder
	g := mysqlgroup.StartReplicationT(t, mysqlgroup.Options{Log: &log})
	if err := g.Exec(t.Context(), "CREATE TABLE app.kept (id INT PRIMARY KEY AUTO_INCREMENT, k VARCHAR(64), KEY (k))"); err != nil {
		t.Fatal(err)
	}
	for i, step := range []struct {
		name string
		run  func(*members)
	}{
		{"roles, access and lag", (*members).replicaRoles},
		{"what a probe costs", (*members).replicaCost},
		{"an account that may not ask", (*members).replicaBlind},
		{"a stopped thread is a lag", (*members).threadsStopped},
		{"reads of own writes", (*members).ownWrites},
		{"a source that is gone", (*members).sourceGone},
		{"a planned switchover moves the writers unseen", (*members).switchedOver},
		{"a promotion, and the old primary back", (*members).promoted},
	} {
		t.Run(step.name, func(t *testing.T) {
			if err := g.Heal(t.Context()); err != nil {
				t.Fatalf("%v\n%s", err, log.String())
			}
			log.Reset()
			step.run(&members{T: t, Group: g, key: fmt.Sprintf("replicas %d", i), first: g.Nodes[0], second: g.Nodes[1], third: g.Nodes[2]})
			if t.Failed() {
				t.Log(log.String())
			}
		})
	}
}

// replicaRoles looks at the status, and at which server serves whom.
func (m *members) replicaRoles() {
	read, write := m.user(mysqlgroup.User, reader...), m.user(mysqlgroup.User, writer...)
	p := m.begin(write, read)
	waitFor(m.T, "the lag of all to be known", func() bool {
		return read.status(m.second).LagUnknown == "" && read.status(m.third).LagUnknown == ""
	})
	for _, u := range []*groupUser{read, write} {
		for _, n := range m.Nodes {
			s := u.status(n)
			role, access := clustersql.RoleReplica, clustersql.AccessReadOnly
			if n == m.first {
				role, access = clustersql.RolePrimary, clustersql.AccessReadWrite
			}
			if s.Role != role || s.Access != access || s.Lag > soon {
				m.Errorf("%s: %s, %s, lag %s %s", n.Name, s.Role, s.Access, s.Lag, s.LagUnknown)
			}
		}
	}
	for word, want := range map[clustersql.Require][]string{
		clustersql.RequireReadWrite: {"n1"}, clustersql.RequirePrimary: {"n1"}, clustersql.RequireReadOnly: {"n2", "n3"}, clustersql.RequireStandby: {"n2", "n3"},
		clustersql.RequirePreferPrimary: {"n1"}, clustersql.RequirePreferStandby: {"n2", "n3"},
	} {
		u := m.user(mysqlgroup.User, clustersql.WithRequire(word), clustersql.WithStrategy(clustersql.Balanced))
		waitFor(m.T, "the nodes to be judged", func() bool {
			return !slices.ContainsFunc(u.d.Status().Nodes, func(n clustersql.NodeStatus) bool { return n.State == clustersql.StateUnknown })
		})
		if on := slices.Sorted(maps.Keys(m.where(u, 24))); !slices.Equal(on, want) {
			m.Errorf("require %q: %v", word, on)
		}
	}
	m.account(p, m.Nodes...)
	m.spoiled("inserts", p.tape.all())
	m.spoiled("reads", p.reads.all())
}

// replicaBlind is an account that may not ask what a server follows. Where no primary
// is in sight nobody can tell the lag then: that is told, and never taken for no lag.
func (m *members) replicaBlind() {
	u := m.userOf(m.Nodes[1:], mysqlgroup.Blind, reader...)
	waitFor(m.T, "the log to say what is missing", func() bool { return strings.Contains(u.log(), "REPLICATION CLIENT in MySQL") })
	for _, n := range []*mysqlgroup.Node{m.second, m.third} {
		m.becomes(u, n, clustersql.StateDown, "lagging: the lag is not known, and max_lag is set")
		if s := u.status(n); s.Role != clustersql.RoleReplica || s.LagUnknown == "" {
			m.Errorf("%s: %s, lag %s %s", n.Name, s.Role, s.Lag, s.LagUnknown)
		}
	}
	if n := strings.Count(u.log(), "does not tell its lag"); n != 2 {
		m.Errorf("%d lines for two servers:\n%s", n, u.log())
	}
	write := m.user(mysqlgroup.Blind, writer...)
	if on := m.where(write, 8); on["n1"] != 8 {
		m.Errorf("writers are on %v", on)
	}
}

// threadsStopped stops each thread of a replica, and starts it again.
func (m *members) threadsStopped() {
	const limit = 2 * time.Second
	read := m.user(mysqlgroup.User, append(slices.Clone(reader), clustersql.WithMaxLag(limit))...)
	write := m.user(mysqlgroup.User, writer...)
	p := m.begin(write, read)
	for _, thread := range []string{"SQL", "IO"} {
		m.becomes(read, m.third, clustersql.StateUp, "")
		began := time.Now()
		m.must(m.third.StopThreads(m.Context(), thread+"_THREAD"))
		reason := fmt.Sprintf("lagging: further behind its primary than max_lag (2s): replica_%s_running is No", strings.ToLower(thread))
		m.becomes(read, m.third, clustersql.StateDown, reason)
		if took := time.Since(began); took > limit+2*soon {
			m.Errorf("%s thread: it was left after %s", thread, took)
		}
		if on := m.where(read, 8); on["n3"] != 0 || on["n2"] == 0 {
			m.Errorf("%s thread: readers are on %v", thread, on)
		}
		m.must(m.third.StartThreads(m.Context()))
	}
	m.becomes(read, m.third, clustersql.StateUp, "")
	m.account(p, m.Nodes...)
	m.spoiled("reads", p.reads.all())
	m.spoiled("inserts", p.tape.all())
	m.spared(read, m.third)
}

// ownWrites has sessions write and read, while the replicas' appliers are stopped for
// moments, and one of them dies. No read sees less than it must, and the same check finds
// reads that do without ReadYourWrites.
func (m *members) ownWrites() {
	on := sessionsOn{
		writers:   len(m.Nodes),
		exec:      m.Exec,
		forWrites: []clustersql.Option{clustersql.WithRequire(clustersql.RequireReadWrite)},
		forReads:  []clustersql.Option{clustersql.WithMaxLag(time.Hour)},
		lag: func(t *testing.T, deaths bool) context.Context {
			var loops []func(ctx context.Context, draw *rand.Rand)
			for _, n := range m.Nodes[1:] {
				loops = append(loops, causaltest.Moments(
					func(ctx context.Context) { _ = n.StopThreads(ctx, "SQL_THREAD") },
					func(ctx context.Context) { _ = n.StartThreads(ctx) }))
			}
			if deaths {
				loops = append(loops, func(ctx context.Context, _ *rand.Rand) { killAndStart(ctx, t, m.third) })
			}
			return causaltest.Disturb(t, loops...)
		},
	}
	for _, n := range m.Nodes {
		on.names, on.dsns = append(on.names, n.Name), append(on.dsns, n.DSN(sessionParams))
	}
	on.check(m.T)
}

// sourceGone kills the primary. With nobody in sight who has more, the replicas
// serve on. When the primary is back, they have to catch up.
func (m *members) sourceGone() {
	read := m.user(mysqlgroup.User, append(slices.Clone(reader), clustersql.WithMaxLag(2*time.Second))...)
	m.becomes(read, m.second, clustersql.StateUp, "")
	m.becomes(read, m.third, clustersql.StateUp, "")
	m.must(m.WaitApplied(m.Context()))
	m.must(m.first.Kill())
	m.becomes(read, m.first, clustersql.StateDown, "")
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
		if on := m.where(read, 4); on["n2"]+on["n3"] != 4 {
			m.Fatalf("readers are on %v", on)
		}
	}
	m.spared(read, m.first)
	m.must(m.first.Start(m.Context()))
	m.becomes(read, m.first, clustersql.StateUp, "")
}

// switchedOver makes each server the primary in turn, under load. No statement
// outside a transaction fails, and the writers are on the new primary in time.
func (m *members) switchedOver() {
	read, write := m.user(mysqlgroup.User, reader...), m.user(mysqlgroup.User, writer...)
	p := m.begin(write, read)
	for _, n := range []*mysqlgroup.Node{m.second, m.third, m.first} {
		m.goesOnFor(p, 60)
		m.must(m.Switchover(m.Context(), n))
		took := m.goesOn(p, time.Now())
		m.becomes(write, n, clustersql.StateUp, "")
		m.Logf("the writers go on %s after the switchover to %s", took.Round(time.Millisecond), n.Name)
		if took > soon {
			m.Errorf("the writers went on %s after the switchover", took)
		}
	}
	m.goesOnFor(p, 60)
	m.account(p, m.Nodes...)
	m.spoiled("inserts", p.tape.all())
	m.spoiled("reads", p.reads.all())
}

// promoted kills the primary, and promotes a replica. The old primary comes back as
// one: it is held, and nothing is written there. Nobody writes at its death: what it
// has not sent then would keep it from following the new one.
func (m *members) promoted() {
	read, write := m.user(mysqlgroup.User, reader...), m.user(mysqlgroup.User, writer...)
	m.account(m.begin(write, read), m.Nodes...)
	m.must(m.first.Kill())
	m.becomes(write, m.first, clustersql.StateDown, "")
	m.must(m.second.Promote(m.Context()))
	led := time.Now()
	m.key += ", promoted"
	p := m.begin(write, read)
	took := time.Since(led)
	m.must(m.third.Follow(m.Context(), m.second))
	m.Logf("the writers use the new primary %s after the promotion", took.Round(time.Millisecond))
	if took > soon {
		m.Errorf("the writers went on %s after the promotion", took)
	}
	m.must(m.first.Start(m.Context()))
	const count = "SELECT COUNT(*) FROM app.kept"
	before, err := m.first.Ask(m.Context(), count)
	m.must(err)
	const held = "role: n2 is the new primary: held until it is a standby"
	m.becomes(write, m.first, clustersql.StateDown, held)
	late := m.user(mysqlgroup.User, writer...) // it has not seen the promotion
	m.becomes(late, m.first, clustersql.StateDown, held)
	m.goesOnFor(p, 60)
	if after, err := m.first.Ask(m.Context(), count); err != nil || after != before {
		m.Errorf("the old primary has %s rows, and had %s: %v", after, before, err)
	}
	m.must(m.first.Follow(m.Context(), m.second))
	m.becomes(write, m.first, clustersql.StateDown, "read-only: ")
	m.becomes(read, m.first, clustersql.StateUp, "")
	m.account(p, m.Nodes...)
	m.spoiled("inserts", p.tape.all())
	m.spoiled("reads", p.reads.all())
}
