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
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql/internal/fakedb"
	"github.com/EnumApps/clustersql/internal/galeratest"
)

// galeraCluster returns a cluster of nodes that answer as Galera nodes do, with
// the mysql dialect.
func galeraCluster(t *testing.T, b *fakedb.Backend, nodes int, opts ...Option) (Driver, []*galeratest.Script) {
	t.Helper()
	d := NewDriver(mysql.MySQLDriver{}, t.Name(), append([]Option{quiet}, opts...)...)
	t.Cleanup(func() { d.Close() })
	var scripts []*galeratest.Script
	for i := range nodes {
		name := nodeName(i)
		scripts = append(scripts, galeratest.Node(b.Node(name)))
		if err := d.AddConnector(name, asMySQL{connectorOf(t, b, name)}); err != nil {
			t.Fatal(err)
		}
	}
	return d, scripts
}

// A node that was silent and is slow when it is back is up again: its dials have
// attempt_timeout, and not what probes of a healthy node need.
func TestSlowNodeComesBackFromSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d := fakeCluster(t, b, 1, WithProbe(500*time.Millisecond, 100*time.Millisecond))
		openDB(t, d)
		time.Sleep(2 * time.Second)
		b.Node("n1").SetMood(fakedb.Mood{Silent: true})
		time.Sleep(30 * time.Second)
		if s := d.Status().Nodes[0]; s.State != StateDown {
			t.Fatalf("%+v", s)
		}
		b.Node("n1").SetMood(fakedb.Mood{Delay: 80 * time.Millisecond}) // of the dial, and of each answer
		time.Sleep(20 * time.Second)
		if s := d.Status().Nodes[0]; s.State != StateUp {
			t.Errorf("%+v", s)
		}
	})
}

// A probe that dials asks more than an open. On a node that is far away it has the
// time for that.
func TestAFreshProbeOfAFarNodeHasTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		var told diary
		d, _ := galeraCluster(t, b, 3, seeded(t), WithProbe(500*time.Millisecond, 100*time.Millisecond), WithRequire(RequireWritable), WithOnEvent(told.write))
		far := fakedb.Mood{Delay: 60 * time.Millisecond}
		for i := range 3 {
			b.Node(nodeName(i)).SetMood(far)
		}
		db := openDB(t, d)
		db.SetMaxIdleConns(-1)
		for range 40 {
			for range 20 { // opens, which ask less
				if err := db.Ping(); err != nil {
					t.Fatal(err)
				}
			}
			b.Node("n1").Break(io.ErrUnexpectedEOF, false)
			time.Sleep(1700 * time.Millisecond)
		}
		for _, e := range told.of("n1", EventState) {
			if strings.Contains(e.Reason, "got no answer") || e.To == StateDown {
				t.Fatalf("%+v", e)
			}
		}
	})
}

// Calls that hang on established connections end only if those are silent. New
// connections that are not answered say nothing about them: a firewall may drop
// their packets, or the server's queue be full.
func TestUnansweredDialsKeepTheConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		b.OnSocket(TrackSocket)
		for i := range 2 {
			b.Node(nodeName(i)).SetMood(fakedb.Mood{})
		}
		d := fakeCluster(t, b, 2, WithStrategy(Ordered), WithRebalance(RebalanceOff, time.Second))
		db := openDB(t, d)
		synctest.Wait()
		fill(t, db, 3)
		b.Node("n1").SetMood(fakedb.Mood{Filtered: true})
		for i := range 2 {
			conn, err := d.Connector().Connect(t.Context())
			if err != nil {
				t.Fatal(i, err)
			}
			defer conn.Close()
		}
		time.Sleep(time.Minute)
		s := d.Status().Nodes[0]
		if s.State != StateDown || s.Generation != 0 || s.OpenConns != 3 {
			t.Errorf("%+v", s)
		}
		for range 3 {
			if _, err := db.Exec("INSERT"); err != nil {
				t.Error(err)
			}
		}
		b.Node("n1").SetMood(fakedb.Mood{})
		time.Sleep(20 * time.Second)
		if s := d.Status().Nodes[0]; s.State != StateUp || s.OpenConns != 3 {
			t.Errorf("%+v", s)
		}
	})
}

