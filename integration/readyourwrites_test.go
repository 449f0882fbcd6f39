package integration

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/causaltest"
	"github.com/EnumApps/clustersql/internal/galera"
)

var sessionReads = flag.Int64("sessions.reads", 2500, "how many reads each TestReadYourWrites makes with sessions; with 10,000 or more nodes come back after they died")

// Sessions write and read on three Galera nodes. The appliers of two of them are
// stopped for moments, without flow control for the group, and one of them dies. With
// ReadYourWrites no read sees less than it must, and the same check finds reads that
// do without it.
func TestReadYourWrites(t *testing.T) {
	c := galera.StartT(t, galera.Options{FastFailure: true})
	donors := clustersql.WithDonors(true, time.Hour)
	checkSessions(t, c, func(t *testing.T, deaths bool) context.Context { return makeLag(t, c, deaths) },
		1, nil, []clustersql.Option{donors})
}

// The same on a primary of MariaDB and two replicas, whose appliers are stopped.
func TestReadYourWritesOfReplicas(t *testing.T) {
	c := galera.StartReplicationT(t, galera.Options{Monitor: true})
	checkSessions(t, c, func(t *testing.T, deaths bool) context.Context { return stopReplicas(t, c, deaths) },
		len(c.Nodes), []clustersql.Option{clustersql.WithRequire(clustersql.RequireReadWrite)}, []clustersql.Option{clustersql.WithMaxLag(time.Hour)})
}

// A sessionsOn is what sessions run on: a cluster's servers. What is written is on the
// first one at once.
type sessionsOn struct {
	names, dsns         []string
	writers             int                                                   // so many may be written to, from the first on
	exec                func(ctx context.Context, statements ...string) error // on the first
	forWrites, forReads []clustersql.Option
	lag                 func(t *testing.T, deaths bool) context.Context // see causaltest.Check
}

// checkSessions runs sessions on servers of Galera, or on replicas of MariaDB.
func checkSessions(t *testing.T, c *galera.Cluster, lag func(t *testing.T, deaths bool) context.Context, writers int, forWrites, forReads []clustersql.Option) {
	t.Helper()
	on := sessionsOn{writers: writers, forWrites: forWrites, forReads: forReads, lag: lag, exec: func(_ context.Context, statements ...string) error {
		run(t, c, statements...)
		return nil
	}}
	for _, n := range c.Nodes {
		on.names, on.dsns = append(on.names, n.Name), append(on.dsns, n.DSN(sessionParams))
	}
	on.check(t)
}

// sessionParams end what hangs on a server that is gone.
const sessionParams = "timeout=1s&readTimeout=10s"

// check runs sessions on servers that lag, with ReadYourWrites and without.
func (on sessionsOn) check(t *testing.T) {
	t.Helper()
	_ = mysql.SetLogger(&mysql.NopLogger{}) // it would write a line for every lost connection
	statements := []string{"CREATE TABLE app.counters (id INT PRIMARY KEY, v BIGINT NOT NULL)"}
	for key := range causaltest.AtOnce {
		statements = append(statements, fmt.Sprintf("INSERT INTO app.counters VALUES (%d, 0)", key))
	}
	if err := on.exec(t.Context(), statements...); err != nil {
		t.Fatal(err)
	}
	writes, _ := on.pool(t, " writes", 0, on.writers, on.forWrites)
	all, far := on.way(t, " reads", 0), on.way(t, " far", 1)
	causaltest.Check(t, causaltest.Options{
		Reads: *sessionReads, Open: clustersql.ReadYourWrites,
		Behind: func(err error) bool { return errors.Is(err, clustersql.ErrBehind) },
		Put: func(ctx context.Context, key int, value int64) error {
			_, err := writes.ExecContext(ctx, "UPDATE counters SET v = ? WHERE id = ?", value, key)
			return err
		},
		Carry: func(ctx context.Context) context.Context {
			next, err := clustersql.WithToken(ctx, clustersql.Token(ctx))
			if err != nil {
				t.Error(err)
			}
			return next
		},
	}, all, far, on.lag)
}

