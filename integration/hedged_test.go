package integration

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/galera"
	"github.com/EnumApps/clustersql/internal/relay"
	"github.com/go-sql-driver/mysql"
)

// hedgedMost is the longest that a read may take on a node that has just frozen. What
// this program was late by is added: once for the timer, the open, its check, the read,
// and the reader.
const hedgedMost = 100 * time.Millisecond

// hedgeAllowed is how often this program may be late while one read is hedged.
const hedgeAllowed = 5

// hedgeReaders read about 300 times a second in all.
const hedgeReaders = 16

// A reading is what readers saw.
type reading struct {
	mu    sync.Mutex
	took  []time.Duration
	wrong []error
	late  time.Duration // what this program was late by at worst
}

// percentile returns a percentile of the times.
func (r *reading) percentile(p float64) time.Duration {
	slices.Sort(r.took)
	return r.took[min(len(r.took)-1, int(p*float64(len(r.took))))]
}

// over returns how many reads took longer than d.
func (r *reading) over(d time.Duration) (n int) {
	for _, took := range r.took {
		if took > d {
			n++
		}
	}
	return n
}

// readKinds are the ways to read: as text, with arguments, for which the driver prepares
// a statement, and with a statement that was prepared once.
func readKinds(t *testing.T, db *sql.DB) []func(context.Context, int) *sql.Row {
	t.Helper()
	prepared, err := db.Prepare("SELECT v FROM hedged WHERE id = ?")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { prepared.Close() })
	return []func(context.Context, int) *sql.Row{
		func(ctx context.Context, id int) *sql.Row {
			return db.QueryRowContext(ctx, fmt.Sprintf("SELECT v FROM hedged WHERE id = %d", id))
		},
		func(ctx context.Context, id int) *sql.Row {
			return db.QueryRowContext(ctx, "SELECT v FROM hedged WHERE id = ?", id)
		},
		func(ctx context.Context, id int) *sql.Row { return prepared.QueryRowContext(ctx, id) },
	}
}

// readFor has the readers read for a while.
func readFor(kinds []func(context.Context, int) *sql.Row, d time.Duration) *reading {
	var r reading
	ended, lateness := make(chan struct{}), make(chan time.Duration)
	go func() { lateness <- worstLateness(ended) }()
	var all sync.WaitGroup
	until := time.Now().Add(d)
	for reader := range hedgeReaders {
		all.Go(func() {
			for i := reader; time.Now().Before(until); i++ {
				began, v := time.Now(), 0
				err := kinds[i%len(kinds)](context.Background(), i%8).Scan(&v)
				took := time.Since(began)
				if err == nil && v != 100+i%8 {
					err = fmt.Errorf("read %d for %d", v, i%8)
				}
				r.mu.Lock()
				if r.took = append(r.took, took); err != nil {
					r.wrong = append(r.wrong, err)
				}
				r.mu.Unlock()
				time.Sleep(hedgeReaders * time.Second / 300) // the load, and no wait for anything
			}
		})
	}
	all.Wait()
	close(ended)
	r.late = <-lateness
	return &r
}

// hedgedCluster returns a cluster of the nodes, each with the DSN that dsn gives, whose
// pool keeps a connection for each reader.
func hedgedCluster(t *testing.T, c *galera.Cluster, s clustersql.Strategy, dsn func(i int) string, opts ...clustersql.Option) (clustersql.Driver, *sql.DB) {
	t.Helper()
	d := clustersql.NewDriver(mysql.MySQLDriver{}, t.Name(), append([]clustersql.Option{clustersql.WithStrategy(s), clustersql.WithHedgedReads(true, 20*time.Millisecond)}, opts...)...)
	t.Cleanup(func() { d.Close() })
	for i, n := range c.Nodes {
		if err := d.AddNode(n.Name, dsn(i)); err != nil {
			t.Fatal(err)
		}
	}
	db := sql.OpenDB(d.Connector())
	t.Cleanup(func() { db.Close() })
	db.SetMaxIdleConns(hedgeReaders)
	waitFor(t, "all nodes to be up", func() bool {
		return !slices.ContainsFunc(d.Status().Nodes, func(s clustersql.NodeStatus) bool { return s.State != clustersql.StateUp })
	})
	return d, db
}

// makeHedged makes the table that is read.
func makeHedged(t *testing.T, c *galera.Cluster) {
	t.Helper()
	run(t, c, "DROP TABLE IF EXISTS app.hedged", "CREATE TABLE app.hedged (id INT PRIMARY KEY, v INT)",
		"INSERT INTO app.hedged VALUES (0,100),(1,101),(2,102),(3,103),(4,104),(5,105),(6,106),(7,107)")
}

