package integration

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/galera"
	"github.com/EnumApps/clustersql/internal/seedtest"
	"github.com/go-sql-driver/mysql"
)

const (
	racedOpens = 3000
	slowBy     = 50 * time.Millisecond
	pooled     = 5
)

// There are 3,000 raced opens. One node is slowed by 50 ms, and the moment of
// winning is spread over its connects. Afterwards no server has counted a
// broken handshake, and the servers hold the pool's connections and one for
// each probe. A control run without the grace does break handshakes; it shows
// that the test can fail.
func losersAreClosed(t *testing.T, c *galera.Cluster) {
	if grown := race(t, c, racedOpens, time.Second); grown != 0 {
		t.Errorf("Aborted_connects grew by %d", grown)
	}
	if grown := race(t, c, racedOpens/10, time.Millisecond); grown == 0 {
		t.Error("control: without the grace Aborted_connects should have grown; the test shows nothing")
	}
}

// race opens many times. It returns by how much Aborted_connects grew on all
// servers together.
func race(t *testing.T, c *galera.Cluster, opens int, grace time.Duration) int {
	t.Helper()
	before := statusSum(t, c, "Aborted_connects")
	draws := seedtest.NewSource(seedtest.Of(t))
	d := clustersql.NewDriver(mysql.MySQLDriver{}, t.Name(), clustersql.WithSeed(seedtest.Of(t)),
		clustersql.WithLoserGrace(grace), clustersql.WithMaxOpensPerNode(64))
	t.Cleanup(func() { d.Close() })
	for i, n := range c.Nodes {
		pace := func() time.Duration { return draws.Until(slowBy * 5 / 4) }
		if i == 2 {
			pace = func() time.Duration { return slowBy }
		}
		if err := d.AddConnector(n.Name, slowConnector(t, n.DSN(""), pace)); err != nil {
			t.Fatal(err)
		}
	}
	db := sql.OpenDB(d.Connector())
	db.SetMaxIdleConns(-1)
	openMany(t, db, opens)
	db.SetMaxIdleConns(pooled)
	held := hold(t, db, pooled)
	waitFor(t, "the last losers to end", func() bool { return attempts(d) == 0 })
	var won, lost uint64
	for _, s := range d.Status().Nodes {
		t.Logf("%s: won %d, lost %d, failed %d", s.Name, s.Won, s.Lost, s.Errors)
		won, lost = won+s.Won, lost+s.Lost
	}
	if won != uint64(opens+pooled) || lost == 0 {
		t.Errorf("%d opens: %d won, %d lost", opens+pooled, won, lost)
	}
	want := pooled + len(c.Nodes)
	waitFor(t, "the servers to hold the pool's connections and a probe's each", func() bool {
		return serverConns(t, c) == want
	})
	for _, conn := range held {
		conn.Close()
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	waitFor(t, "the servers to hold none", func() bool { return serverConns(t, c) == 0 })
	return statusSum(t, c, "Aborted_connects") - before
}

func openMany(t *testing.T, db *sql.DB, opens int) {
	t.Helper()
	todo := make(chan struct{}, opens)
	for range opens {
		todo <- struct{}{}
	}
	close(todo)
	var wg sync.WaitGroup
	for range 24 {
		wg.Go(func() {
			for range todo {
				conn, err := db.Conn(context.Background())
				if err != nil {
					t.Error(err)
					return
				}
				conn.Close()
			}
		})
	}
	wg.Wait()
}

func hold(t *testing.T, db *sql.DB, n int) []*sql.Conn {
	t.Helper()
	conns := make([]*sql.Conn, n)
	for i := range conns {
		var err error
		if conns[i], err = db.Conn(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	return conns
}

// slowConnector connects over a network that spreads a delay over the reads of
// the handshake.
func slowConnector(t *testing.T, dsn string, delay func() time.Duration) driver.Connector {
	t.Helper()
	cfg, err := mysql.ParseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		const handshakeReads = 4
		each := delay() / handshakeReads
		return &slowConn{Conn: conn, each: each, left: handshakeReads}, nil
	}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return connector
}

// A slowConn delays its first reads. Only one goroutine may read from it.
type slowConn struct {
	net.Conn
	each time.Duration
	left int
}

func (c *slowConn) Read(p []byte) (int, error) {
	if c.left > 0 {
		c.left--
		time.Sleep(c.each)
	}
	return c.Conn.Read(p)
}

// statusSum adds up a global status variable of all servers.
func statusSum(t *testing.T, c *galera.Cluster, name string) int {
	t.Helper()
	sum := 0
	for _, n := range c.Nodes {
		v, err := n.Status(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		count, err := strconv.Atoi(v)
		if err != nil {
			t.Fatal(err)
		}
		sum += count
	}
	return sum
}

// serverConns returns the number of the application's connections on all
// running servers.
func serverConns(t *testing.T, c *galera.Cluster) int {
	t.Helper()
	sum := 0
	for _, n := range c.Nodes {
		if !n.Running() {
			continue
		}
		count, err := n.AppConns(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		sum += count
	}
	return sum
}

func attempts(d clustersql.Driver) int {
	sum := 0
	for _, s := range d.Status().Nodes {
		sum += s.Attempts
	}
	return sum
}

// waitFor polls until the condition is true. It fails the test after half a
// minute.
func waitFor(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
