package clustersql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql/internal/causal"
	"github.com/EnumApps/clustersql/internal/fakedb"
	"github.com/EnumApps/clustersql/internal/galeratest"
)

// A lagging is three fake Galera nodes with data, each with a pool of a cluster that
// has only this node, and a pool of a cluster of all of them.
type lagging struct {
	b     *fakedb.Backend
	group *galeratest.Group
	nodes [3]*fakedb.Node
	one   [3]*sql.DB
	ones  [3]Driver
	all   *sql.DB
	d     Driver

	mu    sync.Mutex // guards draws
	draws *rand.Rand
}

func newLagging(t *testing.T, opts ...Option) *lagging {
	t.Helper()
	l := &lagging{b: fakedb.New()}
	l.b.NameNodes(func(dsn string) string { return strings.TrimSuffix(strings.TrimPrefix(dsn, "tcp("), ":3306)/db") })
	for i := range l.nodes {
		l.nodes[i] = l.b.Node(nodeName(i))
	}
	l.group, _ = galeratest.NewGroup(l.nodes[:]...)
	opts = append([]Option{quiet, seeded(t), WithDialect(DialectMySQL), WithStrategy(Ordered)}, opts...)
	pool := func(name string, nodes ...int) (Driver, *sql.DB) {
		d := NewDriver(l.b.Driver(), t.Name()+name, opts...)
		t.Cleanup(func() { d.Close() })
		for _, i := range nodes {
			if err := d.AddNode(nodeName(i), "tcp("+nodeName(i)+":3306)/db"); err != nil {
				t.Fatal(err)
			}
		}
		return d, openDB(t, d)
	}
	for i := range l.one {
		l.ones[i], l.one[i] = pool(nodeName(i), i)
	}
	l.d, l.all = pool("all", 0, 1, 2)
	time.Sleep(3 * time.Second)
	return l
}

func put(t testing.TB, ctx context.Context, db interface {
	ExecContext(context.Context, string, ...any) (sql.Result, error)
}, key, value string) {
	t.Helper()
	if _, err := db.ExecContext(ctx, galeratest.Put(key, value)); err != nil {
		t.Fatal(err)
	}
}

// got reads a key, and returns the node that has answered too.
func got(t testing.TB, ctx context.Context, db interface {
	QueryRowContext(context.Context, string, ...any) *sql.Row
}, key string) (value, node string) {
	t.Helper()
	var seq string
	if err := db.QueryRowContext(ctx, galeratest.Get(key)).Scan(&value, &node, &seq); err != nil {
		t.Fatal(err)
	}
	return value, node
}

// What one cluster has written, another cluster of the same nodes reads. The read
// waits on the node, and no longer than it must.
func TestReadWaitsForTheWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLagging(t)
		l.group.Delay(l.nodes[1], 300*time.Millisecond)
		plain := t.Context()
		put(t, plain, l.one[0], "k", "old")
		time.Sleep(time.Second)

		put(t, plain, l.one[0], "k", "v")
		if v, _ := got(t, plain, l.one[1], "k"); v != "old" {
			t.Fatalf("without a session the node is not behind: %q", v)
		}
		ctx := ReadYourWrites(plain)
		put(t, ctx, l.one[0], "k", "new")
		began := time.Now()
		if v, _ := got(t, ctx, l.one[1], "k"); v != "new" {
			t.Errorf("read %q", v)
		}
		if took := time.Since(began); took < 290*time.Millisecond || took > 320*time.Millisecond {
			t.Errorf("it took %s", took)
		}
		began = time.Now()
		if v, _ := got(t, ctx, l.one[1], "k"); v != "new" || time.Since(began) != 0 {
			t.Errorf("the second read: %q after %s", v, time.Since(began))
		}
		if s := l.ones[1].Status().Nodes[0]; s.SessionReads.Waited != 1 || s.SessionReads.Known != 1 || s.SessionReads.WaitTime < 290*time.Millisecond {
			t.Errorf("%+v", s.SessionReads)
		}
		if s := l.ones[0].Status().Nodes[0]; s.SessionReads.Positions != 1 {
			t.Errorf("%+v", s.SessionReads)
		}
	})
}

// A call outside of a session sends what it sends without the feature.
func TestCallsOutsideOfSessionsAskNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLagging(t)
		put(t, ReadYourWrites(t.Context()), l.one[0], "k", "v")
		asked := l.watch(0)
		put(t, t.Context(), l.one[0], "k", "v")
		got(t, t.Context(), l.one[0], "k")
		if n := asked.Load(); n != 2 {
			t.Errorf("%d statements", n)
		}
	})
}

// watch counts the program's statements on a node from now on, and those for its
// sessions.
func (l *lagging) watch(node int) *atomic.Int64 {
	n := new(atomic.Int64)
	l.group.Watch(l.nodes[node], func(query string) {
		if !strings.HasPrefix(query, "DO 1") && !strings.HasPrefix(query, "SHOW") {
			n.Add(1)
		}
	})
	return n
}

