package clustersql

import (
	"context"
	"database/sql/driver"
	"errors"
	"math"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql/internal/fakedb"
	"github.com/EnumApps/clustersql/internal/health"
)

// A galeraScript is a fake Galera node whose answers a test changes.
type galeraScript struct {
	cluster, ready, state, readOnly atomic.Value // string
	group                           atomic.Value
	provider                        atomic.Bool
	reject                          atomic.Bool // DO 1 gets 1047
	statuses, works                 atomic.Int64
	conf, seqno                     atomic.Uint64
}

// galeraNode makes n a Synced, writable Galera node.
func galeraNode(n *fakedb.Node) *galeraScript {
	g := new(galeraScript)
	g.cluster.Store("Primary")
	g.ready.Store("ON")
	g.state.Store("4")
	g.readOnly.Store("0")
	g.group.Store("11f1-a")
	g.provider.Store(true)
	g.conf.Store(3)
	n.OnStatement(func(_ context.Context, query string, _ []driver.NamedValue) error {
		switch {
		case strings.HasPrefix(query, "DO 1"):
			g.works.Add(1)
			if g.reject.Load() {
				return &mysql.MySQLError{Number: 1047, Message: "WSREP has not yet prepared node for application use"}
			}
		case strings.HasPrefix(query, "INSERT") && g.readOnly.Load() != "0":
			return &mysql.MySQLError{Number: 1290, Message: "running with the --read-only option"}
		}
		return nil
	})
	n.OnQuery(g.answer)
	return g
}

func (g *galeraScript) answer(query string) ([][]driver.Value, bool) {
	switch {
	case strings.HasPrefix(query, "SELECT @@GLOBAL.read_only"):
		return [][]driver.Value{{g.readOnly.Load()}}, true
	case strings.HasPrefix(query, "SHOW GLOBAL STATUS"):
		g.statuses.Add(1)
		if !g.provider.Load() {
			return nil, true
		}
		text := func(v *atomic.Value) driver.Value { return []byte(v.Load().(string)) }
		return [][]driver.Value{
			{"wsrep_cluster_status", text(&g.cluster)},
			{"wsrep_local_state", text(&g.state)},
			{"wsrep_provider_name", "Galera"},
			{"wsrep_ready", text(&g.ready)},
			{"wsrep_cluster_state_uuid", text(&g.group)},
			{"wsrep_last_committed", strconv.FormatUint(g.seqno.Load(), 10)},
			{"wsrep_cluster_conf_id", strconv.FormatUint(g.conf.Load(), 10)},
		}, true
	}
	return nil, false
}

// A situation is one combination of what the rules below look at.
type situation struct {
	cluster, ready, state          string
	desync, reject, readOnly       bool
	donorAllowed, writableRequired bool
}

func situations(visit func(situation)) {
	flags := []bool{false, true}
	for _, cluster := range []string{"Primary", "non-Primary", "Disconnected"} {
		for _, ready := range []string{"ON", "OFF"} {
			for _, state := range []string{"0", "1", "2", "3", "4"} {
				for bits := range 1 << 5 {
					on := func(i int) bool { return flags[bits>>i&1] }
					visit(situation{cluster, ready, state, on(0), on(1), on(2), on(3), on(4)})
				}
			}
		}
	}
}

// The rules of others, in our words: MaxScale's galeramon, ProxySQL's Galera
// monitor for writers, and clustercheck for HAProxy.
func (s situation) galeramon() bool {
	return s.ready == "ON" && !s.desync && !s.reject && (s.state == "4" || s.state == "2" && s.donorAllowed)
}

func (s situation) proxySQL() bool {
	return s.cluster == "Primary" && !s.desync && s.state == "4" && !s.reject && !(s.readOnly && s.writableRequired)
}

func (s situation) clustercheck() bool {
	return (s.state == "4" || s.state == "2" && s.donorAllowed) && !(s.readOnly && s.writableRequired)
}

