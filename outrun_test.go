package clustersql

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql/internal/fakedb"
	"github.com/EnumApps/clustersql/internal/health"
	"github.com/EnumApps/clustersql/internal/seedtest"
)

// A slowness is one way for a node to be slow.
type slowness struct {
	dial, check time.Duration
}

func (s slowness) apply(n *fakedb.Node) {
	n.Set(fakedb.Script{Delay: s.dial})
	n.SetHealth(nil, s.check, false)
}

// openFor opens and closes a conn every 20 ms. It returns how many opens took
// more than 50 ms, and how many conns came from each node.
func openFor(t *testing.T, c *connector, span time.Duration) (slow int, from map[string]int) {
	t.Helper()
	from = make(map[string]int)
	before := c.m.status()
	for end := time.Now().Add(span); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		began := time.Now()
		conn, err := c.Connect(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if time.Since(began) > 50*time.Millisecond {
			slow++
		}
		conn.Close()
	}
	synctest.Wait()
	for i, s := range c.m.status().Nodes {
		from[s.Name] = int(s.Won - before.Nodes[i].Won)
	}
	return slow, from
}

// One open meets a node that has turned slow. The next ones use other nodes,
// until the node is fast again. The short run draws one strategy and one way to
// be slow.
func TestSlowNodeIsLeftAndTriedAgain(t *testing.T) {
	well := slowness{dial: 2 * time.Millisecond, check: time.Millisecond}
	ills := []slowness{
		{150 * time.Millisecond, time.Millisecond}, {400 * time.Millisecond, time.Millisecond},
		{time.Millisecond, 300 * time.Millisecond}, {time.Second, time.Millisecond},
		{2500 * time.Millisecond, time.Millisecond}, {time.Second, time.Second},
	}
	r := seedtest.Rand(t)
	names := []string{"hedged", "balanced", "ordered"}
	if testing.Short() {
		one := r.IntN(len(names))
		names = names[one : one+1]
	}
	for _, name := range names {
		r.Shuffle(len(ills), func(i, j int) { ills[i], ills[j] = ills[j], ills[i] })
		some := len(ills)
		if testing.Short() {
			some = 1
		}
		for _, ill := range ills[:some] {
			t.Run(fmt.Sprint(name, ill), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := fakedb.New()
					for i := range 3 {
						slowness{well.dial, well.check + time.Duration(i)*time.Millisecond}.apply(b.Node(nodeName(i)))
					}
					d := fakeCluster(t, b, 3, WithStrategy(strategies[name]))
					c := d.Connector().(*connector)
					defer c.Close()
					if slow, from := openFor(t, c, 5*time.Second); slow != 0 || from["n1"] == 0 {
						t.Errorf("well: %d slow, %v", slow, from)
					}
					ill.apply(b.Node("n1"))
					if slow, from := openFor(t, c, 30*time.Second); slow > 1 || slow == 0 && ill.check < 100*time.Millisecond || from["n1"] > 0 {
						t.Errorf("ill: %d slow, %v, n1 is %s (%s)", slow, from, d.Status().Nodes[0].State, d.Status().Nodes[0].Reason)
					}
					well.apply(b.Node("n1"))
					openFor(t, c, 7*time.Second) // as long as the backoff of a node that went down
					if s := d.Status().Nodes[0]; s.State != StateUp {
						t.Errorf("well again: n1 is %s (%s)", s.State, s.Reason)
					}
					if ill.check > well.check {
						openFor(t, c, 30*time.Second) // until the mean of its round trips has fallen
					}
					if slow, from := openFor(t, c, 5*time.Second); slow != 0 || from["n1"] == 0 && (name != "hedged" || ill.check <= well.check) {
						t.Errorf("well again: %d slow, %v", slow, from)
					}
				})
			})
		}
	}
}

// In a race no node is asked later than another, so losing says nothing about a
// node.
func TestRaceOutrunsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d := fakeCluster(t, b, 3)
		c := d.Connector().(*connector)
		defer c.Close()
		synctest.Wait()
		b.Node("n1").Set(fakedb.Script{Delay: 400 * time.Millisecond})
		probes := d.Status().Nodes[0].Probes
		for range 5 {
			conn, err := c.Connect(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			conn.Close()
			synctest.Wait()
			if s := d.Status().Nodes[0]; s.State != StateUp || s.Probes != probes {
				t.Fatalf("n1 is %s (%s) after %d probes", s.State, s.Reason, s.Probes)
			}
		}
	})
}

