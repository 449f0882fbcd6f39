package postgres

import (
	"context"
	"database/sql/driver"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/health"
)

// accessQuery asks as libpq does for target_session_attrs.
const accessQuery = "SELECT pg_is_in_recovery(), current_setting('transaction_read_only')"

// allQuery asks for everything in one round trip. No account needs a right for
// it, but of pg_stat_wal_receiver others than pg_read_all_stats see only that
// there is a row. The timeline in the control file is the old one until the first
// checkpoint after a promotion; the name of the log file has the new one. That
// name is not to be had on a standby. What is replayed can be read there, and
// what is flushed is what a standby can get.
const allQuery = "SELECT r.standby, current_setting('transaction_read_only')," +
	" (SELECT system_identifier FROM pg_control_system())," +
	" CASE WHEN r.standby THEN (SELECT timeline_id::text FROM pg_control_checkpoint())" +
	" ELSE 'x' || substr(pg_walfile_name(pg_current_wal_flush_lsn()), 1, 8) END," +
	" CASE WHEN r.standby THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END - '0/0'::pg_lsn," +
	" CASE WHEN r.standby THEN pg_last_wal_receive_lsn() - '0/0'::pg_lsn END," +
	" CASE WHEN r.standby THEN extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) END," +
	" w.pid IS NOT NULL, w.status, w.received_tli" +
	" FROM (SELECT pg_is_in_recovery() AS standby) r LEFT JOIN pg_stat_wal_receiver w ON true"

// Replication asks a server for its part in replication. One that does not know
// the functions, as some services built on PostgreSQL, is asked for its role
// alone.
func (Dialect) Replication(ctx context.Context, conn driver.Conn, depth dialect.Depth) error {
	hidden := ""
	if depth == dialect.DepthAll || depth == dialect.DepthStatus {
		row, err := answer(ctx, conn, allQuery)
		if err == nil && len(row) == allColumns {
			dialect.ReportOf(ctx).Replication = told(row)
			return nil
		}
		if err != nil && (!refusedQuery(err) || ctx.Err() != nil) {
			return err
		}
		hidden = hiddenPlace
	}
	row, err := answer(ctx, conn, accessQuery)
	if err != nil {
		return err
	}
	r := &health.Replication{Hidden: hidden}
	if len(row) == 2 {
		r.Role, r.Access = roleOf(row[0]), accessOf(row[1])
	}
	dialect.ReportOf(ctx).Replication = r
	return nil
}

// answer returns the one row of an answer to a query whose first columns are the role
// and the access. A primary that takes no writes is asked once more: its statement may
// have begun before the end of its promotion. It says then that it is no standby, and
// takes no writes all the same, and writers would wait for the next probe.
func answer(ctx context.Context, conn driver.Conn, query string) (row []string, err error) {
	for range 2 {
		rows, err := dialect.QueryRows(ctx, conn, query, 2)
		if err != nil || len(rows) != 1 {
			return nil, err
		}
		row = rows[0]
		if len(row) < 2 || roleOf(row[0]) != health.RolePrimary || accessOf(row[1]) != health.AccessRead {
			break
		}
	}
	return row, nil
}

// refusedQuery reports whether the server does not know a query, does not allow it,
// or does not answer it. The simple one may be answered. That is not so if the
// connection or the server ends, or has no room.
func refusedQuery(err error) bool {
	state, ok := stateOf(err)
	return ok && !strings.HasPrefix(state, "57P") && !slices.Contains([]string{"08", "53"}, state[:2])
}

const allColumns = 10

// Why a server does not tell all.
const (
	hiddenPlace    = "the server does not tell its place in the log"
	hiddenReceiver = "the account may not see pg_stat_wal_receiver: GRANT pg_read_all_stats, or pg_monitor"
)

// told reads the answer to allQuery.
func told(row []string) *health.Replication {
	r := &health.Replication{Role: roleOf(row[0]), Access: accessOf(row[1]), System: row[2], Timeline: timelineOf(row[3])}
	r.Position, r.Received = position(row[4]), position(row[5])
	if r.Role != health.RoleReplica {
		return r
	}
	if seconds, err := strconv.ParseFloat(row[6], 64); err == nil && seconds > 0 {
		r.Age = time.Duration(min(seconds, maxAge) * float64(time.Second))
	}
	if received := timelineOf(row[9]); received != 0 {
		r.Timeline = received
	}
	switch receives, status := isTrue(row[7]), row[8]; {
	case !receives:
		r.Stream = health.StreamBroken
	case status == "":
		r.Hidden = hiddenReceiver
	case status == "streaming":
		r.Stream = health.StreamRuns
	default:
		r.Stream = health.StreamBroken
	}
	return r
}

// maxAge keeps an age in seconds far from the limits of a duration.
const maxAge = 1e9

// roleOf reads pg_is_in_recovery.
func roleOf(standby string) health.Role {
	switch {
	case isTrue(standby):
		return health.RoleReplica
	case standby == "false", standby == "f":
		return health.RolePrimary
	}
	return health.RoleUnknown
}

// accessOf reads transaction_read_only.
func accessOf(readOnly string) health.Access {
	switch readOnly {
	case "off":
		return health.AccessWrite
	case "on":
		return health.AccessRead
	}
	return health.AccessUnknown
}

// isTrue reads a boolean, which drivers give as such or as text.
func isTrue(text string) bool { return text == "true" || text == "t" }

// timelineOf reads a timeline: a decimal number, or a hexadecimal one after x.
func timelineOf(text string) uint64 {
	base := 10
	if hex, ok := strings.CutPrefix(text, "x"); ok {
		text, base = hex, 16
	}
	n, _ := strconv.ParseUint(text, base, 64)
	return n
}

// position returns a place in the log. The log of one cluster is one number,
// whatever the timeline.
func position(text string) health.Position {
	whole, _, _ := strings.Cut(text, ".")
	n, err := strconv.ParseUint(whole, 10, 64)
	if err != nil || n == 0 {
		return nil
	}
	return health.Position{{At: n}}
}
