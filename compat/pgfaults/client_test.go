package pgfaults

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/pgcluster"
	"github.com/EnumApps/clustersql/internal/throwaway"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	_ "github.com/lib/pq" // its driver is "postgres"
)

// maxLag is how old what a reader sees may be.
const maxLag = 2 * time.Second

// slack is how long a client may take to notice that a standby falls behind: a
// probe of the primary just before that, one of the standby just before the next
// one of the primary, and one that hangs.
var slack = 2*usual.ProbeInterval*6/5 + usual.ProbeTimeout

// writerOptions and readerOptions are those of the two pools of clustersql.
var (
	writerOptions = []clustersql.Option{clustersql.WithRequire(clustersql.RequireReadWrite)}
	readerOptions = []clustersql.Option{
		clustersql.WithRequire(clustersql.RequirePreferStandby), clustersql.WithMaxLag(maxLag), clustersql.WithStrategy(clustersql.Balanced), clustersql.WithRebalance(clustersql.RebalanceByStrategy, time.Second), clustersql.WithIdempotent(true),
	}
)

// usual has the settings of a cluster that changes none.
var usual = clustersql.DefaultConfig()

// A pool is a database as a program uses it.
type pool struct {
	db, fresh *sql.DB           // with idle connections, and without
	d         clustersql.Driver // of one that is ours
	ours      bool              // it is a cluster of clustersql
	writes    bool              // it needs a node that takes writes

	mu     sync.Mutex
	events []clustersql.Event
}

func (p *pool) note(e clustersql.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events = append(p.events, e)
}

func (p *pool) told() []clustersql.Event {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.events[:len(p.events):len(p.events)]
}

func (p *pool) close() {
	p.db.Close()
	p.fresh.Close()
}

// ourPool returns one of clustersql, over pgx.
func ourPool(t *testing.T, c *pgcluster.Cluster, writes bool, config clustersql.Config) *pool {
	t.Helper()
	p := &pool{ours: true, writes: writes}
	name, opts := t.Name()+", readers", readerOptions
	if writes {
		name, opts = t.Name()+", writers", writerOptions
	}
	p.d = clustersql.NewDriver(nil, name, append([]clustersql.Option{clustersql.WithOnEvent(p.note), clustersql.WithProbe(config.ProbeInterval, config.ProbeTimeout), clustersql.WithLogger(slog.New(slog.DiscardHandler))}, opts...)...)
	t.Cleanup(func() { p.d.Close() })
	for _, n := range c.Nodes {
		cfg, err := pgx.ParseConfig(n.DSN(""))
		if err != nil {
			t.Fatal(err)
		}
		cfg.DialFunc = clustersql.Dial
		if err := p.d.AddConnector(n.Name, stdlib.GetConnector(*cfg)); err != nil {
			t.Fatal(err)
		}
	}
	p.db, p.fresh = sql.OpenDB(p.d.Connector()), sql.OpenDB(p.d.Connector())
	ready := len(c.Nodes)
	if writes {
		ready = 1
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := p.d.WaitReady(ctx, ready); err != nil {
		t.Fatal(err)
	}
	return p
}

// theirPool returns one of a driver that has all hosts in its DSN.
func theirPool(t *testing.T, c *pgcluster.Cluster, driver string, writes bool) *pool {
	t.Helper()
	attributes := "target_session_attrs=prefer-standby"
	if writes {
		attributes = "target_session_attrs=read-write"
	}
	var hosts, ports []string
	for _, n := range c.Nodes {
		hosts, ports = append(hosts, throwaway.Host), append(ports, strconv.Itoa(n.Port()))
	}
	dsn := fmt.Sprintf("host=%s port=%s user=%s dbname=%s sslmode=disable connect_timeout=2 %s", strings.Join(hosts, ","), strings.Join(ports, ","),
		pgcluster.User, pgcluster.Database, attributes)
	p := &pool{writes: writes}
	var errs [2]error
	p.db, errs[0] = sql.Open(driver, dsn)
	p.fresh, errs[1] = sql.Open(driver, dsn)
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// A client is a program under load: a pool for what it writes, and one for what
// it reads.
type client struct {
	name             string
	writers, readers *pool

	inserts, reads tape
}

// ours reports whether it is clustersql's.
func (c *client) ours() bool { return c.writers.ours }

func (c *client) pools() []*pool { return []*pool{c.writers, c.readers} }

// makeClients makes the clients of a row, each with warm pools.
func (s *stage) makeClients() {
	s.Helper()
	s.clients = []*client{
		{name: "clustersql", writers: ourPool(s.T, s.c, true, s.fault.config()), readers: ourPool(s.T, s.c, false, s.fault.config())},
		{name: "pgx", writers: theirPool(s.T, s.c, "pgx", true), readers: theirPool(s.T, s.c, "pgx", false)},
		{name: "lib/pq", writers: theirPool(s.T, s.c, "postgres", true), readers: theirPool(s.T, s.c, "postgres", false)},
	}
	for _, c := range s.clients {
		warm(s.T, c.writers, writers)
		warm(s.T, c.readers, readers)
	}
}

// warm fills a pool with connections.
func warm(t *testing.T, p *pool, size int) {
	t.Helper()
	p.db.SetMaxIdleConns(2 * size)
	p.fresh.SetMaxIdleConns(-1)
	var conns []*sql.Conn
	for range size {
		conn, err := p.db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	for _, conn := range conns {
		conn.Close()
	}
}
