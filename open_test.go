package clustersql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql/internal/fakedb"
	"github.com/EnumApps/clustersql/internal/race"
	"github.com/EnumApps/clustersql/internal/seedtest"
)

var quiet = WithLogger(slog.New(slog.DiscardHandler))

// seeded makes a cluster draw from the seed of the test.
func seeded(t testing.TB) Option { t.Helper(); return WithSeed(seedtest.Of(t)) }

// fakeCluster returns a cluster of n nodes named n1, n2, … on b. The nodes'
// DSNs are their names.
func fakeCluster(t testing.TB, b *fakedb.Backend, n int, opts ...Option) Driver {
	t.Helper()
	d := ownFakeCluster(t, b, n, append([]Option{seeded(t)}, opts...)...)
	t.Cleanup(func() { d.Close() })
	return d
}

// ownFakeCluster is fakeCluster, but the caller closes the cluster. A test that
// makes thousands of clusters would otherwise keep them all until it ends.
func ownFakeCluster(t testing.TB, b *fakedb.Backend, n int, opts ...Option) Driver {
	t.Helper()
	d := NewDriver(b.Driver(), t.Name(), append([]Option{quiet}, opts...)...)
	for i := range n {
		if err := d.AddNode(nodeName(i), nodeName(i)); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func nodeName(i int) string { return fmt.Sprintf("n%d", i+1) }

// wantNothingLeft asserts the counting invariant at the backend: each
// connection that was opened was closed once, and no other was touched.
func wantNothingLeft(t testing.TB, b *fakedb.Backend) {
	t.Helper()
	s := b.Stats()
	if s.Opens != s.Closes || s.Live != 0 {
		t.Errorf("%d conns opened, %d closed, %d live", s.Opens, s.Closes, s.Live)
	}
	if s.DoubleCloses != 0 || s.UsedAfterClose != 0 || s.TouchedWithErr != 0 || s.Concurrent != 0 {
		t.Errorf("closed twice: %d, used after close: %d, touched though it came with an error: %d, used by two at once: %d",
			s.DoubleCloses, s.UsedAfterClose, s.TouchedWithErr, s.Concurrent)
	}
}

// A behaviour is one way for a node to answer a connect.
type behaviour struct {
	name   string
	base   time.Duration // the rank's delay is added to this
	script fakedb.Script
	wins   bool // gives a conn, if nothing stops it
	quiet  bool // fails by silence, which may pass: an open waits on
}

// errBoom is an error without a class of its own. errRefused has one.
var (
	errBoom    = errors.New("boom")
	errDenied  = &mysql.MySQLError{Number: 1045, Message: "Access denied"}
	errRefused = fmt.Errorf("boom: %w", syscall.ECONNREFUSED)
)

const deafFor = 5 * time.Second

var behaviours = []behaviour{
	{name: "ok", wins: true},
	{name: "error", script: fakedb.Script{Err: errBoom}},
	{name: "slow", base: 300 * time.Millisecond, wins: true},
	{name: "silent", script: fakedb.Script{Silent: true}, quiet: true},
	{name: "deaf", base: deafFor, script: fakedb.Script{Deaf: true}, quiet: true},
	{name: "panic", script: fakedb.Script{Panic: "aargh"}},
	{name: "typed nil", script: fakedb.Script{Err: errBoom, TypedNil: true}},
	{name: "late", base: 2 * time.Second, wins: true},
}

// weakOrders are all orders of three, with ties.
var weakOrders = [...][3]int{
	{1, 1, 1}, {1, 1, 2}, {1, 2, 1}, {2, 1, 1}, {1, 2, 2}, {2, 1, 2}, {2, 2, 1},
	{1, 2, 3}, {1, 3, 2}, {2, 1, 3}, {2, 3, 1}, {3, 1, 2}, {3, 2, 1},
}

// Every order of three nodes, with ties, is combined with every way to answer.
// The test checks who wins and when, or how the open fails and when, and that
// nothing is left. The short run draws one order for each combination of
// answers.
//
// All rounds share one bubble, because of memory under -race. The runtime gives
// each bubble a context of the race detector for its timers, and never ends it.
// Such a context keeps up to about 65 MB, more with every timer that fires,
// until the process ends. A bubble for each of the 6656 rounds kept 570 MB. A
// goroutine that a round leaves is found when the bubble ends.
func TestRaceOfThree(t *testing.T) {
	r := seedtest.Rand(t)
	synctest.Test(t, func(t *testing.T) {
		for _, a := range behaviours {
			for _, b := range behaviours {
				for _, c := range behaviours {
					orders := weakOrders[:]
					if testing.Short() || race.Enabled { // without it all orders have a run of their own
						one := r.IntN(len(weakOrders))
						orders = weakOrders[one : one+1]
					}
					for _, order := range orders {
						raceOfThree(t, [3]behaviour{a, b, c}, order, r.Uint64())
						if t.Failed() {
							t.Fatalf("%s, %s and %s in the order %v", a.name, b.name, c.name, order)
						}
					}
				}
			}
		}
	})
}

func raceOfThree(t *testing.T, kinds [3]behaviour, order [3]int, seed uint64) {
	b := fakedb.New()
	first, last := time.Duration(0), time.Duration(0)
	for i, k := range kinds {
		k.script.Delay = k.base + time.Duration(order[i])*10*time.Millisecond
		b.Node(nodeName(i)).Set(k.script)
		at := k.script.Delay
		switch {
		case k.quiet:
			last = DefaultConfig().OpenTimeout
		case !k.wins:
			last = max(last, at)
		case first == 0 || at < first:
			first = at
		}
	}
	d := ownFakeCluster(t, b, 3, WithSeed(seed))
	defer d.Close()
	c := d.Connector()
	began := time.Now()
	conn, err := c.Connect(context.Background())
	took := time.Since(began)
	switch {
	case first > 0:
		if err != nil || took != first {
			t.Fatalf("%v: after %v: %v; want a conn after %v", order, took, err, first)
		}
		wantWinner(t, d, b, kinds, order)
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	case err == nil || took != last:
		t.Fatalf("%v: after %v: %v; want an error after %v", order, took, err, last)
	default:
		wantOpenError(t, err, 3)
	}
	began = time.Now()
	c.(*connector).Close()
	if waited := time.Since(began); waited > 3*time.Second {
		t.Errorf("Close waited %v", waited)
	}
	time.Sleep(2 * deafFor)
	synctest.Wait()
	wantNothingLeft(t, b)
}

// wantWinner asserts that one node won, that it is one of the fastest, and that
// the conns are counted.
func wantWinner(t *testing.T, d Driver, b *fakedb.Backend, kinds [3]behaviour, order [3]int) {
	t.Helper()
	synctest.Wait()
	won, open := 0, 0
	for i, s := range d.Status().Nodes {
		won += int(s.Won)
		open += s.OpenConns
		if s.Won > 0 && !kinds[i].wins {
			t.Errorf("%v: %s won, and is %s", order, s.Name, kinds[i].name)
		}
	}
	if won != 1 || open != 1 {
		t.Errorf("%v: %d won, %d open", order, won, open)
	}
}

func wantOpenError(t *testing.T, err error, nodes int) {
	t.Helper()
	var open *OpenError
	if !errors.As(err, &open) || len(open.Attempts) != nodes {
		t.Fatalf("got %v, want an *OpenError with %d nodes", err, nodes)
	}
	if errors.Is(err, driver.ErrBadConn) {
		t.Errorf("is an ErrBadConn: %v", err)
	}
	if !slices.IsSortedFunc(open.Attempts, func(a, b AttemptError) int { return int(b.Took - a.Took) }) {
		t.Errorf("not the latest first: %v", err)
	}
	for _, a := range open.Attempts {
		if a.Err == nil || !strings.Contains(err.Error(), a.Node) {
			t.Errorf("attempt %+v in %v", a, err)
		}
	}
}

// Clusters, behaviours, ties, callers, cancels, members and closes are random.
// Whatever happens, every open is answered in time and nothing is left.
func TestOpenRandomly(t *testing.T) {
	rounds, together := 10_000, 500 // so many rounds in one bubble; see TestRaceOfThree
	switch {
	case testing.Short():
		rounds, together = 200, 200
	case race.Enabled: // which makes a round several times as long
		rounds = 1000
	}
	r := seedtest.Rand(t)
	for first := 0; first < rounds; first += together {
		synctest.Test(t, func(t *testing.T) {
			for i := range together {
				openRandomly(t, r)
				if t.Failed() {
					t.Fatalf("round %d", first+i)
				}
			}
		})
		if t.Failed() {
			return
		}
	}
}

func openRandomly(t *testing.T, r *rand.Rand) {
	b := fakedb.New()
	n := r.IntN(5)
	for i := range n + 1 {
		k := behaviours[r.IntN(len(behaviours))]
		k.script.Delay = k.base/time.Duration(1+r.IntN(3)) + time.Duration(r.IntN(4))*10*time.Millisecond
		if r.IntN(4) == 0 {
			k.script.Check = errBoom
		}
		k.script.CheckSilent = r.IntN(8) == 0
		b.Node(nodeName(i)).Set(k.script)
	}
	d := ownFakeCluster(t, b, n,
		WithSeed(r.Uint64()),
		WithMaxOpensPerNode(1+r.IntN(3)),
		WithLoserGrace(time.Duration(1+r.IntN(1000))*time.Millisecond),
		WithStrategy(randomStagger(r)))
	defer d.Close()
	c := d.Connector().(*connector)
	var wg sync.WaitGroup
	var handed atomic.Int64
	for range 1 + r.IntN(6) {
		wait, limit, held := time.Duration(r.IntN(4))*10*time.Millisecond, time.Duration(1+r.IntN(400))*10*time.Millisecond, time.Duration(r.IntN(5))*time.Second
		wg.Go(func() { openOnce(t, c, wait, limit, held, &handed) })
	}
	if r.IntN(3) == 0 {
		wait, which := time.Duration(r.IntN(4))*10*time.Millisecond, nodeName(r.IntN(n+1))
		wg.Go(func() {
			time.Sleep(wait)
			d.DelNode(which)
			d.AddNode(nodeName(n), nodeName(n))
		})
	}
	closes := r.IntN(3) == 0 // a winner that meets the close on its way is closed too
	if closes {
		wait := time.Duration(1+r.IntN(400)) * 10 * time.Millisecond
		wg.Go(func() { time.Sleep(wait); c.Close() })
	}
	wg.Wait()
	c.Close()
	time.Sleep(2 * deafFor)
	synctest.Wait()
	wantNothingLeft(t, b)
	won := 0
	for _, s := range d.Status().Nodes {
		won += int(s.Won)
		if s.OpenConns != 0 || s.Attempts != 0 || s.Deaf != 0 || s.Load != 0 {
			t.Errorf("left on %s: %d conns, %d attempts, %d deaf, load %d", s.Name, s.OpenConns, s.Attempts, s.Deaf, s.Load)
		}
	}
	if won > int(handed.Load()) && !closes {
		t.Errorf("%d won, %d handed out", won, handed.Load())
	}
}

func openOnce(t *testing.T, c driver.Connector, wait, limit, held time.Duration, handed *atomic.Int64) {
	time.Sleep(wait)
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	began := time.Now()
	conn, err := c.Connect(ctx)
	if took := time.Since(began); took > limit {
		t.Errorf("answered after %v; the caller's limit was %v", took, limit)
	}
	if (conn == nil) == (err == nil) || errors.Is(err, driver.ErrBadConn) {
		t.Errorf("Connect gave %v, %v", conn, err)
	}
	if conn != nil {
		handed.Add(1)
		time.Sleep(held)
		conn.Close()
	}
}

// randomStagger returns one of the package's strategies, or a random order with
// random waits.
func randomStagger(r *rand.Rand) Strategy {
	a, b := r.Uint64(), r.Uint64()
	switch r.IntN(8) {
	case 0, 1, 2:
		return Race
	case 3:
		return Hedged
	case 4:
		return Balanced
	case 5:
		return Ordered
	}
	return NewStrategy("random", func(nodes []NodeStatus) []Launch {
		r := rand.New(rand.NewPCG(a, b))
		plan := Race.Plan(nodes)
		r.Shuffle(len(plan), func(i, j int) { plan[i], plan[j] = plan[j], plan[i] })
		for i := range plan {
			plan[i].Wait = time.Duration(r.IntN(30)) * 10 * time.Millisecond
		}
		return plan
	})
}
