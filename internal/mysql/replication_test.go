package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"reflect"
	"slices"
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
	members   [][]driver.Value
	denied    int    // how many of membersQueries it refuses
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
	case slices.Contains(membersQueries, query):
		if slices.Index(membersQueries, query) < c.denied {
			return nil, &mysql.MySQLError{Number: 1142, SQLState: [5]byte([]byte("42000"))}
		}
		return &table{[]string{"MEMBER_STATE", "MEMBER_ROLE", "self", "VIEW_ID", "queue"}, c.members}, nil
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
		"for the status alone": {
			depth: dialect.DepthStatus, asked: 1,
			conn: scripted{variables: maria("read_only", "ON")},
			want: health.Replication{Access: health.AccessRead, Server: "2", Hidden: notAsked},
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

// What a member of Group Replication says, for every state of its own and of the
// others: it may serve if it is online and sees the most of its group.
func TestGroupMembers(t *testing.T) {
	states := []string{"ONLINE", "RECOVERING", "OFFLINE", "ERROR", "UNREACHABLE", ""}
	present := map[string]bool{"ONLINE": true, "RECOVERING": true}
	seen := 0
	for _, own := range states {
		for _, role := range []string{"PRIMARY", "SECONDARY", ""} {
			for _, second := range states {
				for _, third := range states {
					for count := 1; count <= 3; count++ {
						seen++
						rows := [][]driver.Value{
							{[]byte(own), []byte(role), int64(1), nil, nil},
							{[]byte(second), []byte("SECONDARY"), int64(0), nil, nil},
							{[]byte(third), []byte("SECONDARY"), int64(0), nil, nil},
						}[:count]
						away := 0
						for _, state := range []string{own, second, third}[:count] {
							if !present[state] {
								away++
							}
						}
						conn := &scripted{
							members:   rows,
							variables: [][]driver.Value{{"version", "9.7.4"}, {"read_only", "OFF"}, {"group_replication_group_name", "aaaa"}, {"gtid_executed", "aaaa:1-7"}},
						}
						ctx, report := dialect.WithReport(t.Context(), 0)
						if err := (Dialect{}).Replication(ctx, conn, dialect.DepthAll); err != nil {
							t.Fatal(err)
						}
						r := report.Replication
						wantRole := map[string]health.Role{"PRIMARY": health.RolePrimary, "SECONDARY": health.RoleReplica}[role]
						if own == "OFFLINE" && count == 1 {
							if r.Role != health.RolePrimary || r.Unfit != "" || !r.Alone || r.Equal || r.Group != "aaaa" {
								t.Errorf("a server by itself: %+v", r)
							}
							continue
						}
						if fit := r.Unfit == ""; fit != (own == "ONLINE" && 2*away < count) || r.Role != wantRole || !r.Equal || r.Alone || r.Group != "aaaa" {
							t.Errorf("%v: %+v", rows, r)
						}
					}
				}
			}
		}
	}
	if seen != 6*3*6*6*3 {
		t.Errorf("%d cases", seen)
	}
	// No own row: the server has never joined. No right: read_only decides.
	for name, conn := range map[string]*scripted{
		"no row":   {variables: [][]driver.Value{{"read_only", "ON"}, {"group_replication_group_name", "aaaa"}}},
		"no right": {variables: [][]driver.Value{{"read_only", "ON"}, {"group_replication_group_name", "aaaa"}}, denied: 2},
	} {
		ctx, report := dialect.WithReport(t.Context(), 0)
		if err := (Dialect{}).Replication(ctx, conn, dialect.DepthAll); err != nil {
			t.Fatal(err)
		}
		r := report.Replication
		if name == "no row" && r.Unfit == "" || name == "no right" && (r.Unfit != "" || r.Role != health.RoleReplica || !strings.HasSuffix(r.Hidden, "replication_group_members")) {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// How far a member is, and in which view.
func TestGroupPlaces(t *testing.T) {
	row := func(state, role string, self bool, view, queue driver.Value) []driver.Value {
		is := int64(0)
		if self {
			is = 1
		}
		return []driver.Value{state, role, is, view, queue}
	}
	other := row("ONLINE", "PRIMARY", false, []byte("17:5"), int64(9))
	for name, tc := range map[string]struct {
		conn               scripted
		executed           string
		view               health.View
		position, received health.Position
		hidden             bool
		asked              int
	}{
		"a secondary": {
			conn: scripted{members: [][]driver.Value{other, row("ONLINE", "SECONDARY", true, []byte("17:5"), int64(3))}}, executed: "aaaa:1-7,\nbbbb:1-2",
			view: health.View{Group: "17", Conf: 5}, position: health.Position{{Origin: "aaaa", At: 7}, {Origin: "bbbb", At: 2}},
			received: health.Position{{Origin: "aaaa", At: 10}}, asked: 2,
		},
		"a primary": {
			conn: scripted{members: [][]driver.Value{row("ONLINE", "PRIMARY", true, []byte("17:6"), int64(0))}}, executed: "aaaa:1-7",
			view: health.View{Group: "17", Conf: 6}, position: health.Position{{Origin: "aaaa", At: 7}}, asked: 2,
		},
		"nothing was written yet": {
			conn: scripted{members: [][]driver.Value{other, row("ONLINE", "SECONDARY", true, []byte("17:1"), int64(0))}},
			view: health.View{Group: "17", Conf: 1}, position: health.Position{{Origin: "aaaa"}}, received: health.Position{{Origin: "aaaa"}}, asked: 2,
		},
		"the account may not see the statistics": {
			conn: scripted{members: [][]driver.Value{other, row("ONLINE", "SECONDARY", true, nil, nil)}, denied: 1}, executed: "aaaa:1-7",
			position: health.Position{{Origin: "aaaa", At: 7}}, hidden: true, asked: 3,
		},
		"other words": {
			conn: scripted{members: [][]driver.Value{other, row("ONLINE", "SECONDARY", true, "here", "many")}}, executed: "aaaa:1-7",
			position: health.Position{{Origin: "aaaa", At: 7}}, asked: 2,
		},
	} {
		tc.conn.variables = [][]driver.Value{{"version", "9.7.4"}, {"read_only", "ON"}, {"group_replication_group_name", "AAAA"}, {"gtid_executed", tc.executed}}
		ctx, report := dialect.WithReport(t.Context(), 0)
		if err := (Dialect{}).Replication(ctx, &tc.conn, dialect.DepthAll); err != nil {
			t.Fatal(err)
		}
		r := report.Replication
		if r.Unfit != "" || r.View != tc.view || !slices.Equal(r.Position, tc.position) || !slices.Equal(r.Received, tc.received) ||
			len(tc.conn.asked) != tc.asked || tc.hidden != strings.HasSuffix(r.Hidden, "replication_group_member_stats") {
			t.Errorf("%s: %+v, asked %d times", name, r, len(tc.conn.asked))
		}
	}
}
