package clustersql_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/fakedb"
)

// The five lines of the README: a cluster with a name for database/sql.
// sql.Open does not wait for a network.
func Example() {
	d := clustersql.NewDriver(mysql.MySQLDriver{}, "read_conn")
	d.AddNode("galera1", "user:password@tcp(dbhost1:3306)/db")
	d.AddNode("galera2", "user:password@tcp(dbhost2:3306)/db")
	sql.Register("read_conn", d)
	db, err := sql.Open("read_conn", "")

	fmt.Println(d.Nodes(), err)
	db.Close()
	// Output: [galera1 galera2] <nil>
}

// This is for programs that take a driver name and a DSN and nothing else.
func Example_hostList() {
	db, err := sql.Open("clustersql", "user:password@tcp(dbhost1:3306,dbhost2:3306,dbhost3:3306)/db?clustersql.open_timeout=5s")

	fmt.Println(db.Driver().(clustersql.Driver).Nodes(), err)
	db.Close()
	// Output: [dbhost1:3306 dbhost2:3306 dbhost3:3306] <nil>
}

// A cluster need not be registered. Options follow the name.
func ExampleDriver_Connector() {
	backend := fakedb.New().Driver() // any database/sql driver
	d := clustersql.NewDriver(backend, "sess_conn",
		clustersql.WithOpenTimeout(5*time.Second),
		clustersql.WithCheck(clustersql.CheckPing))
	d.AddNode("a", "node-a")
	db := sql.OpenDB(d.Connector())
	defer db.Close()

	var node string
	err := db.QueryRow("SELECT @@hostname").Scan(&node)
	fmt.Println(node, err)
	// Output: node-a <nil>
}

// A node may be a connector instead of a DSN. This one reads the password again
// for every connection.
func ExampleDriver_AddConnector() {
	cfg := mysql.NewConfig()
	cfg.User, cfg.Net, cfg.Addr, cfg.DBName = "app", "tcp", "dbhost1:3306", "db"
	err := cfg.Apply(mysql.BeforeConnect(func(_ context.Context, c *mysql.Config) error {
		c.Passwd = os.Getenv("TOKEN")
		return nil
	}))
	if err != nil {
		log.Fatal(err)
	}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		log.Fatal(err)
	}
	d := clustersql.NewDriver(mysql.MySQLDriver{}, "token_conn")
	defer d.Close()
	fmt.Println(d.AddConnector("galera1", connector), d.Nodes())
	// Output: <nil> [galera1]
}

// Readers are spread over the nodes, two thirds of them on the larger node. One
// node is on standby.
func ExampleWithStrategy() {
	backend := fakedb.New().Driver() // any database/sql driver

	d := clustersql.NewDriver(backend, "read_conn", clustersql.WithStrategy(clustersql.Balanced))
	d.AddNode("galera1", "dsn1")
	d.AddNode("galera2", "dsn2", clustersql.WithWeight(2))
	d.AddNode("elsewhere", "dsn3", clustersql.WithPriority(1))

	db := sql.OpenDB(d.Connector())
	defer db.Close()
	fmt.Println(db.Ping())
	for _, n := range d.Status().Nodes {
		fmt.Println(n.Name, n.Priority, n.Weight)
	}
	// Output:
	// <nil>
	// elsewhere 1 1
	// galera1 0 1
	// galera2 0 2
}

// All writers use the first node, and another one while the first refuses.
func ExampleOrdered() {
	nodes := fakedb.New()
	nodes.Node("dsn1").Set(fakedb.Script{Err: errors.New("refused")})
	d := clustersql.NewDriver(nodes.Driver(), "write_conn",
		clustersql.WithStrategy(clustersql.Ordered),
		clustersql.WithLogger(slog.New(slog.DiscardHandler)))
	d.AddNode("galera1", "dsn1")
	d.AddNode("galera2", "dsn2")
	d.AddNode("galera3", "dsn3")
	db := sql.OpenDB(d.Connector())
	defer db.Close()

	var node string
	err := db.QueryRow("SELECT @@hostname").Scan(&node)
	fmt.Println(node, err)
	// Output: dsn2 <nil>
}

