// Package clusterpgx is pgx as a backend of clustersql. It is the driver of pgx
// for database/sql, and dials with [clustersql.Dial]: the cluster can cut the
// connections of a node that has fallen silent, and what hangs on them returns.
//
// Import it for its side effect. It registers itself under [Name], which a
// config.toml can have as its driver, and which the driver "clustersql" uses for
// DSNs of PostgreSQL:
//
//	db, err := sql.Open("clustersql", "postgres://app:pw@h1:5432,h2:5432/db?target_session_attrs=read-write")
//
// The package is in a module of its own, so that only programs that use pgx
// depend on it.
package clusterpgx

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"net"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// Name is the driver's name in database/sql.
const Name = "clustersql-pgx"

func init() { sql.Register(Name, Driver{}) }

// Driver is the driver. It may be given to [clustersql.NewDriver]. Its DSNs are
// pgx's: a URI or key=value, with the options and the environment of pgx.
//
// The connections are those of package stdlib themselves, a *stdlib.Conn each,
// and the errors are pgx's. Outside of a cluster the Driver works as pgx's does.
type Driver struct{}

var (
	_ driver.Driver    = Driver{}
	_ driver.Connector = connector{}

	_ clustersql.DialContextDriver = Driver{}
)

// openTimeout bounds Open, which has no context.
const openTimeout = time.Minute

// Open opens one connection, within a minute. database/sql does not use it.
func (d Driver) Open(dsn string) (driver.Conn, error) {
	c, err := d.OpenConnector(dsn)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	defer cancel()
	return c.Connect(ctx)
}

// OpenConnector returns the connector of a DSN. It dials nothing. A DSN that pgx
// refuses is an error, whose text is pgx's: a cluster takes the secrets out of it.
func (d Driver) OpenConnector(dsn string) (driver.Connector, error) {
	return d.OpenConnectorDial(dsn, clustersql.Dial)
}

// OpenConnectorDial is OpenConnector with another dial than [clustersql.Dial]. The
// dial gets the host of the DSN and resolves it.
func (Driver) OpenConnectorDial(dsn string, dial func(ctx context.Context, network, addr string) (net.Conn, error)) (driver.Connector, error) {
	if dsn != "" { // else it is all in the environment, which a program that asks for the driver need not have
		if _, err := pgx.ParseConfig(dsn); err != nil {
			return nil, err
		}
	}
	return connector{dsn, dial}, nil
}

// A connector makes the connections of one DSN.
type connector struct {
	dsn  string
	dial pgconn.DialFunc
}

// Connect opens a connection. As with pgx's own driver, each Connect reads the
// files anew that the DSN and the environment name, such as a file of passwords.
// Where pgx resolves a host's name itself, here the dial does: under a deadline of
// its own, and with every address of the name.
func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	cfg, err := pgx.ParseConfig(c.dsn)
	if err != nil {
		return nil, err
	}
	cfg.DialFunc = c.dial // connect_timeout bounds its context
	cfg.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
	return stdlib.GetConnector(*cfg).Connect(ctx)
}

// Driver returns the Driver.
func (connector) Driver() driver.Driver { return Driver{} }
