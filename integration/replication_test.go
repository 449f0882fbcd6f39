package integration

import (
	"context"
	"database/sql"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/galera"
	"github.com/go-sql-driver/mysql"
)

// All tests of a primary and its replicas use the same servers, one after the
// other. Each begins with n1 as the primary and all in order.
func TestReplication(t *testing.T) {
	_ = mysql.SetLogger(&mysql.NopLogger{})
	var log strings.Builder
	c := galera.StartReplicationT(t, galera.Options{Monitor: true, Log: &log, Extra: []string{"--report-host=127.0.0.1"}})
	run(t, c, "CREATE TABLE app.roles (id BIGINT PRIMARY KEY AUTO_INCREMENT, node VARCHAR(16), at TIMESTAMP(6) DEFAULT NOW(6))")
	for _, test := range []struct {
		name string
		run  func(*testing.T, *galera.Cluster)
	}{
		{"the status shows roles and lag", rolesAreShown},
		{"what a probe costs", probesCostReplicas},
		{"require chooses the nodes", requireChooses},
		{"a stopped thread is a lag", stoppedThreadsLag},
		{"cut off is a lag", cutOffLags},
		{"behind from the start", behindFromTheStart},
		{"behind after a restart", behindAfterARestart},
		{"without the right", withoutTheRight},
		{"a switchover moves the writers", switchoverMovesWriters},
		{"a promotion moves the writers", replicaIsPromoted},
		{"the replicas are found", replicasAreDiscovered},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := log.Len()
			defer func() {
				restore(t, c)
				if t.Failed() {
					t.Logf("what was done to the servers:\n%s", log.String()[before:])
				}
			}()
			test.run(t, c)
		})
	}
}

// restore makes n1 the primary again, and all others its replicas.
func restore(t *testing.T, c *galera.Cluster) {
	t.Helper()
	must(t, c.Heal(t.Context()))
	if n1 := c.Nodes[0]; c.Primary() != n1 {
		must(t, c.Switchover(t.Context(), n1))
		must(t, c.WaitSynced(t.Context()))
	}
}

// often has probes so often that tests need not wait for them.
const often = 500 * time.Millisecond

// replicated returns a cluster of all nodes, and its database without idle
// connections. It waits until each node has told its role.
func replicated(t *testing.T, c *galera.Cluster, opts ...clustersql.Option) (clustersql.Driver, *sql.DB) {
	t.Helper()
	d := newCluster(t, c, append([]clustersql.Option{clustersql.WithProbe(often, often), clustersql.WithStrategy(clustersql.Balanced),
		clustersql.WithLogger(slog.New(slog.DiscardHandler))}, opts...)...)
	return d, openReplicated(t, d)
}

func openReplicated(t *testing.T, d clustersql.Driver) *sql.DB {
	t.Helper()
	db := sql.OpenDB(d.Connector())
	t.Cleanup(func() { db.Close() })
	db.SetMaxIdleConns(-1)
	waitFor(t, "each node to tell its role", func() bool {
		return !slices.ContainsFunc(d.Status().Nodes, func(n clustersql.NodeStatus) bool {
			return n.Role == clustersql.RoleUnknown || n.State == clustersql.StateUnknown
		})
	})
	return db
}

// serve returns the names of the nodes that serve 20 reads.
func serve(t *testing.T, db *sql.DB) string {
	t.Helper()
	served := make(map[string]bool)
	for range 20 {
		var node string
		if err := db.QueryRow("SELECT @@wsrep_node_name").Scan(&node); err != nil {
			t.Fatal(err)
		}
		served[node] = true
	}
	return strings.Join(slices.Sorted(maps.Keys(served)), " ")
}

// write writes on the primary, with the backend alone, until the test ends.
func write(t *testing.T, c *galera.Cluster) (stop func()) {
	t.Helper()
	db := plain(t, c.Primary().DSN(patient))
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			<-tick.C
			if _, err := db.Exec("INSERT INTO roles (node) VALUES (@@wsrep_node_name)"); err != nil {
				t.Error(err)
				return
			}
		}
	})
	stop = sync.OnceFunc(func() { cancel(); wg.Wait(); db.Close() })
	t.Cleanup(stop)
	return stop
}

