package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"slices"
	"strings"

	"github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/health"
)

// A check measures the node, and not the connection that it runs on. The DSN,
// init_connect and the server's defaults bend that: with wsrep_sync_wait a SELECT
// of ours waits for the group, with autocommit=0 it reads one snapshot for ever.
// A connection of ours gets settings of ours. On one that a program is to get,
// each statement brings its own and leaves nothing behind.

// causeless makes a query not wait for the group, on a Galera node of MariaDB.
// Other servers take it for a comment.
const causeless = "/*M!100101 SET STATEMENT wsrep_sync_wait=0 FOR */ "

// ask is [dialect.QueryRows] without a causal wait, where there may be one. A
// server that does not know the setting is asked without it.
func ask(ctx context.Context, conn driver.Conn, query string, limit int) ([][]string, error) {
	if !dialect.ReportOf(ctx).Causal {
		return dialect.QueryRows(ctx, conn, query, limit)
	}
	rows, err := dialect.QueryRows(ctx, conn, causeless+query, limit)
	if hasNumber(err, unknownVariable, syntaxError, notInSetStatement) {
		return dialect.QueryRows(ctx, conn, query, limit)
	}
	return rows, err
}

// Error numbers of a setting that the server does not know, or not there.
const (
	syntaxError       = 1064
	unknownVariable   = 1193
	notInSetStatement = 1971
)

// Error numbers that a node has when it leaves, and a single session at other
// times.
const (
	serverShutdown = 1053
	hookFailed     = 3100
)

func hasNumber(err error, numbers ...uint16) bool {
	var e *mysql.MySQLError
	return errors.As(err, &e) && slices.Contains(numbers, e.Number)
}

// Ask runs the query without a causal wait.
func (Dialect) Ask(ctx context.Context, conn driver.Conn, query string, limit int) ([][]string, error) {
	return ask(ctx, conn, query, limit)
}

// settings are those of a connection of ours. wait_timeout is the servers' own
// default: a DSN or a server may have a shorter one than the time between two
// probes. The second text is for servers without wsrep.
var settings = []string{
	"SET SESSION autocommit=1, wait_timeout=28800, wsrep_sync_wait=0",
	"SET SESSION autocommit=1, wait_timeout=28800",
}

// Settle gives a conn settings of ours, and notes the server's identity.
func (Dialect) Settle(ctx context.Context, conn driver.Conn) error {
	for _, statement := range settings {
		err := exec(ctx, conn, statement)
		if err == nil {
			break
		}
		if !ownFault(err) || ctx.Err() != nil {
			return err
		}
	}
	rows, err := dialect.QueryRows(ctx, conn, serverQuery, 8)
	if err != nil && (!ownFault(err) || ctx.Err() != nil) {
		return err
	}
	dialect.ReportOf(ctx).Server = serverOf(rows)
	return nil
}

// serverQuery asks which server this is. server_uid is made from a MAC address,
// which containers on two machines may share, and server_id is 1 unless somebody
// sets it.
const serverQuery = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('server_uuid', 'server_uid', 'server_id', 'hostname', 'port')"

func serverOf(rows [][]string) (s health.Server) {
	var parts []string
	for _, row := range rows {
		if len(row) == 2 {
			name := strings.ToLower(row[0])
			parts = append(parts, name+"="+row[1])
			s.Unique = s.Unique || len(row[1]) >= 16 && (name == "server_uuid" || name == "server_uid")
			if name == "port" {
				s.Port = row[1]
			}
		}
	}
	slices.Sort(parts)
	s.Text = strings.Join(parts, " ")
	return s
}

// Tidy ends a transaction that a check has left open where autocommit is off.
// The words at the end overrule completion_type.
func (Dialect) Tidy(ctx context.Context, conn driver.Conn) error {
	err := exec(ctx, conn, "ROLLBACK AND NO CHAIN NO RELEASE")
	if err != nil && ownFault(err) && ctx.Err() == nil {
		return nil
	}
	return err
}

// exec runs a statement, if the conn can do so without preparing it.
func exec(ctx context.Context, conn driver.Conn, statement string) error {
	e, ok := conn.(driver.ExecerContext)
	if !ok {
		return nil
	}
	_, err := e.ExecContext(ctx, statement, nil)
	if errors.Is(err, driver.ErrSkip) {
		return nil
	}
	return err
}
