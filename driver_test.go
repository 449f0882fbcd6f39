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
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql/internal/fakedb"
)

// openDB opens a sql.DB on the cluster. It is closed at the end of the test.
func openDB(t testing.TB, d Driver) *sql.DB {
	t.Helper()
	db := sql.OpenDB(d.Connector())
	t.Cleanup(func() { db.Close() })
	return db
}

func TestRegisteredDriverIsIdleUntilOpened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		fakeCluster(t, b, 3)
		synctest.Wait()
		if n := b.Stats().Connects; n != 0 {
			t.Errorf("%d connects without a connector", n)
		}
	})
}

func TestNodesAreProbedBeforeTheFirstQuery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		b.Node("n2").Set(fakedb.Script{Err: errRefused})
		d := fakeCluster(t, b, 3)
		db := openDB(t, d)
		synctest.Wait()
		for i, want := range []State{StateUp, StateDown, StateUp} {
			if got := d.Status().Nodes[i]; got.State != want || got.Opens != 0 {
				t.Errorf("%s is %v after %d opens, want %v without any", got.Name, got.State, got.Opens, want)
			}
		}
		if live := b.Stats().Live; live != 2 {
			t.Errorf("%d connections, want one probe's on each good node", live)
		}
		db.Close()
		synctest.Wait()
		wantNothingLeft(t, b)
	})
}

func TestProbeConnectionLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d := fakeCluster(t, b, 1)
		openDB(t, d)
		time.Sleep(time.Minute)
		synctest.Wait()
		s := d.Status().Nodes[0]
		if opens := b.Stats().Opens; opens != 1 {
			t.Errorf("%d connections in a minute, want 1", opens)
		}
		fewest, most := 1+uint64(time.Minute/mostWait(time.Second)), 1+uint64(time.Minute/leastWait(time.Second))
		if s.Probes < fewest || s.Probes > most || s.ProbeLatency.Count() != s.Probes-1 {
			t.Errorf("%d probes with %d latencies in a minute", s.Probes, s.ProbeLatency.Count())
		}
	})
}

func TestConnectAfterCloseStartsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d := fakeCluster(t, b, 3)
		c := d.Connector().(*connector)
		synctest.Wait()
		c.Close()
		c.Close()
		before := b.Stats().Connects
		if _, err := c.Connect(context.Background()); !errors.Is(err, ErrClosed) {
			t.Errorf("Connect after Close: %v", err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if after := b.Stats().Connects; after != before {
			t.Errorf("%d connects after Close", after-before)
		}
		wantNothingLeft(t, b)
	})
}

func TestSecondLifeKeepsTheHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d := fakeCluster(t, b, 1)
		for life := range 3 {
			db := sql.OpenDB(d.Connector())
			if err := db.Ping(); err != nil {
				t.Fatal(err)
			}
			db.Close()
			if won := d.Status().Nodes[0].Won; won != uint64(life+1) {
				t.Errorf("life %d: %d won", life, won)
			}
		}
		if next := d.Status().Nodes[0].NextCheck; !next.IsZero() {
			t.Errorf("a stopped node is to be checked at %v", next)
		}
		wantNothingLeft(t, b)
	})
}

func TestActorsStopWithTheLastConnector(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d := fakeCluster(t, b, 2)
		first, second := sql.OpenDB(d.Connector()), sql.OpenDB(d.Connector())
		first.Close()
		if err := second.Ping(); err != nil {
			t.Fatal(err)
		}
		conn, err := d.Open("")
		if err != nil {
			t.Fatal(err)
		}
		second.Close()
		synctest.Wait()
		if live := b.Stats().Live; live != 3 {
			t.Errorf("%d connections; want the open one and two probes'", live)
		}
		conn.Close()
		wantNothingLeft(t, b)
	})
}

func TestCloseEndsTheDriverForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d := fakeCluster(t, b, 2)
		db := openDB(t, d)
		conn, err := db.Conn(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		}
		if err := conn.PingContext(context.Background()); err != nil {
			t.Errorf("a connection that is out: %v", err)
		}
		conn.Close()
		_, opened := d.OpenConnector("")
		_, direct := d.Open("")
		for _, err := range []error{opened, direct, d.AddNode("n9", "n9"), d.DelNode("n1"), d.Connector().(failedConnector).err} {
			if !errors.Is(err, ErrClosed) {
				t.Errorf("after Close: %v", err)
			}
		}
		db.Close()
		synctest.Wait()
		wantNothingLeft(t, b)
	})
}

