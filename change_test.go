package clustersql

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql/internal/fakedb"
	"github.com/EnumApps/clustersql/internal/race"
)

// dsnTo is a DSN of the mysql dialect. A fakedb node has the whole of it as its
// name, so that connections can be counted by host and by password.
func dsnTo(host, password string) string { return "app:" + password + "@tcp(" + host + ":3306)/db" }

// hosted returns the nodes n1, n2, … at the hosts.
func hosted(password string, hosts ...string) []Node {
	all := make([]Node, len(hosts))
	for i, h := range hosts {
		all[i] = Node{Name: nodeName(i), DSN: dsnTo(h, password)}
	}
	return all
}

// appliedCluster is a cluster with nodes, all of which are well.
func appliedCluster(t testing.TB, b *fakedb.Backend, nodes []Node, opts ...Option) Driver {
	t.Helper()
	d := NewDriver(b.Driver(), t.Name(), append([]Option{quiet, seeded(t), WithDialect(DialectMySQL)}, opts...)...)
	t.Cleanup(func() { d.Close() })
	for _, n := range nodes {
		well(b, n.DSN)
	}
	if _, err := d.Apply(nodes); err != nil {
		t.Fatal(err)
	}
	return d
}

func mustApply(t testing.TB, d Driver, nodes []Node, opts ...Option) Diff {
	t.Helper()
	diff, err := d.Apply(nodes, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return diff
}

// wantLines compares a diff with its lines, without what stands in brackets at
// their ends.
func wantLines(t testing.TB, d Diff, want ...string) {
	t.Helper()
	var got []string
	for line := range strings.Lines(d.String()) {
		at := strings.LastIndex(line, " (")
		got = append(got, strings.TrimPrefix(line[:max(0, at)], t.Name()+": "))
	}
	if !slices.Equal(got, want) {
		t.Errorf("the diff is\n%swant\n%s", d, strings.Join(want, "\n"))
	}
}

// A node gets another address under load, in clusters of one node and of several.
// No operation fails. The old node works until the new one is up, and nothing of it
// is left after that. The short run has a fifth of the load.
func TestANewDSNIsUpBeforeTheOldOneDrains(t *testing.T) {
	for _, count := range []int{1, 3} {
		for _, s := range []Strategy{Race, Ordered, Balanced} {
			t.Run(fmt.Sprintf("%d %s", count, s), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { changeAddress(t, count, s) })
			})
		}
	}
}

func changeAddress(t *testing.T, count int, s Strategy) {
	b := fakedb.New()
	hosts := []string{"h1", "h2", "h3"}[:count]
	d := appliedCluster(t, b, hosted("pw", hosts...), WithStrategy(s))
	db := openDB(t, d)
	time.Sleep(time.Second)
	fill(t, db, 12)
	pause := 5 * time.Millisecond
	if testing.Short() {
		pause = 25 * time.Millisecond
	}
	work := newCrowd(t, db, 8, pause)
	time.Sleep(2 * time.Second)
	before := b.Node(dsnTo("h2", "pw")).Stats()
	fresh := dsnTo("h9", "pw")
	b.Node(fresh).SetMood(fakedb.Mood{Silent: true}) // it starts for a while
	hosts[0] = "h9"
	diff := mustApply(t, d, hosted("pw", hosts...))
	wantLines(t, diff, `node n1: replace "h1:3306" by "h9:3306"`)
	time.Sleep(20 * time.Second)
	st := d.Status()
	if n := st.Nodes[0]; len(st.Nodes) != count || n.State != StateUp || !strings.HasPrefix(n.Pending, "the new DSN is used once its node is up; it is ") {
		t.Errorf("%d nodes, the first is %s, pending %q", len(st.Nodes), n.State, n.Pending)
	}
	if again := mustApply(t, d, hosted("pw", hosts...)); !again.Empty() {
		t.Errorf("again: %s", again)
	}
	b.Node(fresh).SetMood(fakedb.Mood{Delay: 10 * time.Millisecond})
	time.Sleep(20 * time.Second)
	if n := d.Status().Nodes[0]; n.State != StateUp || n.Pending != "" {
		t.Errorf("%s, pending %q", n.State, n.Pending)
	}
	if old := b.Node(dsnTo("h1", "pw")).Stats(); old.Live != 0 {
		t.Errorf("%d connections to the old address are left", old.Live)
	}
	if s.String() != "ordered" || count > 1 {
		if after := b.Node(dsnTo("h2", "pw")).Stats(); after.Closes != before.Closes && s.String() == "ordered" {
			t.Errorf("%d connections of another node were closed", after.Closes-before.Closes)
		}
	}
	time.Sleep(time.Minute)
	work.wantServed(t, 1000)
	if n := b.Node(fresh).Stats(); n.Opens == 0 {
		t.Error("the new address has no connection")
	}
	db.Close()
	d.Close()
	time.Sleep(time.Minute)
	wantNothingLeft(t, b)
}

