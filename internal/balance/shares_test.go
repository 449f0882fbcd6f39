package balance

import (
	"testing"
	"time"

	"github.com/EnumApps/clustersql/internal/health"
)

// The expected numbers were worked out by hand.
func TestExcess(t *testing.T) {
	now := time.Unix(1000, 0)
	node := func(name string, current int, change func(*Member)) Member {
		s := Member{Name: name, State: health.Up, Since: now.Add(-time.Minute), Weight: 1, Current: current,
			RoundTrip: health.Latency{}.Add(time.Millisecond)}
		if change != nil {
			change(&s)
		}
		return s
	}
	with := func(changes ...func(*Member)) func(*Member) {
		return func(s *Member) {
			for _, c := range changes {
				c(s)
			}
		}
	}
	young := func(s *Member) { s.Since = now.Add(-4 * time.Second) }
	heavy := func(s *Member) { s.Weight = 2 }
	later := func(s *Member) { s.Priority = 1 }
	suspect := func(s *Member) { s.State = health.Suspect }
	fallen := func(s *Member) { s.State = health.Down }
	returning := func(s *Member) { s.Returning = true }
	back := func(s *Member) { s.Back, s.LastSuccess = now.Add(-time.Minute), now.Add(-time.Hour) }
	served := func(s *Member) { s.Back, s.LastSuccess = now.Add(-time.Minute), now.Add(-time.Second) }
	donor := func(s *Member) { s.Donor = true }
	slow := func(d time.Duration) func(*Member) {
		return func(s *Member) { s.RoundTrip = health.Latency{}.Add(d) }
	}
	cases := []struct {
		name  string
		r     Goal
		nodes []Member
		want  []int
		begun bool
	}{
		{"even", Shares, []Member{node("a", 10, nil), node("b", 10, nil), node("c", 10, nil)}, []int{0, 0, 0}, false},
		{"one is back", Shares, []Member{node("a", 0, nil), node("b", 16, nil), node("c", 14, nil)}, []int{0, 6, 4}, false},
		{"back for a moment", Shares, []Member{node("a", 0, young), node("b", 16, nil), node("c", 14, nil)}, []int{0, 0, 0}, false},
		{"nearly even", Shares, []Member{node("a", 10, nil), node("b", 11, nil), node("c", 11, nil)}, []int{0, 0, 0}, false},
		{"and begun", Shares, []Member{node("a", 10, nil), node("b", 12, nil), node("c", 11, nil)}, []int{0, 1, 0}, true},
		{"many have a little too much", Shares, []Member{node("a", 12, nil), node("b", 22, nil), node("c", 22, nil), node("d", 22, nil), node("e", 22, nil)}, []int{0, 2, 2, 2, 2}, false},
		{"by weight", Shares, []Member{node("a", 0, heavy), node("b", 20, nil), node("c", 20, nil)}, []int{0, 10, 10}, false},
		{"few", Shares, []Member{node("a", 0, nil), node("b", 2, nil), node("c", 1, nil)}, []int{0, 1, 0}, false},
		{"one for three", Shares, []Member{node("a", 0, nil), node("b", 1, nil), node("c", 0, nil)}, []int{0, 0, 0}, false},
		{"none for the one that is back", Shares, []Member{node("a", 0, back), node("b", 1, nil), node("c", 1, nil)}, []int{0, 1, 1}, false},
		{"it has had one", Shares, []Member{node("a", 0, served), node("b", 1, nil), node("c", 1, nil)}, []int{0, 0, 0}, false},
		{"a later tier gives all", Shares, []Member{node("a", 0, nil), node("b", 7, later)}, []int{0, 7}, false},
		{"a suspect for long too", Shares, []Member{node("a", 3, nil), node("b", 7, suspect)}, []int{0, 7}, false},
		{"one of a moment not", Shares, []Member{node("a", 3, nil), node("b", 7, with(suspect, young))}, []int{0, 0}, false},
		{"nobody is up", Shares, []Member{node("a", 3, suspect), node("b", 7, suspect)}, []int{0, 0}, false},
		{"a fallen one counts for nobody", Shares, []Member{node("a", 9, fallen), node("b", 7, nil), node("c", 7, nil)}, []int{0, 0, 0}, false},
		{"a donor keeps what it has", Shares, []Member{node("a", 9, donor), node("b", 2, nil)}, []int{0, 0}, false},
		{"far slower gives all", Shares, []Member{node("a", 1, nil), node("b", 7, slow(time.Second))}, []int{0, 7}, false},
		{"somewhat slower keeps", Shares, []Member{node("a", 1, nil), node("b", 7, slow(20*time.Millisecond))}, []int{0, 0}, false},

		{"all on the first", First, []Member{node("a", 0, nil), node("b", 7, nil), node("c", 2, suspect)}, []int{0, 7, 2}, false},
		{"the first is a donor", First, []Member{node("a", 5, donor), node("b", 7, nil), node("c", 2, nil)}, []int{0, 0, 2}, false},
		{"not yet", First, []Member{node("a", 0, returning), node("b", 7, nil)}, []int{0, 0}, false},
		{"strays come home meanwhile", First, []Member{node("a", 1, returning), node("b", 7, nil), node("c", 2, nil)}, []int{1, 0, 2}, false},
		{"the first is young", First, []Member{node("a", 0, young), node("b", 7, nil)}, []int{0, 0}, false},
		{"the first is down", First, []Member{node("a", 5, fallen), node("b", 7, nil), node("c", 2, nil)}, []int{0, 0, 2}, false},

		{"off", Stay, []Member{node("a", 0, nil), node("b", 70, nil)}, []int{0, 0}, false},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			for i, s := range tc.nodes {
				got, why := Excess(s.Name, tc.nodes, tc.r, 5*time.Second, now, tc.begun)
				if got != tc.want[i] || (why == "") != (got == 0) && got > 0 {
					t.Errorf("%s gives %d, want %d (%s)", s.Name, got, tc.want[i], why)
				}
			}
		})
	}
}

