package simulation

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/causaltest"
	"github.com/EnumApps/clustersql/internal/fakedb"
	"github.com/EnumApps/clustersql/internal/galeratest"
	"github.com/EnumApps/clustersql/internal/race"
)

var (
	causalSeed  = flag.Uint64("simulate.causal", 0, "the one seed that TestCausalSimulation runs; 0: the usual ones")
	causalSeeds = flag.Uint64("simulate.causal.seeds", 0, "how many seeds TestCausalSimulation runs; 0: the usual number")
)

// TestCausalSimulation has sessions read and write on Galera nodes that lag, apply
// nothing for a while and have faults, as the seed decides. No read may see less than
// its session has written or read before, whatever happens. Where nodes only lag, no
// call may fail but by an ErrBehind, and none at all where none lags for as long as
// causal_timeout.
func TestCausalSimulation(t *testing.T) {
	first, count, end := uint64(1), uint64(150), time.Time{}
	switch {
	case *causalSeed != 0:
		first, count = *causalSeed, 1
	case *causalSeeds != 0:
		first, count = rand.Uint64N(1<<53)+1, *causalSeeds
	case *simulateFor > 0: // fresh seeds, for a part of the time
		first, count, end = rand.Uint64N(1<<53)+1, 1<<32, time.Now().Add(*simulateFor/4)
	case testing.Short(), race.Enabled: // which makes a seed ten times as long
		count = 15
	}
	sum := make(map[string]int64)
	for seed := first; seed < first+count && (end.IsZero() || time.Now().Before(end)); seed++ {
		sum["seeds"]++
		var w *causalWorld
		synctest.Test(t, func(t *testing.T) {
			w = newCausalWorld(seed)
			w.run(t)
		})
		for what, n := range w.counts {
			sum[what] += n
		}
		if violation := w.violated(); violation != "" {
			t.Fatalf("seed %d: %s\n%s\n%s\nagain: go test -run 'TestCausalSimulation$' ./internal/simulation -simulate.causal %d",
				seed, violation, w, strings.Join(w.pages(), "\n"), seed)
		}
	}
	t.Log(sum)
	for _, what := range []string{"reads", "writes", "carried", "waited", "moved", "behind", "seeds without a failure", "stale without sessions"} {
		if sum[what] == 0 && sum["seeds"] >= 100 {
			t.Errorf("no seed has come to this: %s", what)
		}
	}
}

// A trouble is what may happen to the nodes of a causalWorld.
type trouble int

const (
	lagsBriefly trouble = iota // less than causal_timeout
	lags
	anyTrouble // and faults
)

// A causalWorld is one seed.
type causalWorld struct {
	book

	random  *rand.Rand
	back    *fakedb.Backend
	nodes   []*fakedb.Node
	group   *galeratest.Group
	trouble trouble
	cfg     clustersql.Config
	pooled  int
	workers int
	causal  bool // else the check must find reads that see less
	split   bool // writers use the first node, and readers the others: none has what was just written
	pace    time.Duration

	mu     sync.Mutex // guards what follows, and random while callers run
	counts map[string]int64
}

func newCausalWorld(seed uint64) *causalWorld {
	w := &causalWorld{book: newBook(), random: rand.New(rand.NewPCG(seed, 0xca)), back: fakedb.New(), counts: make(map[string]int64)}
	w.trouble = []trouble{lagsBriefly, lags, anyTrouble, anyTrouble, anyTrouble}[w.random.IntN(5)]
	w.causal, w.split = w.random.IntN(16) > 0, w.random.IntN(2) == 0
	w.pooled, w.workers = []int{0, 0, 4, 12}[w.random.IntN(4)], 2+w.random.IntN(8)
	w.pace = w.between(100*time.Microsecond, 5*time.Millisecond)
	w.back.NameNodes(nodeOf)
	w.back.OnSocket(clustersql.TrackSocket)
	for i := range 2 + w.random.IntN(3) {
		w.nodes = append(w.nodes, w.back.Node(nodeName(i)))
	}
	w.group, _ = galeratest.NewGroup(w.nodes...)
	w.cfg = clustersql.DefaultConfig()
	w.cfg.Seed = seed
	w.cfg.Dialect = clustersql.DialectMySQL
	w.cfg.Strategy = []clustersql.Strategy{clustersql.Race, clustersql.Hedged, clustersql.Balanced, clustersql.Ordered}[w.random.IntN(4)]
	w.cfg.CausalTimeout = w.between(50*time.Millisecond, time.Second)
	w.cfg.Idempotent = w.random.IntN(3) == 0
	w.cfg.HedgeReads = w.random.IntN(3) == 0
	w.cfg.LateAfter = []time.Duration{0, w.cfg.LateAfter}[w.random.IntN(2)]
	w.cfg.Rebalance = []clustersql.Rebalance{w.cfg.Rebalance, clustersql.RebalanceOff}[w.random.IntN(2)]
	if w.trouble == lagsBriefly { // a write takes a round trip, and so does each question
		w.cfg.CausalTimeout += time.Second
	}
	return w
}

