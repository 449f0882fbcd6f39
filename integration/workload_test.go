package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/EnumApps/clustersql"
)

// These are the load of every client in the fault table: 32 workers, and per
// second 200 reads by key and 50 inserts of one row. Readers and writers are
// different workers, because no client can write during the group's pause.
const (
	readers    = 24
	writers    = 8
	readEvery  = time.Second / 200
	writeEvery = time.Second / 50
	openEvery  = time.Second / 20
	keys       = 1000 // rows to read
)

// A pacer hands out moments at equal distances. A worker that is late gets the
// next moments at once. Load that had to wait is therefore not lost.
type pacer struct {
	began time.Time
	every time.Duration
	dealt atomic.Int64
}

// wait returns true at the next moment, and false if there is none any more.
func (p *pacer) wait(ctx context.Context) bool {
	k := p.dealt.Add(1) - 1
	if d := time.Until(p.began.Add(time.Duration(k) * p.every)); d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	return ctx.Err() == nil
}

// An op is one operation as its caller saw it.
type op struct {
	begin, end time.Time
	node       string // the node that answered, or that the error names
	value      int64  // the counter, as a read saw it
	key        string // of an insert
	err        error
}

// A tape keeps operations in the order in which they ended.
type tape struct {
	mu  sync.Mutex
	ops []op
}

func (t *tape) add(o op) {
	t.mu.Lock()
	defer t.mu.Unlock()
	o.end = time.Now()
	t.ops = append(t.ops, o)
}

// all returns what is on the tape so far. The caller must not change it.
func (t *tape) all() []op {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ops[:len(t.ops):len(t.ops)]
}

// okSince reports whether an operation that began after then has succeeded.
func (t *tape) okSince(then time.Time) bool {
	ops := t.all()
	for i := len(ops) - 1; i >= 0 && ops[i].end.After(then); i-- {
		if ops[i].err == nil && ops[i].begin.After(then) {
			return true
		}
	}
	return false
}

// A client is how one workload uses the cluster. The default has the default
// settings, and uses the first node.
type client struct {
	name    string
	user    string // of the servers; "": app
	params  string // of the DSN
	opts    []clustersql.Option
	timeout time.Duration // of each operation's caller; 0: none
	maxOpen int           // for SetMaxOpenConns; 0: no limit
	opens   bool          // in addition, a read on a fresh connection every 50 ms
	probe   time.Duration // probe_interval and probe_timeout; 0: the defaults
	fit     int           // how many nodes are up before the fault; 0: all
	byHand  bool          // the row itself calls read and insert; there is no other load
	does    work          // which part of the load
	share   shares        // the faulty node's share that it must have again after its return
	due     time.Duration // how long after the return that begins
}

// Work is the part of the load that a client does.
type work uint8

const (
	readsAndWrites work = iota
	readsOnly
	writesOnly
)

// Shares are the bounds of a node's part of a client's connections. The zero
// value is for clients that have no target.
type shares struct{ least, most float64 }

// evenShare is a third, 20 percent more or less. fullShare is all, or 20 percent
// less.
var (
	evenShare = shares{0.8 / 3, 1.2 / 3}
	fullShare = shares{0.8, 1}
)

// balanced returns a client that spreads its connections. After the node's
// return it must do so again.
func balanced(name string, opts ...clustersql.Option) client {
	return client{name: name + ", balanced", share: evenShare, opts: append(opts,
		clustersql.WithStrategy(clustersql.Balanced), clustersql.WithIdempotent(true))}
}

// A workload is a client at work.
type workload struct {
	client
	d     clustersql.Driver
	db    *sql.DB // with a pool
	fresh *sql.DB // without a pool; nil if the client does not open

	reads, inserts, opens tape

	closed map[string]int // sessions that ended without an event, by node; set by end

	mu     sync.Mutex
	events []clustersql.Event
	downs  []sighting
}

func (w *workload) note(e clustersql.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
}

// keepSight notes, until ctx is done, which nodes the status says are down.
func (w *workload) keepSight(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		<-tick.C
		w.mu.Lock()
		w.downs = append(w.downs, downsOf(w.d)...)
		w.mu.Unlock()
	}
}

// account returns what the client says of its sessions and nodes.
func (w *workload) account() account {
	w.mu.Lock()
	defer w.mu.Unlock()
	a := account{client: w.name, writes: w.does == writesOnly, interval: usual.ProbeInterval, timeout: usual.ProbeTimeout, events: w.events, downs: w.downs, closed: w.closed}
	if w.probe > 0 {
		a.interval, a.timeout = w.probe, w.probe
	}
	a.failed = failed(slices.Concat(w.reads.all(), w.inserts.all(), w.opens.all()))
	return a
}

