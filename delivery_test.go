package clustersql

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql/internal/calls"
	"github.com/EnumApps/clustersql/internal/fakedb"
)

// few is how many goroutines other tests of this process may begin or end while
// a test counts.
const few = 20

// goroutinesAbove returns how many goroutines there are. If there seem to be more than
// most it counts their stacks: runtime.NumGoroutine also counts those that have ended,
// while the garbage collector frees their stacks.
func goroutinesAbove(most int) int {
	seem := runtime.NumGoroutine()
	if seem <= most {
		return seem
	}
	stacks, n := make([]byte, 1<<20), 0
	for n = runtime.Stack(stacks, true); n == len(stacks); n = runtime.Stack(stacks, true) {
		stacks = make([]byte, 2*n)
	}
	return bytes.Count(stacks[:n], []byte("\n\ngoroutine ")) + 1
}

// toggle drains a node and uses it again, n times. Each time gives three
// events: draining, unknown, up.
func toggle(t *testing.T, d Driver, n int) {
	t.Helper()
	for range n {
		for _, err := range []error{d.Drain("n1"), settled(), d.Undrain("n1"), settled()} {
			if err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		synctest.Wait()
	}
}

func settled() error { synctest.Wait(); return nil }

// A hook that never returns costs one goroutine, however many events there are.
// The log goes on and says that events are dropped. When the hook returns, it
// gets what has waited, in order, and the number of those that were dropped.
func TestHookThatNeverReturnsCostsOneGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		var told diary
		var log bytes.Buffer
		d := fakeCluster(t, fakedb.New(), 1, WithLogger(slog.New(slog.NewTextHandler(&log, nil))), WithOnEvent(func(e Event) {
			<-free
			told.write(e)
		}))
		openDB(t, d)
		time.Sleep(time.Second)
		before := runtime.NumGoroutine()
		toggle(t, d, 400)
		if now := goroutinesAbove(before + few); now > before+few {
			t.Errorf("%d goroutines after 1200 events, %d before", now, before)
		}
		if lines := strings.Count(log.String(), "node draining"); lines != 400 {
			t.Errorf("%d of 400 lines while the hook hangs", lines)
		}
		if lines := strings.Count(log.String(), "events are dropped"); lines != 1 {
			t.Errorf("%d lines say that events are dropped", lines)
		}
		close(free)
		synctest.Wait()
		toggle(t, d, 1)
		events := told.of("n1", EventState)
		if len(events) != 1+calls.Room+3 {
			t.Fatalf("%d events", len(events))
		}
		for i, e := range events {
			want := 0
			if i == 1+calls.Room {
				want = 1 + 1200 - (1 + calls.Room)
			}
			if e.Dropped != want {
				t.Errorf("event %d: %d dropped, want %d", i, e.Dropped, want)
			}
			if i > 0 && (!e.Time.After(events[i-1].Time) && e.From != events[i-1].To) {
				t.Errorf("out of order: %+v after %+v", e, events[i-1])
			}
		}
	})
}

// A log handler that hangs costs one goroutine of the node and holds back
// nothing but Close. The first line after it says how many were dropped.
func TestLogHandlerThatHangsHoldsBackNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		var told diary
		var log bytes.Buffer
		lines := slog.NewTextHandler(&log, nil)
		d := fakeCluster(t, fakedb.New(), 1, WithDialect(DialectGeneric), WithLogger(slog.New(hangingHandler{lines, free})), WithOnEvent(told.write))
		db := openDB(t, d)
		time.Sleep(time.Second)
		before := runtime.NumGoroutine()
		toggle(t, d, 400)
		if now := goroutinesAbove(before + few); now > before+few {
			t.Errorf("%d goroutines after 1200 lines, %d before", now, before)
		}
		if events := told.of("n1", EventState); len(events) != 1201 {
			t.Errorf("%d of 1201 events while the handler hangs", len(events))
		}
		began := time.Now()
		if err := db.Ping(); err != nil || time.Since(began) != 0 {
			t.Errorf("an open after %v: %v", time.Since(began), err)
		}
		db.Close()
		if took := time.Since(began); took != DefaultConfig().AttemptTimeout {
			t.Errorf("Close took %v", took)
		}
		close(free)
		synctest.Wait()
		db = openDB(t, d)
		toggle(t, d, 1)
		if !strings.Contains(log.String(), "log lines dropped\" cluster="+t.Name()+" node=n1 event=lines_dropped count=944") {
			t.Errorf("the log does not say how many:\n%s", log.String()[max(0, log.Len()-1000):])
		}
		db.Close()
	})
}

