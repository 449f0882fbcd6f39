// Package mysql is the dialect of MariaDB, MySQL and Galera: their DSNs, error
// numbers, checks and wsrep status. No other package of clustersql imports
// go-sql-driver/mysql. The package keeps no state and judges no node: it
// classifies, and package health decides.
//
// It has no goroutine, channel, lock or clock. The root imports it; it imports
// the packages causal, dialect, health and redact.
package mysql

import (
	"context"
	"database/sql/driver"
	"errors"

	"github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/health"
)

// Dialect is the dialect of MariaDB, MySQL and Galera.
type Dialect struct{}

var _ dialect.Dialect = Dialect{}

// Driver returns go-sql-driver/mysql.
func (Dialect) Driver() driver.Driver { return mysql.MySQLDriver{} }

// Backend names none: the driver is that of [Dialect.Driver].
func (Dialect) Backend() (name, pkg string) { return "", "" }

// Claims reports false: a DSN of the driver has no mark of its own.
func (Dialect) Claims(string) bool { return false }

// Owns reports whether the backend is go-sql-driver/mysql itself.
func (Dialect) Owns(backend driver.Driver) bool {
	switch backend.(type) {
	case mysql.MySQLDriver, *mysql.MySQLDriver:
		return true
	}
	return false
}

// Speaks is [Dialect.Owns]: a driver that wraps the mysql driver does not show
// what is in it.
func (d Dialect) Speaks(backend driver.Driver) bool { return d.Owns(backend) }

// Unread reports whether the client was disconnected because of inactivity.
func (Dialect) Unread(err error) bool {
	class, ok := classify(err)
	return ok && class == health.Lost && hasNumber(err, 4031)
}

// Answered reports whether err is the server's answer. After the numbers that a
// proxy passes on the connection to the proxy goes on.
func (Dialect) Answered(err error) bool {
	var e *mysql.MySQLError
	return errors.As(err, &e)
}

// MayBeOwn reports whether the error is one that MySQL has for a single session
// too: 1053 is also the answer to a statement whose session was KILLed, and 3100
// that to a transaction which is too large for the group. The errors for a node's
// read_only and for a READ ONLY transaction have different numbers.
func (Dialect) MayBeOwn(err error, _ bool) bool { return hasNumber(err, serverShutdown, hookFailed) }

// Check returns [Default].
func (Dialect) Check() dialect.Check { return Default }

// Works runs [Do1] if the backend can run it without preparing it.
func (Dialect) Works(ctx context.Context, conn driver.Conn) error {
	if _, ok := conn.(driver.ExecerContext); !ok {
		dialect.ReportOf(ctx).Saw |= health.ScopeWork // no other check can look closer on this backend
		return nil
	}
	return Do1(ctx, conn)
}

// Observe notes a node's view of its Galera group.
func (Dialect) Observe(ctx context.Context, conn driver.Conn) error { return observe(ctx, conn) }