// Every combination, through the check that a cluster runs, against the rule
// as one sentence; and where the others decide otherwise, the reason.
func TestGaleraTruthTable(t *testing.T) {
	const (
		onlyAnswer = "clustercheck asks for the state alone, and believes a node that is cut off, not ready or refusing"
		noCluster  = "galeramon counts members itself instead of asking for wsrep_cluster_status"
		noReadOnly = "galeramon leaves read_only to its router"
		noReady    = "ProxySQL does not look at wsrep_ready"
		donorIn    = "a donor or desynced node is put last by us, where they take it out: at every return of a node another is donor"
	)
	fakes := fakedb.New()
	g := galeraNode(fakes.Node("n"))
	conn, err := fakes.Driver().Open("n")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	seen, reasons := 0, map[string]int{}
	situations(func(s situation) {
		seen++
		g.cluster.Store(s.cluster)
		g.ready.Store(s.ready)
		g.state.Store(s.state)
		g.reject.Store(s.reject)
		g.readOnly.Store(map[bool]string{false: "OFF", true: "ON"}[s.readOnly])
		cfg := Config{Check: CheckGalera, AllowDonor: s.donorAllowed}
		if s.writableRequired {
			cfg.Require = RequireWritable
		}
		ctx, found := withFinding(t.Context(), health.ScopeStatus)
		fit := cfg.fitness(true)(ctx, conn) == nil

		want := s.cluster == "Primary" && s.ready == "ON" && (s.state == "4" || s.state == "2") && !s.reject && !(s.readOnly && s.writableRequired)
		last := want && s.state == "2" && !s.donorAllowed
		if fit != want || fit && found.Donor != last {
			t.Errorf("%+v: fit %v, last %v; want %v, %v", s, fit, found.Donor, want, last)
		}
		explain := func(theirs bool, why ...string) {
			if theirs == fit {
				return
			}
			for _, w := range why {
				if w != "" {
					reasons[w]++
					return
				}
			}
			t.Errorf("%+v: ours %v, theirs %v, and no reason", s, fit, theirs)
		}
		only := func(cond bool, why string) string {
			if cond {
				return why
			}
			return ""
		}
		donor := fit && (s.state == "2" || s.desync)
		explain(s.galeramon(), only(donor, donorIn), only(s.cluster != "Primary", noCluster), only(s.readOnly, noReadOnly))
		explain(s.proxySQL(), only(donor, donorIn), only(s.ready != "ON", noReady))
		explain(s.clustercheck(), only(donor, donorIn), only(s.cluster != "Primary" || s.ready != "ON" || s.reject, onlyAnswer))
	})
	if seen != 3*2*5*32 || len(reasons) != 5 {
		t.Errorf("%d situations, reasons %v", seen, reasons)
	}
	if s := fakes.Stats(); s.UsedAfterClose+s.Concurrent != 0 {
		t.Error(s)
	}
}

func TestGaleraCheckNeedsAProvider(t *testing.T) {
	fakes := fakedb.New()
	g := galeraNode(fakes.Node("n"))
	g.provider.Store(false)
	conn, err := fakes.Driver().Open("n")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	err = CheckGalera(t.Context(), conn)
	if err == nil || !strings.Contains(err.Error(), `use check = "do1"`) || health.Classify(err, mysqlClass) != health.Misconfigured {
		t.Errorf("%v, class %v", err, health.Classify(err, mysqlClass))
	}
	if _, err := (wsrepStatus{cluster: "Disconnected", ready: "OFF", state: "0"}).verdict(false); health.Classify(err, mysqlClass) != health.Misconfigured {
		t.Errorf("a server whose provider is not loaded: %v", err)
	}
}