// This strategy asks the last node by name, and after a second all others at
// once.
func ExampleNewStrategy() {
	last := clustersql.NewStrategy("last", func(nodes []clustersql.NodeStatus) []clustersql.Launch {
		plan := clustersql.Race.Plan(nodes)
		slices.Reverse(plan)
		if len(plan) > 1 {
			plan[1].Wait = time.Second
		}
		return plan
	})
	d := clustersql.NewDriver(fakedb.New().Driver(), "last_conn", clustersql.WithStrategy(last))
	d.AddNode("a", "node-a")
	d.AddNode("b", "node-b")
	db := sql.OpenDB(d.Connector())
	defer db.Close()

	var node string
	err := db.QueryRow("SELECT @@hostname").Scan(&node)
	fmt.Println(node, err)
	// Output: node-b <nil>
}

// If no node gives a connection, the error names all of them.
func ExampleOpenError() {
	backend := fakedb.New()
	backend.Node("node-a").Set(fakedb.Script{Err: errors.New("no route")})
	d := clustersql.NewDriver(backend.Driver(), "lost_conn")
	d.AddNode("a", "node-a")
	db := sql.OpenDB(d.Connector())
	defer db.Close()

	var open *clustersql.OpenError
	if errors.As(db.Ping(), &open) {
		for _, attempt := range open.Attempts {
			fmt.Println(attempt.Node, attempt.Err)
		}
	}
	// Output: a no route
}

// Status returns what a cluster knows of its nodes.
func ExampleDriver_Status() {
	d := clustersql.NewDriver(fakedb.New().Driver(), "shown_conn")
	d.AddNode("a", "node-a")
	db := sql.OpenDB(d.Connector())
	defer db.Close()
	if err := db.Ping(); err != nil {
		log.Fatal(err)
	}
	for _, n := range d.Status().Nodes {
		fmt.Println(n.Name, n.OpenConns)
	}
	// Output: a 1
}

// A program may have a hook for metrics and alarms, and may wait at its start
// until two nodes are up.
func ExampleDriver_WaitReady() {
	backend := fakedb.New().Driver()
	var ups atomic.Int64
	count := func(e clustersql.Event) {
		if e.Kind == clustersql.EventState && e.To == clustersql.StateUp {
			ups.Add(1)
		}
	}
	d := clustersql.NewDriver(backend, "ready_conn", clustersql.WithOnEvent(count))
	d.AddNode("galera1", "dsn1")
	d.AddNode("galera2", "dsn2")
	db := sql.OpenDB(d.Connector())
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := d.WaitReady(ctx, 2)

	db.Close()
	fmt.Println(ups.Load(), err)
	// Output: 2 <nil>
}

// During maintenance a node takes nothing new. Later it is used again.
func ExampleDriver_Drain() {
	d := clustersql.NewDriver(fakedb.New().Driver(), "drained_conn")
	d.AddNode("galera1", "dsn1")
	d.AddNode("galera2", "dsn2")
	db := sql.OpenDB(d.Connector())
	defer db.Close()
	if err := d.WaitReady(context.Background(), 2); err != nil {
		log.Fatal(err)
	}

	if err := d.Drain("galera2"); err != nil { // nothing new goes there
		log.Fatal(err)
	}
	for _, n := range d.Status().Nodes {
		fmt.Println(n.Name, n.State, n.OpenConns) // 0: nothing runs there any more
	}
	err := d.Undrain("galera2")

	fmt.Println(err)
	// Output:
	// galera1 up 0
	// galera2 draining 0
	// <nil>
}

// A program can get the backend's own connection, for what database/sql cannot
// do.
func ExampleConn() {
	d := clustersql.NewDriver(fakedb.New().Driver(), "raw_conn")
	d.AddNode("a", "node-a")
	db := sql.OpenDB(d.Connector())
	defer db.Close()
	conn, err := db.Conn(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	err = conn.Raw(func(c any) error {
		fmt.Printf("%T\n", c.(clustersql.Conn).Raw())
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output: *fakedb.Conn
}

// Clusters come from a file, and each is registered under its name.
func ExampleRegisterFile() {
	file, err := os.CreateTemp("", "config*.toml")
	if err != nil {
		log.Fatal(err)
	}
	defer os.Remove(file.Name())
	fmt.Fprint(file, `
[[cluster]]
name = "orders_conn"

  [[cluster.node]]
  name = "galera1"
  dsn  = "app:${ORDERS_PASSWORD}@tcp(dbhost1:3306)/orders"
`)
	file.Close()
	os.Setenv("ORDERS_PASSWORD", "secret")

	r, err := clustersql.RegisterFile(file.Name())
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	db, err := sql.Open("orders_conn", "")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	fmt.Println(r.Names())
	// Output: [orders_conn]
}
