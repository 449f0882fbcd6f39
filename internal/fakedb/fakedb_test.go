package fakedb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errBoom = errors.New("boom")

func connector(t *testing.T, b *Backend, dsn string) driver.Connector {
	t.Helper()
	c, err := b.Driver().(driver.DriverContext).OpenConnector(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Every script answers with the outcome that it says, after the time that it
// says.
func TestConnect(t *testing.T) {
	late := func() <-chan struct{} {
		c := make(chan struct{})
		time.AfterFunc(7*time.Second, func() { close(c) })
		return c
	}
	for _, tc := range []struct {
		name   string
		script func() Script
		took   time.Duration // the caller's deadline is 5 s
		err    error
		opens  int
	}{
		{name: "well", script: func() Script { return Script{} }, opens: 1},
		{name: "slow", script: func() Script { return Script{Delay: time.Second} }, took: time.Second, opens: 1},
		{name: "error", script: func() Script { return Script{Delay: time.Second, Err: errBoom} }, took: time.Second, err: errBoom},
		{name: "too slow", script: func() Script { return Script{Delay: time.Minute} }, took: 5 * time.Second, err: context.DeadlineExceeded},
		{name: "silent", script: func() Script { return Script{Silent: true} }, took: 5 * time.Second, err: context.DeadlineExceeded},
		{name: "deaf and slow", script: func() Script { return Script{Deaf: true, Delay: time.Minute} }, took: time.Minute, opens: 1},
		{name: "until", script: func() Script { return Script{Until: late()} }, took: 5 * time.Second, err: context.DeadlineExceeded},
		{name: "deaf until", script: func() Script { return Script{Deaf: true, Until: late()} }, took: 7 * time.Second, opens: 1},
		{name: "deaf, silent until", script: func() Script { return Script{Deaf: true, Silent: true, Until: late()} }, took: 7 * time.Second, opens: 1},
		{name: "typed nil", script: func() Script { return Script{Err: errBoom, TypedNil: true} }, err: errBoom},
		{name: "conn with an error", script: func() Script { return Script{Err: errBoom, ConnWithErr: true} }, err: errBoom},
		{name: "no conn", script: func() Script { return Script{NilConn: true} }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := New()
				b.Node("n").Set(tc.script())
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				began := time.Now()
				c, err := connector(t, b, "n").Connect(ctx)
				if took := time.Since(began); took != tc.took || !errors.Is(err, tc.err) {
					t.Errorf("took %s, error %v; want %s, %v", took, err, tc.took, tc.err)
				}
				if s := b.Stats(); s.Connects != 1 || s.Opens != tc.opens || s.Live != tc.opens || s.Dialing != 0 {
					t.Errorf("stats: %+v", s)
				}
				if err == nil && c != nil {
					if err := c.Close(); err != nil {
						t.Error(err)
					}
				}
				time.Sleep(10 * time.Second) // until the timer has closed Until
			})
		})
	}
}

func TestConnectPanics(t *testing.T) {
	b := New()
	b.Node("n").Set(Script{Panic: "aargh"})
	defer func() {
		if r := recover(); r != "aargh" {
			t.Errorf("recovered %v", r)
		}
		if s := b.Stats(); s.Dialing != 0 {
			t.Errorf("stats: %+v", s)
		}
	}()
	_, _ = b.LegacyDriver().Open("n")
}

func TestRefusedDSN(t *testing.T) {
	b := New()
	b.RefuseDSN("other", errBoom)
	for dsn, want := range map[string]error{refusedDSN: errRefused, "other": errBoom} {
		if _, err := b.Driver().(driver.DriverContext).OpenConnector(dsn); !errors.Is(err, want) {
			t.Errorf("OpenConnector(%q): %v", dsn, err)
		}
		if _, err := b.LegacyDriver().Open(dsn); !errors.Is(err, want) {
			t.Errorf("Open(%q): %v", dsn, err)
		}
	}
	if _, ok := b.LegacyDriver().(driver.DriverContext); ok {
		t.Error("the legacy driver has contexts")
	}
	if s := b.Stats(); s != (Stats{}) {
		t.Errorf("stats: %+v", s)
	}
}