// The probe's connection was silent, and new ones are refused from then on. A session that
// gets its answers shows that the silence is over: it is not cut. When new dials get no
// answer either, and nothing more is heard, it is.
func TestAnswersOfSessionsEndTheSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		b.OnSocket(TrackSocket)
		var told diary
		d, _ := galeraCluster(t, b, 2, seeded(t), WithStrategy(Ordered), WithOnEvent(told.write))
		for i := range 2 {
			b.Node(nodeName(i)).SetMood(fakedb.Mood{Delay: time.Millisecond})
		}
		conn, err := openDB(t, d).Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		time.Sleep(5 * time.Second)
		refused := syscall.ECONNREFUSED
		b.Node("n1").SetMood(fakedb.Mood{Dial: refused, Timeout: 50 * time.Millisecond, Takes: func(query string) time.Duration {
			if query == "" { // a dial
				return time.Millisecond
			}
			return time.Hour
		}})
		time.Sleep(1500 * time.Millisecond) // a probe
		b.Node("n1").SetMood(fakedb.Mood{Delay: time.Millisecond, Dial: refused})
		for range 60 {
			if _, err := conn.ExecContext(t.Context(), "INSERT"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		time.Sleep(30 * time.Second) // idle
		if _, err := conn.ExecContext(t.Context(), "INSERT"); err != nil {
			t.Fatal(err)
		}
		if s := d.Status().Nodes[0]; s.State != StateDown {
			t.Errorf("%+v", s)
		}
		if e := told.of("n1", EventCut, EventRetired); len(e) > 0 {
			t.Errorf("%+v", e)
		}
		b.Node("n1").SetMood(fakedb.Mood{Silent: true})
		began := time.Now()
		if _, err := conn.ExecContext(t.Context(), "INSERT"); err == nil {
			t.Error("a silent node has answered")
		}
		if took := time.Since(began); took > 25*time.Second { // hang_limit, and a dial that began late
			t.Errorf("the call returned after %s", took)
		}
	})
}

// The server may end the probe's own connection: wait_timeout, an operator's
// KILL. The node is up all along.
func TestTheEndOfTheProbesConnectionIsNoDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var states []Event
		b := fakedb.New()
		b.Node("n1").SetMood(fakedb.Mood{})
		d := fakeCluster(t, b, 1, WithRiseFall(2, 1), WithOnEvent(func(e Event) {
			mu.Lock()
			defer mu.Unlock()
			states = append(states, e)
		}))
		db := openDB(t, d)
		time.Sleep(time.Second)
		for range 20 {
			b.Node("n1").Break(io.ErrUnexpectedEOF, false)
			time.Sleep(1300 * time.Millisecond)
			if err := db.Ping(); err != nil {
				t.Error(err)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		for _, e := range states {
			if e.Kind == EventState && e.From != StateUnknown {
				t.Errorf("%+v", e)
			}
		}
	})
}

// When all nodes are silent at once, it may be the group's pause, the network or
// this program. Nothing is retired or cut until hang_limit. Opens wait.
func TestAllSilentAtOnce(t *testing.T) {
	for _, pause := range []time.Duration{6 * time.Second, time.Minute} {
		t.Run(pause.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { allSilent(t, pause) })
		})
	}
}

func allSilent(t *testing.T, pause time.Duration) {
	b := fakedb.New()
	b.OnSocket(TrackSocket)
	for i := range 3 {
		b.Node(nodeName(i)).SetMood(fakedb.Mood{})
	}
	d := fakeCluster(t, b, 3, WithOpenTimeout(2*time.Minute), WithAttemptTimeout(3*time.Second))
	db := openDB(t, d)
	synctest.Wait()
	fill(t, db, 4)
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for i := range 3 {
		b.Node(nodeName(i)).SetMood(fakedb.Mood{Silent: true})
	}
	began := time.Now()
	var ends sync.WaitGroup
	ends.Go(func() {
		_, err := conn.ExecContext(context.Background(), "UPDATE")
		took := time.Since(began)
		if pause < 15*time.Second {
			if err != nil || took < pause {
				t.Errorf("the statement ended after %v: %v", took, err)
			}
			return
		}
		// The silence is found within an interval and a timeout; then hang_limit runs.
		if most := 15*time.Second + 1800*time.Millisecond; !errors.Is(err, errCut) || took < 15*time.Second || took > most {
			t.Errorf("the statement ended after %v: %v", took, err)
		}
	})
	ends.Go(func() {
		c, err := d.Connector().Connect(context.Background())
		if took := time.Since(began); err != nil || took < pause || took > pause+6*time.Second {
			t.Errorf("the open ended after %v: %v", took, err)
		} else {
			c.Close()
		}
	})
	time.Sleep(pause)
	for i := range 3 {
		b.Node(nodeName(i)).SetMood(fakedb.Mood{})
	}
	ends.Wait()
	time.Sleep(20 * time.Second)
	for _, s := range d.Status().Nodes {
		if s.State != StateUp || pause < 15*time.Second && s.Generation != 0 {
			t.Errorf("%+v", s)
		}
	}
}

