// Package dialects are all dialects that there are, and the one of every other
// database.
//
// It has no goroutine. The root imports the package; it imports dialect, health, mysql
// and postgres.
package dialects

import (
	"context"
	"database/sql/driver"
	"slices"

	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/health"
	"github.com/EnumApps/clustersql/internal/mysql"
	"github.com/EnumApps/clustersql/internal/postgres"
)

// Known are the dialects of single databases; Generic is not one of them. Only tests
// change it.
var Known = []dialect.Dialect{mysql.Dialect{}, postgres.Dialect{}}

// Speaking returns the dialect whose database the backend speaks to, or Generic.
func Speaking(backend driver.Driver) dialect.Dialect {
	for _, d := range Known {
		if d.Speaks(backend) {
			return d
		}
	}
	return Generic{}
}

// Unknown reports whether a dialect is Generic: nobody knows the database.
func Unknown(d dialect.Dialect) bool { _, unknown := d.(Generic); return unknown }

// Generic is the dialect of every other backend. Such a backend may be a driver
// that wraps one of a known database. Its errors are then that driver's errors,
// and can be recognised by their types.
type Generic struct{ dialect.Generic }

// Classify asks every dialect.
func (Generic) Classify(err error) (health.Class, bool) {
	for _, d := range Known {
		if c, ok := d.Classify(err); ok {
			return c, true
		}
	}
	return health.Neutral, false
}

// MayHaveRun asks every dialect.
func (Generic) MayHaveRun(err error) bool {
	return slices.ContainsFunc(Known, func(d dialect.Dialect) bool { return d.MayHaveRun(err) })
}

// Unread asks every dialect.
func (Generic) Unread(err error) bool {
	return slices.ContainsFunc(Known, func(d dialect.Dialect) bool { return d.Unread(err) })
}

// Answered asks every dialect.
func (Generic) Answered(err error) bool {
	return slices.ContainsFunc(Known, func(d dialect.Dialect) bool { return d.Answered(err) })
}

// MayBeOwn asks every dialect.
func (Generic) MayBeOwn(err error, bound bool) bool {
	return slices.ContainsFunc(Known, func(d dialect.Dialect) bool { return d.MayBeOwn(err, bound) })
}

// Works is that of the mysql dialect. A PostgreSQL server does not know that
// statement, and its answer shows that it works.
func (Generic) Works(ctx context.Context, conn driver.Conn) error {
	err := mysql.Dialect{}.Works(ctx, conn)
	if c, ok := (postgres.Dialect{}).Classify(err); ok && c == health.Misconfigured {
		return nil
	}
	return err
}

// Replication is that of the mysql dialect. It is used when a cluster requires
// something of its nodes and also names a check.
func (Generic) Replication(ctx context.Context, conn driver.Conn, depth dialect.Depth) error {
	return mysql.Dialect{}.Replication(ctx, conn, depth)
}

// AddressOf returns the host and port of a DSN, or its socket. It is empty if
// that is not known, or if nobody knows which part of the DSN is a secret. prefix is
// that of the cluster's own parameters.
func AddressOf(d dialect.Dialect, dsn, prefix string) string {
	if _, known := d.Secrets(dsn); !known {
		return ""
	}
	l, err := d.SplitHosts(dsn, prefix)
	if err != nil || len(l.Hosts) != 1 {
		return ""
	}
	return l.Hosts[0].Name
}
