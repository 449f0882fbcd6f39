package discovery

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/EnumApps/clustersql/internal/members"
)

func rules(missing, floor int, networks ...netip.Prefix) Rules {
	return Rules{
		Counts: true, Missing: missing, Floor: floor, Networks: networks,
		Static: func(string) (string, bool) { return "", false }, Hide: func(s string) string { return s }, Bad: func(Found) string { return "" },
	}
}

// says is the answer of a source.
func says(source string, hosts ...string) Answer {
	a := Answer{Source: source}
	for _, h := range hosts {
		a.Found = append(a.Found, Found{Addr: "10.0.0." + h + ":3306", Weight: 1})
	}
	return a
}

func membersOf(r Round) string {
	var all []string
	for _, m := range r.Members {
		all = append(all, strings.TrimSuffix(strings.TrimPrefix(m.Addr, "10.0.0."), ":3306"))
	}
	return strings.Join(all, " ")
}

// A script is rounds of answers, each with the members that follow.
type script []struct {
	answers []Answer
	want    string
}

func (s script) run(t *testing.T, r Rules) Round {
	t.Helper()
	var state State
	var last Round
	for i, step := range s {
		last = state.Take(step.answers, r, time.Unix(int64(i), 0))
		if got := membersOf(last); got != step.want {
			t.Errorf("round %d: %q, want %q", i, got, step.want)
		}
	}
	return last
}

func one(a Answer) []Answer { return []Answer{a} }

// The last good answer counts when a source gives none, an empty one, or far too much.
func TestTheLastGoodAnswerStays(t *testing.T) {
	flood := Answer{Source: "dns"}
	for i := range Most + 1 {
		flood.Found = append(flood.Found, Found{Addr: fmt.Sprintf("10.1.%d.%d:3306", i/256, i%256)})
	}
	last := script{
		{one(says("dns", "1", "2", "3")), "1 2 3"},
		{one(Answer{Source: "dns", Err: errors.New("no such host")}), "1 2 3"},
		{one(says("dns")), "1 2 3"}, {one(flood), "1 2 3"},
		{one(says("dns")), "1 2 3"}, {one(says("dns")), "1 2 3"}, {one(says("dns")), "1 2 3"},
	}.run(t, rules(2, 1))
	if s := last.Sources[0]; s.Err != "the answer is empty" || !s.Answered.Equal(time.Unix(0, 0)) || len(s.Addrs) != 3 || last.Changed {
		t.Errorf("%+v", s)
	}
}

// A node goes when it was missing so many times in a row, and comes at once.
func TestANodeIsMissingSeveralTimes(t *testing.T) {
	script{
		{one(says("dns", "1", "2", "3")), "1 2 3"}, {one(says("dns", "1", "2")), "1 2 3"}, {one(says("dns", "1", "2")), "1 2 3"},
		{one(says("dns", "1", "2", "3")), "1 2 3"}, {one(says("dns", "1", "2")), "1 2 3"}, {one(says("dns", "1", "2")), "1 2 3"},
		{one(says("dns", "1", "2")), "1 2"}, {one(says("dns", "1", "2", "4")), "1 2 4"},
	}.run(t, rules(3, 1))
	r := rules(2, 1)
	r.Counts = false
	script{{one(says("dns", "1", "2", "3")), "1 2 3"}, {one(says("dns", "1")), "1 2 3"}, {one(says("dns", "1")), "1 2 3"}, {one(says("dns", "1")), "1 2 3"}}.run(t, r)
}