// ended returns how many sessions of each node have ended.
func (w *workload) ended() map[string]int {
	ended := make(map[string]int)
	for _, n := range w.d.Status().Nodes {
		ended[n.Name] = int(n.Won) - n.OpenConns
	}
	return ended
}

// untold returns how many of the sessions that ended have neither an event nor
// were closed by a pool for want of room.
func (w *workload) untold(ended map[string]int) map[string]int {
	surplus := w.db.Stats().MaxIdleClosed
	if w.fresh != nil {
		surplus += w.fresh.Stats().MaxIdleClosed
	}
	untold := make(map[string]int)
	for node, n := range ended {
		for _, e := range w.told(node) {
			if e.Kind != clustersql.EventState {
				n -= e.Conns
			}
		}
		if n -= int(surplus); n > 0 {
			untold[node] = n
		}
	}
	return untold
}

// eventsSince returns the events since then.
func (w *workload) eventsSince(then time.Time) []clustersql.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.IndexFunc(w.events, func(e clustersql.Event) bool { return !e.Time.Before(then) })
	if i < 0 {
		return nil
	}
	return slices.Clone(w.events[i:])
}

// told returns the events of a node.
func (w *workload) told(node string) []clustersql.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	var found []clustersql.Event
	for _, e := range w.events {
		if e.Node == node {
			found = append(found, e)
		}
	}
	return found
}

// begin starts the workers. They work until ctx is done and then finish what
// they are doing.
func (w *workload) begin(ctx context.Context, wg *sync.WaitGroup) {
	if w.byHand {
		return
	}
	now := time.Now()
	work := func(workers int, every time.Duration, once func(k int)) {
		p := &pacer{began: now, every: every}
		var count atomic.Int64
		for range workers {
			wg.Go(func() {
				for p.wait(ctx) {
					once(int(count.Add(1)))
				}
			})
		}
	}
	if w.does != writesOnly {
		work(readers, readEvery, w.read)
	}
	if w.does != readsOnly {
		work(writers, writeEvery, w.insert)
	}
	if w.fresh != nil {
		work(writers, openEvery, w.open)
	}
}

func (w *workload) context() (context.Context, context.CancelFunc) {
	if w.timeout > 0 {
		return context.WithTimeout(context.Background(), w.timeout)
	}
	return context.Background(), func() {}
}

const readQuery = "SELECT @@wsrep_node_name, faults_counter.v FROM faults_kv, faults_counter WHERE faults_counter.id = 0 AND faults_kv.id = "

// read reads a row and the counter in one statement. Every second statement is
// prepared first.
func (w *workload) read(k int) {
	ctx, cancel := w.context()
	defer cancel()
	o := op{begin: time.Now()}
	query, args := fmt.Sprint(readQuery, k%keys), []any(nil)
	if k%2 == 0 {
		query, args = readQuery+"?", []any{k % keys}
	}
	o.err = w.db.QueryRowContext(ctx, query, args...).Scan(&o.node, &o.value)
	o.node = nodeOf(o)
	w.reads.add(o)
}

// insert inserts a row with a key of its own. The server does not require the
// key to be unique, so that a statement that runs twice can be noticed.
func (w *workload) insert(k int) {
	ctx, cancel := w.context()
	defer cancel()
	o := op{begin: time.Now(), key: fmt.Sprintf("%s/%d", w.name, k)}
	query, args := "INSERT INTO faults_ins (k, node) VALUES ('"+o.key+"', @@wsrep_node_name)", []any(nil)
	if k%2 == 0 {
		query, args = "INSERT INTO faults_ins (k, node) VALUES (?, @@wsrep_node_name)", []any{o.key}
	}
	_, o.err = w.db.ExecContext(ctx, query, args...)
	o.node = nodeOf(o)
	w.inserts.add(o)
}

// open reads on a fresh connection. Nothing is tried again there: a connection
// that is handed out must work.
func (w *workload) open(k int) {
	ctx, cancel := w.context()
	defer cancel()
	o := op{begin: time.Now()}
	conn, err := w.fresh.Conn(ctx)
	if err == nil {
		err = conn.QueryRowContext(ctx, fmt.Sprint(readQuery, k%keys)).Scan(&o.node, &o.value)
		conn.Close()
	}
	o.err = err
	o.node = nodeOf(o)
	w.opens.add(o)
}

func nodeOf(o op) string {
	var failed *clustersql.NodeError
	if errors.As(o.err, &failed) {
		return failed.Node
	}
	return o.node
}