// A short silence of all, and then dials that fail for a reason of this
// program's: nobody knows whether the established connections work. They are not
// cut for that.
func TestOwnTroubleAfterASilenceCutsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		b.OnSocket(TrackSocket)
		set := func(m fakedb.Mood) {
			for i := range 2 {
				b.Node(nodeName(i)).SetMood(m)
			}
		}
		set(fakedb.Mood{})
		d := fakeCluster(t, b, 2)
		db := openDB(t, d)
		synctest.Wait()
		fill(t, db, 2)
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		set(fakedb.Mood{Silent: true})
		time.Sleep(2500 * time.Millisecond)
		set(fakedb.Mood{Dial: syscall.EMFILE})
		for range 12 {
			time.Sleep(5 * time.Second)
			if _, err := conn.ExecContext(t.Context(), "INSERT"); err != nil {
				t.Fatal(err)
			}
		}
		set(fakedb.Mood{})
		time.Sleep(20 * time.Second)
		for _, s := range d.Status().Nodes {
			if s.State != StateUp || s.Generation != 0 {
				t.Errorf("%+v", s)
			}
		}
	})
}

// A check that has to ask names its own causal wait: beside a node that dies, a
// SELECT with the DSN's would wait for the group and count as silence.
func TestChecksDoNotWaitForTheGroup(t *testing.T) {
	for name, opts := range map[string][]Option{
		"writable":    {WithRequire(RequireWritable)},
		"check_query": {WithCheckQuery("SELECT @@GLOBAL.read_only")},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				d, g := galeraCluster(t, b, 1, append(opts, WithStrategy(Ordered))...)
				if name == "check_query" {
					g[0].ReadOnly.Store("1") // which this query takes for fit
				}
				var queries sync.Map
				b.Node("n1").OnStatement(func(_ context.Context, query string, _ []driver.NamedValue) error {
					queries.Store(query, true)
					return nil
				})
				db := openDB(t, d)
				db.SetMaxIdleConns(-1)
				time.Sleep(10 * time.Second) // the node has shown its group
				queries.Clear()
				if err := db.Ping(); err != nil {
					t.Fatal(err)
				}
				seen := ""
				queries.Range(func(q, _ any) bool { seen += q.(string) + "\n"; return true })
				if !strings.Contains(seen, "SET STATEMENT wsrep_sync_wait=0 FOR */ SELECT") {
					t.Errorf("an open asked:\n%s", seen)
				}
			})
		})
	}
}

// A connection of a probe has settings of ours, whatever the DSN and the server
// make of a session.
func TestProbesHaveSettingsOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d, _ := galeraCluster(t, b, 1)
		var first atomic.Value
		var sets atomic.Int64
		b.Node("n1").OnStatement(func(_ context.Context, query string, _ []driver.NamedValue) error {
			first.CompareAndSwap(nil, query)
			if strings.HasPrefix(query, "SET SESSION") {
				sets.Add(1)
				if strings.Contains(query, "wsrep") {
					return &mysql.MySQLError{Number: 1193, Message: "Unknown system variable 'wsrep_sync_wait'"}
				}
			}
			return nil
		})
		c := d.Connector().(*connector)
		defer c.Close()
		time.Sleep(time.Minute)
		if q := first.Load(); q != "SET SESSION autocommit=1, wait_timeout=28800, wsrep_sync_wait=0" || sets.Load() != 2 {
			t.Errorf("first %q, %d SETs: a server without wsrep is asked a second time", q, sets.Load())
		}
		if s := d.Status().Nodes[0]; s.State != StateUp {
			t.Errorf("%+v", s)
		}
	})
}

// A query of the program's may begin a transaction where autocommit is off. The
// check ends it, on a connection that the program is to get too.
func TestCheckLeavesNoTransaction(t *testing.T) {
	own := func(ctx context.Context, backend driver.Conn) error {
		_, err := QueryRow(ctx, backend, "SELECT @@GLOBAL.read_only")
		return err
	}
	for name, opt := range map[string]Option{"check_query": WithCheckQuery("SELECT @@GLOBAL.read_only"), "a check of the program": WithCheck(own)} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				d, g := galeraCluster(t, b, 1, opt)
				g[0].ReadOnly.Store("1") // which the query takes for fit
				var mu sync.Mutex
				var log []string
				b.Node("n1").OnStatement(func(_ context.Context, query string, _ []driver.NamedValue) error {
					mu.Lock()
					defer mu.Unlock()
					log = append(log, query)
					return nil
				})
				db := openDB(t, d)
				if _, err := db.Exec("INSERT"); err != nil {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Second)
				mu.Lock()
				defer mu.Unlock()
				selects, rollbacks := 0, 0
				for _, q := range log {
					switch {
					case strings.HasSuffix(q, "SELECT @@GLOBAL.read_only"):
						selects++
					case q == "ROLLBACK AND NO CHAIN NO RELEASE":
						rollbacks++
					}
				}
				if selects < 10 || rollbacks != selects {
					t.Errorf("%d queries, %d of them ended: %q", selects, rollbacks, log)
				}
			})
		})
	}
}

