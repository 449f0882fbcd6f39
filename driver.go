// Package clustersql is a clustering meta-driver for database/sql. It wraps any
// backend driver and knows several nodes (name and DSN) of one replicated
// database. When database/sql needs a connection, the cluster asks its usable
// nodes, all at once or one after the other. database/sql gets the first
// connection that is fit for use, and the others are closed. The package is
// made for MariaDB Galera first. Replication is the work of the database.
//
//	d := clustersql.NewDriver(mysql.MySQLDriver{}, "read_conn")
//	d.AddNode("galera1", "user:password@tcp(dbhost1:3306)/db")
//	d.AddNode("galera2", "user:password@tcp(dbhost2:3306)/db")
//	d.AddNode("galera3", "user:password@tcp(dbhost3:3306)/db")
//	sql.Register("read_conn", d)
//	db, err := sql.Open("read_conn", "")
//
// A process may have several clusters. [RegisterFile] makes them of a
// config.toml. The driver "clustersql" makes one of a DSN with a list of hosts,
// of mysql or of PostgreSQL, for programs that take only a driver name and a DSN.
//
// # One open
//
// A connection is fit when dial, handshake and check have passed. The check
// is DO 1 for mysql and Ping for other backends, or [Config.Check]. The caller's
// deadline bounds an open as a whole; open_timeout does where there is none.
// attempt_timeout bounds the attempt on each node. A server that accepts a
// connection and stays silent costs its own attempt, not the open.
//
// Losing is not an error. An attempt that has started when another node wins
// goes on for loser_grace. Then it is closed with the backend's Close, so that
// the server does not count a broken handshake. An attempt that has not started
// never starts. A node has at most max_opens_per_node attempts in flight.
//
// While no node is usable, or all have failed for reasons that may pass, an
// open waits for the first node to come up, and asks again. It starts no
// attempts meanwhile. Nodes that are down are tested by their actors alone, at
// most about eight times a second while somebody waits.
//
// Errors of single nodes are masked while another node wins. They show in
// [Driver.Status] and in the expvar map under the cluster's name. When they
// change the node's state, they also show in the log and as an [Event] for
// [Config.OnEvent]. When no node wins in time, the open fails with an
// [*OpenError] that lists all of them.
//
// # Strategies
//
// [Config.Strategy] says which nodes an open asks, in which order and when.
// [Race], the default, asks all usable nodes at once. [Hedged], [Balanced] and
// [Ordered] ask one node. They ask the next one when that fails, or takes longer
// than it usually does. On a healthy cluster an open then costs one connection.
//
// A node that is outrun in this way is suspect: the next opens ask it last.
// It is checked every probe_interval on a fresh connection, until such a
// connection comes as fast as it should have. [NewStrategy] makes a strategy of
// the program's own. [WithPriority] and [WithWeight] are settings of single
// nodes.
//
// # Dialects
//
// [Config.Dialect] is what the cluster knows of the database: its checks, its
// errors, the statements that may be sent again, and the secrets in its DSNs. The
// backend's type decides, unless the setting names one: go-sql-driver/mysql, pgx
// and lib/pq have a dialect, and all other drivers have the generic one. Name
// [DialectMySQL] or [DialectPostgres] for a driver that wraps one of these.
//
// # Nodes
//
// Each node is an actor: one goroutine that owns the node's state, latency
// history and last error. The actors run from the first sql.Open to the last
// Close of a sql.DB. Each keeps one probe connection and checks it once per
// probe_interval, so states are known before the first query.
//
// The probe's lasting connection speaks for established connections, a fresh dial
// for new ones. Trouble of new connections alone retires no established one.
//
// A node that refuses is left out of opens at once, and a silent one after fall
// signs of silence, while another node is usable. It comes back after rise good
// checks. Connections that the pool holds of a node that went down are closed
// where they lie idle, or discarded by the pool instead of being handed out.
//
// # Balance over time
//
// A node that has come back, or was added, gets its share of connections as
// [Config.Rebalance] has it. Connections that are too many on other nodes give
// way, a fifth of them in a second: where they lie idle, or when they are put
// back. Work on them always ends first. Ordered prefers a node again when it
// has been up for failback_after. [Driver.Drain] and [Driver.DelNode] take
// nothing new, let work end, and cut what is left after drain_timeout.
//
// # Errors of statements
//
// A whole statement that a node refuses has not run. Outside a transaction
// database/sql sends it to another node, and the caller does not see the
// refusal. What may have run, in full or in part, is never run again unless the
// caller allows it, with [Idempotent] or [Config.Idempotent]. The error is then
// an [ErrUnknownOutcome]. In a transaction every error reaches the caller. It is
// a driver.ErrBadConn only if the backend says so, and only where database/sql
// does not run anything again for it. A [*NodeError] names the node. All other
// errors are the backend's as they are.
//
// # Connections
//
// The connections wrap those of the backend and answer every optional
// interface of database/sql/driver as the backend does. [Conn] gives the
// backend's connection back for sql.Conn.Raw.
//
// # Reading the code
//
// The order to read it in: driver.go, manager.go, open.go, strategy.go,
// nodeactor.go, attempt.go, and the package internal/health. CONTRIBUTING.md shows
// all packages in one picture.
package clustersql

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
)

