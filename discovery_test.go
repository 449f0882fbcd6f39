package clustersql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql/internal/dnstest"
	"github.com/EnumApps/clustersql/internal/fakedb"
	"github.com/EnumApps/clustersql/internal/seedtest"
	"go.uber.org/goleak"
)

// A registryOfServices is a source of a program, that says what it is told to say.
type registryOfServices struct {
	mu    sync.Mutex
	nodes []Node
	err   error
	asked int
	hangs bool
}

func (r *registryOfServices) say(err error, hosts ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err, r.nodes = err, nil
	for _, h := range hosts {
		r.nodes = append(r.nodes, Node{Name: h, DSN: dsnTo(h, "pw")})
	}
}

func (r *registryOfServices) ask(ctx context.Context) ([]Node, error) {
	r.mu.Lock()
	r.asked++
	hangs := r.hangs
	r.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.nodes), r.err
}

// count returns how often it was asked.
func (r *registryOfServices) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked
}

// sourced is a cluster whose nodes a source finds.
func sourced(t *testing.T, b *fakedb.Backend, r *registryOfServices, opts ...Option) Driver {
	t.Helper()
	d := NewDriver(b.Driver(), t.Name(), append([]Option{quiet, seeded(t), WithDialect(DialectMySQL), WithSource(r.ask, 10*time.Second)}, opts...)...)
	t.Cleanup(func() { d.Close() })
	return d
}

// Pods come back under new addresses, one after the other, under load: no operation
// fails. What is wrong, empty or late changes nothing. The short run draws one strategy.
func TestNodesComeBackUnderNewAddresses(t *testing.T) {
	all := []Strategy{Race, Ordered, Balanced}
	if testing.Short() {
		one := seedtest.Rand(t).IntN(len(all))
		all = all[one : one+1]
	}
	for _, s := range all {
		t.Run(s.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				hosts := []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"}
				for i := range 9 {
					well(b, dsnTo(fmt.Sprintf("10.0.0.%d", i), "pw"))
				}
				r := new(registryOfServices)
				d := sourced(t, b, r, WithStrategy(s))
				db := openDB(t, d)
				began := time.Now()
				time.AfterFunc(3*time.Second, func() { r.say(nil, hosts...) })
				if err := db.Ping(); err != nil || time.Since(began) < 3*time.Second {
					t.Fatalf("%v after %s", err, time.Since(began)) // it has waited for the first answer
				}
				time.Sleep(5 * time.Second)
				fill(t, db, 12)
				work := newCrowd(t, db, 8, 25*time.Millisecond)
				time.Sleep(5 * time.Second)
				for i := range 3 {
					hosts[i] = fmt.Sprintf("10.0.0.%d", 4+i)
					r.say(nil, hosts...)
					time.Sleep(90 * time.Second)
					if got := d.Nodes(); len(got) != 3 || !slices.Contains(got, hosts[i]) {
						t.Errorf("%q", got)
					}
				}
				for _, h := range []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"} {
					if n := b.Node(dsnTo(h, "pw")).Stats().Live; n != 0 {
						t.Errorf("%d connections to %s", n, h)
					}
				}
				closes := b.Stats().Closes
				for _, err := range []error{errBoom, nil} {
					r.say(err)
					time.Sleep(5 * time.Minute)
				}
				st := d.Status()
				if len(st.Nodes) != 3 || b.Stats().Closes != closes && s.String() == "ordered" || st.Sources[0].Err != "the answer is empty" || st.Nodes[0].Origin != "source" || len(st.Sources[0].Addresses) != 3 {
					t.Errorf("%d nodes, %d closed, %+v", len(st.Nodes), b.Stats().Closes-closes, st.Sources)
				}
				work.wantServed(t, 1)
				db.Close()
				d.Close()
				time.Sleep(time.Minute)
				wantNothingLeft(t, b)
			})
		})
	}
}