// launched returns how many reads were sent to another node too, and how many of these
// that one has answered first.
func launched(d clustersql.Driver) (all, won uint64) {
	for _, n := range d.Status().Nodes {
		all, won = all+n.HedgedReads.Launched, won+n.HedgedReads.Won
	}
	return all, won
}

// hedgedReadsOnAFrozenNode freezes a node that many readers use. No read waits for it.
func hedgedReadsOnAFrozenNode(t *testing.T, c *galera.Cluster) {
	makeHedged(t, c)
	for _, s := range []clustersql.Strategy{clustersql.Ordered, clustersql.Hedged, clustersql.Balanced} {
		t.Run(s.String(), func(t *testing.T) {
			wellAt, kinds := warm(t, c, s)
			before, _ := launched(wellAt)
			well := readFor(kinds, 2*time.Second)
			extra, _ := launched(wellAt)
			if extra -= before; extra > uint64(well.over(20*time.Millisecond)) {
				t.Errorf("well: %d reads were hedged, and %d took long", extra, well.over(20*time.Millisecond))
			}
			d, kinds := warm(t, c, s) // with all of its budget
			victim := mostUsed(d)
			if err := c.Nodes[victim].Freeze(); err != nil {
				t.Fatal(err)
			}
			fault := readFor(kinds, 4*time.Second)
			sent, won := launched(d)
			t.Logf("well: %d reads, p99 %s, the longest %s, %d hedged; %s frozen: %d reads, p99 %s, the longest %s, %d over %s, %d hedged, %d won in all; late by %s",
				len(well.took), well.percentile(0.99), well.percentile(1), extra, c.Nodes[victim].Name,
				len(fault.took), fault.percentile(0.99), fault.percentile(1), fault.over(hedgedMost), hedgedMost, sent, won, fault.late)
			if len(fault.wrong) > 0 {
				t.Errorf("%d reads failed, the first: %v", len(fault.wrong), fault.wrong[0])
			}
			usual := well.percentile(1) // the servers have to share this machine's processors
			if worst := fault.percentile(1); worst > hedgedMost+hedgeAllowed*max(fault.late, usual) {
				t.Errorf("a read took %s; this program was late by %s, and the longest took %s when all was well", worst, fault.late, usual)
			}
			if most := len(fault.took)/100 + fault.over(20*time.Millisecond); int(sent) > most {
				t.Errorf("%d of %d reads were sent twice", sent, len(fault.took))
			}
			if err := c.Heal(context.Background()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// warm returns a cluster, and the ways to read on it, whose pool has a connection for
// each reader.
func warm(t *testing.T, c *galera.Cluster, s clustersql.Strategy) (clustersql.Driver, []func(context.Context, int) *sql.Row) {
	t.Helper()
	d, db := hedgedCluster(t, c, s, func(i int) string { return c.Nodes[i].DSN("") })
	var conns []*sql.Conn
	for range hedgeReaders {
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.PingContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	for _, conn := range conns {
		conn.Close()
	}
	kinds := readKinds(t, db)
	readFor(kinds, 200*time.Millisecond) // the caches of the servers
	return d, kinds
}

// mostUsed returns the index of the node with most connections.
func mostUsed(d clustersql.Driver) (at int) {
	nodes := d.Status().Nodes
	for i := range nodes {
		if nodes[i].OpenConns > nodes[at].OpenConns {
			at = i
		}
	}
	return at
}

// selects returns how many SELECTs the servers have run, prepared ones too.
func selects(t *testing.T, c *galera.Cluster) int {
	t.Helper()
	return statusSum(t, c, "Com_select")
}

// hedgedReadsOnASlowNode delays all answers of the node in use by 200 ms. Reads are
// answered by the others after that each connection has waited once.
func hedgedReadsOnASlowNode(t *testing.T, c *galera.Cluster) {
	makeHedged(t, c)
	ways := make([]*relay.Relay, len(c.Nodes))
	for i, n := range c.Nodes {
		way, err := relay.New("tcp", n.Addr())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(way.Close)
		way.Delay, ways[i] = 200*time.Millisecond, way
	}
	d, db := hedgedCluster(t, c, clustersql.Ordered, func(i int) string {
		return galera.User + ":" + galera.Password + "@tcp(" + ways[i].Addr() + ")/" + galera.Database
	})
	kinds := readKinds(t, db)
	readFor(kinds, 500*time.Millisecond)
	at := selects(t, c)
	well := readFor(kinds, 4*time.Second)
	extra := selects(t, c) - at - len(well.took)
	if err := ways[0].Turn(relay.Slow); err != nil {
		t.Fatal(err)
	}
	before, _ := launched(d)
	at = selects(t, c)
	fault := readFor(kinds, 12*time.Second)
	more := selects(t, c) - at - len(fault.took)
	sent, won := launched(d)
	t.Logf("well: %d reads, p99 %s, %d more at the servers; slow: %d reads, p99 %s, the longest %s, %d over %s, %d hedged, %d won in all, %d more at the servers; late by %s",
		len(well.took), well.percentile(0.99), extra, len(fault.took), fault.percentile(0.99), fault.percentile(1), fault.over(hedgedMost), hedgedMost, sent-before, won, more, fault.late)
	if len(fault.wrong) > 0 {
		t.Errorf("%d reads failed, the first: %v", len(fault.wrong), fault.wrong[0])
	}
	// The probes of the cluster send DO 1 and SHOW, which are no SELECTs.
	if extra > well.over(20*time.Millisecond) {
		t.Errorf("well: the servers have run %d SELECTs more than were sent", extra)
	}
	if more > len(fault.took)/100+fault.over(20*time.Millisecond) {
		t.Errorf("slow: the servers have run %d SELECTs more than %d", more, len(fault.took))
	}
	if slow, least := fault.percentile(0.99), well.percentile(0.99); slow > 2*least+hedgeAllowed*fault.late {
		t.Errorf("p99 is %s, and %s when all is well", slow, least)
	}
}

// hedgedReadsWhereAllAreSlow has one query of a hundred take a second on every node.
// Another node answers none of these sooner, so few are sent twice.
func hedgedReadsWhereAllAreSlow(t *testing.T, c *galera.Cluster) {
	makeHedged(t, c)
	// A derived table of that size is read in about half a second; SLEEP would not be hedged.
	const slow = "SELECT COUNT(*) + 0 * MAX(a.id + b.id + c.id + d.id + e.id + f.id + g.id) FROM hedged a, hedged b, hedged c, hedged d, hedged e, hedged f, hedged g"
	d, db := hedgedCluster(t, c, clustersql.Balanced, func(i int) string { return c.Nodes[i].DSN("") })
	kinds := readKinds(t, db)
	var reads atomic.Int64
	mixed := func(ctx context.Context, id int) *sql.Row {
		if n := reads.Add(1); n%100 == 0 {
			var count int64
			if err := db.QueryRowContext(ctx, slow).Scan(&count); err != nil { // which gives the connection back
				t.Error(err)
			}
		}
		return kinds[0](ctx, id)
	}
	at := selects(t, c)
	readFor([]func(context.Context, int) *sql.Row{mixed}, 20*time.Second)
	all := int(reads.Load() + reads.Load()/100)
	more := selects(t, c) - at - all
	sent, won := launched(d)
	t.Logf("%d reads, %d hedged, %d won, %d more at the servers", all, sent, won, more)
	// The budget is one read for each connection. A reader has two while a read is hedged.
	if most := 2*hedgeReaders + 20/5 + int(won) + 1; more > most { // and those that cost nothing
		t.Errorf("the servers have run %d SELECTs more than %d; %d won", more, all, won)
	}
}

// hedgedReadsAvoidDonors has a node frozen, and another one desynced: the third gets all
// reads.
func hedgedReadsAvoidDonors(t *testing.T, c *galera.Cluster) {
	makeHedged(t, c)
	d, db := hedgedCluster(t, c, clustersql.Ordered, func(i int) string { return c.Nodes[i].DSN("") }, clustersql.WithDonors(false, time.Hour))
	if err := c.Nodes[1].Desync(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the donor to be seen", func() bool { return d.Status().Nodes[1].Donor })
	kinds := readKinds(t, db)
	readFor(kinds, 300*time.Millisecond)
	if err := c.Nodes[0].Freeze(); err != nil {
		t.Fatal(err)
	}
	fault := readFor(kinds, 500*time.Millisecond) // before the silence is found
	s := d.Status().Nodes
	if len(fault.wrong) > 0 || s[1].OpenConns != 0 || s[2].OpenConns == 0 || s[0].HedgedReads.Won == 0 {
		t.Errorf("%v; connections %d, %d, %d; %+v", fault.wrong, s[0].OpenConns, s[1].OpenConns, s[2].OpenConns, s[0].HedgedReads)
	}
	if err := c.Heal(context.Background()); err != nil {
		t.Fatal(err)
	}
}
