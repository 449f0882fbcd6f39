package clustersql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql/internal/fakedb"
	"github.com/EnumApps/clustersql/internal/galeratest"
)

// A mysqlScript is a fake node of MySQL's or MariaDB's asynchronous replication. A
// test changes it at any time.
type mysqlScript struct {
	mu       sync.Mutex
	version  string
	readOnly bool
	server   int
	source   int // the server that it follows; 0: none
	stopped  bool
	seconds  any    // behind its source, by its own account
	executed string // gtid_executed
	noRight  bool   // the account may not ask what the server follows
	hangs    bool   // the server does not answer that
	fails    error  // the answer to that
	asked    int    // how often it was asked
	writes   int
}

func (m *mysqlScript) set(change func(m *mysqlScript)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change(m)
}

func (m *mysqlScript) counts() (asked, writes int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.asked, m.writes
}

func asksSources(query string) bool {
	return strings.HasPrefix(query, "SHOW") && strings.HasSuffix(query, " STATUS") && !strings.Contains(query, "GLOBAL")
}

func (m *mysqlScript) run(ctx context.Context, query string, _ []driver.NamedValue) error {
	m.mu.Lock()
	hangs, fails, noRight := m.hangs, m.fails, m.noRight
	defer m.mu.Unlock()
	switch {
	case strings.HasPrefix(query, "INSERT") && m.readOnly:
		return &mysql.MySQLError{Number: 1290, Message: "running with the --read-only option"}
	case strings.HasPrefix(query, "INSERT"):
		m.writes++
	case !asksSources(query):
	case strings.HasPrefix(query, "SHOW ALL") && !strings.Contains(m.version, "MariaDB"):
		return &mysql.MySQLError{Number: 1064, SQLState: [5]byte([]byte("42000"))}
	case hangs:
		m.asked++
		m.mu.Unlock()
		<-ctx.Done()
		m.mu.Lock()
		return ctx.Err()
	case fails != nil:
		m.asked++
		return fails
	case noRight:
		m.asked++
		return &mysql.MySQLError{Number: 1227, SQLState: [5]byte([]byte("42000"))}
	}
	return nil
}

func (m *mysqlScript) answer(query string) ([]string, [][]driver.Value, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	word := map[bool]string{false: "OFF", true: "ON"}
	switch {
	case strings.HasPrefix(query, "SELECT @@GLOBAL.read_only"):
		return []string{"read_only"}, [][]driver.Value{{map[bool]int64{true: 1}[m.readOnly]}}, true
	case strings.HasPrefix(query, "SHOW GLOBAL VARIABLES"):
		return []string{"Variable_name", "Value"}, [][]driver.Value{
			{"read_only", word[m.readOnly]}, {"server_id", fmt.Sprint(m.server)}, {"version", m.version}, {"gtid_executed", m.executed},
		}, true
	case strings.HasPrefix(query, "SHOW GLOBAL STATUS"):
		return nil, nil, true
	case query == "SELECT 1":
		return []string{"1"}, [][]driver.Value{{int64(1)}}, true
	case asksSources(query):
		m.asked++
		columns := []string{"Replica_IO_Running", "Replica_SQL_Running", "Seconds_Behind_Source", "Source_Server_Id"}
		if m.source == 0 {
			return columns, nil, true
		}
		io := map[bool]string{false: "Yes", true: "Connecting"}
		return columns, [][]driver.Value{{io[m.stopped], "Yes", m.seconds, fmt.Sprint(m.source)}}, true
	}
	return nil, nil, false
}

// mysqlNodes makes fake nodes of MySQL: the first is the primary, the others are
// replicas of it.
func mysqlNodes(b *fakedb.Backend, count int) []*mysqlScript {
	var scripts []*mysqlScript
	for i := range count {
		m := &mysqlScript{version: "9.7.4", server: i + 1, readOnly: i > 0, executed: "aaaa:1-100", seconds: int64(0)}
		if i > 0 {
			m.source = 1
		}
		n := b.Node(nodeName(i))
		n.OnStatement(m.run)
		n.OnTable(m.answer)
		scripts = append(scripts, m)
	}
	return scripts
}

// kill makes a node refuse connections and lose those that are there.
func kill(n *fakedb.Node) {
	n.Set(fakedb.Script{Err: syscall.ECONNREFUSED})
	n.SetHealth(driver.ErrBadConn, 0, false)
}

