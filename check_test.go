package clustersql

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql/internal/dialects"
	"github.com/EnumApps/clustersql/internal/fakedb"
	"github.com/EnumApps/clustersql/internal/galeratest"
	"github.com/EnumApps/clustersql/internal/health"
)

func TestRequireNeedsMySQL(t *testing.T) {
	var setting *SettingError
	b := fakedb.New()
	d := NewDriver(b.Driver(), t.Name(), WithRequire("writable"))
	if err := d.AddNode("n", "n"); !errors.As(err, &setting) || setting.Key != "require" || !strings.Contains(err.Error(), "role_query") {
		t.Error(err)
	}
	d = NewDriver(mysql.MySQLDriver{}, t.Name()+"2", WithRequire("writeable"))
	if err := d.AddNode("n", "tcp(h:1)/"); !errors.As(err, &setting) || !strings.Contains(err.Error(), `use "read-write"`) {
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
		g := galeratest.Node(b.Node("n1"))
		d := fakeCluster(t, b, 1, WithCheck(CheckGalera))
		openDB(t, d)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		works, statuses := g.Works.Load(), g.Statuses.Load()
		if works < 250 || statuses < works/5 || statuses > works/5+2 {
			t.Errorf("%d status queries in %d probes", statuses, works)
		}
	})
}

// A donor is asked after the other nodes and is taken down after donor_after.
// It comes up only by a check that has looked at the status: DO 1 passes all
// the time.
func TestDonorIsLastThenDownThenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		g := galeratest.Node(b.Node("n1"))
		galeratest.Node(b.Node("n2"))
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
		g.State.Store("2")
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
		g.State.Store("4")
		until(6*time.Second, "back", func(s NodeStatus) bool { return s.State == StateUp && !s.Donor })
	})
}

func TestAllowedDonorIsAsGoodAsAny(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		galeratest.Node(b.Node("n1")).State.Store("2")
		d := fakeCluster(t, b, 1, WithCheck(CheckGalera), WithDonors(true, time.Second))
		openDB(t, d)
		time.Sleep(time.Minute)
		synctest.Wait()
		if s := d.Status().Nodes[0]; s.State != StateUp || s.Donor || s.Generation != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// If writable is required, the first write that a read-only node refuses takes
// it down. It is up again when read_only is OFF. The error of a READ ONLY
// transaction takes nothing down. If writable is not required, neither error
// does.
func TestReadOnlyNode(t *testing.T) {
	for _, require := range []Require{RequireAny, RequireWritable} {
		synctest.Test(t, func(t *testing.T) {
			b := fakedb.New()
			g := galeratest.Node(b.Node("n1"))
			d := fakeCluster(t, b, 1, WithCheck(CheckDo1), WithRequire(require))
			db := openDB(t, d)
			if err := db.Ping(); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			g.ReadOnly.Store("1")
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
			g.ReadOnly.Store("0")
			time.Sleep(6 * time.Second)
			synctest.Wait()
			if s := d.Status().Nodes[0]; s.State != StateUp {
				t.Errorf("require %q, writable again: %+v", require, s)
			}
		})
	}
	readOnlyTx := &mysql.MySQLError{Number: 1792, Message: "Cannot execute statement in a READ ONLY transaction"}
	if c := health.ClassifyTraffic(readOnlyTx, dialects.Generic{}.Classify, true); c != health.Neutral {
		t.Errorf("1792 is %v", c)
	}
}

// Ping cannot see what traffic learnt by error 1047. DO 1 is therefore run as
// well, until the node does work again.
func TestNodeDownBy1047ComesUpByWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		g := galeratest.Node(b.Node("n1"))
		d := fakeCluster(t, b, 1, WithCheck(CheckPing))
		db := openDB(t, d)
		if err := db.Ping(); err != nil {
			t.Fatal(err)
		}
		g.Reject.Store(true)
		if _, err := db.Exec("DO 1 /* of the program */"); err == nil {
			t.Error("the fake did not refuse")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if s := d.Status().Nodes[0]; s.State != StateDown {
			t.Errorf("Ping brought it back: %+v", s)
		}
		g.Reject.Store(false)
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if s := d.Status().Nodes[0]; s.State != StateUp {
			t.Errorf("%+v", s)
		}
	})
}

// A node that was a donor catches up (Joined) before it is Synced again. It does
// work all along, so it stays up where it is the last one. Beside a better node it
// is still used last, and goes down when that takes too long.
func TestNodeThatCatchesUpIsADonor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d, g := galeraCluster(t, b, 2, WithCheck(CheckGalera), WithOpenTimeout(2*time.Second))
		db := openDB(t, d)
		time.Sleep(time.Second)
		g[1].State.Store("2")
		time.Sleep(3 * time.Second)
		b.Node("n1").Set(fakedb.Script{Err: errRefused})
		b.Node("n1").SetHealth(io.ErrUnexpectedEOF, 0, false)
		time.Sleep(10 * time.Second)
		g[1].State.Store("3") // the backup is over
		for range 20 {
			time.Sleep(time.Second)
			if _, err := db.Exec("INSERT"); err != nil {
				t.Fatal(err)
			}
		}
		if s := d.Status().Nodes[1]; s.State != StateUp || !s.Donor || s.Generation != 0 {
			t.Errorf("the last one: %+v", s)
		}
		b.Node("n1").Set(fakedb.Script{})
		b.Node("n1").SetHealth(nil, 0, false)
		time.Sleep(20 * time.Second)
		if s := d.Status().Nodes[1]; s.State != StateDown || !strings.Contains(s.Reason, "allow_donor") {
			t.Errorf("beside a better one: %+v", s)
		}
		g[1].Ready.Store("OFF") // as that of a joiner is
		time.Sleep(5 * time.Second)
		b.Node("n1").Set(fakedb.Script{Err: errRefused})
		b.Node("n1").SetHealth(io.ErrUnexpectedEOF, 0, false)
		time.Sleep(20 * time.Second)
		if s := d.Status().Nodes[1]; s.State != StateDown || !strings.Contains(s.Reason, "wsrep_ready") {
			t.Errorf("a joiner: %+v", s)
		}
	})
}

// A donor is not taken down beside a node that has no room for connections.
func TestDonorBesideAFullNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		var told diary
		d, g := galeraCluster(t, b, 2, WithCheck(CheckGalera), WithOpenTimeout(2*time.Second), WithOnEvent(told.write))
		db := openDB(t, d)
		db.SetMaxIdleConns(-1)
		time.Sleep(time.Second)
		b.Node("n1").Set(fakedb.Script{Err: &mysql.MySQLError{Number: 1040, Message: "Too many connections"}})
		g[1].State.Store("2")
		failed := 0
		for range 30 {
			time.Sleep(time.Second)
			if _, err := db.Exec("INSERT"); err != nil {
				failed++
			}
		}
		if downs := told.downs("n2"); failed > 0 || len(downs) > 0 {
			t.Errorf("%d of 30 failed; n2 went down: %q", failed, downs)
		}
	})
}