// Never more than half at once, and never below the floor. Those that stay have to be
// missing anew.
func TestHalfAndTheFloor(t *testing.T) {
	last := script{
		{one(says("dns", "1", "2", "3", "4", "5")), "1 2 3 4 5"}, {one(says("dns", "5")), "1 2 3 4 5"}, {one(says("dns", "5")), "3 4 5"},
		{one(says("dns", "5")), "3 4 5"}, {one(says("dns", "5")), "4 5"}, {one(says("dns", "5")), "4 5"}, {one(says("dns", "5")), "5"},
		{one(says("dns", "6")), "5 6"}, {one(says("dns", "6")), "6"}, {one(says("dns", "7")), "6 7"}, {one(says("dns", "7")), "7"},
	}.run(t, rules(2, 1))
	if len(last.Unused) != 0 {
		t.Errorf("%+v", last.Unused)
	}
	last = script{
		{one(says("dns", "1", "2", "3", "4")), "1 2 3 4"}, {one(says("dns", "4")), "2 3 4"}, {one(says("dns", "4")), "2 3 4"},
	}.run(t, rules(1, 3))
	if len(last.Unused) != 2 || !strings.Contains(last.Unused[0].Why, "discover_floor") {
		t.Errorf("%+v", last.Unused)
	}
}

// Only the networks that are allowed, and one node for one address, whoever names it.
func TestNetworksAndNames(t *testing.T) {
	r := rules(1, 1, netip.MustParsePrefix("10.0.0.0/30"), netip.MustParsePrefix("fd00::/8"))
	r.Static = func(addr string) (string, bool) { return "galera1", addr == "10.0.0.3:3306" }
	a := says("dns a", "1", "2", "3", "9")
	a.Found = append(a.Found, Found{Addr: "[fd00::1]:3306"}, Found{Addr: "[::ffff:10.0.0.2]:3306"}, Found{Addr: "db.svc:3306"}, Found{Addr: "[fe80::1]:3306"})
	a.Unused = []Unused{{"AUTO", "dns a", "told"}}
	last := script{{[]Answer{a, says("members", "1", "2")}, "1 2 [fd00::1]"}}.run(t, r)
	var why []string
	for _, u := range last.Unused {
		why = append(why, u.Addr+" "+u.Source+": "+u.Why)
	}
	want := []string{
		"AUTO dns a: told", "10.0.0.3:3306 dns a: it is one node with galera1, which is configured", "10.0.0.9:3306 dns a: it is not in discover_networks",
		"db.svc:3306 dns a: it is no address", "[fe80::1]:3306 dns a: it is not in discover_networks",
		"10.0.0.1:3306 members: it is one node with what dns a has found", "10.0.0.2:3306 members: it is one node with what dns a has found",
	}
	if !slices.Equal(why, want) {
		t.Errorf("%s", strings.Join(why, "\n"))
	}
}

// A member whose address is that of a configured node's name is that node, also while
// the name service is silent. A node that is not configured any more hides nobody.
func TestMembersThatAreConfigured(t *testing.T) {
	named := func(a Answer, names map[string]string) []Answer { a.Named = names; return []Answer{a} }
	last := script{
		{named(says("members", "1", "2"), map[string]string{"n1": "10.0.0.1:3306"}), "2"},
		{named(says("members", "1", "2"), map[string]string{"n1": noAnswer}), "2"}, {one(says("members", "1", "2")), "2"},
		{named(says("members", "7", "2"), map[string]string{"n1": "10.0.0.7:3306"}), "2"}, {named(says("members", "7", "2"), map[string]string{}), "2 7"},
		{named(says("members", "7", "2"), map[string]string{"n1": noAnswer}), "2 7"}, {named(says("members", "7", "2"), map[string]string{"n2": "10.0.0.2:3306"}), "7"},
	}.run(t, rules(1, 1))
	if want := (Unused{"10.0.0.2:3306", "members", "it is one node with n2, which is configured"}); len(last.Unused) != 1 || last.Unused[0] != want {
		t.Errorf("%+v", last.Unused)
	}
}