// String says what the seed has decided.
func (w *causalWorld) String() string {
	return fmt.Sprintf("%d nodes, split %t, trouble %d, sessions %t, %d workers, pool %d, pace %s, strategy %v, causal_timeout %s, idempotent %t, hedge_reads %t, late_after %s",
		len(w.nodes), w.split, w.trouble, w.causal, w.workers, w.pooled, w.pace, w.cfg.Strategy, w.cfg.CausalTimeout, w.cfg.Idempotent, w.cfg.HedgeReads, w.cfg.LateAfter)
}

func (w *causalWorld) between(least, most time.Duration) time.Duration {
	return least + time.Duration(w.random.Int64N(int64(most-least)))
}

// draw returns a number below n, for callers.
func (w *causalWorld) draw(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.random.IntN(n)
}

func (w *causalWorld) run(t *testing.T) {
	for _, n := range w.nodes {
		n.SetMood(fakedb.Mood{Delay: w.pace})
	}
	most, least := len(w.nodes), 0
	if w.split {
		most, least = 1, 1
	}
	writers, writer := w.open(t, "writers", 0, most)
	readers, reader := w.open(t, "readers", least, len(w.nodes))
	time.Sleep(3 * time.Second)
	ctx, cancel := context.WithCancel(context.Background())
	seed := w.random.Uint64()
	var disturbing sync.WaitGroup
	disturbing.Go(func() { w.disturb(ctx) })
	// Rows of a context that ends have a goroutine that waits for a mutex of database/sql
	// while their conn is asked for its position, and the bubble's clock would not go on.
	endless := context.WithoutCancel
	o := causaltest.Options{
		Sessions: w.workers, Reads: 300, Longest: 5 * time.Minute, Seed: seed,
		Put:  func(ctx context.Context, key int, value int64) error { return w.put(endless(ctx), writer, key, value) },
		Get:  func(ctx context.Context, key int) (int64, error) { return w.get(endless(ctx), reader, key) },
		Open: func(ctx context.Context) context.Context { return ctx },
	}
	if w.causal {
		o.Open = clustersql.ReadYourWrites
		o.Carry = func(ctx context.Context) context.Context {
			next, err := clustersql.WithToken(ctx, clustersql.Token(ctx))
			if err != nil {
				w.violate("%v", err)
			}
			return next
		}
	}
	r := causaltest.Run(ctx, o)
	cancel()
	disturbing.Wait()
	w.note("%v", r)
	w.counts["reads"] += r.Reads
	w.counts["writes"] += r.Writes
	w.counts["carried"] += r.Carried
	for _, n := range readers.Status().Nodes {
		w.counts["waited"] += int64(n.SessionReads.Waited)
		w.counts["moved"] += int64(n.SessionReads.Moved)
	}
	switch bad := r.Stale + r.Backward; {
	case !w.causal:
		w.counts["stale without sessions"] += bad
	case bad > 0:
		w.violate("%d reads saw less than they must: %s", bad, r.Example)
	}
	if r.ReadErrors+r.WriteErrors == 0 {
		w.counts["seeds without a failure"]++
	}
	for _, c := range []io.Closer{writer, reader, writers, readers} {
		c.Close()
	}
	time.Sleep(time.Minute)
	if s := w.back.Stats(); s.Live != 0 || s.DoubleCloses+s.UsedAfterClose+s.Concurrent != 0 {
		w.violate("in the end: %v", s)
	}
}

// open opens a cluster of some of the nodes.
func (w *causalWorld) open(t *testing.T, name string, from, to int) (clustersql.Driver, *sql.DB) {
	d := clustersql.NewDriver(w.back.Driver(), t.Name()+name, func(c *clustersql.Config) { *c = w.cfg }, clustersql.WithLogger(slog.New(slog.DiscardHandler)))
	for i := from; i < to; i++ {
		if err := d.AddNode(nodeName(i), "app@tcp("+nodeName(i)+")/sim"); err != nil {
			t.Fatal(err)
		}
	}
	db := sql.OpenDB(d.Connector())
	db.SetMaxOpenConns(w.pooled)
	db.SetMaxIdleConns(16)
	return d, db
}

// failed judges the error of a call.
func (w *causalWorld) failed(ctx context.Context, what string, err error) {
	if err == nil || ctx.Err() != nil {
		return
	}
	// A statement of a sql.Conn that would have to move ends it, and database/sql then
	// tries the statement again, and tells of that.
	behind := errors.Is(err, clustersql.ErrBehind) || errors.Is(err, sql.ErrConnDone)
	if behind {
		w.mu.Lock()
		w.counts["behind"]++
		w.mu.Unlock()
	}
	w.note("%s: %v", what, err)
	if w.trouble == lagsBriefly || w.trouble == lags && !behind {
		w.violate("%s failed, and nodes only lag: %v", what, err)
	}
}