func TestEmptyDriverGivesErrors(t *testing.T) {
	var d Driver
	_, opened := d.OpenConnector("")
	_, direct := d.Open("")
	ping := openDB(t, d).Ping()
	for _, err := range []error{opened, direct, ping, d.AddNode("n", "n"), d.AddConnector("n", nil), d.DelNode("n")} {
		if !errors.Is(err, errNoDriver) {
			t.Errorf("got %v", err)
		}
	}
	if d.Nodes() != nil || d.Close() != nil || d.Status().Nodes != nil {
		t.Error("an empty Driver has something")
	}
}

func TestAddNodeRefuses(t *testing.T) {
	b := fakedb.New()
	b.RefuseDSN("user:secretpassword@bad", errors.New(`cannot parse "user:secretpassword@bad"`))
	d := NewDriver(b.Driver(), "refusals", quiet)
	defer d.Close()
	if err := d.AddNode("n1", "n1"); err != nil {
		t.Fatal(err)
	}
	none := NewDriver(nil, "refusals", quiet)
	defer none.Close()
	for _, tc := range []struct {
		err  error
		want string
	}{
		{d.AddNode("n1", "other"), `node "n1": the name is taken: DelNode the other one first`},
		{d.AddNode("", "n2"), `node "": a node needs a name`},
		{d.AddNode("n2", ""), `node "n2": the DSN is empty: give the one that you would give the backend driver`},
		{d.AddNode("n2", "user:secretpassword@bad"), `node "n2": cannot parse "`},
		{d.AddNode("FirstInstanciated", "n2"), `node "FirstInstanciated": the cluster's expvar map has a key of that name: use another`},
		{d.AddConnector("n2", nil), `node "n2": the connector is nil`},
		{d.DelNode("n9"), `there is no node "n9"`},
		{none.AddNode("n1", "n1"), `node "n1": the cluster has no backend driver: give one to NewDriver, or use AddConnector`},
	} {
		prefix := `clustersql: cluster "refusals": `
		if tc.err == nil || !strings.HasPrefix(tc.err.Error(), prefix+tc.want) || strings.Contains(tc.err.Error(), "secretpassword") {
			t.Errorf("got  %v\nwant %s%s", tc.err, prefix, tc.want)
		}
	}
	if got := fmt.Sprint(d.Nodes()); got != "[n1]" {
		t.Errorf("nodes: %s", got)
	}
}

func TestNoNodes(t *testing.T) {
	b := fakedb.New()
	b.RefuseDSN("bad", errBoom)
	d := NewDriver(b.Driver(), "", quiet)
	defer d.Close()
	db := openDB(t, d)
	if err := db.Ping(); !errors.Is(err, ErrNoNodes) {
		t.Errorf("got %v", err)
	}
	_ = d.AddNode("n1", "bad") // programs written for the original ignore the result
	err := db.Ping()
	want := `(the last one was refused: clustersql: cluster "ClusterSql": node "n1": boom)`
	if !errors.Is(err, ErrNoNodes) || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("got %v, want it to end in %s", err, want)
	}
	if err := d.AddNode("n1", "n1"); err != nil {
		t.Fatal(err)
	}
	if err := db.Ping(); err != nil {
		t.Errorf("with a node: %v", err)
	}
	_ = d.DelNode("n1")
	if err := db.Ping(); !errors.Is(err, ErrNoNodes) || strings.Contains(err.Error(), "refused") {
		t.Errorf("a refusal is forgotten when a node was added: %v", err)
	}
}

func TestAddConnectorNeedsNoBackend(t *testing.T) {
	b := fakedb.New()
	c, err := b.Driver().(driver.DriverContext).OpenConnector("n1")
	if err != nil {
		t.Fatal(err)
	}
	d := NewDriver(nil, "connectors", quiet)
	defer d.Close()
	if err := d.AddConnector("n1", c); err != nil {
		t.Fatal(err)
	}
	if err := openDB(t, d).Ping(); err != nil {
		t.Error(err)
	}
}