func rolesAreShown(t *testing.T, c *galera.Cluster) {
	write(t, c)
	d, _ := replicated(t, c, clustersql.WithMaxLag(time.Hour)) // else nobody asks whom a server follows
	waitFor(t, "the lags to be known", func() bool {
		return !slices.ContainsFunc(d.Status().Nodes, func(n clustersql.NodeStatus) bool { return n.LagUnknown != "" })
	})
	for i, n := range d.Status().Nodes {
		role, access := clustersql.RoleReplica, clustersql.AccessReadOnly
		if i == 0 {
			role, access = clustersql.RolePrimary, clustersql.AccessReadWrite
		}
		if n.Role != role || n.Access != access || n.Lag > 2*time.Second {
			t.Errorf("%s: %s, %s, lag %s", n.Name, n.Role, n.Access, n.Lag)
		}
	}
}

func requireChooses(t *testing.T, c *galera.Cluster) {
	for word, want := range map[clustersql.Require]string{
		clustersql.RequireAny: "n1 n2 n3", clustersql.RequireReadWrite: "n1", clustersql.RequirePrimary: "n1", clustersql.RequirePreferPrimary: "n1",
		clustersql.RequireReadOnly: "n2 n3", clustersql.RequireStandby: "n2 n3", clustersql.RequirePreferStandby: "n2 n3",
	} {
		_, db := replicated(t, c, clustersql.WithRequire(word), clustersql.WithMaxLag(time.Hour))
		if got := serve(t, db); got != want {
			t.Errorf("%s: %s serve, want %s", word, got, want)
		}
		db.Close()
	}
}

// lags harms both replicas while the primary is written to. The primary serves
// then, and when the replicas are mended they serve again. No read fails.
func lags(t *testing.T, c *galera.Cluster, harm, mend func()) {
	t.Helper()
	write(t, c)
	d, db := replicated(t, c, clustersql.WithRequire(clustersql.RequirePreferStandby), clustersql.WithMaxLag(time.Second))
	waitFor(t, "the replicas to serve", func() bool { return serve(t, db) == "n2 n3" })
	harm()
	waitFor(t, "the primary to serve", func() bool { return serve(t, db) == "n1" })
	for _, n := range d.Status().Nodes[1:] {
		if n.State != clustersql.StateDown || !strings.HasPrefix(n.Reason, "lagging: further behind its primary than max_lag (1s)") || n.Lag < time.Second {
			t.Errorf("%s is %s with a lag of %s: %s", n.Name, n.State, n.Lag, n.Reason)
		}
		t.Log(n.Reason)
	}
	mend()
	waitFor(t, "the replicas to serve again", func() bool { return serve(t, db) == "n2 n3" })
}

func stoppedThreadsLag(t *testing.T, c *galera.Cluster) {
	lags(t, c, func() {
		must(t, c.Nodes[1].StopApplying(t.Context()))
		must(t, c.Nodes[2].StopReceiving(t.Context()))
	}, func() {
		must(t, c.Nodes[1].StartApplying(t.Context()))
		must(t, c.Nodes[2].StartReceiving(t.Context()))
	})
}

// The replica whose packets are swallowed says that it is not behind.
func cutOffLags(t *testing.T, c *galera.Cluster) {
	lags(t, c, func() {
		c.Nodes[1].Disconnect()
		c.Nodes[2].Blackhole()
	}, func() {
		if word := ownWord(t, c.Nodes[2]); word != "0" {
			t.Errorf("by its own word the replica is %s s behind: the test shows nothing", word)
		}
		c.Nodes[1].Reconnect()
		c.Nodes[2].Reconnect()
	})
}

