package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/health"
)

// A scripted is a conn that answers queries from a table.
type scripted struct {
	driver.Conn
	variables [][]driver.Value
	readOnly  driver.Value
	columns   []string
	sources   [][]driver.Value
	asked     []string
	knows     string // the beginning of the statement for sources that the server knows
	fails     error  // of that statement
}

func (c *scripted) QueryContext(_ context.Context, query string, _ []driver.NamedValue) (driver.Rows, error) {
	query = strings.TrimPrefix(query, causeless)
	c.asked = append(c.asked, query)
	switch {
	case query == variablesQuery:
		return &table{[]string{"Variable_name", "Value"}, c.variables}, nil
	case query == accessQuery:
		return &table{[]string{"@@GLOBAL.read_only"}, [][]driver.Value{{c.readOnly}}}, nil
	case !strings.HasPrefix(query, c.knows):
		return nil, &mysql.MySQLError{Number: 1064, SQLState: [5]byte([]byte("42000"))}
	case c.fails != nil:
		return nil, c.fails
	}
	return &table{c.columns, c.sources}, nil
}

type table struct {
	columns []string
	rows    [][]driver.Value
}

func (t *table) Columns() []string { return t.columns }
func (t *table) Close() error      { return nil }
func (t *table) Next(row []driver.Value) error {
	if len(t.rows) == 0 {
		return io.EOF
	}
	copy(row, t.rows[0])
	t.rows = t.rows[1:]
	return nil
}

// The columns as the servers name them.
var (
	mariaColumns = []string{"Connection_name", "Slave_IO_Running", "Slave_SQL_Running", "Seconds_Behind_Master", "Master_Server_Id", "Gtid_IO_Pos"}
	mysqlColumns = []string{"Replica_IO_Running", "Replica_SQL_Running", "Seconds_Behind_Source", "Source_Server_Id"}
)

