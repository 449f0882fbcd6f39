package clustersql

import (
	"context"
	"database/sql/driver"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql/internal/fakedb"
	"github.com/EnumApps/clustersql/internal/race"
	"github.com/EnumApps/clustersql/internal/seedtest"
)

// A replicaSet is a set of fake nodes of PostgreSQL to which things happen.
type replicaSet struct {
	t     *testing.T
	b     *fakedb.Backend
	d     Driver
	nodes []*pgScript
	dead  []bool
	draws *rand.Rand

	mu    sync.Mutex // guards what follows
	seen  int        // the latest timeline of a primary that the cluster has heard of
	since time.Time
	steps []string
}

func (r *replicaSet) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.steps = append(r.steps, fmt.Sprintf(format, args...))
}

// latest returns the latest timeline, and the node that is its primary; -1: none.
func (r *replicaSet) latest() (timeline, primary int) {
	primary = -1
	for _, p := range r.nodes {
		p.set(func(p *pgScript) { timeline = max(timeline, p.timeline) })
	}
	for i, p := range r.nodes {
		p.set(func(p *pgScript) {
			if !p.standby && p.timeline == timeline {
				primary = i
			}
		})
	}
	return timeline, primary
}

// step lets one thing happen.
func (r *replicaSet) step() {
	i := r.draws.IntN(len(r.nodes))
	n, p := r.b.Node(nodeName(i)), r.nodes[i]
	timeline, primary := r.latest()
	switch r.draws.IntN(8) {
	case 0:
		r.note("n%d dies", i+1)
		kill(n)
		r.dead[i] = true
	case 1, 2:
		for j := range r.nodes {
			if r.dead[j] {
				r.note("n%d is back", j+1)
				n := r.b.Node(nodeName(j))
				n.Set(fakedb.Script{})
				n.SetHealth(nil, 0, false)
				r.dead[j] = false
				return
			}
		}
	case 3, 4:
		if i != primary && !r.dead[i] {
			r.note("n%d is promoted", i+1)
			p.set(func(p *pgScript) { p.standby, p.streams, p.timeline = false, false, timeline+1 })
		}
	case 5:
		if i != primary {
			r.note("n%d follows", i+1)
			p.set(func(p *pgScript) { p.standby, p.streams, p.timeline = true, true, timeline })
		}
	case 6:
		if !r.dead[i] {
			r.note("n%d is slow", i+1)
			n.SetHealth(nil, time.Second, false)
			time.Sleep(1500 * time.Millisecond)
			n.SetHealth(nil, 0, false)
		}
	case 7:
		r.note("n%d is drained", i+1)
		if r.d.Drain(nodeName(i)) == nil {
			time.Sleep(3 * time.Second)
			_ = r.d.Undrain(nodeName(i))
		}
	}
}

// watch notes the latest timeline that the cluster has heard of.
func (r *replicaSet) watch(ctx context.Context) {
	for ctx.Err() == nil {
		for _, s := range r.d.Status().Nodes {
			r.mu.Lock()
			if s.Role == RolePrimary && int(s.Timeline) > r.seen {
				r.seen, r.since = int(s.Timeline), time.Now()
			}
			r.mu.Unlock()
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// write is called for each write on a node.
func (r *replicaSet) write(i, timeline int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if timeline < r.seen && time.Since(r.since) > 4*time.Second { // a slow node has two probes more
		r.t.Errorf("a write on n%d of timeline %d, %s after timeline %d was seen: %s", i+1, timeline, time.Since(r.since), r.seen, strings.Join(r.steps, ", "))
	}
}

// Whatever happens to primaries and standbys: no write goes to an old primary once
// the new one was heard of, and when things are well again the primary is written to.
func TestNoWriteOnAnOldPrimary(t *testing.T) {
	seed := seedtest.Of(t)
	rounds := 20
	if testing.Short() || race.Enabled { // without it all rounds have a run of their own
		rounds = 8 // every strategy, and both words
	}
	for round := range rounds {
		synctest.Test(t, func(t *testing.T) {
			b := fakedb.New()
			r := &replicaSet{t: t, b: b, nodes: pgNodes(b, 3), dead: make([]bool, 3), draws: rand.New(rand.NewPCG(seed, uint64(round))), since: time.Now()}
			for i, p := range r.nodes {
				b.Node(nodeName(i)).OnStatement(func(ctx context.Context, query string, args []driver.NamedValue) error {
					err := p.run(ctx, query, args)
					if err == nil && query == "INSERT" {
						timeline := 0
						p.set(func(p *pgScript) { timeline = p.timeline })
						r.write(i, timeline)
					}
					return err
				})
			}
			strategies := []Strategy{Race, Hedged, Balanced, Ordered}
			r.d = fakeCluster(t, b, 3, WithDialect(DialectPostgres), WithRequire([]Require{RequireReadWrite, RequirePrimary}[round%2]), WithStrategy(strategies[round/2%4]))
			db := openDB(t, r.d)
			ctx, stop := context.WithCancel(t.Context())
			var work sync.WaitGroup
			work.Go(func() { r.watch(ctx) })
			work.Go(func() {
				for ctx.Err() == nil {
					within, cancel := context.WithTimeout(ctx, time.Second)
					_, _ = db.ExecContext(within, "INSERT")
					cancel()
					time.Sleep(50 * time.Millisecond)
				}
			})
			for range 40 {
				r.step()
				time.Sleep(time.Duration(r.draws.IntN(6000)) * time.Millisecond)
			}
			timeline, primary := r.latest()
			for j := range r.nodes {
				b.Node(nodeName(j)).Set(fakedb.Script{})
				b.Node(nodeName(j)).SetHealth(nil, 0, false)
				if primary < 0 {
					primary = j
					timeline++
				}
			}
			r.nodes[primary].set(func(p *pgScript) { p.standby, p.timeline = false, timeline })
			time.Sleep(15 * time.Second)
			before := r.nodes[primary].taken()
			time.Sleep(2 * time.Second)
			if r.nodes[primary].taken() == before {
				t.Errorf("round %d: nobody writes on n%d: %s; %+v", round, primary+1, strings.Join(r.steps, ", "), r.d.Status().Nodes[primary])
			}
			stop()
			work.Wait()
		})
	}
}