func revive(n *fakedb.Node) {
	n.Set(fakedb.Script{})
	n.SetHealth(nil, 0, false)
}

// never fails the test if a node is usable at any time within d.
func never(t *testing.T, d Driver, i int, within time.Duration) {
	t.Helper()
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if s, _ := stateOf(d, i); s == StateUp || s == StateSuspect {
			t.Fatalf("n%d is used %s before the end", i+1, time.Until(end))
		}
	}
}

// always fails the test if a node is not up at any time within d.
func always(t *testing.T, d Driver, i int, within time.Duration) {
	t.Helper()
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if s, reason := stateOf(d, i); s != StateUp {
			t.Fatalf("n%d is %s %s before the end: %s", i+1, s, time.Until(end), reason)
		}
	}
}

// The promotion of a replica has steps. The old primary that comes back after it
// is held, whichever steps the probes see.
func TestPromotionInSteps(t *testing.T) {
	for name, steps := range map[string][]func(m *mysqlScript){
		"at once":          {func(m *mysqlScript) { m.source, m.readOnly = 0, false }},
		"reset, then open": {func(m *mysqlScript) { m.source = 0 }, func(m *mysqlScript) { m.readOnly = false }},
		"open, then reset": {func(m *mysqlScript) { m.readOnly = false }, func(m *mysqlScript) { m.source = 0 }},
		"closed for a moment later": {
			func(m *mysqlScript) { m.source, m.readOnly = 0, false }, func(m *mysqlScript) { m.readOnly = true }, func(m *mysqlScript) { m.readOnly = false },
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				nodes := mysqlNodes(b, 2)
				d := fakeCluster(t, b, 2, WithDialect(DialectMySQL), WithRequire(RequireReadWrite), WithStrategy(Ordered))
				db := openDB(t, d)
				time.Sleep(5 * time.Second)
				kill(b.Node("n1"))
				time.Sleep(5 * time.Second)
				for _, step := range steps {
					nodes[1].set(step)
					time.Sleep(4 * time.Second)
				}
				if s, reason := stateOf(d, 1); s != StateUp {
					t.Fatalf("the new primary is %s: %s", s, reason)
				}
				revive(b.Node("n1"))
				never(t, d, 0, 20*time.Second)
				if _, reason := stateOf(d, 0); reason != "role: n2 is the new primary: held until it is a standby" {
					t.Error(reason)
				}
				if _, err := db.Exec("INSERT"); err != nil {
					t.Error(err)
				}
				if _, writes := nodes[0].counts(); writes > 0 {
					t.Error("a write on the old primary")
				}
			})
		})
	}
}

// A replica that takes writes, and is set up anew, is no new primary: the primary
// that is there all along stays in use.
func TestReplicaThatIsSetUpAnewIsNoNewPrimary(t *testing.T) {
	for _, noRight := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			b := fakedb.New()
			nodes := mysqlNodes(b, 2)
			nodes[1].set(func(m *mysqlScript) { m.readOnly = false })
			for _, m := range nodes {
				m.set(func(m *mysqlScript) { m.noRight = noRight })
			}
			d := fakeCluster(t, b, 2, WithDialect(DialectMySQL), WithRequire(RequireReadWrite), WithStrategy(Ordered))
			openDB(t, d)
			time.Sleep(5 * time.Second)
			nodes[1].set(func(m *mysqlScript) { m.source = 0 })
			always(t, d, 0, 10*time.Second)
			nodes[1].set(func(m *mysqlScript) { m.source = 1 })
			always(t, d, 0, 10*time.Second)
		})
	}
}

// Servers that replicate to each other all take writes. One that is closed for a
// moment takes no other one out, whether the account may see the replication or
// not.
func TestRingOfWritableServers(t *testing.T) {
	for _, noRight := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			b := fakedb.New()
			nodes := mysqlNodes(b, 3)
			for i, m := range nodes {
				m.set(func(m *mysqlScript) { m.readOnly, m.source, m.noRight = false, (i+2)%3+1, noRight })
			}
			d := fakeCluster(t, b, 3, WithDialect(DialectMySQL), WithRequire(RequireWritable))
			openDB(t, d)
			time.Sleep(5 * time.Second)
			nodes[0].set(func(m *mysqlScript) { m.readOnly = true })
			time.Sleep(5 * time.Second)
			nodes[0].set(func(m *mysqlScript) { m.readOnly = false })
			always(t, d, 1, 10*time.Second)
			for i := range nodes {
				if s, reason := stateOf(d, i); s != StateUp {
					t.Errorf("n%d is %s: %s", i+1, s, reason)
				}
			}
		})
	}
}

