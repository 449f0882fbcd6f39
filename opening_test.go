package clustersql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql/internal/fakedb"
	"github.com/EnumApps/clustersql/internal/health"
)

// setAll makes every node answer connects and statements with err; nil is
// healthy.
func setAll(b *fakedb.Backend, n int, err error) {
	for i := range n {
		b.Node(nodeName(i)).Set(fakedb.Script{Err: err})
		b.Node(nodeName(i)).SetHealth(err, 0, false)
	}
}

// pings lets many callers ping at once, each with a deadline. It returns how
// many failed.
func pings(t *testing.T, db *sql.DB, callers int, limit time.Duration) *atomic.Int64 {
	t.Helper()
	var wg sync.WaitGroup
	failed := new(atomic.Int64)
	for range callers {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			if err := db.PingContext(ctx); err != nil {
				failed.Add(1)
			}
		})
	}
	wg.Wait()
	return failed
}

// Every node refuses for a minute, and opens wait. However many there are, they
// start no attempts of their own: the nodes get only their actors' probes, no
// more often than the first backoff. All opens are answered when the first node
// is up.
func TestOpensWaitForTheFirstNodeToComeUp(t *testing.T) {
	for _, callers := range []int{1, 1000} {
		t.Run(fmt.Sprint(callers, " callers"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				d := fakeCluster(t, b, 3)
				db := openDB(t, d)
				synctest.Wait()
				setAll(b, 3, errRefused)
				time.Sleep(2 * time.Second)
				before := d.Status()
				// While an open waits, the wait between probes is at least half
				// of health.BackoffFirst, and below the whole of it.
				fewest, most := uint64(time.Minute/health.BackoffFirst), uint64(2*time.Minute/health.BackoffFirst)
				up := make(chan time.Time, 1)
				go func() {
					time.Sleep(time.Minute)
					during := d.Status()
					for i, s := range during.Nodes {
						probes := s.Probes - before.Nodes[i].Probes
						if s.Opens != before.Nodes[i].Opens || probes < fewest || probes > most {
							t.Errorf("%s: %d attempts and %d probes in a minute", s.Name, s.Opens-before.Nodes[i].Opens, probes)
						}
					}
					b.Node("n2").SetHealth(nil, 0, false)
					b.Node("n2").Set(fakedb.Script{})
					up <- time.Now()
				}()
				if failed := pings(t, db, callers, 2*time.Minute); failed.Load() != 0 {
					t.Errorf("%d failed", failed.Load())
				}
				well := <-up
				s := d.Status().Nodes[1]
				if s.State != StateUp || s.Since.Sub(well) > health.BackoffFirst {
					t.Errorf("%v %v after the server was well", s.State, s.Since.Sub(well))
				}
				if late := time.Since(s.Since); late > 100*time.Millisecond {
					t.Errorf("answered %v after the node was up", late)
				}
			})
		})
	}
}

// The opens of a program that starts before its database wait too.
func TestFirstContactWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		setAll(b, 2, errRefused)
		d := fakeCluster(t, b, 2)
		db := openDB(t, d)
		time.AfterFunc(4*time.Second, func() { setAll(b, 2, nil) })
		began := time.Now()
		if err := db.Ping(); err != nil || time.Since(began) > 4*time.Second+health.BackoffFirst {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}

// An open stops waiting when its caller leaves, after open_timeout, or when the
// cluster is closed. Its error says of each node why and since when it is down,
// and when it is tried next.
func TestWaitingOpenEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d := fakeCluster(t, b, 2, WithOpenTimeout(5*time.Second))
		db := openDB(t, d)
		synctest.Wait()
		setAll(b, 2, errRefused)
		fell := time.Now()
		time.Sleep(3 * time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		began := time.Now()
		err := db.PingContext(ctx)
		if took := time.Since(began); took != time.Second || !errors.Is(err, context.Canceled) {
			t.Errorf("after %v: %v", took, err)
		}
		began = time.Now()
		err = db.Ping()
		if took := time.Since(began); took != 5*time.Second || !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, errRefused) {
			t.Errorf("after %v: %v", took, err)
		}
		wantOpenError(t, err, 2)
		var open *OpenError
		errors.As(err, &open)
		for _, a := range open.Attempts {
			s, _ := findStatus(d, a.Node)
			if a.State != StateDown || a.Since != s.Since || a.Since.Before(fell) || a.NextCheck.Before(time.Now().Add(-time.Second)) || a.Took != 0 {
				t.Errorf("%+v", a)
			}
			if text := a.Error(); text != a.Node+" (down): refused: boom: connection refused" {
				t.Error(text)
			}
		}
		ended := make(chan error)
		go func() { ended <- db.PingContext(context.Background()) }()
		time.Sleep(time.Second)
		began = time.Now()
		d.Close()
		if err := <-ended; !errors.Is(err, ErrClosed) || time.Since(began) != 0 {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}

