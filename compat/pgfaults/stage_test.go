package pgfaults

import (
	"context"
	"database/sql"
	"sync"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/pgcluster"
)

// A stage is one fault under load.
type stage struct {
	*testing.T
	c     *pgcluster.Cluster
	table *table
	fault fault

	clients []*client
	counter counter
	lookout *lookout

	primary *pgcluster.Node // at the beginning
	next    *pgcluster.Node // the node that was promoted; nil if none was
	rows    map[string]row  // by key; set by end
	stray   map[string]bool // keys that are on an old primary and not on the new one; set by end

	began    time.Time // the load
	from     time.Time // the fault
	promoted time.Time // when the new primary took writes
	ready    time.Time // when it could acknowledge them: another standby followed it
	stopped  time.Time // the load

	stopWork context.CancelFunc
	work     sync.WaitGroup // the clients' workers
	watch    sync.WaitGroup // those who watch

	mu     sync.Mutex
	pulses []time.Time
}

// start starts the clients on a whole cluster, lets them run for a while, and
// notes that the fault begins with what is done to the nodes.
func (s *stage) start(harmed ...*pgcluster.Node) {
	s.Helper()
	s.primary = s.c.Primary()
	ctx, stop := context.WithCancel(context.Background())
	s.stopWork = stop
	s.Cleanup(s.abandon)
	s.counter.raise(ctx, s.T, s.c, &s.watch)
	s.makeClients()
	s.lookout = keepLookout(ctx, s.T, s.c, s.fault.config(), &s.watch)
	s.watch.Go(func() { s.beat(ctx) })
	s.began = time.Now()
	for _, c := range s.clients {
		c.begin(ctx, &s.work, s.fault.name)
	}
	s.pass(700 * time.Millisecond)
	s.from = time.Now()
	s.lookout.harm(harmed...)
}

// standby returns the first standby.
func (s *stage) standby() *pgcluster.Node { return s.c.Standbys()[0] }

// pass waits for d while the load goes on.
func (s *stage) pass(d time.Duration) { time.Sleep(d) }

// must ends a row that could not be set up.
func (s *stage) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// failOver promotes the standby that has most, and has the other standbys
// follow it. Meanwhile somebody waits for the first commit there.
func (s *stage) failOver() {
	s.Helper()
	next, err := s.c.Best(s.Context())
	s.must(err)
	s.must(next.Promote(s.Context()))
	s.promoted, s.next = time.Now(), next
	committed := make(chan error, 1)
	go func() {
		_, err := next.Query(s.Context(), "SET synchronous_commit = on", "UPDATE counter SET v = v")
		s.ready = time.Now()
		committed <- err
	}()
	for _, n := range s.c.Standbys() {
		if n != s.primary {
			s.must(n.Follow(s.Context(), next))
		}
	}
	s.must(<-committed)
}

// goOn waits until clustersql has written what it began after the call.
func (s *stage) goOn() {
	s.Helper()
	now, limit := time.Now(), time.Now().Add(20*time.Second)
	for _, c := range s.clients {
		for c.ours() && !c.inserts.okSince(now) {
			if time.Now().After(limit) {
				s.Errorf("no write within 20s")
				return
			}
			s.pass(10 * time.Millisecond)
		}
	}
}

// up waits until clustersql's readers have a node up.
func (s *stage) up(n *pgcluster.Node) {
	s.Helper()
	for limit := time.Now().Add(20 * time.Second); ; s.pass(10 * time.Millisecond) {
		for _, is := range s.clients[0].readers.d.Status().Nodes {
			if is.Name == n.Name && is.State == clustersql.StateUp {
				return
			}
		}
		if time.Now().After(limit) {
			s.Errorf("%s is not up within 20s", n.Name)
			return
		}
	}
}