// In a second a fifth of the first excess gives way, and at least one
// connection, whatever the tick is. Turns that were missed are not made up for.
func TestPace(t *testing.T) {
	for _, tick := range []time.Duration{200 * time.Millisecond, time.Second, 1200 * time.Millisecond} {
		for _, start := range []int{1, 4, 5, 30, 100} {
			var p Pace
			now := time.Unix(0, 0)
			left, spent := start, time.Duration(0)
			for left > 0 && spent < time.Minute {
				n := p.Turns(left, now)
				if most := max(1, start/PaceFifth) * 5 / 4; n > max(1, most) {
					t.Errorf("tick %v, %d at the start: %d turns at once", tick, start, n)
				}
				left -= n
				now, spent = now.Add(tick), spent+tick
			}
			if start > 5 && spent < 4*time.Second || spent > 7*time.Second {
				t.Errorf("tick %v, %d at the start: gone after %v", tick, start, spent)
			}
		}
	}
	var p Pace
	now := time.Unix(0, 0)
	p.Turns(100, now)
	if n := p.Turns(100, now.Add(time.Hour)); n > 25 {
		t.Errorf("%d turns after an hour", n)
	}
}

// A node of second choice gives its connections to one that has got the preferred
// role. It is itself no reason to make those of a preferred one anew.
func TestLastReturnOfThePreferredRole(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	up := Member{State: health.Up, Since: ago(time.Hour)}
	node := func(name string, second bool, back, chosen time.Time) Member {
		m := up
		m.Name, m.Second, m.Back, m.Chosen = name, second, back, chosen
		return m
	}
	for name, tc := range map[string]struct {
		self, other Member
		want        time.Time
	}{
		"both preferred, the other came back":   {node("a", false, time.Time{}, ago(9*time.Minute)), node("b", false, ago(time.Minute), ago(time.Second)), ago(time.Minute)},
		"second, the other came back":           {node("a", true, time.Time{}, time.Time{}), node("b", false, ago(time.Minute), ago(time.Hour)), ago(time.Minute)},
		"second, the other was chosen":          {node("a", true, time.Time{}, time.Time{}), node("b", false, time.Time{}, ago(time.Second)), ago(time.Second)},
		"preferred, one of second choice is up": {node("a", false, time.Time{}, time.Time{}), node("b", true, ago(time.Minute), ago(time.Second)), time.Time{}},
		"both second":                           {node("a", true, time.Time{}, time.Time{}), node("b", true, ago(time.Minute), ago(time.Second)), ago(time.Minute)},
	} {
		if got := LastReturn("a", []Member{tc.self, tc.other}, 5*time.Second, now); !got.Equal(tc.want) {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}
