package clustersql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/redact"
)

// dsnDriverName is the driver's name in database/sql, for programs that can set
// only a driver name and a DSN.
const dsnDriverName = "clustersql"

func init() { sql.Register(dsnDriverName, dsnDriver{}) }

// A dsnDriver makes a cluster from a mysql DSN with a list of hosts. Every
// sql.Open makes a cluster of its own, which ends with the sql.DB.
type dsnDriver struct{}

var _ driver.DriverContext = dsnDriver{}

// OpenConnector builds the cluster and starts it. The connector's Driver method
// returns the cluster's [Driver], for its Status. The connector's Close closes
// the cluster.
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

// Open returns one connection to a cluster of its own. The cluster ends when
// the connection is closed. database/sql does not use this method.
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

// A dsnCluster is a connector and the cluster that belongs to it alone.
type dsnCluster struct {
	*connector
	cluster Driver
}

// Close closes the connector and the cluster. It may be called more than once.
func (c dsnCluster) Close() error {
	c.connector.Close()
	return c.cluster.Close()
}

// backendDialect is the dialect of the DSNs that a dsnDriver takes.
var backendDialect dialect.Dialect = dialects[0]

// clusterOf builds the cluster that a DSN describes. It dials nothing. The
// error holds none of the DSN's secrets.
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

// parameterPrefix is the prefix of those DSN parameters that are the cluster's
// own.
const parameterPrefix = "clustersql."

// A clusterDSN is a parsed DSN that describes a whole cluster.
type clusterDSN struct {
	dialect.HostList
	settings []dialect.Parameter // names without the prefix, values unescaped
	redact   redact.Redactor     // for texts that contain parts of the DSN
}

// parseClusterDSN parses a DSN with a list of hosts. The error holds none of
// the DSN's secrets.
func parseClusterDSN(d dialect.Dialect, dsn string) (clusterDSN, error) {
	secrets, known := d.Secrets(dsn)
	c := clusterDSN{redact: redact.New(dsn, secrets, known)}
	var err error
	if c.HostList, err = d.SplitHosts(dsn, parameterPrefix); err != nil {
		return c, err
	}
	for _, p := range c.Parameters {
		if err := c.take(p); err != nil {
			return c, err
		}
	}
	return c, nil
}

// take checks one of the cluster's own parameters and adds it to the settings.
func (c *clusterDSN) take(p dialect.Parameter) error {
	key, ours := strings.CutPrefix(p.Name, parameterPrefix)
	if _, known := settingFields[key]; !ours || !known && key != "name" {
		return fmt.Errorf("unknown parameter %s: there are %sname, %s%s", c.redact.Text(p.Name), parameterPrefix,
			parameterPrefix, strings.Join(settingKeys, ", "+parameterPrefix))
	}
	if slices.ContainsFunc(c.settings, func(s dialect.Parameter) bool { return s.Name == key }) {
		return fmt.Errorf("parameter %s is there twice: take one out", p.Name)
	}
	value, err := url.QueryUnescape(p.Value)
	if err != nil {
		return fmt.Errorf("parameter %s: %s: write a percent sign as %%25", p.Name, c.redact.Error(err))
	}
	c.settings = append(c.settings, dialect.Parameter{Name: key, Value: value})
	return nil
}

// config returns the cluster's settings according to the parameters. The error
// holds none of the DSN's secrets.
func (c clusterDSN) config() (Config, error) {
	cfg := DefaultConfig()
	for _, p := range c.settings {
		if p.Name == "name" {
			continue
		}
		if err := cfg.setText(p.Name, p.Value); err != nil {
			return cfg, fmt.Errorf("parameter %s%s", parameterPrefix, c.redact.Error(err))
		}
	}
	if err := cfg.settle(); err != nil {
		return cfg, fmt.Errorf("parameter %s%s", parameterPrefix, c.redact.Error(err))
	}
	return cfg, nil
}

// name returns the cluster's name: that of the parameter, or else one made from
// the database and the hosts.
func (c clusterDSN) name() string {
	for _, p := range c.settings {
		if p.Name == "name" && p.Value != "" {
			return p.Value
		}
	}
	hosts := make([]string, len(c.Hosts))
	for i, h := range c.Hosts {
		hosts[i] = h.Name
	}
	return fmt.Sprintf("clustersql/%s@%s", c.Database, strings.Join(hosts, ","))
}
