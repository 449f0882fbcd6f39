package clustersql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql/internal/fakedb"
)

// leaveUnused makes database/sql open a connection on n1 that nobody uses: its
// caller leaves while database/sql's own opener is at work, which then puts the
// connection into the pool. The pool may have one connection only.
func leaveUnused(t *testing.T, b *fakedb.Backend, db *sql.DB) {
	t.Helper()
	leaveScripted(t, b, db, fakedb.Script{})
}

// leaveScripted is leaveUnused for a connection that behaves as the script says.
func leaveScripted(t *testing.T, b *fakedb.Backend, db *sql.DB, s fakedb.Script) {
	t.Helper()
	s.Delay = 50 * time.Millisecond
	db.SetMaxOpenConns(1)
	n1 := b.Node("n1")
	held := usedConn(t, db)
	n1.Set(s)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	left := make(chan error)
	go func() { left <- db.PingContext(ctx) }()
	synctest.Wait() // the caller waits for a place
	n1.SetHealth(errBoom, 0, false)
	if err := held.Raw(func(any) error { return driver.ErrBadConn }); err != nil && !errors.Is(err, driver.ErrBadConn) {
		t.Fatal(err)
	}
	n1.SetHealth(nil, 0, false)
	if err := <-left; !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond)
	n1.Set(fakedb.Script{})
	if s := db.Stats(); s.OpenConnections != 1 || s.Idle != 1 {
		t.Fatalf("%+v", s)
	}
}

// A connection that was never used is idle: it is closed when its node is
// drained, removed or down, at once and not after drain_timeout. The next query
// goes to another node.
func TestUnusedConnectionIsClosedWithItsNode(t *testing.T) {
	for what, end := range map[string]func(Driver, *fakedb.Backend) error{
		"drained": func(d Driver, _ *fakedb.Backend) error { return d.Drain("n1") },
		"removed": func(d Driver, _ *fakedb.Backend) error { return d.DelNode("n1") },
		"down": func(_ Driver, b *fakedb.Backend) error {
			b.Node("n1").SetHealth(errRefused, 0, false)
			time.Sleep(2 * time.Second)
			return nil
		},
	} {
		for _, wait := range []time.Duration{0, 3 * time.Second} {
			t.Run(what, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := fakedb.New()
					d := fakeCluster(t, b, 2, WithStrategy(Ordered))
					db := openDB(t, d)
					synctest.Wait()
					leaveUnused(t, b, db)
					if err := end(d, b); err != nil {
						t.Fatal(err)
					}
					if wait > 0 {
						time.Sleep(wait)
						synctest.Wait()
						if live := b.Node("n1").Stats().Live; live > 1 {
							t.Errorf("%d connections on n1, at most the probe's may be there", live)
						}
					}
					var node string
					if err := db.QueryRow("q").Scan(&node); err != nil || node != "n2" {
						t.Errorf("answered by %q, %v", node, err)
					}
					db.Close()
					d.Close()
					wantNothingLeft(t, b)
				})
			})
		}
	}
}

// max_age counts for a connection that was never used.
func TestUnusedConnectionHasAnAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d := fakeCluster(t, b, 1, WithMaxAge(time.Minute))
		db := openDB(t, d)
		synctest.Wait()
		leaveUnused(t, b, db)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if live := b.Node("n1").Stats().Live; live != 1 {
			t.Errorf("%d connections, want the probe's", live)
		}
		if _, err := db.Exec("work"); err != nil {
			t.Error(err)
		}
	})
}

// What an unused sql.Conn of a drained node sees: if database/sql opened its
// connection for it alone, it works. If the connection came from the pool, where
// nobody had used it either, its first use is answered with driver.ErrBadConn.
func TestUnusedSQLConnOfADrainedNode(t *testing.T) {
	for _, pooled := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			b := fakedb.New()
			d := fakeCluster(t, b, 2, WithStrategy(Ordered))
			db := openDB(t, d)
			synctest.Wait()
			if pooled {
				leaveUnused(t, b, db)
			}
			unused, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer unused.Close()
			if err := d.Drain("n1"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			_, err = unused.ExecContext(t.Context(), "work", 1)
			if bad := errors.Is(err, driver.ErrBadConn); bad != pooled || err != nil && !bad {
				t.Errorf("from the pool %t: %v", pooled, err)
			}
			if mistakes := b.Stats(); mistakes.UsedAfterClose != 0 || mistakes.Concurrent != 0 {
				t.Errorf("%v", mistakes)
			}
		})
	}
}

// The cluster closes no connection while a function of sql.Conn.Raw works with
// the backend's, also if that is the connection's first use.
func TestRawConnectionIsNotClosedUnderItsFunction(t *testing.T) {
	for what, end := range map[string]func(Driver, *fakedb.Backend) error{
		"drained": func(d Driver, _ *fakedb.Backend) error { return d.Drain("n1") },
		"removed": func(d Driver, _ *fakedb.Backend) error { return d.DelNode("n1") },
		"old":     func(Driver, *fakedb.Backend) error { return nil },
	} {
		for _, pooled := range []bool{false, true} {
			t.Run(what, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := fakedb.New()
					d := fakeCluster(t, b, 1, WithMaxAge(5*time.Second))
					db := openDB(t, d)
					synctest.Wait()
					if pooled {
						leaveUnused(t, b, db)
					}
					conn, err := db.Conn(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					err = conn.Raw(func(c any) error {
						raw := c.(Conn).Raw().(*fakedb.Conn)
						if err := end(d, b); err != nil {
							t.Error(err)
						}
						time.Sleep(20 * time.Second)
						if raw.Closed() {
							t.Error("closed under the function")
						}
						_, err := raw.ExecContext(context.Background(), "work", nil)
						return err
					})
					if err != nil {
						t.Error(err)
					}
					conn.Close()
					time.Sleep(20 * time.Second)
					synctest.Wait()
					if live := b.Node("n1").Stats().Live; live > 1 {
						t.Errorf("%d connections left", live)
					}
				})
			})
		}
	}
}

// A func of sql.Conn.Raw gets no connection while the cluster is closing it, in another
// goroutine. It gets it closed. The sql.Conn is of no more use then, and says so.
func TestRawMeetsNoCloseUnderWay(t *testing.T) {
	for _, panics := range []any{nil, "Close panics"} {
		synctest.Test(t, func(t *testing.T) {
			b := fakedb.New()
			d := fakeCluster(t, b, 1)
			db := openDB(t, d)
			synctest.Wait()
			leaveScripted(t, b, db, fakedb.Script{CloseDelay: time.Second, ClosePanic: panics})
			conn, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := d.Drain("n1"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
			if closing := b.Stats().Closing; closing > 0 { // it counts those that have only this left
				t.Fatalf("%d Closes hang", closing)
			}
			began := time.Now()
			err = conn.Raw(func(c any) error {
				raw := c.(Conn).Raw().(*fakedb.Conn)
				if took := time.Since(began); took != 900*time.Millisecond || !raw.Closed() || raw.Closing() {
					t.Errorf("Raw gave it after %s, closed %t, and closing %t", took, raw.Closed(), raw.Closing())
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
			for range 2 {
				if _, err := conn.ExecContext(t.Context(), "work"); !errors.Is(err, driver.ErrBadConn) && !errors.Is(err, sql.ErrConnDone) {
					t.Errorf("after that: %v", err)
				}
			}
			if s := b.Stats(); s.UsedAfterClose+s.Concurrent+s.DoubleCloses > 0 {
				t.Errorf("%s", s)
			}
		})
	}
}
