package integration

import (
	"context"
	"strings"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/mysqlgroup"
)

// switchover makes each member the primary in turn, under load. No statement
// outside a transaction fails.
func (m *members) switchover() {
	read, write := m.user(mysqlgroup.User, reader...), m.user(mysqlgroup.User, writer...)
	m.becomes(write, m.first, clustersql.StateUp, "")
	p := m.begin(write, read)
	for _, n := range []*mysqlgroup.Node{m.second, m.third, m.second, m.first} {
		m.goesOnFor(p, 60)
		began := time.Now()
		m.must(n.Lead(m.Context()))
		led := time.Now()
		m.becomes(write, n, clustersql.StateUp, "")
		took := m.goesOn(p, led)
		m.Logf("the group took %s, the writers %s after that", led.Sub(began).Round(time.Millisecond), took.Round(time.Millisecond))
		if took > soon {
			m.Errorf("the writers went on %s after the group", took)
		}
		if s := write.status(n); s.Role != clustersql.RolePrimary || s.Access != clustersql.AccessReadWrite {
			m.Errorf("%s is %s, %s", n.Name, s.Role, s.Access)
		}
	}
	m.goesOnFor(p, 60)
	m.account(p, m.Nodes...)
	m.spoiled("inserts", p.tape.all())
	m.spoiled("reads", p.reads.all())
	m.spared(read)
}

// killed kills the primary under load. The group elects another one, and the
// writers follow. Nothing that was acknowledged is lost.
func (m *members) killed() {
	read, write := m.user(mysqlgroup.User, reader...), m.user(mysqlgroup.User, writer...)
	m.becomes(write, m.first, clustersql.StateUp, "")
	p := m.begin(write, read)
	began := time.Now()
	m.must(m.first.Kill())
	primary := m.without(m.first)
	elected := time.Now()
	took := m.goesOn(p, elected)
	m.Logf("the group has a primary after %s, the writers use it %s after that", elected.Sub(began).Round(time.Millisecond), took.Round(time.Millisecond))
	if took > soon {
		m.Errorf("the writers went on %s after the group", took)
	}
	if s := write.status(primary); s.State != clustersql.StateUp || s.Role != clustersql.RolePrimary {
		m.Errorf("%s is %s, %s", primary.Name, s.State, s.Role)
	}
	m.must(m.first.Start(m.Context()))
	m.becomes(read, m.first, clustersql.StateUp, "")
	waitFor(m.T, "the old primary to be known as a replica", func() bool { return read.status(m.first).Role == clustersql.RoleReplica })
	m.account(p, m.Nodes...)
	m.spoiled("reads", p.reads.all())
	m.spared(read, m.first)
}

// outside starts the killed primary as a server that is not in the group, and
// takes writes. What is written there is lost to the group.
func (m *members) outside() {
	read, write, plain := m.user(mysqlgroup.User, reader...), m.user(mysqlgroup.User, writer...), m.user(mysqlgroup.User)
	m.becomes(write, m.first, clustersql.StateUp, "")
	m.must(m.first.Kill())
	primary := m.without(m.first)
	m.becomes(write, primary, clustersql.StateUp, "")
	m.must(m.first.StartOutside(m.Context()))
	if readOnly, err := m.first.Ask(m.Context(), "SELECT @@GLOBAL.super_read_only"); err != nil || readOnly != "0" {
		m.Errorf("a restarted server's super_read_only is %s: %v", readOnly, err)
	}
	const reason = "not ready: its replication group runs without it"
	for _, u := range []*groupUser{read, write, plain} {
		m.becomes(u, m.first, clustersql.StateDown, reason)
	}
	if found := m.where(write, 8); found[m.first.Name] != 0 {
		m.Errorf("writers are on %v", found)
	}
	for _, u := range []*groupUser{read, write, plain} {
		if n := u.returns(m.first); n > 1 {
			m.Errorf("it was used for a moment: it came up %d times", n)
		}
	}
	m.must(m.first.Join(m.Context()))
	m.becomes(read, m.first, clustersql.StateUp, "")
	m.spared(read, m.first)
	m.spared(plain, m.first)
}

// frozen freezes a secondary under load, and then the primary. The group puts the
// member out. When it goes on, it says for a while that it is in, and what it has
// is old. Then it finds out, and joins again by itself.
func (m *members) frozen() {
	read, write := m.user(mysqlgroup.User, reader...), m.user(mysqlgroup.User, writer...)
	p := m.begin(write, read)
	for _, n := range []*mysqlgroup.Node{m.third, m.first} {
		m.becomes(read, n, clustersql.StateUp, "")
		m.must(n.Freeze())
		m.becomes(read, n, clustersql.StateDown, "silent: ")
		primary := m.without(n)
		m.goesOn(p, time.Now())
		rows := m.rows(primary)
		m.must(n.Resume())
		resumed := time.Now()
		m.becomes(read, n, clustersql.StateDown, "not ready: ")
		m.Logf("%s goes on: %s", n.Name, read.status(n).Reason)
		m.must(m.WaitWhole(m.Context()))
		whole := time.Now()
		m.becomes(read, n, clustersql.StateUp, "")
		m.Logf("in the group after %s, used after %s", whole.Sub(resumed).Round(time.Millisecond), time.Since(resumed).Round(time.Millisecond))
		for _, o := range p.reads.all() {
			if o.err == nil && o.begin.After(resumed) && o.value < rows {
				m.Errorf("a read on server %s found %d rows %s after %s went on, and there had been %d", o.node, o.value, o.begin.Sub(resumed), n.Name, rows)
			}
		}
	}
	m.account(p, m.Nodes...)
	m.spoiled("reads", p.reads.all())
	m.spared(read, m.first, m.third)
}

