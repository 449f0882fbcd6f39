package clustersql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql/internal/causal"
	"github.com/EnumApps/clustersql/internal/fakedb"
	"github.com/EnumApps/clustersql/internal/seedtest"
)

// hedgeAfter is that of these tests, and of the defaults.
const hedgeAfter = 20 * time.Millisecond

// hedgedMost is the longest that a read takes whose node has just frozen: the time
// until it is hedged, and an open and a statement on a node that takes 1 ms for each of
// five answers at most.
const hedgedMost = hedgeAfter + 6*time.Millisecond

// hedgedCluster returns a cluster whose reads are hedged, with all nodes up, which take
// 1 ms for an answer.
func hedgedCluster(t *testing.T, b *fakedb.Backend, nodes int, opts ...Option) (Driver, *sql.DB) {
	t.Helper()
	b.OnSocket(TrackSocket)
	for i := range nodes {
		b.Node(nodeName(i)).SetMood(fakedb.Mood{Delay: time.Millisecond})
	}
	d := fakeCluster(t, b, nodes, append([]Option{WithStrategy(Ordered), WithHedgedReads(true, hedgeAfter)}, opts...)...)
	db := openDB(t, d)
	if err := d.WaitReady(t.Context(), nodes); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond)
	return d, db
}

// readNode runs a read, and returns which node has answered, and after which time.
func readNode(ctx context.Context, t testing.TB, db queryer, query string, args ...any) (node string, took time.Duration) {
	t.Helper()
	began := time.Now()
	if err := db.QueryRowContext(ctx, query, args...).Scan(&node); err != nil {
		t.Errorf("%s: %v", query, err)
	}
	return node, time.Since(began)
}

type queryer interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// A read on a node that has frozen is answered by another one, and its connection leads
// there from then on.
func TestReadsOnAFrozenNodeAreAnsweredByAnother(t *testing.T) {
	for name, read := range map[string]func(t *testing.T, db *sql.DB) func(ctx context.Context) (string, time.Duration){
		"text": func(t *testing.T, db *sql.DB) func(ctx context.Context) (string, time.Duration) {
			return func(ctx context.Context) (string, time.Duration) { return readNode(ctx, t, db, "SELECT 1") }
		},
		"arguments": func(t *testing.T, db *sql.DB) func(ctx context.Context) (string, time.Duration) {
			return func(ctx context.Context) (string, time.Duration) {
				return readNode(ctx, t, db, "SELECT ?", []byte("x"), 1, nil, time.Now())
			}
		},
		"prepared": func(t *testing.T, db *sql.DB) func(ctx context.Context) (string, time.Duration) {
			s, err := db.PrepareContext(t.Context(), "SELECT 1")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.Close() })
			return func(ctx context.Context) (node string, took time.Duration) {
				began := time.Now()
				if err := s.QueryRowContext(ctx).Scan(&node); err != nil {
					t.Error(err)
				}
				return node, time.Since(began)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				d, db := hedgedCluster(t, b, 3)
				call := read(t, db)
				if node, _ := call(t.Context()); node != "n1" {
					t.Fatalf("ordered has read on %s", node)
				}
				fill(t, db, 4)
				b.Node("n1").SetMood(fakedb.Mood{Silent: true})
				var wg sync.WaitGroup
				for range 4 { // each finds one of the connections
					wg.Go(func() {
						if node, took := call(t.Context()); node == "n1" || took > hedgedMost {
							t.Errorf("%s has answered after %s; %s are allowed", node, took, hedgedMost)
						}
					})
				}
				wg.Wait()
				for range 4 {
					if _, took := call(t.Context()); took > 5*time.Millisecond {
						t.Errorf("a later read took %s", took)
					}
				}
				synctest.Wait()
				h := d.Status().Nodes[0].HedgedReads
				if h != (HedgedReads{Armed: 0, Launched: 4, Won: 4}) {
					t.Errorf("%+v", h)
				}
				if s := d.Status().Nodes; s[0].OpenConns != 0 || s[1].OpenConns+s[2].OpenConns != 4 || s[0].ClosedBy["hedge"] != 4 || s[1].HedgedReads.Armed+s[2].HedgedReads.Armed != 4 {
					t.Errorf("%+v", s)
				}
				db.Close()
				d.Close()
				b.Node("n1").SetMood(fakedb.Mood{})
				time.Sleep(time.Minute)
				wantNothingLeft(t, b)
			})
		})
	}
}

