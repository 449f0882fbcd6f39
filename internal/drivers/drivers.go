// Package drivers finds the driver of a cluster's nodes, makes its connectors, and
// closes these when nobody dials with them any more.
//
// It has no goroutine. The root imports the package; it imports conffile and dialects.
package drivers

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/EnumApps/clustersql/internal/conffile"
	"github.com/EnumApps/clustersql/internal/dialects"
)

// A RefusedError is a backend's error about a node's DSN. It is not redacted.
type RefusedError struct{ Err error }

// Error returns the text of Err.
func (e *RefusedError) Error() string { return e.Err.Error() }

// For returns the driver that database/sql knows under a name. To get it, For must open
// a sql.DB, which does not connect. It tries an empty
// DSN first. If the driver refuses that, it tries the given one. If the driver
// refuses that too, the error is a *RefusedError. All other errors hold nothing
// of the DSN.
func For(name, dsn string) (driver.Driver, error) {
	if registered := sql.Drivers(); !slices.Contains(registered, name) {
		return nil, fmt.Errorf("database/sql knows no driver %s: import its package for its side effect, as in import _ %q; registered are %s",
			conffile.QuoteName(name), packageOf(name), strings.Join(registered, ", "))
	}
	backend, err := driverOf(name, "")
	if err != nil {
		if backend, err = driverOf(name, dsn); err != nil {
			return nil, &RefusedError{err}
		}
	}
	return backend, nil
}

// packageOf returns the package that registers a backend under its name. For names
// that are not known it is an example.
func packageOf(name string) string {
	for _, d := range dialects.Known {
		if own, pkg := d.Backend(); own == name {
			return pkg
		}
	}
	return "github.com/go-sql-driver/mysql"
}

// driverOf opens a sql.DB, takes its driver, and closes it.
func driverOf(name, dsn string) (backend driver.Driver, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the driver panicked in OpenConnector: %v", r)
		}
	}()
	db, err := sql.Open(name, dsn)
	if err != nil {
		return nil, err
	}
	backend = db.Driver()
	if err := db.Close(); err != nil {
		return nil, err
	}
	if backend == nil {
		return nil, errors.New("the driver's connector names no driver")
	}
	return backend, nil
}
