package clustersql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql/internal/fakedb"
	"github.com/EnumApps/clustersql/internal/race"
)

// An open and its Close allocate little, database/sql's and fakedb's part
// included. A node more costs an open nothing that it does not need: 256 nodes
// are not copied, and only the launches that start are carried out. It is measured in
// a process of its own: all that a process allocates is counted, whoever does it.
func TestOpenAllocatesLittle(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates too; ./test.sh runs this test without it")
	}
	if !alone(t) {
		return
	}
	const opens = 500
	for _, tc := range []struct {
		strategy Strategy
		nodes    int
		allocs   float64
		bytes    uint64
	}{
		{Race, 3, 60, 8 << 10},
		{Hedged, 3, 45, 8 << 10},
		{Hedged, 256, 60, 64 << 10},
		{Balanced, 256, 60, 64 << 10},
		{Ordered, 256, 60, 64 << 10},
	} {
		t.Run(fmt.Sprintf("%v of %d nodes", tc.strategy, tc.nodes), func(t *testing.T) {
			// In a bubble no time passes while the process waits for a core. Outside one,
			// nodes whose start was held up that way did some of their work late, and the
			// measurement counted it.
			synctest.Test(t, func(t *testing.T) {
				noProbes := WithProbe(time.Hour, time.Second) // of 256 nodes they would be in the measurement
				db := sql.OpenDB(ready(t, tc.nodes, WithStrategy(tc.strategy), noProbes))
				defer db.Close()
				db.SetMaxIdleConns(-1)
				before := bytesAllocated()
				allocs := testing.AllocsPerRun(opens, func() {
					conn, err := db.Conn(context.Background())
					if err != nil {
						t.Fatal(err)
					}
					conn.Close()
				})
				bytes := (bytesAllocated() - before) / opens
				if allocs > tc.allocs || bytes > tc.bytes {
					t.Errorf("%v allocations and %d bytes; %v and %d are allowed", allocs, bytes, tc.allocs, tc.bytes)
				}
			})
		})
	}
}

// Opens that wait for room cost little, however long they wait: an open that
// nobody calls does nothing.
func TestWaitingOpenIsSmall(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates too; ./test.sh runs this test without it")
	}
	synctest.Test(t, func(t *testing.T) {
		const opens = 4000
		if bytes := waitAtFullNodes(t, opens, 4*time.Second); bytes > 20<<20 {
			t.Errorf("%d opens allocated %d bytes", opens, bytes)
		}
	})
}

// BenchmarkOpenByStrategy measures one open and its Close with strategies that
// do not ask every node at once. BenchmarkOpen measures the raced open.
func BenchmarkOpenByStrategy(b *testing.B) {
	for _, s := range []struct {
		name string
		opt  Option
	}{{"race", WithStrategy(Race)}, {"hedged", WithStrategy(Hedged)}, {"balanced", WithStrategy(Balanced)}, {"ordered", WithStrategy(Ordered)}} {
		for _, n := range []int{3, 256} {
			b.Run(fmt.Sprintf("%s/nodes=%d", s.name, n), func(b *testing.B) {
				benchmarkOpen(b, sql.OpenDB(ready(b, n, s.opt)))
			})
		}
	}
}

// ready returns a connector to a cluster of healthy fakedb nodes, all of which
// are up.
func ready(t testing.TB, nodes int, opts ...Option) driver.Connector {
	t.Helper()
	d := fakeCluster(t, fakedb.New(), nodes, opts...)
	c := d.Connector()
	if err := d.WaitReady(context.Background(), nodes); err != nil {
		t.Fatal(err)
	}
	return c
}

// openAtOnce makes the opens at the same time, closes what they get, and
// returns when all have ended.
func openAtOnce(t testing.TB, c driver.Connector, opens int) {
	var wg sync.WaitGroup
	for range opens {
		wg.Go(func() {
			conn, err := c.Connect(context.Background())
			if err != nil {
				t.Error(err)
				return
			}
			conn.Close()
		})
	}
	wg.Wait()
}

// BenchmarkWaitingOpens lets opens wait for four seconds, because every node is
// full. B/open is what each of them has allocated meanwhile.
func BenchmarkWaitingOpens(b *testing.B) {
	const opens = 4000
	for b.Loop() {
		b.ReportMetric(float64(waitAtFullNodes(b, opens, 4*time.Second))/opens, "B/open")
	}
}

// waitAtFullNodes lets opens meet three full nodes and wait there. It returns
// how many bytes they have allocated.
func waitAtFullNodes(t testing.TB, opens int, wait time.Duration) uint64 {
	backend := fakedb.New()
	d := fakeCluster(t, backend, 3)
	c := d.Connector()
	if err := d.WaitReady(context.Background(), 3); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		backend.Node(nodeName(i)).Set(fakedb.Script{Err: &mysql.MySQLError{Number: 1040, Message: "Too many connections"}})
	}
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	keepGoroutines(5 * opens)
	before := bytesAllocated()
	var wg sync.WaitGroup
	for range opens {
		wg.Go(func() {
			if conn, err := c.Connect(ctx); err == nil {
				t.Error("a full node gave a connection")
				conn.Close()
			}
		})
	}
	wg.Wait()
	return bytesAllocated() - before
}

// keepGoroutines lets so many goroutines run and end. The runtime keeps what it
// has allocated for them. How many an open needs at the same time is up to the
// scheduler, and is not to be in a measurement.
func keepGoroutines(n int) {
	var wg sync.WaitGroup
	end := make(chan struct{})
	for range n {
		wg.Go(func() { <-end })
	}
	close(end)
	wg.Wait()
}

func bytesAllocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}