// Sources hang, panic and give nodes that cannot be: the others work on, and it is
// said.
func TestASourceIsNotTrusted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		b.RefuseDSN(dsnTo("bad", "pw"), errBoom)
		r := new(registryOfServices)
		r.say(nil, "h1", "bad", "h1", "h2")
		var seen diary
		d := sourced(t, b, r, WithOnEvent(seen.write), WithStrategy(Ordered))
		db := openDB(t, d)
		time.Sleep(time.Second)
		if got := d.Nodes(); !slices.Equal(got, []string{"h1", "h2"}) {
			t.Errorf("%q", got)
		}
		if u := d.Status().Unused; len(u) != 1 || u[0].Address != "bad" || !strings.Contains(u[0].Why, "boom") {
			t.Errorf("%+v", u)
		}
		if s := d.Status(); s.DiscoveryChanges != 2 || s.DiscoveryErrors != 0 {
			t.Errorf("%d changes, %d errors", s.DiscoveryChanges, s.DiscoveryErrors)
		}
		r.mu.Lock()
		r.hangs = true
		r.mu.Unlock()
		time.Sleep(time.Minute)
		if s := d.Status(); s.DiscoveryChanges != 2 || s.DiscoveryErrors < 2 { // asked every 15 s or so, with the wait for the answer
			t.Errorf("%d changes, %d errors", s.DiscoveryChanges, s.DiscoveryErrors)
		}
		if err := db.Ping(); err != nil || d.Status().Sources[0].Err == "" || len(seen.of("", EventDiscovery)) != 2 {
			t.Errorf("%v, %+v, %v", err, d.Status().Sources, seen.of("", EventDiscovery))
		}
		r.mu.Lock()
		r.hangs, r.nodes = false, nil
		r.nodes = []Node{{Name: ""}}
		r.mu.Unlock()
		time.Sleep(time.Minute)
		if got := d.Nodes(); !slices.Equal(got, []string{"h1", "h2"}) {
			t.Errorf("%q", got) // an answer of which nothing can be used is an empty one
		}
		if diff, err := d.Apply(nil, WithRiseFall(3, 3)); err != nil || len(diff.Changes) != 2 || d.Config().Rise != 3 || len(d.Nodes()) != 2 {
			t.Errorf("settings alone: %v, %s", err, diff)
		}
		time.Sleep(2 * time.Second) // Apply has the source asked soon
		asked := r.count()
		db.Close()
		time.Sleep(time.Hour)
		if r.count() != asked {
			t.Error("it is asked although no connector is open")
		}
		db = openDB(t, d)
		synctest.Wait()
		if err := db.Ping(); err != nil || r.count() == asked {
			t.Errorf("%v, asked %d times", err, r.count()-asked)
		}
	})
	for want, source := range map[string]Source{
		"the source panicked: oh": func(context.Context) ([]Node, error) { panic("oh") },
		"the source panicked: ":   func(context.Context) ([]Node, error) { return nil, (*net.OpError)(nil) }, // a typed nil
		"no answer within 5s":     func(context.Context) ([]Node, error) { return nil, context.DeadlineExceeded },
		"ended its goroutine":     func(context.Context) ([]Node, error) { runtime.Goexit(); return nil, nil },
		"discovery: source: boom": func(context.Context) ([]Node, error) { return nil, errBoom },
	} {
		synctest.Test(t, func(t *testing.T) {
			b := fakedb.New()
			d := NewDriver(b.Driver(), t.Name(), quiet, WithSource(source, time.Second), WithOpenTimeout(4*time.Second))
			defer d.Close()
			db := openDB(t, d)
			if err := db.Ping(); !errors.Is(err, ErrNoNodes) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
		})
	}
}

// discovered opens a cluster by one DSN, with a name service of the test's own.
func discovered(t *testing.T, s *dnstest.Server, host, parameters string) (*sql.DB, Driver) {
	t.Helper()
	db, err := sql.Open("clustersql", "app:hunter22@tcp("+host+")/db?clustersql.name_server="+s.Addr()+"&clustersql.discover_every=100ms"+parameters)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db, db.Driver().(Driver)
}