// pool returns a pool of some of the servers.
func (on sessionsOn) pool(t *testing.T, name string, from, to int, opts []clustersql.Option) (*sql.DB, clustersql.Driver) {
	t.Helper()
	d := clustersql.NewDriver(mysql.MySQLDriver{}, t.Name()+name, append([]clustersql.Option{clustersql.WithStrategy(clustersql.Balanced)}, opts...)...)
	t.Cleanup(func() { d.Close() })
	for i := from; i < to; i++ {
		if err := d.AddNode(on.names[i], on.dsns[i]); err != nil {
			t.Fatal(err)
		}
	}
	db := sql.OpenDB(d.Connector())
	t.Cleanup(func() { db.Close() })
	db.SetMaxIdleConns(causaltest.AtOnce)
	t.Cleanup(func() { tellSessions(t, d) })
	return db, d
}

// way reads on the servers from the given one on.
func (on sessionsOn) way(t *testing.T, name string, from int) causaltest.Way {
	t.Helper()
	db, d := on.pool(t, name, from, len(on.names), on.forReads)
	return causaltest.Way{
		Get: func(ctx context.Context, key int) (v int64, err error) {
			err = db.QueryRowContext(ctx, "SELECT v FROM counters WHERE id = ?", key).Scan(&v)
			return v, err
		},
		Calls: func() (sum causaltest.Calls) {
			for _, n := range d.Status().Nodes {
				r := n.SessionReads
				sum = causaltest.Calls{Known: sum.Known + r.Known, Asked: sum.Asked + r.Asked, Waited: sum.Waited + r.Waited, Moved: sum.Moved + r.Moved, WaitTime: sum.WaitTime + r.WaitTime}
			}
			return sum
		},
	}
}

// stopReplicas stops the appliers of the replicas for moments, until the context that
// it returns is done. With deaths the last of them is killed besides.
func stopReplicas(t *testing.T, c *galera.Cluster, deaths bool) context.Context {
	t.Helper()
	var loops []func(ctx context.Context, draw *rand.Rand)
	for _, n := range c.Nodes[1:] {
		loops = append(loops, causaltest.Moments(
			func(ctx context.Context) { _ = n.StopApplying(ctx) },
			func(ctx context.Context) { _ = n.StartApplying(ctx) }))
	}
	if deaths {
		loops = append(loops, func(ctx context.Context, _ *rand.Rand) { killAndStart(ctx, t, c.Nodes[2]) })
	}
	return causaltest.Disturb(t, loops...)
}

// killAndStart kills a node, and where the test is long starts it again and again.
func killAndStart(ctx context.Context, t *testing.T, n interface {
	Kill() error
	Start(context.Context) error
}) {
	for causaltest.Pause(ctx, time.Second) {
		if err := n.Kill(); err != nil {
			t.Error(err)
		}
		if causaltest.Pause(ctx, time.Second); *sessionReads < 10_000 {
			return
		}
		if err := n.Start(ctx); err != nil {
			return // the run is over
		}
	}
}

// tellSessions logs how the calls of sessions went.
func tellSessions(t *testing.T, d clustersql.Driver) {
	for _, n := range d.Status().Nodes {
		t.Logf("%s %s: %+v", d.Status().Name, n.Name, n.SessionReads)
	}
}

// makeLag stops the appliers of the last two nodes for moments, until the context
// that it returns is done. With deaths the last node is killed besides.
func makeLag(t *testing.T, c *galera.Cluster, deaths bool) context.Context {
	t.Helper()
	var loops []func(ctx context.Context, draw *rand.Rand)
	for _, n := range c.Nodes[1:] {
		if err := n.Desync(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		loops = append(loops, func(ctx context.Context, draw *rand.Rand) {
			for ctx.Err() == nil {
				stopApplier(ctx, n, time.Duration(20+draw.IntN(300))*time.Millisecond)
				causaltest.Pause(ctx, time.Duration(draw.IntN(200))*time.Millisecond)
			}
		})
	}
	if deaths {
		loops = append(loops, func(ctx context.Context, _ *rand.Rand) { killAndStart(ctx, t, c.Nodes[2]) })
	}
	return causaltest.Disturb(t, loops...)
}

// stopApplier stops a node's applier for a time. Its reads go on. Nothing may be written
// there: a write that waits for the applier, which waits behind the lock, which waits for
// the write, would wait for ever.
func stopApplier(ctx context.Context, n *galera.Node, d time.Duration) {
	conn, err := n.AdminDB().Conn(ctx)
	if err != nil {
		return
	}
	defer conn.Close()
	_ = n.Desync(ctx, true)
	if _, err := conn.ExecContext(ctx, "FLUSH TABLES app.counters WITH READ LOCK"); err == nil {
		causaltest.Pause(ctx, d)
		_, _ = conn.ExecContext(context.Background(), "UNLOCK TABLES")
	}
}
