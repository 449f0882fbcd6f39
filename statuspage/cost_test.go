package statuspage

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql/internal/race"
)

// busy is a stage whose nodes have had a minute of checks and opens.
func busy(t testing.TB, nodes ...int) *page {
	s := newStage(t, true, nodes...)
	for _, db := range s.dbs {
		for range 200 {
			c, err := db.Conn(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			c.Raw(func(any) error { return nil })
			c.Close()
		}
	}
	return Handler(Clusters(s.clusters...)).(*page)
}

// ofATick does what a tick costs at most: a snapshot, and a message with all
// cells, as if each had changed.
func (p *page) ofATick() { p.hub.fresh(0).news(0) }

// BenchmarkTick is what a page open in a tab costs the process, twice a second:
// three clusters of three nodes, and one of 300.
func BenchmarkTick(b *testing.B) {
	for _, tc := range []struct {
		name  string
		nodes []int
	}{{"3x3", []int{3, 3, 3}}, {"300", []int{300}}} {
		b.Run(tc.name, func(b *testing.B) {
			page := busy(b, tc.nodes...)
			b.ReportAllocs()
			for b.Loop() {
				page.ofATick()
			}
		})
	}
}

// BenchmarkPage is what a page without a script costs, each time it loads
// itself.
func BenchmarkPage(b *testing.B) {
	page := busy(b, 3, 3, 3)
	for b.Loop() {
		page.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	}
}

// A page that is open in a tab costs less than 0.2 percent of a core: with two
// ticks a second that is a millisecond for a tick. It takes about a tenth of
// that. The best of many is the one in which no other program ran.
func TestPageInATabIsCheap(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector is what it would measure")
	}
	page := busy(t, 3, 3, 3)
	var best time.Duration
	for range 50 {
		began := time.Now()
		for range 10 {
			page.ofATick()
		}
		if took := time.Since(began) / 10; best == 0 || took < best {
			best = took
		}
	}
	t.Logf("a tick takes %v: %.3f %% of a core", best, 100*best.Seconds()/tick.Seconds())
	if share := best.Seconds() / tick.Seconds(); share > 0.002 {
		t.Errorf("a tick takes %v: %.2f %% of a core", best, 100*share)
	}
}

// The stream of 300 nodes stays small enough for a phone: the plots and the
// times go out every five seconds only.
func TestManyNodesSendLess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		page := busy(t, 300)
		first := page.hub.fresh(0)
		time.Sleep(2 * tick)
		second := page.hub.fresh(0)
		message := second.news(first.version)
		t.Logf("300 nodes: %d kB at first, %d kB for a second", len(first.news(0))>>10, len(message)>>10)
		if bytes.Contains(message, []byte(`plot":`)) {
			t.Error("the plots were sent before their time")
		}
		if len(message) > 100<<10 {
			t.Errorf("a message has %d kB", len(message)>>10)
		}
		time.Sleep(slowTick)
		if !bytes.Contains(page.hub.fresh(0).news(second.version), []byte(`plot":`)) {
			t.Error("the plots are not sent")
		}
		w := httptest.NewRecorder()
		page.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		t.Logf("the page has %d kB", w.Body.Len()>>10)
		if w.Code != http.StatusOK || w.Body.Len() > 8<<20 {
			t.Errorf("the page has %d kB", w.Body.Len()>>10)
		}
	})
}