func TestDelNodeLetsWorkEndAndEmptiesThePool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		b.Node("n2").Set(fakedb.Script{Delay: 50 * time.Millisecond})
		d := fakeCluster(t, b, 2)
		db := openDB(t, d)
		ctx := context.Background()
		conn, err := db.Conn(ctx) // on n1, the faster node
		if err != nil {
			t.Fatal(err)
		}
		if err := d.DelNode("n1"); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.ExecContext(ctx, "work"); err != nil {
			t.Errorf("work under way: %v", err)
		}
		conn.Close()
		var node string
		if err := db.QueryRow("q").Scan(&node); err != nil || node != "n2" {
			t.Errorf("answered by %q, %v", node, err)
		}
		synctest.Wait()
		if live := b.Node("n1").Stats().Live; live != 0 {
			t.Errorf("%d connections left on the removed node", live)
		}
		if err := d.AddNode("n1", "n1"); err != nil {
			t.Errorf("the name is free again: %v", err)
		}
	})
}

func TestPoolGivesUpConnectionsOfANodeThatWentDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		b.Node("n2").Set(fakedb.Script{Delay: 50 * time.Millisecond})
		d := fakeCluster(t, b, 2)
		db := openDB(t, d)
		if err := db.Ping(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // for the first probes: they are to find the node well
		b.Node("n1").SetHealth(errBoom, 0, false)
		time.Sleep(2 * time.Second)
		for range 5 {
			var node string
			if err := db.QueryRow("q").Scan(&node); err != nil || node != "n2" {
				t.Errorf("answered by %q, %v", node, err)
			}
		}
		s := d.Status().Nodes[0]
		if s.State != StateDown || s.Generation != 1 || s.OpenConns != 0 || s.Reason != "not ready: boom" {
			t.Errorf("n1: %+v", s)
		}
		b.Node("n1").SetHealth(nil, 0, false)
		time.Sleep(20 * time.Second)
		if s := d.Status().Nodes[0]; s.State != StateUp || s.Generation != 1 {
			t.Errorf("n1 did not come back: %+v", s)
		}
	})
}

// A node that accepts no new connection is down and stays down, although its
// old connections still work.
func TestNodeThatTakesNoNewConnectionStaysDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		b.Node("n2").Set(fakedb.Script{Delay: time.Millisecond})
		d := fakeCluster(t, b, 2)
		db := openDB(t, d)
		db.SetMaxIdleConns(-1)
		time.Sleep(2 * time.Millisecond)
		b.Node("n1").Set(fakedb.Script{Err: errRefused})
		for range 30 {
			if err := db.Ping(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		if s := d.Status().Nodes[0]; s.State != StateDown || s.Generation != 0 || s.Opens != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// A silent node is found by two probes: within probe_interval plus 20 percent,
// and twice probe_timeout.
func TestSilentNodeIsDownInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d := fakeCluster(t, b, 2)
		openDB(t, d)
		synctest.Wait()
		b.Node("n1").SetHealth(nil, 0, true)
		time.Sleep(2400 * time.Millisecond)
		synctest.Wait()
		if s := d.Status().Nodes[0]; s.State != StateDown {
			t.Errorf("n1 is %v", s.State)
		}
		if s := d.Status().Nodes[1]; s.State != StateUp {
			t.Errorf("n2 is %v", s.State)
		}
	})
}

func TestExpiredCallerIsNotCharged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		b.Node("n1").Set(fakedb.Script{Delay: 100 * time.Millisecond})
		d := fakeCluster(t, b, 1)
		db := openDB(t, d)
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		began := time.Now()
		err := db.PingContext(ctx)
		if took := time.Since(began); took != 20*time.Millisecond || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after %v: %v", took, err)
		}
		time.Sleep(5 * time.Second)
		if s := d.Status().Nodes[0]; s.State != StateUp || s.Errors != 0 || s.Lost != 1 {
			t.Errorf("%+v", s)
		}
		db.Close()
		wantNothingLeft(t, b)
	})
}

// A caller who leaves breaks the connection, as with go-sql-driver. That says
// nothing about the node. A connection that breaks by itself makes the node
// suspect.
func TestCancelledQuerySaysNothingAboutTheNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		node := b.Node("n1")
		var log bytes.Buffer
		d := fakeCluster(t, b, 1, WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
		db := openDB(t, d)
		synctest.Wait()
		for range 3 {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
			node.OnStatement(func(ctx context.Context, _ string, _ []driver.NamedValue) error {
				<-ctx.Done()
				return ctx.Err()
			})
			_, err := db.ExecContext(ctx, "long")
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
		}
		synctest.Wait()
		if s := d.Status().Nodes[0]; s.State != StateUp || !s.LastError.IsZero() || strings.Contains(log.String(), "suspect") {
			t.Errorf("%+v\n%s", s, &log)
		}
		node.OnStatement(func(context.Context, string, []driver.NamedValue) error { return io.ErrUnexpectedEOF })
		if _, err := db.Exec("broken"); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("got %v", err)
		}
		synctest.Wait()
		if s := d.Status().Nodes[0]; s.LastError.IsZero() || !strings.Contains(log.String(), "connections lost") {
			t.Errorf("%+v\n%s", s, &log)
		}
	})
}

