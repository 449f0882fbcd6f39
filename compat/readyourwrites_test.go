package compat

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/causaltest"
	"github.com/EnumApps/clustersql/internal/pgcluster"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

var sessionReads = flag.Int64("sessions.reads", 2500, "how many reads TestReadYourWrites makes with sessions; with 10,000 or more a standby comes back after it died")

// Sessions write on a primary of PostgreSQL, and read on it and on two standbys. The
// replay of the standbys is paused for moments, and one of them dies. With
// ReadYourWrites no read sees less than it must, and the same check finds reads that
// do without it.
func TestReadYourWrites(t *testing.T) {
	c := pgcluster.StartT(t, pgcluster.Options{})
	ctx := t.Context()
	if err := c.Exec(ctx, "CREATE TABLE counters (id INT PRIMARY KEY, v BIGINT NOT NULL)", fmt.Sprintf("INSERT INTO counters SELECT g, 0 FROM generate_series(0, %d) g", causaltest.AtOnce-1), "ALTER TABLE counters OWNER TO "+pgcluster.User); err != nil {
		t.Fatal(err)
	}
	if err := c.WaitReplayed(ctx); err != nil {
		t.Fatal(err)
	}
	pool := func(name string, nodes []*pgcluster.Node, opts ...clustersql.Option) (*sql.DB, clustersql.Driver) {
		d := clustersql.NewDriver(nil, t.Name()+name, append([]clustersql.Option{clustersql.WithStrategy(clustersql.Balanced)}, opts...)...)
		t.Cleanup(func() { d.Close() })
		for _, n := range nodes {
			cfg, err := pgx.ParseConfig(n.DSN("connect_timeout=2"))
			if err != nil {
				t.Fatal(err)
			}
			cfg.DialFunc = clustersql.Dial
			if err := d.AddConnector(n.Name, stdlib.GetConnector(*cfg)); err != nil {
				t.Fatal(err)
			}
		}
		db := sql.OpenDB(d.Connector())
		t.Cleanup(func() { db.Close() })
		db.SetMaxIdleConns(causaltest.AtOnce)
		t.Cleanup(func() {
			for _, n := range d.Status().Nodes {
				t.Logf("%s %s: %+v", d.Status().Name, n.Name, n.SessionReads)
			}
		})
		return db, d
	}
	way := func(name string, nodes []*pgcluster.Node) causaltest.Way {
		db, d := pool(name, nodes)
		return causaltest.Way{
			Get: func(ctx context.Context, key int) (v int64, err error) {
				err = db.QueryRowContext(ctx, "SELECT v FROM counters WHERE id = $1", key).Scan(&v)
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
	writes, _ := pool(" writes", c.Nodes, clustersql.WithRequire(clustersql.RequirePrimary))
	all, far := way(" reads", c.Nodes), way(" far", c.Standbys())
	causaltest.Check(t, causaltest.Options{
		Reads: *sessionReads, Open: clustersql.ReadYourWrites,
		Put: func(ctx context.Context, key int, value int64) error {
			_, err := writes.ExecContext(ctx, "UPDATE counters SET v = $1 WHERE id = $2", value, key)
			return err
		},
		Behind: func(err error) bool { return errors.Is(err, clustersql.ErrBehind) },
		Carry: func(ctx context.Context) context.Context {
			next, err := clustersql.WithToken(ctx, clustersql.Token(ctx))
			if err != nil {
				t.Error(err)
			}
			return next
		},
	}, all, far, func(t *testing.T, deaths bool) context.Context { return pauseReplay(t, c, deaths) })
}

// pauseReplay pauses the replay of the standbys for moments, until the context that
// it returns is done. With deaths one of them is killed besides.
func pauseReplay(t *testing.T, c *pgcluster.Cluster, deaths bool) context.Context {
	t.Helper()
	var loops []func(ctx context.Context, draw *rand.Rand)
	for _, n := range c.Standbys() {
		loops = append(loops, causaltest.Moments(
			func(ctx context.Context) { _ = n.PauseReplay(ctx) },
			func(ctx context.Context) { _ = n.ResumeReplay(ctx) }))
	}
	if deaths {
		loops = append(loops, func(ctx context.Context, _ *rand.Rand) {
			last := c.Standbys()[1]
			for causaltest.Pause(ctx, time.Second) {
				_ = last.Kill()
				if causaltest.Pause(ctx, 500*time.Millisecond); *sessionReads < 10_000 {
					return
				}
				_ = last.Start(ctx)
			}
		})
	}
	return causaltest.Disturb(t, loops...)
}
