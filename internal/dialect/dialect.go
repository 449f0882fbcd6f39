// Package dialect is the seam between a cluster and the databases: what differs
// from one database to another. It holds the interface, the types that it
// speaks in, and what serves every backend. The code of one database is in a
// package of its own.
package dialect

import (
	"context"
	"database/sql/driver"
	"net"

	"github.com/EnumApps/clustersql/internal/health"
)

// A Dialect answers for one database. Its methods may be called from any
// goroutine.
type Dialect interface {
	// Driver returns the driver that the dialect brings along, for clusters
	// that are made of a DSN alone. It is nil where there is none.
	Driver() driver.Driver
	// Owns reports whether backend is that driver itself, and not one that
	// wraps it.
	Owns(backend driver.Driver) bool
	// Connector returns a connector of that driver for a DSN. It dials with
	// dial where the DSN names a network of package net.
	Connector(dsn string, dial Dial) (driver.Connector, error)

	// Secrets returns the parts of a DSN that must not be shown by themselves.
	// They are not known where the DSN cannot be parsed: any part may be one.
	Secrets(dsn string) (secrets []string, known bool)
	// Session says what a DSN does to every session.
	Session(dsn string) Session
	// AnySession says what holds for every session where no DSN is known.
	AnySession() Session
	// SplitHosts takes a DSN with a list of hosts apart. Parameters whose name
	// begins with prefix, in any case, are the cluster's own. The error holds
	// no secret of the DSN.
	SplitHosts(dsn, prefix string) (HostList, error)

	// Classify says what an error of the database or of its driver tells about
	// the node. It is not ok for errors that are neither's.
	Classify(err error) (c health.Class, ok bool)
	// MayHaveRun reports whether a server that answered with err may have run
	// the statement all the same.
	MayHaveRun(err error) bool

	// Check is the check of clusters that name none.
	Check() Check
	// Writable is the check of clusters that require writable nodes.
	Writable() Check
	// Works runs the smallest statement that a node refuses when it refuses
	// work, and notes in the [Report] of ctx that it did.
	Works(ctx context.Context, conn driver.Conn) error
	// Observe notes in the Report of ctx what is wanted and no check has looked
	// at. A node that does not tell is none the worse for it.
	Observe(ctx context.Context, conn driver.Conn) error
}

// A Check judges whether a connection is fit for use: nil is fit.
type Check = func(ctx context.Context, conn driver.Conn) error

// A Dial dials like a net.Dialer.
type Dial = func(ctx context.Context, network, addr string) (net.Conn, error)

// A Session is what is known of every session on a node.
type Session struct {
	Single bool // one call sends one statement: a "; b" at its end is refused
	Manual bool // autocommit is off: every statement is in a transaction
	Exact  bool // the driver's driver.ErrBadConn always means that nothing was sent
}

// A HostList is a DSN with a list of hosts, taken apart.
type HostList struct {
	Hosts      []Host
	Database   string
	Parameters []Parameter // the cluster's own, in order
}

// A Host is one host of the list. Its name is the address with the port. Its
// DSN has this one address, and none of the cluster's own parameters.
type Host struct{ Name, DSN string }

// A Parameter is one of the cluster's own in a DSN, as it is written there.
type Parameter struct{ Name, Value string }

// Generic serves backends of which nothing is known: Ping, and the errors that
// every backend on a socket shares.
type Generic struct{}

var _ Dialect = Generic{}

// Driver returns nil.
func (Generic) Driver() driver.Driver { return nil }

// Owns reports false.
func (Generic) Owns(driver.Driver) bool { return false }

// Connector fails: there is no driver to ask.
func (Generic) Connector(string, Dial) (driver.Connector, error) { return nil, errNoDriver }

// Secrets knows nothing of the DSN.
func (Generic) Secrets(string) ([]string, bool) { return nil, false }

// Session knows nothing.
func (Generic) Session(string) Session { return Session{} }

// AnySession knows nothing.
func (Generic) AnySession() Session { return Session{} }

// SplitHosts fails: nothing is known of the DSN's form.
func (Generic) SplitHosts(string, string) (HostList, error) { return HostList{}, errNoDriver }

// Classify knows no error.
func (Generic) Classify(error) (health.Class, bool) { return health.Neutral, false }

// MayHaveRun reports false.
func (Generic) MayHaveRun(error) bool { return false }

// Check is [Ping].
func (Generic) Check() Check { return Ping }

// Writable returns nil: nothing is known to ask.
func (Generic) Writable() Check { return nil }

// Works notes that nothing can look closer.
func (Generic) Works(ctx context.Context, _ driver.Conn) error {
	ReportOf(ctx).Saw |= health.ScopeWork
	return nil
}

// Observe does nothing.
func (Generic) Observe(context.Context, driver.Conn) error { return nil }
