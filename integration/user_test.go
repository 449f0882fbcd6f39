package integration

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/galera"
	"github.com/go-sql-driver/mysql"
)

// A user is one cluster of the program, and what is done with it.
type user struct {
	name   string
	params string // of the DSNs
	d      clustersql.Driver
	db     *sql.DB
	fresh  *sql.DB // without idle connections

	inserts, transfers  book
	reads, failed       atomic.Int64
	slowRead, slowWrite atomic.Int64 // nanoseconds
	toll                toll         // as of the last check

	// since the last check
	mu     sync.Mutex
	events []clustersql.Event
	downs  []sighting
	errs   []op
}

func newUser(t *testing.T, c *galera.Cluster, name, params string, opts ...clustersql.Option) *user {
	t.Helper()
	u := &user{name: name, params: params, inserts: book{name: name, what: "inserts"}, transfers: book{name: name, what: "transfers"}}
	opts = append(opts, clustersql.WithOnEvent(u.note), clustersql.WithLogger(slog.New(slog.DiscardHandler)))
	u.d = clustersql.NewDriver(mysql.MySQLDriver{}, "soak_"+name, opts...)
	t.Cleanup(func() { u.d.Close() })
	for _, n := range c.Nodes {
		if err := u.d.AddNode(n.Name, n.DSN(params)); err != nil {
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

// fail notes the error of a call, if there is one. What a caller gets whose
// context has ended says nothing: the driver may have closed the connection
// between two statements of its transaction.
func (u *user) fail(ctx context.Context, what string, err error) {
	if err == nil || ctx.Err() != nil {
		return
	}
	o := op{end: time.Now(), err: fmt.Errorf("%s: %w", what, err)}
	o.node = nodeOf(o)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.errs = append(u.errs, o)
}

// keepSight notes, until ctx is done, which nodes the status says are down.
func (u *user) keepSight(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		<-tick.C
		u.mu.Lock()
		u.downs = append(u.downs, downsOf(u.d)...)
		u.mu.Unlock()
	}
}

// account returns what the user says since the last call.
func (u *user) account() account {
	u.mu.Lock()
	defer u.mu.Unlock()
	a := account{client: u.name, interval: usual.ProbeInterval, timeout: usual.ProbeTimeout, events: u.events, downs: u.downs, failed: u.errs}
	u.events, u.downs, u.errs = nil, nil, nil
	return a
}

func (u *user) close() {
	u.db.Close()
	u.fresh.Close()
}
