package mysql

import (
	"errors"
	"strings"

	"github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql/internal/health"
)

// MayHaveRun reports whether the server may have run the statement although it
// answered with err. This is so for a server that lost its group while it
// committed.
func (Dialect) MayHaveRun(err error) bool {
	var e *mysql.MySQLError
	return errors.As(err, &e) && e.Number == 1180 && classOf(e.Number, strings.ToLower(e.Message)) == health.Leaving
}

// Classify returns what an error of go-sql-driver/mysql says about the node. ok
// is false for errors that are not this driver's.
func (Dialect) Classify(err error) (c health.Class, ok bool) { return classify(err) }

func classify(err error) (c health.Class, ok bool) {
	var e *mysql.MySQLError
	if errors.As(err, &e) {
		return classOf(e.Number, strings.ToLower(e.Message)), true
	}
	for _, lost := range []error{mysql.ErrInvalidConn, mysql.ErrMalformPkt, mysql.ErrPktSync, mysql.ErrPktSyncMul} {
		if errors.Is(err, lost) {
			return health.Lost, true
		}
	}
	for _, config := range []error{
		mysql.ErrNoTLS, mysql.ErrCleartextPassword, mysql.ErrNativePassword, mysql.ErrOldPassword,
		mysql.ErrUnknownPlugin, mysql.ErrOldProtocol,
	} {
		if errors.Is(err, config) {
			return health.Misconfigured, true
		}
	}
	if errors.Is(err, mysql.ErrPktTooLarge) {
		return health.Neutral, true
	}
	return health.Neutral, false
}

// classOf returns the class of a server's error number. The message is in lower
// case. Some numbers have two meanings, which the message tells apart.
func classOf(number uint16, message string) health.Class {
	switch number {
	case 1047: // ER_UNKNOWN_COM_ERROR, which Galera gives for "not prepared for application use"
		if strings.Contains(message, "wsrep") {
			return health.NotReady
		}
	case 1180: // ER_ERROR_DURING_COMMIT
		if strings.Contains(message, "not connected to primary component") {
			return health.Leaving
		}
	case 1290: // ER_OPTION_PREVENTS_STATEMENT: --read-only, but also --secure-file-priv and others
		if strings.Contains(message, "read-only") || strings.Contains(message, "read_only") {
			return health.ReadOnly
		}
	case 1836: // ER_READ_ONLY_MODE; 1792 is what a READ ONLY transaction gets on any node
		return health.ReadOnly
	case 1053: // ER_SERVER_SHUTDOWN
		return health.Leaving
	case 1927, 3169: // ER_CONNECTION_KILLED, ER_SESSION_WAS_KILLED: by a shutdown, or by an administrator's KILL
		return health.Lost
	case 1040, 1203, 1226: // ER_CON_COUNT_ERROR, ER_TOO_MANY_USER_CONNECTIONS, ER_USER_LIMIT_REACHED
		return health.Saturated
	case 1044, 1045, 1049, 1129, 1130: // access denied, no such database, host blocked, host not allowed
		return health.Misconfigured
	}
	return health.Neutral
}
