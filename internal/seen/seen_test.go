package seen

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"database/sql/driver"

	"github.com/EnumApps/clustersql/internal/causal"
	"github.com/EnumApps/clustersql/internal/dialect"
)

// A database is what a test says that its nodes tell.
type database struct {
	now     func() causal.Position
	all     bool
	err     error
	waits   bool // the server can wait
	catches bool // the node can tell whether it has all that there is
	hangs   bool

	looks, awaits, catchUps int
}

func (d *database) Position(ctx context.Context, _ driver.Conn, _ dialect.Site) (causal.Position, bool, error) {
	d.looks++
	if d.hangs {
		<-ctx.Done()
		return causal.Position{}, false, ctx.Err()
	}
	if d.err != nil {
		return causal.Position{}, false, d.err
	}
	return d.now(), d.all, nil
}

func (d *database) Await(ctx context.Context, _ driver.Conn, _ dialect.Site, want causal.Position, limit time.Duration) (bool, error) {
	d.awaits++
	for end := time.Now().Add(limit); d.waits && !d.now().Has(want) && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	return d.waits, nil
}

func (d *database) CatchUp(context.Context, driver.Conn, dialect.Site) (causal.Position, bool, error) {
	d.catchUps++
	return d.now(), d.catches, d.err
}

// at is a node that has the changes up to one of each millisecond since it began.
func at(lag time.Duration) func() causal.Position {
	began := time.Now().Add(lag)
	return func() causal.Position { return causal.At("db/1", uint64(max(0, time.Since(began).Milliseconds()))) }
}

func conn(d *database) Conn {
	return Conn{Positions: d, Timeout: 100 * time.Millisecond, Elsewhere: func() bool { return true }}
}

func session(p causal.Position) *causal.Session {
	s := new(causal.Session)
	s.Saw(p)
	return s
}

// A call waits no longer than until the node has it, whether the server can wait or
// not, and the node remembers what it has told.
func TestAwaitEndsWhenTheNodeHasIt(t *testing.T) {
	for _, waits := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			n, d := new(Node), &database{now: at(0), waits: waits}
			s, began := session(causal.At("db/1", 50)), time.Now()
			if why, err := n.Await(t.Context(), s, conn(d)); why != "" || err != nil {
				t.Fatal(why, err)
			}
			if took := time.Since(began); took < 50*time.Millisecond || took > 50*time.Millisecond+longestPause {
				t.Errorf("it took %s", took)
			}
			looks := d.looks
			if why, err := n.Await(t.Context(), s, conn(d)); why != "" || err != nil || d.looks != looks {
				t.Errorf("%s, %v: the node was asked what it had told", why, err)
			}
			if c := n.Counts(); c.Waited.Load() != 1 || c.Known.Load() != 1 {
				t.Error("counted otherwise")
			}
			if all, some := n.Has(s, 0); !all || !some {
				t.Error("an open does not know it")
			}
			if all, _ := n.Has(s, 1); all {
				t.Error("what is known holds for the next generation too")
			}
			if n.Forget(); n.in(0).at.IsZero() == false {
				t.Error("it is not forgotten")
			}
		})
	}
}

// A node that is behind is waited for once; then it is asked only, for a while.
func TestANodeThatIsBehindIsNotWaitedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, d := new(Node), &database{now: at(time.Hour)}
		s := session(causal.At("db/1", 50))
		for i, want := range []time.Duration{100 * time.Millisecond, 0, 0} {
			began := time.Now()
			why, err := n.Await(t.Context(), s, conn(d))
			if took := time.Since(began); !strings.Contains(why, "causal_timeout (100ms)") || err != nil || took != want || !n.IsBehind(time.Now()) {
				t.Errorf("%d: %q, %v after %s", i, why, err, took)
			}
		}
		alone, began := conn(d), time.Now()
		alone.Elsewhere = func() bool { return false }
		if why, _ := n.Await(t.Context(), s, alone); why == "" || time.Since(began) != 100*time.Millisecond {
			t.Errorf("where there is no other node: %q after %s", why, time.Since(began))
		}
		time.Sleep(behindFor)
		if n.IsBehind(time.Now()) {
			t.Error("it is behind for ever")
		}
	})
}

// A node of another database, one that has all that there is, and one that cannot be
// asked.
func TestAwaitOfOtherNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := session(causal.At("db/1", 1<<40))
		lost := errors.New("lost")
		for name, tc := range map[string]struct {
			d    database
			s    *causal.Session
			why  string
			err  error
			took time.Duration
		}{
			"another database":      {database{now: at(0)}, session(causal.At("db/2", 9)), "", nil, 0},
			"a primary":             {database{now: at(0), all: true}, s, "", nil, 0},
			"no position":           {database{now: at(0), err: dialect.ErrNoPosition}, s, dialect.ErrNoPosition.Error(), nil, 0},
			"a lost connection":     {database{now: at(0), err: lost}, s, "", lost, 0},
			"a server that hangs":   {database{now: at(0), hangs: true}, s, "the server gave no answer", nil, 200 * time.Millisecond},
			"nothing was seen":      {database{now: at(0), err: lost}, new(causal.Session), "", nil, 0},
			"a session of a token":  {database{now: at(0), catches: true}, joined(t, "1.!"), "", nil, 0},
			"that it cannot answer": {database{now: at(0)}, joined(t, "1.!"), "cannot tell whether it has all", nil, 0},
		} {
			n, began := new(Node), time.Now()
			why, err := n.Await(t.Context(), tc.s, conn(&tc.d))
			if why != tc.why && (tc.why == "" || !strings.Contains(why, tc.why)) || !errors.Is(err, tc.err) || time.Since(began) != tc.took {
				t.Errorf("%s: %q, %v after %s", name, why, err, time.Since(began))
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := new(Node).Await(ctx, s, conn(&database{now: at(0)})); !errors.Is(err, context.Canceled) {
			t.Errorf("a caller who has left: %v", err)
		}
	})
}

func joined(t *testing.T, token string) *causal.Session {
	t.Helper()
	s := new(causal.Session)
	if err := s.Join(token, time.Now().UnixNano()); err != nil {
		t.Fatal(err)
	}
	return s
}

// What is not known of a node is settled by what it tells later, and is no matter on
// that node itself as long as it is the same.
func TestDoubtsAreSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, other := new(Node), new(Node)
		d := &database{now: at(0), err: dialect.ErrNoPosition}
		s := new(causal.Session)
		if err := first.Note(s, conn(d)); err != nil || len(s.State().Unsure) != 1 || first.Counts().Missed.Load() != 1 {
			t.Fatalf("%v, %+v", err, s.State())
		}
		if all, some := first.Has(s, 0); !all || !some {
			t.Error("the node itself does not have it")
		}
		if all, _ := first.Has(s, 1); all {
			t.Error("the node has it in its next generation")
		}
		if all, _ := other.Has(s, 0); all {
			t.Error("another node has it")
		}
		time.Sleep(10 * time.Millisecond)
		first.Place(0, time.Now(), d.now()) // a probe
		if other.Place(0, time.Now(), causal.At("db/1", 4)); s.State().Unsure == nil {
			t.Error("settled by another node")
		}
		if all, _ := other.Has(s, 0); all || len(s.State().Unsure) != 0 || s.State().Floors[0].String() != "db/1:1-10" {
			t.Errorf("%+v", s.State())
		}
		d.err = errors.New("lost")
		if err := other.Note(s, conn(d)); err == nil || len(s.State().Unsure) != 1 {
			t.Errorf("%v, %+v", err, s.State())
		}
	})
}
