package clustersql

import (
	"context"
	"database/sql/driver"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql/internal/fakedb"
	"github.com/EnumApps/clustersql/internal/health"
)

// What a check is answered, on connections that are made without trouble, is
// told at once if people must correct it: an account whose password has expired,
// and a check that the server cannot run. The error has the server's words.
func TestMistakenCheckIsToldAtOnce(t *testing.T) {
	server := func(number uint16, state, message string) error {
		return &mysql.MySQLError{Number: number, SQLState: [5]byte([]byte(state)), Message: message}
	}
	const query = "SELECT fit"
	for _, tc := range []struct {
		name   string
		err    error
		opts   []Option
		within string
	}{
		{"password expired", server(1820, "HY000", "You must SET PASSWORD"), []Option{WithCheck(CheckDo1)}, "Error 1820 (HY000): You must SET PASSWORD"},
		{"syntax", server(1064, "42000", "You have an error in your SQL syntax"), []Option{WithCheckQuery(query)}, "check_query: Error 1064"},
		{"no table", server(1146, "42S02", "Table 'app.fit' doesn't exist"), []Option{WithCheckQuery(query)}, "check_query: Error 1146"},
		{"no right", server(1142, "42000", "SELECT command denied"), []Option{WithCheckQuery(query)}, "check_query: Error 1142"},
		{"no such variable", server(1193, "HY000", "Unknown system variable 'fit'"), []Option{WithCheckQuery(query)}, "check_query: Error 1193"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				for i := range 2 {
					b.Node(nodeName(i)).OnStatement(func(context.Context, string, []driver.NamedValue) error { return tc.err })
				}
				db := openDB(t, fakeCluster(t, b, 2, tc.opts...))
				for range 3 { // at first contact, and with the nodes known
					began := time.Now()
					err := db.Ping()
					wantOpenError(t, err, 2)
					if took := time.Since(began); took != 0 || !strings.Contains(err.Error(), "n1 (down): configuration: "+tc.within) {
						t.Errorf("after %v: %v; want %q", took, err, tc.within)
					}
					time.Sleep(5 * time.Second)
				}
			})
		})
	}
}

// A failure of no known class may pass on nodes that have worked, so opens wait,
// but not for ever.
func TestUnknownTroubleIsNotWaitedForForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		db := openDB(t, fakeCluster(t, b, 2))
		db.SetMaxIdleConns(-1)
		if err := db.Ping(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the probe is connected, and is the witness
		for i := range 2 {
			b.Node(nodeName(i)).Set(fakedb.Script{Err: errBoom})
			b.Node(nodeName(i)).SetHealth(errRefused, 0, false)
		}
		time.Sleep(3 * time.Second)
		began := time.Now()
		if err := db.Ping(); err == nil || time.Since(began) != 10*time.Second {
			t.Errorf("at first: after %v: %v", time.Since(began), err)
		}
		time.Sleep(health.UnknownPasses)
		began = time.Now()
		if err := db.Ping(); !errors.Is(err, errBoom) || time.Since(began) != 0 {
			t.Errorf("later: after %v: %v", time.Since(began), err)
		}
		for i := range 2 {
			b.Node(nodeName(i)).Set(fakedb.Script{})
			b.Node(nodeName(i)).SetHealth(nil, 0, false)
		}
		time.Sleep(6 * time.Second)
		if err := db.Ping(); err != nil {
			t.Error(err)
		}
	})
}
