package clustersql

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql/internal/fakedb"
)

// Of a herd of opens a few hundred begin at a time, where the nodes are quick:
// the others have their caller's goroutine and no more. Where the nodes are
// slow, the herd is served as fast as they serve it. The short run has a quarter of
// it: the race detector keeps some memory for each goroutine that there was.
func TestHerdOfOpensBeginsAFewAtATime(t *testing.T) {
	opens := 4000
	if testing.Short() {
		opens = 1000
	}
	const each = 5 // goroutines of an open at three nodes: three attempts, what collects them, and one to spare
	for _, c := range []struct {
		name       string
		delay      time.Duration
		goroutines int // beside the callers
	}{
		{"quick nodes", time.Millisecond, opensAtOnce * each},
		{"slow nodes", 50 * time.Millisecond, opens * each},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				backend := fakedb.New()
				d := fakeCluster(t, backend, 3, WithStrategy(Race), WithOpenTimeout(time.Minute))
				connector := d.Connector()
				if err := d.WaitReady(t.Context(), 3); err != nil {
					t.Fatal(err)
				}
				for i := range 3 {
					backend.Node(nodeName(i)).Set(fakedb.Script{Delay: c.delay})
				}
				before := runtime.NumGoroutine()
				ctx, begin := context.WithCancel(t.Context())
				var callers sync.WaitGroup
				for range opens {
					callers.Go(func() {
						<-ctx.Done()
						conn, err := connector.Connect(t.Context())
						if err != nil {
							t.Error(err)
							return
						}
						conn.Close()
					})
				}
				synctest.Wait()
				began, took := time.Now(), make(chan time.Duration, 1)
				begin()
				go func() {
					callers.Wait()
					took <- time.Since(began)
				}()
				most := 0
				for len(took) == 0 { // while nothing runs: what has just ended is not counted
					time.Sleep(c.delay / 2)
					synctest.Wait()
					most = max(most, goroutinesAbove(before+opens+c.goroutines))
				}
				last := <-took
				t.Logf("at most %d goroutines beside %d callers; it took %s", most-before-opens, opens, last)
				if most-before-opens > c.goroutines {
					t.Errorf("%d goroutines beside the callers, want at most %d", most-before-opens, c.goroutines)
				}
				// Each node answers max_opens at a time.
				if longest := time.Duration(opens/8) * c.delay; last > longest {
					t.Errorf("it took %s, want at most %s", last, longest)
				}
			})
		})
	}
}
