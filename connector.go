package clustersql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/EnumApps/clustersql/internal/causal"
	"github.com/EnumApps/clustersql/internal/clusterdsn"
	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/dialects"
	"github.com/EnumApps/clustersql/internal/drivers"
	"github.com/EnumApps/clustersql/internal/session"
)

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

// A failedConnector takes the place of a connector that could not be made. Its
// Connect returns the error.
type failedConnector struct {
	d   Driver
	err error
}

func (c failedConnector) Connect(context.Context) (driver.Conn, error) { return nil, c.err }
func (c failedConnector) Driver() driver.Driver                        { return c.d }

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

// dsnDriverName is the driver's name in database/sql, for programs that can set
// only a driver name and a DSN.
const dsnDriverName = "clustersql"

func init() { sql.Register(dsnDriverName, dsnDriver{}) }

// A dsnDriver makes a cluster from a DSN with a list of hosts. Every sql.Open makes
// a cluster of its own, which ends with the sql.DB.
type dsnDriver struct{}

var _ driver.DriverContext = dsnDriver{}

// errNoDSN is the error of every use of a sql.DB that was opened with an empty
// DSN. To open one is no error: programs that wrap a driver by its name do so,
// to get the driver from sql.DB.Driver.
var errNoDSN = errors.New("clustersql: the DSN is empty: write it as user:password@tcp(host1,host2)/database or postgres://user:password@host1,host2/database")

