package causal

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
)

func parse(t testing.TB, text string) Position {
	t.Helper()
	p, err := Parse(text)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return p
}

// What positions have, together and beside each other.
func TestPositions(t *testing.T) {
	for _, tc := range []struct {
		p, q, union   string
		has, relative bool
	}{
		{"", "", "", true, false},
		{"a:1-5", "", "a:1-5", true, false},
		{"", "a:1-5", "a:1-5", false, false},
		{"a:1-5", "a:1-5", "a:1-5", true, true},
		{"a:1-5", "a:1-4", "a:1-5", true, true},
		{"a:1-4", "a:1-5", "a:1-5", false, true},
		{"a:1-4", "b:1-5", "a:1-4~b:1-5", false, false},
		{"a:1-4", "a", "a:1-4", true, true},
		{"a", "a:1-4", "a:1-4", false, true},
		{"a:1-4:7", "a:5", "a:1-5:7", false, true},
		{"a:1-4:7", "a:5-6", "a:1-7", false, true},
		{"a:1-4:7-9", "a:2-3:8", "a:1-4:7-9", true, true},
		{"a:1-4:7-9", "a:3-8", "a:1-9", false, true},
		{"b:1-9~a:1", "b:3", "a:1~b:1-9", true, true},
		{"a:1~c:1", "b:1~c:1", "a:1~b:1~c:1", false, true},
		{"a:18446744073709551615", "a:1-18446744073709551614", "a:1-18446744073709551615", false, true},
	} {
		p, q := parse(t, tc.p), parse(t, tc.q)
		if got := p.Union(q).String(); got != tc.union {
			t.Errorf("%s and %s are %s, want %s", tc.p, tc.q, got, tc.union)
		}
		if got := q.Union(p).String(); got != tc.union {
			t.Errorf("%s and %s are %s, want %s", tc.q, tc.p, got, tc.union)
		}
		if p.Has(q) != tc.has || p.Related(q) != tc.relative || q.Related(p) != tc.relative {
			t.Errorf("%s and %s: has %v, related %v", tc.p, tc.q, p.Has(q), p.Related(q))
		}
	}
	if At("a", 0).IsZero() || At("a", 0).String() != "a" || At("a", 7).String() != "a:1-7" || Of("a", Span{3, 2}).String() != "a" {
		t.Error("At and Of make other positions")
	}
}

// The sets are compared with maps.
func TestPositionsAreSets(t *testing.T) {
	draw := rand.New(rand.NewPCG(1, 2))
	random := func() (p Position, set map[string]bool) {
		set = make(map[string]bool)
		for range draw.IntN(5) {
			origin, from := string("ab"[draw.IntN(2)]), uint64(1+draw.IntN(8))
			to := from + uint64(draw.IntN(4))
			p = p.Union(Of(origin, Span{from, to}))
			for n := from; n <= to; n++ {
				set[origin+string(rune('A'+n))] = true
			}
		}
		return p, set
	}
	for range 20_000 {
		p, have := random()
		q, want := random()
		has := true
		for key := range want {
			has = has && have[key]
		}
		union := p.Union(q)
		if p.Has(q) != has || !union.Has(p) || !union.Has(q) || parse(t, union.String()).String() != union.String() {
			t.Fatalf("%s and %s: has %v, union %s", p, q, p.Has(q), union)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"", "a:1-5", "galera/11f1/0:1-9~pg/7:1", "a:1:3:5-7", "a::", "~", "a:5-3", "a b"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(p.String())
		if err != nil || again.String() != p.String() || !p.Has(again) || !again.Has(p) {
			t.Errorf("%q is %q and then %q: %v", text, p, again, err)
		}
		s := new(Session)
		s.Saw(p)
		if token := s.Token(); token != "" && s.Join(token, 1) != nil || !p.IsZero() && !s.State().Floors[0].Has(p) {
			t.Errorf("%q makes the token %q", text, token)
		}
	})
}

