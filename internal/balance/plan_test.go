package balance

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/EnumApps/clustersql/internal/health"
	"github.com/EnumApps/clustersql/internal/seedtest"
)

// A strategy plans one open. It draws from r if it needs random numbers.
type strategy func(members []Member, r *rand.Rand) []Launch

var (
	race     strategy = func(m []Member, _ *rand.Rand) []Launch { return Race(m) }
	hedged   strategy = func(m []Member, _ *rand.Rand) []Launch { return Hedged(m) }
	balanced strategy = func(m []Member, r *rand.Rand) []Launch { return Balanced(m, r.IntN) }
	ordered  strategy = func(m []Member, _ *rand.Rand) []Launch { return Ordered(m) }
)

var strategies = map[string]strategy{"race": race, "hedged": hedged, "balanced": balanced, "ordered": ordered}

func nodeName(i int) string { return fmt.Sprintf("n%d", i+1) }

// sample returns a Latency with one sample.
func sample(d time.Duration) health.Latency { return health.Latency{}.Add(d) }

// upNode returns a node that is up and healthy.
func upNode(name string, probe time.Duration, change ...func(*Member)) Member {
	s := Member{Name: name, State: health.Up, Weight: 1, RoundTrip: sample(probe)}
	for _, c := range change {
		c(&s)
	}
	return s
}

func inState(state health.State) func(*Member) { return func(s *Member) { s.State = state } }
func priority(p int) func(*Member)             { return func(s *Member) { s.Priority = p } }
func loaded(n int) func(*Member)               { return func(s *Member) { s.Load = n } }
func weighing(n int) func(*Member)             { return func(s *Member) { s.Weight = n } }
func opensIn(l health.Latency) func(*Member)   { return func(s *Member) { s.Open = l } }
func unmeasured(s *Member)                     { s.RoundTrip = health.Latency{} }

func namesOf(members []Member, plan []Launch) string {
	text := ""
	for _, l := range plan {
		text += members[l.At].Name
	}
	return text
}

// For random nodes, each node is in the plan once and in its tier, and the
// waits keep their bounds.
func TestPlansOfRandomNodes(t *testing.T) {
	for name, strategy := range strategies {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 1))
			for round := range 3000 {
				nodes := randomNodes(r)
				before := slices.Clone(nodes)
				wantPlan(t, name, nodes, strategy(nodes, r))
				if !slices.Equal(nodes, before) {
					t.Error("the snapshots were changed")
				}
				if t.Failed() {
					t.Fatalf("round %d", round)
				}
			}
		})
	}
}

func randomNodes(r *rand.Rand) []Member {
	nodes := make([]Member, r.IntN(9))
	for i := range nodes {
		s := &nodes[i]
		s.Name = nodeName(i)
		s.State = []health.State{health.Up, health.Up, health.Unknown, health.Suspect, health.Down}[r.IntN(5)]
		s.Priority, s.Weight, s.Load = r.IntN(3), r.IntN(4), r.IntN(10)
		for range r.IntN(3) {
			s.RoundTrip = s.RoundTrip.Add(time.Duration(r.IntN(100)) * time.Millisecond)
			s.Open = s.Open.Add(time.Duration(r.IntN(5000)) * time.Millisecond)
		}
	}
	return nodes
}

func wantPlan(t *testing.T, strategy string, nodes []Member, plan []Launch) {
	t.Helper()
	planned := make(map[int]bool)
	if len(plan) != len(nodes) {
		t.Errorf("%d launches for %d nodes", len(plan), len(nodes))
	}
	for i, l := range plan {
		s := nodes[l.At]
		if planned[l.At] {
			t.Fatalf("%q is in the plan twice", s.Name)
		}
		planned[l.At] = true
		if i == 0 {
			if l.Wait != 0 {
				t.Errorf("the first launch waits %v", l.Wait)
			}
			continue
		}
		before := nodes[plan[i-1].At]
		suspect, wasSuspect := s.State == health.Suspect, before.State == health.Suspect
		switch {
		case strategy == "race":
			if l.Wait != 0 && l.Wait != 2*time.Second {
				t.Errorf("race waits %v", l.Wait)
			}
			if l.Wait > 0 && s.Priority <= before.Priority {
				t.Errorf("race waits within a tier: %v after %v", s, before)
			}
		case wasSuspect && !suspect, wasSuspect == suspect && s.Priority < before.Priority:
			t.Errorf("%s (%s, %d) after %s (%s, %d)", s.Name, s.State, s.Priority, before.Name, before.State, before.Priority)
		case l.Wait < 100*time.Millisecond || l.Wait > 2*time.Second:
			t.Errorf("%s waits %v", s.Name, l.Wait)
		case s.Priority > before.Priority && l.Wait != 2*time.Second:
			t.Errorf("the next tier waits only %v", l.Wait)
		}
	}
}