// A hangingHandler handles no line before free is closed.
type hangingHandler struct {
	slog.Handler
	free chan struct{}
}

func (h hangingHandler) Handle(ctx context.Context, r slog.Record) error {
	<-h.free
	return h.Handler.Handle(ctx, r)
}
func (h hangingHandler) WithAttrs(a []slog.Attr) slog.Handler {
	return hangingHandler{h.Handler.WithAttrs(a), h.free}
}

// A hook that hangs through many lives of the cluster costs one goroutine, and
// each Close waits for it as long as for a backend that hangs.
func TestHookThatHangsThroughManyLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		d := fakeCluster(t, fakedb.New(), 1, WithOnEvent(func(Event) { <-free }))
		before := runtime.NumGoroutine()
		for range 20 {
			db := sql.OpenDB(d.Connector())
			toggle(t, d, 10)
			began := time.Now()
			db.Close()
			if took := time.Since(began); took != DefaultConfig().AttemptTimeout {
				t.Errorf("Close took %v", took)
			}
			synctest.Wait()
			if now := goroutinesAbove(before + few); now > before+few {
				t.Errorf("%d goroutines, %d before", now, before)
			}
		}
		close(free)
		synctest.Wait()
		began := time.Now()
		d.Close()
		if now := goroutinesAbove(before + few); now > before+few || time.Since(began) != 0 {
			t.Errorf("%d goroutines, %d before; Close took %v", now, before, time.Since(began))
		}
	})
}

// A second Close waits for the hook of a removed node too.
func TestCloseWaitsForTheHookOfARemovedNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ended atomic.Bool
		d := fakeCluster(t, fakedb.New(), 1, WithOnEvent(func(Event) {
			time.Sleep(2 * time.Second)
			ended.Store(true)
		}))
		openDB(t, d)
		synctest.Wait()
		if err := d.DelNode("n1"); err != nil {
			t.Fatal(err)
		}
		go d.Close()
		synctest.Wait()
		d.Close()
		if !ended.Load() {
			t.Error("Close did not wait")
		}
		time.Sleep(time.Minute)
	})
}

// A hook may end its goroutine, as FailNow of a test does. The next event comes
// all the same.
func TestHookMayEndItsGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		d := fakeCluster(t, fakedb.New(), 1, WithOnEvent(func(Event) {
			calls.Add(1)
			runtime.Goexit()
		}))
		db := openDB(t, d)
		time.Sleep(time.Second)
		toggle(t, d, 3)
		began := time.Now()
		db.Close()
		if n := calls.Load(); n != 10 || time.Since(began) != 0 {
			t.Errorf("%d calls, Close took %v", n, time.Since(began))
		}
	})
}

// A socket whose Close hangs does not keep others from being cut, nor events
// from being told.
func TestSocketWhoseCloseHangsHoldsBackNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		var told diary
		d, c := pipeCluster(t, fakedb.New(), true, WithOnEvent(told.write))
		var sticks atomic.Bool
		sticks.Store(true)
		c.wrap = func(s net.Conn) net.Conn {
			if sticks.Load() {
				return stuckSocket{s, free}
			}
			return s
		}
		db := openDB(t, d)
		stuck, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		sticks.Store(false)
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		c.hangs.Store(true)
		if _, err := conn.ExecContext(t.Context(), "hangs"); !errors.Is(err, errCut) {
			t.Errorf("got %v", err)
		}
		c.hangs.Store(false)
		time.Sleep(20 * time.Second)
		if cuts := told.of("n1", EventCut); len(cuts) != 1 || cuts[0].Conns != 2 {
			t.Errorf("%+v", cuts)
		}
		if ups := told.of("n1", EventState); len(ups) == 0 || ups[len(ups)-1].To != StateUp {
			t.Errorf("the node's return is not told: %+v", ups)
		}
		close(free)
		conn.Close()
		stuck.Close()
	})
}

