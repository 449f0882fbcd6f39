package clustersql_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/fakedb"
)

// The pool of a busy program. Its idle connections are kept, so that it does
// not open one for every query.
func Example_poolSettings() {
	db, err := sql.Open("clustersql", "user:password@tcp(dbhost1:3306,dbhost2:3306)/db")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	db.SetMaxOpenConns(32)                  // well below the max_connections of one node
	db.SetMaxIdleConns(32)                  // the default of 2 opens and closes all the time
	db.SetConnMaxIdleTime(10 * time.Minute) // less than the wait_timeout of the servers

	fmt.Println(db.Stats().MaxOpenConnections)
	// Output: 32
}

// A hook that tells a person of what needs one.
func ExampleWithOnEvent() {
	page := func(text string) { log.Print(text) }

	alarm := func(e clustersql.Event) {
		switch {
		case e.Kind == clustersql.EventState && e.To == clustersql.StateDown:
			page(e.Cluster + ": " + e.Node + " is down: " + e.Reason)
		case e.Kind == clustersql.EventCut:
			page(fmt.Sprintf("%s: %d connections of %s were cut: %s", e.Cluster, e.Conns, e.Node, e.Reason))
		}
	}
	d := clustersql.NewDriver(mysql.MySQLDriver{}, "watched_conn", clustersql.WithOnEvent(alarm))

	defer d.Close()
	fmt.Println(d.AddNode("galera1", "user:password@tcp(dbhost1:3306)/db"))
	// Output: <nil>
}

// Every cluster of the program, whoever has made it.
func ExampleClusters() {
	d := clustersql.NewDriver(fakedb.New().Driver(), "listed_conn")
	defer d.Close()
	d.AddNode("a", "node-a")

	for _, d := range clustersql.Clusters() {
		for _, n := range d.Status().Nodes {
			log.Println(d.Status().ID, n.Name, n.State)
		}
	}
	fmt.Println(len(clustersql.Clusters()) > 0)
	// Output: true
}

// How long the checks of each node take.
func ExampleLatency() {
	d := clustersql.NewDriver(fakedb.New().Driver(), "timed_conn")
	d.AddNode("a", "node-a")
	db := sql.OpenDB(d.Connector())
	defer db.Close()
	if err := d.WaitReady(context.Background(), 1); err != nil {
		log.Fatal(err)
	}
	for _, n := range d.Status().Nodes {
		if l := n.OpenLatency; l.Count() > 0 {
			log.Println(n.Name, l.Mean(), l.Deviation(), l.Percentile(0.95))
		}
	}
	fmt.Println(len(d.Status().Nodes))
	// Output: 1
}

// The error of a statement whose outcome is not known says on which node it
// was.
func ExampleNodeError() {
	backend := fakedb.New()
	d := clustersql.NewDriver(backend.Driver(), "ledger_conn")
	d.AddNode("galera1", "dbhost1")
	db := sql.OpenDB(d.Connector())
	defer db.Close()
	backend.Node("dbhost1").OnStatement(func(_ context.Context, query string, _ []driver.NamedValue) error {
		if strings.HasPrefix(query, "UPDATE") {
			return mysql.ErrInvalidConn
		}
		return nil
	})

	_, err := db.Exec("UPDATE counters SET n = n + 1")
	var failed *clustersql.NodeError
	if errors.As(err, &failed) && errors.Is(err, clustersql.ErrUnknownOutcome) {
		fmt.Println("look whether it was run, on", failed.Node)
	}
	// Output: look whether it was run, on galera1
}

// A check of one's own asks one query. Here a node is fit while a table says so.
func ExampleQueryRow() {
	inService := func(ctx context.Context, backend driver.Conn) error {
		row, err := clustersql.QueryRow(ctx, backend, "SELECT state FROM maintenance")
		if err != nil {
			return err
		}
		if row[0] != "in service" {
			return fmt.Errorf("the node is %s", row[0])
		}
		return nil
	}
	backend := fakedb.New()
	backend.Node("dsn1").OnQuery(func(string) ([][]driver.Value, bool) { return [][]driver.Value{{"in repair"}}, true })
	backend.Node("dsn2").OnQuery(func(string) ([][]driver.Value, bool) { return [][]driver.Value{{"in service"}}, true })
	d := clustersql.NewDriver(backend.Driver(), "checked_conn", clustersql.WithCheck(inService),
		clustersql.WithLogger(slog.New(slog.DiscardHandler)))
	d.AddNode("galera1", "dsn1")
	d.AddNode("galera2", "dsn2")
	db := sql.OpenDB(d.Connector())
	defer db.Close()

	var state string
	err := db.QueryRow("SELECT state FROM maintenance").Scan(&state)
	fmt.Println(state, err)
	// Output: in service <nil>
}
