package clustersql

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql/internal/fakedb"
	"github.com/EnumApps/clustersql/internal/health"
)

// One probe that never returns does not keep its node down.
func TestOneDeafProbeDoesNotKeepTheNodeOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		until := make(chan struct{})
		b.Node("n1").Enqueue(fakedb.Script{Deaf: true, Until: until})
		d := fakeCluster(t, b, 2)
		openDB(t, d)
		time.Sleep(time.Minute)
		if s := d.Status().Nodes[0]; s.State != StateUp || s.Deaf != 1 {
			t.Errorf("after a minute of health: %+v", s)
		}
		close(until)
	})
}

// A backend that ignores every cancel holds a bounded number of probes.
func TestDeafProbesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		until := make(chan struct{})
		b.Node("n1").Set(fakedb.Script{Deaf: true, Until: until})
		d := fakeCluster(t, b, 2)
		openDB(t, d)
		time.Sleep(time.Hour)
		if s := d.Status().Nodes[0]; s.State != StateDown || s.Deaf > 9 {
			t.Errorf("%+v", s)
		}
		if n := b.Node("n1").Stats().Connects; n > 9 {
			t.Errorf("%d calls hang in the backend", n)
		}
		close(until)
	})
}

// An open may fail for a reason of this machine or for an unknown one. The pool
// then keeps its good connections.
func TestUnexplainedFailureKeepsThePool(t *testing.T) {
	for _, e := range []error{
		&net.OpError{Op: "dial", Net: "tcp", Err: syscall.EMFILE},
		&net.DNSError{Err: "no such host", Name: "db1", IsNotFound: true},
		errors.New("token service unavailable"),
	} {
		synctest.Test(t, func(t *testing.T) {
			b := fakedb.New()
			d := fakeCluster(t, b, 2)
			db := openDB(t, d)
			ctx := context.Background()
			if err := db.Ping(); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			b.Node("n1").Set(fakedb.Script{Err: e})
			b.Node("n2").Set(fakedb.Script{Err: e})
			for range 5 {
				conn, err := db.Conn(ctx)
				if err != nil {
					t.Fatalf("%v: the idle connection was thrown away: %v", e, err)
				}
				if second, err := db.Conn(ctx); err == nil {
					second.Close()
					t.Fatal("a second connection should have failed")
				}
				conn.Close()
				time.Sleep(time.Second)
			}
		})
	}
}

// No part of a DSN is shown, however a program logs what it was given.
func TestOpenErrorIsSafeToLog(t *testing.T) {
	const password = "hunter2secret"
	dsn := "user:" + password + "@somewhere/db"
	for name, s := range map[string]fakedb.Script{
		"plain":   {Err: &dsnError{dsn}},
		"panic":   {Panic: "bad dsn " + dsn},
		"badconn": {Err: fmt.Errorf("%s: %w", dsn, driver.ErrBadConn)},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := fakedb.New()
			b.Node(dsn).Set(s)
			var log bytes.Buffer
			d := NewDriver(b.Driver(), t.Name(), WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
			if err := d.AddNode("n1", dsn); err != nil {
				t.Fatal(err)
			}
			db := sql.OpenDB(d.Connector())
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			err := db.PingContext(ctx)
			cancel()
			var open *OpenError
			if !errors.As(err, &open) {
				t.Fatal(err)
			}
			var asText, asJSON bytes.Buffer
			slog.New(slog.NewTextHandler(&asText, nil)).Error("x", "err", err, "attempts", open.Attempts, "open", *open)
			slog.New(slog.NewJSONHandler(&asJSON, nil)).Error("x", "err", err, "attempts", open.Attempts, "open", *open)
			db.Close()
			d.Close()
			for what, text := range map[string]string{
				"Error": err.Error(), "%+v": fmt.Sprintf("%+v", err), "%v of the attempts": fmt.Sprint(open.Attempts),
				"%v of the value": fmt.Sprint(*open), "a text log": asText.String(), "a JSON log": asJSON.String(), "our log": log.String(),
			} {
				if strings.Contains(text, password) {
					t.Errorf("%s: %s shows it: %s", name, what, text)
				}
			}
			if text := open.Attempts[0].Err.Error(); name != "plain" && strings.Contains(text, password) {
				t.Errorf("%s: a text of ours shows it: %s", name, text)
			}
		})
	}
}

