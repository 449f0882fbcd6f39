package clustersql_test

import (
	"database/sql"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/EnumApps/clustersql"
)

// What a strategy makes of a state of the cluster, as a test of your own
// strategy may ask. The standby is asked 2 s after the node before it, and the
// suspect node last.
func ExampleStrategy_Plan() {
	nodes := []clustersql.NodeStatus{
		{Name: "galera1", Weight: 1, State: clustersql.StateSuspect},
		{Name: "galera2", Weight: 1, State: clustersql.StateUp},
		{Name: "galera3", Weight: 1, State: clustersql.StateUp},
		{Name: "standby", Weight: 1, State: clustersql.StateUp, Priority: 1},
	}

	for _, launch := range clustersql.Ordered.Plan(nodes) {
		fmt.Println(launch.Node, launch.Wait)
	}
	// Output:
	// galera2 0s
	// galera3 250ms
	// standby 2s
	// galera1 250ms
}

// Clusters of a file that are not registered with database/sql.
func ExampleLoad() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "config.toml")
	err = os.WriteFile(file, []byte(`
[[cluster]]
name     = "invoices"
strategy = "balanced"

  [[cluster.node]]
  name = "galera1"
  dsn  = "app:secret@tcp(dbhost1:3306)/invoices"
`), 0o600)
	if err != nil {
		log.Fatal(err)
	}

	r, err := clustersql.Load(file)
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	d, found := r.Driver("invoices")
	if !found {
		log.Fatal("the file has no such cluster")
	}
	db := sql.OpenDB(d.Connector())
	defer db.Close()
	fmt.Println(r.Names(), d.Nodes())
	// Output: [invoices] [galera1]
}
