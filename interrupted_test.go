package clustersql

import (
	"context"
	"database/sql/driver"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql/internal/fakedb"
)

// failOnce answers the next statement of a node that contains text with err,
// once it is armed. hits counts the answers.
func failOnce(n *fakedb.Node, text string, err error) (arm func(), hits *atomic.Int64) {
	var armed atomic.Bool
	hits = new(atomic.Int64)
	n.OnStatement(func(_ context.Context, query string, _ []driver.NamedValue) error {
		if strings.Contains(query, text) && armed.CompareAndSwap(true, false) {
			hits.Add(1)
			return err
		}
		return nil
	})
	return func() { armed.Store(true) }, hits
}

// downs returns the reasons for which a node went down.
func (d *diary) downs(node string) (reasons []string) {
	for _, e := range d.of(node, EventState) {
		if e.To == StateDown {
			reasons = append(reasons, e.Reason)
		}
	}
	return reasons
}

// interruptions are what a server answers a statement that was ended before its
// answer.
var interruptions = []*mysql.MySQLError{
	{Number: 1205, SQLState: [5]byte{'H', 'Y', '0', '0', '0'}, Message: "Lock wait timeout exceeded; try restarting transaction"},
	{Number: 1213, SQLState: [5]byte{'4', '0', '0', '0', '1'}, Message: "Deadlock found when trying to get lock"},
	{Number: 1317, SQLState: [5]byte{'7', '0', '1', '0', '0'}, Message: "Query execution was interrupted"},
	{Number: 1969, SQLState: [5]byte{'7', '0', '1', '0', '0'}, Message: "Query execution was interrupted (max_statement_time exceeded)"},
	{Number: 3024, SQLState: [5]byte{'H', 'Y', '0', '0', '0'}, Message: "Query execution was interrupted, maximum statement execution time exceeded"},
}

// A statement of a probe that is interrupted takes no node down, and retires no
// session.
func TestInterruptedProbeIsNoDoubt(t *testing.T) {
	for _, c := range []struct {
		what string
		opts []Option
		text string
	}{
		{"default, DO 1", nil, "DO 1"},
		{"default, status", nil, "SHOW GLOBAL STATUS"},
		{"galera, status", []Option{WithCheck(CheckGalera)}, "SHOW GLOBAL STATUS"},
		{"do1, view", []Option{WithCheck(CheckDo1)}, "SHOW GLOBAL STATUS"},
		{"ping, view", []Option{WithCheck(CheckPing)}, "SHOW GLOBAL STATUS"},
		{"check_query", []Option{WithCheckQuery("SELECT @@GLOBAL.read_only")}, "@@GLOBAL.read_only"},
		{"writable", []Option{WithRequire(RequireWritable)}, "@@GLOBAL.read_only"},
	} {
		for _, e := range interruptions {
			t.Run(fmt.Sprint(c.what, " ", e.Number), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := fakedb.New()
					var told diary
					d, g := galeraCluster(t, b, 3, append(c.opts, WithStrategy(Ordered), WithOnEvent(told.write))...)
					if c.what == "check_query" {
						for i := range g {
							g[i].ReadOnly.Store("1") // this query wants it
						}
					}
					arm, hits := failOnce(b.Node("n1"), c.text, e)
					db := openDB(t, d)
					time.Sleep(3 * time.Second)
					fill(t, db, 4)
					arm()
					time.Sleep(20 * time.Second)
					s := d.Status().Nodes[0]
					if downs := told.downs("n1"); hits.Load() != 1 || len(downs) > 0 || s.Generation != 0 || s.OpenConns != 4 {
						t.Errorf("%d hits, downs %q; generation %d, %d conns of 4", hits.Load(), downs, s.Generation, s.OpenConns)
					}
				})
			})
		}
	}
}