type nilError struct{ msg string }

func (e *nilError) Error() string { return e.msg }

type connectFunc func(ctx context.Context) (driver.Conn, error)

func (f connectFunc) Connect(ctx context.Context) (driver.Conn, error) { return f(ctx) }
func (f connectFunc) Driver() driver.Driver                            { return nil }

// An error whose own methods panic is an error of its attempt only.
func TestErrorThatPanicsIsContained(t *testing.T) {
	for _, bad := range []error{(*nilError)(nil), (*mysql.MySQLError)(nil)} {
		d := NewDriver(nil, t.Name(), quiet)
		connector := connectFunc(func(context.Context) (driver.Conn, error) { return nil, bad })
		if err := d.AddConnector("n1", connector); err != nil {
			t.Fatal(err)
		}
		db := sql.OpenDB(d.Connector())
		wantOpenError(t, db.Ping(), 1)
		db.Close()
		d.Close()
	}
}

// The default check is that of a node's own backend.
func TestDefaultCheckIsTheConnectors(t *testing.T) {
	cfg, err := mysql.ParseDSN("u:p@tcp(127.0.0.1:1)/db")
	if err != nil {
		t.Fatal(err)
	}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	d := NewDriver(nil, t.Name(), quiet)
	defer d.Close()
	if err := d.AddConnector("n1", connector); err != nil {
		t.Fatal(err)
	}
	// DO 1 fails on a conn that runs no statements. Ping passes.
	if err := (*d.m.nodes.Load())[0].dial.recipe().check(t.Context(), struct{ driver.Conn }{}); err == nil {
		t.Error("a mysql connector is checked by Ping")
	}
	b := fakedb.New()
	b.Node("n2").OnStatement(func(context.Context, string, []driver.NamedValue) error { return errors.New("no DO here") })
	other, err := b.Driver().(driver.DriverContext).OpenConnector("n2")
	if err != nil {
		t.Fatal(err)
	}
	e := NewDriver(mysql.MySQLDriver{}, t.Name(), quiet)
	defer e.Close()
	if err := e.AddConnector("n2", other); err != nil {
		t.Fatal(err)
	}
	if err := openDB(t, e).Ping(); err != nil {
		t.Errorf("another backend's connector is checked by DO 1: %v", err)
	}
}

// The result of a check does not wait until the conn of the check is closed.
func TestVerdictComesBeforeTheClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		refusal := &mysql.MySQLError{Number: 1047, Message: "WSREP has not yet prepared node for application use"}
		b.Node("n1").Set(fakedb.Script{Check: refusal, CloseDelay: time.Minute})
		d := fakeCluster(t, b, 1)
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := openDB(t, d).PingContext(ctx)
		var number *mysql.MySQLError
		if took := time.Since(began); took != time.Second || !errors.As(err, &number) {
			t.Errorf("after %v: %v", took, err)
		}
		if s := d.Status().Nodes[0]; s.State != StateDown || s.Since != began {
			t.Errorf("%v since %v", s.State, s.Since)
		}
		d.Close()
		time.Sleep(time.Hour)
		wantNothingLeft(t, b)
	})
}

// A slot that an attempt gives back after a close and a new open can be used at
// once.
func TestSlotOfAnEarlierLifeIsUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		until := make(chan struct{})
		b.Node("n1").Enqueue(fakedb.Script{}, fakedb.Script{Deaf: true, Until: until})
		d := fakeCluster(t, b, 1, WithMaxOpensPerNode(1), WithProbe(time.Minute, time.Second))
		first := d.Connector().(*connector)
		synctest.Wait()
		if _, err := first.Connect(context.Background()); err == nil {
			t.Fatal("a deaf backend gave a connection")
		}
		first.Close()
		time.AfterFunc(2*time.Second, func() { close(until) })
		began := time.Now()
		if err := openDB(t, d).Ping(); err != nil || time.Since(began) != 2*time.Second {
			t.Errorf("the slot was free after 2s, the open ended after %v: %v", time.Since(began), err)
		}
	})
}

