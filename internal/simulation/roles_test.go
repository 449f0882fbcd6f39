package simulation

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/fakedb"
	"github.com/EnumApps/clustersql/internal/health"
	"github.com/EnumApps/clustersql/internal/race"
)

var rolesSeed = flag.Uint64("simulate.roles", 0, "the one seed that TestRolesSimulation runs; 0: the usual ones")

// What may differ between the truth and what a program can know of it. A node is
// looked at each 1.2 s at the latest. An old primary is left when the new one was
// looked at (which then was to be seen), and then itself; a replica is left when its primary's place was looked
// at and then its own. A probe on a frozen node takes a deadline more.
const (
	mostLag   = 3 * time.Second
	unseen    = 2*1200*time.Millisecond + 700*time.Millisecond
	calmFor   = 15 * time.Second // then what was broken must have been got over
	lastTail  = 1300 * time.Millisecond
	mostAsked = health.BackoffMost + 1900*time.Millisecond
)

// TestRolesSimulation runs a primary and two standbys of PostgreSQL on fakedb,
// with promotions, deaths, freezes, paused replay and standbys that are cut off,
// as the seed decides. After every step it looks whether a write was taken by an
// old primary, a read was older than max_lag, or a call failed in calm.
func TestRolesSimulation(t *testing.T) {
	first, count, end := uint64(1), uint64(150), time.Time{}
	switch {
	case *rolesSeed != 0:
		first, count = *rolesSeed, 1
	case *simulateFor > 0: // fresh seeds, for a part of the time
		first, count, end = rand.Uint64N(1<<53)+1, 1<<32, time.Now().Add(*simulateFor/4)
	case race.Enabled: // which makes a seed ten times as long
		count = 5
	case testing.Short():
		count = 15
	}
	sum := make(map[string]int)
	for seed := first; seed < first+count && (end.IsZero() || time.Now().Before(end)); seed++ {
		sum["seeds"]++
		var w *roleWorld
		synctest.Test(t, func(t *testing.T) {
			w = newRoleWorld(t, seed)
			w.run(t)
		})
		for what, n := range w.counts {
			sum[what] += n
		}
		if violation := w.violated(); violation != "" {
			t.Fatalf("seed %d: %s\n%s\nagain: go test -run 'TestRolesSimulation$' ./internal/simulation -simulate.roles %d", seed, violation, strings.Join(w.pages(), "\n"), seed)
		}
	}
	t.Log(sum)
	for _, what := range []string{"promotions", "reads in calm", "writes in calm", "reads of a standby", "returned as primary", "paused", "cut off"} {
		if sum[what] == 0 && sum["seeds"] >= 40 {
			t.Errorf("no seed has come to this: %s", what)
		}
	}
}

// A roleNode is one server of the world.
type roleNode struct {
	fake     *fakedb.Node
	name     string
	standby  bool
	timeline int
	place    int
	received int
	applied  time.Time // when it last applied something
	cut      bool      // from its primary
	paused   bool
	away     bool // dead or frozen
	back     time.Time
	told     int       // the timeline that it has told last
	since    time.Time // when it told that first
}

// A roleWorld is the truth: who is the primary, and what was written when.
type roleWorld struct {
	book

	random *rand.Rand
	back   *fakedb.Backend

	mu        sync.Mutex // guards what follows
	nodes     []*roleNode
	primary   *roleNode // the newest; it may be away
	promoted  time.Time
	seen      time.Time // by now a probe has found the newest primary; zero before
	latest    int       // the latest timeline that was told to both clusters
	told      time.Time // when that was so
	written   []point   // by the newest primary
	disturbed time.Time
	counts    map[string]int
}

// A point is a place in the log that was written at a time.
type point struct {
	at    time.Time
	place int
}

func newRoleWorld(t *testing.T, seed uint64) *roleWorld {
	w := &roleWorld{book: newBook(), random: rand.New(rand.NewPCG(seed, 7)), back: fakedb.New(), counts: make(map[string]int)}
	for i := range 3 {
		n := &roleNode{name: fmt.Sprintf("n%d", i+1), standby: i > 0, timeline: 1, place: 100, received: 100, applied: time.Now()}
		n.fake = w.back.Node(n.name)
		n.fake.OnStatement(func(_ context.Context, query string, _ []driver.NamedValue) error { return w.statement(n, query) })
		n.fake.OnQuery(func(query string) ([][]driver.Value, bool) { return w.answer(n, query) })
		w.nodes = append(w.nodes, n)
	}
	w.primary = w.nodes[0]
	return w
}

type roleError string

func (e roleError) Error() string    { return "SQLSTATE " + string(e) }
func (e roleError) SQLState() string { return string(e) }

