package clustersql

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// errOwnBackend is the answer to a cluster of clusters.
var errOwnBackend = errors.New("it is a cluster of clustersql itself: name the driver of the nodes, as in \"mysql\"")

// A backendError is what a backend said about a node's DSN; it is not
// redacted.
type backendError struct{ err error }

func (e *backendError) Error() string { return e.err.Error() }

// backendFor returns the driver that database/sql knows under a name. It has
// to open a sql.DB for that, which does not connect: first with an empty DSN,
// and with the given one if the driver refuses that. Its refusal of this too
// is a *backendError; the others hold nothing of the DSN.
func backendFor(name, dsn string) (driver.Driver, error) {
	if name == dsnDriverName {
		return nil, errOwnBackend
	}
	if registered := sql.Drivers(); !slices.Contains(registered, name) {
		return nil, fmt.Errorf("database/sql knows no driver %q: import its package for its side effect, as in import _ \"github.com/go-sql-driver/mysql\"; registered are %s",
			name, strings.Join(registered, ", "))
	}
	backend, err := driverOf(name, "")
	if err != nil {
		if backend, err = driverOf(name, dsn); err != nil {
			return nil, &backendError{err}
		}
	}
	switch backend.(type) {
	case Driver, *Driver, dsnDriver:
		return nil, errOwnBackend
	}
	return backend, nil
}

// driverOf opens a sql.DB for its driver, and closes it.
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
