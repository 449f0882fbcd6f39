package discovery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/EnumApps/clustersql/internal/dnstest"
	"github.com/EnumApps/clustersql/internal/members"
	"github.com/EnumApps/clustersql/internal/mysql"
)

func nameService(t *testing.T) *dnstest.Server {
	t.Helper()
	s, err := dnstest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// A real name service is asked, and what it says becomes nodes.
func TestAskDNSAndSRV(t *testing.T) {
	s := nameService(t)
	r := Resolver(s.Addr())
	s.Set("db.test.", "10.0.0.2", "10.0.0.1", "fd00::1")
	found, err := AskDNS(t.Context(), r, "db.test.:3306")
	var addrs []string
	for _, f := range found {
		addrs = append(addrs, f.Addr)
	}
	slices.Sort(addrs)
	if err != nil || !slices.Equal(addrs, []string{"10.0.0.1:3306", "10.0.0.2:3306", "[fd00::1]:3306"}) {
		t.Errorf("%v, %v", err, addrs)
	}
	s.SetSRV("_mysql._tcp.db.test.", dnstest.SRV{Target: "a.test.", Port: 3307, Priority: 1, Weight: 0}, dnstest.SRV{Target: "b.test.", Port: 3308, Priority: 0, Weight: 7})
	s.Set("a.test.", "10.0.0.3")
	s.Set("b.test.", "10.0.0.4", "10.0.0.5")
	found, err = AskSRV(t.Context(), r, "_mysql._tcp.db.test.")
	want := map[string]Found{
		"10.0.0.3:3307": {Addr: "10.0.0.3:3307", Priority: 1, Weight: 1}, "10.0.0.4:3308": {Addr: "10.0.0.4:3308", Weight: 7},
		"10.0.0.5:3308": {Addr: "10.0.0.5:3308", Weight: 7},
	}
	if err != nil || len(found) != 3 || slices.ContainsFunc(found, func(f Found) bool { return f != want[f.Addr] }) {
		t.Errorf("%v, %+v", err, found)
	}
	s.Fail("b.test.", dnstest.Failed)
	if _, err := AskSRV(t.Context(), r, "_mysql._tcp.db.test."); err == nil {
		t.Error("half an answer counts")
	}
	for _, code := range []uint16{dnstest.Failed, dnstest.NotFound, dnstest.Refused} {
		s.Fail("db.test.", code)
		if found, err := AskDNS(t.Context(), r, "db.test.:3306"); err == nil || len(found) > 0 {
			t.Errorf("code %d: %v, %v", code, found, err)
		}
	}
	s.Set("db.test.")
	if found, err := AskDNS(t.Context(), r, "db.test.:3306"); len(found) > 0 {
		t.Errorf("empty: %v, %v", found, err)
	}
	if _, err := AskDNS(t.Context(), r, "db.test."); err == nil {
		t.Error("an address without a port")
	}
}

// unending is a context that tells a deadline and does not end.
type unending struct {
	context.Context
	deadline time.Time
}

func (c unending) Deadline() (time.Time, bool) { return c.deadline, true }

// A silent name service has half of the time, and its silence is its own. The caller's
// time does not end here, however late the test gets its turn.
func TestASilentNameServiceHasItsOwnDeadline(t *testing.T) {
	s := nameService(t)
	s.Hush("db.test.")
	var states []bool
	_, err := Dial(unending{t.Context(), time.Now().Add(400 * time.Millisecond)}, Resolver(s.Addr()), "tcp", "db.test.:3306", func(done bool) { states = append(states, done) })
	var e *net.DNSError
	if !errors.As(err, &e) || !e.IsTimeout || !slices.Equal(states, []bool{false}) {
		t.Fatalf("%v, %v", err, states)
	}
	text, _ := strings.CutPrefix(e.Err, "no answer within ")
	if half, err := time.ParseDuration(text); err != nil || half > 200*time.Millisecond {
		t.Errorf("the name service had another time: %v", e)
	}
}

// Every address of a name is tried, and the first that answers counts. The others are
// closed.
func TestDialTriesEveryAddress(t *testing.T) {
	s := nameService(t)
	l, err := net.Listen("tcp4", "127.0.0.3:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan net.Conn, 8)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for name, addrs := range map[string][]string{
		"all.test.": {"127.0.0.1", "127.0.0.2", "127.0.0.3"}, "one.test.": {"127.0.0.3"}, "both.test.": {"::1", "127.0.0.3"},
	} {
		s.Set(name, addrs...)
		done := false
		conn, err := Dial(t.Context(), Resolver(s.Addr()), "tcp", name+":"+port, func(d bool) { done = d })
		if err != nil || !done {
			t.Errorf("%s: %v", name, err)
			continue
		}
		conn.Close()
		(<-accepted).Close()
	}
	s.Set("none.test.", "127.0.0.1", "127.0.0.2")
	if _, err := Dial(t.Context(), Resolver(s.Addr()), "tcp", "none.test.:"+port, func(bool) {}); err == nil {
		t.Error("nobody listens there")
	}
	s.Set("six.test.", "::1")
	if _, err := Dial(t.Context(), Resolver(s.Addr()), "tcp4", "six.test.:"+port, func(bool) {}); !errors.Is(err, errNoAddress) {
		t.Error(err)
	}
	if conn, err := Dial(t.Context(), Resolver(s.Addr()), "tcp", l.Addr().String(), func(bool) { t.Error("an address was asked for") }); err != nil {
		t.Error(err)
	} else {
		conn.Close()
	}
}

func TestAddressesTakeTurns(t *testing.T) {
	s := nameService(t)
	s.Set("turns.test.", "10.0.0.1", "10.0.0.2", "fd00::1", "fd00::2", "fd00::3")
	all, err := Addresses(t.Context(), Resolver(s.Addr()), "turns.test.:1")
	if err != nil {
		t.Fatal(err)
	}
	turns := byTurns(all, "tcp")
	for i := range 3 {
		if turns[i].Addr().Is4() == turns[i+1].Addr().Is4() {
			t.Error(turns)
		}
	}
	if len(turns) != 5 || len(byTurns(all, "tcp6")) != 3 || len(byTurns(all, "tcp4")) != 2 {
		t.Error(fmt.Sprint(turns))
	}
}

// What a node tells of its members is looked up. A name that is not known is no node;
// a name service that fails leaves no member out. Configured nodes are known by the
// addresses of their names.
func TestMembersThatHaveNames(t *testing.T) {
	s := nameService(t)
	r := Resolver(s.Addr())
	s.Set("a.test.", "10.0.0.1")
	s.Set("all.test.", "10.0.0.1", "10.0.0.2")
	s.Fail("gone.test.", dnstest.NotFound)
	a := Told(t.Context(), r, []string{"a.test.:3306", "10.0.0.9:3306", "gone.test.:3306"}, Map{"10.0.0.9": "10.0.0.2"}, "t")
	if a.Err != nil || !slices.Equal(a.Found, []Found{{Addr: "10.0.0.1:3306", Template: "t", Weight: 1}, {Addr: "10.0.0.2:3306", Template: "t", Weight: 1}}) || len(a.Unused) != 1 || a.Unused[0].Addr != "gone.test.:3306" {
		t.Errorf("%+v", a)
	}
	configured := []members.Node{{Name: "n1", DSN: "tcp(a.test.:3306)/"}, {Name: "n2", DSN: "tcp(all.test.:3306)/"}, {Name: "n3", DSN: "tcp(10.0.0.3:3306)/"}, {Name: "n4", DSN: "unix(/s)/"}}
	if named := (Kinds{DNS, Members}).Named(t.Context(), r, mysql.Dialect{}, configured); len(named) > 0 {
		t.Errorf("what nodes are found for is no node: %v", named)
	}
	for _, want := range []string{"10.0.0.1:3306", noAnswer} {
		if named := (Kinds{Members}).Named(t.Context(), r, mysql.Dialect{}, configured); len(named) != 1 || named["n1"] != want {
			t.Errorf("%v, want %s", named, want)
		}
		s.Fail("a.test.", dnstest.Failed)
		configured = append(configured[:1], configured[2:]...)
	}
	if a := Told(t.Context(), r, []string{"10.0.0.9:3306", "a.test.:3306"}, nil, "t"); a.Err == nil || len(a.Found) > 0 {
		t.Errorf("half an answer counts: %+v", a)
	}
}

// A question that nobody waits for any more ends at once, and does not outlive its
// cluster until the resolver's own timeout. One whose deadline is over is a timeout.
func TestQuestionEndsWithItsCaller(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	r := Resolver(silent.LocalAddr().String())
	ctx, cancel := context.WithCancel(t.Context())
	conn, err := r.Dial(ctx, "udp", "")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil { // as the resolver does; ends the test, too
		t.Fatal(err)
	}
	cancel()
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("canceled: %v", err)
	}

	ctx, cancel = context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	var timeout *net.DNSError
	if _, err := AskSRV(ctx, r, "_mysql._tcp.db.test."); !errors.As(err, &timeout) || !timeout.IsTimeout {
		t.Errorf("over: %v", err)
	}
}
