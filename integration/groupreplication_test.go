package integration

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/mysqlgroup"
	"github.com/go-sql-driver/mysql"
)

// All of this is on one group of three MySQL servers, one after the other. It
// runs where such servers were unpacked: see ./test.sh group-replication.
func TestGroupReplication(t *testing.T) {
	var log strings.Builder
	g := mysqlgroup.StartT(t, mysqlgroup.Options{Log: &log})
	if err := g.Exec(t.Context(), "CREATE TABLE app.kept (id INT PRIMARY KEY AUTO_INCREMENT, k VARCHAR(64), KEY (k))"); err != nil {
		t.Fatal(err)
	}
	for i, step := range []struct {
		name string
		run  func(*members)
	}{
		{"roles, access and lag", (*members).roles},
		{"what a probe costs", (*members).memberCost},
		{"an account that may not see the group", (*members).blind},
		{"a member that has left is old, and not used", (*members).left},
		{"a secondary that applies nothing", (*members).late},
		{"a planned switchover moves the writers unseen", (*members).switchover},
		{"a killed primary", (*members).killed},
		{"a restarted server that is not in the group", (*members).outside},
		{"a frozen secondary, and a frozen primary", (*members).frozen},
		{"a member that was put out for good", (*members).expelled},
		{"the rest that has no majority", (*members).minority},
		{"a rest that was forced to go on", (*members).forced},
	} {
		t.Run(step.name, func(t *testing.T) {
			if err := g.Heal(t.Context()); err != nil {
				t.Fatalf("%v\n%s", err, log.String())
			}
			log.Reset()
			step.run(&members{T: t, Group: g, key: fmt.Sprintf("step %d", i), first: g.Nodes[0], second: g.Nodes[1], third: g.Nodes[2]})
			if t.Failed() {
				t.Log(log.String())
			}
		})
	}
}

// members are the servers of the group. The first one is the primary at the
// beginning of each step.
type members struct {
	*testing.T
	*mysqlgroup.Group
	key                  string // of the rows that this step writes
	first, second, third *mysqlgroup.Node
}

func (m *members) must(err error) {
	m.Helper()
	if err != nil {
		m.Fatal(err)
	}
}

// A groupUser is a cluster of the members, and what it tells.
type groupUser struct {
	d  clustersql.Driver
	db *sql.DB

	mu     sync.Mutex
	events []clustersql.Event
	said   strings.Builder // the log
}

// Write takes the log.
func (u *groupUser) Write(b []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.said.Write(b)
}

func (u *groupUser) log() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.said.String()
}

func (u *groupUser) note(e clustersql.Event) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.events = append(u.events, e)
}

// reader is a user that reads on the secondaries, writer one that writes.
var (
	reader = []clustersql.Option{
		clustersql.WithRequire(clustersql.RequirePreferStandby), clustersql.WithMaxLag(10 * time.Second),
		clustersql.WithStrategy(clustersql.Balanced), clustersql.WithIdempotent(true),
	}
	writer = []clustersql.Option{clustersql.WithRequire(clustersql.RequireReadWrite), clustersql.WithStrategy(clustersql.Ordered)}
)

// user returns a cluster of all members, once every node has told its part.
func (m *members) user(account string, opts ...clustersql.Option) *groupUser {
	m.Helper()
	return m.userOf(m.Nodes, account, opts...)
}

// userOf is user for some of the members.
func (m *members) userOf(nodes []*mysqlgroup.Node, account string, opts ...clustersql.Option) *groupUser {
	m.Helper()
	u := new(groupUser)
	opts = append([]clustersql.Option{clustersql.WithOnEvent(u.note), clustersql.WithLogger(slog.New(slog.NewTextHandler(u, nil)))}, opts...)
	u.d = clustersql.NewDriver(mysql.MySQLDriver{}, m.Name(), opts...)
	m.Cleanup(func() { u.d.Close() })
	for _, n := range nodes {
		m.must(u.d.AddNode(n.Name, n.DSNOf(account, "")))
	}
	u.db = sql.OpenDB(u.d.Connector())
	u.db.SetMaxIdleConns(16)
	m.Cleanup(func() {
		u.db.Close()
		if m.Failed() {
			m.Log(u.log())
		}
	})
	waitFor(m.T, "all nodes to tell their role", func() bool {
		for _, n := range u.d.Status().Nodes {
			if n.Role == clustersql.RoleUnknown {
				return false
			}
		}
		return true
	})
	return u
}