// Every node gets another name at once, so that none stays. The old ones leave when
// a new one is up.
func TestEveryNodeIsAnotherOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d := appliedCluster(t, b, hosted("pw", "h1", "h2"))
		db := openDB(t, d)
		time.Sleep(time.Second)
		work := newCrowd(t, db, 8, 5*time.Millisecond)
		time.Sleep(time.Second)
		next := []Node{{Name: "m1", DSN: dsnTo("h8", "pw")}, {Name: "m2", DSN: dsnTo("h9", "pw")}}
		for _, n := range next {
			b.Node(n.DSN).SetMood(fakedb.Mood{Silent: true})
		}
		diff := mustApply(t, d, next)
		wantLines(t, diff, "node m1: add", "node m2: add", "node n1: remove", "node n2: remove")
		time.Sleep(time.Second)
		if s := d.Status(); len(s.Nodes) != 4 || s.Nodes[2].Pending != "the node leaves once another one is up" {
			t.Errorf("%+v", s.Nodes)
		}
		b.Node(next[1].DSN).SetMood(fakedb.Mood{Delay: 10 * time.Millisecond})
		time.Sleep(10 * time.Second)
		if got := d.Nodes(); !slices.Equal(got, []string{"m1", "m2"}) {
			t.Errorf("%q", got)
		}
		work.wantServed(t, 1)
	})
}

// Another password is for new connections. Those that there are stay, and so do the
// counters and the state of the node. A node that refused logins is asked again at
// once.
func TestANewPasswordLeavesConnectionsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d := appliedCluster(t, b, hosted("old", "h1", "h2"), WithStrategy(Ordered))
		db := openDB(t, d)
		db.SetMaxIdleConns(100)
		time.Sleep(time.Second)
		fill(t, db, 10)
		was := d.Status().Nodes[0]
		if was.OpenConns < 8 {
			t.Fatalf("%d connections", was.OpenConns)
		}
		for _, n := range hosted("old", "h1", "h2") { // the servers have the new one already
			b.Node(n.DSN).SetMood(fakedb.Mood{Dial: errDenied})
		}
		for _, n := range hosted("new", "h1", "h2") {
			well(b, n.DSN)
		}
		hold := connOn(t, db, dsnTo("h1", "old"))
		closes := b.Stats().Closes
		diff := mustApply(t, d, hosted("new", "h1", "h2"))
		wantLines(t, diff, "node n1: password", "node n2: password")
		if diff.Moves() != 0 || diff.Changes[0].When != TakesConnections {
			t.Error(diff)
		}
		time.Sleep(time.Minute)
		if n := b.Stats().Closes - closes; n != 0 {
			t.Errorf("%d connections were closed", n)
		}
		if err := hold.PingContext(t.Context()); err != nil {
			t.Error(err)
		}
		hold.Close()
		fill(t, db, 20)
		if n := b.Node(dsnTo("h1", "new")).Stats().Live; n < 8 {
			t.Errorf("%d connections with the new password", n)
		}
		if now := d.Status().Nodes[0]; now.Added != was.Added || now.State != StateUp || now.Generation != was.Generation || now.Opens < was.Opens+8 {
			t.Errorf("%+v", now)
		}
		// One whose password is wrong takes no opens, and then the right one comes.
		b.Node(dsnTo("h1", "wrong")).SetMood(fakedb.Mood{Dial: errDenied})
		b.Node(dsnTo("h2", "wrong")).SetMood(fakedb.Mood{Dial: errDenied})
		mustApply(t, d, hosted("wrong", "h1", "h2"))
		if _, err := d.Open(""); !errors.Is(err, errDenied) {
			t.Error(err)
		}
		if err := db.PingContext(t.Context()); err != nil {
			t.Error(err) // on a connection that is there
		}
		mustApply(t, d, hosted("new", "h1", "h2"))
		synctest.Wait()
		if conn, err := d.Open(""); err != nil {
			t.Error(err)
		} else {
			conn.Close()
		}
	})
}

