package session

import (
	"context"
	"database/sql/driver"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql/internal/fakedb"
)

// A call that takes long is told of once, whatever it is, and one that does not is
// not told of. The calls are those of one conn, so the timer is used again.
func TestCallsThatTakeLongAreTold(t *testing.T) {
	const after = 40 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		n := b.Node("n")
		n.SetMood(fakedb.Mood{})
		var told atomic.Int64
		connector, err := b.Driver().(driver.DriverContext).OpenConnector("n")
		if err != nil {
			t.Fatal(err)
		}
		w := &wrapping{Connector: connector, lateness: lateness{after, func() { told.Add(1) }}}
		ctx := context.Background()
		conn, err := w.Connect(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		var s driver.Stmt
		var tx driver.Tx
		calls := []struct {
			name string
			call func() error
		}{
			{"ping", func() error { return conn.(driver.Pinger).Ping(ctx) }},
			{"exec", func() error { _, err := conn.(driver.ExecerContext).ExecContext(ctx, "INSERT", nil); return err }},
			{"query", func() error { _, err := conn.(driver.QueryerContext).QueryContext(ctx, "SELECT", nil); return err }},
			{"prepare", func() (err error) {
				s, err = conn.(driver.ConnPrepareContext).PrepareContext(ctx, "INSERT")
				return err
			}},
			{"stmt exec", func() error { _, err := s.(driver.StmtExecContext).ExecContext(ctx, nil); return err }},
			{"stmt query", func() error { _, err := s.(driver.StmtQueryContext).QueryContext(ctx, nil); return err }},
			{"begin", func() (err error) { tx, err = conn.(driver.ConnBeginTx).BeginTx(ctx, driver.TxOptions{}); return err }},
			{"commit", func() error { return tx.Commit() }},
			{"begin again", func() (err error) { tx, err = conn.(driver.ConnBeginTx).BeginTx(ctx, driver.TxOptions{}); return err }},
			{"rollback", func() error { return tx.Rollback() }},
		}
		for _, takes := range []time.Duration{after - 1, 10 * after} {
			n.SetMood(fakedb.Mood{Delay: takes})
			for _, c := range calls {
				before, want := told.Load(), int64(0)
				if takes > after {
					want = 1
				}
				if err := c.call(); err != nil {
					t.Fatal(c.name, err)
				}
				time.Sleep(10 * after)
				if got := told.Load() - before; got != want {
					t.Errorf("%s took %s, and was told of %d times", c.name, takes, got)
				}
			}
		}
	})
}