// The default check of mysql is the galera check where a node runs a provider.
func TestDefaultCheckLooksForAProvider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d, g := galeraCluster(t, b, 3)
		g[2].Provider.Store(false)
		d2 := NewDriver(mysql.MySQLDriver{}, t.Name()+"plain", quiet)
		defer d2.Close()
		if err := d2.AddConnector("n3", asMySQL{connectorOf(t, b, "n3")}); err != nil {
			t.Fatal(err)
		}
		openDB(t, d2)
		if err := d.DelNode("n3"); err != nil {
			t.Fatal(err)
		}
		openDB(t, d)
		time.Sleep(time.Second)
		g[0].State.Store("1") // joining: DO 1 may pass, its status does not
		time.Sleep(10 * time.Second)
		s := d.Status().Nodes
		if s[0].State != StateDown || !strings.Contains(s[0].Reason, "wsrep_local_state") || s[1].State != StateUp {
			t.Errorf("%v %q, %v", s[0].State, s[0].Reason, s[1].State)
		}
		if s := d2.Status().Nodes[0]; s.State != StateUp {
			t.Errorf("a server without a provider: %+v", s)
		}
	})
}

// The last usable node is not taken down for being a donor. While a better one
// is up it is, and it is back at once when that one goes.
func TestTheLastNodeMayBeADonor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d, g := galeraCluster(t, b, 2, WithCheck(CheckGalera))
		db := openDB(t, d)
		time.Sleep(time.Second)
		fail := func(i int) {
			b.Node(nodeName(i)).Set(fakedb.Script{Err: errRefused})
			b.Node(nodeName(i)).SetHealth(io.ErrUnexpectedEOF, 0, false)
		}
		g[1].State.Store("2")
		time.Sleep(15 * time.Second)
		if s := d.Status().Nodes[1]; s.State != StateDown {
			t.Fatalf("beside a better one: %+v", s)
		}
		fail(0)
		began := time.Now()
		for d.Status().Nodes[1].State != StateUp {
			if time.Since(began) > time.Minute {
				t.Fatalf("%+v", d.Status().Nodes)
			}
			time.Sleep(10 * time.Millisecond)
		}
		// The death is found by a probe, within 1.2 s; the donor is asked at once then,
		// at most the first backoff later.
		if took := time.Since(began); took > 1500*time.Millisecond {
			t.Errorf("back after %v", took)
		}
		for range 60 {
			time.Sleep(time.Second)
			if s := d.Status().Nodes[1]; s.State != StateUp {
				t.Fatalf("the last one: %+v", s)
			}
			if _, err := db.Exec("INSERT"); err != nil {
				t.Error(err)
			}
		}
	})
}

// A node that comes back as a group of its own is held, whatever the check, and
// somebody is told.
func TestNodeOfAnotherGroupIsHeld(t *testing.T) {
	for _, check := range []string{"", "do1", "galera", "ping"} {
		for _, group := range []string{"22e2-b", "11f1-a"} { // a new history, or the same one bootstrapped again
			for _, opened := range []bool{false, true} {
				t.Run(fmt.Sprintf("%q, %s, opened %v", check, group, opened), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { heldApart(t, check, group, opened) })
				})
			}
		}
	}
}