// Nor does the check of an open.
func TestInterruptedCheckOfAnOpenIsNoDoubt(t *testing.T) {
	for _, e := range interruptions {
		t.Run(fmt.Sprint(e.Number), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				var told diary
				d, _ := galeraCluster(t, b, 2, WithStrategy(Ordered), WithOnEvent(told.write))
				arm, hits := failOnce(b.Node("n1"), "DO 1", e)
				db := openDB(t, d)
				time.Sleep(time.Second)
				fill(t, db, 4)
				arm()
				conn, err := d.Connector().Connect(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				s := d.Status().Nodes[0]
				if downs := told.downs("n1"); hits.Load() != 1 || len(downs) > 0 || s.Generation != 0 {
					t.Errorf("%d hits, downs %q; generation %d, %d conns of 4", hits.Load(), downs, s.Generation, s.OpenConns)
				}
			})
		})
	}
}

// A check of the program that panics takes its node down, because no connection
// passes it. The sessions work on.
func TestCheckThatPanicsKeepsTheSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		var told diary
		var panics atomic.Bool
		check := func(context.Context, driver.Conn) error {
			if panics.Load() {
				panic("a nil map")
			}
			return nil
		}
		d := fakeCluster(t, b, 2, WithStrategy(Ordered), WithCheck(check), WithOnEvent(told.write))
		db := openDB(t, d)
		time.Sleep(time.Second)
		fill(t, db, 4)
		panics.Store(true)
		time.Sleep(5 * time.Second)
		for i := range 2 {
			s := d.Status().Nodes[i]
			if s.State != StateDown || !strings.Contains(s.Reason, "a nil map") || s.Generation != 0 {
				t.Errorf("%s, %q, generation %d", s.State, s.Reason, s.Generation)
			}
		}
		if n := openConns(d)[0]; n != 4 || len(told.of("n1", EventRetired, EventCut)) > 0 {
			t.Errorf("%d conns of 4", n)
		}
		if _, err := db.Exec("INSERT"); err != nil {
			t.Errorf("a pooled session: %v", err)
		}
	})
}

// MySQL answers a statement whose session was KILLed with 1053, the number that a
// shutdown has too, and a transaction that is too large with 3100.
func TestOneSessionsEndRetiresNobody(t *testing.T) {
	for _, e := range []*mysql.MySQLError{
		{Number: 1053, SQLState: [5]byte{'0', '8', 'S', '0', '1'}, Message: "Server shutdown in progress"},
		{Number: 3100, SQLState: [5]byte{'H', 'Y', '0', '0', '0'}, Message: "Error on observer while running replication hook 'before_commit'."},
	} {
		t.Run(fmt.Sprint(e.Number), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				var told diary
				d := NewDriver(mysql.MySQLDriver{}, t.Name(), quiet, WithStrategy(Ordered), WithOnEvent(told.write))
				t.Cleanup(func() { d.Close() })
				for i := range 2 {
					if err := d.AddConnector(nodeName(i), asMySQL{connectorOf(t, b, nodeName(i))}); err != nil {
						t.Fatal(err)
					}
				}
				arm, _ := failOnce(b.Node("n1"), "INSERT", e)
				db := openDB(t, d)
				time.Sleep(time.Second)
				fill(t, db, 8)
				arm()
				if _, err := db.Exec("INSERT"); err == nil {
					t.Fatal("no error")
				}
				conn, err := db.Conn(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				_ = conn.Raw(func(c any) error {
					if name := c.(Conn).Raw().(*fakedb.Conn).NodeName(); name != "n1" {
						t.Errorf("the next statement goes to %s", name)
					}
					return nil
				})
				conn.Close()
				time.Sleep(5 * time.Second)
				s := d.Status().Nodes[0]
				if downs := told.downs("n1"); len(downs) > 0 || s.Generation != 0 || s.OpenConns < 7 {
					t.Errorf("downs %q; generation %d, %d conns of 8", downs, s.Generation, s.OpenConns)
				}
			})
		})
	}
}
