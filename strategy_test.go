package clustersql

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql/internal/draw"
	"github.com/EnumApps/clustersql/internal/fakedb"
	"github.com/EnumApps/clustersql/internal/seedtest"
)

// strategies are those of the package, by their names in config.toml.
var strategies = map[string]Strategy{"race": Race, "hedged": Hedged, "balanced": Balanced, "ordered": Ordered}

// fixedPlan returns a strategy with fixed launches.
func fixedPlan(plan ...Launch) Strategy {
	return NewStrategy("fixed", func([]NodeStatus) []Launch { return plan })
}

// A launch starts when its wait is over, or at once if an earlier one has
// failed. It does not start once the open has ended.
func TestLaunchesAreStaggered(t *testing.T) {
	const ms = time.Millisecond
	n1, n2, n3 := Launch{Node: "n1"}, Launch{"n2", 100 * ms}, Launch{"n3", 100 * ms}
	fail := func(d time.Duration) fakedb.Script { return fakedb.Script{Delay: d, Err: errDenied} }
	good := func(d time.Duration) fakedb.Script { return fakedb.Script{Delay: d} }
	cases := []struct {
		name    string
		plan    []Launch
		scripts [3]fakedb.Script
		took    time.Duration
		opens   [3]uint64 // attempts on each node
		fails   bool
	}{
		{"the first is fast", []Launch{n1, n2, n3}, [3]fakedb.Script{good(10 * ms), good(0), good(0)}, 10 * ms, [3]uint64{1, 0, 0}, false},
		{"the second is let in", []Launch{n1, n2, n3}, [3]fakedb.Script{good(500 * ms), good(20 * ms), good(0)}, 120 * ms, [3]uint64{1, 1, 0}, false},
		{"the third is let in", []Launch{n1, n2, n3}, [3]fakedb.Script{good(500 * ms), good(500 * ms), good(20 * ms)}, 220 * ms, [3]uint64{1, 1, 1}, false},
		{"a failure starts the next", []Launch{n1, n2, n3}, [3]fakedb.Script{fail(30 * ms), good(20 * ms), good(0)}, 50 * ms, [3]uint64{1, 1, 0}, false},
		{"each failure starts one", []Launch{n1, n2, n3}, [3]fakedb.Script{fail(30 * ms), fail(20 * ms), good(5 * ms)}, 55 * ms, [3]uint64{1, 1, 1}, false},
		{"all fail", []Launch{n1, n2, n3}, [3]fakedb.Script{fail(30 * ms), fail(20 * ms), fail(10 * ms)}, 60 * ms, [3]uint64{1, 1, 1}, true},
		{"the wait of the first counts for nothing", []Launch{{"n1", time.Hour}, n2}, [3]fakedb.Script{good(5 * ms)}, 5 * ms, [3]uint64{1, 0, 0}, false},
		{"unknown and repeated names are passed over", []Launch{{"n9", 0}, n1, n1, {"n1", -ms}}, [3]fakedb.Script{fail(5 * ms)}, 5 * ms, [3]uint64{1, 0, 0}, true},
		{"an empty plan", nil, [3]fakedb.Script{}, 0, [3]uint64{}, true},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				for i, s := range tc.scripts {
					b.Node(nodeName(i)).Enqueue(fakedb.Script{}) // for the probe
					b.Node(nodeName(i)).Set(s)
				}
				d := fakeCluster(t, b, 3, WithStrategy(fixedPlan(tc.plan...)))
				c := d.Connector()
				defer c.(*connector).Close()
				synctest.Wait()
				began := time.Now()
				conn, err := c.Connect(context.Background())
				took := time.Since(began)
				synctest.Wait()
				if took != tc.took || (err != nil) != tc.fails {
					t.Errorf("after %v: %v; want %v", took, err, tc.took)
				}
				for i, s := range d.Status().Nodes {
					if s.Opens != tc.opens[i] {
						t.Errorf("%s was asked %d times, want %d", s.Name, s.Opens, tc.opens[i])
					}
				}
				if conn != nil {
					conn.Close()
				}
				var open *OpenError
				if tc.fails && (!errors.As(err, &open) || len(open.Attempts) != 3) {
					t.Errorf("got %v, want all three nodes in it", err)
				}
			})
		})
	}
}

// A strategy gets only the usable nodes. If there are none it is not called.
func TestStrategySeesUsableNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []string
		strategy := NewStrategy("watched", func(nodes []NodeStatus) []Launch {
			seen = nil
			for _, n := range nodes {
				seen = append(seen, n.Name+" "+n.State.String())
			}
			return Race.Plan(nodes)
		})
		b := fakedb.New()
		b.Node("n2").Set(fakedb.Script{Err: errRefused})
		d := fakeCluster(t, b, 3, WithStrategy(strategy))
		db := openDB(t, d)
		synctest.Wait()
		if err := db.Ping(); err != nil || len(seen) != 2 || seen[0] != "n1 up" || seen[1] != "n3 up" {
			t.Errorf("%v, %v", seen, err)
		}
		for i := range 3 {
			b.Node(nodeName(i)).Set(fakedb.Script{Err: errBoom})
			b.Node(nodeName(i)).SetHealth(errBoom, 0, false)
		}
		time.Sleep(10 * time.Second)
		seen = nil
		err := db.Ping()
		wantOpenError(t, err, 3)
		if len(seen) != 0 {
			t.Errorf("%v", seen)
		}
	})
}

// Plans outside of a cluster repeat with the seed of their draws.
func TestPlanOutsideOfAClusterRepeats(t *testing.T) {
	defer func(before *draw.Source) { outside = before }(outside)
	nodes := make([]NodeStatus, 8)
	for i := range nodes {
		nodes[i] = NodeStatus{Name: fmt.Sprint("n", i), Weight: 1, State: StateUp}
	}
	seed := seedtest.Of(t)
	var plans [2]string
	for i := range plans {
		outside = draw.NewSource(seed, "")
		for range 20 {
			plans[i] += fmt.Sprintln(Balanced.Plan(nodes))
		}
	}
	if plans[0] != plans[1] {
		t.Errorf("one seed gives\n%s\nand\n%s", plans[0], plans[1])
	}
	if lines := strings.Split(strings.TrimSpace(plans[0]), "\n"); strings.Count(plans[0], lines[0]) == len(lines) {
		t.Errorf("nothing was drawn: %s", lines[0])
	}
}
