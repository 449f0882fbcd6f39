package simulation

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/fakedb"
	"github.com/EnumApps/clustersql/internal/socket"
)

// A world is one seed under way: the cluster, its database, the callers,
// and what is known of every conn and statement.
type world struct {
	book

	// immutable
	plan    *schedule
	backend *fakedb.Backend
	driver  clustersql.Driver
	hook    chan struct{} // closed when the program's hook is to return
	once    sync.Once     // closes it

	statements  atomic.Int64
	seq         atomic.Int64 // orders calls and handovers
	opening     atomic.Int64 // opens under way
	callers     sync.WaitGroup
	cutTakes    atomic.Int64            // how long the cut of a socket takes, in nanoseconds
	probesEnded atomic.Bool             // connections of probes were ended too
	special     atomic.Bool             // the ending has faults and drains of its own, whatever the schedule has
	readOnly    map[string]*atomic.Bool // by node; never changed after the start

	// touched by the steps alone
	db     *sql.DB
	seen   int                    // runs of the ledger
	before glance                 // at the step before
	owner  map[*fakedb.Conn]*call // by a transaction
	first  map[*fakedb.Conn]*call // that sent something on it

	mu      sync.Mutex     // guards what follows; never held across a wait
	numbers map[string]int // how many nodes have had the name
	out     int            // calls under way
	handed  map[*fakedb.Conn]handover
	held    map[*fakedb.Conn]*call // by a sql.Conn
	texts   map[string]*statement
	groups  map[string]*group // by node
	truths  map[string]*truth // by node; the map is never changed after the start
	looked  time.Time         // when the truths were last compared
	tally   *tally
}

// A handover is a conn that Connect has given to database/sql.
type handover struct {
	seq    int64
	node   string
	number int    // which node of that name
	born   uint64 // the generation of the conn
	sure   bool   // the node was a member during the whole open
	from   *connector
}

func newWorld(name string, plan *schedule, tally *tally) *world {
	w := &world{
		book: newBook(), plan: plan, backend: fakedb.New(), hook: make(chan struct{}), tally: tally, readOnly: make(map[string]*atomic.Bool),
		owner: make(map[*fakedb.Conn]*call), first: make(map[*fakedb.Conn]*call), handed: make(map[*fakedb.Conn]handover),
		held: make(map[*fakedb.Conn]*call), texts: make(map[string]*statement), numbers: make(map[string]int),
		groups: make(map[string]*group), truths: make(map[string]*truth), looked: time.Now(),
	}
	w.backend.NameNodes(nodeOf)
	w.backend.OnLookup(func(ctx context.Context, done bool) { socket.Of(ctx).Resolve(done) }) // as clustersql.Dial does
	if plan.settings.cuttable {
		w.backend.OnSocket(func(ctx context.Context, s net.Conn) { clustersql.TrackSocket(ctx, socketOf{s, w}) })
	}
	cfg := plan.settings.cfg
	cfg.OnEvent = w.onEvent
	if plan.hangs {
		cfg.OnEvent = func(e clustersql.Event) {
			w.onEvent(e)
			<-w.hook
		}
	}
	cfg.Seed = plan.seed
	w.driver = clustersql.NewDriver(w.backend.Driver(), name, func(c *clustersql.Config) { *c = cfg }, clustersql.WithLogger(slog.New(slog.DiscardHandler)))
	for i := range plan.settings.nodes {
		name := nodeName(i)
		w.readOnly[name] = new(atomic.Bool)
		w.truths[name] = new(truth)
		w.groups[name] = &group{uuid: mainGroup, conf: 31, size: plan.settings.nodes}
		w.setMood([]string{name}, w.well())
		w.backend.Node(name).OnQuery(func(query string) ([][]driver.Value, bool) {
			if rows, ok := w.wsrep(name, query); ok {
				return rows, true
			}
			on := "0"
			if w.readOnly[name].Load() {
				on = "1"
			}
			return [][]driver.Value{{on}}, strings.Contains(query, "SELECT @@GLOBAL.read_only")
		})
		w.addNode(name)
	}
	return w
}

func (w *world) well() mood { return w.plan.well() }

// run carries out the schedule, one step after the other, and ends everything.
func (w *world) run() {
	w.db = w.openDB()
	for _, s := range w.plan.steps {
		if d := s.at - time.Since(w.began); d > 0 {
			time.Sleep(d)
		}
		w.note("%s", s.what)
		s.do(w)
		w.check()
		if w.violated() != "" {
			break
		}
	}
	w.finish()
	time.Sleep(time.Minute) // deaf attempts, losers in their grace, late Closes
	w.check()
	w.nothingLeft()
}

// settle waits for all callers, who have no reason to hang any more.
func (w *world) settle() {
	for range 120 {
		time.Sleep(time.Second)
		w.check()
		if w.callsOut() == 0 {
			return
		}
	}
	w.violate("%d calls do not return though all nodes are well:\n%s", w.callsOut(), bubble())
}

func (w *world) callsOut() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out
}

func (w *world) heal() { w.setMood(w.names(), w.well()) }