// What cannot be applied changes nothing, and leaves nothing open: not of the nodes
// before the one that is wrong either.
func TestApplyIsAllOrNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		closer := &closingDriver{Driver: b.Driver()}
		d := NewDriver(closer, t.Name(), quiet, WithDialect(DialectMySQL))
		defer d.Close()
		mustApply(t, d, hosted("secret77", "h1", "h2"))
		db := openDB(t, d)
		time.Sleep(time.Second)
		fill(t, db, 6)
		time.Sleep(5 * time.Second)
		before, plan, closes := d.Describe(), d.Status(), b.Stats().Closes
		b.RefuseDSN(dsnTo("bad", "secret77"), errBoom)
		for name, tc := range map[string]struct {
			nodes []Node
			opts  []Option
			want  string
		}{
			"none":           {nil, nil, "no node to apply"},
			"a refused DSN":  {append(hosted("secret77", "h7", "h8"), Node{Name: "n9", DSN: dsnTo("bad", "secret77")}), nil, `node "n9": boom`},
			"an empty DSN":   {[]Node{{Name: "n1"}}, nil, "the DSN is empty"},
			"no name":        {[]Node{{DSN: dsnTo("h1", "secret77")}}, nil, "a node needs a name"},
			"a name twice":   {append(hosted("secret77", "h1"), hosted("secret77", "h2")...), nil, "two nodes of this name"},
			"a weight":       {[]Node{{Name: "n1", DSN: dsnTo("h1", "secret77"), Weight: -1}}, nil, "weight"},
			"a setting":      {hosted("secret77", "h9"), []Option{WithRiseFall(0, 1)}, "rise: 0 is too small"},
			"a DSN for name": {[]Node{{Name: dsnTo("h1", "secret77"), DSN: dsnTo("h1", "secret77")}}, nil, "the name is a DSN"},
		} {
			_, err := d.Apply(tc.nodes, tc.opts...)
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "secret77") {
				t.Errorf("%s: %v", name, err)
			}
			if diff := Plan([]Description{before}, []Description{d.Describe()}); !diff.Empty() {
				t.Errorf("%s: %s", name, diff)
			}
			if s := d.Status(); s.Reload.Err == "" || s.Reload.Changes != 2 {
				t.Errorf("%s: %+v", name, s.Reload)
			}
		}
		synctest.Wait()
		if open := closer.made.Load() - closer.closed.Load() - 1; open != 2 { // one was refused
			t.Errorf("%d connectors are open", open)
		}
		if n := b.Stats().Closes; n != closes || d.Status().Nodes[0].Added != plan.Nodes[0].Added {
			t.Errorf("%d connections closed", n-closes)
		}
		if s := d.Status().Reload; s.Count != 9 || s.Failed != 8 || s.Applied.IsZero() {
			t.Errorf("%+v", s)
		}
	})
}

// Of a thousand nodes one changes. No connection is closed but its own.
func TestAThousandNodesOfWhichOneChanges(t *testing.T) {
	many := 1000
	if testing.Short() || race.Enabled { // without it the thousand have a run of their own
		many = 150
	}
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		b.Quiet()
		var nodes []Node
		for i := range many {
			nodes = append(nodes, Node{Name: fmt.Sprintf("n%03d", i), DSN: dsnTo(fmt.Sprintf("h%03d", i), "pw")})
		}
		d := NewDriver(b.Driver(), t.Name(), quiet, seeded(t), WithDialect(DialectMySQL), WithStrategy(Balanced), WithProbe(time.Minute, time.Second), WithRebalance(RebalanceOff, time.Second))
		defer d.Close()
		mustApply(t, d, nodes)
		db := openDB(t, d)
		db.SetMaxIdleConns(1000)
		time.Sleep(2 * time.Second)
		fill(t, db, 200)
		closes := b.Stats().Closes
		nodes = slices.Clone(nodes)
		own := b.Node(nodes[100].DSN)
		nodes[100].DSN = dsnTo("h2000", "pw")
		diff := mustApply(t, d, nodes)
		wantLines(t, diff, `node n100: replace "h100:3306" by "h2000:3306"`)
		time.Sleep(10 * time.Second)
		if others := b.Stats().Closes - closes - own.Stats().Closes; others != 0 {
			t.Errorf("%d connections of other nodes were closed", others)
		}
		if n := d.Status().Nodes[100]; n.State != StateUp || own.Stats().Live != 0 {
			t.Errorf("%s, %d connections to the old address", n.State, own.Stats().Live)
		}
	})
}