// statement is what a node does with a call of the program.
func (w *roleWorld) statement(n *roleNode, query string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch query {
	case "INSERT":
		switch {
		case n.standby:
			return roleError("25006")
		case n != w.primary && !w.seen.IsZero() && time.Since(w.seen) > unseen:
			w.violate("%s took a write, %s after the promotion of %s was to be seen", n.name, time.Since(w.seen), w.primary.name)
		case n.timeline < w.latest && time.Since(w.told) > unseen:
			w.violate("%s took a write on timeline %d, %s after timeline %d was told", n.name, n.timeline, time.Since(w.told), w.latest)
		}
	case "READ":
		if n.standby {
			w.counts["reads of a standby"]++
		}
		if age := w.age(n); age > mostLag+unseen {
			w.violate("a read on %s is %s old", n.name, age)
		}
	}
	return nil
}

// age returns how long ago the first thing was written that a node does not have.
// A primary that was away is down, and is not looked at at once.
func (w *roleWorld) age(n *roleNode) time.Duration {
	looked := w.primary.back.Add(health.BackoffMost)
	for _, p := range w.written {
		if p.place > n.place {
			return min(time.Since(p.at), max(time.Since(looked), 0))
		}
	}
	return 0
}

// answer is what a node says of its part in replication.
func (w *roleWorld) answer(n *roleNode, query string) ([][]driver.Value, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	readOnly := map[bool]string{false: "off", true: "on"}[n.standby]
	switch {
	case strings.HasPrefix(query, "SELECT pg_is_in_recovery()"):
		return [][]driver.Value{{n.standby, readOnly}}, true
	case !strings.HasPrefix(query, "SELECT r.standby"):
		return nil, false
	}
	if n.told != n.timeline {
		n.told, n.since = n.timeline, time.Now()
	}
	// Each cluster has asked a node that has been there for so long.
	if !n.away && n.timeline > w.latest && time.Since(n.since) > mostAsked && time.Since(n.back) > mostAsked {
		w.latest, w.told = n.timeline, time.Now()
	}
	if !n.standby {
		return [][]driver.Value{{false, "off", "77", fmt.Sprintf("x%08X", n.timeline), fmt.Sprint(n.place), nil, nil, false, nil, nil}}, true
	}
	row := []driver.Value{true, "on", "77", fmt.Sprint(n.timeline), fmt.Sprint(n.place), fmt.Sprint(n.received), time.Since(n.applied).Seconds(), w.streams(n), nil, nil}
	if w.streams(n) {
		row[8], row[9] = "streaming", fmt.Sprint(n.timeline)
	}
	return [][]driver.Value{row}, true
}

func (w *roleWorld) streams(n *roleNode) bool { return n.standby && !n.cut && !w.primary.away }

// write goes on for the truth: the newest primary writes, its standbys follow, and
// an old primary writes for itself.
func (w *roleWorld) write() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range w.nodes {
		if !n.standby && !n.away {
			n.place += 10
		}
	}
	if !w.primary.away {
		w.written = append(w.written, point{time.Now(), w.primary.place})
		// One that was away is down, and is not probed at once.
		since := time.Since(w.promoted)
		if !w.primary.back.IsZero() {
			since = min(since, time.Since(w.primary.back)-health.BackoffMost)
		}
		if w.seen.IsZero() && since > 1900*time.Millisecond {
			w.seen = time.Now()
		}
	}
	for _, n := range w.nodes {
		if w.streams(n) && !n.away {
			n.received, n.timeline = w.primary.place, w.primary.timeline
			if !n.paused {
				n.place, n.applied = n.received, time.Now()
			}
		}
	}
}

// leave takes a node away, dead or frozen. What the primary wrote just before
// nobody may have seen.
func (w *roleWorld) leave(n *roleNode, frozen bool) {
	n.away = true
	if n == w.primary {
		unheard := time.Now().Add(-lastTail)
		if time.Since(n.back) < mostAsked { // it was down before, and nobody may have looked at it since
			unheard = n.back
		}
		for len(w.written) > 0 && w.written[len(w.written)-1].at.After(unheard) {
			w.written = w.written[:len(w.written)-1]
		}
	}
	if frozen {
		n.fake.Set(fakedb.Script{Silent: true})
		n.fake.SetHealth(nil, 0, true)
		return
	}
	n.fake.Set(fakedb.Script{Err: syscall.ECONNREFUSED})
	n.fake.SetHealth(io.EOF, 0, false)
}

func (w *roleWorld) comeBack(n *roleNode) {
	n.away, n.back = false, time.Now()
	n.fake.Set(fakedb.Script{})
	n.fake.SetHealth(nil, 0, false)
	if !n.standby && n != w.primary {
		w.counts["returned as primary"]++
	}
}