// A node whose handshakes take longer than probe_timeout does not count as
// silent when a statement breaks.
func TestSlowHandshakesAreNotSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		b.Node("n1").Set(fakedb.Script{Delay: 700 * time.Millisecond})
		d := fakeCluster(t, b, 1)
		db := openDB(t, d)
		if err := db.Ping(); err != nil {
			t.Fatal(err)
		}
		broken := false
		b.Node("n1").OnStatement(func(context.Context, string, []driver.NamedValue) error {
			if broken {
				return nil
			}
			broken = true
			return io.ErrUnexpectedEOF
		})
		if _, err := db.Exec("breaks"); err == nil {
			t.Fatal("it should have broken")
		}
		time.Sleep(10 * time.Second)
		if s := d.Status().Nodes[0]; s.Generation != 0 || s.State != StateUp {
			t.Errorf("%+v", s)
		}
	})
}

// Close gives handshakes under way the grace of a loser. A program that opens,
// works and ends must not leave broken handshakes on slower nodes.
func TestCloseBreaksOffNoHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		slow := b.Node("n2")
		slow.Set(fakedb.Script{Delay: 50 * time.Millisecond})
		for range 100 {
			d := fakeCluster(t, b, 2)
			db := sql.OpenDB(d.Connector())
			if err := db.Ping(); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			db.Close()
			if took := time.Since(began); took > 50*time.Millisecond {
				t.Fatalf("Close took %v", took)
			}
			d.Close()
		}
		if s := slow.Stats(); s.Connects != s.Opens {
			t.Errorf("%d handshakes, %d of them to their end", s.Connects, s.Opens)
		}
		wantNothingLeft(t, b)
	})
}

// A handlerFunc is a log handler that calls a func.
type handlerFunc func()

func (f handlerFunc) Enabled(context.Context, slog.Level) bool  { return true }
func (f handlerFunc) Handle(context.Context, slog.Record) error { f(); return nil }
func (f handlerFunc) WithAttrs([]slog.Attr) slog.Handler        { return f }
func (f handlerFunc) WithGroup(string) slog.Handler             { return f }

// A program may log into the same database, and its handler may panic.
func TestLogHandlerMayUseTheCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		var target atomic.Pointer[sql.DB] // where the next line goes; nil: nowhere
		var written atomic.Int64
		d := fakeCluster(t, b, 1, WithLogger(slog.New(handlerFunc(func() {
			if db := target.Swap(nil); db != nil {
				_, _ = db.Exec("INSERT INTO log")
				written.Add(1)
				panic("the handler's own trouble")
			}
		}))))
		db := openDB(t, d)
		if err := db.Ping(); err != nil {
			t.Fatal(err)
		}
		target.Store(db)
		b.Node("n1").OnStatement(func(context.Context, string, []driver.NamedValue) error { return io.ErrUnexpectedEOF })
		if _, err := db.Exec("breaks"); err == nil {
			t.Fatal("it should have broken")
		}
		time.Sleep(time.Second)
		if written.Load() != 1 {
			t.Errorf("%d lines were written to the cluster", written.Load())
		}
	})
}

// The same holds if expvar's name is taken, and the log line says so.
func TestLogHandlerMayMakeAClusterWhileOneIsMade(t *testing.T) {
	name := uniqueName("taken")
	if !publishVar(name, expvarString("mine")) {
		t.Fatal("taken already")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		h := handlerFunc(func() { NewDriver(nil, uniqueName("other"), quiet).Close() })
		NewDriver(nil, name, WithLogger(slog.New(h))).Close()
	}()
	<-done
}

// Whatever DelNode runs into, the pool keeps no connection of the removed node
// in use.
func TestNoConnectionOfARemovedNodeStaysValid(t *testing.T) {
	b := fakedb.New()
	rounds := 3000
	if testing.Short() {
		rounds = 1000
	}
	for range rounds {
		d := ownFakeCluster(t, b, 1)
		c := d.Connector().(*connector)
		var conn driver.Conn
		var wg sync.WaitGroup
		wg.Go(func() { conn, _ = c.Connect(context.Background()) })
		wg.Go(func() { _ = d.DelNode("n1") })
		wg.Wait()
		if conn != nil {
			if conn.(driver.Validator).IsValid() {
				t.Error("still valid")
			}
			conn.Close()
		}
		c.Close()
		d.Close()
	}
}