// What is not a plain read, or not the first statement of an unused session, is sent to
// one node only.
func TestWhatIsNotHedged(t *testing.T) {
	run := func(t *testing.T, c queryer, ctx context.Context, query string) {
		t.Helper()
		var node string
		_ = c.QueryRowContext(ctx, query).Scan(&node)
	}
	conn := func(first func(t *testing.T, c *sql.Conn)) func(t *testing.T, b *fakedb.Backend, db *sql.DB, freeze func()) {
		return func(t *testing.T, _ *fakedb.Backend, db *sql.DB, freeze func()) {
			c := connOf(t, db)
			first(t, c)
			freeze()
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			run(t, c, ctx, "SELECT 1")
		}
	}
	pooled := func(query string, with func(context.Context) context.Context) func(t *testing.T, b *fakedb.Backend, db *sql.DB, freeze func()) {
		return func(t *testing.T, _ *fakedb.Backend, db *sql.DB, freeze func()) {
			freeze()
			ctx, cancel := context.WithTimeout(with(t.Context()), 300*time.Millisecond)
			defer cancel()
			run(t, db, ctx, query)
		}
	}
	same := func(ctx context.Context) context.Context { return ctx }
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, tc := range map[string]struct {
		do    func(t *testing.T, b *fakedb.Backend, db *sql.DB, freeze func())
		wants uint64
	}{
		"a read":                       {pooled("SELECT 1", same), 1},
		"the first read of a sql.Conn": {conn(func(*testing.T, *sql.Conn) {}), 1},
		"the second statement of a sql.Conn": {conn(func(t *testing.T, c *sql.Conn) {
			_, err := c.ExecContext(t.Context(), "INSERT 1")
			must(t, err)
		}), 0},
		"the second read of a sql.Conn": {conn(func(t *testing.T, c *sql.Conn) { run(t, c, t.Context(), "SELECT 1") }), 0},
		"a sql.Conn whose program has asked for the node": {conn(func(t *testing.T, c *sql.Conn) {
			must(t, c.Raw(func(c any) error { NodeOf(c); return nil }))
		}), 0},
		"a conn whose Raw was given away": {func(t *testing.T, _ *fakedb.Backend, db *sql.DB, freeze func()) {
			db.SetMaxOpenConns(1)
			c := connOf(t, db)
			must(t, c.Raw(func(c any) error { c.(Conn).Raw(); return nil }))
			must(t, c.Close())
			pooled("SELECT 1", same)(t, nil, db, freeze)
		}, 0},
		"a conn whose program had asked for the node before it was put back": {func(t *testing.T, _ *fakedb.Backend, db *sql.DB, freeze func()) {
			db.SetMaxOpenConns(1)
			c := connOf(t, db)
			must(t, c.Raw(func(c any) error { NodeOf(c); return nil }))
			must(t, c.Close())
			pooled("SELECT 1", same)(t, nil, db, freeze)
		}, 1},
		"a conn that has run a SET": {func(t *testing.T, _ *fakedb.Backend, db *sql.DB, freeze func()) {
			db.SetMaxOpenConns(1)
			_, err := db.Exec("SET x = 1")
			must(t, err)
			pooled("SELECT 1", same)(t, nil, db, freeze)
		}, 0},
		"a conn that has run a DO": {func(t *testing.T, _ *fakedb.Backend, db *sql.DB, freeze func()) {
			db.SetMaxOpenConns(1)
			_, err := db.Exec("DO 1")
			must(t, err)
			pooled("SELECT 1", same)(t, nil, db, freeze)
		}, 0},
		"a conn that has run writes and a transaction": {func(t *testing.T, _ *fakedb.Backend, db *sql.DB, freeze func()) {
			db.SetMaxOpenConns(1)
			for _, query := range []string{"INSERT 1", "UPDATE 1", "DELETE FROM t", "REPLACE INTO t VALUES (1)", "SHOW TABLES", "WITH c AS (SELECT 1) SELECT * FROM c"} {
				_, err := db.Exec(query)
				must(t, err)
			}
			tx, err := db.Begin()
			must(t, err)
			run(t, tx, t.Context(), "SELECT 1")
			must(t, tx.Commit())
			pooled("SELECT 1", same)(t, nil, db, freeze)
		}, 1},
		"a read in a transaction": {func(t *testing.T, _ *fakedb.Backend, db *sql.DB, freeze func()) {
			tx := txOf(t, db)
			freeze()
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			run(t, tx, ctx, "SELECT 1")
		}, 0},
		"a prepared read in a transaction": {func(t *testing.T, _ *fakedb.Backend, db *sql.DB, freeze func()) {
			tx := txOf(t, db)
			s, err := tx.Prepare("SELECT 1")
			must(t, err)
			freeze()
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			var node string
			_ = s.QueryRowContext(ctx).Scan(&node)
		}, 0},
		"an insert": {func(t *testing.T, _ *fakedb.Backend, db *sql.DB, freeze func()) {
			freeze()
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			_, _ = db.ExecContext(ctx, "INSERT 1")
		}, 0},
		"an Exec of a read": {func(t *testing.T, _ *fakedb.Backend, db *sql.DB, freeze func()) {
			freeze()
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			_, _ = db.ExecContext(ctx, "SELECT 1")
		}, 0},
		"an insert that returns rows": {pooled("INSERT INTO t VALUES (1) RETURNING id", Idempotent), 0},
		"a read that locks":           {pooled("SELECT 1 FROM t FOR UPDATE", Idempotent), 0},
		"a lock":                      {pooled("SELECT GET_LOCK('a', 1)", same), 0},
		"a function of the program":   {pooled("SELECT make_order(1)", same), 0},
		"a preparation of an insert": {func(t *testing.T, _ *fakedb.Backend, db *sql.DB, freeze func()) {
			freeze()
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			if s, err := db.PrepareContext(ctx, "INSERT 1"); err == nil {
				s.Close()
			}
		}, 0},
		"a preparation of a read": {func(t *testing.T, _ *fakedb.Backend, db *sql.DB, freeze func()) {
			freeze()
			s, err := db.PrepareContext(t.Context(), "SELECT 1")
			must(t, err)
			s.Close()
		}, 1},
		"NoHedge":           {pooled("SELECT 1", NoHedge), 0},
		"HedgeAfter later":  {pooled("SELECT 1", func(ctx context.Context) context.Context { return HedgeAfter(ctx, time.Second) }), 0},
		"HedgeAfter sooner": {pooled("SELECT 1", func(ctx context.Context) context.Context { return HedgeAfter(ctx, time.Millisecond) }), 1},
		"an argument of an unknown type": {func(t *testing.T, _ *fakedb.Backend, db *sql.DB, freeze func()) {
			freeze()
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			c := connOf(t, db)
			_ = c.Raw(func(c any) error {
				_, err := c.(driver.QueryerContext).QueryContext(ctx, "SELECT ?", []driver.NamedValue{{Ordinal: 1, Value: new(int)}})
				return err
			})
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				d, db := hedgedCluster(t, b, 2, WithProbe(time.Hour, time.Second))
				fill(t, db, 1)
				tc.do(t, b, db, func() { b.Node("n1").SetMood(fakedb.Mood{Silent: true}) })
				time.Sleep(time.Second)
				if h := d.Status().Nodes[0].HedgedReads; h.Launched != tc.wants || h.Won != tc.wants {
					t.Errorf("%+v, want %d", h, tc.wants)
				}
				b.Node("n1").SetMood(fakedb.Mood{})
			})
		})
	}
}

