package integration

import (
	"context"
	"database/sql"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/galera"
)

// pool is how many connections every client has before the fault.
const pool = 32

// A stage is one fault under load: the clients, and the readers that watch the
// nodes.
type stage struct {
	*testing.T
	c     *galera.Cluster
	table *table
	loads []*workload

	faulty  int             // the index of the node that has the fault; its stale reads are counted
	probe   time.Duration   // probe_interval and probe_timeout of a pair's clients; 0: the usual ones
	unsent  map[string]bool // the keys of acknowledged inserts that a dead primary had not sent
	old     int             // inserts that were sent to an old primary
	lookout *lookout
	witness *tape // the reads of a node without the fault
	blind   bool  // the fault affects the witness too
	counter counter
	rows    map[string]row // by key; set by end

	before   standing
	began    time.Time // when the load was started
	stopped  time.Time // when the load was stopped; zero before
	stopWork context.CancelFunc
	work     sync.WaitGroup
}

// start starts the clients on a whole cluster, each with a warm pool.
func (s *stage) start(clients ...client) []*workload {
	s.Helper()
	makeUser(s.T, s.c, "lookout")
	s.before = stand(s.T, s.c)
	ctx, stop := context.WithCancel(context.Background())
	s.stopWork = stop
	s.Cleanup(s.abandon)
	anchor := s.c.Nodes[1]
	if s.table.replicas {
		anchor = s.c.Nodes[2]
	}
	s.witness = s.watch(ctx, anchor)
	s.count(ctx, anchor)
	for _, c := range clients {
		s.loads = append(s.loads, s.prepare(c))
	}
	s.lookout = keepLookout(ctx, s.T, s.c, &s.work)
	s.began = time.Now()
	for _, w := range s.loads {
		w.begin(ctx, &s.work)
		s.work.Go(func() { w.keepSight(ctx) })
	}
	return s.loads
}

// harm notes that a fault is done to nodes now: to the nodes as a whole.
func (s *stage) harm(nodes ...*galera.Node) { s.lookout.harm(all, "", nodes...) }

func (s *stage) prepare(c client) *workload {
	s.Helper()
	w := &workload{client: c}
	opts := append([]clustersql.Option{clustersql.WithStrategy(clustersql.Ordered), clustersql.WithOnEvent(w.note), clustersql.WithLogger(slog.New(slog.DiscardHandler))}, c.opts...)
	user := c.user
	if user == "" {
		user = galera.User
	}
	w.d = newClusterOf(s.T, s.c, user, c.params, opts...)
	w.db = sql.OpenDB(w.d.Connector())
	w.db.SetMaxIdleConns(2 * pool)
	w.db.SetMaxOpenConns(c.maxOpen)
	if c.opens {
		w.fresh = sql.OpenDB(w.d.Connector())
		w.fresh.SetMaxIdleConns(-1)
	}
	fit := c.fit
	if fit == 0 {
		fit = len(s.c.Nodes)
	}
	waitFor(s.T, "the nodes to be up", func() bool { return up(w.d) == fit })
	size := pool
	if c.maxOpen > 0 {
		size = c.maxOpen
	}
	for _, conn := range hold(s.T, w.db, size) {
		conn.Close()
	}
	return w
}

// pass waits for d while the load goes on.
func (s *stage) pass(d time.Duration) { time.Sleep(d) }

// must ends a row that could not be set up.
func (s *stage) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// insertsGoOn waits until every client has had an insert acknowledged that
// began after the call. The group's pause is then over.
func (s *stage) insertsGoOn() {
	s.Helper()
	now := time.Now()
	waitFor(s.T, "inserts to go on", func() bool {
		return !slices.ContainsFunc(s.loads, func(w *workload) bool { return w.does != readsOnly && !w.inserts.okSince(now) })
	})
}

