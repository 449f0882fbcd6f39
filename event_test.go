package clustersql

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql/internal/fakedb"
	"github.com/EnumApps/clustersql/internal/history"
)

// A diary keeps the events of a cluster.
type diary struct {
	mu     sync.Mutex
	events []Event
}

func (d *diary) write(e Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.events = append(d.events, e)
}

// of returns the events of a node that are of the given kinds, in order.
func (d *diary) of(node string, kinds ...EventKind) []Event {
	d.mu.Lock()
	defer d.mu.Unlock()
	var found []Event
	for _, e := range d.events {
		if e.Node == node && slices.Contains(kinds, e.Kind) {
			found = append(found, e)
		}
	}
	return found
}

// A node falls silent while three connections are in use, and comes back. Every
// step is an event and a line in the log: in order, with times, counts and
// reasons.
func TestEventsTellWhatHappens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		var told diary
		var log bytes.Buffer
		began := time.Now()
		d, c := pipeCluster(t, b, true, WithOnEvent(told.write), WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
		db := openDB(t, d)
		var work sync.WaitGroup
		for range 3 {
			conn, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			work.Go(func() {
				time.Sleep(1500 * time.Millisecond)
				_, _ = conn.ExecContext(context.Background(), "hangs")
			})
		}
		time.Sleep(time.Second)
		c.hangs.Store(true)
		work.Wait()
		c.hangs.Store(false)
		time.Sleep(15 * time.Second)
		synctest.Wait()
		var got []string
		for _, e := range told.of("n1", EventState, EventLost, EventRetired, EventCut) {
			what := e.Kind.String()
			if e.Kind == EventState {
				what = e.From.String() + " to " + e.To.String()
			}
			got = append(got, what)
			if e.Cluster != t.Name() || e.Time.Before(began) || e.Time.After(time.Now()) {
				t.Errorf("cluster and time of %+v", e)
			}
			if e.Kind != EventState && e.Conns != 3 {
				t.Errorf("%v of %d connections", e.Kind, e.Conns)
			}
			if good := e.Kind == EventState && e.To == StateUp; (e.Reason == "") != good {
				t.Errorf("%s for the reason %q", what, e.Reason)
			}
		}
		want := []string{"unknown to up", "up to suspect", "suspect to down", "retired", "cut", "down to up"}
		if !slices.Equal(got, want) {
			t.Errorf("events %q, want %q", got, want)
		}
		for _, line := range []string{`msg="node down"`, `msg="connections retired"`, `msg="connections cut"`, "count=3", "reason=\"silent: no answer to a probe"} {
			if !strings.Contains(log.String(), line) {
				t.Errorf("no %s in the log:\n%s", line, &log)
			}
		}
	})
}

// A hundred connections that break within a moment give two events, which count
// a hundred together.
func TestLossesAreToldTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		var told diary
		d := fakeCluster(t, b, 1, WithOnEvent(told.write))
		db := openDB(t, d)
		var conns []*sql.Conn
		for range 100 {
			conn, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conns = append(conns, conn)
		}
		b.Node("n1").OnStatement(func(context.Context, string, []driver.NamedValue) error { return io.ErrUnexpectedEOF })
		for _, conn := range conns {
			if _, err := conn.ExecContext(t.Context(), "x"); err == nil {
				t.Error("a broken connection works")
			}
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		lost := told.of("n1", EventLost)
		sum := 0
		for _, e := range lost {
			sum += e.Conns
		}
		if len(lost) != 2 || sum != 100 {
			t.Errorf("%d events of %d losses: %+v", len(lost), sum, lost)
		}
	})
}

// A slow hook gets every event in order. It delays neither opens nor the node's
// state.
func TestSlowHookHoldsBackNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		var told diary
		var inside sync.Mutex
		d := fakeCluster(t, b, 1, WithOnEvent(func(e Event) {
			if !inside.TryLock() {
				t.Error("two events of one node at once")
				return
			}
			defer inside.Unlock()
			time.Sleep(time.Minute)
			told.write(e)
		}))
		db := openDB(t, d)
		if err := db.PingContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for range 3 {
			b.Node("n1").SetHealth(errNotReady, 0, false)
			b.Node("n1").Set(fakedb.Script{Err: errRefused})
			time.Sleep(2 * time.Second)
			if s := d.Status().Nodes[0].State; s != StateDown {
				t.Errorf("the node is %v", s)
			}
			b.Node("n1").SetHealth(nil, 0, false)
			b.Node("n1").Set(fakedb.Script{})
			time.Sleep(10 * time.Second)
			if s := d.Status().Nodes[0].State; s != StateUp {
				t.Errorf("the node is %v", s)
			}
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		events := told.of("n1", EventState)
		if len(events) != 7 {
			t.Errorf("%d events: %+v", len(events), events)
		}
		for i, e := range events[1:] {
			if e.From != events[i].To || !e.Time.After(events[i].Time) {
				t.Errorf("out of order: %+v", events)
			}
		}
	})
}

