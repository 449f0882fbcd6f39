package clustersql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/fakedb"
)

// A simWorld is one seed under way: the cluster, its database, the callers,
// and what is known of every conn and statement.
type simWorld struct {
	// immutable
	plan    *simSchedule
	backend *fakedb.Backend
	driver  Driver
	began   time.Time

	statements atomic.Int64
	seq        atomic.Int64 // orders calls and handovers
	opening    atomic.Int64 // opens under way
	callers    sync.WaitGroup
	readOnly   map[string]*atomic.Bool // by node

	// touched by the steps alone
	db    *sql.DB
	seen  int                       // runs of the ledger
	owner map[*fakedb.Conn]*simCall // by a transaction
	first map[*fakedb.Conn]*simCall // that sent something on it

	mu        sync.Mutex // guards what follows; never held across a wait
	nodes     []*node    // ever, for the callers
	out       int        // calls under way
	handed    map[*fakedb.Conn]simHandover
	held      map[*fakedb.Conn]*simCall // by a sql.Conn
	texts     map[string]*simStatement
	lines     []string
	violation string
	tally     *simTally
}

// A simHandover is a conn that Connect has given to database/sql.
type simHandover struct {
	seq  int64
	node *node
	born uint64
}

func newSimWorld(name string, plan *simSchedule, tally *simTally) *simWorld {
	w := &simWorld{
		plan: plan, backend: fakedb.New(), began: time.Now(), tally: tally, readOnly: make(map[string]*atomic.Bool),
		owner: make(map[*fakedb.Conn]*simCall), first: make(map[*fakedb.Conn]*simCall), handed: make(map[*fakedb.Conn]simHandover),
		held: make(map[*fakedb.Conn]*simCall), texts: make(map[string]*simStatement),
	}
	if plan.settings.cuttable {
		w.backend.OnSocket(func(ctx context.Context, s net.Conn) { TrackSocket(ctx, s) })
	}
	cfg := plan.settings.cfg
	cfg.OnEvent = w.onEvent
	cfg.Seed = plan.seed
	w.driver = NewDriver(w.backend.Driver(), name, func(c *Config) { *c = cfg }, quiet)
	for i := range plan.settings.nodes {
		name := nodeName(i)
		w.readOnly[name] = new(atomic.Bool)
		w.backend.Node(name).SetMood(w.well().mood)
		w.backend.Node(name).OnQuery(func(query string) ([][]driver.Value, bool) {
			on := "0"
			if w.readOnly[name].Load() {
				on = "1"
			}
			return [][]driver.Value{{on}}, query == "SELECT @@GLOBAL.read_only"
		})
		w.addNode(name)
	}
	return w
}

func (w *simWorld) well() simMood {
	return simMood{name: "well", mood: fakedb.Mood{Delay: w.plan.settings.pace}}
}

// run carries out the schedule, one step after the other, and ends everything.
func (w *simWorld) run() {
	w.db = w.openDB()
	for _, s := range w.plan.steps {
		if d := s.at - time.Since(w.began); d > 0 {
			time.Sleep(d)
		}
		w.note("%s", s.what)
		s.do(w)
		w.check()
		if w.failed() {
			break
		}
	}
	if w.plan.healLast {
		w.close(w.db)
		w.driver.Close()
		w.heal()
		w.settle()
	} else {
		w.heal()
		w.settle()
		w.close(w.db)
		w.driver.Close()
	}
	time.Sleep(time.Minute) // deaf attempts, losers in their grace, late Closes
	w.check()
	w.nothingLeft()
}

// settle waits for all callers, who have no reason to hang any more.
func (w *simWorld) settle() {
	for range 120 {
		time.Sleep(time.Second)
		w.check()
		if w.callsOut() == 0 {
			return
		}
	}
	w.violate("%d calls do not return though all nodes are well:\n%s", w.callsOut(), bubble())
}

func (w *simWorld) callsOut() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out
}

func (w *simWorld) heal() {
	for name := range w.readOnly {
		w.setMood([]string{name}, w.well())
	}
}

func (w *simWorld) setMood(nodes []string, m simMood) {
	for _, n := range nodes {
		w.readOnly[n].Store(m.readOnly)
		w.backend.Node(n).SetMood(m.mood)
	}
}

// openDB opens a database on the cluster through a connector that watches.
func (w *simWorld) openDB() *sql.DB {
	db := sql.OpenDB(&simConnector{w, w.driver.Connector()})
	db.SetMaxOpenConns(w.plan.settings.pooled)
	db.SetMaxIdleConns(w.plan.settings.idle)
	return db
}