// An answer of which nothing may be used is an empty one.
func TestAnAnswerOfNoUse(t *testing.T) {
	last := script{
		{one(says("dns", "1", "2")), "1 2"}, {one(says("dns", "9", "8")), "1 2"}, {one(says("dns", "9")), "1 2"},
	}.run(t, rules(1, 1, netip.MustParsePrefix("10.0.0.0/30")))
	if s := last.Sources[0]; s.Err != "nothing of the answer can be used" || len(last.Unused) != 1 || last.Unused[0].Addr != "10.0.0.9:3306" {
		t.Errorf("%+v, %+v", s, last.Unused)
	}
}

// What is no server's address is not dialled, whatever answers so: some name services
// say 0.0.0.0 for names that they block.
func TestAddressesOfNoServer(t *testing.T) {
	a := Answer{Source: "dns"}
	for _, addr := range []string{"0.0.0.0:3306", "[::]:3306", "[::ffff:0.0.0.0]:3306", "224.0.0.1:3306", "[ff02::1]:3306", "255.255.255.255:3306", "10.0.0.7:0"} {
		a.Found = append(a.Found, Found{Addr: addr})
	}
	last := script{{one(says("dns", "1")), "1"}, {one(a), "1"}}.run(t, rules(1, 1))
	if len(last.Unused) != len(a.Found) || last.Sources[0].Err == "" {
		t.Errorf("%+v", last)
	}
}

// named is the answer of the program's source, with pairs of a name and a host.
func named(pairs ...string) Answer {
	a := Answer{Source: "source"}
	for i := 0; i < len(pairs); i += 2 {
		a.Found = append(a.Found, Found{Addr: "10.0.0." + pairs[i+1] + ":3306", Own: &members.Node{Name: pairs[i]}})
	}
	return a
}

// A node that the program names is its name: it moves at once, and two that lead to one
// address are one, as are two of one name. That is said.
func TestTheProgramsNodesAreTheirNames(t *testing.T) {
	last := script{
		{one(named("a", "1", "b", "2", "c", "3")), "1 2 3"}, {one(named("a", "9", "b", "8", "c", "7")), "7 8 9"}, {one(named("a", "8", "b", "9", "c", "7")), "7 8 9"},
		{[]Answer{says("dns", "7"), named("a", "8", "b", "9")}, "7 8 9"}, {one(named("a", "7", "b", "9")), "7 9"},
		{one(named("a", "7", "b", "9", "c", "7", "b", "4", "b", "9")), "7 9"},
	}.run(t, rules(3, 1))
	want := []Unused{{"10.0.0.7:3306", "source", "it is one node with a"}, {"10.0.0.4:3306", "source", "there is a node of this name already"}}
	if !slices.Equal(last.Unused, want) || last.Members[0].Own.Name != "a" {
		t.Errorf("%+v, %s", last.Unused, last.Members[0].Own.Name)
	}
}

// Of several sources one may be silent: what it has found stays. A source that is not
// asked any more is forgotten, and its nodes go.
func TestSeveralSources(t *testing.T) {
	silent := Answer{Source: "b", Err: errors.New("silent")}
	script{
		{[]Answer{says("a", "1", "2"), says("b", "3", "4")}, "1 2 3 4"}, {[]Answer{says("a", "1"), silent}, "1 3 4"},
		{[]Answer{says("a", "1", "3"), silent}, "1 3 4"}, {[]Answer{says("a", "1", "3"), says("b", "4")}, "1 3 4"},
		{one(says("a", "1", "3")), "1 3"},
	}.run(t, rules(1, 1))
}

