// Package dialect says what differs from one database to another. It holds the
// interface Dialect, the types of its methods, and what serves every backend:
// Generic, Ping and queries on a conn. The code of one database is in a package
// of its own, which imports this one.
//
// The package has no goroutine, channel, lock or clock, and opens no
// connection. Of this module it imports only the packages causal and health.
package dialect

import (
	"context"
	"database/sql/driver"
	"errors"
	"net"

	"github.com/EnumApps/clustersql/internal/health"
)

// A Dialect answers for one database. Its methods may be called from any
// goroutine.
type Dialect interface {
	// Driver returns the driver that comes with the dialect, for clusters that
	// are made from a DSN alone. It is nil if there is none.
	Driver() driver.Driver
	// Backend says under which name the backend of such clusters is registered
	// with database/sql, and by which package, where Driver returns nil. Both are
	// empty if a cluster cannot be made from a DSN alone.
	Backend() (name, pkg string)
	// Owns reports whether backend is the driver of Driver itself. A driver
	// that wraps it is not. The sessions of that driver are those of
	// [Session.Closes].
	Owns(backend driver.Driver) bool
	// Speaks reports whether backend is a driver of the database. A cluster that
	// names no dialect gets that of its backend.
	Speaks(backend driver.Driver) bool
	// Connector returns a connector of the driver of Driver for a DSN. The
	// connector dials with dial if the DSN names a network of package net.
	Connector(dsn string, dial Dial) (driver.Connector, error)

	// Secrets returns the parts of a DSN that must not be shown, each by
	// itself. With known they are all of them. Without known, any part of the
	// DSN may be a secret: the DSN could not be parsed.
	Secrets(dsn string) (secrets []string, known bool)
	// Session says what a DSN does to every session.
	Session(dsn string) Session
	// AnySession says what holds for every session when no DSN is known.
	AnySession() Session
	// Claims reports whether a DSN with a list of hosts is of this database by its
	// form alone. A DSN that no dialect claims is read as one of the mysql dialect,
	// whose DSNs have no mark of their own.
	Claims(dsn string) bool
	// SplitHosts splits a DSN with a list of hosts into one DSN for each host.
	// Parameters whose name begins with prefix, in upper or lower case, are the
	// cluster's own. The error holds no secret of the DSN.
	SplitHosts(dsn, prefix string) (HostList, error)
	// Host returns the address that the DSN of one node leads to, as host:port. ok
	// is false if there is none, as in the DSN of a socket's file, or if there are
	// several, or if the DSN cannot be parsed.
	Host(dsn string) (addr string, ok bool)
	// Rehost returns a DSN that leads to another address and is the same in all
	// else. The error holds nothing of the DSN.
	Rehost(dsn, addr string) (string, error)
	// Same reports whether two DSNs are read as the same, however they are written.
	// It is false if they differ and one of them cannot be parsed.
	Same(before, after string) bool
	// Renewed reports whether two DSNs differ in their passwords, and in nothing
	// else. It is false if one of them cannot be parsed.
	Renewed(before, after string) bool

	// Classify returns what an error of the database or of its driver says
	// about the node. ok is false for errors of neither.
	Classify(err error) (c health.Class, ok bool)
	// MayHaveRun reports whether the server may have run the statement although
	// it answered with err.
	MayHaveRun(err error) bool

	// Unread reports whether the server ended the session before it read the
	// statement that got err: nothing of it was run.
	Unread(err error) bool
	// Answered reports whether err is an answer of the server, after which the
	// connection may go on.
	Answered(err error) bool
	// MayBeOwn reports whether err of real traffic, by whose class the node is
	// read-only or leaving, may be about the one session alone. bound says that the
	// session may have a transaction or settings of its own.
	MayBeOwn(err error, bound bool) bool
	// Check returns the check of clusters that name none.
	Check() Check
	// Replication asks a node for its part in replication, and notes it in the
	// [health.Report] of ctx. It asks for no more than depth. What the node does
	// not tell, or may not tell to this account, is noted as unknown. The error is
	// one of the conn or of an answer that did not come.
	Replication(ctx context.Context, conn driver.Conn, depth Depth) error
	// Works runs the smallest statement that a node refuses when it refuses all
	// work. It notes in the [health.Report] of ctx that it did so.
	Works(ctx context.Context, conn driver.Conn) error
	// Observe looks at what the Report of ctx wants and no check has looked at,
	// and notes it there. A node that does not tell is not judged for it.
	Observe(ctx context.Context, conn driver.Conn) error
	// Members asks a node who the members of its group are. It returns their
	// addresses as host:port, as the server tells them, and what it tells that is no
	// address, each with a reason. The error says why the node does not know any.
	Members(ctx context.Context, conn driver.Conn) (addrs []string, unused []Unaddressed, err error)
	// Ask runs a query of the program and returns its first rows, as [QueryRows]
	// does. The answer is the node's own state: the query does not wait for other
	// nodes.
	Ask(ctx context.Context, conn driver.Conn, query string, limit int) ([][]string, error)
	// Settle gives a new conn that no program gets the settings that checks
	// need: a probe measures the node, and not what a DSN or the server makes of
	// a program's connections. It notes in the Report of ctx which server the
	// conn leads to. What a server does not know or tell is left out.
	Settle(ctx context.Context, conn driver.Conn) error
	// Tidy ends the transaction that a check of the program may have left open
	// on a conn.
	Tidy(ctx context.Context, conn driver.Conn) error

	Positions
}