func findStatus(d Driver, node string) (NodeStatus, bool) {
	for _, s := range d.Status().Nodes {
		if s.Name == node {
			return s, true
		}
	}
	return NodeStatus{}, false
}

// A node that is added serves the opens that wait. A cluster without nodes has
// nothing to wait for.
func TestMembershipEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		setAll(b, 1, errRefused)
		d := fakeCluster(t, b, 1)
		db := openDB(t, d)
		ended := make(chan error)
		go func() { ended <- db.PingContext(context.Background()) }()
		time.Sleep(2 * time.Second)
		began := time.Now()
		if err := d.AddNode("n2", "n2"); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil || time.Since(began) > 100*time.Millisecond {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		synctest.Wait() // the probe of n2 is connected: without it a refusal says nothing of the connection in the pool
		setAll(b, 2, errRefused)
		time.Sleep(2 * time.Second)
		go func() {
			_, err := db.ExecContext(context.Background(), "x")
			ended <- err
		}()
		time.Sleep(time.Second)
		_ = d.DelNode("n1")
		_ = d.DelNode("n2")
		if err := <-ended; !errors.Is(err, ErrNoNodes) {
			t.Errorf("got %v", err)
		}
	})
}

// Trouble that waiting cannot cure is an error at once: a wrong password on
// every node, an unknown host, and an unexplained failure of nodes that never
// worked. If one node may still come up, an open waits.
func TestSomeTroubleIsNotWaitedFor(t *testing.T) {
	errExpired := &mysql.MySQLError{Number: 1820, SQLState: [5]byte([]byte("HY000")), Message: "You must SET PASSWORD before executing this statement"}
	errLocked := &mysql.MySQLError{Number: 4151, SQLState: [5]byte([]byte("HY000")), Message: "Access denied, this account is locked"}
	unknownHost := &net.DNSError{Err: "no such host", Name: "n1"}
	for _, tc := range []struct {
		name   string
		errs   [2]error
		waits  bool
		within string
	}{
		{"wrong password", [2]error{errDenied, errDenied}, false, "Access denied"},
		{"no such host", [2]error{unknownHost, unknownHost}, false, "no such host"},
		{"unexplained", [2]error{errBoom, errBoom}, false, "boom"},
		{"password expired", [2]error{errExpired, errExpired}, false, "You must SET PASSWORD"},
		{"account locked", [2]error{errLocked, errLocked}, false, "account is locked"},
		{"one refused", [2]error{errDenied, errRefused}, true, "boom"},
		{"one not ready", [2]error{errNotReady, errBoom}, true, "WSREP"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				for i, err := range tc.errs {
					b.Node(nodeName(i)).Set(fakedb.Script{Err: err})
				}
				db := openDB(t, fakeCluster(t, b, 2))
				for range 2 { // at first contact, and with known nodes
					began := time.Now()
					err := db.Ping()
					wantOpenError(t, err, 2)
					if took := time.Since(began); tc.waits != (took == 10*time.Second) || !tc.waits && took != 0 || !strings.Contains(err.Error(), tc.within) {
						t.Errorf("after %v: %v", took, err)
					}
					time.Sleep(5 * time.Second)
				}
			})
		})
	}
}

// backoffs returns the fewest and the most tries in a span, if the backoff
// begins with the span. The try at its start counts. The n-th wait is at least
// half of the full length of backoff n, and below the whole of it. A try starts
// at most late after its wait is over.
func backoffs(span, late time.Duration) (fewest, most int) {
	tries := func(wait func(full time.Duration) time.Duration) int {
		for n, spent := 0, time.Duration(0); ; n++ {
			full := health.BackoffMost
			if n < 5 {
				full = min(health.BackoffFirst<<n, health.BackoffMost)
			}
			if spent += wait(full); spent > span {
				return n + 1
			}
		}
	}
	return tries(func(full time.Duration) time.Duration { return full + late }),
		tries(func(full time.Duration) time.Duration { return full / 2 })
}

