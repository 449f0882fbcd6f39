package compat

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
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
	if err := c.Exec(ctx, "CREATE TABLE counters (id INT PRIMARY KEY, v BIGINT NOT NULL)", fmt.Sprintf("INSERT INTO counters SELECT g, 0 FROM generate_series(0, %d) g", sessionsAtOnce-1), "ALTER TABLE counters OWNER TO "+pgcluster.User); err != nil {
		t.Fatal(err)
	}
	if err := c.WaitReplayed(ctx); err != nil {
		t.Fatal(err)
	}
	pool := func(name string, opts ...clustersql.Option) *sql.DB {
		d := clustersql.NewDriver(nil, t.Name()+name, append([]clustersql.Option{clustersql.WithStrategy(clustersql.Balanced)}, opts...)...)
		t.Cleanup(func() { d.Close() })
		for _, n := range c.Nodes {
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
		db.SetMaxIdleConns(sessionsAtOnce)
		t.Cleanup(func() {
			for _, n := range d.Status().Nodes {
				t.Logf("%s %s: %+v", d.Status().Name, n.Name, n.SessionReads)
			}
		})
		return db
	}
	writes, reads := pool(" writes", clustersql.WithRequire(clustersql.RequirePrimary)), pool(" reads")
	o := causaltest.Options{
		Sessions: sessionsAtOnce, Longest: 20 * time.Minute, Seed: 1,
		Put: func(ctx context.Context, key int, value int64) error {
			_, err := writes.ExecContext(ctx, "UPDATE counters SET v = $1 WHERE id = $2", value, key)
			return err
		},
		Get: func(ctx context.Context, key int) (v int64, err error) {
			err = reads.QueryRowContext(ctx, "SELECT v FROM counters WHERE id = $1", key).Scan(&v)
			return v, err
		},
	}

	t.Run("costs", func(t *testing.T) {
		o := o
		o.From, o.Open = 1000, clustersql.ReadYourWrites
		read, readSession, write, writeSession, err := causaltest.Costs(t.Context(), o, 300)
		t.Logf("a read takes %s, in a session %s; a write %s, in a session %s: %v", read, readSession, write, writeSession, err)
		if err != nil {
			t.Error(err)
		}
	})
	t.Run("without", func(t *testing.T) {
		o := o
		o.From, o.Reads, o.Open = 500_000, 2000, func(ctx context.Context) context.Context { return ctx }
		r := causaltest.Run(pauseReplay(t, c, false), o)
		t.Log(r)
		if r.Stale < 10 {
			t.Error("the check found hardly any stale reads where there must be some")
		}
	})
	t.Run("ReadYourWrites", func(t *testing.T) {
		o := o
		o.From, o.Reads, o.Open, o.Carry = 1_000_000, *sessionReads, clustersql.ReadYourWrites, func(ctx context.Context) context.Context {
			next, err := clustersql.WithToken(ctx, clustersql.Token(ctx))
			if err != nil {
				t.Error(err)
			}
			return next
		}
		r := causaltest.Run(pauseReplay(t, c, true), o)
		t.Log(r)
		if bad := r.Stale + r.Backward; bad > 0 {
			t.Errorf("%d reads saw less than they must: %s", bad, r.Example)
		}
		if r.Reads < *sessionReads*3/4 || r.ReadErrors > r.Reads/10 {
			t.Errorf("too few reads: %v, %v", r.FirstError, r.FirstWriteErr)
		}
	})
}

const sessionsAtOnce = 12

// pauseReplay pauses the replay of the standbys for moments, until the context that
// it returns is done. With deaths one of them is killed besides.
func pauseReplay(t *testing.T, c *pgcluster.Cluster, deaths bool) context.Context {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	var work sync.WaitGroup
	t.Cleanup(func() {
		stop()
		work.Wait()
	})
	for i, n := range c.Standbys() {
		work.Go(func() {
			draw := rand.New(rand.NewPCG(uint64(i), 0))
			for ctx.Err() == nil {
				_ = n.PauseReplay(ctx)
				sleepFor(ctx, time.Duration(20+draw.IntN(300))*time.Millisecond)
				_ = n.ResumeReplay(context.Background())
				sleepFor(ctx, time.Duration(draw.IntN(200))*time.Millisecond)
			}
		})
	}
	if deaths {
		work.Go(func() {
			last := c.Standbys()[1]
			for sleepFor(ctx, time.Second) {
				_ = last.Kill()
				if sleepFor(ctx, 500*time.Millisecond); *sessionReads < 10_000 {
					return
				}
				_ = last.Start(ctx)
			}
		})
	}
	return ctx
}

// sleepFor waits, and reports whether ctx goes on.
func sleepFor(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