// Close waits for a hook that hangs as long as for a backend that hangs.
func TestHangingHookHoldsBackCloseForAttemptTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		d := fakeCluster(t, fakedb.New(), 1, WithOnEvent(func(Event) { <-free }))
		db := openDB(t, d)
		time.Sleep(time.Second)
		began := time.Now()
		db.Close()
		if took := time.Since(began); took != DefaultConfig().AttemptTimeout {
			t.Errorf("Close took %v", took)
		}
		close(free)
	})
}

func TestHookMayPanicAndUseTheCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d Driver
		var log bytes.Buffer
		calls := 0
		d = fakeCluster(t, fakedb.New(), 1, WithLogger(slog.New(slog.NewTextHandler(&log, nil))), WithOnEvent(func(e Event) {
			if e.Node != "n1" {
				return
			}
			calls++
			conn, err := d.Open("")
			if err != nil {
				t.Error(err)
				return
			}
			err = errors.Join(d.AddNode("n2", "n2"), d.DelNode("n2"), d.WaitReady(t.Context(), 1), conn.Close())
			if s := d.Status().Nodes[0]; err != nil || s.State != e.To {
				t.Errorf("%v in state %v: %v", e, s.State, err)
			}
			panic("of the hook")
		}))
		db := openDB(t, d)
		time.Sleep(time.Minute)
		db.Close()
		if calls != 1 || !strings.Contains(log.String(), "OnEvent panicked") {
			t.Errorf("%d calls; %s", calls, &log)
		}
	})
}

func TestWaitReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		b.Node("n2").Set(fakedb.Script{Delay: 2 * time.Second})
		b.Node("n3").Set(fakedb.Script{Err: errRefused})
		d := fakeCluster(t, b, 3)
		if err := d.WaitReady(t.Context(), 1); !errors.Is(err, ErrClosed) {
			t.Errorf("with no connector: %v", err)
		}
		db := openDB(t, d)
		began := time.Now()
		if err := d.WaitReady(t.Context(), 2); err != nil || time.Since(began) != 2*time.Second {
			t.Errorf("two nodes after %v: %v", time.Since(began), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := d.WaitReady(ctx, 3)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 62*time.Second {
			t.Errorf("three nodes after %v: %v", time.Since(began), err)
		}
		for _, part := range []string{"2 of 3 wanted nodes up", "n3 is down (refused: "} {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("no %q in %v", part, err)
			}
		}
		added := make(chan error)
		go func() { added <- d.WaitReady(context.Background(), 3) }()
		time.Sleep(time.Second)
		if err := d.AddNode("n4", "n4"); err != nil {
			t.Fatal(err)
		}
		if err := <-added; err != nil {
			t.Error(err)
		}
		go func() { added <- d.WaitReady(context.Background(), 5) }()
		time.Sleep(time.Second)
		db.Close()
		if err := <-added; !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

// A cluster keeps its last 200 events, numbered, and each node's states of the
// last 15 minutes.
func TestHistoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d := fakeCluster(t, b, 2)
		if got := d.Events(); len(got) != 0 {
			t.Errorf("events before the first: %v", got)
		}
		if got := d.History(); len(got) != 2 || len(got[0].States) != 1 || got[0].States[0].State != StateUnknown {
			t.Errorf("states before the first open: %v", got)
		}
		openDB(t, d)
		time.Sleep(time.Second)
		before := uint64(0)
		for i := range 150 { // Drain and Undrain are three changes: draining, unknown, up
			synctest.Wait()
			events := d.Events()
			if len(events) > history.EventsKept || len(events) > 0 && events[0].Seq+uint64(len(events)) != events[len(events)-1].Seq+1 {
				t.Fatalf("round %d: %d events, from %d to %d", i, len(events), events[0].Seq, events[len(events)-1].Seq)
			}
			if last := events[len(events)-1].Seq; last <= before {
				t.Fatalf("the last event is %d, after %d", last, before)
			} else {
				before = last
			}
			if err := d.Drain("n1"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(30 * time.Second)
			if err := d.Undrain("n1"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(30 * time.Second)
		}
		synctest.Wait()
		nodes := d.History()
		n1, n2 := nodes[0].States, nodes[1].States
		if len(n2) != 2 {
			t.Errorf("the states of n2: %v", n2)
		}
		oldest, last := n1[0], n1[len(n1)-1]
		if age := time.Since(oldest.Since); age < history.StatesKept || age > history.StatesKept+2*time.Minute {
			t.Errorf("the oldest state of n1 began %v ago", age)
		}
		if last.State != StateUp {
			t.Errorf("the last state of n1 is %v", last)
		}
		for i, s := range n1[1:] {
			if s.Since.Before(n1[i].Since) || s.State == n1[i].State {
				t.Errorf("%v after %v", s, n1[i])
			}
		}
		changes := map[string]uint64{}
		for _, c := range d.Status().Nodes[0].Changes {
			changes[c.To.String()+" "+c.Cause] = c.Count
		}
		if changes["draining drain"] != 150 || changes["unknown undrain"] != 150 || changes["up check"] != 151 {
			t.Errorf("changes: %v", changes)
		}
		if err := d.DelNode("n1"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if events := d.Events(); events[len(events)-1].Cause != causeRemove || len(d.History()) != 1 {
			t.Errorf("after DelNode: %+v, %v", events[len(events)-1], d.History())
		}
	})
}