// A thousand nodes of which one changes.
func BenchmarkApplyOfAThousandNodes(b *testing.B) {
	backend := fakedb.New()
	backend.Quiet()
	var nodes []Node
	for i := range 1000 {
		nodes = append(nodes, Node{Name: fmt.Sprintf("n%03d", i), DSN: dsnTo(fmt.Sprintf("h%03d", i), "pw")})
	}
	d := NewDriver(backend.Driver(), b.Name(), quiet, WithDialect(DialectMySQL))
	defer d.Close()
	mustApply(b, d, nodes)
	b.ReportAllocs()
	for i := range b.N {
		nodes[500].DSN = dsnTo(fmt.Sprintf("g%03d", i), "pw")
		mustApply(b, d, nodes)
	}
}

// Changes of mind: a node that is about to be replaced or to leave stays after all,
// or is replaced by yet another one, or is removed by the program meanwhile.
func TestChangesOfMind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d := appliedCluster(t, b, hosted("pw", "h1"))
		db := openDB(t, d)
		time.Sleep(time.Second)
		fill(t, db, 2)
		silent := fakedb.Mood{Silent: true}
		for _, h := range []string{"h7", "h8", "h9"} {
			b.Node(dsnTo(h, "pw")).SetMood(silent)
		}
		closes := b.Node(dsnTo("h1", "pw")).Stats().Closes
		mustApply(t, d, hosted("pw", "h7"))
		mustApply(t, d, hosted("pw", "h8"))
		time.Sleep(time.Second)
		if diff := mustApply(t, d, hosted("pw", "h1")); len(diff.Changes) != 1 || diff.Changes[0].Kind != ChangeKeep {
			t.Error(diff)
		}
		other := []Node{{Name: "other", DSN: dsnTo("h9", "pw")}}
		mustApply(t, d, other)
		time.Sleep(time.Second)
		mustApply(t, d, append(other, hosted("pw", "h1")...))
		if n := d.Status().Nodes[0]; n.Name != "n1" || n.Pending != "" || b.Node(dsnTo("h1", "pw")).Stats().Closes != closes {
			t.Errorf("%s, pending %q, %d connections closed", n.Name, n.Pending, b.Node(dsnTo("h1", "pw")).Stats().Closes-closes)
		}
		mustApply(t, d, append(other, hosted("pw", "h7")...))
		if err := d.DelNode("n1"); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		if live := b.Node(dsnTo("h1", "pw")).Stats().Live; live != 0 || !slices.Equal(d.Nodes(), []string{"other"}) {
			t.Errorf("%d connections, nodes %q", live, d.Nodes())
		}
		b.Node(dsnTo("h9", "pw")).SetMood(fakedb.Mood{})
		time.Sleep(20 * time.Second)
		if err := db.Ping(); err != nil {
			t.Error(err)
		}
		// The drain of a node is the drain of the one that comes.
		mustApply(t, d, append(other, hosted("pw", "h1")...))
		time.Sleep(time.Second)
		if err := d.Drain("n1"); err != nil {
			t.Error(err)
		}
		mustApply(t, d, append(other, hosted("pw", "h8")...))
		if n := d.Status().Nodes[0]; n.State != StateDraining || n.Pending != "" {
			t.Errorf("%s, pending %q", n.State, n.Pending)
		}
		db.Close()
		d.Close()
		for _, h := range []string{"h7", "h8"} {
			b.Node(dsnTo(h, "pw")).SetMood(fakedb.Mood{})
		}
		time.Sleep(time.Minute)
		wantNothingLeft(t, b)
		if _, err := d.Apply(other); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
}