// without waits until the others have put a member out and have a primary that
// takes writes.
func (m *members) without(out *mysqlgroup.Node) (primary *mysqlgroup.Node) {
	m.Helper()
	waitFor(m.T, "the group to go on without "+out.Name, func() bool {
		for _, n := range m.Nodes {
			if n == out {
				continue
			}
			var members, readOnly int
			const query = "SELECT COUNT(*) FROM performance_schema.replication_group_members"
			if n.Scan(m.Context(), &members, query) == nil && members == 2 &&
				n.Scan(m.Context(), &readOnly, "SELECT @@GLOBAL.super_read_only") == nil && readOnly == 0 {
				primary = n
				return true
			}
		}
		return false
	})
	return primary
}

func (m *members) rows(n *mysqlgroup.Node) (rows int64) {
	m.Helper()
	m.must(n.Scan(m.Context(), &rows, "SELECT COUNT(*) FROM app.kept"))
	return rows
}

// expelled is a member that the group has put out, and that does not try to come
// back: it goes into offline mode.
func (m *members) expelled() {
	const tries = "SET GLOBAL group_replication_autorejoin_tries = "
	m.must(m.third.Exec(m.Context(), tries+"0"))
	defer m.third.Exec(context.Background(), tries+"3", "SET GLOBAL offline_mode = OFF")
	read := m.user(mysqlgroup.User, reader...)
	m.becomes(read, m.third, clustersql.StateUp, "")
	m.must(m.third.Freeze())
	m.without(m.third)
	m.must(m.third.Resume())
	waitFor(m.T, "the member to be offline", func() bool {
		mode, err := m.third.Ask(m.Context(), "SELECT @@GLOBAL.offline_mode")
		return err == nil && mode == "1"
	})
	m.becomes(read, m.third, clustersql.StateDown, "not ready: Error 6400 ")
	if found := m.where(read, 8); found["n3"] != 0 {
		m.Errorf("readers are on %v", found)
	}
	m.spared(read, m.third)
}

// unseen is what is said of the rest of a group.
const unseen = "not ready: the server does not see the most of its replication group"

// minority freezes two of three members. The third one answers reads, which are
// old if the others are alive where it does not see them. It is not used.
func (m *members) minority() {
	read, write, plain := m.user(mysqlgroup.User, reader...), m.user(mysqlgroup.User, writer...), m.user(mysqlgroup.User)
	m.becomes(write, m.first, clustersql.StateUp, "")
	p := m.begin(write, read)
	m.must(m.second.Freeze())
	m.must(m.third.Freeze())
	m.lone()
	for _, u := range []*groupUser{read, write, plain} {
		if took := m.becomes(u, m.first, clustersql.StateDown, unseen); took > 2*soon {
			m.Errorf("the rest of the group was left after %s", took)
		}
	}
	if _, err := m.first.Ask(m.Context(), "SELECT COUNT(*) FROM app.kept"); err != nil {
		m.Errorf("the rest of the group answers no reads: %v", err)
	}
	ctx, cancel := context.WithTimeout(m.Context(), 2*time.Second)
	defer cancel()
	if err := read.db.QueryRowContext(ctx, "SELECT 1").Scan(new(int)); err == nil {
		m.Error("a read was answered")
	} else if !strings.Contains(err.Error(), "does not see the most") {
		m.Logf("a read: %v", err)
	}
	m.must(m.second.Resume())
	m.must(m.third.Resume())
	m.must(m.WaitWhole(m.Context()))
	for _, n := range m.Nodes {
		m.becomes(read, n, clustersql.StateUp, "")
	}
	m.becomes(write, m.first, clustersql.StateUp, "")
	m.goesOn(p, time.Now())
	m.account(p, m.Nodes...)
}

// lone waits until the first member says that it does not reach the others.
func (m *members) lone() {
	m.Helper()
	waitFor(m.T, "the others to be out of reach", func() bool {
		count, err := m.first.Ask(m.Context(), "SELECT COUNT(*) FROM performance_schema.replication_group_members WHERE MEMBER_STATE = 'UNREACHABLE'")
		return err == nil && count == "2"
	})
}

// forced has the rest of a group go on as a group of one.
func (m *members) forced() {
	read, write := m.user(mysqlgroup.User, reader...), m.user(mysqlgroup.User, writer...)
	m.becomes(write, m.first, clustersql.StateUp, "")
	p := m.begin(write, read)
	m.must(m.second.Kill())
	m.must(m.third.Kill())
	m.lone()
	m.becomes(write, m.first, clustersql.StateDown, unseen)
	m.must(m.first.ForceAlone(m.Context()))
	began := time.Now()
	m.becomes(write, m.first, clustersql.StateUp, "")
	m.becomes(read, m.first, clustersql.StateUp, "")
	m.Logf("the writers went on after %s", m.goesOn(p, began).Round(time.Millisecond))
	if found := m.where(read, 2); found["n1"] != 2 {
		m.Errorf("readers are on %v", found)
	}
	m.must(m.second.Start(m.Context()))
	m.must(m.third.Start(m.Context()))
	for _, n := range m.Nodes {
		m.becomes(read, n, clustersql.StateUp, "")
	}
	m.account(p, m.Nodes...)
}
