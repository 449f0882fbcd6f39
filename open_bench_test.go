package clustersql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/EnumApps/clustersql/internal/fakedb"
	"github.com/EnumApps/clustersql/internal/race"
)

// BenchmarkOpen measures one raced open and its Close, losers included. It also
// measures the bare backend through the same database/sql.
func BenchmarkOpen(b *testing.B) {
	b.Run("bare", func(b *testing.B) {
		backend := fakedb.New()
		connector, err := backend.Driver().(driver.DriverContext).OpenConnector("n1")
		if err != nil {
			b.Fatal(err)
		}
		benchmarkOpen(b, sql.OpenDB(connector))
	})
	for _, n := range []int{1, 3, 16, 256} {
		b.Run(fmt.Sprintf("nodes=%d", n), func(b *testing.B) {
			d := fakeCluster(b, fakedb.New(), n)
			benchmarkOpen(b, openDB(b, d))
		})
	}
}

func benchmarkOpen(b *testing.B, db *sql.DB) {
	defer db.Close()
	db.SetMaxIdleConns(-1)
	b.ReportAllocs()
	for b.Loop() {
		conn, err := db.Conn(context.Background())
		if err != nil {
			b.Fatal(err)
		}
		conn.Close()
	}
}

// BenchmarkStartStop measures the life of a whole cluster: actors, probe
// connections, Close.
func BenchmarkStartStop(b *testing.B) {
	for _, n := range []int{1, 3, 1000} {
		b.Run(fmt.Sprintf("nodes=%d", n), func(b *testing.B) {
			d := fakeCluster(b, fakedb.New(), n)
			b.ReportAllocs()
			for b.Loop() {
				c, err := d.OpenConnector("")
				if err != nil {
					b.Fatal(err)
				}
				c.(*connector).Close()
			}
		})
	}
}

// BenchmarkIdleNode reports the memory that an idle node uses, with its stack
// and its fakedb probe connection.
func BenchmarkIdleNode(b *testing.B) {
	for b.Loop() {
		b.ReportMetric(idleNodeBytes(b, 1000), "B/node")
	}
}

// aloneEnv says to a test that its process runs nothing else.
const aloneEnv = "CLUSTERSQL_TEST_ALONE"

// alone reports whether the process runs nothing but this test. If it does not, alone
// runs the test in a process of its own, and fails if it does not pass there. Then
// the caller returns.
func alone(t *testing.T) bool {
	t.Helper()
	if os.Getenv(aloneEnv) != "" {
		return true
	}
	itself := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=2m",
		"-seed="+flag.Lookup("seed").Value.String())
	itself.Env = append(os.Environ(), aloneEnv+"=1")
	said, err := itself.CombinedOutput()
	if err != nil || !strings.Contains(string(said), "--- PASS: "+t.Name()+" (") {
		t.Errorf("%v\n%s", err, said)
	}
	return false
}

// An idle node needs less than 20 KiB, stack included. It is measured in a process
// of its own: after many other tests the runtime gives every goroutine a larger
// stack at its start. Whether it grows to 4 or 8 KiB depends on the compiler too.
func TestIdleNodeIsSmall(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector's own memory would be measured; ./test.sh runs this test without it too")
	}
	if !alone(t) {
		return
	}
	// What the process needs once, or other tests have left to do, is no node's: it
	// is in some of the looks and not in others.
	per := idleNodeBytes(t, 1000)
	for range 2 {
		per = min(per, idleNodeBytes(t, 1000))
	}
	t.Logf("%.0f bytes a node", per)
	if per > 20<<10 {
		t.Error("that is too much")
	}
}

func idleNodeBytes(t testing.TB, nodes int) float64 {
	before := memoryInUse()
	noMoreProbes := WithProbe(time.Hour, time.Second) // on a busy machine hundreds would be under way
	d := fakeCluster(t, fakedb.New(), nodes, noMoreProbes)
	c := d.Connector().(*connector)
	for _, n := range *d.m.nodes.Load() {
		for n.status().State != StateUp {
			runtime.Gosched()
		}
	}
	per := float64(memoryInUse()-before) / float64(nodes)
	c.Close()
	d.Close()
	return per
}

// memoryInUse returns the size of the live heap and all stacks.
func memoryInUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// A thousand nodes start, probe three times each and stop. The short run has
// 300, and one with the race detector, which is too slow for their 50,000 probes a
// second. A close waits no longer than attempt_timeout for the connections of a
// process that is as busy as this one, so they get a minute to be gone.
func TestThousandNodes(t *testing.T) {
	nodes := 1000
	if testing.Short() || race.Enabled {
		nodes = 300
	}
	b := fakedb.New()
	d := fakeCluster(t, b, nodes, WithProbe(20*time.Millisecond, 10*time.Millisecond))
	c := d.Connector().(*connector)
	end := time.Now().Add(time.Minute) // seconds on a machine that has nothing else to do
	for _, n := range *d.m.nodes.Load() {
		for n.status().Probes < 3 {
			if time.Now().After(end) {
				t.Fatalf("%s was probed %d times in a minute", n.name, n.status().Probes)
			}
			time.Sleep(time.Millisecond)
		}
	}
	c.Close()
	for end := time.Now().Add(time.Minute); b.Stats().Live > 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	wantNothingLeft(t, b)
}
