package clustersql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/fakedb"
)

// A node is drained and used again under load. No operation fails, nothing of
// the node is in use in the meantime, and it gets its share back. The test
// leaves enough time for that not to fail by chance: see
// TestReturnedNodeGetsItsShare, which has less.
func TestDrainAndUndrainUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		for i := range 3 {
			well(b, nodeName(i))
		}
		var seen diary
		d := fakeCluster(t, b, 3, WithStrategy(Balanced), WithOnEvent(seen.write))
		told(d, dialect.Session{Single: true})
		db := openDB(t, d)
		time.Sleep(time.Second)
		fill(t, db, 30)
		work := newCrowd(t, db, 12, 10*time.Millisecond)
		time.Sleep(5 * time.Second)
		if err := d.Drain("n2"); err != nil {
			t.Fatal(err)
		}
		if s := d.Status().Nodes[1]; s.State != StateDraining {
			t.Errorf("%v at once", s.State)
		}
		opens := b.Node("n2").Stats().Opens
		time.Sleep(5 * time.Second)
		if s := d.Status().Nodes[1]; s.State != StateDraining || s.Reason != "drained by the program" || s.OpenConns != 0 {
			t.Errorf("%v, %q, %d connections", s.State, s.Reason, s.OpenConns)
		}
		time.Sleep(time.Minute)
		if n := b.Node("n2").Stats().Opens; n != opens {
			t.Errorf("%d connections opened on a draining node", n-opens)
		}
		if err := d.Undrain("n2"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(45 * time.Second)
		conns := openConns(d)
		if total := conns[0] + conns[1] + conns[2]; conns[1] < total/3-2 {
			t.Errorf("%v after Undrain", conns)
		}
		work.wantServed(t, 1)
		var states []string
		for _, e := range seen.of("n2", EventState) {
			states = append(states, e.To.String())
		}
		if got := strings.Join(states, " "); got != "up draining unknown up" {
			t.Errorf("states: %s", got)
		}
		db.Close()
		time.Sleep(time.Minute)
		wantNothingLeft(t, b)
	})
}

// Only Undrain ends draining, whatever the node does in the meantime. Draining
// outlasts a close and a second open of the cluster. No open waits for it to
// end.
func TestDrainingLastsUntilUndrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d := fakeCluster(t, b, 2)
		if err := d.Drain("n1"); err != nil {
			t.Fatal(err)
		}
		db := openDB(t, d)
		time.Sleep(time.Second)
		down(b, "n1")
		time.Sleep(10 * time.Second)
		b.Node("n1").SetHealth(nil, 0, false)
		b.Node("n1").Set(fakedb.Script{})
		time.Sleep(10 * time.Second)
		db.Close()
		db = openDB(t, d)
		time.Sleep(time.Second)
		if s := d.Status().Nodes[0]; s.State != StateDraining || s.Opens != 0 || s.Probes < 10 {
			t.Errorf("%v after %d opens and %d probes", s.State, s.Opens, s.Probes)
		}
		if err := errors.Join(d.Drain("n1"), d.Drain("n2")); err != nil {
			t.Error(err)
		}
		began := time.Now()
		err := db.Ping()
		wantOpenError(t, err, 2)
		if time.Since(began) != 0 || !strings.Contains(err.Error(), "n1 (draining): drained by the program") {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		if err := errors.Join(d.Undrain("n1"), d.Undrain("n1")); err != nil {
			t.Error(err)
		}
		time.Sleep(100 * time.Millisecond)
		if err := db.Ping(); err != nil {
			t.Error(err)
		}
		if err := d.Drain("n9"); err == nil || !strings.Contains(err.Error(), `no node "n9"`) {
			t.Error(err)
		}
		d.Close()
		if err := d.Drain("n1"); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
}

// DelNode under load: a transaction on the node ends normally, and its
// connection is then closed. Idle connections are closed at once. Nothing
// fails, and nothing of the node is left. A node of the same name can be added
// in the meantime.
func TestDelNodeDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		for i := range 3 {
			well(b, nodeName(i))
		}
		d := fakeCluster(t, b, 3, WithStrategy(Balanced))
		told(d, dialect.Session{Single: true})
		db := openDB(t, d)
		time.Sleep(time.Second)
		fill(t, db, 30)
		n := (*d.m.nodes.Load())[0]
		conn := connOn(t, db, "n1")
		tx, err := conn.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		work := newCrowd(t, db, 12, 10*time.Millisecond)
		time.Sleep(time.Second)
		if err := d.DelNode("n1"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if live := b.Node("n1").Stats().Live; live != 1 {
			t.Errorf("%d connections left, want the transaction's", live)
		}
		if err := d.AddNode("n1", "n1"); err != nil {
			t.Error(err)
		}
		if _, err := tx.Exec("INSERT"); err != nil {
			t.Error(err)
		}
		if err := tx.Commit(); err != nil {
			t.Error(err)
		}
		conn.Close()
		time.Sleep(time.Second)
		select {
		case <-n.life.Load().idle:
		default:
			t.Error("the removed node's actor runs")
		}
		work.wantServed(t, 1)
		db.Close()
		time.Sleep(time.Minute)
		wantNothingLeft(t, b)
	})
}

