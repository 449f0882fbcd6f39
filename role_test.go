package clustersql

import (
	"bytes"
	"context"
	"database/sql/driver"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql/internal/fakedb"
	"github.com/EnumApps/clustersql/internal/health"
)

// A pgScript is a fake node of PostgreSQL. A test changes it at any time.
type pgScript struct {
	mu       sync.Mutex
	standby  bool
	system   string
	timeline int
	place    int // written, or replayed
	received int // of a standby
	streams  bool
	paused   bool // it applies nothing of what it receives
	hidden   bool // the account may not see the receiver
	age      float64
	writes   int // statements that it took
}

// set changes the script.
func (p *pgScript) set(change func(p *pgScript)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(p)
}

func (p *pgScript) taken() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.writes
}

type pgState string

func (e pgState) Error() string    { return "ERROR: (SQLSTATE " + string(e) + ")" }
func (e pgState) SQLState() string { return string(e) }

func (p *pgScript) run(_ context.Context, query string, _ []driver.NamedValue) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case !strings.HasPrefix(query, "INSERT"):
	case p.standby:
		return pgState("25006")
	default:
		p.writes++
	}
	return nil
}

func (p *pgScript) answer(query string) ([][]driver.Value, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	readOnly := map[bool]string{false: "off", true: "on"}[p.standby]
	switch {
	case strings.HasPrefix(query, "SELECT pg_is_in_recovery()"):
		return [][]driver.Value{{p.standby, readOnly}}, true
	case !strings.HasPrefix(query, "SELECT r.standby"):
		return nil, false
	case !p.standby:
		return [][]driver.Value{{false, "off", p.system, fmt.Sprintf("x%08X", p.timeline), fmt.Sprint(p.place), nil, nil, false, nil, nil}}, true
	}
	row := []driver.Value{true, "on", p.system, fmt.Sprint(p.timeline), fmt.Sprint(p.place), fmt.Sprint(p.received), p.age, p.streams, nil, nil}
	if p.streams && !p.hidden {
		row[8], row[9] = "streaming", fmt.Sprint(p.timeline)
	}
	return [][]driver.Value{row}, true
}

// pgNodes makes fake nodes of PostgreSQL: the first is the primary, the others
// stream from it.
func pgNodes(b *fakedb.Backend, count int) []*pgScript {
	var scripts []*pgScript
	for i := range count {
		p := &pgScript{standby: i > 0, system: "77", timeline: 1, place: 100, received: 100, streams: i > 0}
		n := b.Node(nodeName(i))
		n.OnStatement(p.run)
		n.OnQuery(p.answer)
		scripts = append(scripts, p)
	}
	return scripts
}