func (w *simWorld) reopen(overlap bool) {
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
func (w *simWorld) close(db *sql.DB) {
	began := time.Now()
	if err := db.Close(); err != nil {
		w.violate("Close: %v", err)
	}
	if took := time.Since(began); took > w.plan.settings.cfg.AttemptTimeout {
		w.violate("Close took %s", took)
	}
}

// addNode adds a node unless the schedule has it already.
func (w *simWorld) addNode(name string) {
	c, err := w.backend.Driver().(driver.DriverContext).OpenConnector(name)
	if err != nil {
		w.violate("%v", err)
		return
	}
	o := origin{connector: c, dialect: generic{}, session: dialect.Session{Single: w.plan.settings.single, Exact: true}} // as fakedb is
	if err := w.driver.m.add(name, o, nil); err != nil {
		return
	}
	nodes := *w.driver.m.nodes.Load()
	i, _ := findNode(nodes, name)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nodes = append(w.nodes, nodes[i])
}

func (w *simWorld) delNode(name string) { _ = w.driver.DelNode(name) }

// start has a caller make the call.
func (w *simWorld) start(c *simCall) {
	c.w, c.gens, c.seq = w, w.generations(), w.seq.Add(1)
	db := w.db
	w.mu.Lock()
	w.out++
	w.tally.calls++
	w.mu.Unlock()
	w.callers.Go(func() { c.do(db) })
}

// generations are those of all nodes, removed ones too.
func (w *simWorld) generations() map[*atomic.Uint64]uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	gens := make(map[*atomic.Uint64]uint64, len(w.nodes))
	for _, n := range w.nodes {
		gens[&n.generation] = n.generation.Load()
	}
	return gens
}

func (w *simWorld) ended(c *simCall, err error, took time.Duration) {
	w.note("  call %d ended after %s: %v", c.number, took, err)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.out--
	switch {
	case err == nil:
		w.tally.good++
	case errors.Is(err, ErrClosed), strings.Contains(err.Error(), "database is closed"):
		w.tally.closed++
	}
}

func (w *simWorld) register(s *simStatement) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.texts[s.text] = s
}

func (w *simWorld) onEvent(e Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case e.Kind == EventState && e.To == StateDown:
		w.tally.downs++
	case e.Kind == EventRetired:
		w.tally.retired += e.Conns
	case e.Kind == EventCut:
		w.tally.cuts += e.Conns
	}
	w.lines = append(w.lines, fmt.Sprintf("%12s   %s %s %s>%s %d %s", time.Since(w.began), e.Node, e.Kind, e.From, e.To, e.Conns, e.Reason))
}

func (w *simWorld) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = append(w.lines, fmt.Sprintf("%12s %s", time.Since(w.began), fmt.Sprintf(format, args...)))
}

// violate keeps the first violation, and when it was.
func (w *simWorld) violate(format string, args ...any) {
	w.note("VIOLATED: "+format, args...)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.violation == "" {
		w.violation = fmt.Sprintf("after %s: %s", time.Since(w.began), fmt.Sprintf(format, args...))
	}
}

func (w *simWorld) failed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.violation != ""
}

// lastSteps are the latest lines up to the violation.
func (w *simWorld) lastSteps() string {
	if w == nil {
		return ""
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	lines := w.lines
	for i, l := range lines {
		if strings.Contains(l, "VIOLATED") {
			lines = lines[:i]
			break
		}
	}
	return strings.Join(lines[max(0, len(lines)-40):], "\n") + "\n"
}

// check is called after every step, with nothing under way but what waits.
func (w *simWorld) check() {
	synctest.Wait()
	for _, r := range w.backend.Ledger(w.seen) {
		w.seen++
		w.judge(r)
	}
	w.count()
}

// bubble returns the stacks of the bubble's goroutines.
func bubble() string {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	all := strings.Split(string(buf), "\n\n")
	mine := all[0][strings.Index(all[0], "synctest bubble"):]
	mine = mine[:strings.Index(mine, "]")]
	var stacks []string
	for _, g := range all[1:] {
		head, _, _ := strings.Cut(g, "\n")
		if strings.Contains(g, "created by testing/synctest.Test ") || strings.Contains(head, "[synctest.Run") {
			continue
		}
		if strings.Contains(head, mine+"]") || strings.Contains(head, mine+",") {
			stacks = append(stacks, g)
		}
	}
	return strings.Join(stacks, "\n\n")
}
