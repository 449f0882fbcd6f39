package clustersql

import (
	"context"
	"database/sql"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql/internal/fakedb"
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