// DefaultName is the name of a cluster that was given an empty name.
const DefaultName = "ClusterSql"

// A Driver is one cluster, as database/sql sees it. Register it with
// [database/sql.Register], or pass its [Driver.Connector] to
// [database/sql.OpenDB]. It is a small value; all copies of it are the same
// cluster. All methods may be called from any goroutine.
type Driver struct {
	m *manager
	// takesDSN is true for the Driver of a sql.DB that the driver "clustersql"
	// has opened: its Open and OpenConnector make a cluster of the DSN.
	takesDSN bool
}

var (
	_ driver.Driver        = Driver{}
	_ driver.DriverContext = Driver{}
	_ driver.Connector     = (*connector)(nil)
	_ io.Closer            = (*connector)(nil)
)

// errNoDriver is what the methods of a Driver return that was not made by
// NewDriver.
var errNoDriver = errors.New("clustersql: this Driver is empty: make it with NewDriver")

// NewDriver returns a cluster without nodes over the given backend. The
// cluster's expvar map, its logs and its errors carry the name; "" stands for
// [DefaultName]. NewDriver dials nothing and starts nothing.
//
// Two drivers may have the same name. The expvar map then shows the newer one.
// AddNode and OpenConnector, and so [database/sql.Open], return a
// [*SettingError] for settings that cannot work.
func NewDriver(backend driver.Driver, name string, opts ...Option) Driver {
	if name == "" {
		name = DefaultName
	}
	m := newManager(backend, name, opts)
	m.enroll()
	exported.publish(m)
	return Driver{m: m}
}

// AddNode adds a node under a name of its own. The DSN is written as the
// backend takes it. If the cluster is in use, the node is dialled in the
// background now, else when the cluster is first used.
//
// It is an error if the name is taken, if the name or the DSN is empty, if the
// name is a DSN with a password, or if the backend refuses the DSN. An option
// that cannot work is a [*SettingError]. After an error the cluster is as it
// was. The error holds none of the DSN's secrets.
func (d Driver) AddNode(name, dsn string, opts ...NodeOption) error {
	if d.m == nil {
		return errNoDriver
	}
	return d.m.addDSN(name, dsn, opts, originCode)
}

// AddConnector adds a node that is a connector instead of a DSN. Use it for
// tokens that are made anew for every connection, for TLS that is set up in
// code, or for another backend than the cluster's. The text of the connector's
// errors is shown, without the secrets of the cluster's other nodes. If the
// connector is an [io.Closer], the caller closes it.
func (d Driver) AddConnector(name string, c driver.Connector, opts ...NodeOption) error {
	if d.m == nil {
		return errNoDriver
	}
	return d.m.addConnector(name, c, opts)
}

// DelNode removes a node from the cluster. From now on no open goes there.
// Connections that lie idle in database/sql's pool are closed. Connections in
// use finish their work and are closed when they are put back. Those that are
// not back after drain_timeout are cut. After that nothing of the node is left.
// DelNode does not wait for any of this. The name can be used again at once.
func (d Driver) DelNode(name string) error {
	if d.m == nil {
		return errNoDriver
	}
	return d.m.remove(name)
}

// Apply makes nodes the nodes of the cluster, and changes the settings that the
// options change. It returns what that changes. Nodes whose names stay are the same
// nodes: if nothing of one has changed, its connections, counters and state stay.
//
//   - If another password is all that is new in a DSN, new connections use it at once,
//     and the connections that there are stay.
//   - Of any other new DSN, or another Connector, a new node is made. When it is up, it
//     takes the place of the old one, which then drains as with [Driver.DelNode]. Until
//     then the old one works on. So there is no moment without a node.
//   - A node that is not among nodes drains likewise, but not before another one is up.
//   - Another priority or weight counts from the next open on.
//
// What still waits is in NodeStatus.Pending. Apply waits for no node. It is all or
// nothing: after an error the cluster is as it was. It is an error if nodes is empty
// and the cluster has no Source, if two have one name, and whatever is one of [Driver.AddNode]. The error holds none
// of the DSNs' secrets. Calls may overlap: each works on what the one before has
// left.
func (d Driver) Apply(nodes []Node, opts ...Option) (Diff, error) {
	if d.m == nil {
		return Diff{}, errNoDriver
	}
	return d.m.apply(nodes, opts)
}

