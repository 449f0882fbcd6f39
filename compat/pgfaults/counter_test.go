package pgfaults

import (
	"context"
	"database/sql"
	"sort"
	"sync"
	"testing"
	"time"

	"github.com/EnumApps/clustersql/internal/pgcluster"
)

// outsider is the role of those who watch.
const outsider = "outsider"

// A counter is a row that one writer raises, on whichever node is the primary.
// It knows which values were committed.
type counter struct {
	mu        sync.Mutex
	committed []commit
}

type commit struct {
	end   time.Time
	value int64
}

const raiseEvery = 20 * time.Millisecond

// raise raises the counter until ctx is done. A statement that arrives late does
// not lower it.
func (c *counter) raise(ctx context.Context, t *testing.T, servers *pgcluster.Cluster, wg *sync.WaitGroup) {
	t.Helper()
	pools := make(map[*pgcluster.Node]*sql.DB)
	for _, n := range servers.Nodes {
		pools[n] = plain(t, n)
	}
	var v int64
	if err := pools[servers.Primary()].QueryRow("SELECT v FROM counter").Scan(&v); err != nil {
		t.Fatal(err)
	}
	wg.Go(func() {
		tick := time.NewTicker(raiseEvery)
		defer tick.Stop()
		for ctx.Err() == nil {
			<-tick.C
			v++
			patience, cancel := context.WithTimeout(context.Background(), time.Second)
			if _, err := pools[servers.Primary()].ExecContext(patience, "UPDATE counter SET v = GREATEST(v, $1)", v); err == nil {
				c.commit(v)
			}
			cancel()
		}
		for _, db := range pools {
			db.Close()
		}
	})
}

// plain opens a node for an outsider, with the backend alone.
func plain(t *testing.T, n *pgcluster.Node) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", n.DSNOf(outsider, "connect_timeout=2"))
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func (c *counter) commit(v int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.committed = append(c.committed, commit{time.Now(), v})
}

// at returns the highest value whose commit was acknowledged by then.
func (c *counter) at(then time.Time) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := sort.Search(len(c.committed), func(i int) bool { return c.committed[i].end.After(then) })
	if i == 0 {
		return 0
	}
	return c.committed[i-1].value
}

// stale returns the reads that did not see what was committed too long before.
func (c *counter) stale(ops []op) int {
	n := 0
	for _, o := range ops {
		if o.err == nil && o.value < c.at(o.begin.Add(-maxLag-slack)) {
			n++
		}
	}
	return n
}
