package clustersql_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"

	"github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/fakedb"
)

// A traced driver counts the connections that it opens. It stands for the
// drivers that wrap another one to trace statements.
type traced struct {
	inner driver.Driver
	opens *atomic.Int64
}

func (d traced) Open(dsn string) (driver.Conn, error) {
	d.opens.Add(1)
	return d.inner.Open(dsn)
}

// The cluster cannot see which database a wrapped driver speaks to. With its
// dialect named it is a full backend. Here the first node refuses a statement
// before it runs. The statement moves to the second node.
func ExampleWithDialect() {
	nodes := fakedb.New() // in place of MariaDB servers
	nodes.Node("app:secret@tcp(dbhost1:3306)/db").OnStatement(func(_ context.Context, query string, _ []driver.NamedValue) error {
		if strings.HasPrefix(query, "UPDATE") {
			return &mysql.MySQLError{Number: 1047, Message: "WSREP has not yet prepared node for application use"}
		}
		return nil
	})
	tracedDriver := traced{nodes.LegacyDriver(), new(atomic.Int64)}

	d := clustersql.NewDriver(tracedDriver, "traced_conn", clustersql.WithDialect(clustersql.DialectMySQL))
	d.AddNode("galera1", "app:secret@tcp(dbhost1:3306)/db")
	d.AddNode("galera2", "app:secret@tcp(dbhost2:3306)/db", clustersql.WithPriority(1))
	db := sql.OpenDB(d.Connector())

	defer db.Close()
	_, err := db.Exec("UPDATE counters SET n = 7")
	fmt.Println(err, tracedDriver.opens.Load() > 0)
	// Output: <nil> true
}

// A dialer for a backend that the cluster does not dial for, such as a driver
// that wraps mysql. The node's DSN then names the network "cut".
func ExampleDial() {
	mysql.RegisterDialContext("cut", func(ctx context.Context, addr string) (net.Conn, error) {
		return clustersql.Dial(ctx, "tcp", addr)
	})

	d := clustersql.NewDriver(mysql.MySQLDriver{}, "cut_conn")
	defer d.Close()
	fmt.Println(d.AddNode("galera1", "app:secret@cut(dbhost1:3306)/db"))
	// Output: <nil>
}

// A dialer of your own tells the cluster its sockets, here one that goes
// through a proxy.
func ExampleTrackSocket() {
	var viaProxy func(ctx context.Context, addr string) (net.Conn, error)

	mysql.RegisterDialContext("proxied", func(ctx context.Context, addr string) (net.Conn, error) {
		conn, err := viaProxy(ctx, addr)
		if err != nil {
			return nil, err
		}
		clustersql.TrackSocket(ctx, conn)
		return conn, nil
	})
	// Output:
}

// A check of your own runs after the one that it builds on. This one wants
// servers that have a table.
func ExampleWithCheck() {
	backend := fakedb.New().Driver() // any database/sql driver

	hasTable := func(ctx context.Context, conn driver.Conn) error {
		if err := clustersql.CheckDo1(ctx, conn); err != nil {
			return err
		}
		_, err := conn.(driver.ExecerContext).ExecContext(ctx, "DO (SELECT 1 FROM orders LIMIT 1)", nil)
		return err
	}
	d := clustersql.NewDriver(backend, "orders_conn", clustersql.WithCheck(hasTable))
	d.AddNode("galera1", "dsn1")
	db := sql.OpenDB(d.Connector())

	defer db.Close()
	fmt.Println(db.Ping())
	// Output: <nil>
}

// Settings that cannot work are reported by AddNode and by sql.Open.
func ExampleSettingError() {
	d := clustersql.NewDriver(mysql.MySQLDriver{}, "wrong_conn", clustersql.WithMaxOpensPerNode(0))
	err := d.AddNode("galera1", "app:secret@tcp(dbhost1:3306)/db")

	var wrong *clustersql.SettingError
	if errors.As(err, &wrong) {
		fmt.Println(wrong.Key, "-", wrong.Problem)
	}
	// Output: max_opens_per_node - 0 is too small: it must be at least 1
}