// end lets the workers finish, makes the cluster whole, reads what was written,
// and adds the row to the table. What hangs until the cluster is whole again is
// that client's: it counts as it ends.
func (s *stage) end() {
	s.Helper()
	s.pass(500 * time.Millisecond)
	s.stopped = time.Now()
	s.stopWork()
	finished := make(chan struct{})
	go func() { s.work.Wait(); s.watch.Wait(); close(finished) }()
	select {
	case <-finished:
	case <-time.After(time.Second):
	}
	s.readStray()
	s.must(s.c.Heal(context.Background()))
	select {
	case <-finished:
	case <-time.After(time.Minute):
		s.Fatal("operations hang")
	}
	s.rows = s.readRows(s.c.Primary())
	for _, c := range s.clients {
		s.tally(c)
	}
	s.closeAll()
}

func (s *stage) closeAll() {
	for _, c := range s.clients {
		for _, p := range c.pools() {
			p.close()
		}
	}
}

// abandon cleans up after a row that ended early, and tells more about one that
// failed.
func (s *stage) abandon() {
	s.stopWork()
	if !s.Failed() {
		return
	}
	s.tell()
	if err := s.c.Heal(context.Background()); err != nil {
		s.Error(err)
	}
	s.closeAll()
	s.work.Wait()
	s.watch.Wait()
}

// tell logs what the pools of clustersql saw.
func (s *stage) tell() {
	s.Helper()
	at := func(t time.Time) string { return t.Format("05.000") }
	s.Logf("the load began %s, the fault %s, the promotion was %s, the load ended %s", at(s.began), at(s.from), at(s.promoted), at(s.stopped))
	for _, c := range s.clients {
		for _, p := range c.pools() {
			for _, e := range p.told() {
				s.Logf("writers %t: %s %s: %s, %s to %s, %d conns, %s", p.writes, at(e.Time), e.Node, e.Kind, e.From, e.To, e.Conns, e.Reason)
			}
		}
	}
}

// A row is what a node has of an insert.
type row struct{ times, port int }

// readRows reads what the clients of the row have written, on one node.
func (s *stage) readRows(n *pgcluster.Node) map[string]row {
	s.Helper()
	db, err := sql.Open("pgx", n.DSNOf(pgcluster.Admin, ""))
	s.must(err)
	defer db.Close()
	rows, err := db.QueryContext(s.Context(), "SELECT k, count(*), min(port) FROM ins WHERE k LIKE $1 GROUP BY k", s.fault.name+", %")
	s.must(err)
	defer rows.Close()
	found := make(map[string]row)
	for rows.Next() {
		var key string
		var r row
		s.must(rows.Scan(&key, &r.times, &r.port))
		found[key] = r
	}
	s.must(rows.Err())
	return found
}

// readStray reads what an old primary that runs has and the new one has not.
func (s *stage) readStray() {
	s.Helper()
	s.stray = make(map[string]bool)
	if s.next == nil || !s.primary.Running() {
		return
	}
	here := s.readRows(s.primary) // first: what is written meanwhile comes here later
	there := s.readRows(s.next)
	for key := range here {
		if there[key].times == 0 {
			s.stray[key] = true
		}
	}
}

// beat notes the time again and again, until ctx is done.
func (s *stage) beat(ctx context.Context) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		<-tick.C
		s.mu.Lock()
		s.pulses = append(s.pulses, time.Now())
		s.mu.Unlock()
	}
}

// net returns the length of a span, less the time in which this process got no
// processor.
func (s *stage) net(p span) time.Duration {
	const stillness = 50 * time.Millisecond
	s.mu.Lock()
	defer s.mu.Unlock()
	still := time.Duration(0)
	for i := 1; i < len(s.pulses); i++ {
		from, to := s.pulses[i-1], s.pulses[i]
		if from.Before(p.from) {
			from = p.from
		}
		if to.After(p.to) {
			to = p.to
		}
		if d := to.Sub(from); d > stillness {
			still += d - stillness
		}
	}
	return max(0, p.to.Sub(p.from)-still)
}