// A server that does not answer what it follows, as while a replica is being
// stopped, works: no node goes down for that, and few connections are spent on it.
func TestServerThatDoesNotTellWhatItFollowsWorks(t *testing.T) {
	for name, tc := range map[string]struct {
		opts []Option
		node int
	}{
		"nothing is required": {nil, 1},
		"read-write":          {[]Option{WithRequire(RequireReadWrite)}, 0},
		"read-only":           {[]Option{WithRequire(RequireReadOnly)}, 1},
		"prefer-standby":      {[]Option{WithRequire(RequirePreferStandby)}, 1},
		"a check_query":       {[]Option{WithRequire(RequireReadWrite), WithCheckQuery("SELECT 1"), WithCheck(CheckPing)}, 0},
	} {
		for what, change := range map[string]func(m *mysqlScript){
			"no answer": func(m *mysqlScript) { m.hangs = true },
			"its end":   func(m *mysqlScript) { m.fails = driver.ErrBadConn },
			"a lock":    func(m *mysqlScript) { m.fails = &mysql.MySQLError{Number: 1205} },
			"a KILL":    func(m *mysqlScript) { m.fails = &mysql.MySQLError{Number: 1317} },
			"nonsense":  func(m *mysqlScript) { m.fails = errors.New("nonsense") },
		} {
			t.Run(name+", "+what, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := fakedb.New()
					nodes := mysqlNodes(b, 2)
					d := fakeCluster(t, b, 2, append([]Option{WithDialect(DialectMySQL)}, tc.opts...)...)
					db := openDB(t, d)
					time.Sleep(10 * time.Second)
					conn, err := db.Conn(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					defer conn.Close()
					nodes[tc.node].set(change)
					before := b.Node(nodeName(tc.node)).Stats().Connects
					always(t, d, tc.node, 2*time.Minute)
					if n := b.Node(nodeName(tc.node)).Stats().Connects - before; n > 6 {
						t.Errorf("%d connects in two minutes", n)
					}
					if err := conn.PingContext(t.Context()); err != nil {
						t.Error(err)
					}
				})
			})
		}
	}
}

// An old primary that is held does not come in because it does not tell any more
// whom it follows.
func TestHeldNodeThatTellsNoMoreIsHeld(t *testing.T) {
	for name, change := range map[string]func(m *mysqlScript){
		"no answer": func(m *mysqlScript) { m.hangs = true },
		"a lock":    func(m *mysqlScript) { m.fails = &mysql.MySQLError{Number: 1205} },
		"no right":  func(m *mysqlScript) { m.noRight = true },
		"nonsense":  func(m *mysqlScript) { m.fails = errors.New("nonsense") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				nodes := mysqlNodes(b, 2)
				d := fakeCluster(t, b, 2, WithDialect(DialectMySQL), WithRequire(RequireReadWrite))
				openDB(t, d)
				time.Sleep(5 * time.Second)
				nodes[1].set(func(m *mysqlScript) { m.source, m.readOnly = 0, false })
				time.Sleep(5 * time.Second)
				nodes[0].set(change)
				never(t, d, 0, 90*time.Second)
			})
		})
	}
}

// What a server follows is asked for a cluster that wants to know it: a node of
// any other cluster costs no more than it did.
func TestGaleraNodeWithMaxLagIsUsed(t *testing.T) {
	for _, word := range []Require{RequireAny, RequireReadWrite, RequirePrimary, RequirePreferStandby, RequirePreferPrimary} {
		t.Run(string(word), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				for i := range 3 {
					galeratest.Node(b.Node(nodeName(i)))
				}
				d := fakeCluster(t, b, 3, WithDialect(DialectMySQL), WithRequire(word), WithMaxLag(5*time.Second))
				openDB(t, d)
				time.Sleep(5 * time.Second)
				for i := range 3 {
					always(t, d, i, 3*time.Second)
					if s := d.Status().Nodes[i]; s.Role != RolePrimary || s.LagUnknown != "" {
						t.Errorf("%+v", s)
					}
				}
			})
		})
	}
}