func TestCheckQueryTruth(t *testing.T) {
	cases := []struct {
		table [][]driver.Value
		fit   bool
	}{
		{[][]driver.Value{{true}}, true}, {[][]driver.Value{{int64(1)}}, true}, {[][]driver.Value{{int64(-2)}}, true},
		{[][]driver.Value{{0.5}}, true}, {[][]driver.Value{{[]byte("1")}}, true}, {[][]driver.Value{{"ON"}}, true},
		{[][]driver.Value{{"t"}}, true}, {[][]driver.Value{{[]byte("True")}}, true}, {[][]driver.Value{{"yes", "x"}}, true},
		{[][]driver.Value{{false}}, false}, {[][]driver.Value{{int64(0)}}, false}, {[][]driver.Value{{nil}}, false},
		{[][]driver.Value{{""}}, false}, {[][]driver.Value{{"OFF"}}, false}, {[][]driver.Value{{"0.0"}}, false},
		{[][]driver.Value{{math.NaN()}}, false}, {[][]driver.Value{{"perhaps"}}, false},
		{nil, false}, {[][]driver.Value{{true}, {true}}, false}, {[][]driver.Value{{}}, false},
	}
	for _, tc := range cases {
		fakes := fakedb.New()
		fakes.Node("n").OnQuery(func(string) ([][]driver.Value, bool) { return tc.table, true })
		conn, err := fakes.Driver().Open("n")
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []driver.Conn{conn, preparesOnly{conn}} {
			cfg := Config{CheckQuery: "SELECT fit"}
			if err := cfg.fitness(false)(t.Context(), c); (err == nil) != tc.fit {
				t.Errorf("%v on a %T: %v", tc.table, c, err)
			}
		}
		conn.Close()
	}
}

// preparesOnly hides every optional interface.
type preparesOnly struct{ driver.Conn }

func TestRequireNeedsMySQL(t *testing.T) {
	var setting *SettingError
	b := fakedb.New()
	d := NewDriver(b.Driver(), t.Name(), WithRequire("writable"))
	if err := d.AddNode("n", "n"); !errors.As(err, &setting) || setting.Key != "require" || !strings.Contains(err.Error(), "check_query") {
		t.Error(err)
	}
	d = NewDriver(mysql.MySQLDriver{}, t.Name()+"2", WithRequire("writeable"))
	if err := d.AddNode("n", "tcp(h:1)/"); !errors.As(err, &setting) || !strings.Contains(err.Error(), `use "writable"`) {
		t.Error(err)
	}
	d = NewDriver(mysql.MySQLDriver{}, t.Name()+"3", WithDonors(false, 0))
	if err := d.AddNode("n", "tcp(h:1)/"); !errors.As(err, &setting) || setting.Key != "donor_after" {
		t.Error(err)
	}
	d = NewDriver(mysql.MySQLDriver{}, t.Name()+"4", WithRequire("writable"), WithDonors(true, time.Minute), WithCheckQuery("SELECT 1"))
	if err := d.AddNode("n", "tcp(h:1)/"); err != nil {
		t.Error(err)
	}
	d.Close()
}

func TestStatusIsAskedOnEveryFifthProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		g := galeraNode(b.Node("n1"))
		d := fakeCluster(t, b, 1, WithCheck(CheckGalera))
		openDB(t, d)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		works, statuses := g.works.Load(), g.statuses.Load()
		if works < 250 || statuses < works/5 || statuses > works/5+2 {
			t.Errorf("%d status queries in %d probes", statuses, works)
		}
	})
}

// A donor is asked after the others, is taken out after donor_after, and comes
// back only by a check that has seen the status: DO 1 passes all the while.
func TestDonorIsLastThenDownThenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		g := galeraNode(b.Node("n1"))
		galeraNode(b.Node("n2"))
		d := fakeCluster(t, b, 2, WithCheck(CheckGalera))
		db := openDB(t, d)
		db.SetMaxIdleConns(-1)
		ping := func(times int) {
			t.Helper()
			for range times {
				if err := db.Ping(); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Wait()
		}
		until := func(limit time.Duration, what string, cond func(NodeStatus) bool) time.Duration {
			t.Helper()
			for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
				synctest.Wait()
				if cond(d.Status().Nodes[0]) {
					return time.Since(began)
				}
				if time.Since(began) > limit {
					t.Fatalf("not %s after %s: %+v", what, limit, d.Status().Nodes[0])
				}
			}
		}
		synctest.Wait()
		g.state.Store("2")
		until(7*time.Second, "a donor", func(s NodeStatus) bool { return s.Donor })
		before := d.Status().Nodes[0]
		ping(50)
		if s := d.Status().Nodes[0]; s.Won != before.Won || s.Opens != before.Opens || s.State != StateUp || s.Generation != before.Generation {
			t.Errorf("a donor was asked, or lost its connections: %+v", s)
		}
		b.Node("n2").Set(fakedb.Script{Err: errBoom})
		ping(1)
		if s := d.Status().Nodes[0]; s.Won != before.Won+1 {
			t.Errorf("the donor did not stand in: %+v", s)
		}
		b.Node("n2").Set(fakedb.Script{})
		took := until(10*time.Second, "drained", func(s NodeStatus) bool { return s.State == StateDown })
		if s := d.Status().Nodes[0]; took < 4*time.Second || took > 8*time.Second || s.Generation != before.Generation+1 || !strings.Contains(s.Reason, "allow_donor") {
			t.Errorf("after %s: %+v", took, s)
		}
		time.Sleep(time.Minute)
		if s := d.Status().Nodes[0]; s.State != StateDown {
			t.Errorf("back while it still is a donor: %+v", s)
		}
		g.state.Store("4")
		until(6*time.Second, "back", func(s NodeStatus) bool { return s.State == StateUp && !s.Donor })
	})
}