// The connectors of a closingDriver must be closed.
type closingDriver struct {
	driver.Driver
	made, closed atomic.Int64
}

type closingConnector struct {
	driver.Connector
	of *closingDriver
}

func (d *closingDriver) OpenConnector(dsn string) (driver.Connector, error) {
	d.made.Add(1)
	c, err := d.Driver.(driver.DriverContext).OpenConnector(dsn)
	return closingConnector{c, d}, err
}

func (c closingConnector) Close() error { c.of.closed.Add(1); return nil }

func TestConnectorsThatAddNodeMadeAreClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backend := &closingDriver{Driver: fakedb.New().Driver()}
		d := NewDriver(backend, t.Name(), quiet)
		_ = d.AddNode("n1", "n1")
		_ = d.AddNode("n1", "n1") // refused
		_ = d.AddNode("n2", "n2")
		db := sql.OpenDB(d.Connector())
		_ = d.DelNode("n2")
		db.Close()
		synctest.Wait()
		if made, closed := backend.made.Load(), backend.closed.Load(); made != 3 || closed != 2 {
			t.Errorf("%d made, %d closed before Driver.Close", made, closed)
		}
		d.Close()
		if made, closed := backend.made.Load(), backend.closed.Load(); made != closed {
			t.Errorf("%d made, %d closed", made, closed)
		}
	})
}

// A node comes up by checks that are 250 ms apart. It is then probed every
// probe_interval.
func TestRisingIsPaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d := fakeCluster(t, b, 2)
		openDB(t, d)
		synctest.Wait()
		b.Node("n1").SetHealth(errBoom, 0, false)
		time.Sleep(30 * time.Second)
		b.Node("n1").SetHealth(nil, 0, false)
		// A probe of this backend takes no time. The wait for the next one
		// therefore begins when it starts.
		next := func() time.Duration {
			t.Helper()
			before := d.Status().Nodes[0]
			time.Sleep(time.Until(before.NextCheck))
			synctest.Wait()
			s := d.Status().Nodes[0]
			if s.Probes != before.Probes+1 {
				t.Errorf("%d probes when one was due", s.Probes-before.Probes)
			}
			return time.Until(s.NextCheck)
		}
		if second := next(); second != health.BackoffFirst {
			t.Errorf("the second good check comes after %v", second)
		}
		if regular := next(); regular <= leastWait(time.Second) || regular >= mostWait(time.Second) {
			t.Errorf("the first regular probe comes after %v", regular)
		}
		if s := d.Status().Nodes[0]; s.State != StateUp {
			t.Errorf("%s after two good checks", s.State)
		}
		next()
	})
}

// Each attempt is counted once, each probe at most once.
func TestCountersAddUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		b.Node("n2").Set(fakedb.Script{Silent: true})
		b.Node("n3").Set(fakedb.Script{Err: errBoom})
		d := fakeCluster(t, b, 3)
		db := openDB(t, d)
		db.SetMaxIdleConns(-1)
		for range 100 {
			if err := db.Ping(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(700 * time.Millisecond)
		}
		db.Close()
		synctest.Wait()
		for _, s := range d.Status().Nodes {
			if s.Opens != s.Won+s.Lost+s.Errors {
				t.Errorf("%s: %d attempts: %d won, %d lost, %d failed", s.Name, s.Opens, s.Won, s.Lost, s.Errors)
			}
			if connects := b.Node(s.Name).Stats().Connects; s.Name != "n1" && int(s.Probes+s.Opens) > connects {
				t.Errorf("%s: %d probes and %d attempts of %d connects", s.Name, s.Probes, s.Opens, connects)
			}
		}
	})
}

func TestDriverCloseWaitsBesideTheLastConnectors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		b.Node("n1").Set(fakedb.Script{CloseDelay: time.Second})
		d := fakeCluster(t, b, 1)
		c := d.Connector().(*connector)
		synctest.Wait()
		go c.Close()
		synctest.Wait()
		go d.Close()
		synctest.Wait()
		d.Close()
		wantNothingLeft(t, b)
	})
}

// An enderConn ends the goroutine that closes it, while ends is set.
type enderConn struct {
	driver.Conn
	ends *atomic.Bool
}

