package statuspage_test

import (
	"context"
	"encoding/json"
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

func ExampleCompare() {
	answer := `{"time": "2026-01-02T15:00:00Z", "process": "shop on app1, 42", "clusters": []}`
	snap := new(statuspage.Snapshot)
	if err := json.Unmarshal([]byte(answer), snap); err != nil { // what its page has for ?format=json
		log.Fatal(err)
	}

	page := statuspage.Compare("both", func() []statuspage.Process {
		return []statuspage.Process{{URL: "http://app1:8080/clusters/", Answered: snap.Time, Snapshot: snap}}
	})
	w := httptest.NewRecorder()
	page.ServeHTTP(w, httptest.NewRequest("GET", "/?format=json", nil))
	var c statuspage.Comparison
	if err := json.Unmarshal(w.Body.Bytes(), &c); err != nil {
		log.Fatal(err)
	}
	fmt.Println(c.Summary)
	// Output: The process answers.
}
