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
		took       time.Duration
	}{
		{"quick nodes", 0, opensAtOnce * each, quickOpen},
		// Each node answers max_opens at a time.
		{"slow nodes", 50 * time.Millisecond, opens * each, time.Duration(opens/8) * 50 * time.Millisecond},
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
				began, before := time.Now(), runtime.NumGoroutine()
				ctx, begin := context.WithCancel(t.Context())
				var callers sync.WaitGroup
				var mu sync.Mutex
				most := 0
				for range opens {
					callers.Go(func() {
						<-ctx.Done()
						conn, err := connector.Connect(t.Context())
						if err != nil {
							t.Error(err)
							return
						}
						mu.Lock()
						most = max(most, goroutinesAbove(before+opens+c.goroutines))
						mu.Unlock()
						conn.Close()
					})
				}
				synctest.Wait()
				begin()
				callers.Wait()
				took := time.Since(began)
				t.Logf("at most %d goroutines beside %d callers; it took %s", most-before-opens, opens, took)
				if most-before-opens > c.goroutines {
					t.Errorf("%d goroutines beside the callers, want at most %d", most-before-opens, c.goroutines)
				}
				if took > c.took {
					t.Errorf("it took %s, want at most %s", took, c.took)
				}
			})
		})
	}
}
