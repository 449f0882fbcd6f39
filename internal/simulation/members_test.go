package simulation

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/fakedb"
	"github.com/EnumApps/clustersql/internal/race"
)

var membersSeeds = flag.Uint64("simulate.members", 0, "how many seeds TestMembersChangeAtRandom runs; 0: the usual number")

// memberSeeds is how many seeds a run has.
func memberSeeds() uint64 {
	switch {
	case *membersSeeds > 0:
		return *membersSeeds
	case race.Enabled: // which makes a seed ten times as long
		return 15
	case testing.Short():
		return 40
	}
	return 400
}

// Nodes come, go and change at random while callers work: by Apply, or by a source
// whose answers are wrong, empty, late, flapping or doubled. One node is always there
// and well, under changing addresses and passwords. So no call fails, at the end the
// members are those that were last asked for, and nothing is left.
func TestMembersChangeAtRandom(t *testing.T) {
	first, count := uint64(1), memberSeeds()
	if *simulateSeed != 0 {
		first, count = *simulateSeed, 1
	}
	for seed := first; seed < first+count && !t.Failed(); seed++ {
		synctest.Test(t, func(t *testing.T) {
			m := newMembership(t, seed)
			m.run()
			if t.Failed() {
				t.Logf("again: go test -run '^TestMembersChangeAtRandom$' ./internal/simulation -simulate.seed %d\n%s", seed, strings.Join(m.pages(), "\n"))
			}
		})
	}
}

type membership struct {
	*testing.T
	book

	rand    *rand.Rand
	backend *fakedb.Backend
	driver  clustersql.Driver
	sourced bool

	mu     sync.Mutex // guards what follows
	answer []clustersql.Node
	err    error
	late   time.Duration
}

func memberDSN(host, password string) string { return "app:" + password + "@tcp(" + host + ":3306)/db" }

func newMembership(t *testing.T, seed uint64) *membership {
	m := &membership{T: t, book: newBook(), rand: rand.New(rand.NewPCG(seed, 0x3e3)), backend: fakedb.New()}
	m.sourced = m.rand.IntN(2) == 0
	opts := []clustersql.Option{
		clustersql.WithLogger(slog.New(slog.DiscardHandler)), clustersql.WithSeed(seed), clustersql.WithDialect(clustersql.DialectMySQL),
		clustersql.WithStrategy(m.strategy()), clustersql.WithDrainTimeout(5 * time.Second), clustersql.WithRebalance(clustersql.RebalanceOff, time.Second),
	}
	if m.sourced {
		opts = append(opts, clustersql.WithSource(m.ask, time.Second+time.Duration(m.rand.IntN(3000))*time.Millisecond), clustersql.WithDiscoverLimits(1+m.rand.IntN(3), 1))
	}
	m.driver = clustersql.NewDriver(m.backend.Driver(), fmt.Sprintf("members%d", seed), opts...)
	for _, host := range []string{"well0", "well1", "h1", "h2", "h3", "h4"} {
		for _, password := range []string{"one", "two"} {
			m.backend.Node(memberDSN(host, password)).SetMood(fakedb.Mood{Delay: time.Duration(1+m.rand.IntN(10)) * time.Millisecond})
		}
	}
	m.backend.RefuseDSN(memberDSN("bad", "one"), errors.New("no such DSN"))
	m.set(m.nodes(), nil, 0)
	if !m.sourced {
		m.apply(m.nodes())
	}
	return m
}

func (m *membership) strategy() clustersql.Strategy {
	all := []clustersql.Strategy{clustersql.Race, clustersql.Hedged, clustersql.Balanced, clustersql.Ordered}
	return all[m.rand.IntN(len(all))]
}

// nodes draws a configuration: the node that is always well, and some others.
func (m *membership) nodes() []clustersql.Node {
	password := []string{"one", "two"}[m.rand.IntN(2)]
	all := []clustersql.Node{{Name: "n0", DSN: memberDSN([]string{"well0", "well1"}[m.rand.IntN(2)], password)}}
	for i := range 5 {
		if m.rand.IntN(2) == 0 {
			all = append(all, clustersql.Node{
				Name: fmt.Sprintf("n%d", i+1), DSN: memberDSN(fmt.Sprintf("h%d", 1+m.rand.IntN(4)), password), Priority: m.rand.IntN(2), Weight: m.rand.IntN(3),
			})
		}
	}
	return all
}

func (m *membership) set(nodes []clustersql.Node, err error, late time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.answer, m.err, m.late = nodes, err, late
}

func (m *membership) ask(ctx context.Context) ([]clustersql.Node, error) {
	m.mu.Lock()
	nodes, err, late := slices.Clone(m.answer), m.err, m.late
	m.mu.Unlock()
	if late > 0 {
		time.Sleep(late) // deaf to ctx
	}
	return nodes, err
}