// An Unaddressed is a member that has told no address, and why that is so.
type Unaddressed struct{ Told, Why string }

// A Depth says how much a node is asked about its part in replication.
type Depth uint8

const (
	DepthAccess Depth = iota // whether it may be written to
	DepthStatus              // and all else that a busy server tells at once
	DepthRole                // and whether it follows another server
	DepthAll                 // and all else that it tells
)

// A Check judges whether a connection is fit for use. It returns nil if so.
type Check = func(ctx context.Context, conn driver.Conn) error

// A Dial dials like the DialContext of a net.Dialer.
type Dial = func(ctx context.Context, network, addr string) (net.Conn, error)

// A Session is what is known of every session on a node.
type Session struct {
	Single   bool // one call sends one statement only; the server refuses a second one after a semicolon
	Postgres bool // its grammar is PostgreSQL's: a second statement in one call comes after a semicolon
	Manual   bool // autocommit is off: every statement is in a transaction
	Exact    bool // the driver's driver.ErrBadConn always means that nothing was sent
	Loose    bool // the driver returns driver.ErrBadConn also for what the server has run, if the session then ends
	Closes   bool // the driver closes its connection at each failure of the socket, and its IsValid is false then
}

// A HostList is a DSN with a list of hosts, split into its parts.
type HostList struct {
	Hosts      []Host
	Database   string
	Parameters []Parameter // the cluster's own, in the DSN's order
}

// A Host is one host of the list. Name is its address with the port. DSN has
// this one address and none of the cluster's own parameters. Priority is the
// host's place in the list where the hosts are to be tried in order, and else 0.
type Host struct {
	Name, DSN string
	Priority  int
}

// A Parameter is one of the cluster's own parameters, as it is written in the
// DSN.
type Parameter struct{ Name, Value string }

// Generic is the Dialect of backends about which nothing is known. It has Ping
// as its check, and knows only the errors that are common to all backends on a
// socket.
type Generic struct{}

var _ Dialect = Generic{}

// Driver returns nil.
func (Generic) Driver() driver.Driver { return nil }

// Owns reports false.
func (Generic) Owns(driver.Driver) bool { return false }

// Speaks reports false.
func (Generic) Speaks(driver.Driver) bool { return false }

// Connector fails: there is no driver to ask.
func (Generic) Connector(string, Dial) (driver.Connector, error) { return nil, errNoDriver }

// Secrets knows no part of the DSN.
func (Generic) Secrets(string) ([]string, bool) { return nil, false }

// Session knows nothing about a session.
func (Generic) Session(string) Session { return Session{} }

// AnySession knows nothing about a session.
func (Generic) AnySession() Session { return Session{} }

// Backend names none.
func (Generic) Backend() (name, pkg string) { return "", "" }

// Claims reports false.
func (Generic) Claims(string) bool { return false }

// SplitHosts fails: the form of the DSN is not known.
func (Generic) SplitHosts(string, string) (HostList, error) { return HostList{}, errNoDriver }

// Host knows no address.
func (Generic) Host(string) (string, bool) { return "", false }

// Rehost fails: the form of the DSN is not known.
func (Generic) Rehost(string, string) (string, error) { return "", errNoDriver }

// Same compares the texts: their form is not known.
func (Generic) Same(before, after string) bool { return before == after }

// Renewed reports false.
func (Generic) Renewed(string, string) bool { return false }

// Classify knows no error.
func (Generic) Classify(error) (health.Class, bool) { return health.Neutral, false }

// MayHaveRun reports false.
func (Generic) MayHaveRun(error) bool { return false }

// Unread reports false.
func (Generic) Unread(error) bool { return false }

// Answered reports false.
func (Generic) Answered(error) bool { return false }

// MayBeOwn reports false.
func (Generic) MayBeOwn(error, bool) bool { return false }

// Check is [Ping].
func (Generic) Check() Check { return Ping }

// Replication notes that nothing is known.
func (Generic) Replication(ctx context.Context, _ driver.Conn, _ Depth) error {
	ReportOf(ctx).Replication = &health.Replication{Hidden: "the database is not known: use role_query and lag_query"}
	return nil
}

// Works runs nothing. It notes that the node was looked at, because no other
// check of this dialect can look closer.
func (Generic) Works(ctx context.Context, _ driver.Conn) error {
	ReportOf(ctx).Saw |= health.ScopeWork
	return nil
}

// Observe does nothing.
func (Generic) Observe(context.Context, driver.Conn) error { return nil }

// Members fails: nobody knows what to ask.
func (Generic) Members(context.Context, driver.Conn) ([]string, []Unaddressed, error) {
	return nil, nil, errors.New("the database is not known: discover \"members\" asks MariaDB and MySQL")
}

// Ask is [QueryRows].
func (Generic) Ask(ctx context.Context, conn driver.Conn, query string, limit int) ([][]string, error) {
	return QueryRows(ctx, conn, query, limit)
}

// Settle does nothing.
func (Generic) Settle(context.Context, driver.Conn) error { return nil }

// Tidy does nothing.
func (Generic) Tidy(context.Context, driver.Conn) error { return nil }
