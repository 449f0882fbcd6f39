package integration

import (
	"context"
	"database/sql"
	"slices"
	"sort"
	"sync"
	"testing"
	"time"

	"github.com/EnumApps/clustersql/internal/galera"
	"github.com/go-sql-driver/mysql"
)

// replicationDelay is how far a healthy node may lag behind the group. A read
// must see what was committed that long before it began.
const replicationDelay = time.Second

// hasty are the parameters of a plain client that goes on to another node.
const hasty = "timeout=1s&readTimeout=1s&writeTimeout=1s"

// patient are the parameters of a plain client that waits for a node.
const patient = "timeout=1s&readTimeout=10s"

// plain opens a DSN with the backend alone.
func plain(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	cfg, err := mysql.ParseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Logger = &mysql.NopLogger{}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return sql.OpenDB(connector)
}

const watchEvery = 10 * time.Millisecond

// watch reads the counter on one node, with the backend alone, until ctx is
// done.
func (s *stage) watch(ctx context.Context, n *galera.Node) *tape {
	var seen tape
	db := plain(s.T, n.DSN(patient))
	s.work.Go(func() {
		defer db.Close()
		tick := time.NewTicker(watchEvery)
		defer tick.Stop()
		for ctx.Err() == nil {
			<-tick.C
			o := op{begin: time.Now(), node: n.Name}
			o.err = db.QueryRow("SELECT v FROM faults_counter WHERE id = 0").Scan(&o.value)
			seen.add(o)
		}
	})
	return &seen
}

// A counter is a row that one writer raises. It knows which values were
// committed.
type counter struct {
	mu        sync.Mutex
	committed []commit
}

type commit struct {
	end   time.Time
	value int64
}

// count raises the counter on a node until ctx is done. Where replicas follow a
// primary it is raised there.
func (s *stage) count(ctx context.Context, n *galera.Node) {
	params := patient
	if p := s.c.Primary(); p != nil {
		n, params = p, hasty
	}
	db := plain(s.T, n.DSN(params))
	var v int64
	if err := db.QueryRow("SELECT v FROM faults_counter WHERE id = 0").Scan(&v); err != nil {
		s.Fatal(err)
	}
	s.work.Go(func() {
		defer func() { db.Close() }()
		tick := time.NewTicker(2 * watchEvery)
		defer tick.Stop()
		for ctx.Err() == nil {
			<-tick.C
			if p := s.c.Primary(); p != nil && p != n {
				db.Close()
				n, db = p, plain(s.T, p.DSN(params))
			}
			v++
			if _, err := db.Exec("UPDATE faults_counter SET v = ? WHERE id = 0", v); err == nil {
				s.counter.commit(v)
			}
		}
	})
}

// commit notes that the commit of a value was acknowledged just now.
func (c *counter) commit(v int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.committed = append(c.committed, commit{time.Now(), v})
}

// forget drops what was committed before then, except the last two values.
func (c *counter) forget(then time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := sort.Search(len(c.committed), func(i int) bool { return !c.committed[i].end.Before(then) })
	c.committed = slices.Clone(c.committed[max(0, i-2):])
}

// disown drops the values above v: what was committed is lost.
func (c *counter) disown(v int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.committed = slices.DeleteFunc(c.committed, func(one commit) bool { return one.value > v })
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

// everywhere returns the highest value that every healthy node must show by
// then: the value before the last whose commit was acknowledged. When the group
// comes to a stop, the last value may be on one node only until the group goes
// on. Nothing tells whether it is.
func (c *counter) everywhere(then time.Time) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := sort.Search(len(c.committed), func(i int) bool { return c.committed[i].end.After(then) })
	if i < 2 {
		return 0
	}
	return c.committed[i-2].value
}

// stale returns how many reads of a node did not see what was committed a delay
// before.
func (c *counter) stale(ops []op, node string, delay time.Duration) int {
	n := 0
	for _, o := range ops {
		if o.err == nil && o.node == node && o.value < c.at(o.begin.Add(-delay)) {
			n++
		}
	}
	return n
}