// Where no other node is plainly well, nothing is sent.
func TestNodesThatGetNoHedgedRead(t *testing.T) {
	for name, tc := range map[string]struct {
		spoil func(t *testing.T, b *fakedb.Backend, d Driver)
		nodes int
	}{
		"there is none": {func(*testing.T, *fakedb.Backend, Driver) {}, 1},
		"it is drained": {func(t *testing.T, _ *fakedb.Backend, d Driver) { _ = d.Drain("n2") }, 2},
		"it is down": {func(_ *testing.T, b *fakedb.Backend, _ Driver) {
			b.Node("n2").SetMood(fakedb.Mood{Refuse: errRefused, Dial: errRefused})
		}, 2},
		"it has no room": {func(_ *testing.T, b *fakedb.Backend, _ Driver) {
			b.Node("n2").SetMood(fakedb.Mood{Dial: &mysql.MySQLError{Number: 1040, Message: "Too many connections"}})
		}, 2},
		"it freezes as well": {func(_ *testing.T, b *fakedb.Backend, _ Driver) { b.Node("n2").SetMood(fakedb.Mood{Silent: true}) }, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				d, db := hedgedCluster(t, b, tc.nodes, WithProbe(200*time.Millisecond, 200*time.Millisecond))
				fill(t, db, 1)
				tc.spoil(t, b, d)
				time.Sleep(time.Second)
				fill(t, db, 1)
				b.Node("n1").SetMood(fakedb.Mood{Silent: true})
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				defer cancel()
				var node string
				if err := db.QueryRowContext(ctx, "SELECT 1").Scan(&node); err == nil {
					t.Errorf("%s has answered", node)
				}
				if h := d.Status().Nodes[0].HedgedReads; h.Won != 0 {
					t.Errorf("%+v", h)
				}
				db.Close()
				d.Close()
				for i := range tc.nodes {
					b.Node(nodeName(i)).SetMood(fakedb.Mood{})
				}
				time.Sleep(time.Minute)
				wantNothingLeft(t, b)
			})
		})
	}
}

