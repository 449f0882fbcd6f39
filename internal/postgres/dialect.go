// Package postgres is the dialect of PostgreSQL: what its SQLSTATEs say about a
// node, and what to ask a server. It imports no driver. pgx and lib/pq are known
// by the paths of their packages, and their errors by the method SQLState.
// Connection strings are libpq's, which both drivers take.
//
// It has no goroutine, channel, lock or clock. The root imports it; it imports
// the packages causal, dialect, health and redact.
package postgres

import (
	"context"
	"database/sql/driver"
	"reflect"
	"strings"

	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/health"
)

// Dialect is the dialect of PostgreSQL. It has no driver of its own: clusters
// that are made from a DSN alone have that of [Dialect.Backend].
type Dialect struct{ dialect.Generic }

var _ dialect.Dialect = Dialect{}

// backendPackage is pgx with connections that a cluster can cut. It is in a module
// of its own.
const backendPackage = "github.com/EnumApps/clustersql/pgx"

// drivers are the packages of the known drivers, without the number of a major
// version.
var drivers = []string{"github.com/jackc/pgx/stdlib", "github.com/lib/pq", backendPackage}

// Backend names the driver of the package pgx of this project.
func (Dialect) Backend() (name, pkg string) { return "clustersql-pgx", backendPackage }

// Speaks reports whether backend is pgx's or lib/pq's driver.
func (Dialect) Speaks(backend driver.Driver) bool {
	t := reflect.TypeOf(backend)
	if t == nil {
		return false
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	path := t.PkgPath()
	if at := strings.LastIndex(path, "/vendor/"); at >= 0 {
		path = path[at+len("/vendor/"):]
	}
	for _, known := range drivers {
		if path == known || withoutMajor(path) == known {
			return true
		}
	}
	return false
}

// withoutMajor takes the major version out of a package's path.
func withoutMajor(path string) string {
	parts := strings.Split(path, "/")
	for i, p := range parts {
		if len(p) > 1 && p[0] == 'v' && strings.Trim(p[1:], "0123456789") == "" {
			return strings.Join(append(parts[:i:i], parts[i+1:]...), "/")
		}
	}
	return path
}

// AnySession says that one call may send several statements, with semicolons
// between: both drivers send a statement without arguments in such a way.
//
// It also says that a driver.ErrBadConn proves nothing. If the server ends the
// session before it has answered, pgx says after such a statement that the
// connection is closed, and that it is safe to send the statement again. lib/pq
// returns driver.ErrBadConn for the end of the stream.
func (Dialect) AnySession() dialect.Session { return dialect.Session{Postgres: true, Loose: true} }

// Session is [Dialect.AnySession], whatever the DSN.
func (d Dialect) Session(string) dialect.Session { return d.AnySession() }

// Check returns the check of clusters that name none: an empty query, which the
// drivers' Ping sends.
func (Dialect) Check() dialect.Check { return works }

// Works is the same: a server that refuses work takes no connection.
func (Dialect) Works(ctx context.Context, conn driver.Conn) error { return works(ctx, conn) }

func works(ctx context.Context, conn driver.Conn) error {
	dialect.ReportOf(ctx).Saw |= health.ScopeWork
	return dialect.Ping(ctx, conn)
}
