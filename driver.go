package clustersql

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"runtime"
	"slices"
	"sync/atomic"
	"weak"

	"github.com/EnumApps/clustersql/internal/roll"
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

// A Conn is what [database/sql.Conn.Raw] passes to its function when the
// database is a cluster: every connection of a [Driver] is a Conn.
//
// Raw returns the backend's connection. Use it only inside that function and do
// not close it: it still belongs to the cluster, which does not close it before
// the function returns. A connection that nobody has used yet may be closed already;
// Raw waits for a Close that is under way. The cluster does not see the errors that it
// returns there, so they do not change the node's state.
//
//	err := conn.Raw(func(c any) error {
//		backend := c.(clustersql.Conn).Raw()
//		...
//	})
type Conn interface {
	driver.Conn
	Raw() driver.Conn
}

// NodeOf returns the name of the node to which a connection leads, and the
// generation of the node in which it was opened; see [NodeStatus.Generation]. c is
// what [database/sql.Conn.Raw] passes to its function: a [Conn], or the connection
// of a driver that wraps the cluster's and gives it back from a method Raw. ok is
// false for any other. NodeOf asks the server nothing.
func NodeOf(c any) (node string, generation uint64, ok bool) {
	for range 8 { // drivers around drivers
		switch conn := c.(type) {
		case interface {
			Conn
			Node() string
			Generation() uint64
		}:
			return conn.Node(), conn.Generation(), true
		case interface{ Raw() driver.Conn }:
			c = conn.Raw()
		default:
			return "", 0, false
		}
	}
	return "", 0, false
}

// A connector is one user of the cluster, usually one sql.DB.
type connector struct {
	m      *manager
	closed atomic.Bool
}

// Connect opens a connection on one of the cluster's nodes; see the package
// documentation. The caller's deadline bounds it, or open_timeout if there is
// none. Connect never returns a driver.ErrBadConn. After Close it returns
// ErrClosed: database/sql may still call it then.
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	if c.closed.Load() {
		return nil, ErrClosed
	}
	return c.m.connect(ctx, nil)
}

// Driver returns the cluster's Driver.
func (c *connector) Driver() driver.Driver { return Driver{m: c.m} }

// Close releases the connector. The cluster's last connector stops the actors,
// and waits for them as [Driver.Close] does. Close may be called more than
// once.
func (c *connector) Close() error {
	if c.closed.CompareAndSwap(false, true) {
		c.m.release()
	}
	return nil
}

// enrolled are the clusters of this process that are in use.
var enrolled roll.Roll[manager]

// Clusters returns the clusters of this process that are in use: each one that
// was made and was neither closed nor given up. They may come from NewDriver,
// from a file or from a DSN, and need not be open. They are sorted by
// [ClusterStatus.ID].
//
// Clusters is for what shows or serves all clusters of a program, such as a page,
// metrics or a command: nobody has to hand the clusters around. The list of the
// process keeps no cluster in memory. The returned Drivers do, as any Driver does;
// so ask again for each look. Any goroutine may call it.
func Clusters() []Driver {
	managers := enrolled.Things()
	all := make([]Driver, len(managers))
	for i, m := range managers {
		all[i] = Driver{m: m}
	}
	slices.SortFunc(all, func(a, b Driver) int { return cmp.Compare(a.m.id, b.m.id) })
	return all
}

// enroll lists the cluster, and gives it its ID. When nobody can reach it any more, it is
// taken off the roll, and out of expvar.
func (m *manager) enroll() {
	w := weak.Make(m)
	enrolled.Enter(w, m.name, &m.id)
	id, name := m.id, m.name
	runtime.AddCleanup(m, func(w weak.Pointer[manager]) {
		enrolled.Strike(id, w)
		exported.withdraw(name, w)
	}, w)
}

// A failedConnector takes the place of a connector that could not be made. Its
// Connect returns the error.
type failedConnector struct {
	d   Driver
	err error
}

func (c failedConnector) Connect(context.Context) (driver.Conn, error) { return nil, c.err }
func (c failedConnector) Driver() driver.Driver                        { return c.d }