// A primary that takes no writes for a moment, in the middle of a promotion, is
// waited for.
func TestOpensWaitForThePrimary(t *testing.T) {
	for _, word := range []Require{RequirePrimary, RequireReadWrite} {
		synctest.Test(t, func(t *testing.T) {
			b := fakedb.New()
			nodes := mysqlNodes(b, 1)
			d := fakeCluster(t, b, 1, WithDialect(DialectMySQL), WithRequire(word))
			db := openDB(t, d)
			db.SetMaxIdleConns(-1)
			time.Sleep(5 * time.Second)
			nodes[0].set(func(m *mysqlScript) { m.readOnly = true })
			time.Sleep(3 * time.Second)
			began := time.Now()
			time.AfterFunc(3*time.Second, func() { nodes[0].set(func(m *mysqlScript) { m.readOnly = false }) })
			if err := db.PingContext(t.Context()); err != nil {
				t.Errorf("%s: after %s: %v", word, time.Since(began), err)
			}
			if took := time.Since(began); took > 4*time.Second {
				t.Errorf("%s: served after %s", word, took)
			}
		})
	}
}

// Of a replica that was not repointed after a failover, the transactions of the
// new primary are missing. Its own are all there.
func TestReplicaOfTheOldPrimaryLags(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		nodes := mysqlNodes(b, 3)
		d := fakeCluster(t, b, 3, WithDialect(DialectMySQL), WithRequire(RequirePreferStandby), WithMaxLag(5*time.Second))
		openDB(t, d)
		time.Sleep(10 * time.Second)
		kill(b.Node("n1"))
		nodes[2].set(func(m *mysqlScript) { m.stopped, m.seconds = true, nil })
		nodes[1].set(func(m *mysqlScript) { m.source, m.readOnly, m.executed = 0, false, "aaaa:1-100,\nbbbb:1-5000" })
		time.Sleep(15 * time.Second)
		if s, reason := stateOf(d, 2); s != StateDown || !strings.HasPrefix(reason, "lagging: ") {
			t.Errorf("the replica of the old primary is %s: %s", s, reason)
		}
		nodes[2].set(func(m *mysqlScript) {
			m.stopped, m.seconds, m.source, m.executed = false, int64(0), 2, "aaaa:1-100,\nbbbb:1-5000"
		})
		time.Sleep(4 * time.Second)
		always(t, d, 2, 3*time.Second)
	})
}

// A replica that is far behind when the program starts is not used before it has
// caught up.
func TestReplicaFarBehindFromTheStart(t *testing.T) {
	for name, change := range map[string]func(m *mysqlScript){
		"by its own account": func(m *mysqlScript) { m.executed, m.seconds = "aaaa:1-50", int64(3600) },
		"stopped":            func(m *mysqlScript) { m.executed, m.seconds, m.stopped = "aaaa:1-50", nil, true },
		"stopped, no GTIDs":  func(m *mysqlScript) { m.executed, m.seconds, m.stopped = "", nil, true },
		"no right to ask":    func(m *mysqlScript) { m.executed, m.noRight = "aaaa:1-50", true },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				nodes := mysqlNodes(b, 2)
				nodes[1].set(change)
				d := fakeCluster(t, b, 2, WithDialect(DialectMySQL), WithRequire(RequirePreferStandby), WithMaxLag(5*time.Second))
				openDB(t, d)
				never(t, d, 1, 10*time.Second)
				nodes[1].set(func(m *mysqlScript) { m.executed, m.seconds, m.stopped = "aaaa:1-100", int64(0), false })
				time.Sleep(4 * time.Second)
				always(t, d, 1, 3*time.Second)
			})
		})
	}
}

// A replica that takes writes, and that the account may not ask what it follows,
// looks like a primary. That is no proof that it is not behind.
func TestNoRightIsNoPrimary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		nodes := mysqlNodes(b, 1)
		nodes[0].set(func(m *mysqlScript) { m.source, m.noRight = 9, true })
		d := fakeCluster(t, b, 1, WithDialect(DialectMySQL), WithMaxLag(5*time.Second))
		openDB(t, d)
		time.Sleep(5 * time.Second)
		if s := d.Status().Nodes[0]; s.State != StateDown || !strings.Contains(s.LagUnknown, "GRANT") || !strings.Contains(s.Reason, "GRANT") {
			t.Errorf("%+v", s)
		}
	})
}