// connOn takes a conn to the given node out of the pool.
func connOn(t *testing.T, db *sql.DB, node string) *sql.Conn {
	t.Helper()
	for {
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var name string
		if err := conn.QueryRowContext(t.Context(), "SELECT @@hostname").Scan(&name); err != nil {
			t.Fatal(err)
		}
		if name == node {
			return conn
		}
		defer conn.Close()
	}
}

// What runs for longer than drain_timeout is cut, with the reason, also after
// DelNode. A conn that cannot be cut stays with its holder, and the actor ends
// all the same.
func TestDrainTimeoutCuts(t *testing.T) {
	for _, removed := range []bool{false, true} {
		for _, track := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				d, c := pipeCluster(t, b, track, WithDrainTimeout(20*time.Second))
				db := openDB(t, d)
				time.Sleep(time.Second)
				n := (*d.m.nodes.Load())[0]
				conn, err := db.Conn(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				c.hangs.Store(true)
				ended := make(chan error, 1)
				go func() {
					_, err := conn.ExecContext(context.Background(), "hangs")
					ended <- err
				}()
				synctest.Wait()
				c.hangs.Store(false) // for the probes; the statement still hangs
				if removed {
					err = d.DelNode("n1")
				} else {
					err = d.Drain("n1")
				}
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				if track {
					err := <-ended
					if took := time.Since(began); took < 20*time.Second || took > 22*time.Second || !strings.Contains(err.Error(), "drain_timeout") {
						t.Errorf("after %v: %v", took, err)
					}
					conn.Close()
				}
				time.Sleep(25 * time.Second)
				if removed {
					select {
					case <-n.life.Load().idle:
					default:
						t.Error("the removed node's actor runs")
					}
				}
				if !track {
					if len(ended) > 0 {
						t.Errorf("ended: %v", <-ended)
					}
					c.release()
					<-ended
					conn.Close()
				}
			})
		}
	}
}

// A conn of Driver.Open that the cluster closes where it lies ends the actors at
// once, if it was the last: nothing waits for itself.
func TestIdleConnOfOpenEndsTheActorsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d := fakeCluster(t, b, 1)
		conn, err := d.Open("")
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !conn.(driver.Validator).IsValid() { // whoever pools it has put it back
			t.Fatal("not valid")
		}
		l := (*d.m.nodes.Load())[0].life.Load()
		began := time.Now()
		if err := d.Drain("n1"); err != nil {
			t.Fatal(err)
		}
		<-l.idle
		if took := time.Since(began); took != 0 {
			t.Errorf("the actor ended after %v", took)
		}
		wantNothingLeft(t, b)
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		if _, err := d.m.running(); !errors.Is(err, ErrClosed) {
			t.Errorf("the connector is open: %v", err)
		}
	})
}

// A node falls silent while it is drained. Calls that hang on it end as on any
// other node: silence cuts whenever it is found.
func TestSilenceWhileDrainedCuts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		b.OnSocket(TrackSocket)
		for i := range 2 {
			b.Node(nodeName(i)).SetMood(fakedb.Mood{})
		}
		d := fakeCluster(t, b, 2, WithStrategy(Ordered), WithDrainTimeout(time.Hour))
		db := openDB(t, d)
		time.Sleep(time.Second)
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := d.Drain("n1"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		b.Node("n1").SetMood(fakedb.Mood{Silent: true})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		began := time.Now()
		_, err = conn.ExecContext(ctx, "INSERT")
		if took := time.Since(began); took > 10*time.Second || err == nil || !strings.Contains(err.Error(), "silent: no answer to a probe") {
			t.Errorf("it hung for %v: %v", took, err)
		}
		if s := d.Status().Nodes[0]; s.State != StateDraining || s.Generation != 1 {
			t.Errorf("%s, generation %d", s.State, s.Generation)
		}
	})
}