func (c enderConn) Close() error {
	defer func() {
		if c.ends.Load() {
			runtime.Goexit()
		}
	}()
	return c.Conn.Close()
}

// A check or a method of the backend may end its goroutine, as the FailNow of a
// test does. That is a failure of its attempt or probe: the open is answered,
// the slot is free and the connection is closed. The node is used when that is
// over.
func TestBackendMayEndItsGoroutine(t *testing.T) {
	for _, where := range []string{"Connect", "check", "Close"} {
		t.Run(where, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				c, err := b.Driver().(driver.DriverContext).OpenConnector("n1")
				if err != nil {
					t.Fatal(err)
				}
				var ends, unfit atomic.Bool
				ends.Store(true)
				exit := func(here string) {
					if here == where && ends.Load() {
						runtime.Goexit()
					}
				}
				d := NewDriver(nil, t.Name(), seeded(t), quiet, WithCheck(func(context.Context, driver.Conn) error {
					exit("check")
					if unfit.Load() {
						return errBoom
					}
					return nil
				}))
				defer d.Close()
				if err := d.AddConnector("n1", connectFunc(func(ctx context.Context) (driver.Conn, error) {
					exit("Connect")
					conn, err := c.Connect(ctx)
					if err != nil || where != "Close" {
						return conn, err
					}
					return enderConn{conn, &ends}, nil
				})); err != nil {
					t.Fatal(err)
				}
				unfit.Store(where == "Close") // so that attempts and probes close
				db := openDB(t, d)
				for range 30 { // more than there are slots
					began := time.Now()
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					if err := db.PingContext(ctx); err == nil {
						t.Error("an open worked")
					}
					cancel()
					if took := time.Since(began); took > time.Second {
						t.Errorf("an open took %v", took)
					}
					time.Sleep(time.Second)
				}
				s := d.Status().Nodes[0]
				if s.State != StateDown || s.Probes < 10 || where != "Close" && !strings.Contains(s.Reason, "ended its goroutine") {
					t.Errorf("%+v", s)
				}
				ends.Store(false)
				unfit.Store(false)
				time.Sleep(time.Minute)
				if err := db.Ping(); err != nil {
					t.Errorf("when that is over: %v", err)
				}
				synctest.Wait() // the attempt has ended too
				if s := d.Status().Nodes[0]; s.State != StateUp || s.Deaf != 0 || (*d.m.nodes.Load())[0].inflight.Load() != 0 {
					t.Errorf("%+v", s)
				}
				db.Close()
				d.Close()
				wantNothingLeft(t, b)
			})
		})
	}
}

func TestStrategyThatPanicsIsAnError(t *testing.T) {
	d := fakeCluster(t, fakedb.New(), 1, WithStrategy(NewStrategy("broken", func([]NodeStatus) []Launch { panic("no plan") })))
	if err := openDB(t, d).Ping(); err == nil || !strings.Contains(err.Error(), "the strategy panicked: no plan") {
		t.Errorf("got %v", err)
	}
}

// Everything happens at once, Driver.Close too.
func TestEverythingAndCloseAtOnce(t *testing.T) {
	for range 100 {
		b := fakedb.New()
		d := fakeCluster(t, b, 3)
		var wg sync.WaitGroup
		for i := range 3 {
			name := nodeName(i)
			wg.Go(func() {
				for range 5 {
					_ = d.DelNode(name)
					_ = d.AddNode(name, name)
					d.Status()
					d.Nodes()
				}
			})
			wg.Go(func() {
				for range 3 {
					db := sql.OpenDB(d.Connector())
					_ = db.Ping()
					db.Close()
				}
			})
			wg.Go(func() {
				for range 3 {
					if conn, err := d.Open(""); err == nil {
						conn.Close()
					}
				}
			})
		}
		wg.Go(func() { runtime.Gosched(); d.Close() })
		wg.Wait()
		d.Close()
		for _, s := range d.Status().Nodes {
			if s.OpenConns != 0 || s.Attempts != 0 || s.Deaf != 0 {
				t.Errorf("%+v", s)
			}
		}
		// database/sql closes a connection that came too late at some later
		// time.
		for b.Stats().Live > 0 {
			runtime.Gosched()
		}
		wantNothingLeft(t, b)
	}
}