// writesAt moves the primary on by ten places each 100 ms, and the standbys that
// follow it.
func writesAt(ctx context.Context, primary *pgScript, standbys ...*pgScript) {
	for ctx.Err() == nil {
		primary.set(func(p *pgScript) { p.place += 10 })
		place := 0
		primary.set(func(p *pgScript) { place = p.place })
		for _, s := range standbys {
			s.set(func(p *pgScript) {
				if p.streams {
					p.received = place
				}
				if p.streams && !p.paused {
					p.place = place
				}
			})
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// stateOf returns the state of a node, and why it has it, as a status has them. It is
// called thousands of times, and a status takes long.
func stateOf(d Driver, i int) (State, string) {
	n := (*d.m.nodes.Load())[i]
	s := n.snapshot.Load()
	return State(n.effective(s)), s.reason
}

// A promotion moves the writers, within a probe interval and its jitter. The old
// primary that comes back is held until it is a standby: what is written on it
// is lost.
func TestPromotionMovesTheWriters(t *testing.T) {
	for _, interval := range []time.Duration{time.Second, 200 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			b := fakedb.New()
			nodes := pgNodes(b, 3)
			told := new(diary)
			d := fakeCluster(t, b, 3, WithDialect(DialectPostgres), WithRequire(RequireReadWrite), WithStrategy(Ordered),
				WithProbe(interval, min(interval, 600*time.Millisecond)), WithOnEvent(told.write))
			db := openDB(t, d)
			if _, err := db.Exec("INSERT"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Second)
			for i, want := range []State{StateUp, StateDown, StateDown} {
				if s, reason := stateOf(d, i); s != want || want == StateDown && reason != `read-only: require "read-write": the server takes no writes` {
					t.Errorf("n%d is %s: %s", i+1, s, reason)
				}
			}
			if s := d.Status().Nodes; s[0].Role != RolePrimary || s[1].Role != RoleReplica || s[1].Access != AccessReadOnly || s[1].LagUnknown != "" {
				t.Errorf("%+v", s)
			}
			// A node that is only not asked for is probed as the others are, on
			// the connection that is there.
			if n := b.Node("n2").Stats().Connects; n > 3 {
				t.Errorf("%d connects to a standby", n)
			}

			b.Node("n1").Set(fakedb.Script{Err: syscall.ECONNREFUSED})
			b.Node("n1").SetHealth(driver.ErrBadConn, 0, false)
			time.Sleep(5 * time.Second)
			nodes[1].set(func(p *pgScript) { p.standby, p.timeline = false, 2 })
			promoted := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			if _, err := db.ExecContext(ctx, "INSERT"); err != nil {
				t.Fatal(err)
			}
			// A wait between probes is 1.2 intervals at most.
			if took := time.Since(promoted); took > interval*6/5 {
				t.Errorf("probes each %s: %s from the promotion to the first write", interval, took)
			}
			synctest.Wait()
			if e := told.of("n2", EventRole); len(e) != 1 || e[0].Role != RolePrimary {
				t.Errorf("%+v", e)
			}

			before := nodes[0].taken()
			b.Node("n1").Set(fakedb.Script{})
			b.Node("n1").SetHealth(nil, 0, false)
			for range 600 {
				if _, err := db.Exec("INSERT"); err != nil {
					t.Error(err)
				}
				time.Sleep(100 * time.Millisecond)
			}
			if n := nodes[0].taken() - before; n > 0 {
				t.Errorf("%d writes on the old primary", n)
			}
			if s, reason := stateOf(d, 0); s != StateDown || reason != "role: n2 is the new primary: held until it is a standby" {
				t.Errorf("the old primary is %s: %s", s, reason)
			}
			if e := told.of("n1", EventHeld); len(e) != 1 {
				t.Errorf("%+v", e)
			}
			nodes[0].set(func(p *pgScript) { p.standby, p.timeline, p.streams = true, 2, true })
			time.Sleep(3 * time.Second)
			if s, reason := stateOf(d, 0); s != StateDown || !strings.Contains(reason, "takes no writes") {
				t.Errorf("as a standby it is %s: %s", s, reason)
			}
		})
	}
}

// A standby that is further behind than max_lag is left out, by what the primary
// was seen to write. The primary serves where it may. When it has caught up, it is
// used again.
func TestLaggingStandbyIsLeftOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		nodes := pgNodes(b, 3)
		told := new(diary)
		d := fakeCluster(t, b, 3, WithDialect(DialectPostgres), WithRequire(RequirePreferStandby), WithMaxLag(5*time.Second), WithStrategy(Balanced), WithOnEvent(told.write))
		db := openDB(t, d)
		db.SetMaxIdleConns(-1)
		ctx, stop := context.WithCancel(t.Context())
		var writer sync.WaitGroup
		writer.Go(func() { writesAt(ctx, nodes[0], nodes[1:]...) })
		defer writer.Wait()
		defer stop()
		time.Sleep(time.Minute)
		served := func() string {
			t.Helper()
			var names []string
			for i := range nodes {
				before := b.Node(nodeName(i)).Stats().Connects
				for range 20 {
					if err := db.PingContext(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				if b.Node(nodeName(i)).Stats().Connects > before {
					names = append(names, nodeName(i))
				}
			}
			return strings.Join(names, " ")
		}
		if got := served(); got != "n2 n3" {
			t.Errorf("with two standbys %s served", got)
		}
		for i := range nodes {
			if s, reason := stateOf(d, i); s != StateUp || d.Status().Nodes[i].Lag > 2*time.Second {
				t.Errorf("n%d is %s: %s", i+1, s, reason)
			}
		}

		nodes[1].set(func(p *pgScript) { p.paused = true })
		began := time.Now()
		for s, _ := stateOf(d, 1); s == StateUp; s, _ = stateOf(d, 1) {
			time.Sleep(10 * time.Millisecond)
			if time.Since(began) > 10*time.Second {
				t.Fatal("it lags, and is used")
			}
		}
		// It is seen by the first probe at which five seconds have passed since
		// a place that it has not reached was seen.
		if took := time.Since(began); took < 4*time.Second || took > 5*time.Second+3*1200*time.Millisecond {
			t.Errorf("left out after %s", took)
		}
		if _, reason := stateOf(d, 1); reason != "lagging: further behind its primary than max_lag (5s)" {
			t.Error(reason)
		}
		synctest.Wait() // until the event is told too
		if e := told.of("n2", EventState); len(e) == 0 || e[len(e)-1].Lag <= 5*time.Second {
			t.Errorf("%+v", e)
		}
		nodes[2].set(func(p *pgScript) { p.streams = false }) // cut off
		time.Sleep(8 * time.Second)
		if _, reason := stateOf(d, 2); !strings.HasPrefix(reason, "lagging: ") {
			t.Errorf("cut off from its primary: %q", reason)
		}
		if got := served(); got != "n1" {
			t.Errorf("with no standby that is near enough %s served", got)
		}
		nodes[2].set(func(p *pgScript) { p.streams = true })
		time.Sleep(4 * time.Second)
		if got := served(); !strings.Contains(got, "n3") || strings.Contains(got, "n1") {
			t.Errorf("when one has caught up %s served", got)
		}
	})
}