// waitFor waits until a cluster is as it is to be.
func waitFor(t *testing.T, d Driver, ok func(s ClusterStatus) bool) {
	t.Helper()
	for range 600 {
		if ok(d.Status()) {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("never: %+v", d.Status())
}

func namesAre(want ...string) func(s ClusterStatus) bool {
	return func(s ClusterStatus) bool {
		var got []string
		for _, n := range s.Nodes {
			got = append(got, n.Name)
		}
		return slices.Equal(got, want)
	}
}

// A DSN with a name is all that it takes. The nodes are what a real name service says,
// each with its origin, and the errors of that service are its own.
func TestDiscoveryByDNS(t *testing.T) {
	s, err := dnstest.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, port, _ := net.SplitHostPort(s.Addr()) // nobody listens there with TCP
	s.Set("galera.db.test.", "127.0.0.1", "127.0.0.2")
	db, d := discovered(t, s, "galera.db.test.:"+port, "&clustersql.discover=dns&clustersql.discover_networks=127.0.0.0%2F29&clustersql.discover_missing=2&clustersql.open_timeout=300ms")
	waitFor(t, d, namesAre("127.0.0.1:"+port, "127.0.0.2:"+port))
	if n := d.Status().Nodes[0]; n.Origin != "dns galera.db.test.:"+port || n.Address != "127.0.0.1:"+port {
		t.Errorf("%s at %s", n.Origin, n.Address)
	}
	s.Set("galera.db.test.", "127.0.0.2", "127.0.0.3", "127.0.0.9")
	waitFor(t, d, namesAre("127.0.0.2:"+port, "127.0.0.3:"+port))
	waitFor(t, d, func(c ClusterStatus) bool {
		return len(c.Unused) == 1 && c.Unused[0] == UnusedNode{"127.0.0.9:" + port, "dns galera.db.test.:" + port, "it is not in discover_networks"}
	})
	for _, code := range []uint16{dnstest.NotFound, dnstest.Failed} {
		s.Fail("galera.db.test.", code)
		waitFor(t, d, func(c ClusterStatus) bool { return c.Sources[0].Err != "" })
		asked := s.Asked("galera.db.test.")
		waitFor(t, d, func(ClusterStatus) bool { return s.Asked("galera.db.test.") > asked+8 })
		if !namesAre("127.0.0.2:"+port, "127.0.0.3:"+port)(d.Status()) {
			t.Errorf("code %d: %q", code, d.Nodes())
		}
	}
	if err := db.Ping(); err == nil || strings.Contains(fmt.Sprintf("%v %+v", err, d.Status()), "hunter22") {
		t.Error(err)
	}
}

// A question that is under way when the cluster is closed does not outlive it.
func TestQuestionOfAClosedCluster(t *testing.T) {
	s, err := dnstest.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	before := goleak.IgnoreCurrent()
	_, port, _ := net.SplitHostPort(s.Addr()) // nobody listens there with TCP
	s.Set("galera.db.test.", "127.0.0.1")
	db, d := discovered(t, s, "galera.db.test.:"+port, "&clustersql.discover=dns")
	waitFor(t, d, namesAre("127.0.0.1:"+port))
	s.SetSilent(true)
	asked := s.Asked("galera.db.test.")
	waitFor(t, d, func(ClusterStatus) bool { return s.Asked("galera.db.test.") > asked })
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	for range 7 { // 3 s: Find looks for 0.4 s, and the resolver's own timeout is 5 s
		if err = goleak.Find(before); err == nil {
			return
		}
	}
	t.Error(err)
}

// SRV records bring ports, priorities and weights, and the certificate's name is the
// domain that was configured.
func TestDiscoveryBySRV(t *testing.T) {
	s, err := dnstest.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, port, _ := net.SplitHostPort(s.Addr())
	var number uint16
	fmt.Sscan(port, &number)
	s.SetSRV("_mysql._tcp.galera.test.", dnstest.SRV{Target: "a.test.", Port: number, Priority: 3, Weight: 9})
	s.Set("a.test.", "127.0.0.1")
	_, d := discovered(t, s, "_mysql._tcp.galera.test.", "&clustersql.discover=srv")
	waitFor(t, d, namesAre("127.0.0.1:"+port))
	n := d.Status().Nodes[0]
	if n.Priority != 3 || n.Weight != 9 || n.Origin != "srv _mysql._tcp.galera.test." {
		t.Errorf("%+v", n)
	}
	if host, _ := backendDialect.Host((*d.m.nodes.Load())[0].dial.recipe().dsn); host != "galera.test.:"+port {
		t.Errorf("TLS would verify %s", host)
	}
}

// A reload switches discovery on and off, and a new password reaches what was found.
func TestReloadOfDiscovery(t *testing.T) {
	s, err := dnstest.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.Set("galera.test.", "127.0.0.1", "127.0.0.2")
	const file = "name_server = \"%s\"\ndiscover_every = \"100ms\"\n%s[[cluster]]\nname = \"found_conn\"\n[[cluster.node]]\nname = \"galera\"\ndsn = \"app:%s@tcp(galera.test.:1)/db\"\n"
	inFile(t, fmt.Sprintf(file, s.Addr(), "discover = \"dns\"\n", "one"))
	r := load(t, "")
	d, _ := r.Driver("found_conn")
	db := sql.OpenDB(d.Connector())
	defer db.Close()
	waitFor(t, d, namesAre("127.0.0.1:1", "127.0.0.2:1"))
	plan := func(want ...ChangeKind) {
		t.Helper()
		next := load(t, "")
		var got []ChangeKind
		for _, c := range Plan(r.Describe(), next.Describe()).Changes {
			got = append(got, c.Kind)
		}
		if !slices.Equal(got, want) {
			t.Errorf("the plan is %q, want %q", got, want)
		}
	}
	plan()
	for what, dsn := range map[ChangeKind]string{ChangePassword: "app:two@tcp(galera.test.:1)/db", ChangeReplace: "app:one@tcp(other.test.:1)/db"} {
		inFile(t, strings.Replace(fmt.Sprintf(file, s.Addr(), "discover = \"dns\"\n", "one"), "app:one@tcp(galera.test.:1)/db", dsn, 1))
		plan(what)
	}
	if diff, err := d.Apply(d.Describe().Nodes); err != nil || !diff.Empty() || !namesAre("127.0.0.1:1", "127.0.0.2:1")(d.Status()) || len(d.Describe().Nodes) != 3 {
		t.Errorf("%v, %s", err, diff)
	}
	diff, err := reloadFile(t, r, fmt.Sprintf(file, s.Addr(), "discover = \"dns\"\n", "two"))
	if err != nil || len(diff.Changes) != 2 || diff.Changes[0].Kind != ChangePassword {
		t.Errorf("%v, %s", err, diff)
	}
	diff, err = reloadFile(t, r, fmt.Sprintf(file, s.Addr(), "", "two"))
	if err != nil || len(diff.Changes) != 4 {
		t.Errorf("%v, %s", err, diff)
	}
	waitFor(t, d, namesAre("galera"))
	if _, err = reloadFile(t, r, fmt.Sprintf(file, s.Addr(), "discover = \"dns\"\n", "two")); err != nil {
		t.Error(err)
	}
	waitFor(t, d, namesAre("127.0.0.1:1", "127.0.0.2:1"))
}

// What cannot work says what to do.
func TestDiscoverySettings(t *testing.T) {
	for key, tc := range map[string]struct{ value, want string }{
		"discover":           {"consul", "use \"dns\""},
		"discover_networks":  {"ten", "10.0.0.0/8"},
		"discover_addresses": {"a", "no pair"},
		"name_server":        {"dns.svc", "write it as in"},
		"discover_floor":     {"0", "at least 1"},
	} {
		cfg := DefaultConfig()
		err := cfg.setText(key, tc.value)
		if err == nil {
			err = cfg.settle()
		}
		var e *SettingError
		if !errors.As(err, &e) || e.Key != key || !strings.Contains(e.Problem, tc.want) {
			t.Errorf("%s: %v", key, err)
		}
	}
	cfg := DefaultConfig()
	cfg.Discover = "dns, members"
	if err := cfg.settle(); err == nil || !strings.Contains(err.Error(), "discover_networks") {
		t.Error(err)
	}
	cfg.DiscoverNetworks = "10.0.0.0/8"
	if err := cfg.settle(); err != nil {
		t.Error(err)
	}
	cfg.Discover = "dns,dns"
	if err := cfg.settle(); err == nil {
		t.Error("dns twice")
	}
}
