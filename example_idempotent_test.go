package clustersql_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/fakedb"
)

// A statement whose connection is lost may have run. It is run again only if
// the caller allows it.
func ExampleIdempotent() {
	backend := fakedb.New()
	d := clustersql.NewDriver(backend.Driver(), "example")
	d.AddNode("galera1", "dbhost1")
	db := sql.OpenDB(d.Connector())
	defer db.Close()

	lost := true
	backend.Node("dbhost1").OnStatement(func(context.Context, string, []driver.NamedValue) error {
		if lost = !lost; !lost {
			return mysql.ErrInvalidConn
		}
		return nil
	})

	ctx := context.Background()
	_, err := db.ExecContext(ctx, "UPDATE counters SET n = n + 1")
	fmt.Println(errors.Is(err, clustersql.ErrUnknownOutcome))
	lost = true
	_, err = db.ExecContext(clustersql.Idempotent(ctx), "UPDATE counters SET n = 7")
	fmt.Println(err)
	// Output:
	// true
	// <nil>
}