func TestAllowedDonorIsAsGoodAsAny(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		galeraNode(b.Node("n1")).state.Store("2")
		d := fakeCluster(t, b, 1, WithCheck(CheckGalera), WithDonors(true, time.Second))
		openDB(t, d)
		time.Sleep(time.Minute)
		synctest.Wait()
		if s := d.Status().Nodes[0]; s.State != StateUp || s.Donor || s.Generation != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// Where writable is required, the first write that a read-only node refuses
// takes it down, and it is back when read_only is OFF. A READ ONLY
// transaction's own error takes nothing down, nor does either where writable
// is not required.
func TestReadOnlyNode(t *testing.T) {
	for _, require := range []Require{RequireAny, RequireWritable} {
		synctest.Test(t, func(t *testing.T) {
			b := fakedb.New()
			g := galeraNode(b.Node("n1"))
			d := fakeCluster(t, b, 1, WithCheck(CheckDo1), WithRequire(require))
			db := openDB(t, d)
			if err := db.Ping(); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			g.readOnly.Store("1")
			if _, err := db.Exec("INSERT"); err == nil {
				t.Error("the fake took a write")
			}
			synctest.Wait()
			want := map[string]State{"": StateUp, "writable": StateDown}[string(require)]
			if s := d.Status().Nodes[0]; s.State != want {
				t.Errorf("require %q: %+v", require, s)
			}
			time.Sleep(30 * time.Second)
			synctest.Wait()
			if s := d.Status().Nodes[0]; s.State != want {
				t.Errorf("require %q, later: %+v", require, s)
			}
			g.readOnly.Store("0")
			time.Sleep(6 * time.Second)
			synctest.Wait()
			if s := d.Status().Nodes[0]; s.State != StateUp {
				t.Errorf("require %q, writable again: %+v", require, s)
			}
		})
	}
	readOnlyTx := &mysql.MySQLError{Number: 1792, Message: "Cannot execute statement in a READ ONLY transaction"}
	if c := health.ClassifyTraffic(readOnlyTx, mysqlClass, true); c != health.Neutral {
		t.Errorf("1792 is %v", c)
	}
}

// Ping does not see what traffic was told with 1047, so DO 1 is run as well
// until the node does work again.
func TestNodeDownBy1047ComesUpByWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		g := galeraNode(b.Node("n1"))
		d := fakeCluster(t, b, 1, WithCheck(CheckPing))
		db := openDB(t, d)
		if err := db.Ping(); err != nil {
			t.Fatal(err)
		}
		g.reject.Store(true)
		if _, err := db.Exec("DO 1 /* of the program */"); err == nil {
			t.Error("the fake did not refuse")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if s := d.Status().Nodes[0]; s.State != StateDown {
			t.Errorf("Ping brought it back: %+v", s)
		}
		g.reject.Store(false)
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if s := d.Status().Nodes[0]; s.State != StateUp {
			t.Errorf("%+v", s)
		}
	})
}
