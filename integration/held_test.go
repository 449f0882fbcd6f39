package integration

import (
	"cmp"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/galera"
	"github.com/go-sql-driver/mysql"
)

// A heldState is a pool of one connection whose session holds something. The
// next statement relies on it. On another node it would do something else, and
// nobody would see an error.
type heldState struct {
	name  string
	holds []string
	next  string // relies on that; empty: an INSERT
	moves bool   // the session holds nothing
}

var heldStates = []heldState{
	{name: "nothing", moves: true},
	{name: "nothing, after a read", holds: []string{"SELECT COUNT(*) FROM refusals"}, moves: true},
	{name: "a procedure's transaction", holds: []string{"CALL begin_work()", "INSERT INTO refusals (who) VALUES (%s)"}},
	{name: "a transaction", holds: []string{"START TRANSACTION", "INSERT INTO refusals (who) VALUES (%s)"}},
	{name: "a transaction of BEGIN", holds: []string{"BEGIN", "INSERT INTO refusals (who) VALUES (%s)"}},
	{name: "a chained transaction", holds: []string{"COMMIT AND CHAIN", "INSERT INTO refusals (who) VALUES (%s)"}},
	{name: "no autocommit", holds: []string{"SET autocommit=0", "INSERT INTO refusals (who) VALUES (%s)"}},
	{name: "locked tables", holds: []string{"LOCK TABLES held_lock READ"}, next: "SELECT %s FROM held_lock"},
	{name: "a named lock", holds: []string{"DO GET_LOCK(%s, 0)"}},
	{name: "a named lock of a SELECT", holds: []string{"SELECT GET_LOCK(%s, 0)"}},
	{name: "a user variable", holds: []string{"SET @who=%s"}, next: "INSERT INTO refusals (who) VALUES (IFNULL(@who, %s))"},
	{name: "a user variable of a SELECT", holds: []string{"SELECT @who:=%s"}, next: "INSERT INTO refusals (who) VALUES (IFNULL(@who, %s))"},
	{name: "a user variable of INTO", holds: []string{"SELECT %s INTO @who"}, next: "INSERT INTO refusals (who) VALUES (IFNULL(@who, %s))"},
	{name: "a temporary table", holds: []string{"CREATE TEMPORARY TABLE held_lock (id INT)"}, next: "INSERT INTO refusals (who) SELECT %s FROM (SELECT COUNT(*) FROM held_lock) AS t"},
	{name: "a prepared statement", holds: []string{"PREPARE held FROM 'INSERT INTO refusals (who) VALUES (?)'"}},
	{name: "an open handler", holds: []string{"HANDLER held_lock OPEN"}},
	{name: "another database", holds: []string{"USE held"}},
	{name: "a mode", holds: []string{"SET sql_mode=''"}},
	{name: "a character set", holds: []string{"SET NAMES latin1"}},
	{name: "a compound statement", holds: []string{"BEGIN NOT ATOMIC SET @who=%s; END"}},
	{name: "the last id", holds: []string{"INSERT INTO held_ids () VALUES ()"}, next: "INSERT INTO refusals (who) SELECT %s FROM (SELECT LAST_INSERT_ID()) AS t"},
}

// heldStateStays fills a pool of one connection for each state, and then has the
// node refuse work with 1047. Nothing that relies on the session moves: the
// caller gets the server's error, and nothing is committed, neither what was
// written before nor what comes after. The statements are sent directly, and
// prepared. No probe comes between: probes retire idle connections.
func heldStateStays(t *testing.T, c *galera.Cluster) {
	makeTable(t, c, "DROP DATABASE IF EXISTS held", "CREATE DATABASE held", "GRANT ALL ON held.* TO '"+galera.User+"'@'%'",
		"CREATE TABLE held.refusals LIKE app.refusals",
		"CREATE OR REPLACE TABLE app.held_lock (id INT PRIMARY KEY)", "CREATE OR REPLACE TABLE app.held_ids (id INT PRIMARY KEY AUTO_INCREMENT)",
		"CREATE OR REPLACE PROCEDURE app.begin_work() START TRANSACTION")
	var pools []heldPool
	for i, s := range heldStates {
		for _, way := range []string{"direct", "prepared"} {
			p := heldPool{heldState: s, who: fmt.Sprintf("%s %d", way, i), prepared: way == "prepared"}
			d := newCluster(t, c, clustersql.WithStrategy(firstOf), clustersql.WithProbe(time.Hour, time.Second))
			p.db = sql.OpenDB(d.Connector())
			t.Cleanup(func() { p.db.Close() })
			p.db.SetMaxOpenConns(1)
			waitFor(t, "the nodes to be up", func() bool { return up(d) == len(c.Nodes) })
			for _, holds := range s.holds {
				if err := p.exec(holds); err != nil {
					t.Fatalf("%s: %s: %v", s.name, holds, err)
				}
			}
			pools = append(pools, p)
		}
	}
	turnAway(t, c, c.Nodes[0])
	for _, p := range pools {
		t.Run(p.name+", "+p.who, func(t *testing.T) {
			err := p.exec(cmp.Or(p.next, "INSERT INTO refusals (who) VALUES (%s)"))
			want := 0
			var refused *mysql.MySQLError
			switch {
			case p.moves && err != nil:
				t.Errorf("it does not move: %v", err)
			case p.moves:
				want = 1
			case !errors.As(err, &refused) || refused.Number != 1047 || errors.Is(err, driver.ErrBadConn):
				t.Errorf("got %v", err)
			}
			if _, err := p.db.Exec("COMMIT"); err != nil {
				t.Errorf("the pool does not work on: %v", err)
			}
			if n := rowsOf(t, c, p.who); n != want {
				t.Errorf("%d rows, want %d", n, want)
			}
		})
	}
}

// A heldPool is a pool of one connection with its state.
type heldPool struct {
	heldState
	who      string // what its rows have
	prepared bool   // statements with an argument are prepared
	db       *sql.DB
}

// exec runs a statement in which %s stands for who.
func (p *heldPool) exec(query string) (err error) {
	switch {
	case !strings.Contains(query, "%s"):
		_, err = p.db.Exec(query)
	case p.prepared:
		_, err = p.db.Exec(strings.Replace(query, "%s", "?", 1), p.who)
	default:
		_, err = p.db.Exec(strings.Replace(query, "%s", "'"+p.who+"'", 1))
	}
	return err
}
