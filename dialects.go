package clustersql

import (
	"context"
	"database/sql/driver"
	"fmt"

	"github.com/EnumApps/clustersql/internal/conffile"
	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/health"
	"github.com/EnumApps/clustersql/internal/mysql"
)

// Dialect names the database that a cluster's backend speaks to; see
// [Config.Dialect].
type Dialect string

const (
	// DialectByBackend takes the dialect whose driver the backend is, and the
	// generic one for other backends.
	DialectByBackend Dialect = ""
	// DialectMySQL is that of MariaDB, MySQL and Galera.
	DialectMySQL Dialect = "mysql"
	// DialectGeneric asks Ping and knows the errors of sockets.
	DialectGeneric Dialect = "generic"
)

// UnmarshalText sets the value as config.toml has it.
func (d *Dialect) UnmarshalText(text []byte) error { return setChoice(d, text, Dialect.problem) }

func (d Dialect) problem() error {
	switch d {
	case DialectByBackend, DialectMySQL, DialectGeneric:
		return nil
	}
	return fmt.Errorf("there is no dialect %q: use \"mysql\" or \"generic\", or leave it out", string(d))
}

// dialects are those of one database each.
var dialects = []dialect.Dialect{mysql.Dialect{}}

// dialectOf is the dialect of a node: the one that the configuration names, or
// that whose driver the backend is.
func (c *Config) dialectOf(backend driver.Driver) dialect.Dialect {
	switch c.Dialect {
	case DialectMySQL:
		return mysql.Dialect{}
	case DialectGeneric:
		return generic{}
	}
	for _, d := range dialects {
		if d.Owns(backend) {
			return d
		}
	}
	return generic{}
}

// A generic backend may be a driver that wraps another. Its errors are then
// those of the driver inside, which their types tell.
type generic struct{ dialect.Generic }

// Classify asks every dialect.
func (generic) Classify(err error) (health.Class, bool) {
	for _, d := range dialects {
		if c, ok := d.Classify(err); ok {
			return c, true
		}
	}
	return health.Neutral, false
}

// MayHaveRun asks every dialect.
func (generic) MayHaveRun(err error) bool {
	for _, d := range dialects {
		if d.MayHaveRun(err) {
			return true
		}
	}
	return false
}

// Works is mysql's: no other dialect's errors ask for it.
func (generic) Works(ctx context.Context, conn driver.Conn) error {
	return mysql.Dialect{}.Works(ctx, conn)
}

// Writable is mysql's: a cluster that requires it and names a check has said
// that its backend wraps that driver.
func (generic) Writable() dialect.Check { return mysql.Dialect{}.Writable() }

// validateFor returns a *SettingError for a setting that cannot work with the
// backend. A generic one may wrap a driver of which more is known: naming a
// check says so.
func (c *Config) validateFor(backend driver.Driver) error {
	if _, unknown := c.dialectOf(backend).(generic); c.Require == RequireWritable && unknown && c.Check == nil {
		return &SettingError{"require", fmt.Sprintf("%q asks for MySQL's read_only, and the backend is not the mysql driver: set dialect = %q if it wraps that driver, or use check_query", string(RequireWritable), string(DialectMySQL))}
	}
	return nil
}

// namedChecks are the checks by their names in config.toml.
var namedChecks = map[string]Check{"ping": CheckPing, "do1": CheckDo1, "galera": CheckGalera}

// CheckPing asks the backend's Ping. A backend without one passes, as it does
// with database/sql.
func CheckPing(ctx context.Context, backend driver.Conn) error { return dialect.Ping(ctx, backend) }

// CheckDo1 runs DO 1, MariaDB's and MySQL's smallest statement: no table, no
// right, one packet. A Galera node that refuses work (not in a primary
// component, joining, wsrep_reject_queries) answers it with error 1047, while
// it goes on to answer Ping and SELECT 1.
func CheckDo1(ctx context.Context, backend driver.Conn) error { return mysql.Do1(ctx, backend) }

// CheckGalera is the check for Galera nodes. It runs DO 1, which a node that
// refuses work answers with error 1047; on every fifth probe, on those of a
// node that is not up, and when it is called from elsewhere it also asks for
// the node's status: fit is a node of the primary component that is ready and
// Synced. A donor, or a node that was desynced, is fit but used last; see
// [Config.AllowDonor]. A server without wsrep is an error that says so. A
// check of your own that calls it hands its own ctx on.
func CheckGalera(ctx context.Context, backend driver.Conn) error { return mysql.Galera(ctx, backend) }

// defaultDriver is the backend of a cluster of a file that names none.
const defaultDriver = "mysql"

// dsnOf is the DSN of a node of a file.
func dsnOf(n *conffile.Node) (string, error) {
	if n.Account != nil {
		return mysql.Account(*n.Account).DSN()
	}
	return n.DSN, nil
}
