package clustersql_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql"
)

func ExampleDriver_Apply() {
	d := clustersql.NewDriver(mysql.MySQLDriver{}, "applied")
	defer d.Close()
	d.AddNode("galera1", "app:secret@tcp(dbhost1:3306)/db")
	d.AddNode("galera2", "app:secret@tcp(dbhost2:3306)/db")

	diff, err := d.Apply([]clustersql.Node{
		{Name: "galera1", DSN: "app:secret@tcp(dbhost1:3306)/db"},
		{Name: "galera2", DSN: "app:secret@tcp(dbhost4:3306)/db"},
		{Name: "standby", DSN: "app:secret@tcp(dbhost9:3306)/db", Priority: 1},
	}, clustersql.WithStrategy(clustersql.Ordered))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(diff)
	// Output:
	// applied: strategy "race" -> "ordered" (live; moves no connection)
	// applied: node galera2: replace "dbhost2:3306" by "dbhost4:3306" (live; moves no connection)
	// applied: node standby: add (live; moves no connection)
}

const exampleFile = `
[[cluster]]
name = "planned_conn"
[[cluster.node]]
name = "galera1"
dsn  = "app:secret@tcp(dbhost1:3306)/db"
`

// A registry follows its file, and a plan shows what another file would change.
func ExamplePlan() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	back, _ := os.Getwd()
	defer os.Chdir(back)
	os.Chdir(dir)
	os.WriteFile("config.toml", []byte(exampleFile), 0o600)
	os.WriteFile("next.toml", []byte(exampleFile+"priority = 1\n"), 0o600)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	registry, err := clustersql.RegisterFile("config.toml")
	if err != nil {
		log.Fatal(err)
	}
	go registry.Watch(ctx, 5*time.Second)

	next, err := clustersql.Load("next.toml")
	if err != nil {
		log.Fatal(err)
	}
	defer next.Close()
	diff := clustersql.Plan(registry.Describe(), next.Describe())
	fmt.Print(diff)

	registry.Close()
	// Output:
	// planned_conn: node galera1: tune priority 0, weight 1 -> priority 1, weight 1 (live; moves no connection)
}

// nodesFromRegistry stands for a registry of services.
func nodesFromRegistry(context.Context) ([]clustersql.Node, error) {
	return []clustersql.Node{{Name: "galera1", DSN: "app:secret@tcp(dbhost1:3306)/db"}}, nil
}

func ExampleWithSource() {
	d := clustersql.NewDriver(mysql.MySQLDriver{}, "found_conn",
		clustersql.WithSource(func(ctx context.Context) ([]clustersql.Node, error) {
			return nodesFromRegistry(ctx)
		}, 10*time.Second))
	defer d.Close()
	fmt.Println(d.Config().DiscoverEvery)
	// Output: 10s
}

func ExampleDiscover() {
	db, err := sql.Open("clustersql", "app:pw@tcp(galera.db.svc:3306)/db?clustersql.discover=dns")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	fmt.Println(db.Driver().(clustersql.Driver).Config().Discover)
	// Output: dns
}