// returned waits until a client has a node up. It returns how long after then
// that was.
func (s *stage) returned(w *workload, node int, then time.Time) time.Duration {
	s.Helper()
	waitState(s.T, w.d, node, clustersql.StateUp)
	return max(0, w.d.Status().Nodes[node].Since.Sub(then))
}

// end lets the workers finish, makes the cluster whole, reads what was written,
// closes the databases, and asserts that nothing is left of them.
func (s *stage) end() {
	s.Helper()
	s.stopped = time.Now()
	s.stopWork()
	finished := make(chan struct{})
	go func() { s.work.Wait(); close(finished) }()
	select {
	case <-finished:
	case <-time.After(time.Minute):
		s.Fatal("operations hang")
	}
	s.must(s.c.Heal(context.Background()))
	s.readRows()
	s.reckon()
	s.closeAll()
	s.before.left(s.T, s.c)
}

// reckon asserts that no client lost a good session, and that none took a good
// node down. A connection that gave way may be told of by an event two probes
// later.
func (s *stage) reckon() {
	s.Helper()
	for _, w := range s.loads {
		ended := w.ended()
		deadline := time.Now().Add(3 * usual.ProbeInterval)
		for w.closed = w.untold(ended); len(w.closed) > 0 && time.Now().Before(deadline); w.closed = w.untold(ended) {
			s.pass(lookEvery)
		}
		if t := s.lookout.toll(w.account(), span{s.began, s.stopped}); !t.ok() {
			s.Errorf("%s: %s:\n%s", w.name, t, t.told())
		}
	}
}

// closeAll closes the databases. The Close of an idle connection that broke
// long ago may return an error.
func (s *stage) closeAll() {
	for _, w := range s.loads {
		w.db.Close()
		if w.fresh != nil {
			w.fresh.Close()
		}
	}
}

// abandon cleans up after a row that ended early. For one that failed it logs
// more.
func (s *stage) abandon() {
	s.stopWork()
	if !s.Failed() {
		return
	}
	for _, w := range s.loads {
		s.tell(w)
	}
	if err := s.c.Heal(context.Background()); err != nil {
		s.Error(err)
	}
	s.closeAll()
	s.work.Wait()
}

// tell logs what a client saw.
func (s *stage) tell(w *workload) {
	for _, n := range s.c.Nodes {
		logEvents(s.T, w.name, w.told(n.Name))
	}
}

func logEvents(t *testing.T, name string, events []clustersql.Event) {
	t.Helper()
	for _, e := range events {
		t.Logf("%s: %s %s: %s, %s to %s, %d conns, %s", name, e.Time.Format("05.000"), e.Node, e.Kind, e.From, e.To, e.Conns, e.Reason)
	}
}

// A row is what a table has of an insert.
type row struct {
	node  string // the node that ran it
	least int    // how often it is there, on the node that has it least often
	most  int
}

// readRows reads on every node what the clients have inserted.
func (s *stage) readRows() {
	s.Helper()
	s.rows = make(map[string]row)
	counts := make([]map[string]int, len(s.c.Nodes))
	run(s.T, s.c) // afterwards every node has applied everything
	for i, n := range s.c.Nodes {
		counts[i] = make(map[string]int)
		rows, err := n.AdminDB().QueryContext(s.Context(), "SELECT k, node FROM app.faults_ins WHERE k LIKE ?", s.prefix()+"%")
		s.must(err)
		for rows.Next() {
			var key, node string
			s.must(rows.Scan(&key, &node))
			counts[i][key]++
			s.rows[key] = row{node: node, least: 1 << 30}
		}
		s.must(rows.Err())
	}
	for key, r := range s.rows {
		for _, count := range counts {
			r.least, r.most = min(r.least, count[key]), max(r.most, count[key])
		}
		s.rows[key] = r
	}
}

// prefix returns what all keys of a stage begin with, as the names of its
// clients do.
func (s *stage) prefix() string {
	if len(s.loads) == 0 {
		return ""
	}
	return strings.SplitN(s.loads[0].name, ",", 2)[0]
}
