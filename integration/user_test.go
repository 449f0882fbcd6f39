package integration

import (
	"database/sql"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/galera"
	"github.com/go-sql-driver/mysql"
)

// A user is one cluster of the program, and what is done with it.
type user struct {
	name  string
	d     clustersql.Driver
	db    *sql.DB
	fresh *sql.DB // without idle connections

	inserts, transfers  book
	reads, failed       atomic.Int64
	slowRead, slowWrite atomic.Int64 // nanoseconds

	mu     sync.Mutex
	events []clustersql.Event // since the last check
}

func newUser(t *testing.T, c *galera.Cluster, name string, opts ...clustersql.Option) *user {
	t.Helper()
	u := &user{name: name, inserts: book{name: name, what: "inserts"}, transfers: book{name: name, what: "transfers"}}
	opts = append(opts, clustersql.WithOnEvent(u.note), clustersql.WithLogger(slog.New(slog.DiscardHandler)))
	u.d = clustersql.NewDriver(mysql.MySQLDriver{}, "soak_"+name, opts...)
	t.Cleanup(func() { u.d.Close() })
	for _, n := range c.Nodes {
		if err := u.d.AddNode(n.Name, n.DSN("")); err != nil {
			t.Fatal(err)
		}
	}
	u.db = sql.OpenDB(u.d.Connector())
	u.db.SetMaxIdleConns(8)
	u.fresh = sql.OpenDB(u.d.Connector())
	u.fresh.SetMaxIdleConns(-1)
	t.Cleanup(u.close)
	return u
}

func (u *user) note(e clustersql.Event) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.events = append(u.events, e)
}

// told returns the events since the last call.
func (u *user) told() []clustersql.Event {
	u.mu.Lock()
	defer u.mu.Unlock()
	told := u.events
	u.events = nil
	return told
}

func (u *user) close() {
	u.db.Close()
	u.fresh.Close()
}