// A standby that was away is behind since then, at its first answer. It had all
// when it was last seen, and applies nothing at first.
func TestStandbyThatWasAwayIsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		nodes := pgNodes(b, 2)
		told := new(diary)
		d := fakeCluster(t, b, 2, WithDialect(DialectPostgres), WithRequire(RequirePreferStandby), WithMaxLag(5*time.Second), WithOnEvent(told.write))
		openDB(t, d)
		ctx, stop := context.WithCancel(t.Context())
		var writer sync.WaitGroup
		writer.Go(func() { writesAt(ctx, nodes[0], nodes[1]) })
		defer writer.Wait()
		defer stop()
		time.Sleep(10 * time.Second)
		b.Node("n2").Set(fakedb.Script{Err: syscall.ECONNREFUSED})
		b.Node("n2").SetHealth(driver.ErrBadConn, 0, false)
		nodes[1].set(func(p *pgScript) { p.paused = true })
		time.Sleep(time.Minute)
		b.Node("n2").Set(fakedb.Script{})
		b.Node("n2").SetHealth(nil, 0, false)
		time.Sleep(10 * time.Second)
		// It was seen by the last probe before, and is seen by the first one after.
		if n := d.Status().Nodes[1]; n.State != StateDown || n.Lag < time.Minute || n.Lag > 75*time.Second {
			t.Errorf("%s with a lag of %s: %s", n.State, n.Lag, n.Reason)
		}
		nodes[1].set(func(p *pgScript) { p.paused = false })
		time.Sleep(5 * time.Second)
		for _, e := range told.of("n2", EventState) {
			if e.To == StateUp && e.Time.Before(time.Now().Add(-5*time.Second)) && e.From == StateDown {
				t.Errorf("it was used while it was behind: %+v", e)
			}
		}
		if n := d.Status().Nodes[1]; n.State != StateUp || n.Lag > 2*time.Second {
			t.Errorf("%s with a lag of %s: %s", n.State, n.Lag, n.Reason)
		}
	})
}

// Where nothing is written, or no primary is in sight, a standby without a source
// has all that there is.
func TestStandbyOfNoPrimaryServes(t *testing.T) {
	for name, begin := range map[string]func(b *fakedb.Backend, nodes []*pgScript){
		"idle": func(*fakedb.Backend, []*pgScript) {},
		"dead": func(b *fakedb.Backend, _ []*pgScript) {
			b.Node("n1").Set(fakedb.Script{Err: syscall.ECONNREFUSED})
			b.Node("n1").SetHealth(driver.ErrBadConn, 0, false)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				nodes := pgNodes(b, 3)
				d := fakeCluster(t, b, 3, WithDialect(DialectPostgres), WithRequire(RequireStandby), WithMaxLag(2*time.Second))
				db := openDB(t, d)
				time.Sleep(10 * time.Second)
				for _, p := range nodes[1:] {
					p.set(func(p *pgScript) { p.streams, p.age = false, 3600 })
				}
				begin(b, nodes)
				for range 60 {
					if err := db.Ping(); err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Second)
				}
				for i := range nodes[1:] {
					if s, reason := stateOf(d, i+1); s != StateUp {
						t.Errorf("n%d is %s: %s", i+2, s, reason)
					}
				}
			})
		})
	}
}