// Close of a stuckSocket returns when free is closed.
type stuckSocket struct {
	net.Conn
	free chan struct{}
}

func (s stuckSocket) Close() error {
	<-s.free
	return s.Conn.Close()
}

// Every Close waits for what the actors started: the second one of a Registry,
// and that of the last sql.DB, beside one that is under way.
func TestEveryCloseWaitsBesideAnother(t *testing.T) {
	for name, test := range map[string]struct {
		first, second func(Driver, *Registry, *sql.DB) error
	}{
		"registry": {
			func(_ Driver, r *Registry, _ *sql.DB) error { return r.Close() },
			func(_ Driver, r *Registry, _ *sql.DB) error { return r.Close() },
		},
		"last connector": {
			func(d Driver, _ *Registry, _ *sql.DB) error { return d.Close() },
			func(_ Driver, _ *Registry, db *sql.DB) error { return db.Close() },
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				until := make(chan struct{})
				b.Node("n1").Set(fakedb.Script{Deaf: true, Until: until})
				d := fakeCluster(t, b, 1)
				r := new(Registry)
				r.clusters.Store(&[]registered{{driver: d}})
				db := openDB(t, d)
				synctest.Wait()
				time.AfterFunc(2*time.Second, func() { close(until) })
				go func() { _ = test.first(d, r, db) }()
				synctest.Wait()
				_ = test.second(d, r, db)
				if calls := b.Stats().Dialing; calls != 0 {
					t.Errorf("it returned with %d calls under way", calls)
				}
			})
		})
	}
}

// A closeHook is a backend whose connectors call close in their Close.
type closeHook struct {
	driver.Driver
	close func()
}

type hookedConnector struct {
	driver.Connector
	close func()
}

func (h closeHook) OpenConnector(dsn string) (driver.Connector, error) {
	c, err := h.Driver.(driver.DriverContext).OpenConnector(dsn)
	return hookedConnector{c, h.close}, err
}

func (c hookedConnector) Close() error { c.close(); return nil }

// A backend's connector whose Close hangs holds back neither AddNode, which
// closes the connector of a node that it refuses, nor DelNode. Driver.Close
// waits for it, as long as for every backend.
func TestConnectorWhoseCloseHangs(t *testing.T) {
	for _, used := range []bool{false, true} {
		for _, removed := range []bool{false, true} {
			t.Run(fmt.Sprintf("used=%v,removed=%v", used, removed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					until := make(chan struct{})
					d := NewDriver(closeHook{fakedb.New().Driver(), func() { <-until }}, t.Name(), seeded(t), quiet)
					if err := d.AddNode("n1", "n1"); err != nil {
						t.Fatal(err)
					}
					began := time.Now()
					if err := d.AddNode("n1", "n1"); err == nil {
						t.Error("AddNode took the name twice")
					}
					if used {
						openDB(t, d)
						synctest.Wait()
					}
					if removed {
						if err := d.DelNode("n1"); err != nil {
							t.Fatal(err)
						}
					}
					if took := time.Since(began); took != 0 {
						t.Errorf("AddNode and DelNode took %v", took)
					}
					d.Close()
					if took, limit := time.Since(began), DefaultConfig().AttemptTimeout; took != limit {
						t.Errorf("Close took %v, attempt_timeout is %v", took, limit)
					}
					close(until)
				})
			})
		}
	}
}

// When Driver.Close has returned, the connectors of removed nodes are closed
// too.
func TestCloseWaitsForTheConnectorsOfRemovedNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var closed atomic.Int64
		d := NewDriver(closeHook{fakedb.New().Driver(), func() {
			time.Sleep(time.Second)
			closed.Add(1)
		}}, t.Name(), seeded(t), quiet)
		for i := range 2 {
			if err := d.AddNode(nodeName(i), nodeName(i)); err != nil {
				t.Fatal(err)
			}
		}
		db := openDB(t, d)
		if err := db.Ping(); err != nil {
			t.Fatal(err)
		}
		if err := d.DelNode("n1"); err != nil {
			t.Fatal(err)
		}
		go d.Close()
		synctest.Wait()
		d.Close()
		if n := closed.Load(); n != 2 {
			t.Errorf("%d connectors of 2 are closed", n)
		}
	})
}
