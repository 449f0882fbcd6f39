package clustersql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"

	"github.com/EnumApps/clustersql/internal/dialect"
)

// dsnDriverName is the name under which database/sql knows the driver for
// programs that have nothing to give but a driver name and a DSN.
const dsnDriverName = "clustersql"

func init() { sql.Register(dsnDriverName, dsnDriver{}) }

// A dsnDriver makes a cluster of a mysql DSN with a list of hosts. Every
// sql.Open has a cluster of its own, which ends with the sql.DB.
type dsnDriver struct{}

var _ driver.DriverContext = dsnDriver{}

// OpenConnector builds the cluster and starts it. Its Driver method returns
// the cluster's [Driver], for its Status. Close closes the cluster.
func (dsnDriver) OpenConnector(dsn string) (driver.Connector, error) {
	d, err := clusterOf(dsn)
	if err != nil {
		return nil, err
	}
	c, err := d.OpenConnector("")
	if err != nil {
		d.Close()
		return nil, err
	}
	return dsnCluster{c.(*connector), d}, nil
}

// Open returns one connection to a cluster of its own, which ends with the
// connection. database/sql does not use it.
func (dsnDriver) Open(dsn string) (driver.Conn, error) {
	d, err := clusterOf(dsn)
	if err != nil {
		return nil, err
	}
	c, err := d.OpenConnector("")
	if err != nil {
		d.Close()
		return nil, err
	}
	cluster := dsnCluster{c.(*connector), d}
	conn, err := d.m.connect(context.Background(), func() { cluster.Close() })
	if err != nil {
		cluster.Close()
		return nil, err
	}
	return conn, nil
}

// A dsnCluster is a connector that is its cluster's only one.
type dsnCluster struct {
	*connector
	cluster Driver
}

// Close ends the cluster. It may be called more than once.
func (c dsnCluster) Close() error {
	c.connector.Close()
	return c.cluster.Close()
}

// backendDialect is that of the DSNs that a dsnDriver takes.
var backendDialect dialect.Dialect = dialects[0]

// clusterOf builds the cluster that a DSN describes; it dials nothing. The
// error holds no part of the DSN's secrets.
func clusterOf(dsn string) (Driver, error) {
	hosts, err := parseClusterDSN(backendDialect, dsn)
	if err != nil {
		return Driver{}, fmt.Errorf("clustersql: %w", err)
	}
	cfg, err := hosts.config()
	if err != nil {
		return Driver{}, fmt.Errorf("clustersql: %w", err)
	}
	d := NewDriver(backendDialect.Driver(), hosts.name(), func(c *Config) { *c = cfg })
	for _, h := range hosts.Hosts {
		if err := d.AddNode(h.Name, h.DSN); err != nil {
			d.Close()
			return Driver{}, err
		}
	}
	return d, nil
}