// No right to ask for the lag is no lag of 0: it is said once, and such a node is
// left out where max_lag is set, unless the primary's place tells.
func TestNoRightIsNoLag(t *testing.T) {
	for _, withPrimary := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			b := fakedb.New()
			nodes := pgNodes(b, 3)
			for _, p := range nodes[1:] {
				p.set(func(p *pgScript) { p.hidden = true })
			}
			var log bytes.Buffer // the handler locks; it is read after a Wait
			d := NewDriver(b.Driver(), t.Name()+fmt.Sprint(withPrimary), seeded(t), WithDialect(DialectPostgres), WithRequire(RequireStandby), WithMaxLag(2*time.Second), WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
			t.Cleanup(func() { d.Close() })
			for i := range nodes {
				if i == 0 && !withPrimary {
					continue
				}
				if err := d.AddNode(nodeName(i), nodeName(i)); err != nil {
					t.Fatal(err)
				}
			}
			openDB(t, d)
			time.Sleep(time.Minute)
			for _, n := range d.Status().Nodes {
				switch {
				case n.Name == "n1":
				case withPrimary && (n.State != StateUp || n.LagUnknown != ""):
					t.Errorf("%+v", n)
				case !withPrimary && (n.State != StateDown || !strings.Contains(n.Reason, "GRANT pg_read_all_stats") || n.LagUnknown == ""):
					t.Errorf("%+v", n)
				}
			}
			synctest.Wait()
			if n := strings.Count(log.String(), "does not tell its lag"); n != 2 {
				t.Errorf("%d lines about two nodes that do not tell:\n%s", n, log.String())
			}
		})
	}
}

// Nodes of another system_identifier hold other data: the fewer are held.
func TestOtherDataIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		nodes := pgNodes(b, 3)
		nodes[2].set(func(p *pgScript) { p.system, p.standby = "88", false })
		told := new(diary)
		d := fakeCluster(t, b, 3, WithDialect(DialectPostgres), WithOnEvent(told.write))
		openDB(t, d)
		time.Sleep(time.Minute)
		if s, reason := stateOf(d, 2); s != StateDown || !strings.Contains(reason, "other data") {
			t.Errorf("%s: %s", s, reason)
		}
		if e := told.of("n3", EventHeld); len(e) != 1 {
			t.Errorf("%+v", e)
		}
		for i := range 2 {
			if s, reason := stateOf(d, i); s != StateUp {
				t.Errorf("n%d is %s: %s", i+1, s, reason)
			}
		}
	})
}

// role_query and lag_query make roles known to any backend.
func TestRoleQueriesOfAnUnknownDatabase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		var mu sync.Mutex
		roles := map[string]driver.Value{"n1": "primary", "n2": "standby", "n3": "Replica"}
		lags := map[string]driver.Value{"n1": nil, "n2": 0.5, "n3": []byte("1")}
		for name := range roles {
			b.Node(name).OnQuery(func(query string) ([][]driver.Value, bool) {
				mu.Lock()
				defer mu.Unlock()
				switch query {
				case "ROLE":
					return [][]driver.Value{{roles[name]}}, true
				case "LAG":
					return [][]driver.Value{{lags[name]}}, true
				}
				return nil, false
			})
		}
		d := fakeCluster(t, b, 3, WithRequire(RequirePreferStandby), WithRoleQueries("ROLE", "LAG"), WithMaxLag(2*time.Second), WithStrategy(Ordered))
		db := openDB(t, d)
		db.SetMaxIdleConns(-1)
		time.Sleep(10 * time.Second)
		if s := d.Status().Nodes; s[0].Role != RolePrimary || s[0].Access != AccessReadWrite || s[1].Lag != 500*time.Millisecond || s[2].Lag != time.Second {
			t.Errorf("%+v", s)
		}
		change := func(f func()) {
			mu.Lock()
			f()
			mu.Unlock()
			time.Sleep(5 * time.Second)
		}
		serves := func(want string) {
			t.Helper()
			before := b.Node(want).Stats().Connects
			if err := db.PingContext(t.Context()); err != nil {
				t.Fatal(err)
			}
			if b.Node(want).Stats().Connects == before {
				t.Errorf("another node than %s served", want)
			}
		}
		serves("n2")
		change(func() { lags["n2"] = 3.5 })
		serves("n3")
		change(func() { lags["n3"] = nil })
		serves("n1")
		for i, want := range []string{"max_lag (2s)", "the lag is not known, and max_lag is set: lag_query: "} {
			if _, reason := stateOf(d, i+1); !strings.Contains(reason, want) {
				t.Errorf("%s, want %s", reason, want)
			}
		}
		change(func() { lags["n3"] = 0 })
		serves("n3")
		change(func() { roles["n3"] = "neither" })
		if n := d.Status().Nodes[2]; n.Role != RoleUnknown {
			t.Errorf("%+v", n)
		}
	})
}