// status returns what the cluster knows of a member.
func (u *groupUser) status(n *mysqlgroup.Node) clustersql.NodeStatus {
	for _, s := range u.d.Status().Nodes {
		if s.Name == n.Name {
			return s
		}
	}
	return clustersql.NodeStatus{}
}

// becomes waits until the member's state and the beginning of its reason are as
// wanted. It returns how long that took.
func (m *members) becomes(u *groupUser, n *mysqlgroup.Node, state clustersql.State, reason string) time.Duration {
	m.Helper()
	began := time.Now()
	for {
		s := u.status(n)
		if s.State == state && strings.HasPrefix(s.Reason, reason) {
			return time.Since(began)
		}
		if time.Since(began) > time.Minute {
			m.Fatalf("%s is %s (%s), and not %s (%s)", n.Name, s.State, s.Reason, state, reason)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// where returns which members answer a number of reads, each on a connection of
// its own, and how often.
func (m *members) where(u *groupUser, reads int) map[string]int {
	m.Helper()
	found := make(map[string]int)
	var conns []*sql.Conn
	for range reads {
		conn, err := u.db.Conn(m.Context())
		m.must(err)
		conns = append(conns, conn)
		var number int
		m.must(conn.QueryRowContext(m.Context(), "SELECT @@GLOBAL.server_id").Scan(&number))
		found[m.Nodes[number-1].Name]++
	}
	for _, conn := range conns {
		conn.Close()
	}
	return found
}

// soon is how long a cluster may take to know what a server tells, after the
// server tells it: 1.2 times the default probe_interval, and as much again for a
// machine on which much else goes on.
const soon = 2400 * time.Millisecond

// roles looks at the status, and at which node serves whom.
func (m *members) roles() {
	m.must(m.Exec(m.Context(), "INSERT INTO app.kept (k) VALUES ('first')"))
	read, write, plain := m.user(mysqlgroup.User, reader...), m.user(mysqlgroup.User, writer...), m.user(mysqlgroup.User)
	for name, u := range map[string]*groupUser{"reader": read, "writer": write, "plain": plain} {
		waitFor(m.T, "the lag of all to be known", func() bool {
			return u.status(m.second).LagUnknown == "" && u.status(m.third).LagUnknown == ""
		})
		for _, n := range m.Nodes {
			s := u.status(n)
			role, access := clustersql.RoleReplica, clustersql.AccessReadOnly
			if n == m.first {
				role, access = clustersql.RolePrimary, clustersql.AccessReadWrite
			}
			if s.Role != role || s.Access != access || s.LagUnknown != "" || s.Lag > soon {
				m.Errorf("%s, %s: %s, %s, lag %s %s", name, n.Name, s.Role, s.Access, s.Lag, s.LagUnknown)
			}
		}
	}
	for _, n := range []*mysqlgroup.Node{m.second, m.third} {
		m.becomes(write, n, clustersql.StateDown, "read-only: ")
		m.becomes(read, n, clustersql.StateUp, "")
	}
	m.becomes(read, m.first, clustersql.StateUp, "")
	m.becomes(plain, m.first, clustersql.StateUp, "")
	if found := m.where(write, 8); found["n1"] != 8 {
		m.Errorf("writers are on %v", found)
	}
	if found := m.where(read, 8); found["n1"] != 0 || found["n2"] == 0 || found["n3"] == 0 {
		m.Errorf("readers are on %v", found)
	}
}

// blind is an account that has no SELECT on the table of the members. Its cluster
// knows the roles from read_only, says what is missing, and cannot tell a member
// that has left from one that has not.
func (m *members) blind() {
	u, seeing := m.user(mysqlgroup.Blind, reader...), m.user(mysqlgroup.User, reader...)
	for _, n := range m.Nodes {
		want := clustersql.RoleReplica
		if n == m.first {
			want = clustersql.RolePrimary
		}
		if s := u.status(n); s.Role != want {
			m.Errorf("%s: %s", n.Name, s.Role)
		}
	}
	const cure = "GRANT SELECT ON performance_schema.replication_group_members"
	waitFor(m.T, "the log to say what is missing", func() bool { return strings.Contains(u.log(), cure) })
	for _, n := range m.Nodes {
		m.becomes(u, n, clustersql.StateUp, "")
	}
	m.must(m.third.Leave(m.Context()))
	m.becomes(seeing, m.third, clustersql.StateDown, "not ready: ")
	if s := u.status(m.third); s.State != clustersql.StateUp {
		m.Errorf("the member that has left is %s: %s", s.State, s.Reason)
	}
}

// left has a member leave the group while it goes on to answer.
func (m *members) left() {
	read, plain := m.user(mysqlgroup.User, reader...), m.user(mysqlgroup.User)
	m.becomes(read, m.third, clustersql.StateUp, "")
	m.becomes(plain, m.third, clustersql.StateUp, "")
	m.must(m.third.Leave(m.Context()))
	gone := time.Now()
	const reason = "not ready: the server's state in its replication group is OFFLINE"
	for name, u := range map[string]*groupUser{"reader": read, "plain": plain} {
		m.becomes(u, m.third, clustersql.StateDown, reason)
		if took := time.Since(gone); took > soon {
			m.Errorf("%s: it was left after %s", name, took)
		}
	}
	m.must(m.first.Exec(m.Context(), "INSERT INTO app.kept (k) VALUES ('after it has left')"))
	const count = "SELECT COUNT(*) FROM app.kept WHERE k = 'after it has left'"
	if rows, err := m.third.Ask(m.Context(), count); err != nil || rows != "0" {
		m.Errorf("the member that has left has %s of the rows: %v", rows, err)
	}
	for name, u := range map[string]*groupUser{"reader": read, "plain": plain} {
		if found := m.where(u, 8); found["n3"] != 0 {
			m.Errorf("%s: on %v", name, found)
		}
	}
	m.must(m.third.Join(m.Context()))
	joined := time.Now()
	for name, u := range map[string]*groupUser{"reader": read, "plain": plain} {
		m.becomes(u, m.third, clustersql.StateUp, "")
		m.Logf("%s: it is back %s after it joined", name, time.Since(joined).Round(time.Millisecond))
		m.spared(u, m.third)
	}
}

// late has a secondary stop to apply what it receives. That is seen by what the
// primary has written, and where the cluster has no primary by what waits there to
// be applied.
func (m *members) late() {
	const limit = 2 * time.Second
	opts := []clustersql.Option{clustersql.WithRequire(clustersql.RequireStandby), clustersql.WithMaxLag(limit)}
	all, apart := m.user(mysqlgroup.User, opts...), m.userOf(m.Nodes[1:], mysqlgroup.User, opts...)
	for _, u := range []*groupUser{all, apart} {
		m.becomes(u, m.second, clustersql.StateUp, "")
		m.becomes(u, m.third, clustersql.StateUp, "")
	}
	resume, err := m.third.Stall(m.Context())
	m.must(err)
	defer func() { resume() }()
	began := time.Now()
	m.must(m.first.Exec(m.Context(), "INSERT INTO app.kept (k) VALUES ('late')"))
	for name, u := range map[string]*groupUser{"with the primary": all, "without": apart} {
		m.becomes(u, m.third, clustersql.StateDown, "lagging: further behind its primary than max_lag (2s)")
		if took := time.Since(began); took < limit || took > limit+2*soon {
			m.Errorf("%s: it was left after %s", name, took)
		}
		if s := u.status(m.second); s.State != clustersql.StateUp || s.LagUnknown != "" || s.Lag > soon {
			m.Errorf("%s: the other one is %s, lag %s %s", name, s.State, s.Lag, s.LagUnknown)
		}
	}
	resume()
	resume = func() {}
	for _, u := range []*groupUser{all, apart} {
		m.becomes(u, m.third, clustersql.StateUp, "")
		m.spared(u, m.third)
	}
}

// A pace is some writers and readers that go on until it is stopped.
type pace struct {
	inserts book
	tape    tape // of the inserts
	reads   tape

	stop context.CancelFunc
	work sync.WaitGroup
}

// begin starts writers, each with its own way to send a statement, and readers.
func (m *members) begin(write, read *groupUser) *pace {
	m.Helper()
	p := &pace{inserts: book{name: m.key, what: "inserts"}}
	prepared, err := write.db.PrepareContext(m.Context(), "INSERT INTO kept (k) VALUES (?)")
	m.must(err)
	var ctx context.Context
	ctx, p.stop = context.WithCancel(context.Background())
	m.Cleanup(func() {
		p.end()
		prepared.Close()
	})
	for i := range 6 {
		p.repeat(ctx, &p.tape, func(o *op) {
			var line int
			line, o.key = p.inserts.enter()
			switch i % 3 {
			case 0:
				_, o.err = write.db.Exec("INSERT INTO kept (k) VALUES ('" + o.key + "')")
			case 1:
				_, o.err = write.db.Exec("INSERT INTO kept (k) VALUES (?)", o.key)
			default:
				_, o.err = prepared.Exec(o.key)
			}
			p.inserts.settle(line, fateOf(o.err), o.err)
		})
	}
	for range 4 {
		p.repeat(ctx, &p.reads, func(o *op) {
			o.err = read.db.QueryRow("SELECT COUNT(*), @@GLOBAL.server_id FROM kept").Scan(&o.value, &o.node)
		})
	}
	m.goesOn(p, time.Now())
	return p
}

// repeat does something every 50 ms, in a goroutine of its own.
func (p *pace) repeat(ctx context.Context, onto *tape, once func(*op)) {
	p.work.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			o := op{begin: time.Now()}
			once(&o)
			onto.add(o)
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	})
}

// end stops the pace. It may be called twice.
func (p *pace) end() {
	p.stop()
	p.work.Wait()
}

// goesOn waits until an insert that began later than then was acknowledged, and
// returns how long after then that was.
func (m *members) goesOn(p *pace, then time.Time) time.Duration {
	m.Helper()
	waitFor(m.T, "inserts to go on", func() bool { return p.tape.okSince(then) })
	for _, o := range p.tape.all() {
		if o.err == nil && o.begin.After(then) {
			return o.end.Sub(then)
		}
	}
	return 0
}

// goesOnFor waits until so many more inserts have ended.
func (m *members) goesOnFor(p *pace, inserts int) {
	m.Helper()
	inserts += len(p.tape.all())
	waitFor(m.T, "more inserts", func() bool { return len(p.tape.all()) >= inserts })
}

// account ends the pace and compares what its writers were told with what is in
// the table of each member that is in the group.
func (m *members) account(p *pace, on ...*mysqlgroup.Node) {
	m.Helper()
	p.end()
	m.must(m.WaitApplied(m.Context()))
	for _, n := range on {
		b := &book{name: p.inserts.name, what: p.inserts.what, fates: p.inserts.fates, found: make([]uint8, len(p.inserts.fates))}
		keys, err := n.Column(m.Context(), "SELECT k FROM app.kept WHERE k LIKE ?", b.name+"/%")
		m.must(err)
		for _, k := range keys {
			b.find(k)
		}
		if v := b.judge(); !v.ok() {
			m.Errorf("%s: %s", n.Name, v)
		}
	}
	m.Logf("%s", &p.inserts)
	for _, ops := range [][]op{failed(p.tape.all()), failed(p.reads.all())} {
		if len(ops) > 0 {
			m.Logf("%d failed:\n%s", len(ops), causes(ops))
		}
	}
}

// spoiled fails the test if operations failed.
func (m *members) spoiled(what string, ops []op) {
	m.Helper()
	if bad := failed(ops); len(bad) > 0 {
		m.Errorf("%d of %d %s failed:\n%s", len(bad), len(ops), what, causes(bad))
	}
}

// returns counts how often a member came up.
func (u *groupUser) returns(n *mysqlgroup.Node) (count int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, e := range u.events {
		if e.Kind == clustersql.EventState && e.Node == n.Name && e.To == clustersql.StateUp && e.From != clustersql.StateSuspect {
			count++
		}
	}
	return count
}

// spared fails the test if a reader's cluster took down a member to which nothing
// was done.
func (m *members) spared(u *groupUser, harmed ...*mysqlgroup.Node) {
	m.Helper()
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, e := range u.events {
		used := e.From == clustersql.StateUp || e.From == clustersql.StateSuspect
		if e.Kind != clustersql.EventState || e.To != clustersql.StateDown || !used {
			continue
		}
		if !slices.ContainsFunc(harmed, func(n *mysqlgroup.Node) bool { return n.Name == e.Node }) {
			m.Errorf("%s was taken down: %s", e.Node, e.Reason)
		}
	}
}
