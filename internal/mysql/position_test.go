package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql/internal/causal"
	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/fakedb"
)

// answering returns a conn whose server answers each query that begins so, or that
// has this in it, and refuses the rest. asked gets all of them.
func answering(t *testing.T, answers map[string]any) (conn driver.Conn, asked *[]string) {
	t.Helper()
	asked = new([]string)
	b := fakedb.New()
	find := func(query string) any {
		for part, answer := range answers {
			if strings.Contains(query, part) && !(strings.HasPrefix(part, "'mariadb', @@") && strings.Contains(query, "IF(")) {
				return answer
			}
		}
		return &mysql.MySQLError{Number: 1305, SQLState: [5]byte{'4', '2', '0', '0', '0'}, Message: "FUNCTION does not exist"}
	}
	b.Node("n").OnStatement(func(_ context.Context, query string, _ []driver.NamedValue) error {
		*asked = append(*asked, query)
		err, _ := find(query).(error)
		return err
	})
	b.Node("n").OnQuery(func(query string) ([][]driver.Value, bool) {
		if table, ok := find(query).([][]driver.Value); ok {
			return table, true
		}
		row, ok := find(query).([]driver.Value)
		return [][]driver.Value{row}, ok
	})
	conn, err := b.Driver().Open("n")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn, asked
}

// What servers tell becomes a position, and what they do not tell an error.
func TestPositionOfServers(t *testing.T) {
	for _, tc := range []struct {
		name, group string
		answers     map[string]any
		want        string
		err         error
	}{
		{"Galera", "9FB1-A", map[string]any{"WSREP_LAST_SEEN_GTID()": []driver.Value{"0-1-8"}}, "galera/9fb1-a/0:1-8", nil},
		{"Galera, nothing yet", "9fb1", map[string]any{"WSREP_LAST_SEEN_GTID()": []driver.Value{"0-1-0"}}, "galera/9fb1/0", nil},
		{"Galera 3", "9fb1", nil, "", dialect.ErrNoPosition},
		{"Galera, no answer", "9fb1", map[string]any{"WSREP": []driver.Value{nil}}, "", dialect.ErrNoPosition},
		{"Galera with its UUID", "9FB1-A", map[string]any{"WSREP_LAST_SEEN_GTID()": []driver.Value{"9fb1-a:17"}}, "galera/9fb1-a:1-17", nil},
		{"Galera, another group's", "9fb1", map[string]any{"WSREP_LAST_SEEN_GTID()": []driver.Value{"9fb2:17"}}, "", dialect.ErrNoPosition},
		{"Galera, not probed yet", "", map[string]any{"IF(@@GLOBAL.wsrep_on": []driver.Value{"galera", "0-1-99"},
			"SHOW GLOBAL STATUS": [][]driver.Value{{"wsrep_cluster_conf_id", "3"}, {"wsrep_cluster_state_uuid", "9fb1"}}, "WSREP_LAST_SEEN": []driver.Value{"0-1-8"}}, "galera/9fb1/0:1-8", nil},
		{"Galera, outside its group, not probed yet", "", map[string]any{"IF(@@GLOBAL.wsrep_on": []driver.Value{"galera", "0-1-99"},
			"SHOW GLOBAL STATUS": [][]driver.Value{{"wsrep_cluster_conf_id", "18446744073709551615"}, {"wsrep_cluster_state_uuid", "9fb1"}}, "WSREP_LAST_SEEN": []driver.Value{"0-1-8"}}, "", dialect.ErrNoPosition},
		{"MariaDB without wsrep", "", map[string]any{"IF(@@GLOBAL.wsrep_on": &mysql.MySQLError{Number: unknownVariable}, "'mariadb', @@": []driver.Value{"mariadb", "0-1-100"}}, "mariadb/0:1-100", nil},
		{"MariaDB", "", map[string]any{"gtid": []driver.Value{"mariadb", "0-1-100,2-7-3"}}, "mariadb/0:1-100~mariadb/2:1-3", nil},
		{"MariaDB without a log", "", map[string]any{"gtid": []driver.Value{"mariadb", ""}}, "", dialect.ErrNoPosition},
		{"MySQL", "", map[string]any{"gtid": []driver.Value{"mysql", "3E11:1-5:7,\n4f22:tag:1-3:other:9"}}, "mysql/3e11:1-5:7~mysql/4f22/other:9~mysql/4f22/tag:1-3", nil},
		{"MySQL without a log", "", map[string]any{"gtid": []driver.Value{"mysql", ""}}, "", dialect.ErrNoPosition},
		{"another server", "", nil, "", dialect.ErrNoPosition},
		{"a lost connection", "", map[string]any{"gtid": mysql.ErrInvalidConn}, "", mysql.ErrInvalidConn},
		{"an interrupted question", "", map[string]any{"gtid": &mysql.MySQLError{Number: queryInterrupted}}, "", &mysql.MySQLError{Number: queryInterrupted}},
	} {
		conn, _ := answering(t, tc.answers)
		p, _, err := Dialect{}.Position(t.Context(), conn, dialect.Site{Group: tc.group})
		if p.String() != tc.want || !errors.Is(err, tc.err) {
			t.Errorf("%s: %q, %v", tc.name, p, err)
		}
	}
}

// What is wanted becomes the server's own question, and its time has the unit of the
// server.
func TestAwaitAsksTheServer(t *testing.T) {
	for want, query := range map[string]string{
		"galera/9fb1/0:1-8":              "",
		"":                               "",
		"mariadb/0:1-100~mariadb/2:1-3":  "SELECT MASTER_GTID_WAIT('0-1-100,2-1-3', 0.250)",
		"mariadb/0":                      "",
		"mysql/3e11:1-5:7~mysql/4f/t:9":  "SELECT WAIT_FOR_EXECUTED_GTID_SET('3e11:1-5:7,4f:t:9', 0.250)",
		"pg/7:1-9":                       "",
		"mysql/3e11:1-18446744073709551": "SELECT WAIT_FOR_EXECUTED_GTID_SET('3e11:1-18446744073709551', 0.250)",
	} {
		p, err := causal.Parse(want)
		if err != nil {
			t.Fatal(err)
		}
		conn, asked := answering(t, map[string]any{"_WAIT": []driver.Value{int64(0)}, "WAIT_FOR": []driver.Value{int64(0)}})
		waited, err := Dialect{}.Await(t.Context(), conn, dialect.Site{}, p, 250*time.Millisecond)
		if err != nil || waited != (query != "") || query != "" && !slices.Equal(*asked, []string{query}) {
			t.Errorf("%q: %q, %v, %v", want, *asked, waited, err)
		}
	}
	conn, _ := answering(t, nil)
	if waited, err := (Dialect{}).Await(t.Context(), conn, dialect.Site{}, causal.At("mariadb/0", 1), time.Second); waited || err != nil {
		t.Errorf("a server without the function: %v, %v", waited, err)
	}
	conn, _ = answering(t, map[string]any{"_WAIT": mysql.ErrInvalidConn})
	if _, err := (Dialect{}).Await(t.Context(), conn, dialect.Site{}, causal.At("mariadb/0", 1), time.Second); !errors.Is(err, mysql.ErrInvalidConn) {
		t.Errorf("a lost connection: %v", err)
	}
}
