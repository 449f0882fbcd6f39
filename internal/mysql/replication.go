package mysql

import (
	"context"
	"database/sql/driver"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/health"
)

// A server of MariaDB or MySQL that follows another one has a row for it. What
// the row says is asked with a statement that is not the same everywhere, and
// that no other query can be a part of: it is a second round trip.

// accessQuery asks whether the server takes writes. In MySQL super_read_only is
// never ON while read_only is OFF.
const accessQuery = "SELECT @@GLOBAL.read_only"

// variablesQuery asks for everything that is a variable. A server leaves out
// those that it does not know. gtid_current_pos and gtid_slave_pos are
// MariaDB's, gtid_executed is MySQL's.
const variablesQuery = "SHOW GLOBAL VARIABLES WHERE Variable_name IN " +
	"('read_only', 'server_id', 'version', 'gtid_current_pos', 'gtid_slave_pos', 'gtid_executed', 'wsrep_on', 'group_replication_group_name')"

// replicaQueries ask what a server follows: of MariaDB all its sources, and of
// older servers by the older word.
var (
	replicaQueries      = []string{"SHOW REPLICA STATUS", "SHOW SLAVE STATUS"}
	mariaReplicaQueries = []string{"SHOW ALL REPLICAS STATUS", "SHOW ALL SLAVES STATUS"}
)

// Replication asks a server for its part in replication. Whom it follows may get no
// answer while that is being changed: before it asks, it notes all else. All nodes of
// a Galera group are equal. A server that follows nobody and takes writes is a primary.
// One that does not say whom it follows is judged by read_only alone.
func (Dialect) Replication(ctx context.Context, conn driver.Conn, depth dialect.Depth) error {
	f := dialect.ReportOf(ctx)
	v := make(map[string]string)
	if depth != dialect.DepthAccess {
		rows, err := ask(ctx, conn, variablesQuery, 16)
		if err != nil {
			return err
		}
		v = variables(rows)
	}
	if v["read_only"] == "" {
		rows, err := ask(ctx, conn, accessQuery, 2)
		if err != nil {
			return err
		}
		if len(rows) == 1 && len(rows[0]) == 1 {
			v["read_only"] = rows[0][0]
		}
	}
	r := &health.Replication{Access: accessOf(v["read_only"]), Server: v["server_id"]}
	switch {
	case depth == dialect.DepthAccess:
	case isOn(v["wsrep_on"]):
		if r.Equal = true; r.Access == health.AccessWrite {
			r.Role = health.RolePrimary
		}
	case v["group_replication_group_name"] != "":
		c, err := askMembers(ctx, conn, f.Brief && f.Extra != nil)
		if err != nil {
			return err
		}
		r.Position = executed(v["gtid_executed"])
		join(r, strings.ToLower(v["group_replication_group_name"]), c)
	case depth == dialect.DepthStatus:
		r.Hidden = notAsked // the answer waits while the server stops to follow
	default:
		f.Replication = &health.Replication{Access: r.Access, Server: r.Server, Hidden: hiddenSources}
		extra, done := dialect.Extra(ctx)
		defer done()
		sources, hidden, err := askSources(extra, conn, strings.Contains(strings.ToLower(v["version"]), "mariadb"))
		if err != nil {
			return err
		}
		place(r, v, sources, hidden)
	}
	f.Replication = r
	return nil
}

// Why a server does not tell all.
const (
	hiddenSources = "the server does not tell whom it follows"
	hiddenRight   = "the account may not ask whom the server follows: GRANT REPLICA MONITOR in MariaDB, REPLICATION CLIENT in MySQL"
)

// variables makes a map of the rows of SHOW VARIABLES. The names are in lower
// case.
func variables(rows [][]string) map[string]string {
	v := make(map[string]string, len(rows))
	for _, row := range rows {
		if len(row) == 2 {
			v[strings.ToLower(row[0])] = row[1]
		}
	}
	return v
}

// notAsked is why nothing is known of a server's sources.
const notAsked = "nothing in the settings asks for the node's role"

func isOn(text string) bool { return text == "1" || strings.EqualFold(text, "ON") }

// accessOf reads read_only. From MariaDB 12 on it has words beside OFF and ON.
func accessOf(readOnly string) health.Access {
	switch {
	case readOnly == "":
		return health.AccessUnknown
	case readOnly == "0", strings.EqualFold(readOnly, "OFF"):
		return health.AccessWrite
	}
	return health.AccessRead
}

// A source is one server that a replica follows, by the columns of its row. Older
// names of a column are taken for the new one.
type source map[string]string