// Describe returns the cluster as it is configured now, with the number of open
// connections of each node. What was found is among its nodes, with [Node.Found], and so
// is what it was found for. Its nodes have their DSNs: print none of them by hand.
func (d Driver) Describe() Description {
	if d.m == nil {
		return Description{}
	}
	return d.m.description("")
}

// Drain stops all new use of a node, for maintenance. As with [Driver.DelNode],
// its connections are closed as they become idle, and cut after drain_timeout.
// The node stays a member of the cluster and is still probed.
// NodeStatus.OpenConns says how many of its connections are still open. Drain
// does not wait. On a node that is drained already it does nothing. When all
// nodes are drained, opens fail.
func (d Driver) Drain(name string) error {
	if d.m == nil {
		return errNoDriver
	}
	return d.m.drain(name, true)
}

// Undrain ends a Drain. The node is used again after its next good check. It
// then gets its share of connections back, as any node that returns does. On a
// node that is not drained Undrain does nothing.
func (d Driver) Undrain(name string) error {
	if d.m == nil {
		return errNoDriver
	}
	return d.m.drain(name, false)
}

// Nodes returns the names of the nodes, sorted.
func (d Driver) Nodes() []string {
	if d.m == nil {
		return nil
	}
	return d.m.names()
}

// Status returns a snapshot of the cluster. It never waits for a node.
func (d Driver) Status() ClusterStatus {
	if d.m == nil {
		return ClusterStatus{}
	}
	return d.m.status()
}

// Config returns the settings that the cluster works with: those that it was given
// and the defaults for the rest. For settings that cannot work it returns them as
// they were given.
func (d Driver) Config() Config {
	if d.m == nil {
		return Config{}
	}
	return *d.m.cfg()
}

// WaitReady waits until at least n nodes are up. It is for programs that want
// to start late rather than start without a working cluster. A connector must
// be open, as one is after [database/sql.Open]: without one nothing checks the
// nodes, and the error is ErrClosed. Any other error is that of ctx, with the
// nodes that are not up and the reasons.
func (d Driver) WaitReady(ctx context.Context, n int) error {
	if d.m == nil {
		return errNoDriver
	}
	return d.m.waitReady(ctx, n)
}

// Open returns one connection to the cluster. It works as Connect of the
// cluster's [driver.Connector] does, within open_timeout. The argument is
// ignored, except by the Driver of a [database/sql.DB] that the driver
// "clustersql" has opened: that one opens a connection to the cluster of the
// DSN. The cluster's actors keep running until the connection is closed.
// database/sql does not use this method.
func (d Driver) Open(dsn string) (driver.Conn, error) {
	if d.takesDSN {
		return dsnDriver{}.Open(dsn)
	}
	held, err := d.connector()
	if err != nil {
		return nil, err
	}
	conn, err := d.m.connect(context.Background(), func() { held.Close() })
	if err != nil {
		held.Close()
	}
	return conn, err
}

// OpenConnector returns a connector to the cluster. The argument is ignored,
// except by the Driver of a [database/sql.DB] that the driver "clustersql" has
// opened: that one makes the cluster of the DSN. The first connector starts the
// actors, which dial their probe connections in the background. The caller
// closes the connector; [database/sql.DB.Close] does that for a sql.DB.
func (d Driver) OpenConnector(dsn string) (driver.Connector, error) {
	if d.takesDSN {
		return dsnDriver{}.OpenConnector(dsn)
	}
	c, err := d.connector()
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (d Driver) connector() (*connector, error) {
	if d.m == nil {
		return nil, errNoDriver
	}
	if err := d.m.acquire(); err != nil {
		return nil, err
	}
	return &connector{m: d.m}, nil
}

// Connector returns a connector for [database/sql.OpenDB], for clusters that
// are not registered under a name. It is [Driver.OpenConnector] for this
// cluster, but an error is returned later, by Connect.
func (d Driver) Connector() driver.Connector {
	c, err := d.connector()
	if err != nil {
		return failedConnector{d, err}
	}
	return c
}

// Close ends the cluster for good. Opens under way and later ones fail with
// [ErrClosed], the actors stop, and the expvar map is emptied. Close waits for
// what the actors started, and for the connectors that AddNode made to be
// closed, also those of removed nodes. Handshakes under way have loser_grace to
// finish. For a backend that does not react to cancel, or whose Close hangs,
// Close waits at most attempt_timeout.
// Connections that database/sql holds stay usable; whoever holds them closes
// them. A second Close changes nothing, and waits as the first does.
//
// Closing the last [database/sql.DB] stops the actors too, and the cluster can
// be opened again. A cluster that is not open, and that nobody can reach any
// more, ends by itself; only the connectors that AddNode made are not closed then.
func (d Driver) Close() error {
	if d.m == nil {
		return nil
	}
	return d.m.close()
}
