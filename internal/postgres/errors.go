package postgres

import (
	"errors"
	"strings"

	"github.com/EnumApps/clustersql/internal/health"
)

// states are the SQLSTATEs, or their beginnings, that say something about a node
// or about a login. The first that fits decides; all others are the statement's
// own. The names are those of PostgreSQL's errcodes.txt.
//
// 57P01 is what an administrator's pg_terminate_backend gives one session, and
// what a shutdown gives all of them. One such error proves nothing: the probe
// that it asks for finds the shutdown.
var states = []struct {
	prefix string
	class  health.Class
	name   string
}{
	{"08", health.Failed, "connection_exception; of a statement it is a foreign server's"},
	{"0A000", health.Misconfigured, "feature_not_supported; of a login: the method is not known"},
	{"25006", health.ReadOnly, "read_only_sql_transaction"},
	{"25P03", health.Lost, "idle_in_transaction_session_timeout"},
	{"25P04", health.Lost, "transaction_timeout"},
	{"28", health.Misconfigured, "invalid_authorization_specification"},
	{"3D", health.Misconfigured, "invalid_catalog_name"},
	{"42", health.Misconfigured, "syntax_error_or_access_rule_violation"},
	{"53", health.Saturated, "insufficient_resources; 53300 is too_many_connections"},
	{"57P01", health.Lost, "admin_shutdown"},
	{"57P02", health.Lost, "crash_shutdown"},
	{"57P03", health.NotReady, "cannot_connect_now"},
	{"57P04", health.Misconfigured, "database_dropped"},
	{"57P05", health.Lost, "idle_session_timeout"},
}

// stateOf returns the SQLSTATE of an error of PostgreSQL. Both drivers' error
// types have the method.
func stateOf(err error) (state string, ok bool) {
	var e interface {
		error
		SQLState() string
	}
	if !errors.As(err, &e) {
		return "", false
	}
	state = e.SQLState()
	return state, len(state) == 5
}

// Classify returns what an error of PostgreSQL says about the node. ok is false
// for errors without a SQLSTATE.
func (Dialect) Classify(err error) (health.Class, bool) {
	state, ok := stateOf(err)
	if !ok {
		return health.Neutral, false
	}
	for _, s := range states {
		if strings.HasPrefix(state, s.prefix) {
			return s.class, true
		}
	}
	return health.Neutral, true
}

// Unread reports whether the session was idle for too long. The server looks for
// that after it has stopped the clock and before it runs what it has read
// (postgres.c, PostgresMain).
func (Dialect) Unread(err error) bool {
	state, _ := stateOf(err)
	return state == "25P03" || state == "57P05"
}

// MayBeOwn reports whether the error is the one that a transaction gets which
// began as READ ONLY, on any node.
func (Dialect) MayBeOwn(err error, bound bool) bool {
	state, _ := stateOf(err)
	return bound && state == "25006"
}

// MayHaveRun reports whether the server says that it does not know whether the
// statement was committed.
func (Dialect) MayHaveRun(err error) bool {
	state, _ := stateOf(err)
	return state == "08007" || state == "40003" // transaction_resolution_unknown, statement_completion_unknown
}