func TestOrders(t *testing.T) {
	const ms = time.Millisecond
	suspect, unknown := inState(health.Suspect), inState(health.Unknown)
	cases := []struct {
		name     string
		strategy strategy
		nodes    []Member
		want     string
	}{
		{"latency", hedged, []Member{upNode("a", 3*ms), upNode("b", 1*ms), upNode("c", 2*ms)}, "bca"},
		{"equal latencies by name", hedged, []Member{upNode("b", ms), upNode("a", ms)}, "ab"},
		{"measured, up, unknown, suspect", hedged, []Member{
			upNode("a", ms, suspect), upNode("b", 0, unknown, unmeasured), upNode("c", 0, unmeasured), upNode("d", 9*ms)}, "dcba"},
		{"opens do not rank", hedged, []Member{upNode("a", 2*ms, opensIn(sample(ms))), upNode("b", ms, opensIn(sample(time.Second)))}, "ba"},
		{"tiers before latency", hedged, []Member{upNode("a", ms, priority(2)), upNode("b", 50*ms, priority(1)), upNode("c", 90*ms)}, "cba"},
		{"suspect after every tier", hedged, []Member{upNode("a", ms, suspect), upNode("b", ms, priority(7))}, "ba"},
		{"suspects by tier", hedged, []Member{upNode("a", ms, suspect, priority(1)), upNode("b", 9*ms, suspect)}, "ba"},
		{"priority, then name", ordered, []Member{upNode("a", ms, priority(1)), upNode("b", 9*ms), upNode("c", ms)}, "bca"},
		{"the same node though it is unknown", ordered, []Member{upNode("a", ms, unknown), upNode("b", ms)}, "ab"},
		{"but not though it is suspect", ordered, []Member{upNode("a", ms, suspect), upNode("b", ms, priority(1))}, "ba"},
		{"race keeps the order", race, []Member{upNode("a", 9*ms), upNode("b", ms, suspect), upNode("c", ms)}, "abc"},
		{"race by tiers", race, []Member{upNode("a", ms, priority(1)), upNode("b", 9*ms), upNode("c", ms, priority(3)), upNode("d", ms)}, "bdac"},
		{"race, a tier without a node that is well", race, []Member{upNode("a", ms, priority(1)), upNode("b", ms, suspect), upNode("c", ms, priority(2))}, "abc"},
		{"none", hedged, nil, ""},
		{"none to draw from", balanced, nil, ""},
		{"none to race", race, nil, ""},
		{"the others by latency", balanced, []Member{upNode("a", 99*ms), upNode("b", ms, loaded(5)), upNode("c", 2*ms), upNode("d", 60*ms)}, "cbda"},
	}
	r := rand.New(rand.NewPCG(1, 2)) // no case depends on what is drawn
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			if got := namesOf(tc.nodes, tc.strategy(tc.nodes, r)); got != tc.want {
				t.Errorf("order %s, want %s", got, tc.want)
			}
		})
	}
}

func TestWaits(t *testing.T) {
	const ms = time.Millisecond
	cases := []struct {
		name  string
		opens health.Latency
		next  int // the priority of the next node
		want  time.Duration
	}{
		{"never opened", health.Latency{}, 0, 250 * ms},
		{"no deviation yet", sample(300 * ms), 0, 300 * ms},
		{"mean 220 ms, deviation 25 ms", sample(200 * ms).Add(300 * ms), 0, 320 * ms},
		{"fast", sample(2 * ms), 0, 100 * ms},
		{"slow", sample(9000 * ms), 0, 2000 * ms},
		{"the next tier", sample(2 * ms), 1, 2000 * ms},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			nodes := []Member{upNode("a", ms, opensIn(tc.opens)), upNode("b", 2*ms, priority(tc.next))}
			for name, strategy := range map[string]strategy{"hedged": hedged, "ordered": ordered} {
				if plan := strategy(nodes, nil); plan[0].Wait != 0 || plan[1].Wait != tc.want {
					t.Errorf("%s: waits %v and %v, want %v", name, plan[0].Wait, plan[1].Wait, tc.want)
				}
			}
		})
	}
}

// everyDraw plans once with each result that Balanced can draw. It returns how
// often each node comes first. With equal weights all results are equally
// likely.
func everyDraw(nodes []Member) map[string]int {
	first := make(map[string]int)
	for drawn := []int{}; ; {
		var bounds []int
		plan := Balanced(nodes, func(n int) int {
			i := len(bounds)
			bounds = append(bounds, n)
			if i == len(drawn) {
				drawn = append(drawn, 0)
			}
			return drawn[i]
		})
		first[nodes[plan[0].At].Name]++
		i := len(drawn) - 1
		for i >= 0 && drawn[i] == bounds[i]-1 {
			i--
		}
		if i < 0 {
			return first
		}
		drawn = append(drawn[:i:i], drawn[i]+1)
	}
}