// In a planned switchover the old primary and the new one follow nobody and take no
// writes for a moment. Who reads there works on, whichever of these steps the probes
// see. When that takes longer than max_lag, what is there may be too old.
func TestSwitchoverRetiresNoReader(t *testing.T) {
	for name, tc := range map[string]struct {
		step  time.Duration
		stays bool
	}{
		"quick":                {20 * time.Millisecond, true},
		"slow":                 {1200 * time.Millisecond, true},
		"too slow":             {10 * time.Second, false},
		"the primary was dead": {600 * time.Millisecond, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, dead := fakedb.New(), name == "the primary was dead"
				nodes := mysqlNodes(b, 3)
				var told diary
				d := fakeCluster(t, b, 3, WithDialect(DialectMySQL), WithRequire(RequirePreferStandby), WithMaxLag(5*time.Second), WithStrategy(Balanced), WithOnEvent(told.write))
				db := openDB(t, d)
				var conns []*sql.Conn
				for range 8 {
					conn, err := db.Conn(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					conns = append(conns, conn)
				}
				for _, conn := range conns {
					conn.Close()
				}
				time.Sleep(10 * time.Second)
				if dead {
					kill(b.Node("n1"))
					for _, m := range nodes[1:] {
						m.set(func(m *mysqlScript) { m.stopped, m.seconds = true, nil })
					}
				} else {
					nodes[0].set(func(m *mysqlScript) { m.readOnly = true })
				}
				time.Sleep(2 * time.Second)
				nodes[1].set(func(m *mysqlScript) { m.source = 0 })
				time.Sleep(tc.step)
				nodes[1].set(func(m *mysqlScript) { m.readOnly = false })
				for i := range 20 { // it is written to
					nodes[1].set(func(m *mysqlScript) { m.executed = fmt.Sprintf("aaaa:1-100,\nbbbb:1-%d", i+1) })
					time.Sleep(tc.step / 20)
				}
				for _, m := range nodes[2:] {
					m.set(func(m *mysqlScript) { m.source, m.stopped, m.seconds = 2, false, int64(0) })
				}
				if !dead {
					nodes[0].set(func(m *mysqlScript) { m.source, m.seconds = 2, int64(0) })
				}
				for _, m := range nodes {
					m.set(func(m *mysqlScript) { m.executed = "aaaa:1-100,\nbbbb:1-20" })
				}
				time.Sleep(5 * time.Second)
				for i := range nodes {
					for _, e := range told.of(nodeName(i), EventState, EventRetired) {
						left := e.Kind == EventRetired && e.Cause != "rebalance" || e.To == StateDown
						if tc.stays && left && !(dead && i == 0) {
							t.Errorf("%s: %s %s %s (%s)", e.Node, e.Kind, e.To, e.Reason, e.Cause)
						}
					}
				}
				if lagged := told.of("n2", EventState); !tc.stays && !slices.ContainsFunc(lagged, func(e Event) bool { return e.To == StateDown }) {
					t.Errorf("a server that follows nobody was used for %s: %+v", tc.step, lagged)
				}
			})
		})
	}
}

// A replica was down for some seconds in which the primary wrote. When it is back it says
// that it is not behind, as it has received nothing yet. It is used when it has all that was
// written more than max_lag ago.
func TestReplicaThatWasDownIsBehind(t *testing.T) {
	for _, away := range []time.Duration{4 * time.Second, 6 * time.Second, 9 * time.Second} {
		t.Run(away.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				nodes := mysqlNodes(b, 3)
				d := fakeCluster(t, b, 3, WithDialect(DialectMySQL), WithRequire(RequireStandby), WithMaxLag(2*time.Second))
				openDB(t, d)
				time.Sleep(5 * time.Second)
				if s, reason := stateOf(d, 1); s != StateUp {
					t.Fatalf("%s: %s", s, reason)
				}
				kill(b.Node("n2"))
				time.Sleep(time.Second)
				written := 100
				write := func(to ...int) { // another transaction, which these nodes have
					written++
					for _, i := range to {
						nodes[i].set(func(m *mysqlScript) { m.executed = fmt.Sprintf("aaaa:1-%d", written) })
					}
				}
				for end := time.Now().Add(away); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
					write(0, 2)
				}
				revive(b.Node("n2"))
				for range 100 {
					write(0, 2)
					never(t, d, 1, 100*time.Millisecond)
				}
				for range 100 {
					write(0, 1, 2)
					time.Sleep(100 * time.Millisecond)
				}
				for range 50 {
					write(0, 1, 2)
					always(t, d, 1, 100*time.Millisecond)
				}
			})
		})
	}
}