// A full node is tried by one open at a time, after a backoff, and stays up.
// While another node has room no open fails. If there is none, opens wait and
// are served when there is room again.
func TestFullNode(t *testing.T) {
	full := &mysql.MySQLError{Number: 1040, Message: "Too many connections"}
	callers := 1000
	if testing.Short() {
		callers = 200
	}
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d := fakeCluster(t, b, 2)
		db := openDB(t, d)
		db.SetMaxIdleConns(0)
		synctest.Wait()
		b.Node("n1").Set(fakedb.Script{Err: full})
		b.Node("n2").Set(fakedb.Script{Delay: time.Millisecond}) // n1 is asked before this one wins
		for range 600 {
			if err := db.Ping(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		// An open may notice up to 101 ms late that the wait is over.
		fewest, most := backoffs(time.Minute, 101*time.Millisecond)
		if s := d.Status().Nodes[0]; s.State != StateUp || int(s.Errors) < fewest || int(s.Errors) > most {
			t.Errorf("%v, %d opens met the full node in a minute, want %d to %d", s.State, s.Errors, fewest, most)
		}
		b.Node("n2").Set(fakedb.Script{Err: full})
		time.Sleep(10 * time.Second)
		before := d.Status()
		time.AfterFunc(time.Minute, func() {
			for i, s := range d.Status().Nodes {
				if n := s.Errors - before.Nodes[i].Errors; int(n) > most || s.State != StateUp || !s.Full && s.Attempts == 0 {
					t.Errorf("%d attempts of %d opens on %+v", n, callers, s)
				}
			}
			b.Node("n2").Set(fakedb.Script{})
		})
		if failed := pings(t, db, callers, 2*time.Minute); failed.Load() != 0 {
			t.Errorf("%d of %d failed", failed.Load(), callers)
		}
		if s := d.Status().Nodes[1]; s.Full {
			t.Errorf("full: %+v", s)
		}
	})
}

// An open that met a full node asks it again when the node's backoff is over,
// and not only after the next probe. n tries that meet no room take n backoffs.
func TestFullNodeIsAskedAgainAfterItsBackoff(t *testing.T) {
	full := fakedb.Script{Delay: time.Millisecond, Err: &mysql.MySQLError{Number: 1040, Message: "Too many connections"}}
	for _, opens := range []int{1, 50} {
		for refused, most := range map[int]time.Duration{1: 250 * time.Millisecond, 2: 750 * time.Millisecond, 3: 1750 * time.Millisecond} {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				d := fakeCluster(t, b, 1, WithProbe(time.Minute, time.Second))
				db := openDB(t, d)
				synctest.Wait()
				first := min(opens, DefaultConfig().MaxOpensPerNode) // they meet the same shortage
				for range first + refused - 1 {
					b.Node("n1").Enqueue(full)
				}
				began := time.Now()
				if failed := pings(t, db, opens, 10*time.Second); failed.Load() != 0 {
					t.Errorf("%d of %d failed", failed.Load(), opens)
				}
				if took := time.Since(began); took > most+time.Duration(refused)*time.Millisecond {
					t.Errorf("%d opens that met no room %d times: %v, want at most %v", opens, refused, took, most)
				}
				if connects := b.Node("n1").Stats().Connects; connects > 1+first+refused-1+opens {
					t.Errorf("%d connects for %d opens", connects, opens)
				}
			})
		}
	}
}

// All nodes are silent for 5 s. On an unbounded pool all callers with 15 s
// succeed. They do so on a full pool too, where database/sql opens one conn
// after the other without a deadline, because open_timeout is longer.
func TestAllNodesSilentForAMoment(t *testing.T) {
	for name, most := range map[string]int{"unbounded": 0, "full": 2} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				d := fakeCluster(t, b, 3)
				db := openDB(t, d)
				db.SetMaxOpenConns(most)
				synctest.Wait()
				until := make(chan struct{})
				for i := range 3 {
					b.Node(nodeName(i)).Set(fakedb.Script{Until: until})
					b.Node(nodeName(i)).SetHealth(nil, 0, true)
				}
				time.AfterFunc(5*time.Second, func() {
					for i := range 3 {
						b.Node(nodeName(i)).SetHealth(nil, 0, false)
					}
					close(until)
				})
				if failed := pings(t, db, 50, 15*time.Second); failed.Load() != 0 {
					t.Errorf("%d of 50 failed", failed.Load())
				}
				for _, s := range d.Status().Nodes {
					if s.Opens > 120 {
						t.Errorf("%d attempts on %s", s.Opens, s.Name)
					}
				}
			})
		})
	}
}

// A node that stays suspect because it is slow serves the opens that wait, once
// it has proved that it works.
func TestSuspectNodeServesThoseWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d := fakeCluster(t, b, 1)
		db := openDB(t, d)
		synctest.Wait()
		n := (*d.m.nodes.Load())[0]
		b.Node("n1").Set(fakedb.Script{Delay: 400 * time.Millisecond})
		n.reportOutrun(outrun{&request{began: time.Now().Add(-100 * time.Millisecond)}, time.Millisecond, time.Now()})
		time.Sleep(5 * time.Second)
		b.Node("n1").Set(fakedb.Script{Err: io.ErrUnexpectedEOF})
		time.AfterFunc(50*time.Millisecond, func() { b.Node("n1").Set(fakedb.Script{Delay: 400 * time.Millisecond}) })
		began := time.Now()
		err := db.Ping()
		// One probe may fail within the 50 ms. The next one dials, and so does
		// the open.
		if took := time.Since(began); err != nil || took > 2*mostWait(time.Second)+2*400*time.Millisecond {
			t.Errorf("after %v: %v", took, err)
		}
		if s := d.Status().Nodes[0]; s.State != StateSuspect {
			t.Errorf("%v: the test shows nothing", s.State)
		}
	})
}