func heldApart(t *testing.T, check, group string, opened bool) {
	var mu sync.Mutex
	var told []Event
	b := fakedb.New()
	opts := []Option{WithStrategy(Balanced), seeded(t), WithOnEvent(func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		if e.Kind == EventHeld {
			told = append(told, e)
		}
	})}
	if check != "" {
		opts = append(opts, WithCheck(namedChecks[check]))
	}
	d, g := galeraCluster(t, b, 3, opts...)
	for i := range g {
		g[i].Conf.Store(31)
	}
	db := openDB(t, d)
	db.SetMaxIdleConns(-1)
	if opened { // an open brings the nodes up before their first probe
		for range 9 {
			if err := db.Ping(); err != nil {
				t.Fatal(err)
			}
		}
	}
	time.Sleep(time.Second)
	b.Node("n3").Set(fakedb.Script{Err: errRefused})
	b.Node("n3").SetHealth(io.ErrUnexpectedEOF, 0, false)
	time.Sleep(5 * time.Second)
	g[0].Conf.Store(32)
	g[1].Conf.Store(32)
	g[2].Group.Store(group)
	g[2].Conf.Store(2)
	b.Node("n3").Set(fakedb.Script{})
	b.Node("n3").SetHealth(nil, 0, false)
	won := d.Status().Nodes[2].Won
	for range 600 {
		if err := db.Ping(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	s := d.Status().Nodes[2]
	if s.State != StateDown || !strings.Contains(s.Reason, "another Galera group") || s.Won != won {
		t.Errorf("%d opens: %+v", s.Won-won, s)
	}
	for _, s := range d.Status().Nodes[:2] {
		if s.State != StateUp || s.Generation != 0 {
			t.Errorf("%+v", s)
		}
	}
	mu.Lock()
	if len(told) != 1 || told[0].Node != "n3" {
		t.Errorf("told %d times: %v", len(told), told)
	}
	mu.Unlock()
	g[2].Group.Store("11f1-a") // it joins the others
	for i := range g {
		g[i].Conf.Store(33)
	}
	time.Sleep(20 * time.Second)
	if s := d.Status().Nodes[2]; s.State != StateUp {
		t.Errorf("it has joined: %+v", s)
	}
}

// A cluster whose nodes are two groups from its start uses one of them, and both
// if it may.
func TestTwoGroupsFromTheStart(t *testing.T) {
	for _, groups := range []Groups{GroupsOne, GroupsAny} {
		t.Run(string(groups), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				d, g := galeraCluster(t, b, 3, WithGroups(groups))
				g[0].Group.Store("22e2-b")
				openDB(t, d)
				time.Sleep(20 * time.Second)
				want := StateDown
				if groups == GroupsAny {
					want = StateUp
				}
				if s := d.Status().Nodes; s[0].State != want || s[1].State != StateUp || s[2].State != StateUp {
					t.Errorf("%v %v %v: %s", s[0].State, s[1].State, s[2].State, s[0].Reason)
				}
			})
		})
	}
}

// A new view reaches the nodes one after the other. Nobody is taken down for
// that.
func TestViewsThatChangeTakeNobodyDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d, g := galeraCluster(t, b, 3)
		openDB(t, d)
		time.Sleep(time.Second)
		for conf := uint64(4); conf < 40; conf++ {
			for i := range g {
				g[i].Conf.Store(conf)
				time.Sleep(700 * time.Millisecond)
				for _, s := range d.Status().Nodes {
					if s.State != StateUp {
						t.Fatalf("view %d: %+v", conf, s)
					}
				}
			}
		}
	})
}

// Two names for one server are told of once, and have one share.
func TestTwoNamesForOneServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		var log bytes.Buffer
		d, g := galeraCluster(t, b, 3, WithStrategy(Balanced), seeded(t), WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
		for i := range g {
			id := i
			if i == 2 {
				id = 0 // n3 is n1's other name
			}
			g[i].Server.Store(fmt.Sprintf("server-number-%04d-of-four", id))
		}
		db := openDB(t, d)
		time.Sleep(5 * time.Second)
		var held []*sql.Conn
		for range 30 {
			conn, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			held = append(held, conn)
		}
		s := d.Status().Nodes
		if s[2].SameAs != "n1" || s[0].SameAs != "" || s[2].OpenConns != 0 || s[0].OpenConns != 15 || s[1].OpenConns != 15 {
			t.Errorf("%d %d %d connections; n3 is %q", s[0].OpenConns, s[1].OpenConns, s[2].OpenConns, s[2].SameAs)
		}
		for _, conn := range held {
			conn.Close()
		}
		b.Node("n1").Set(fakedb.Script{Err: errRefused}) // a name that leads nowhere any more
		b.Node("n1").SetHealth(io.ErrUnexpectedEOF, 0, false)
		time.Sleep(5 * time.Second)
		conns := 0
		for range 30 {
			conn, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conns++
		}
		if s := d.Status().Nodes; s[2].OpenConns == 0 {
			t.Errorf("the other name is not used: %+v", s[2])
		}
		synctest.Wait() // for the lines under way
		if n := strings.Count(log.String(), "one server under two names"); n != 1 {
			t.Errorf("told %d times:\n%s", n, &log)
		}
	})
}
