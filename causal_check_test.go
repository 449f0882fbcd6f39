package clustersql

import (
	"context"
	"database/sql"
	"math/rand/v2"
	"net"
	"strconv"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql/internal/causaltest"
	"github.com/EnumApps/clustersql/internal/galeratest"
	"github.com/EnumApps/clustersql/internal/seedtest"
)

// Sessions write and read on three nodes that lag, stop and die. With ReadYourWrites
// no read sees less than it must. Without it the same check finds many that do. The
// short run makes less than a third of the reads.
func TestSessionsSeeNothingStale(t *testing.T) {
	reads := int64(20_000)
	if testing.Short() {
		reads = 6_000
	}
	for name, causal := range map[string]bool{"ReadYourWrites": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			seed := seedtest.Of(t)
			synctest.Test(t, func(t *testing.T) {
				l := newLagging(t, WithStrategy(Balanced), WithCausalTimeout(200*time.Millisecond))
				l.draws = rand.New(rand.NewPCG(seed, 1))
				r := causaltest.Run(l.disturb(t), causaltest.Options{
					Sessions: 8, Reads: reads, Longest: time.Hour, Seed: seed,
					Put:   func(ctx context.Context, key int, value int64) error { return l.put(ctx, key, value) },
					Get:   func(ctx context.Context, key int) (int64, error) { return l.get(ctx, l.all, key) },
					Open:  opener(causal),
					Carry: carrier(t, causal),
				})
				t.Log(r)
				bad := r.Stale + r.Backward
				switch {
				case causal && bad > 0:
					t.Errorf("%d reads saw less than they must: %s", bad, r.Example)
				case !causal && (r.Stale < reads/200 || r.Backward < reads/2000):
					t.Error("the check found no stale reads where there must be some")
				case r.Reads < reads*3/4:
					t.Errorf("only %d reads: %v", r.Reads, r.FirstError)
				}
			})
		})
	}
}

func opener(causal bool) func(ctx context.Context) context.Context {
	if causal {
		return ReadYourWrites
	}
	return func(ctx context.Context) context.Context { return ctx }
}

// carrier gives a session to another process.
func carrier(t *testing.T, causal bool) func(ctx context.Context) context.Context {
	if !causal {
		return nil
	}
	return func(ctx context.Context) context.Context {
		next, err := WithToken(ctx, Token(ctx))
		if err != nil {
			t.Error(err)
		}
		return next
	}
}

func (l *lagging) put(ctx context.Context, key int, value int64) error {
	_, err := l.all.ExecContext(ctx, galeratest.Put(strconv.Itoa(key), strconv.FormatInt(value, 10)))
	return err
}

// get reads a counter. A user thinks for a moment before it, and reads the rows for
// another one, so that the pool has connections to all nodes in use.
func (l *lagging) get(ctx context.Context, db *sql.DB, key int) (n int64, err error) {
	l.mu.Lock()
	before, within := time.Duration(l.draws.IntN(2000)), time.Duration(l.draws.IntN(4000))
	l.mu.Unlock()
	time.Sleep(before * time.Microsecond)
	rows, err := db.QueryContext(ctx, galeratest.Get(strconv.Itoa(key)))
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	time.Sleep(within * time.Microsecond)
	var value, rest string
	if !rows.Next() {
		return 0, rows.Err()
	}
	if err := rows.Scan(&value, &rest, &rest); err != nil || value == "" {
		return 0, err
	}
	return strconv.ParseInt(value, 10, 64)
}

// disturb makes the nodes lag, stop and lose their connections, until the context
// that it returns is done.
func (l *lagging) disturb(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	t.Cleanup(func() { cancel(); <-ended })
	go func() {
		defer close(ended)
		for i := 0; ctx.Err() == nil; i++ {
			n := l.nodes[i%3]
			switch i % 5 {
			case 0, 1:
				l.group.Delay(n, time.Duration(10+i%7*20)*time.Millisecond)
			case 2:
				l.group.Stop(n, true)
			case 3:
				n.SetHealth(errGoneNode, 0, false)
			default:
				l.group.Delay(n, 0)
			}
			select {
			case <-time.After(300 * time.Millisecond):
			case <-ctx.Done():
			}
			l.group.Stop(n, false)
			n.SetHealth(nil, 0, false)
		}
	}()
	return ctx
}

// errGoneNode is what a node that dies says.
var errGoneNode error = &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