func (m *membership) apply(nodes []clustersql.Node, opts ...clustersql.Option) {
	diff, err := m.driver.Apply(nodes, opts...)
	m.note("Apply: %v\n%s", err, diff)
	if err != nil {
		m.Errorf("Apply: %v", err)
	}
}

// step draws one thing that happens.
func (m *membership) step() {
	host := fmt.Sprintf("h%d", 1+m.rand.IntN(4))
	switch n := m.rand.IntN(10); {
	case n == 0: // new connections to a host are refused, or are not answered, or well again
		mood := []fakedb.Mood{{Dial: errRefused}, {Filtered: true}, {Delay: time.Millisecond}, {Delay: time.Millisecond}}[m.rand.IntN(4)]
		for _, password := range []string{"one", "two"} {
			m.backend.Node(memberDSN(host, password)).SetMood(mood)
		}
		m.note("%s: %+v", host, mood)
	case n == 1:
		node := fmt.Sprintf("n%d", 1+m.rand.IntN(5))
		m.note("Drain %s", node)
		_ = m.driver.Drain(node)
	case n == 2:
		for i := range 6 {
			_ = m.driver.Undrain(fmt.Sprintf("n%d", i))
		}
		m.note("Undrain")
	case !m.sourced && n == 3:
		node := fmt.Sprintf("n%d", 1+m.rand.IntN(5))
		m.note("DelNode %s", node)
		_ = m.driver.DelNode(node)
	case !m.sourced:
		m.apply(m.nodes(), clustersql.WithStrategy(m.strategy()), clustersql.WithProbe(time.Duration(500+m.rand.IntN(1000))*time.Millisecond, 400*time.Millisecond), clustersql.WithMaxOpensPerNode(1+m.rand.IntN(8)))
	default:
		m.answers()
	}
}

// answers draws what the source says from now on.
func (m *membership) answers() {
	nodes := m.nodes()
	var err error
	var late time.Duration
	switch m.rand.IntN(8) {
	case 0:
		err = errors.New("no answer")
	case 1:
		nodes = nil
	case 2:
		late = time.Duration(m.rand.IntN(9000)) * time.Millisecond
	case 3:
		nodes = append(nodes, nodes...)
	case 4:
		nodes = []clustersql.Node{{Name: "bad", DSN: memberDSN("bad", "one")}, {Name: ""}}
	case 5:
		nodes = append(nodes, clustersql.Node{Name: "bad", DSN: memberDSN("bad", "one")})
	}
	m.note("the source says %v, %v, after %s", nodes, err, late)
	m.set(nodes, err, late)
}

func (m *membership) run() {
	db := sql.OpenDB(m.driver.Connector())
	db.SetMaxIdleConns(8)
	var callers sync.WaitGroup
	ctx, stop := context.WithCancel(context.Background())
	for range 3 {
		callers.Go(func() {
			for ctx.Err() == nil {
				if _, err := db.Exec("UPDATE t"); err != nil {
					m.Errorf("a call failed: %v", err)
				}
				time.Sleep(37 * time.Millisecond)
			}
		})
	}
	seen := 0
	for range 20 + m.rand.IntN(20) {
		time.Sleep(time.Duration(m.rand.IntN(2500)) * time.Millisecond)
		m.step()
		synctest.Wait()
		if now := len(m.driver.Nodes()); now == 0 && seen > 0 {
			m.Error("there is no node")
		} else {
			seen = now
		}
	}
	stop()
	callers.Wait()
	m.last()
	db.Close()
	m.driver.Close()
	time.Sleep(2 * time.Minute)
	synctest.Wait()
	if s := m.backend.Stats(); s.Opens != s.Closes || s.Live != 0 || s.DoubleCloses+s.UsedAfterClose+s.Concurrent != 0 {
		m.Errorf("%s", s)
	}
}

// last asks for the last members, with all hosts well. After a while they are there.
func (m *membership) last() {
	for i := range 4 {
		for _, password := range []string{"one", "two"} {
			m.backend.Node(memberDSN(fmt.Sprintf("h%d", i+1), password)).SetMood(fakedb.Mood{Delay: time.Millisecond})
		}
	}
	for i := range 6 {
		_ = m.driver.Undrain(fmt.Sprintf("n%d", i))
	}
	nodes := m.nodes()
	m.note("at last %v", nodes)
	if m.sourced {
		m.set(nodes, nil, 0)
	} else {
		m.apply(nodes)
	}
	time.Sleep(3 * time.Minute)
	var want, got []string
	for _, n := range nodes {
		want = append(want, n.Name)
	}
	for _, n := range m.driver.Status().Nodes {
		got = append(got, n.Name)
		if n.Pending != "" || n.State != clustersql.StateUp {
			m.Errorf("%s is %s (%s), pending: %s", n.Name, n.State, n.Reason, n.Pending)
		}
	}
	if !slices.Equal(got, want) {
		m.Errorf("the members are %q and not %q; %+v", got, want, m.driver.Status().Sources)
	}
}