func TestReplication(t *testing.T) {
	vars := func(pairs ...string) (rows [][]driver.Value) {
		for i := 0; i < len(pairs); i += 2 {
			rows = append(rows, []driver.Value{[]byte(pairs[i]), []byte(pairs[i+1])})
		}
		return rows
	}
	maria := func(more ...string) [][]driver.Value {
		return vars(append([]string{"version", "10.11.6-MariaDB-log", "server_id", "2"}, more...)...)
	}
	denied := &mysql.MySQLError{Number: 1227, SQLState: [5]byte([]byte("42000"))}
	const hidden = "the account may not ask whom the server follows: GRANT REPLICA MONITOR in MariaDB, REPLICATION CLIENT in MySQL"
	for name, tc := range map[string]struct {
		depth dialect.Depth
		conn  scripted
		want  health.Replication
		asked int
		class health.Class
	}{
		"access": {conn: scripted{readOnly: int64(0)}, want: health.Replication{Access: health.AccessWrite}, asked: 1},
		"access, a word of MariaDB 12": {
			conn: scripted{readOnly: "NO_LOCK_NO_ADMIN"}, want: health.Replication{Access: health.AccessRead}, asked: 1,
		},
		"MariaDB's primary": {
			depth: dialect.DepthAll, asked: 2,
			conn: scripted{knows: "SHOW ALL REPLICAS", variables: maria("read_only", "OFF", "gtid_current_pos", "0-2-17,1-2-4", "gtid_slave_pos", "")},
			want: health.Replication{Role: health.RolePrimary, Access: health.AccessWrite, Server: "2", Position: health.Position{{Origin: "0", At: 17}, {Origin: "1", At: 4}}},
		},
		"MariaDB's replica": {
			depth: dialect.DepthAll, asked: 2,
			conn: scripted{
				knows: "SHOW ALL REPLICAS", columns: mariaColumns, sources: [][]driver.Value{{"", "Yes", "Yes", int64(3), int64(1), "0-1-20"}},
				variables: maria("read_only", "ON", "gtid_current_pos", "0-1-17", "gtid_slave_pos", "0-1-15"),
			},
			want: health.Replication{
				Role: health.RoleReplica, Access: health.AccessRead, Server: "2", Source: "1", Stream: health.StreamRuns, Said: 3 * time.Second, Told: true,
				Position: health.Position{{Origin: "0", At: 15}}, Received: health.Position{{Origin: "0", At: 20}},
			},
		},
		"an older MariaDB, and its source is gone": {
			depth: dialect.DepthAll, asked: 3,
			conn: scripted{
				knows: "SHOW ALL SLAVES", columns: mariaColumns, sources: [][]driver.Value{{"", "Connecting", "Yes", nil, int64(1), ""}},
				variables: maria("read_only", "ON"),
			},
			want: health.Replication{
				Role: health.RoleReplica, Access: health.AccessRead, Server: "2", Source: "1", Stream: health.StreamBroken, Fault: "replica_io_running is Connecting",
			},
		},
		"one of two sources is stopped": {
			depth: dialect.DepthAll, asked: 2,
			conn: scripted{
				knows: "SHOW ALL REPLICAS", columns: mariaColumns,
				sources:   [][]driver.Value{{"a", "Yes", "Yes", int64(0), int64(1), ""}, {"b", "Yes", "No", nil, int64(3), ""}},
				variables: maria("read_only", "OFF"),
			},
			want: health.Replication{
				Role: health.RoleReplica, Access: health.AccessWrite, Server: "2", Source: "3", Stream: health.StreamBroken, Fault: "replica_sql_running is No",
			},
		},
		"MySQL's replica": {
			depth: dialect.DepthRole, asked: 2,
			conn: scripted{
				knows: "SHOW REPLICA STATUS", columns: mysqlColumns, sources: [][]driver.Value{{"Yes", "Yes", int64(0), int64(1)}},
				variables: vars("version", "9.7.4", "read_only", "ON", "server_id", "2", "gtid_executed", "3e11fa47-0001:1-5:7,\n3e11fa47-0002:1-3:tag:1-2"),
			},
			want: health.Replication{
				Role: health.RoleReplica, Access: health.AccessRead, Server: "2", Source: "1", Stream: health.StreamRuns, Told: true,
				Position: health.Position{{Origin: "3e11fa47-0001", At: 6}, {Origin: "3e11fa47-0002", At: 5}}, Whole: true,
			},
		},
		"an older MySQL": {
			depth: dialect.DepthAll, asked: 3,
			conn: scripted{knows: "SHOW SLAVE STATUS", variables: vars("version", "5.7.40-log", "read_only", "OFF", "server_id", "1")},
			want: health.Replication{Role: health.RolePrimary, Access: health.AccessWrite, Server: "1"},
		},
		"read-only, and follows nobody": {
			depth: dialect.DepthAll, asked: 2,
			conn: scripted{knows: "SHOW ALL REPLICAS", variables: maria("read_only", "ON")},
			want: health.Replication{Access: health.AccessRead, Server: "2"},
		},
		"no right, writable": {
			depth: dialect.DepthAll, asked: 2,
			conn: scripted{fails: denied, variables: maria("read_only", "OFF")},
			want: health.Replication{Role: health.RolePrimary, Access: health.AccessWrite, Server: "2", Hidden: hidden, Assumed: true},
		},
		"no right, read-only": {
			depth: dialect.DepthAll, asked: 2,
			conn: scripted{fails: denied, variables: maria("read_only", "ON")},
			want: health.Replication{Role: health.RoleReplica, Access: health.AccessRead, Server: "2", Hidden: hidden, Assumed: true},
		},
		"neither statement is known": {
			depth: dialect.DepthAll, asked: 3,
			conn: scripted{knows: "SHOW NOTHING", variables: vars("read_only", "OFF")},
			want: health.Replication{Role: health.RolePrimary, Access: health.AccessWrite, Hidden: "the server does not tell whom it follows", Assumed: true},
		},
		"variables are not told": {
			depth: dialect.DepthAll, asked: 3,
			conn: scripted{readOnly: "0"}, want: health.Replication{Role: health.RolePrimary, Access: health.AccessWrite},
		},
		"Galera": {
			depth: dialect.DepthAll, asked: 1,
			conn: scripted{variables: maria("read_only", "OFF", "wsrep_on", "ON")},
			want: health.Replication{Role: health.RolePrimary, Access: health.AccessWrite, Server: "2", Equal: true},
		},
		"a member of Group Replication": {
			depth: dialect.DepthAll, asked: 2,
			conn: scripted{
				knows: "SHOW REPLICA STATUS", columns: append([]string{"Channel_Name"}, mysqlColumns...),
				sources:   [][]driver.Value{{"group_replication_recovery", "No", "No", nil, int64(0)}},
				variables: vars("version", "9.7.4", "read_only", "OFF", "server_id", "2"),
			},
			want: health.Replication{Role: health.RolePrimary, Access: health.AccessWrite, Server: "2"},
		},
		"another answer": {
			depth: dialect.DepthAll, asked: 2,
			conn: scripted{columns: []string{"Hostgroup"}, sources: [][]driver.Value{{"1"}}, variables: vars("read_only", "ON", "server_id", "2")},
			want: health.Replication{
				Role: health.RoleReplica, Access: health.AccessRead, Server: "2", Hidden: "the server does not tell whom it follows", Assumed: true,
			},
		},
		"interrupted": {
			depth: dialect.DepthAll, asked: 2,
			conn: scripted{fails: &mysql.MySQLError{Number: 1317}, variables: maria("read_only", "OFF")}, class: health.Failed,
		},
		"lost": {
			depth: dialect.DepthAll, asked: 2,
			conn: scripted{fails: mysql.ErrInvalidConn, variables: maria("read_only", "OFF")}, class: health.Lost,
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, report := dialect.WithReport(t.Context(), 0)
			report.Causal = true
			err := Dialect{}.Replication(ctx, &tc.conn, tc.depth)
			if (err != nil) != (tc.class != health.Neutral) || tc.class == health.Lost && !errors.Is(err, mysql.ErrInvalidConn) {
				t.Errorf("%v", err)
			}
			if p := report.Replication; err != nil && (p == nil || p.Access != health.AccessWrite || p.Role != health.RoleUnknown || p.Hidden == "") {
				t.Errorf("before it failed it told %+v", p)
			}
			if err == nil && !reflect.DeepEqual(*report.Replication, tc.want) {
				t.Errorf("\ngot  %+v\nwant %+v", *report.Replication, tc.want)
			}
			if len(tc.conn.asked) != tc.asked {
				t.Errorf("asked %q", tc.conn.asked)
			}
		})
	}
}

// What a server says that is no position is none.
func TestPositionsOfNonsense(t *testing.T) {
	for _, text := range []string{"", ",", "0-1", "0-1-x", "a:b:c", "uuid", "uuid:", "uuid:5-2", "::", "-1--2"} {
		for _, p := range []health.Position{gtids(text), executed(text)} {
			for _, m := range p {
				if m.At == 0 {
					t.Errorf("%q: %v", text, p)
				}
			}
			if _, known := p.Compare(health.Position{{Origin: "0", At: 1}}); known {
				t.Errorf("%q: %v", text, p)
			}
		}
	}
}