// Nothing waits in a cluster that is not in use, nor in one that is opened again.
func TestApplyWithoutAConnector(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d := appliedCluster(t, b, hosted("pw", "h1", "h2"))
		mustApply(t, d, hosted("pw", "h3"))
		if s := d.Status(); len(s.Nodes) != 1 || s.Nodes[0].Pending != "" || b.Stats().Connects != 0 {
			t.Errorf("%+v", s)
		}
		db := openDB(t, d)
		time.Sleep(time.Second)
		b.Node(dsnTo("h4", "pw")).SetMood(fakedb.Mood{Silent: true})
		mustApply(t, d, hosted("pw", "h4"))
		time.Sleep(time.Second)
		db.Close()
		b.Node(dsnTo("h4", "pw")).SetMood(fakedb.Mood{})
		db = openDB(t, d)
		if err := db.Ping(); err != nil || b.Node(dsnTo("h3", "pw")).Stats().Live != 0 || d.Status().Nodes[0].Pending != "" {
			t.Errorf("%v, %+v", err, d.Status())
		}
	})
}

// Many change the members at once, beside callers. At the end all is as the last one
// has said, and nothing is left.
func TestRivalsOfApply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d := appliedCluster(t, b, hosted("pw", "h1", "h2", "h3"), WithStrategy(Balanced))
		db := openDB(t, d)
		time.Sleep(time.Second)
		work := newCrowd(t, db, 8, 5*time.Millisecond)
		var turn atomic.Int64
		done := make(chan struct{})
		for i := range 4 {
			go func() {
				defer func() { done <- struct{}{} }()
				for range 50 {
					n := int(turn.Add(1))
					hosts := []string{"h1", fmt.Sprintf("g%d", n%7), fmt.Sprintf("k%d", n%5)}
					if _, err := d.Apply(hosted([]string{"pw", "pw2"}[n%2], hosts[:2+n%2]...)); err != nil {
						t.Error(err)
					}
					if i == 0 && n%5 == 0 {
						_ = d.DelNode("n3")
						_ = d.Drain("n2")
						_ = d.Undrain("n2")
					}
					time.Sleep(time.Duration(n%40) * time.Millisecond)
				}
			}()
		}
		for range 4 {
			<-done
		}
		mustApply(t, d, hosted("pw", "h1", "h2"))
		time.Sleep(10 * time.Second)
		work.end()
		time.Sleep(2 * time.Minute)
		if s := d.Status(); len(s.Nodes) != 2 || s.Nodes[0].Pending+s.Nodes[1].Pending != "" {
			t.Errorf("%+v", s.Nodes)
		}
		work.wantServed(t, 1)
		db.Close()
		d.Close()
		time.Sleep(time.Minute)
		wantNothingLeft(t, b)
	})
}

