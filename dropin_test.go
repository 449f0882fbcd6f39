package clustersql_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"database/sql/driver"
	"errors"
	"expvar"
	"slices"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/fakedb"
)

// The ways in which programs use the original compile unchanged and run, even
// if they ignore results.
func TestDropIn(t *testing.T) {
	once := rand.Text() // database/sql keeps names for ever
	ReadDriver, PointerDriver := "read_conn"+once, "pointer_conn"+once
	mysqlDriver := mysql.MySQLDriver{}
	readerDriver := clustersql.NewDriver(mysqlDriver, ReadDriver)
	readerDriver.AddNode("galera2", "user:password@tcp(127.0.0.1:1)/db")
	readerDriver.AddNode("galera1", "user:password@tcp(127.0.0.1:1)/db")
	readerDriver.DelNode("galera2")
	readerDriver.AddNode("galera3", "user:password@tcp(127.0.0.1:1)/db")
	if got := readerDriver.Nodes(); !slices.Equal(got, []string{"galera1", "galera3"}) {
		t.Errorf("Nodes: %v", got)
	}
	sql.Register(ReadDriver, readerDriver)

	var typed clustersql.Driver = clustersql.NewDriver(&mysqlDriver, PointerDriver)
	typed.AddNode("galera1", "user:password@tcp(127.0.0.1:1)/db")
	sql.Register(PointerDriver, &typed)

	for _, name := range []string{ReadDriver, PointerDriver} {
		db, err := sql.Open(name, "whatever")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond) // all of it passes: the open waits for a node
		defer cancel()
		var open *clustersql.OpenError
		if err := db.PingContext(ctx); !errors.As(err, &open) {
			t.Errorf("nobody listens there: %v", err)
		}
		db.Close()
		if expvar.Get(name) == nil {
			t.Errorf("no expvar %s", name)
		}
	}
}

// A value and a pointer both implement both driver interfaces.
var (
	_ driver.Driver        = clustersql.Driver{}
	_ driver.Driver        = (*clustersql.Driver)(nil)
	_ driver.DriverContext = clustersql.Driver{}
	_ driver.DriverContext = (*clustersql.Driver)(nil)
)

// Programs could open the original directly too, with any backend.
func TestDropInOpen(t *testing.T) {
	d := clustersql.NewDriver(fakedb.New().LegacyDriver(), "")
	d.AddNode("a", "node-a")
	conn, err := d.Open("ignored")
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
}