// A node that does not catch up within causal_timeout is left for another one. New
// connections and later reads of the session do not wait for it.
func TestReadMovesToANodeThatHasTheWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLagging(t, WithCausalTimeout(400*time.Millisecond))
		if _, node := got(t, t.Context(), l.all, "k"); node != "n1" {
			t.Fatalf("the pool has a connection to %s", node)
		}
		l.group.Stop(l.nodes[0], true)
		ctx := ReadYourWrites(t.Context())
		put(t, ctx, l.one[2], "k", "v")
		began := time.Now()
		v, node := got(t, ctx, l.all, "k")
		if took := time.Since(began); v != "v" || node == "n1" || took > 420*time.Millisecond {
			t.Errorf("read %q on %s after %s", v, node, took)
		}
		began = time.Now()
		if v, node := got(t, ctx, l.all, "k"); v != "v" || node == "n1" || time.Since(began) != 0 {
			t.Errorf("then read %q on %s after %s", v, node, time.Since(began))
		}
		if s := l.d.Status(); s.Nodes[0].SessionReads.Moved != 1 {
			t.Errorf("%+v", s.Nodes[0].SessionReads)
		}
	})
}

// A session's open asks the nodes first that are known to have what it has seen.
func TestOpensOfASessionAskWhoHasIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLagging(t)
		l.all.SetMaxIdleConns(-1)
		got(t, ReadYourWrites(t.Context()), l.all, "k") // from now on its probes ask for positions
		l.group.Stop(l.nodes[0], true)
		ctx := ReadYourWrites(t.Context())
		put(t, ctx, l.one[2], "k", "v")
		time.Sleep(3 * time.Second)
		began := time.Now()
		if v, node := got(t, ctx, l.all, "k"); v != "v" || node == "n1" || time.Since(began) != 0 {
			t.Errorf("read %q on %s after %s", v, node, time.Since(began))
		}
	})
}

// If no node has it, the call fails with an error that says so, after
// causal_timeout, and has run nothing.
func TestNoNodeHasIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLagging(t, WithCausalTimeout(400*time.Millisecond))
		l.group.Stop(l.nodes[1], true)
		ctx := ReadYourWrites(t.Context())
		put(t, ctx, l.one[0], "k", "v")
		began := time.Now()
		var s string
		err := l.one[1].QueryRowContext(ctx, galeratest.Get("k")).Scan(&s, &s, &s)
		var node *NodeError
		if !errors.Is(err, ErrBehind) || errors.Is(err, driver.ErrBadConn) || !errors.As(err, &node) || node.Node != "n2" {
			t.Fatalf("%v", err)
		}
		if took := time.Since(began); took < 400*time.Millisecond || took > 450*time.Millisecond {
			t.Errorf("after %s", took)
		}
		if s := l.ones[1].Status().Nodes[0]; s.OpenConns != 1 || s.SessionReads.Moved != 1 {
			t.Errorf("%d connections, %+v", s.OpenConns, s.SessionReads)
		}
		l.group.Stop(l.nodes[1], false)
		if v, _ := got(t, ctx, l.one[1], "k"); v != "v" {
			t.Errorf("read %q", v)
		}
	})
}

// A read never sees less than the read before it, though the session wrote nothing.
func TestReadsAreMonotonic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLagging(t)
		l.group.Delay(l.nodes[2], 200*time.Millisecond)
		ctx := ReadYourWrites(t.Context())
		put(t, t.Context(), l.one[0], "k", "v")
		if v, _ := got(t, ctx, l.one[1], "k"); v != "v" {
			t.Fatalf("read %q", v)
		}
		if v, _ := got(t, ctx, l.one[2], "k"); v != "v" {
			t.Errorf("then %q", v)
		}
	})
}