func TestOpenTimeoutBoundsOpensWithoutADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		until := make(chan struct{})
		b.Node("n1").Set(fakedb.Script{Deaf: true, Until: until})
		d := NewDriver(b.LegacyDriver(), t.Name(), quiet, WithMaxOpensPerNode(1))
		if err := d.AddNode("n1", "n1"); err != nil {
			t.Fatal(err)
		}
		c := d.Connector().(*connector)
		for i := range 2 {
			began := time.Now()
			_, err := c.Connect(context.Background())
			if took := time.Since(began); took != 10*time.Second {
				t.Errorf("open %d after %v: %v", i, took, err)
			}
			wantOpenError(t, err, 1)
			if i == 0 && !errors.Is(err, ErrAttemptTimeout) {
				t.Errorf("got %v", err)
			}
		}
		began := time.Now()
		c.Close()
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("Close waited %v for a backend that is deaf", took)
		}
		if deaf := d.Status().Nodes[0].Deaf; deaf < 2 || deaf > 3 {
			t.Errorf("%d deaf, want an attempt, and a probe or two", deaf)
		}
		close(until)
		synctest.Wait()
		wantNothingLeft(t, b)
		if s := d.Status().Nodes[0]; s.Deaf != 0 || s.Attempts != 0 {
			t.Errorf("left: %+v", s)
		}
	})
}

func TestDeafNodeHoldsBackNobodyButClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		until := make(chan struct{})
		b.Node("n1").Set(fakedb.Script{Deaf: true, Until: until})
		d := fakeCluster(t, b, 3)
		db := openDB(t, d)
		synctest.Wait() // n1's probe hangs
		db.SetMaxIdleConns(0)
		for range 100 {
			began := time.Now()
			if err := db.Ping(); err != nil || time.Since(began) != 0 {
				t.Fatalf("after %v: %v", time.Since(began), err)
			}
		}
		if dialing := b.Node("n1").Stats().Dialing; dialing > 9 {
			t.Errorf("%d calls hang in the backend; 8 attempts and a probe may", dialing)
		}
		began := time.Now()
		db.Close()
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("Close waited %v", took)
		}
		// After a close, a new open does not wait for what is left of the time
		// before.
		began = time.Now()
		if err := openDB(t, d).Ping(); err != nil || time.Since(began) != 0 {
			t.Errorf("a second life after %v: %v", time.Since(began), err)
		}
		close(until)
	})
}

func TestReleasedAttemptThatHasNotStartedNeverStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		b.Node("n1").Set(fakedb.Script{Delay: 500 * time.Millisecond})
		b.Node("n2").Set(fakedb.Script{Delay: time.Millisecond}) // n1 is asked before this one wins
		d := fakeCluster(t, b, 2, WithMaxOpensPerNode(2))
		db := openDB(t, d)
		db.SetMaxIdleConns(0)
		for range 50 {
			if err := db.Ping(); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(400 * time.Millisecond)
		if s := b.Node("n1").Stats(); s.Connects != 3 {
			t.Errorf("%d connects on the slow node, want two attempts and the probe", s.Connects)
		}
		time.Sleep(time.Second)
		if s := b.Node("n1").Stats(); s.Connects != 3 || s.Live != 1 {
			t.Errorf("%d connects on the slow node and %d live, want 3 and the probe's", s.Connects, s.Live)
		}
	})
}