// names are those of all nodes, whether they are members or not.
func (w *world) names() []string { return slices.Sorted(maps.Keys(w.readOnly)) }

func (w *world) setMood(nodes []string, m mood) {
	for _, n := range nodes {
		m.mood.Rows = w.plan.settings.rows
		w.readOnly[n].Store(m.readOnly)
		w.noteMood(n, m) // before the cluster can meet it
		w.backend.Node(n).SetMood(m.mood)
	}
}

// endIdle loses connections of the pool that no statement is on: all, or one.
// With probes it loses those of the cluster's probes too.
func (w *world) endIdle(err error, hidden, one, probes bool) {
	w.probesEnded.Store(w.probesEnded.Load() || probes)
	for name := range w.plan.settings.nodes {
		for _, c := range w.backend.Node(nodeName(name)).Idle() {
			w.mu.Lock()
			_, handed := w.handed[c]
			w.mu.Unlock()
			if (handed || probes) && !c.Broken() {
				c.Lose(err, hidden)
				if one {
					return
				}
			}
		}
	}
}

// openDB opens a database on the cluster through a connector that watches.
func (w *world) openDB() *sql.DB {
	db := sql.OpenDB(&connector{w: w, inner: w.driver.Connector()})
	db.SetMaxOpenConns(w.plan.settings.pooled)
	db.SetMaxIdleConns(w.plan.settings.idle)
	return db
}

func (w *world) reopen(overlap bool) {
	old := w.db
	if overlap {
		w.db = w.openDB()
		w.close(old)
		return
	}
	w.close(old)
	w.db = w.openDB()
}

// close closes a database, which waits for no backend longer than
// attempt_timeout.
func (w *world) close(db *sql.DB) {
	began := time.Now()
	if err := db.Close(); err != nil {
		w.violate("Close: %v", err)
	}
	if took := time.Since(began); took > w.plan.settings.cfg.AttemptTimeout {
		w.violate("Close took %s", took)
	}
}

// addNode adds a node unless the schedule has it already.
func (w *world) addNode(name string) {
	w.mu.Lock()
	w.numbers[name]++ // before anybody can be given a conn of it
	w.mu.Unlock()
	dsn := "app@tcp(" + name + ")/sim"
	if !w.plan.settings.single {
		dsn += "?multiStatements=true"
	}
	if err := w.driver.AddNode(name, dsn); err != nil {
		w.mu.Lock()
		w.numbers[name]--
		w.mu.Unlock()
	}
}

// nodeOf is the name of the node that a DSN leads to.
func nodeOf(dsn string) string {
	_, rest, _ := strings.Cut(dsn, "(")
	name, _, _ := strings.Cut(rest, ")")
	return name
}

func (w *world) delNode(name string) {
	w.noteDrain(name)
	_ = w.driver.DelNode(name)
}

func (w *world) drain(name string) {
	w.noteDrain(name)
	_ = w.driver.Drain(name)
}

// lose loses all connections of nodes.
func (w *world) lose(nodes []string, err error, hidden bool) {
	for _, n := range nodes {
		w.noteBreak(n)
		w.backend.Node(n).Break(err, hidden)
	}
}

// start has a caller make the call.
func (w *world) start(c *call) {
	c.w, c.nodes, c.seq = w, w.glance(), w.seq.Add(1)
	db := w.db
	w.mu.Lock()
	w.out++
	w.tally.calls++
	w.mu.Unlock()
	w.callers.Go(func() {
		defer func() {
			if r := recover(); r != nil {
				w.violate("call %d has panicked: %v", c.number, r)
			}
		}()
		c.do(db)
	})
}

func (w *world) ended(c *call, err error, took time.Duration) {
	w.note("  call %d ended after %s: %v", c.number, took, err)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.out--
	switch {
	case err == nil:
		w.tally.good++
	case errors.Is(err, clustersql.ErrClosed), strings.Contains(fmt.Sprint(err), "database is closed"):
		w.tally.closed++
	}
}

func (w *world) register(s *statement) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.texts[s.text] = s
}

func (w *world) onEvent(e clustersql.Event) {
	w.judgeEvent(e)
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case e.Kind == clustersql.EventState && e.To == clustersql.StateDown:
		w.tally.downs++
	case e.Kind == clustersql.EventRetired:
		w.tally.retired += e.Conns
	case e.Kind == clustersql.EventCut:
		w.tally.cuts += e.Conns
	}
	w.note("  %s %s %s>%s %d %s", e.Node, e.Kind, e.From, e.To, e.Conns, e.Reason)
}

// lastSteps are the latest lines up to the violation.
func (w *world) lastSteps() string {
	if w == nil {
		return ""
	}
	lines := w.pages()
	for i, l := range lines {
		if strings.Contains(l, "VIOLATED") {
			lines = lines[:i]
			break
		}
	}
	return strings.Join(lines[max(0, len(lines)-40):], "\n") + "\n"
}

// check is called after every step, with nothing under way but what waits.
func (w *world) check() {
	synctest.Wait()
	for _, r := range w.backend.Ledger(w.seen) {
		w.seen++
		w.judge(r)
	}
	w.count()
}