// A plan is pure, says the same as what is done, and is text and JSON without
// secrets.
func TestPlan(t *testing.T) {
	cfg := DefaultConfig()
	old := []Description{
		{Name: "a", Driver: "mysql", Config: cfg, Nodes: []Node{
			{Name: "n1", DSN: dsnTo("h1", "hunter22"), Conns: 4}, {Name: "n2", DSN: dsnTo("h2", "hunter22"), Conns: 1},
			{Name: "n3", DSN: dsnTo("h3", "hunter22"), Conns: 7}, {Name: "n4", DSN: dsnTo("h4", "hunter22"), Conns: 2},
		}},
		{Name: "gone", Driver: "mysql", Config: cfg}, {Name: "other", Driver: "mysql", Config: cfg},
	}
	cfg.Strategy, cfg.ProbeInterval, cfg.Check, cfg.Dialect, cfg.TCPUserTimeout = Balanced, 2*time.Second, CheckGalera, DialectMySQL, time.Minute
	fresh := []Description{
		{Name: "a", Driver: "mysql", Config: cfg, Nodes: []Node{
			{Name: "n1", DSN: dsnTo("h1", "hunter33")}, {Name: "n2", DSN: dsnTo("h9", "hunter22"), Priority: 2},
			{Name: "n4", DSN: strings.Replace(dsnTo("h4", "hunter22"), "app", "root", 1)}, {Name: "n5", DSN: dsnTo("h5", "hunter22")},
		}},
		{Name: "new", Driver: "mysql", Config: cfg, Nodes: []Node{{Name: "n1", DSN: dsnTo("h1", "hunter33")}}}, {Name: "other", Driver: "pgx"},
	}
	d := Plan(old, fresh)
	want := `a: strategy "race" -> "balanced" (live; moves no connection)
a: dialect "" -> "mysql" (at restart; moves no connection)
a: check the dialect's -> "galera" (live; moves no connection)
a: tcp_user_timeout "30s" -> "1m0s" (for new connections; moves no connection)
a: probe_interval "1s" -> "2s" (live; moves no connection)
a: node n1: password (for new connections; moves no connection)
a: node n2: replace "h2:3306" by "h9:3306" (live; moves 1 connection)
a: node n2: tune priority 0, weight 1 -> priority 2, weight 1 (live; moves no connection)
a: node n3: remove (live; moves 7 connections)
a: node n4: replace the DSN by one with another user, database or parameter (live; moves 2 connections)
a: node n5: add (live; moves no connection)
new: add with 1 nodes (live; moves no connection)
other: driver "mysql" -> "pgx" (at restart; moves no connection)
gone: remove (at restart; moves no connection)
`
	if d.String() != want || d.Moves() != 10 {
		t.Errorf("%d connections\n%s", d.Moves(), d)
	}
	text, err := json.Marshal(d)
	var back Diff
	if err != nil || json.Unmarshal(text, &back) != nil || !slices.Equal(back.Changes, d.Changes) {
		t.Errorf("%v: %s", err, text)
	}
	if Plan(old, old).String() != "nothing changes\n" {
		t.Error(Plan(old, old))
	}
	everything := fmt.Sprintf("%s %s %v %+v %#v %+v %#v %s", d, text, old, old, old, old[0].Nodes, old[0].Nodes[0], must(json.Marshal(old[0].Nodes)))
	if strings.Contains(everything, "hunter") {
		t.Error(everything)
	}
}

func must[T any](v T, _ error) T { return v }

// A plan takes whatever it is given.
func FuzzPlan(f *testing.F) {
	f.Add("n1", dsnTo("h", "pw"), "n1", dsnTo("h", "pw2"), uint8(1))
	f.Add("n1", "postgres://u:p@h/db", "n2", "host=h password=x", uint8(0))
	f.Fuzz(func(t *testing.T, name, dsn, other, otherDSN string, driver uint8) {
		backend := []string{"mysql", "clustersql-pgx", ""}[driver%3]
		was := Description{Name: "a", Driver: backend, Config: DefaultConfig(), Nodes: []Node{{Name: name, DSN: dsn}}}
		now := Description{Name: "a", Driver: backend, Config: DefaultConfig(), Nodes: []Node{{Name: other, DSN: otherDSN}}}
		d := Plan([]Description{was}, []Description{now})
		if d.Empty() != (name == other && dsn == otherDSN) {
			t.Error(d)
		}
		if !Plan([]Description{was}, []Description{was}).Empty() {
			t.Error("a configuration differs from itself")
		}
	})
}

// A reload and an Apply are events: what they have changed, or why they were refused.
func TestReloadsAreEvents(t *testing.T) {
	b := fakedb.New()
	d := fakeCluster(t, b, 1)
	if _, err := d.Apply([]Node{{Name: "n1", DSN: "n1"}, {Name: "n2", DSN: "n2"}}, WithRiseFall(2, 7)); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Apply([]Node{{Name: "n1", DSN: "n1"}, {Name: "n2", DSN: "n2"}}); err != nil {
		t.Fatal(err) // it changes nothing, and is no event
	}
	if _, err := d.Apply(nil); err == nil {
		t.Fatal("no mistake")
	}
	var got []string
	for _, e := range d.Events() {
		if e.Kind == EventReload {
			got = append(got, e.Cause+": "+e.Reason)
		}
	}
	want := []string{
		"changed: fall, add n2",
		fmt.Sprintf("mistake: clustersql: cluster %q: there is no node to apply: name at least one, or close the cluster", t.Name()),
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