// A session keeps the positions of two databases apart, and only grows.
func TestSessionsGrow(t *testing.T) {
	s := new(Session)
	s.Saw(parse(t, "a:1-5"))
	s.Saw(parse(t, "b:1-3~c:1"))
	s.Saw(parse(t, "a:1-4"))
	s.Saw(parse(t, "c:1-2"))
	s.Saw(Position{})
	st := s.State()
	if len(st.Floors) != 2 || st.Wants(At("a", 1)).String() != "a:1-5" || st.Wants(At("b", 1)).String() != "b:1-3~c:1-2" {
		t.Errorf("%v", st)
	}
	if all := st.Wants(Position{}).String(); all != "a:1-5~b:1-3~c:1-2" {
		t.Errorf("a node of which nothing is known must have %s", all)
	}
	if foreign := st.Wants(At("d", 9)); !foreign.IsZero() {
		t.Errorf("a node of another database must have %s", foreign)
	}
	s.Saw(parse(t, "a:1~b:1"))
	if st := s.State(); len(st.Floors) != 1 {
		t.Errorf("what turns out to be one database stays apart: %v", st)
	}
}

// What is not known of a node stands until it is settled, for each node by itself.
func TestSessionsDoubt(t *testing.T) {
	s := new(Session)
	s.Doubts(Unsure{Node: 1, At: 10, About: At("a", 3)})
	s.Doubts(Unsure{Node: 2, At: 20})
	s.Doubts(Unsure{Node: 1, At: 30, About: At("a", 3)})
	if n := len(s.State().Unsure); n != 2 {
		t.Fatalf("%d doubts", n)
	}
	if token := s.Token(); token != "1.!~!a" {
		t.Errorf("the token %q", token)
	}
	there := new(Session)
	if err := there.Join("1.!~!a~b:1-2", 5); err != nil || len(there.State().Unsure) != 2 || len(there.State().Floors) != 1 {
		t.Errorf("%+v: %v", there.State(), err)
	}
	s.Settles(Unsure{Node: 1, At: 25}, At("a", 4))
	if n := len(s.State().Unsure); n != 2 {
		t.Error("what came later is settled too")
	}
	s.Settles(Unsure{Node: 1, At: 30}, At("a", 4))
	if st := s.State(); len(st.Unsure) != 1 || st.Floors[0].String() != "a:1-4" {
		t.Errorf("%+v", st)
	}
	for i := range 3 * mostUnsure {
		s.Doubts(Unsure{Node: 100 + i, At: int64(100 + i)})
	}
	st := s.State()
	if len(st.Unsure) > mostUnsure || st.Unsure[0].Node != nil {
		t.Errorf("%d doubts, and %+v", len(st.Unsure), st.Unsure[0])
	}
}

// Goroutines share a session, and nothing of what one of them has seen is lost.
func TestSessionsAreShared(t *testing.T) {
	s := new(Session)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := range uint64(500) {
				s.Saw(At(strings.Repeat("x", 1+i%2), n+1))
				s.Doubts(Unsure{Node: i, At: int64(n)})
				s.Settles(Unsure{Node: i, At: int64(n)}, Position{})
			}
		})
	}
	all.Wait()
	if st := s.State(); len(st.Unsure) != 0 || st.Wants(Position{}).String() != "x:1-500~xx:1-500" {
		t.Errorf("%+v", st)
	}
}

// A context has the session that was opened for it or for one of its parents.
func TestContextsCarrySessions(t *testing.T) {
	if In(t.Context()) != nil {
		t.Error("a context has a session that nobody has opened")
	}
	ctx, s := Open(t.Context())
	child, cancel := context.WithCancel(ctx)
	defer cancel()
	if In(child) != s {
		t.Error("a child has another session")
	}
	if same, again := Open(child); same != child || again != s {
		t.Error("a second one was opened")
	}
	if _, other := Anew(child); other == s {
		t.Error("no new one was opened")
	}
}

var sink *Session

// A context without a session costs a look at a flag, or at the context where some
// session is in use.
func BenchmarkIn(b *testing.B) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for _, on := range []bool{false, true} {
		name := map[bool]string{false: "no session in the process", true: "sessions elsewhere"}[on]
		b.Run(name, func(b *testing.B) {
			used.Store(on)
			b.ReportAllocs()
			for b.Loop() {
				sink = In(ctx)
			}
		})
	}
}