// A loser has loser_grace to finish its handshake, and is then closed. The
// values of the caller's context reach the backend, its cancel does not.
func TestLoserFinishesWithinTheGrace(t *testing.T) {
	for _, tc := range []struct{ delay, opened int }{{900, 1}, {1100, 0}} {
		synctest.Test(t, func(t *testing.T) {
			b := fakedb.New()
			b.Node("n2").Set(fakedb.Script{Delay: time.Millisecond})
			loser := b.Node("n1")
			loser.Enqueue(fakedb.Script{}) // for the probe
			loser.Set(fakedb.Script{Delay: time.Duration(tc.delay) * time.Millisecond})
			d := fakeCluster(t, b, 2)
			c := d.Connector()
			time.Sleep(time.Millisecond)
			ctx, cancel := context.WithCancel(context.Background())
			conn, err := c.Connect(ctx)
			if err != nil {
				t.Fatal(err)
			}
			cancel()
			time.Sleep(1500 * time.Millisecond)
			if s := loser.Stats(); s.Opens != 1+tc.opened || s.Closes != tc.opened {
				t.Errorf("a loser of %d ms: %v", tc.delay, s)
			}
			if s := d.Status().Nodes[0]; s.Lost != 1 || s.Errors != 0 || s.State != StateUp {
				t.Errorf("%+v", s)
			}
			conn.Close()
			c.(*connector).Close()
			wantNothingLeft(t, b)
		})
	}
}

func TestPanicIsContainedAndLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		b.Node("n1").Set(fakedb.Script{Panic: "aargh"})
		b.Node("n2").Enqueue(fakedb.Script{ClosePanic: "ouch"}) // for the probe
		var log bytes.Buffer
		d := NewDriver(b.Driver(), t.Name(), WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
		for i := range 2 {
			if err := d.AddNode(nodeName(i), nodeName(i)); err != nil {
				t.Fatal(err)
			}
		}
		db := openDB(t, d)
		synctest.Wait()
		if err := db.Ping(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		s := d.Status().Nodes[0]
		if s.State != StateDown || s.Probes < 3 || !strings.Contains(s.Reason, "the backend panicked in Connect: aargh") {
			t.Errorf("%+v", s)
		}
		b.Node("n1").Set(fakedb.Script{})
		time.Sleep(10 * time.Second)
		if s := d.Status().Nodes[0]; s.State != StateUp {
			t.Errorf("the actor did not outlive the panic: %+v", s)
		}
		d.Close()
		for _, want := range []string{"backend panicked", "aargh", "ouch", "fakedb.(*Node).connect"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("the log lacks %q", want)
			}
		}
	})
}

func TestConnWithAnErrorIsNeverTouched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		for i, s := range []fakedb.Script{{Err: errBoom, ConnWithErr: true}, {Err: errBoom, TypedNil: true}, {NilConn: true}} {
			b.Node(nodeName(i)).Set(s)
		}
		d := fakeCluster(t, b, 3)
		db := openDB(t, d)
		err := db.Ping()
		wantOpenError(t, err, 3)
		if !strings.Contains(err.Error(), "boom") || !strings.Contains(err.Error(), "neither a connection nor an error") {
			t.Error(err)
		}
		db.Close()
		wantNothingLeft(t, b)
	})
}

// If an open's error were the backend's ErrBadConn, database/sql would ask all
// nodes three times.
func TestBadConnOfABackendIsPassedOnAsText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		b.Node("n1").Set(fakedb.Script{Err: fmt.Errorf("wrapped: %w", driver.ErrBadConn)})
		d := fakeCluster(t, b, 1)
		db := openDB(t, d)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		err := db.PingContext(ctx)
		wantOpenError(t, err, 1)
		if s := d.Status().Nodes[0]; s.Opens != 1 || !strings.Contains(err.Error(), "wrapped: driver: bad connection") {
			t.Errorf("%d attempts: %v", s.Opens, err)
		}
	})
}

func TestEverythingAtOnce(t *testing.T) {
	b := fakedb.New()
	d := fakeCluster(t, b, 3)
	var wg sync.WaitGroup
	for i := range 4 {
		name := fmt.Sprintf("extra%d", i)
		wg.Go(func() {
			for range 200 {
				if err := d.AddNode(name, name); err != nil {
					t.Error(err)
				}
				d.Nodes()
				d.Status()
				if err := d.DelNode(name); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for range 50 {
				db := sql.OpenDB(d.Connector())
				if err := db.Ping(); err != nil {
					t.Error(err)
				}
				db.Close()
			}
		})
		wg.Go(func() {
			for range 100 {
				conn, err := d.Open("")
				if err != nil {
					t.Error(err)
					continue
				}
				conn.Close()
			}
		})
	}
	wg.Wait()
	d.Close()
	d.Close()
	wantNothingLeft(t, b)
}