// leastWait is the lower bound of the wait before a regular probe, exclusive,
// as mostWait is the upper one. The wait is drawn from 80 to 120 percent of the
// interval and then shortened by less than a tick.
func leastWait(interval time.Duration) time.Duration {
	return interval*4/5 - interval/health.ProbeTicks
}
func mostWait(interval time.Duration) time.Duration { return interval * 6 / 5 }

// A backend whose Close hangs holds a bounded number of probes, losers and
// connections that are given up. Deaf counts them. The node is none the worse
// for it, and is probed as usual when they have returned.
func TestClosesThatHangAreBounded(t *testing.T) {
	hangs := fakedb.Script{CloseDelay: 2 * time.Hour}
	refused := hangs
	refused.Check = errBoom
	for _, tc := range []struct {
		name string
		run  func(t *testing.T, b *fakedb.Backend, d Driver, db *sql.DB)
		opts []Option
		want State // while the closes hang
	}{
		{"probes", func(_ *testing.T, b *fakedb.Backend, _ Driver, _ *sql.DB) {
			b.Node("n1").Set(refused)
			b.Node("n1").SetHealth(errBoom, 0, false)
			time.Sleep(time.Hour)
			b.Node("n1").SetHealth(nil, 0, false)
			b.Node("n1").Set(fakedb.Script{})
		}, nil, StateDown},
		{"losers", func(t *testing.T, b *fakedb.Backend, _ Driver, db *sql.DB) {
			slow := hangs
			slow.Delay = 2 * time.Millisecond
			b.Node("n1").Set(slow)
			b.Node("n2").Set(fakedb.Script{Delay: time.Millisecond}) // so both are asked before one wins
			db.SetMaxIdleConns(-1)
			for range 3600 {
				if _, err := db.Exec("work"); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
			}
		}, nil, StateUp},
		{"old ones", func(t *testing.T, b *fakedb.Backend, d Driver, db *sql.DB) {
			if err := d.DelNode("n2"); err != nil {
				t.Fatal(err)
			}
			b.Node("n1").Set(hangs)
			for range 720 {
				fill(t, db, 3)
				time.Sleep(5 * time.Second)
			}
		}, []Option{WithMaxAge(10 * time.Second)}, StateUp},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				d := fakeCluster(t, b, 2, tc.opts...)
				db := openDB(t, d)
				time.Sleep(time.Second)
				tc.run(t, b, d, db)
				synctest.Wait()
				s, live := d.Status().Nodes[0], b.Node("n1").Stats().Live
				if s.Deaf < 8 || s.Deaf > 12 || live > s.Deaf+s.OpenConns+1 {
					t.Errorf("%d connections are live, %d in use, %d deaf", live, s.OpenConns, s.Deaf)
				}
				if s.State != tc.want {
					t.Errorf("%v (%s)", s.State, s.Reason)
				}
				time.Sleep(3 * time.Hour)
				synctest.Wait()
				if s := d.Status().Nodes[0]; tc.want == StateDown && (s.Deaf != 0 || s.State != StateUp) {
					t.Errorf("when all have returned: %+v", s)
				}
				db.Close()
				d.Close()
				time.Sleep(3 * time.Hour)
				wantNothingLeft(t, b)
			})
		})
	}
}

// A far node is a good node, although its check takes longer than
// probe_timeout: each of the round trips is shorter than that.
func TestFarNodeStaysUp(t *testing.T) {
	for _, trip := range []time.Duration{150 * time.Millisecond, 210 * time.Millisecond, 310 * time.Millisecond} {
		t.Run(trip.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				var told diary
				d, _ := galeraCluster(t, b, 2, WithRequire(RequireWritable), WithStrategy(Ordered), WithOnEvent(told.write))
				for i := range 2 {
					b.Node(nodeName(i)).Set(fakedb.Script{Delay: trip})
					b.Node(nodeName(i)).SetHealth(nil, trip, false)
				}
				openDB(t, d)
				time.Sleep(time.Minute)
				suspects := 0
				for _, e := range told.of("n1", EventState) {
					if e.To != StateUp {
						suspects++
					}
				}
				if suspects > 0 {
					t.Errorf("%d changes of state in a minute, %+v", suspects, told.of("n1", EventState))
				}
			})
		})
	}
}