// Transactions, prepared statements and single connections keep the session too.
func TestSessionsInEveryKindOfCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLagging(t)
		l.group.Delay(l.nodes[1], 200*time.Millisecond)
		ctx := ReadYourWrites(t.Context())
		n := 0
		next := func() string { n++; return strings.Repeat("v", n) }
		want := func(what, value string) {
			t.Helper()
			tx, err := l.one[1].BeginTx(ctx, nil)
			if err != nil {
				t.Fatal(err)
			}
			if v, _ := got(t, ctx, tx, "k"); v != value {
				t.Errorf("%s: a transaction reads %q, want %q", what, v, value)
			}
			if err := tx.Commit(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}

		v := next()
		tx, err := l.one[0].BeginTx(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		put(t, t.Context(), tx, "k", v)
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		want("a transaction", v)

		v = next()
		if tx, err = l.one[0].Begin(); err != nil {
			t.Fatal(err)
		}
		put(t, ctx, tx, "k", v)
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		want("a statement of a transaction", v)

		v = next()
		stmt, err := l.one[0].Prepare(galeratest.Put("k", v))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stmt.ExecContext(ctx); err != nil {
			t.Fatal(err)
		}
		want("a prepared statement", v)

		v = next()
		if rows, err := l.one[0].QueryContext(ctx, galeratest.Put("k", v)); err != nil || rows.Close() != nil {
			t.Fatal(err)
		}
		want("a write that is a query", v)

		v = next()
		conn, err := l.one[0].Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		put(t, ctx, conn, "k", v)
		want("a single connection", v)
		conn.Close()

		v = next()
		put(t, ctx, l.one[0], "k", v)
		read, err := l.one[1].Prepare(galeratest.Get("k"))
		if err != nil {
			t.Fatal(err)
		}
		var value, rest string
		if err := read.QueryRowContext(ctx).Scan(&value, &rest, &rest); err != nil || value != v {
			t.Errorf("a prepared statement reads %q, want %q: %v", value, v, err)
		}
	})
}

// A token carries a session to another process, and says nothing to other databases.
func TestTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLagging(t)
		l.group.Delay(l.nodes[1], 200*time.Millisecond)
		ctx := ReadYourWrites(t.Context())
		if token := Token(ctx); token != "" || Token(t.Context()) != "" {
			t.Errorf("a token of nothing: %q", token)
		}
		if ReadYourWrites(ctx) != ctx {
			t.Error("a context that has a session gets another one")
		}
		put(t, ctx, l.one[0], "k", "v")
		token := Token(ctx)
		there, err := WithToken(t.Context(), token)
		if err != nil || Token(there) != token {
			t.Fatalf("%q became %q: %v", token, Token(there), err)
		}
		if v, _ := got(t, there, l.one[1], "k"); v != "v" {
			t.Errorf("read %q", v)
		}
		foreign, err := WithToken(t.Context(), "1.galera/22f2-b/0:1-999999~pg/7:1-99")
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if got(t, foreign, l.one[1], "k"); time.Since(began) != 0 {
			t.Errorf("a token of other databases made a read wait for %s", time.Since(began))
		}
	})
}

// What is no token is an error, and leaves a session that can be used.
func TestTokensThatAreNone(t *testing.T) {
	for _, token := range []string{"x", "1.", "2.galera/a/0:1-2", "1.a:", "1.a:0", "1.a:3-2", "1.a:1-99999999999999999999", "1.a~", "1.~a", "1.a b:1", "1.a:1\x00", "1.!é", strings.Repeat("1", causal.LongestToken+1)} {
		ctx, err := WithToken(t.Context(), token)
		if err == nil || !strings.HasPrefix(err.Error(), "clustersql: WithToken: ") || strings.Contains(err.Error(), token) && len(token) > 1 {
			t.Errorf("%.40q: %v", token, err)
		}
		if ctx == nil || causal.In(ctx) == nil || Token(ctx) != "" {
			t.Errorf("%.40q leaves no session that can be used", token)
		}
	}
	if ctx, err := WithToken(t.Context(), ""); err != nil || causal.In(ctx) == nil {
		t.Errorf("the empty token: %v", err)
	}
}

// Where a node does not tell its position, the session's calls on that node go on.
// Another node first waits for all that there is.
func TestUnknownPositions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLagging(t)
		l.group.Delay(l.nodes[1], 300*time.Millisecond)
		l.group.Mute(l.nodes[0], true)
		ctx := ReadYourWrites(t.Context())
		put(t, ctx, l.one[0], "k", "v")
		if v, _ := got(t, ctx, l.one[0], "k"); v != "v" {
			t.Errorf("read %q on the same node", v)
		}
		there, err := WithToken(t.Context(), Token(ctx))
		if err != nil {
			t.Fatal(err)
		}
		if v, _ := got(t, ctx, l.one[1], "k"); v != "v" {
			t.Errorf("read %q", v)
		}
		if st := causal.In(ctx).State(); len(st.Unsure) != 0 || len(st.Floors) != 1 {
			t.Errorf("%+v", st)
		}
		l.group.Mute(l.nodes[0], false)
		got(t, ctx, l.one[0], "k")
		l.group.Mute(l.nodes[0], true)
		put(t, ctx, l.one[0], "k", "w")
		if there, err = WithToken(there, Token(ctx)); err != nil {
			t.Fatal(err)
		}
		if v, _ := got(t, there, l.one[1], "k"); v != "w" {
			t.Errorf("with a token read %q", v)
		}
	})
}

// Without a session a statement costs nothing more.
func TestNoSessionAllocatesNothing(t *testing.T) {
	ReadYourWrites(context.Background()) // from now on contexts are looked at
	ctx := t.Context()
	if n := testing.AllocsPerRun(100, func() {
		if causal.In(ctx) != nil {
			t.Error("a session")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
