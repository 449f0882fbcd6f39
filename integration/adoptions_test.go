package integration

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/galera"
	"github.com/EnumApps/clustersql/internal/relay"
	"github.com/go-sql-driver/mysql"
)

var adoptions = flag.Uint64("adoptions", 1000, "how many connections are to be adopted for hedged reads")

// adoptionSlow is how late a slow node answers, and adoptionAfter when a read is sent to
// another node: few reads take as long on a node that is well.
const (
	adoptionSlow  = 300 * time.Millisecond
	adoptionAfter = 50 * time.Millisecond
)

// manyAdoptions makes the node that has most connections slow, again and again, while many
// readers read in all ways. No read fails or returns what another one has asked for. Each
// connection has one owner: what was opened is closed once, and while nothing is under way
// the cluster and its probes have all that is open, on both ends.
func manyAdoptions(t *testing.T, c *galera.Cluster) {
	makeHedged(t, c)
	began, until := time.Now(), time.Now().Add(time.Minute+time.Duration(*adoptions)*20*time.Millisecond)
	all := uint64(0)
	for all < *adoptions && time.Now().Before(until) && !t.Failed() {
		all += someAdoptions(t, c)
	}
	if all < *adoptions {
		t.Errorf("%d of %d adoptions after %s", all, *adoptions, time.Since(began))
	}
	t.Logf("%d adoptions in %s", all, time.Since(began).Round(time.Millisecond))
}

// someAdoptions is a part of manyAdoptions, with a cluster of its own, which has all of its
// budget.
func someAdoptions(t *testing.T, c *galera.Cluster) uint64 {
	var sockets openSockets
	d := clustersql.NewDriver(nil, t.Name(), clustersql.WithStrategy(clustersql.Balanced), clustersql.WithHedgedReads(true, adoptionAfter))
	defer d.Close()
	ways := make(map[string]*relay.Relay)
	for _, n := range c.Nodes {
		way, err := relay.New("tcp", n.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer way.Close()
		way.Delay, ways[n.Name] = adoptionSlow, way
		cfg, err := mysql.ParseDSN(n.DSN(""))
		if err != nil {
			t.Fatal(err)
		}
		cfg.Addr, cfg.DialFunc, cfg.Logger = way.Addr(), sockets.dial, &mysql.NopLogger{}
		connector, err := mysql.NewConnector(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.AddConnector(n.Name, connector); err != nil {
			t.Fatal(err)
		}
	}
	db := sql.OpenDB(d.Connector())
	defer db.Close()
	db.SetMaxIdleConns(hedgeReaders)
	if err := d.WaitReady(t.Context(), len(c.Nodes)); err != nil {
		t.Fatal(err)
	}
	prepared, err := db.Prepare("SELECT v FROM hedged WHERE id = ?")
	if err != nil {
		t.Fatal(err)
	}
	defer prepared.Close()

	read := func(i int) {
		v, row := 0, (*sql.Row)(nil)
		switch i % 3 {
		case 0:
			row = db.QueryRow(fmt.Sprintf("SELECT v FROM hedged WHERE id = %d", i%8))
		case 1:
			row = db.QueryRow("SELECT v FROM hedged WHERE id = ?", i%8)
		default:
			row = prepared.QueryRow(i % 8)
		}
		if err := row.Scan(&v); err != nil || v != 100+i%8 {
			t.Errorf("read %d for %d: %v", v, i%8, err)
		}
	}
	// The readers read when a node has just become slow, and at no other time: else reads
	// that take long by themselves would spend the budget.
	began, turns := time.Now(), 0
	for won := uint64(0); won < 100 && time.Since(began) < 5*time.Second && !t.Failed(); _, won = launched(d) {
		nodes := d.Status().Nodes
		slow := slices.MaxFunc(nodes, func(a, b clustersql.NodeStatus) int { return a.OpenConns - b.OpenConns })
		if err := ways[slow.Name].Turn(relay.Slow); err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for reader := range hedgeReaders {
			all.Go(func() { read(turns + reader) })
		}
		all.Wait()
		if err := ways[slow.Name].Turn(relay.Open); err != nil {
			t.Fatal(err)
		}
		turns++
	}
	took := time.Since(began)
	sent, won := launched(d)
	// What was outrun is closed behind the scenes.
	var open, pooled, server int
	var outrun uint64
	probes := len(c.Nodes)
	waitOr(t, "the cluster and its probes to have all that is open", func() bool {
		open, outrun, server, pooled = 0, 0, 0, db.Stats().OpenConnections
		for _, n := range d.Status().Nodes {
			open, outrun = open+n.OpenConns, outrun+n.ClosedBy["hedge"]
		}
		for _, n := range serverConnsOf(t, c) {
			server += n
		}
		// The pool keeps what a rebalance has closed until it looks at it.
		return open <= pooled && outrun >= won && server == open+probes && sockets.now() == open+probes
	}, func() string {
		return fmt.Sprintf("the cluster knows %d connections, the pool has %d, and there are %d probes; the servers have %d, and there are %d sockets; %d were closed as outrun, of %d won", open, pooled, probes, server, sockets.now(), outrun, won)
	})
	prepared.Close()
	db.Close()
	d.Close()
	if sockets.now() != 0 || sockets.twice.Load() != 0 {
		t.Errorf("%d sockets are open, and %d were closed twice by the driver", sockets.now(), sockets.twice.Load())
	}
	t.Logf("%d adoptions of %d hedged reads among %d in %s; %d connections opened and closed", won, sent, hedgeReaders*turns, took.Round(time.Millisecond), sockets.opened.Load())
	return won
}

// openSockets counts the sockets of a driver, which are those of Dial.
type openSockets struct{ opened, closed, twice atomic.Int64 }

func (s *openSockets) now() int { return int(s.opened.Load() - s.closed.Load()) }

func (s *openSockets) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := clustersql.Dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	s.opened.Add(1)
	return &countedSocket{TCPConn: conn.(*net.TCPConn), of: s}, nil
}

type countedSocket struct {
	*net.TCPConn
	of     *openSockets
	closed atomic.Bool
}

func (c *countedSocket) Close() error {
	if c.closed.Swap(true) {
		c.of.twice.Add(1)
	} else {
		c.of.closed.Add(1)
	}
	return c.TCPConn.Close()
}