// put writes a counter, in one of the ways that a program has.
func (w *causalWorld) put(ctx context.Context, db *sql.DB, key int, value int64) (err error) {
	time.Sleep(time.Duration(w.draw(2000)) * time.Microsecond)
	defer func() { w.failed(ctx, "a write", err) }()
	query := galeratest.Put(strconv.Itoa(key), strconv.FormatInt(value, 10))
	switch w.draw(6) {
	case 0:
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, query); err != nil {
			return errors.Join(err, tx.Rollback())
		}
		return tx.Commit()
	case 1:
		c, err := db.Conn(ctx)
		if err != nil {
			return err
		}
		defer c.Close()
		s, err := c.PrepareContext(ctx, query)
		if err != nil {
			return err
		}
		defer s.Close()
		_, err = s.ExecContext(ctx)
		return err
	case 2:
		c, err := db.Conn(ctx)
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.ExecContext(ctx, query)
		return err
	}
	_, err = db.ExecContext(ctx, query)
	return err
}

// get reads a counter. A user thinks for a moment before it, and reads the rows for
// another one, so that the pool has connections to all nodes in use.
func (w *causalWorld) get(ctx context.Context, db *sql.DB, key int) (n int64, err error) {
	time.Sleep(time.Duration(w.draw(2000)) * time.Microsecond)
	defer func() { w.failed(ctx, "a read", err) }()
	query := galeratest.Get(strconv.Itoa(key))
	switch w.draw(6) {
	case 0:
		tx, err := db.BeginTx(ctx, &sql.TxOptions{})
		if err != nil {
			return 0, err
		}
		n, err := w.read(ctx, tx, query)
		return n, errors.Join(err, tx.Rollback())
	case 1:
		c, err := db.Conn(ctx)
		if err != nil {
			return 0, err
		}
		defer c.Close()
		s, err := c.PrepareContext(ctx, query)
		if err != nil {
			return 0, err
		}
		defer s.Close()
		rows, err := s.QueryContext(ctx)
		return w.scan(rows, err)
	}
	return w.read(ctx, db, query)
}

func (w *causalWorld) read(ctx context.Context, r interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}, query string) (int64, error) {
	rows, err := r.QueryContext(ctx, query)
	return w.scan(rows, err)
}

func (w *causalWorld) scan(rows *sql.Rows, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	time.Sleep(time.Duration(w.draw(4000)) * time.Microsecond)
	var value, rest string
	if !rows.Next() {
		return 0, errors.Join(rows.Err(), errNoRow)
	}
	if err := rows.Scan(&value, &rest, &rest); err != nil {
		return 0, err
	}
	if err := rows.Close(); err != nil || value == "" {
		return 0, err
	}
	return strconv.ParseInt(value, 10, 64)
}

var errNoRow = errors.New("no row")

// disturb makes nodes lag and, if the seed wants it, fail, until ctx is done. In the
// end all are well.
func (w *causalWorld) disturb(ctx context.Context) {
	lag := w.cfg.CausalTimeout / 4
	if w.trouble != lagsBriefly {
		lag = 4 * w.cfg.CausalTimeout
	}
	for ctx.Err() == nil {
		w.mu.Lock()
		i, what, lasts := w.random.IntN(len(w.nodes)), w.random.IntN(14), w.between(10*time.Millisecond, 600*time.Millisecond)
		delay := w.between(0, lag)
		w.mu.Unlock()
		n := w.nodes[i]
		if w.trouble != anyTrouble {
			what %= 4
		}
		if w.trouble == lagsBriefly {
			lasts = min(lasts, lag)
		}
		switch what {
		case 0, 1:
			w.note("%s lags by %s", n.Name(), delay)
			w.group.Delay(n, delay)
		case 2:
			w.note("%s applies nothing for %s", n.Name(), lasts)
			w.group.Stop(n, true)
		case 3:
			w.note("%s does not lag", n.Name())
			w.group.Delay(n, 0)
		case 4:
			w.note("%s does not tell its position for %s", n.Name(), lasts)
			w.group.Mute(n, true)
		case 5:
			w.note("%s loses its connections", n.Name())
			n.Break(errReset, w.draw(2) == 0)
		case 6:
			w.note("%s loses its connections, and takes none for %s", n.Name(), lasts)
			n.SetMood(fakedb.Mood{Delay: w.pace, Dial: errRefused})
			n.Break(errReset, false)
		default:
			m := []struct {
				name string
				fakedb.Mood
			}{
				{"silent", fakedb.Mood{Silent: true}},
				{"not ready", fakedb.Mood{Delay: w.pace, Refuse: errNotReady}},
				{"leaving", fakedb.Mood{Delay: w.pace, Late: errLeaving}},
				{"without answers to writes", fakedb.Mood{Delay: w.pace, Late: errReset}},
				{"full", fakedb.Mood{Delay: w.pace, Dial: errSaturated}},
				{"slow", fakedb.Mood{Delay: 100 * w.pace}},
				{"read-only", fakedb.Mood{Delay: w.pace, ReadOnly: errReadOnly}},
			}[what-7]
			w.note("%s is %s for %s", n.Name(), m.name, lasts)
			n.SetMood(m.Mood)
		}
		select {
		case <-time.After(lasts):
		case <-ctx.Done():
		}
		w.group.Stop(n, false)
		w.group.Mute(n, false)
		n.SetMood(fakedb.Mood{Delay: w.pace})
	}
}
