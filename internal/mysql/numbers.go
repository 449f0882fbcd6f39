package mysql

import (
	"strings"

	"github.com/EnumApps/clustersql/internal/health"
)

// A number is an error number that says something about the node, or whose
// SQLSTATE would say the wrong thing.
type number struct {
	number uint16
	state  string // SQLSTATE; servers send none before the handshake
	symbol string
	says   string // in lower case: what the message must hold, where the number has two meanings
	class  health.Class
	source string
}

// Where the numbers are from.
const (
	fromBoth     = "MariaDB errmsg-utf8.txt, MySQL server error reference"
	fromMariaDB  = "MariaDB errmsg-utf8.txt"
	fromMySQL    = "MySQL server error reference"
	fromGalera   = "MariaDB and Percona XtraDB Cluster, wsrep"
	fromClient   = "MySQL client error reference; proxies pass it on"
	fromRouter   = "MySQL Router, and MySQL client error reference"
	fromProxySQL = "ProxySQL, enum PROXYSQL_MYSQL_ERR"
)

// numbers are sorted by number. The first entry whose message fits decides. A
// number whose entries all do not fit says nothing.
//
// A client's number, from 2000 on, comes from a proxy, and now and then from a
// storage engine that asks another server for a part of the statement. So the
// statement may have run in part, and one such error proves nothing.
//
// Not here are errors that only the server's own log shows, such as
// ER_NORMAL_SHUTDOWN, and those that name the statement at fault.
var numbers = []number{
	{1037, "HY001", "ER_OUTOFMEMORY", "", health.Saturated, fromBoth},
	{1040, "08004", "ER_CON_COUNT_ERROR", "", health.Saturated, fromBoth + "; MySQL Router"},
	{1041, "HY000", "ER_OUT_OF_RESOURCES", "", health.Saturated, fromBoth},
	{1042, "08S01", "ER_BAD_HOST_ERROR", "", health.Lost, fromBoth},
	{1043, "08S01", "ER_HANDSHAKE_ERROR", "", health.Misconfigured, fromBoth},
	{1044, "42000", "ER_DBACCESS_DENIED_ERROR", "", health.Misconfigured, fromBoth},
	{1045, "28000", "ER_ACCESS_DENIED_ERROR", "", health.Misconfigured, fromBoth},
	{1046, "3D000", "ER_NO_DB_ERROR", "", health.Misconfigured, fromBoth},
	{1047, "08S01", "ER_UNKNOWN_COM_ERROR", "wsrep", health.NotReady, fromGalera}, // else an unknown command
	{1049, "42000", "ER_BAD_DB_ERROR", "", health.Misconfigured, fromBoth},
	{1053, "08S01", "ER_SERVER_SHUTDOWN", "", health.Leaving, fromBoth},
	{1080, "08S01", "ER_FORCING_CLOSE", "", health.Lost, fromBoth},
	{1129, "HY000", "ER_HOST_IS_BLOCKED", "", health.Misconfigured, fromBoth},
	{1130, "HY000", "ER_HOST_NOT_PRIVILEGED", "", health.Misconfigured, fromBoth},
	{1135, "HY000", "ER_CANT_CREATE_THREAD", "", health.Saturated, fromBoth},
	{1152, "08S01", "ER_ABORTING_CONNECTION", "", health.Lost, fromBoth},
	{1153, "08S01", "ER_NET_PACKET_TOO_LARGE", "", health.Neutral, fromBoth}, // the statement is too large
	{1158, "08S01", "ER_NET_READ_ERROR", "", health.Lost, fromBoth},
	{1159, "08S01", "ER_NET_READ_INTERRUPTED", "", health.Lost, fromBoth},
	{1160, "08S01", "ER_NET_ERROR_ON_WRITE", "", health.Lost, fromBoth},
	{1161, "08S01", "ER_NET_WRITE_INTERRUPTED", "", health.Lost, fromBoth},
	{1180, "HY000", "ER_ERROR_DURING_COMMIT", "not connected to primary component", health.Leaving, fromGalera}, // else a storage engine's error
	{1180, "HY000", "ER_ERROR_DURING_COMMIT", "got error 6 ", health.Leaving, fromGalera},                       // older servers have only the number of the provider's status, WSREP_CONN_FAIL
	{1184, "08S01", "ER_NEW_ABORTING_CONNECTION", "", health.Lost, fromBoth},
	{1189, "08S01", "ER_MASTER_NET_READ", "", health.Neutral, fromBoth},  // of a replication statement
	{1190, "08S01", "ER_MASTER_NET_WRITE", "", health.Neutral, fromBoth}, // the same
	{1193, "HY000", "ER_UNKNOWN_SYSTEM_VARIABLE", "", health.Misconfigured, fromBoth},
	{1203, "42000", "ER_TOO_MANY_USER_CONNECTIONS", "", health.Saturated, fromBoth},
	{1218, "08S01", "ER_CONNECT_TO_MASTER", "", health.Neutral, fromBoth}, // of a replication statement
	{1226, "42000", "ER_USER_LIMIT_REACHED", "", health.Saturated, fromBoth + "; ProxySQL"},
	{1229, "HY000", "ER_GLOBAL_VARIABLE", "", health.Misconfigured, fromBoth},
	{1238, "HY000", "ER_INCORRECT_GLOBAL_LOCAL_VAR", "", health.Misconfigured, fromBoth},
	{1251, "08004", "ER_NOT_SUPPORTED_AUTH_MODE", "", health.Misconfigured, fromBoth},
	{1273, "HY000", "ER_UNKNOWN_COLLATION", "", health.Misconfigured, fromBoth},
	{1275, "HY000", "ER_SERVER_IS_IN_SECURE_AUTH_MODE", "", health.Misconfigured, fromBoth},
	{1290, "HY000", "ER_OPTION_PREVENTS_STATEMENT", "read-only", health.ReadOnly, fromBoth}, // else --secure-file-priv and others
	{1290, "HY000", "ER_OPTION_PREVENTS_STATEMENT", "read_only", health.ReadOnly, fromBoth},
	{1298, "HY000", "ER_UNKNOWN_TIME_ZONE", "", health.Misconfigured, fromBoth},
	{1524, "HY000", "ER_PLUGIN_IS_NOT_LOADED", "", health.Misconfigured, fromBoth},
	{1698, "28000", "ER_ACCESS_DENIED_NO_PASSWORD_ERROR", "", health.Misconfigured, fromBoth},
	{1820, "HY000", "ER_MUST_CHANGE_PASSWORD", "", health.Misconfigured, fromBoth},
	{1836, "HY000", "ER_READ_ONLY_MODE", "", health.ReadOnly, fromBoth}, // 1792 is what a READ ONLY transaction gets on any node
	{1862, "HY000", "ER_MUST_CHANGE_PASSWORD_LOGIN", "", health.Misconfigured, fromBoth},
	{1873, "28000", "ER_ACCESS_DENIED_CHANGE_USER_ERROR", "", health.Misconfigured, fromBoth},
	{1874, "HY000", "ER_INNODB_READ_ONLY", "", health.ReadOnly, fromBoth},
	{1927, "70100", "ER_CONNECTION_KILLED", "", health.Lost, fromMariaDB + "; MaxScale"}, // by a shutdown, or by an administrator's KILL
	{2002, "HY000", "CR_CONNECTION_ERROR", "", health.Lost, fromClient},
	{2003, "HY000", "CR_CONN_HOST_ERROR", "", health.Lost, fromRouter},
	{2005, "HY000", "CR_UNKNOWN_HOST", "", health.Lost, fromClient},
	{2006, "HY000", "CR_SERVER_GONE_ERROR", "", health.Lost, fromClient},
	{2012, "HY000", "CR_SERVER_HANDSHAKE_ERR", "", health.Lost, fromClient},
	{2013, "HY000", "CR_SERVER_LOST", "", health.Lost, fromClient},
	{2026, "HY000", "CR_SSL_CONNECTION_ERROR", "", health.Misconfigured, fromRouter},
	{2027, "HY000", "CR_MALFORMED_PACKET", "", health.Lost, fromClient},
	{2055, "HY000", "CR_SERVER_LOST_EXTENDED", "", health.Lost, fromClient},
	{2059, "HY000", "CR_AUTH_PLUGIN_CANNOT_LOAD", "", health.Misconfigured, fromClient},
	{2061, "HY000", "CR_AUTH_PLUGIN_ERR", "", health.Misconfigured, fromClient},
	{3032, "HY000", "ER_SERVER_OFFLINE_MODE", "", health.NotReady, fromBoth},
	{3100, "HY000", "ER_RUN_HOOK_ERROR", "replication hook", health.Leaving, fromMySQL}, // group replication
	{3118, "HY000", "ER_ACCOUNT_HAS_BEEN_LOCKED", "", health.Misconfigured, fromMySQL},
	{3159, "HY000", "ER_SECURE_TRANSPORT_REQUIRED", "", health.Misconfigured, fromMySQL},
	{3168, "HY000", "ER_SERVER_ISNT_AVAILABLE", "", health.NotReady, fromMySQL},
	{3169, "HY000", "ER_SESSION_WAS_KILLED", "", health.Lost, fromMySQL},
	{3955, "HY000", "ER_USER_ACCESS_DENIED_FOR_USER_ACCOUNT_BLOCKED_BY_PASSWORD_LOCK", "", health.Misconfigured, fromMySQL},
	{4031, "HY000", "ER_CLIENT_INTERACTION_TIMEOUT", "disconnected by the server", health.Lost, fromMySQL}, // MariaDB's 4031 is about triggers
	{4150, "HY000", "ER_USER_IS_BLOCKED", "", health.Misconfigured, fromMariaDB},
	{4151, "HY000", "ER_ACCOUNT_HAS_BEEN_LOCKED", "", health.Misconfigured, fromMariaDB},
	{6400, "HY000", "ER_SERVER_OFFLINE_MODE_REASON", "", health.NotReady, fromMySQL},
	{9001, "HY000", "ER_PROXYSQL_MAX_CONN_TIMEOUT", "hostgroup", health.NotReady, fromProxySQL}, // TiDB's 9001 is about its placement driver
	{9002, "HY000", "ER_PROXYSQL_MAX_CONN_FAILURES", "hostgroup", health.NotReady, fromProxySQL},
}

// byNumber finds the entries of a number.
var byNumber = func() map[uint16][]number {
	m := make(map[uint16][]number, len(numbers))
	for _, n := range numbers {
		m[n.number] = append(m[n.number], n)
	}
	return m
}()

// states are the classes of SQLSTATEs, by how these begin, for numbers that
// are not known. The first that fits decides. A syntax error, a missing table
// or a missing right is the statement's own when a program sent it, and a
// mistake in the settings when a check did: [health.ClassifyTraffic] sees to
// that.
var states = []struct {
	prefix string
	class  health.Class
}{
	{"08004", health.Neutral}, // the server rejected the login, for any reason
	{"08", health.Lost},
	{"28", health.Misconfigured},
	{"3D", health.Misconfigured},
	{"42", health.Misconfigured},
	{"53", health.Saturated},
}

// classOf classes a server's error.
func classOf(number uint16, state, message string) health.Class {
	if entries, known := byNumber[number]; known {
		message = strings.ToLower(message)
		for _, n := range entries {
			if strings.Contains(message, n.says) {
				return n.class
			}
		}
		return health.Neutral
	}
	for _, s := range states {
		if strings.HasPrefix(state, s.prefix) {
			return s.class
		}
	}
	return health.Neutral
}