// OpenConnector builds the cluster and starts it. The connector's Driver method
// returns the cluster's [Driver], for its Status. The connector's Close closes
// the cluster.
func (dsnDriver) OpenConnector(dsn string) (driver.Connector, error) {
	if dsn == "" {
		return failedConnector{Driver{takesDSN: true}, errNoDSN}, nil
	}
	c, err := startCluster(dsn)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// startCluster builds the cluster that a DSN describes, and starts it.
func startCluster(dsn string) (dsnCluster, error) {
	d, err := clusterOf(dsn)
	if err != nil {
		return dsnCluster{}, err
	}
	c, err := d.connector()
	if err != nil {
		d.Close()
		return dsnCluster{}, err
	}
	return dsnCluster{c, d}, nil
}

// opened are the clusters that have connections of dsnDriver.Open, by DSN.
var opened = struct {
	mu  sync.Mutex // never held across a dial or a Close
	all map[string]*openedCluster
}{all: make(map[string]*openedCluster)}

type openedCluster struct {
	dsnCluster
	conns int // open, or being opened; guarded by opened.mu
}

// Open returns one connection. The connections of one DSN share a cluster,
// which ends when the last of them is closed. Drivers that wrap another one
// and have no OpenConnector open all their connections here; database/sql
// itself does not.
func (dsnDriver) Open(dsn string) (driver.Conn, error) {
	if dsn == "" {
		return nil, errNoDSN
	}
	c, err := openedFor(dsn)
	if err != nil {
		return nil, err
	}
	conn, err := c.m.connect(context.Background(), func() { c.leave(dsn) })
	if err != nil {
		c.leave(dsn)
		return nil, err
	}
	return conn, nil
}

// openedFor returns the cluster of a DSN and counts one more connection.
func openedFor(dsn string) (*openedCluster, error) {
	opened.mu.Lock()
	defer opened.mu.Unlock()
	c := opened.all[dsn]
	if c == nil {
		started, err := startCluster(dsn)
		if err != nil {
			return nil, err
		}
		c = &openedCluster{dsnCluster: started}
		opened.all[dsn] = c
	}
	c.conns++
	return c, nil
}

// leave counts one connection less. The last one closes the cluster.
func (c *openedCluster) leave(dsn string) {
	opened.mu.Lock()
	c.conns--
	last := c.conns == 0
	if last {
		delete(opened.all, dsn)
	}
	opened.mu.Unlock()
	if last {
		c.Close()
	}
}

// A dsnCluster is a connector and the cluster that belongs to it alone.
type dsnCluster struct {
	*connector
	cluster Driver
}

// Driver returns the cluster's Driver, which takes DSNs of other clusters too.
func (c dsnCluster) Driver() driver.Driver { return Driver{m: c.m, takesDSN: true} }

// Close closes the connector and the cluster. It may be called more than once.
func (c dsnCluster) Close() error {
	c.connector.Close()
	return c.cluster.Close()
}

// backendDialect is the dialect of the DSNs that no dialect claims.
var backendDialect dialect.Dialect = dialects.Known[0]

// dialectOfDSN returns the dialect of a DSN with a list of hosts, by the DSN's
// form.
func dialectOfDSN(dsn string) dialect.Dialect {
	for _, d := range dialects.Known {
		if d.Claims(dsn) {
			return d
		}
	}
	return backendDialect
}

// dialect returns the dialect of the cluster's DSNs, as far as its names tell it.
func (d *Description) dialect() dialect.Dialect {
	known := d.Config.dialectOf(nil)
	if !dialects.Unknown(known) || d.Config.Dialect == DialectGeneric {
		return known
	}
	for _, own := range dialects.Known {
		if name, _ := own.Backend(); d.Driver == name || d.Driver == defaultDriver && own.Driver() != nil {
			return own
		}
	}
	if len(d.Nodes) > 0 {
		return dialectOfDSN(d.Nodes[0].DSN)
	}
	return known
}

// backendOfDSN returns the backend for DSNs of the dialect: the dialect's own, or
// the one that is registered with database/sql under the dialect's name for it.
// The error holds nothing of a DSN.
func backendOfDSN(d dialect.Dialect) (driver.Driver, error) {
	if own := d.Driver(); own != nil {
		return own, nil
	}
	name, pkg := d.Backend()
	if !slices.Contains(sql.Drivers(), name) {
		return nil, fmt.Errorf("the DSN needs the driver %q, which database/sql does not know: write import _ %q", name, pkg)
	}
	backend, err := backendFor(name, "")
	if err != nil {
		return nil, fmt.Errorf("driver %q: %w", name, err)
	}
	return backend, nil
}

// errOwnBackend is the error for a cluster whose backend is a cluster.
var errOwnBackend = errors.New("it is a cluster of clustersql itself: name the driver of the nodes, as in \"mysql\"")

// backendFor returns the driver that database/sql knows under a name; see
// [drivers.For].
func backendFor(name, dsn string) (driver.Driver, error) {
	if name == dsnDriverName {
		return nil, errOwnBackend
	}
	found, err := drivers.For(name, dsn)
	switch found.(type) {
	case Driver, *Driver, dsnDriver:
		return nil, errOwnBackend
	}
	return found, err
}

// clusterOf builds the cluster that a DSN describes. It dials nothing. The
// error holds none of the DSN's secrets.
func clusterOf(dsn string) (Driver, error) {
	kind := dialectOfDSN(dsn)
	hosts, err := clusterdsn.Parse(kind, dsn, configTable.Keys)
	if err != nil {
		return Driver{}, fmt.Errorf("clustersql: %w", err)
	}
	cfg, err := configOf(&hosts)
	if err != nil {
		return Driver{}, fmt.Errorf("clustersql: %w", err)
	}
	backend, err := backendOfDSN(kind)
	if err != nil {
		return Driver{}, fmt.Errorf("clustersql: %w", err)
	}
	d := NewDriver(backend, hosts.Name(), func(c *Config) { *c = cfg })
	for _, h := range hosts.Hosts {
		if err := d.m.addDSN(h.Name, h.DSN, []NodeOption{WithPriority(h.Priority)}, originDSN); err != nil {
			d.Close()
			return Driver{}, err
		}
	}
	return d, nil
}

// configOf returns the cluster's settings according to a DSN's parameters. The error
// holds none of the DSN's secrets.
func configOf(dsn *clusterdsn.DSN) (Config, error) {
	cfg := DefaultConfig()
	if err := dsn.Set(cfg.setText); err != nil {
		return cfg, err
	}
	if err := cfg.settle(); err != nil {
		return cfg, dsn.Wrong(err)
	}
	return cfg, nil
}

// Idempotent returns a context whose statements may be run more than once. It
// matters in two cases: a connection is lost outside a transaction before the
// first row, or a node refuses a statement that may have run in part.
// database/sql then runs the statement again on another node instead of
// returning the error. Use it for reads, and for writes that change nothing
// when they run a second time. In a transaction and on a sql.Conn it has no
// effect.
func Idempotent(ctx context.Context) context.Context {
	return session.WithIdempotent(ctx)
}

// ReadYourWrites returns a context whose calls see what they have written, and
// never see less than calls before them have seen, whatever node they are sent to.
// These calls are one session. Any goroutine may use the context and contexts made
// of it, for any cluster of the same databases. If ctx belongs to a session already,
// it is returned as it is.
//
// What a call sees is decided when it begins outside a transaction, or begins one:
// pass the context to BeginTx. The calls of a session are in order if one has
// returned, and the rows of a query are closed, before the next is made. A call may
// wait for causal_timeout on a node that is behind, and go to another one then; see
// [ErrBehind]. The manual says what it costs.
func ReadYourWrites(ctx context.Context) context.Context {
	ctx, _ = causal.Open(ctx)
	return ctx
}

// Token returns what the calls of ctx's session have seen, as a text for
// [WithToken]. It is made of letters, digits and .-/:_~! and fits into a cookie or a
// header. It is empty if nothing was seen, or if ctx has no session. It holds the
// identities of databases and positions in them, and no secret.
func Token(ctx context.Context) string {
	if s := causal.In(ctx); s != nil {
		return s.Token()
	}
	return ""
}

// WithToken returns a context with a session of its own that has seen what the token
// says: of another process, or of another time. The empty token says nothing. An
// error says that the text is no token; the context can be used all the same, and its
// session has seen nothing. What a token says of other databases than those of a
// cluster has no effect there.
//
// Who can write a token can make calls wait for causal_timeout and fail, and can do
// no more harm.
func WithToken(ctx context.Context, token string) (context.Context, error) {
	ctx, s := causal.Anew(ctx)
	if err := s.Join(token, time.Now().UnixNano()); err != nil {
		return ctx, fmt.Errorf("clustersql: WithToken: %w", err)
	}
	return ctx, nil
}

// HedgeAfter returns a context whose reads are sent to another node too when they have
// taken d, instead of after the time that the cluster has learnt; see
// [Config.HedgeReads]. It has no effect where that is not set, and bounds nothing: what
// [Config.HedgeReads] leaves out is left out. Any goroutine may call it.
func HedgeAfter(ctx context.Context, d time.Duration) context.Context {
	return session.WithHedgeAfter(ctx, max(d, time.Millisecond))
}

// NoHedge returns a context whose reads are sent to one node only: for a SELECT that
// changes something, such as one of a view that calls a function, and for one that is
// to be answered by the node of its connection. Any goroutine may call it.
func NoHedge(ctx context.Context) context.Context { return session.WithHedgeAfter(ctx, -1) }