// A server that is promoted may tell no role in between: it follows nobody any
// more, and takes no writes yet. It is the new primary all the same, and the old
// one is held at once.
func TestPromotionInTwoSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		var mu sync.Mutex
		roles := map[string]string{"n1": "primary", "n2": "standby"}
		for name := range roles {
			b.Node(name).OnQuery(func(query string) ([][]driver.Value, bool) {
				mu.Lock()
				defer mu.Unlock()
				return [][]driver.Value{{roles[name]}}, query == "ROLE"
			})
		}
		told := new(diary)
		d := fakeCluster(t, b, 2, WithRequire(RequirePrimary), WithRoleQueries("ROLE", ""), WithOnEvent(told.write))
		openDB(t, d)
		become := func(role string) {
			mu.Lock()
			defer mu.Unlock()
			roles["n2"] = role
		}
		time.Sleep(10 * time.Second)
		become("neither")
		time.Sleep(10 * time.Second)
		become("primary")
		for d.Status().Nodes[1].State != StateUp {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(2 * health.ProbeGap)
		if s, reason := stateOf(d, 0); s != StateDown || reason != "role: n2 is the new primary: held until it is a standby" {
			t.Errorf("the old primary is %s: %s", s, reason)
		}
		if e := told.of("n2", EventRole); len(e) != 1 || e[0].Role != RolePrimary || e[0].Reason != "primary, was replica" {
			t.Errorf("%+v", e)
		}
	})
}

// The strict words leave a node out whose role changes, and its pooled
// connections are not handed out again.
func TestStrictRoles(t *testing.T) {
	for word, want := range map[Require]string{
		RequireReadWrite: "n1", RequireWritable: "n1", RequirePrimary: "n1", RequireReadOnly: "n2", RequireStandby: "n2",
		RequirePreferPrimary: "n1", RequirePreferStandby: "n2", RequireAny: "n1",
	} {
		t.Run(string(word), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				nodes := pgNodes(b, 2)
				d := fakeCluster(t, b, 2, WithDialect(DialectPostgres), WithRequire(word), WithStrategy(Ordered), WithRebalance(RebalanceFirst, time.Second))
				db := openDB(t, d)
				time.Sleep(3 * time.Second)
				on := func() string {
					t.Helper()
					conn, err := db.Conn(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					defer conn.Close()
					for i, s := range d.Status().Nodes {
						if s.Load > 0 {
							return nodeName(i)
						}
					}
					return ""
				}
				if got := on(); got != want {
					t.Errorf("on %s, want %s", got, want)
				}
				if word == RequireAny {
					return
				}
				nodes[0].set(func(p *pgScript) { p.standby, p.streams, p.timeline = true, true, 2 })
				nodes[1].set(func(p *pgScript) { p.standby, p.timeline = false, 2 })
				time.Sleep(20 * time.Second)
				want := map[string]string{"n1": "n2", "n2": "n1"}[want]
				if got := on(); got != want {
					t.Errorf("after a switchover on %s, want %s", got, want)
				}
				if n := db.Stats().OpenConnections; n != 1 {
					t.Errorf("%d connections", n)
				}
			})
		})
	}
}

// A standby that was asked before its primary has a lag that nobody knows yet. It is
// asked again as soon as the primary has told its place.
func TestStandbyIsAskedAgainWhenThePrimaryHasAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		nodes := pgNodes(b, 2)
		nodes[1].set(func(p *pgScript) { p.hidden = true })
		b.Node("n1").SetHealth(nil, 50*time.Millisecond, false)
		d := fakeCluster(t, b, 2, WithDialect(DialectPostgres), WithRequire(RequirePreferStandby), WithMaxLag(time.Hour))
		openDB(t, d)
		time.Sleep(40 * time.Millisecond)
		if s, reason := stateOf(d, 1); s != StateDown || !strings.HasPrefix(reason, "lagging: the lag is not known") {
			t.Fatalf("before the primary has answered the standby is %s: %s", s, reason)
		}
		time.Sleep(400 * time.Millisecond)
		if s, reason := stateOf(d, 1); s != StateUp {
			t.Errorf("the standby is %s: %s", s, reason)
		}
	})
}
