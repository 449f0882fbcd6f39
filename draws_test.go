package clustersql

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql/internal/fakedb"
	"github.com/EnumApps/clustersql/internal/held"
	"github.com/EnumApps/clustersql/internal/seedtest"
)

// A cluster's seed decides all that it draws: when its nodes are probed, the
// numbers for its strategy, and the ages of its connections. Another seed gives
// other draws; that it does not happens less often than once in 2^100.
func TestDrawsRepeat(t *testing.T) {
	drawn := func(seed uint64) (text string) {
		synctest.Test(t, func(t *testing.T) {
			b := fakedb.New()
			d := fakeCluster(t, b, 2, WithSeed(seed), WithMaxAge(time.Hour))
			b.Node("n2").SetHealth(errBoom, 0, false)
			c := d.Connector().(*connector)
			defer c.Close()
			for range 5 {
				time.Sleep(2 * time.Second)
				synctest.Wait()
				now := time.Now()
				for _, s := range d.Status().Nodes {
					text += fmt.Sprint(s.Name, " ", s.NextCheck.Sub(now), "\n")
				}
				text += fmt.Sprint(c.m.draw(1<<30), " ", held.Conn{Aging: held.Aging(c.m.draws)}.AgeLimit(time.Hour), "\n")
			}
		})
		return text
	}
	seed := seedtest.Of(t)
	first := drawn(seed)
	if again := drawn(seed); again != first {
		t.Errorf("once:\n%sand then:\n%s", first, again)
	}
	if other := drawn(seed + 1); other == first {
		t.Errorf("two seeds, and both:\n%s", first)
	}
}

// Clusters without a seed draw independently, and so do the nodes of one
// cluster. Equal draws happen once in 2^62.
func TestDrawsDifferWithoutASeed(t *testing.T) {
	a := newManager(nil, t.Name()+"a", []Option{quiet})
	b := newManager(nil, t.Name()+"b", []Option{quiet})
	if a.draws.Float64() == b.draws.Float64() {
		t.Error("two clusters draw the same")
	}
}