// ownWord returns a replica's Seconds_Behind_Master.
func ownWord(t *testing.T, n *galera.Node) string {
	t.Helper()
	rows, err := n.AdminDB().QueryContext(t.Context(), "SHOW ALL SLAVES STATUS")
	must(t, err)
	defer rows.Close()
	names, err := rows.Columns()
	must(t, err)
	values, into := make([]sql.NullString, len(names)), make([]any, len(names))
	for i := range values {
		into[i] = &values[i]
	}
	if !rows.Next() {
		t.Fatal("it follows nobody")
	}
	must(t, rows.Scan(into...))
	return values[slices.Index(names, "Seconds_Behind_Master")].String
}

// A program starts while replicas are behind, and nothing more is written. Nobody
// has seen for how long they are.
func behindFromTheStart(t *testing.T, c *galera.Cluster) {
	stop := write(t, c)
	must(t, c.Nodes[1].StopApplying(t.Context()))
	c.Nodes[2].Blackhole()
	time.Sleep(often)
	stop()
	d, db := replicated(t, c, clustersql.WithRequire(clustersql.RequirePreferStandby), clustersql.WithMaxLag(time.Second))
	waitFor(t, "the primary to serve", func() bool { return serve(t, db) == "n1" })
	// What is cut off says for a minute that it is not behind. It is, since it was seen.
	for i, ends := range map[int]string{1: "since when was not seen: replica_sql_running is No", 2: "further behind its primary than max_lag (1s)"} {
		if n := d.Status().Nodes[i]; !strings.HasSuffix(n.Reason, ends) || (n.LagUnknown == "") != (i == 2) {
			t.Errorf("%s: %q: %s", n.Name, n.LagUnknown, n.Reason)
		}
	}
	must(t, c.Nodes[1].StartApplying(t.Context()))
	c.Nodes[2].Reconnect()
	waitFor(t, "the replicas to serve", func() bool { return serve(t, db) == "n2 n3" })
}

// A replica comes back and applies nothing of what was written meanwhile. It was
// not behind when it was last seen.
func behindAfterARestart(t *testing.T, c *galera.Cluster) {
	n := c.Nodes[1]
	must(t, n.Delay(t.Context(), time.Hour))
	d, db := replicated(t, c, clustersql.WithRequire(clustersql.RequireStandby), clustersql.WithMaxLag(2*time.Second))
	waitFor(t, "the replicas to serve", func() bool { return serve(t, db) == "n2 n3" })
	must(t, n.Shutdown(t.Context()))
	waitState(t, d, 1, clustersql.StateDown)
	write(t, c)
	time.Sleep(3 * time.Second)
	must(t, n.Start(t.Context()))
	for began := time.Now(); time.Since(began) < time.Second || !strings.HasPrefix(d.Status().Nodes[1].Reason, "lagging: "); {
		if got := serve(t, db); got != "n3" {
			t.Fatalf("after %s %s serve", time.Since(began), got)
		}
	}
	must(t, n.Delay(t.Context(), 0))
	waitFor(t, "the replicas to serve again", func() bool { return serve(t, db) == "n2 n3" })
}