// Of n equally fast nodes Balanced draws two different ones and takes the
// better. The k-th node by load is therefore first in 2(n-k) of the n(n-1)
// draws.
func TestBalancedDrawsTwo(t *testing.T) {
	for n := 2; n <= 9; n++ {
		nodes := make([]Member, n)
		for i := range nodes {
			nodes[i] = upNode(nodeName(i), time.Millisecond, loaded((i*5)%n*3)) // the order by load is not that of the names
			if n%5 == 0 {
				nodes[i].Load = i
			}
		}
		first := everyDraw(nodes)
		ranked := slices.Clone(nodes)
		slices.SortFunc(ranked, func(a, b Member) int { return a.Load - b.Load })
		for i, s := range ranked {
			k := i + 1
			if got, want := first[s.Name], 2*(n-k); got != want {
				t.Errorf("n=%d: rank %d comes first in %d draws, want %d", n, k, got, want)
			}
		}
	}
}

// Only nodes about as fast as the fastest are drawn.
func TestBalancedWindow(t *testing.T) {
	const ms = time.Millisecond
	unknown := inState(health.Unknown)
	cases := []struct {
		name  string
		nodes []Member
		want  string // the nodes that come first for some draw
	}{
		{"15 ms", []Member{upNode("a", 2*ms), upNode("b", 17*ms), upNode("c", 17*ms+1)}, "ab"},
		{"a quarter", []Member{upNode("a", 100*ms), upNode("b", 125*ms), upNode("c", 125*ms+1)}, "ab"},
		{"its tier", []Member{upNode("a", ms), upNode("b", ms), upNode("c", ms, priority(1))}, "ab"},
		{"not suspect", []Member{upNode("a", ms, inState(health.Suspect)), upNode("b", ms), upNode("c", ms)}, "bc"},
		{"up, not measured yet", []Member{upNode("a", ms), upNode("b", 50*ms), upNode("c", 0, unmeasured)}, "ac"},
		{"not unknown beside one that is up", []Member{upNode("a", ms), upNode("b", 0, unknown, unmeasured)}, "a"},
		{"all unknown", []Member{upNode("a", 0, unknown, unmeasured), upNode("b", 0, unknown, unmeasured)}, "ab"},
		{"all suspect", []Member{upNode("a", ms, inState(health.Suspect)), upNode("b", ms, inState(health.Suspect))}, "ab"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			first := everyDraw(tc.nodes)
			got := ""
			for _, s := range tc.nodes {
				if first[s.Name] > 0 {
					got += s.Name
				}
			}
			if got != tc.want {
				t.Errorf("drawn %s, want %s", got, tc.want)
			}
		})
	}
}

// Connections that are opened one after the other are spread by the weights.
// This holds also if one node is to have more than two draws without weights
// would give it. The seed is fixed, so the shares are the same in every run.
func TestBalancedSharesFollowTheWeights(t *testing.T) {
	for _, weights := range [][]int{{1, 1, 1}, {1, 2, 3}, {1, 1, 10}, {5, 1, 1, 1, 1, 1, 1, 1}} {
		nodes, total := make([]Member, len(weights)), 0
		for i, w := range weights {
			nodes[i] = upNode(nodeName(i), time.Millisecond, weighing(w))
			total += w
		}
		const conns = 1200
		r := seedtest.Rand(t)
		for range conns {
			nodes[Balanced(nodes, r.IntN)[0].At].Load++
		}
		for i, w := range weights {
			want := float64(conns*w) / float64(total)
			if got := float64(nodes[i].Load); math.Abs(got-want) > 0.05*want+2 {
				t.Errorf("weights %v: node %d has %v, want %.0f", weights, i+1, got, want)
			}
		}
	}
}

// BenchmarkPlan measures what each strategy costs an open.
func BenchmarkPlan(b *testing.B) {
	for _, name := range []string{"race", "hedged", "balanced", "ordered"} {
		for _, n := range []int{3, 256} {
			b.Run(fmt.Sprintf("%s/nodes=%d", name, n), func(b *testing.B) {
				nodes := make([]Member, n)
				for i := range nodes {
					nodes[i] = upNode(fmt.Sprintf("n%03d", i), time.Duration(1+i*7919%n)*100*time.Microsecond, opensIn(sample(time.Millisecond)))
				}
				r := rand.New(rand.NewPCG(1, 2))
				b.ReportAllocs()
				for b.Loop() {
					strategies[name](nodes, r)
				}
			})
		}
	}
}