// promote makes the standby that has the most the primary.
func (w *roleWorld) promote() {
	var best *roleNode
	for _, n := range w.nodes {
		if n.standby && !n.away && (best == nil || n.received > best.received) {
			best = n
		}
	}
	if best == nil {
		return
	}
	old := w.primary
	best.standby, best.cut, best.paused, best.place = false, false, false, best.received
	best.timeline, w.primary, w.promoted, w.seen = old.timeline+1, best, time.Now(), time.Time{}
	w.written = []point{{time.Now(), best.place}}
	for _, n := range w.nodes { // they have to be told whom to follow
		n.cut = n.cut || n.standby
	}
	w.counts["promotions"]++
	w.note("%s is promoted, %s was the primary", best.name, old.name)
}

// follow makes a node a standby of the newest primary that has what that has. The
// primary may be away: then the node is made from its backup.
func (w *roleWorld) follow(n *roleNode) {
	if n == w.primary || n.away {
		return
	}
	n.standby, n.cut, n.paused = true, false, false
	n.place, n.received, n.timeline, n.applied = w.primary.place, w.primary.place, w.primary.timeline, time.Now()
}

// event does one thing of the schedule.
func (w *roleWorld) event() {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.nodes[w.random.IntN(len(w.nodes))]
	w.disturbed = time.Now()
	switch w.random.IntN(9) {
	case 0:
		w.promote()
	case 1, 2:
		if frozen := w.random.IntN(2) == 0; n.away {
			w.note("%s is back", n.name)
			w.comeBack(n)
		} else {
			w.note("%s goes, frozen: %v", n.name, frozen)
			w.leave(n, frozen)
		}
	case 3:
		if n.standby {
			n.paused = !n.paused
			w.counts["paused"]++
			w.note("%s paused: %v", n.name, n.paused)
		}
	case 4:
		if n.standby && w.primary.timeline == n.timeline {
			n.cut = !n.cut
			w.counts["cut off"]++
			w.note("%s cut off: %v", n.name, n.cut)
		}
	case 5, 6:
		w.follow(n)
		w.note("%s follows %s", n.name, w.primary.name)
	case 7: // as a failover manager does
		if w.primary.away {
			w.promote()
		}
	case 8:
		w.note("all is mended")
		for _, n := range w.nodes {
			if n.away {
				w.comeBack(n)
			}
		}
		for _, n := range w.nodes {
			w.follow(n)
		}
	}
}

// calm reports whether a call that begins now must succeed: for long nothing has
// changed, and there is a primary.
func (w *roleWorld) calm() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Since(w.disturbed) > calmFor && !w.primary.away
}

// call repeats a call until ctx is done.
func (w *roleWorld) call(ctx context.Context, db *sql.DB, query string, every time.Duration) {
	for ctx.Err() == nil {
		calm := w.calm()
		limit, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		_, err := db.ExecContext(limit, query)
		cancel()
		w.mu.Lock()
		if calm {
			w.counts[map[string]string{"READ": "reads in calm", "INSERT": "writes in calm"}[query]]++
			if err != nil {
				w.violate("%s in calm: %v", query, err)
			}
		}
		w.mu.Unlock()
		time.Sleep(every)
	}
}

func (w *roleWorld) run(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	var work sync.WaitGroup
	quiet := clustersql.WithLogger(slog.New(slog.DiscardHandler))
	for query, opts := range map[string][]clustersql.Option{
		"INSERT": {clustersql.WithRequire(clustersql.RequireReadWrite), clustersql.WithStrategy(clustersql.Ordered)},
		"READ":   {clustersql.WithRequire(clustersql.RequirePreferStandby), clustersql.WithMaxLag(mostLag), clustersql.WithStrategy(clustersql.Balanced)},
	} {
		opts = append(opts, quiet, clustersql.WithDialect(clustersql.DialectPostgres), clustersql.WithSeed(w.random.Uint64()|1))
		d := clustersql.NewDriver(w.back.Driver(), t.Name()+query, opts...)
		for _, n := range w.nodes {
			if err := d.AddNode(n.name, n.name); err != nil {
				t.Fatal(err)
			}
		}
		db := sql.OpenDB(d.Connector())
		defer d.Close()
		defer db.Close()
		for range 3 {
			work.Go(func() { w.call(ctx, db, query, 90*time.Millisecond) })
		}
	}
	work.Go(func() {
		for ctx.Err() == nil {
			w.write()
			time.Sleep(50 * time.Millisecond)
		}
	})
	time.Sleep(3 * time.Second)
	for range 25 {
		w.event()
		wait := time.Duration(w.random.Int64N(int64(4 * time.Second)))
		if w.random.IntN(4) == 0 {
			wait += calmFor + 5*time.Second
		}
		time.Sleep(wait)
		if w.violated() != "" {
			break
		}
	}
	stop()
	work.Wait()
}