// An account without the right has the roles by read_only alone, and the lag by
// what the primary was seen to write. Where no primary is in the cluster the lag
// is not known, and max_lag leaves such replicas out. It is told once.
func withoutTheRight(t *testing.T, c *galera.Cluster) {
	makeUser(t, c, "unable")
	write(t, c)
	var told strings.Builder
	var mu sync.Mutex
	opts := []clustersql.Option{clustersql.WithProbe(often, often), clustersql.WithStrategy(clustersql.Balanced), clustersql.WithRequire(clustersql.RequireStandby),
		clustersql.WithMaxLag(time.Second), clustersql.WithLogger(slog.New(slog.NewTextHandler(lockedWriter{&mu, &told}, nil)))}
	d := newClusterOf(t, c, "unable", "", opts...)
	db := openReplicated(t, d)
	waitFor(t, "the replicas to serve", func() bool { return serve(t, db) == "n2 n3" })
	must(t, c.Nodes[1].StopApplying(t.Context()))
	waitFor(t, "one to be left out", func() bool { return serve(t, db) == "n3" })
	must(t, c.Nodes[1].StartApplying(t.Context()))

	must(t, d.DelNode("n1"))
	other := clustersql.NewDriver(mysql.MySQLDriver{}, t.Name()+" alone", opts...)
	t.Cleanup(func() { other.Close() })
	for _, n := range c.Nodes[1:] {
		must(t, other.AddNode(n.Name, dsnOf(n, "unable", "")))
	}
	alone := sql.OpenDB(other.Connector())
	t.Cleanup(func() { alone.Close() })
	waitFor(t, "both to be left out", func() bool {
		nodes := other.Status().Nodes
		return nodes[0].State == clustersql.StateDown && nodes[1].State == clustersql.StateDown
	})
	for _, n := range other.Status().Nodes {
		if n.Role != clustersql.RoleReplica || !strings.Contains(n.Reason, "GRANT REPLICA MONITOR") || n.LagUnknown == "" {
			t.Errorf("%s is a %s: %s", n.Name, n.Role, n.Reason)
		}
	}
	time.Sleep(3 * often) // for what more may be told
	mu.Lock()
	defer mu.Unlock()
	if n := strings.Count(told.String(), "the node does not tell its lag"); n != 5 { // n1 may be a replica that takes writes, for all that can be told
		t.Errorf("told %d times of five nodes:\n%s", n, &told)
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	to *strings.Builder
}

func (w lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to.Write(p)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Inserters insert rows, each as soon as the one before it has ended.
type inserters struct {
	tape
	stop func()
}

// acknowledgedSince reports whether a row was acknowledged after then. Its insert
// may have begun before.
func (w *inserters) acknowledgedSince(then time.Time) bool {
	return slices.ContainsFunc(w.all(), func(o op) bool { return o.err == nil && o.end.After(then) })
}

// insertAll inserts with four workers until stop. Only errors that allowed accepts
// may come.
func insertAll(t *testing.T, db *sql.DB, allowed func(error) bool) *inserters {
	var w inserters
	var wg sync.WaitGroup
	var ended atomic.Bool
	for range 4 {
		wg.Go(func() {
			for k := 0; !ended.Load(); {
				o := op{begin: time.Now()}
				query, args := "INSERT INTO roles (node) VALUES (@@wsrep_node_name)", []any(nil)
				if k++; k%2 == 0 { // it is prepared first
					query, args = "INSERT INTO roles (id, node) VALUES (?, @@wsrep_node_name)", []any{nil}
				}
				if _, o.err = db.Exec(query, args...); o.err != nil && !allowed(o.err) {
					t.Error(o.err)
				}
				w.add(o)
				time.Sleep(2 * time.Millisecond)
			}
		})
	}
	w.stop = sync.OnceFunc(func() { ended.Store(true); wg.Wait() })
	t.Cleanup(w.stop)
	return &w
}

// A planned switchover moves the writers, and no statement fails.
func switchoverMovesWriters(t *testing.T, c *galera.Cluster) {
	var loads []*inserters
	for _, idempotent := range []bool{false, true} {
		_, db := replicated(t, c, clustersql.WithRequire(clustersql.RequireReadWrite), clustersql.WithStrategy(clustersql.Ordered), clustersql.WithIdempotent(idempotent))
		db.SetMaxIdleConns(4)
		loads = append(loads, insertAll(t, db, func(error) bool { return false }))
	}
	for _, to := range []*galera.Node{c.Nodes[1], c.Nodes[2]} {
		began := time.Now()
		must(t, c.Switchover(t.Context(), to))
		promoted := time.Now()
		for _, w := range loads {
			waitFor(t, "writes on the new primary", func() bool { return w.okSince(promoted) })
		}
		t.Logf("the switchover took %s, and the writers went on %s later", promoted.Sub(began), time.Since(promoted))
	}
	for _, w := range loads {
		w.stop()
	}
}