// askSources asks a server what it follows. hidden says why it does not tell.
func askSources(ctx context.Context, conn driver.Conn, maria bool) (sources []source, hidden string, err error) {
	queries := replicaQueries
	if maria {
		queries = mariaReplicaQueries
	}
	for _, query := range queries {
		columns, rows, err := dialect.QueryTable(ctx, conn, query, mostSources)
		switch {
		case err == nil:
			sources, told := sourcesOf(columns, rows)
			if !told {
				hidden = hiddenSources
			}
			return sources, hidden, nil
		case !ownFault(err) || ctx.Err() != nil || interrupted(err):
			return nil, "", err
		case hasNumber(err, noRight, noRightOnTable):
			return nil, hiddenRight, nil
		}
	}
	return nil, hiddenSources, nil
}

// Error numbers of a right that the account does not have.
const (
	noRightOnTable = 1142
	noRight        = 1227
)

// mostSources is how many sources of one replica are looked at.
const mostSources = 64

// sourcesOf reads the rows. The channels of Group Replication are none. told is
// false for another answer, such as a proxy may give.
func sourcesOf(columns []string, rows [][]string) (sources []source, told bool) {
	names := make([]string, len(columns))
	for i, name := range columns {
		names[i] = strings.NewReplacer("master", "source", "slave", "replica").Replace(strings.ToLower(name))
	}
	if !slices.Contains(names, "replica_io_running") {
		return nil, len(names) == 0
	}
	for _, row := range rows {
		s := make(source, len(row))
		for i, value := range row {
			s[names[i]] = value
		}
		if !strings.HasPrefix(s["channel_name"], "group_replication_") {
			sources = append(sources, s)
		}
	}
	return sources, true
}

// place fills in what the variables and the sources tell.
func place(r *health.Replication, v map[string]string, sources []source, hidden string) {
	r.Hidden, r.Assumed = hidden, hidden != ""
	switch {
	case len(sources) > 0:
		r.Role = health.RoleReplica
		follow(r, sources)
	case r.Access == health.AccessWrite:
		r.Role = health.RolePrimary
	case hidden != "" && r.Access == health.AccessRead:
		r.Role = health.RoleReplica
	}
	switch own := v["gtid_current_pos"]; {
	case v["gtid_executed"] != "":
		r.Position, r.Whole = executed(v["gtid_executed"]), true
	case r.Role == health.RoleReplica:
		r.Position = gtids(v["gtid_slave_pos"])
	default:
		r.Position = gtids(own)
	}
}

// follow fills in what a replica says of its sources. It receives and applies
// only if both threads run for each of them.
func follow(r *health.Replication, sources []source) {
	r.Stream, r.Told = health.StreamRuns, true
	var received []health.Mark
	for _, s := range sources {
		r.Source = s["source_server_id"]
		for _, thread := range []string{"replica_io_running", "replica_sql_running"} {
			if s[thread] != "Yes" && r.Stream == health.StreamRuns {
				r.Stream, r.Fault = health.StreamBroken, thread+" is "+word(s[thread])
			}
		}
		seconds, err := strconv.ParseFloat(s["seconds_behind_source"], 64)
		if err != nil || math.IsNaN(seconds) {
			r.Told = false
			continue
		}
		r.Said = max(r.Said, time.Duration(min(max(seconds, 0), longestLag)*float64(time.Second)))
		received = append(received, gtids(s["gtid_io_pos"])...)
	}
	r.Received = health.NewPosition(received)
}

// longestLag keeps a lag in seconds far from the limits of a duration.
const longestLag = 1e9

// word returns the state of a thread if it is a word, such as Connecting. All
// else is not shown.
func word(text string) string {
	if text == "" || len(text) > 16 || strings.Trim(strings.ToLower(text), "abcdefghijklmnopqrstuvwxyz") != "" {
		return "unknown"
	}
	return text
}

// gtids reads a position of MariaDB: a list of domain-server-sequence.
func gtids(text string) health.Position {
	var marks []health.Mark
	for gtid := range strings.SplitSeq(text, ",") {
		domain, rest, _ := strings.Cut(strings.TrimSpace(gtid), "-")
		_, number, ok := strings.Cut(rest, "-")
		if at, err := strconv.ParseUint(number, 10, 64); ok && err == nil {
			marks = append(marks, health.Mark{Origin: domain, At: at})
		}
	}
	return health.NewPosition(marks)
}

// executed reads a set of MySQL: for each origin, which may have a tag, the
// intervals of its transactions. Of these it keeps how many there are.
func executed(text string) health.Position {
	var marks []health.Mark
	for part := range strings.SplitSeq(text, ",") {
		uuid, rest, _ := strings.Cut(strings.TrimSpace(part), ":")
		count := uint64(0)
		for item := range strings.SplitSeq(rest, ":") {
			from, to, ranged := strings.Cut(item, "-")
			if !ranged {
				to = from
			}
			a, errA := strconv.ParseUint(from, 10, 64)
			b, errB := strconv.ParseUint(to, 10, 64)
			if errA == nil && errB == nil && b >= a { // else it is a tag
				count += b - a + 1
			}
		}
		if uuid != "" && count > 0 {
			marks = append(marks, health.Mark{Origin: uuid, At: count})
		}
	}
	return health.NewPosition(marks)
}
