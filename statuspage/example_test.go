package statuspage_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/statuspage"
)

func Example() {
	d := clustersql.NewDriver(mysql.MySQLDriver{}, "read_conn")
	defer d.Close()
	d.AddNode("galera1", "user:password@tcp(dbhost1:3306)/db")

	page := statuspage.Handler()
	mux := http.NewServeMux()
	mux.Handle("/clusters/", page)

	server := httptest.NewServer(mux)
	defer server.Close()
	answer, err := http.Get(server.URL + "/clusters/?format=csv")
	if err != nil {
		log.Fatal(err)
	}
	defer answer.Body.Close()
	table, err := io.ReadAll(answer.Body)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(strings.Contains(string(table), "galera1"), strings.Contains(string(table), "password"))
	// Output: true false
}

func ExampleHandler() {
	writer := clustersql.NewDriver(mysql.MySQLDriver{}, "write_conn")
	defer writer.Close()
	reload := func(context.Context) (clustersql.Diff, error) {
		return writer.Apply([]clustersql.Node{{Name: "galera1", DSN: "user:password@tcp(dbhost1:3306)/db"}})
	}

	mux := http.NewServeMux()
	mux.Handle("/debug/clusters/", statuspage.Handler(
		statuspage.Clusters(writer),      // and not all of the process
		statuspage.Title("shop: writer"), // the heading
		statuspage.AllowDrain(),          // buttons that drain a node
		statuspage.AllowReload(reload),   // and one that reloads the configuration
	))
}

func ExampleTake() {
	d := clustersql.NewDriver(mysql.MySQLDriver{}, "read_conn")
	defer d.Close()
	d.AddNode("galera1", "user:password@tcp(dbhost1:3306)/db")

	for _, c := range statuspage.Take(d).Clusters {
		fmt.Println(c.Status.ID, c.Level, c.Summary)
	}
	// Output: read_conn well Not in use: no sql.DB of it is open, and nothing checks its nodes.
}

// onlyOperators stands for a program's own check.
func onlyOperators(h http.Handler) http.Handler { return h }

func ExampleHandler_check() {
	mux := http.NewServeMux()
	mux.Handle("/clusters/", onlyOperators(statuspage.Handler()))
}