// The first answer counts: where the node itself answers sooner, nothing changes, and
// the other connection is closed at once.
func TestTheFirstAnswerCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d, db := hedgedCluster(t, b, 2)
		fill(t, db, 1)
		b.Node("n1").SetMood(fakedb.Mood{Delay: 60 * time.Millisecond})
		b.Node("n2").SetMood(fakedb.Mood{Delay: 15 * time.Millisecond})
		runs := b.Runs()
		if node, took := readNode(t.Context(), t, db, "SELECT 1"); node != "n1" || took != 60*time.Millisecond {
			t.Errorf("%s has answered after %s", node, took)
		}
		time.Sleep(time.Millisecond)
		if s := b.Node("n2").Stats(); s.Live != 1 { // the probe's
			t.Errorf("%d connections to the other node are left", s.Live)
		}
		for _, r := range b.Ledger(runs) {
			if r.Node == "n2" && r.Query == "SELECT 1" && r.Outcome == fakedb.Answered {
				t.Error("the other node has answered too")
			}
		}
		if h := d.Status().Nodes[0].HedgedReads; h != (HedgedReads{Armed: 1, Launched: 1, Lost: 1}) {
			t.Errorf("%+v", h)
		}
		if s := d.Status().Nodes[1]; s.OpenConns != 0 || s.ClosedBy["hedge"] != 1 || s.HedgedReads.Armed != 0 {
			t.Errorf("%d connections, closed by %v, %+v", s.OpenConns, s.ClosedBy, s.HedgedReads)
		}
	})
}

// A statement that was prepared on the old connection works on the new one, for reads
// and writes, and each write is run once.
func TestPreparedStatementsFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d, db := hedgedCluster(t, b, 2)
		db.SetMaxOpenConns(1)
		insert, err := db.Prepare("INSERT 7")
		if err != nil {
			t.Fatal(err)
		}
		defer insert.Close()
		read, err := db.Prepare("SELECT 1")
		if err != nil {
			t.Fatal(err)
		}
		defer read.Close()
		b.Node("n1").SetMood(fakedb.Mood{Silent: true})
		runs := b.Runs()
		if node, _ := readNode(t.Context(), t, db, "SELECT 2"); node != "n2" {
			t.Fatalf("%s has answered", node)
		}
		for range 2 {
			if _, err := insert.Exec(); err != nil {
				t.Error(err)
			}
			var node string
			if err := read.QueryRow().Scan(&node); err != nil || node != "n2" {
				t.Errorf("%s, %v", node, err)
			}
		}
		inserts := 0
		for _, r := range b.Ledger(runs) {
			if r.Query == "INSERT 7" {
				inserts++
			}
		}
		if inserts != 2 {
			t.Errorf("%d inserts were run", inserts)
		}
		if s := d.Status().Nodes[1]; s.OpenConns != 1 || s.Won != 1 {
			t.Errorf("%d connections, %d opened", s.OpenConns, s.Won)
		}
		b.Node("n1").SetMood(fakedb.Mood{})
	})
}

// slowly is how much longer a statement takes that has the word slow in it.
func slowly(query string) time.Duration {
	if strings.Contains(query, "slow") {
		return 2 * time.Second
	}
	return 0
}