// Enqueued scripts are used first, one for each connect.
func TestEnqueue(t *testing.T) {
	b := New()
	n := b.Node("n")
	n.Set(Script{Err: errBoom})
	n.Enqueue(Script{NilConn: true}, Script{NilConn: true})
	for i, want := range []error{nil, nil, errBoom, errBoom} {
		if _, err := b.LegacyDriver().Open("n"); !errors.Is(err, want) {
			t.Errorf("connect %d: %v, want %v", i, err, want)
		}
	}
}

// Through database/sql, statements are answered as the hook and the health say.
func TestStatements(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New()
		n := b.Node("n")
		db := sql.OpenDB(connector(t, b, "n"))
		var seen []string
		n.OnStatement(func(_ context.Context, query string, args []driver.NamedValue) error {
			seen = append(seen, query)
			if len(args) > 0 && args[0].Value == "fail" {
				return errBoom
			}
			return nil
		})
		var name string
		if err := db.QueryRow("SELECT").Scan(&name); err != nil || name != "n" {
			t.Errorf("got %q, %v", name, err)
		}
		if _, err := db.Exec("INSERT", "fail"); !errors.Is(err, errBoom) {
			t.Errorf("Exec: %v", err)
		}
		tx, err := db.Begin()
		if err != nil {
			t.Fatal(err)
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		if got := len(seen); got != 4 || seen[3] != "COMMIT" {
			t.Errorf("seen %q", seen)
		}
		n.SetHealth(errBoom, time.Second, false)
		began := time.Now()
		if err := db.Ping(); !errors.Is(err, errBoom) || time.Since(began) != time.Second {
			t.Errorf("Ping of a sick node: %v after %s", err, time.Since(began))
		}
		n.SetHealth(nil, 0, true)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := db.PingContext(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 61*time.Second {
			t.Errorf("Ping of a silent node: %v after %s", err, time.Since(began))
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
		if s := n.Stats(); s.Opens != 1 || s.Closes != 1 || s.MaxLive != 1 {
			t.Errorf("stats: %+v", s)
		}
	})
}

// What a caller must not do is counted, and does no harm.
func TestMistakesAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New()
		n := b.Node("n")
		n.Enqueue(Script{Err: errBoom, ConnWithErr: true}, Script{CheckDelay: time.Second, ClosePanic: "ouch"})
		untouchable, _ := b.LegacyDriver().Open("n")
		if err := untouchable.(driver.Pinger).Ping(t.Context()); err == nil {
			t.Error("Ping of a conn that came with an error")
		}
		_ = untouchable.Close()

		c, err := b.LegacyDriver().Open("n")
		if err != nil {
			t.Fatal(err)
		}
		var ping sync.WaitGroup
		for range 2 {
			ping.Go(func() { _ = c.(driver.Pinger).Ping(t.Context()) })
		}
		ping.Wait()
		func() {
			defer func() {
				if r := recover(); r != "ouch" {
					t.Errorf("recovered %v", r)
				}
			}()
			_ = c.Close()
		}()
		_ = c.Close()
		_ = c.(driver.Pinger).Ping(t.Context())
		want := Stats{Connects: 2, Opens: 1, Closes: 1, MaxLive: 1, DoubleCloses: 1, UsedAfterClose: 1, TouchedWithErr: 2, Concurrent: 1}
		if got := b.Stats(); got != want {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	})
}

// A quiet node allocates nothing for a statement.
func TestQuiet(t *testing.T) {
	b := New()
	b.Quiet()
	c, err := b.LegacyDriver().Open("n")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx := t.Context()
	if n := testing.AllocsPerRun(100, func() {
		_, _ = c.(driver.ExecerContext).ExecContext(ctx, "INSERT", nil)
		_, _ = c.(driver.QueryerContext).QueryContext(ctx, "SELECT", nil)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
