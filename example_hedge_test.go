package clustersql_test

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/fakedb"
)

// A node freezes. Its reads are answered by the other one, and their connections lead
// there from then on.
func ExampleWithHedgedReads() {
	backend := fakedb.New()
	backend.OnSocket(clustersql.TrackSocket) // go-sql-driver and pgx need no such thing
	backend.Node("dbhost1").SetMood(fakedb.Mood{})
	backend.Node("dbhost2").SetMood(fakedb.Mood{})
	d := clustersql.NewDriver(backend.Driver(), "example", clustersql.WithStrategy(clustersql.Ordered), clustersql.WithHedgedReads(true, 20*time.Millisecond))
	d.AddNode("galera1", "dbhost1")
	d.AddNode("galera2", "dbhost2")
	db := sql.OpenDB(d.Connector())
	ctx := context.Background()
	d.WaitReady(ctx, 2)

	read := func(ctx context.Context) (node string) {
		if err := db.QueryRowContext(ctx, "SELECT name FROM items WHERE id = 1").Scan(&node); err != nil {
			fmt.Println(err)
		}
		return node
	}
	fmt.Println(read(clustersql.NoHedge(ctx)))
	backend.Node("dbhost1").SetMood(fakedb.Mood{Silent: true})
	fmt.Println(read(clustersql.HedgeAfter(ctx, 5*time.Millisecond)))
	fmt.Println(read(ctx))
	db.Close()
	d.Close() // a read is counted just after it has its answer, and Close waits for that
	fmt.Println(d.Status().Nodes[0].HedgedReads.Won, "has been answered by another node")
	// Output:
	// dbhost1
	// dbhost2
	// dbhost2
	// 1 has been answered by another node
}
