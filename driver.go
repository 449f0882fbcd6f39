package clustersql

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"sync/atomic"
)

// DefaultName is the name of a cluster made with an empty one.
const DefaultName = "ClusterSql"

// A Driver is one cluster, as database/sql sees it: register it with
// [database/sql.Register], or hand its [Driver.Connector] to
// [database/sql.OpenDB]. It is a small value; copies stand for the same
// cluster. All methods may be called from any goroutine.
type Driver struct{ m *manager }

var (
	_ driver.Driver        = Driver{}
	_ driver.DriverContext = Driver{}
	_ driver.Connector     = (*connector)(nil)
	_ io.Closer            = (*connector)(nil)
)

// errNoDriver is the answer of a Driver that was not made by NewDriver.
var errNoDriver = errors.New("clustersql: this Driver is empty: make it with NewDriver")

// NewDriver returns a cluster without nodes over the given backend. The name
// is that of the cluster's expvar map and in logs and errors; "" stands for
// [DefaultName]. It dials nothing and starts nothing.
//
// Two drivers may have one name: the expvar map then shows the newer one.
// Settings that cannot work are reported as a [*SettingError] by AddNode and
// by OpenConnector, and so by [database/sql.Open].
func NewDriver(backend driver.Driver, name string, opts ...Option) Driver {
	if name == "" {
		name = DefaultName
	}
	m := newManager(backend, name, opts)
	exported.publish(m)
	return Driver{m}
}

// AddNode adds a node under a name of its own, with a DSN as the backend
// takes it. The node is dialled in the background if the cluster is in use,
// else when it first is.
//
// A name that is taken, an empty name or DSN, and a DSN that the backend
// refuses are errors, and so is an option that cannot work, a
// [*SettingError]; the cluster then stays as it was. The error holds no part
// of the DSN's secrets.
func (d Driver) AddNode(name, dsn string, opts ...NodeOption) error {
	if d.m == nil {
		return errNoDriver
	}
	return d.m.addDSN(name, dsn, opts)
}

// AddConnector adds a node that is a connector instead of a DSN: for tokens
// that are made for every connection, for TLS set up in code, for another
// backend than the cluster's. What its errors say is not redacted. A
// connector that is an [io.Closer] is the caller's to close.
func (d Driver) AddConnector(name string, c driver.Connector, opts ...NodeOption) error {
	if d.m == nil {
		return errNoDriver
	}
	return d.m.addConnector(name, c, opts)
}

// DelNode takes a node out of the cluster. No open goes there from now on.
// Connections that lie idle in database/sql's pool are closed, work under way
// on others goes on, and these are closed when they come back; those that have
// not after drain_timeout are cut. Then nothing of the node is left. DelNode
// does not wait for that. The name can be used again at once.
func (d Driver) DelNode(name string) error {
	if d.m == nil {
		return errNoDriver
	}
	return d.m.remove(name)
}

// Drain has a node take nothing new, for maintenance: as with [Driver.DelNode]
// its connections are given up as they become idle, and cut after
// drain_timeout. It stays a member, is probed on, and NodeStatus.OpenConns says
// how much of it is still in use. Drain does not wait, and does nothing on a
// node that is drained already. With all nodes drained opens fail.
func (d Driver) Drain(name string) error {
	if d.m == nil {
		return errNoDriver
	}
	return d.m.drain(name, true)
}

// Undrain ends a Drain: the node is used again after its next good check, and
// gets its share of connections back as any node that returns. It does nothing
// on a node that is not drained.
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

// Status returns a snapshot of the cluster; it never waits for a node.
func (d Driver) Status() ClusterStatus {
	if d.m == nil {
		return ClusterStatus{}
	}
	return d.m.status()
}

// WaitReady waits until at least n nodes are up, for programs that would
// rather start late than with a cluster that is not there. A connector must
// be open, as it is from [database/sql.Open] on: without one nothing looks at
// the nodes, and the error is ErrClosed. Else the error is that of ctx, and
// says which nodes are not up, and why.
func (d Driver) WaitReady(ctx context.Context, n int) error {
	if d.m == nil {
		return errNoDriver
	}
	return d.m.waitReady(ctx, n)
}

// Open returns one connection to the cluster, as a [driver.Connector] of it
// would within open_timeout; the argument is ignored. The connection keeps
// the cluster's actors running until it is closed. database/sql does not use
// it.
func (d Driver) Open(string) (driver.Conn, error) {
	c, err := d.OpenConnector("")
	if err != nil {
		return nil, err
	}
	held := c.(*connector)
	conn, err := d.m.connect(context.Background(), func() { held.Close() })
	if err != nil {
		held.Close()
	}
	return conn, err
}

// OpenConnector returns a connector to the cluster; the argument is ignored.
// The first one starts the actors, which dial their probe connections in the
// background. Whoever gets it closes it; [database/sql.DB.Close] does.
func (d Driver) OpenConnector(string) (driver.Connector, error) {
	if d.m == nil {
		return nil, errNoDriver
	}
	if err := d.m.acquire(); err != nil {
		return nil, err
	}
	return &connector{m: d.m}, nil
}

// Connector returns a connector for [database/sql.OpenDB], for clusters that
// are not registered under a name. It is [Driver.OpenConnector] with the
// error kept for Connect.
func (d Driver) Connector() driver.Connector {
	c, err := d.OpenConnector("")
	if err != nil {
		return failedConnector{d, err}
	}
	return c
}

// Close ends the cluster for good: opens under way and later ones fail with
// [ErrClosed], the actors stop, the expvar map is emptied. It waits for what
// the actors started: handshakes under way have loser_grace to finish, and a
// backend that is deaf to cancel holds it back for attempt_timeout at most.
// Connections that are out stay usable and are closed by whoever holds them.
// A second Close changes nothing. Programs that close their sql.DB need not
// call it.
func (d Driver) Close() error {
	if d.m == nil {
		return nil
	}
	return d.m.close()
}

// A Conn is what [database/sql.Conn.Raw] hands to its function when the
// database is a cluster: every connection of a [Driver] is one.
//
// Raw returns the backend's connection. It may be used only inside that
// function, must not be closed there, and stays the cluster's: errors that it
// gives are not seen by its node.
//
//	err := conn.Raw(func(c any) error {
//		backend := c.(clustersql.Conn).Raw()
//		...
//	})
type Conn interface {
	driver.Conn
	Raw() driver.Conn
}

// A connector is one user of the cluster: usually one sql.DB.
type connector struct {
	m      *manager
	closed atomic.Bool
}

// Connect opens on the cluster's nodes; see the package documentation. The
// caller's deadline bounds it, or open_timeout where there is none. It never
// returns a driver.ErrBadConn. After Close it is ErrClosed: database/sql does
// call it then.
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	if c.closed.Load() {
		return nil, ErrClosed
	}
	return c.m.connect(ctx, nil)
}

// Driver returns the cluster's Driver.
func (c *connector) Driver() driver.Driver { return Driver{c.m} }

// Close gives the connector up; the cluster's last one stops the actors, and
// waits for them as [Driver.Close] does. It may be called more than once.
func (c *connector) Close() error {
	if c.closed.CompareAndSwap(false, true) {
		c.m.release()
	}
	return nil
}

// A failedConnector stands for one that could not be made.
type failedConnector struct {
	d   Driver
	err error
}

func (c failedConnector) Connect(context.Context) (driver.Conn, error) { return nil, c.err }
func (c failedConnector) Driver() driver.Driver                        { return c.d }
