package clustersql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/EnumApps/clustersql/internal/clusterdsn"
	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/dialects"
	"github.com/EnumApps/clustersql/internal/drivers"
)

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