// Where queries are slow everywhere, few are sent twice.
func TestSlowEverywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d, db := hedgedCluster(t, b, 3, WithStrategy(Balanced))
		db.SetMaxIdleConns(16)
		const readers, each = 16, 1200
		for i := range 3 {
			b.Node(nodeName(i)).SetMood(fakedb.Mood{Delay: time.Millisecond, Takes: slowly})
		}
		var wg sync.WaitGroup
		var slow atomic.Int64
		began := time.Now()
		for reader := range readers {
			wg.Go(func() {
				for i := range each {
					if (reader*7+i)%100 == 0 {
						slow.Add(1)
						readNode(t.Context(), t, db, "SELECT slow")
					}
					readNode(t.Context(), t, db, "SELECT 1")
					time.Sleep(50 * time.Millisecond)
				}
			})
		}
		wg.Wait()
		var sent uint64
		for _, n := range d.Status().Nodes {
			sent += n.HedgedReads.Launched
		}
		if most := 16 + uint64(time.Since(began)/(5*time.Second)) + 1; sent > most || slow.Load() < 2*int64(most) {
			t.Errorf("%d reads were sent twice, of %d that were slow; %d are allowed", sent, slow.Load(), most)
		}
		all := readers*each + uint64(slow.Load())
		t.Logf("%d of %d reads were sent twice", sent, all)
		if 1000*sent > 3*all {
			t.Errorf("%d of %d reads were sent twice, more than 0.3 %%", sent, all)
		}
	})
}

// A Close does not wait for a hedged read that hangs, and a caller who leaves is let go.
func TestCloseAndCancelEndHedgedReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d, db := hedgedCluster(t, b, 2, WithProbe(time.Hour, time.Second))
		fill(t, db, 2)
		b.Node("n2").SetMood(fakedb.Mood{Delay: 500 * time.Millisecond}) // it opens within a second, and then answers late
		b.Node("n1").SetMood(fakedb.Mood{Silent: true})
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		began := time.Now()
		if err := db.QueryRowContext(ctx, "SELECT 1").Scan(new(string)); err == nil || time.Since(began) > 60*time.Millisecond {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		var wg sync.WaitGroup
		wg.Go(func() { _ = db.QueryRowContext(context.Background(), "SELECT 2").Scan(new(string)) })
		time.Sleep(1200 * time.Millisecond) // the read is under way on n2
		began = time.Now()
		db.Close()
		d.Close()
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("Close took %s", took)
		}
		b.Node("n1").SetMood(fakedb.Mood{})
		wg.Wait()
		time.Sleep(time.Minute)
		wantNothingLeft(t, b)
	})
}

// A session's read goes to a node only if that is known to have what the session has
// seen.
func TestHedgedReadsOfASession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d, db := hedgedCluster(t, b, 3)
		fill(t, db, 1)
		ctx := ReadYourWrites(t.Context())
		seen := causal.At("origin", 7)
		causal.In(ctx).Saw(seen)
		place := func(i int, p causal.Position) {
			n := (*d.m.nodes.Load())[i]
			n.tally.seen.Place(n.generation.Load(), time.Now(), p)
		}
		place(0, seen)
		place(1, causal.At("origin", 6))
		b.Node("n1").SetMood(fakedb.Mood{Silent: true})
		limited, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		defer cancel()
		if err := db.QueryRowContext(limited, "SELECT 1").Scan(new(string)); err == nil {
			t.Error("a node has answered that is not known to have it")
		}
		if h := d.Status().Nodes[0].HedgedReads; h.Launched != 0 {
			t.Errorf("%+v", h)
		}
		b.Node("n1").SetMood(fakedb.Mood{})
		time.Sleep(5 * time.Second)
		fill(t, db, 1)
		place(0, seen)
		place(2, seen)
		b.Node("n1").SetMood(fakedb.Mood{Silent: true})
		if node, _ := readNode(ctx, t, db, "SELECT 1"); node != "n3" {
			t.Errorf("%s has answered", node)
		}
		b.Node("n1").SetMood(fakedb.Mood{})
	})
}

// A reload turns it off at once, and on for new connections.
func TestHedgingIsReloaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d, db := hedgedCluster(t, b, 2, WithHedgedReads(false, hedgeAfter))
		fill(t, db, 1)
		apply := func(on bool) {
			t.Helper()
			if _, err := d.Apply(d.Describe().Nodes, WithHedgedReads(on, hedgeAfter)); err != nil {
				t.Fatal(err)
			}
		}
		read := func() (h HedgedReads) {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			b.Node("n1").SetMood(fakedb.Mood{Silent: true})
			before := d.Status().Nodes[0].HedgedReads
			_ = db.QueryRowContext(ctx, "SELECT 1").Scan(new(string))
			b.Node("n1").SetMood(fakedb.Mood{})
			time.Sleep(5 * time.Second)
			after := d.Status().Nodes[0].HedgedReads
			return HedgedReads{Armed: before.Armed, Launched: after.Launched - before.Launched}
		}
		if h := read(); h != (HedgedReads{}) {
			t.Errorf("off: %+v", h)
		}
		db.SetMaxIdleConns(-1)
		db.SetMaxIdleConns(1)
		fill(t, db, 1)
		apply(true)
		if h := read(); h != (HedgedReads{}) {
			t.Errorf("a connection from before: %+v", h)
		}
		db.SetMaxIdleConns(-1)
		fill(t, db, 1)
		if h := read(); h != (HedgedReads{Armed: 1, Launched: 1}) {
			t.Errorf("on: %+v", h)
		}
		db.SetMaxIdleConns(-1)
		fill(t, db, 1)
		apply(false)
		if h := read(); h.Launched != 0 {
			t.Errorf("off again: %+v", h)
		}
	})
}