// Whatever the answers are, the rails hold: more than half go never, the floor stays,
// and who is in the last good answers of all sources is a member.
func TestTheRailsHoldForAllAnswers(t *testing.T) {
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		floor, missing := 1+rnd.IntN(4), 1+rnd.IntN(3)
		var state State
		before := 0
		for round := range 60 {
			var answers []Answer
			good := map[string]bool{}
			for _, name := range []string{"a", "b"} {
				a := Answer{Source: name}
				switch rnd.IntN(6) {
				case 0:
					a.Err = errors.New("no answer")
				case 1:
				default:
					for range 1 + rnd.IntN(8) {
						f := Found{Addr: fmt.Sprintf("10.0.0.%d:3306", rnd.IntN(12))}
						a.Found = append(a.Found, f)
						good[f.Addr] = true
					}
				}
				answers = append(answers, a)
			}
			r := state.Take(answers, rules(missing, floor), time.Unix(int64(round), 0))
			is := map[string]bool{}
			for _, m := range r.Members {
				if is[m.Addr] {
					t.Fatalf("seed %d: %s twice", seed, m.Addr)
				}
				is[m.Addr] = true
			}
			for addr := range good {
				if !is[addr] {
					t.Fatalf("seed %d, round %d: %s was found and is no member", seed, round, addr)
				}
			}
			if now := len(r.Members); now < before/2 || now < min(before, floor) {
				t.Fatalf("seed %d, round %d: from %d to %d, floor %d", seed, round, before, now, floor)
			}
			before = len(r.Members)
		}
	}
}

// What was found is led through the map, but for what a node has told: that was led
// through before it was looked up. A name at the end of the map is told, and the address
// that leads there is not used.
func TestTheMapOfAddresses(t *testing.T) {
	a, told := says("dns", "1", "2", "3"), says(string(Members), "1")
	Map{"10.0.0.1": "10.0.0.7", "10.0.0.2": "db.svc", "10.0.0.9": "10.0.0.8"}.Map([]Answer{a, told})
	last := script{{[]Answer{a, told}, "1 3 7"}}.run(t, rules(1, 1))
	if want := (Unused{"db.svc:3306", "dns", "it is no address"}); len(last.Unused) != 1 || last.Unused[0] != want {
		t.Errorf("%+v", last.Unused)
	}
}

func TestParse(t *testing.T) {
	for text, ok := range map[string]bool{"": true, "10.0.0.0/8, fd00::/8": true, "10.1.2.3": true, "10.0.0.0/40": false, "db.svc": false, ",,": true} {
		if _, err := ParseNetworks(text); (err == nil) != ok {
			t.Errorf("networks %q: %v", text, err)
		}
	}
	m, err := ParseMap("10.0.0.5=127.0.0.1, 10.0.0.6:3306=127.0.0.1:13306,[fd00::1]:3306=h:1")
	for from, to := range map[string]string{"10.0.0.5:3306": "127.0.0.1:3306", "10.0.0.6:3306": "127.0.0.1:13306", "10.0.0.6:3307": "10.0.0.6:3307", "[fd00::1]:3306": "h:1", "odd": "odd"} {
		if got := m.Of(from); got != to || err != nil {
			t.Errorf("%s leads to %s, want %s: %v", from, got, to, err)
		}
	}
	for _, text := range []string{"a", "=b", "a=", "a=b,a=c"} {
		if _, err := ParseMap(text); err == nil {
			t.Errorf("the map %q was accepted", text)
		}
	}
	for name, want := range map[string]string{"_mysql._tcp.db.svc": "db.svc", "db.svc": "db.svc", "_x": "_x", "": ""} {
		if got := Domain(name); got != want {
			t.Errorf("%s is about %s", name, got)
		}
	}
	for text, want := range map[string]string{"10.0.0.1": "10.0.0.1:53", "10.0.0.1:8600": "10.0.0.1:8600", "::1": "[::1]:53", "[::1]:5": "[::1]:5", "dns.svc": "", "": "", "10.0.0.1:0": ""} {
		if got, err := ParseServer(text); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("10.0.0.5=127.0.0.1:1", "10.0.0.5:3306")
	f.Fuzz(func(t *testing.T, text, addr string) {
		ParseNetworks(text)
		ParseServer(text)
		Domain(text)
		if m, err := ParseMap(text); err == nil {
			m.Of(addr)
		}
		if c, ok := Literal(addr); ok {
			if again, _ := Literal(c); again != c {
				t.Errorf("%s, and then %s", c, again)
			}
		}
	})
}