// Which nodes are outrun depends on the plan and on the nodes' answers.
func TestOutrun(t *testing.T) {
	const ms = time.Millisecond
	cases := []struct {
		name    string
		plan    []Launch
		delays  [3]time.Duration // negative: an error after that time
		suspect string
	}{
		{"by the second", []Launch{{"n1", 0}, {"n2", 100 * ms}}, [3]time.Duration{300 * ms, 10 * ms, 0}, "n1"},
		{"two by the third", []Launch{{"n1", 0}, {"n2", 100 * ms}, {"n3", 100 * ms}}, [3]time.Duration{500 * ms, 500 * ms, 10 * ms}, "n1n2"},
		{"a volley by the next", []Launch{{"n1", 0}, {"n2", 0}, {"n3", 100 * ms}}, [3]time.Duration{500 * ms, 500 * ms, 10 * ms}, "n1n2"},
		{"within a volley", []Launch{{"n1", 0}, {"n2", 0}, {"n3", 100 * ms}}, [3]time.Duration{500 * ms, 10 * ms, 0}, ""},
		{"the first is back first", []Launch{{"n1", 0}, {"n2", 100 * ms}}, [3]time.Duration{150 * ms, 90 * ms, 0}, ""},
		{"the second of two by the third only", []Launch{{"n1", 0}, {"n2", 100 * ms}, {"n3", 100 * ms}}, [3]time.Duration{150 * ms, 200 * ms, 10 * ms}, ""},
		{"pulled forward by a failure", []Launch{{"n1", 0}, {"n2", 100 * ms}, {"n3", 100 * ms}}, [3]time.Duration{-101 * ms, 50 * ms, 10 * ms}, ""},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				d := fakeCluster(t, b, 3, WithStrategy(fixedPlan(tc.plan...)))
				c := d.Connector().(*connector)
				defer c.Close()
				synctest.Wait()
				for i, delay := range tc.delays {
					script := fakedb.Script{Delay: max(delay, -delay)}
					if delay < 0 {
						script.Err = errRefused
					}
					b.Node(nodeName(i)).Set(script)
				}
				probes := d.Status()
				conn, err := c.Connect(context.Background())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				synctest.Wait()
				got := ""
				for i, s := range d.Status().Nodes {
					if s.State != StateSuspect {
						continue
					}
					got += s.Name
					if s.Reason != health.SlowReason || s.Generation != 0 {
						t.Errorf("%s, generation %d", s.Reason, s.Generation)
					}
					if b.Node(s.Name).Stats().Dialing < 2 || s.Probes != probes.Nodes[i].Probes+1 {
						t.Errorf("%s is not being checked on a fresh connection", s.Name)
					}
				}
				if got != tc.suspect {
					t.Errorf("suspect: %q, want %q", got, tc.suspect)
				}
			})
		})
	}
}

// An attempt that had to wait for one of our slots says nothing about the node.
func TestWaitingForASlotIsNotBeingSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d := fakeCluster(t, b, 2, WithStrategy(fixedPlan(Launch{"n1", 0}, Launch{"n2", 100 * time.Millisecond})), WithMaxOpensPerNode(1))
		c := d.Connector().(*connector)
		defer c.Close()
		time.Sleep(time.Second)
		b.Node("n1").Set(fakedb.Script{Delay: 90 * time.Millisecond})
		var wg sync.WaitGroup
		for range 4 {
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
		synctest.Wait()
		s := d.Status()
		if s.Nodes[0].State != StateUp || s.Nodes[1].Won == 0 {
			t.Errorf("n1 is %s (%s), n2 won %d", s.Nodes[0].State, s.Nodes[0].Reason, s.Nodes[1].Won)
		}
	})
}

// A node of a later tier is asked when all nodes of the earlier one have
// failed, or after 2 s. One failure is not enough.
func TestTiers(t *testing.T) {
	const ms = time.Millisecond
	cases := []struct {
		name   string
		delays [3]time.Duration // of n1 and n2; n3 is the standby; negative: an error
		took   time.Duration
		asked  uint64 // attempts on the standby
	}{
		{"well", [3]time.Duration{10 * ms, 10 * ms, ms}, 10 * ms, 0},
		{"one failed", [3]time.Duration{-5 * ms, 60 * ms, ms}, 60 * ms, 0},
		{"both failed", [3]time.Duration{-5 * ms, -60 * ms, ms}, 61 * ms, 1},
		{"one failed, one silent", [3]time.Duration{-5 * ms, 9000 * ms, ms}, 2001 * ms, 1},
	}
	for _, tc := range cases {
		for _, name := range []string{"race", "ordered"} {
			t.Run(name+", "+tc.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := fakedb.New()
					d := fakeCluster(t, b, 2, WithStrategy(strategies[name]), WithProbe(time.Minute, time.Second))
					if err := d.AddNode("n3", "n3", WithPriority(1)); err != nil {
						t.Fatal(err)
					}
					c := d.Connector().(*connector)
					defer c.Close()
					synctest.Wait()
					for i, delay := range tc.delays {
						script := fakedb.Script{Delay: max(delay, -delay)}
						if delay < 0 {
							script.Err = errRefused
						}
						b.Node(nodeName(i)).Set(script)
					}
					want := tc.took
					if name == "ordered" && tc.delays[0] < 0 {
						want += 5 * ms // n2 is asked when n1 has failed
					}
					began := time.Now()
					conn, err := c.Connect(context.Background())
					if err != nil {
						t.Fatal(err)
					}
					defer conn.Close()
					synctest.Wait()
					if took, asked := time.Since(began), d.Status().Nodes[2].Opens; took != want || asked != tc.asked {
						t.Errorf("after %v, %d attempts on the standby; want %v and %d", took, asked, want, tc.asked)
					}
				})
			})
		}
	}
}
