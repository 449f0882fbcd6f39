package mysql

import (
	"errors"

	"github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql/internal/health"
)

// MayHaveRun reports whether the server may have run the statement although it
// answered with err. This is so for a server that lost its group while it
// committed, and where a hook of Group Replication failed, which may be the one
// after the commit was sent to the group.
func (Dialect) MayHaveRun(err error) bool {
	var e *mysql.MySQLError
	return errors.As(err, &e) && (e.Number == 1180 || e.Number == 3100) && classOf(e.Number, string(e.SQLState[:]), e.Message) == health.Leaving
}

// Classify returns what an error of go-sql-driver/mysql says about the node. ok
// is false for errors that are not this driver's.
func (Dialect) Classify(err error) (c health.Class, ok bool) { return classify(err) }

func classify(err error) (c health.Class, ok bool) {
	var e *mysql.MySQLError
	if errors.As(err, &e) {
		return classOf(e.Number, string(e.SQLState[:]), e.Message), true
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