// Opens ask a node last for a second on which a read was just outrun.
func TestOpensAvoidANodeThatWasOutrun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		_, db := hedgedCluster(t, b, 2)
		fill(t, db, 1)
		b.Node("n1").SetMood(fakedb.Mood{Delay: 200 * time.Millisecond})
		readNode(t.Context(), t, db, "SELECT 1")
		db.SetMaxIdleConns(-1)
		if node, took := readNode(t.Context(), t, db, "SELECT 1"); node != "n2" || took > 10*time.Millisecond {
			t.Errorf("%s has answered after %s", node, took)
		}
		b.Node("n1").SetMood(fakedb.Mood{Delay: time.Millisecond})
		time.Sleep(2 * time.Second)
		if node, _ := readNode(t.Context(), t, db, "SELECT 1"); node != "n1" {
			t.Errorf("%s has answered", node)
		}
	})
}

// A thousand adoptions in a crowd: each connection has one owner, and each is closed
// once.
func TestThousandAdoptions(t *testing.T) { synctest.Test(t, thousandAdoptions) }

func thousandAdoptions(t *testing.T) {
	b := fakedb.New()
	b.OnSocket(TrackSocket)
	for i := range 3 {
		b.Node(nodeName(i)).SetMood(fakedb.Mood{})
	}
	d := fakeCluster(t, b, 3, WithStrategy(Balanced), WithHedgedReads(true, 10*time.Millisecond), WithLateAfter(0), WithRebalance(RebalanceOff, time.Hour), WithProbe(time.Hour, time.Minute))
	db := openDB(t, d)
	if err := d.WaitReady(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	db.SetMaxIdleConns(16)
	won := func() (sum uint64) {
		for _, n := range d.Status().Nodes {
			sum += n.HedgedReads.Won
		}
		return sum
	}
	prepared, err := db.Prepare("SELECT 3")
	if err != nil {
		t.Fatal(err)
	}
	defer prepared.Close()
	var over atomic.Bool
	var wg sync.WaitGroup
	draws, ctx := seedtest.Rand(t), HedgeAfter(t.Context(), 10*time.Millisecond)
	for reader := range 16 {
		payload := []byte{byte(reader)}
		wg.Go(func() {
			for i := reader; !over.Load(); i++ {
				var node string
				var err error
				switch i % 4 {
				case 0:
					err = db.QueryRowContext(ctx, "SELECT 1").Scan(&node)
				case 1:
					payload[0]++ // the arguments change as soon as a read has returned
					err = db.QueryRowContext(ctx, "SELECT ?", payload).Scan(&node)
				case 2:
					err = prepared.QueryRowContext(ctx).Scan(&node)
				case 3:
					_, err = db.Exec("INSERT 1")
				}
				if err != nil {
					t.Error(err)
				}
				time.Sleep(10 * time.Millisecond) // the load, and no wait for anything
			}
		})
	}
	deadline := time.Now().Add(10 * time.Minute)
	for at := won(); at < 1000 && time.Now().Before(deadline); at = won() { // a node freezes, and then another one
		victim := b.Node(nodeName(draws.IntN(3)))
		victim.SetMood(fakedb.Mood{Silent: true})
		for wakes := time.Now().Add(100 * time.Millisecond); won() < at+8 && time.Now().Before(wakes); {
			time.Sleep(5 * time.Millisecond)
		}
		victim.SetMood(fakedb.Mood{}) // some are answered where they are after all
	}
	over.Store(true)
	wg.Wait()
	for _, n := range d.Status().Nodes {
		t.Logf("%s: %+v, closed by %v", n.Name, n.HedgedReads, n.ClosedBy)
	}
	if won() < 1000 {
		t.Error("too few adoptions")
	}
	prepared.Close()
	db.Close()
	d.Close()
	time.Sleep(time.Minute)
	wantNothingLeft(t, b)
}
