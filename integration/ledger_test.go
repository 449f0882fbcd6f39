package integration

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/galera"
	"github.com/EnumApps/clustersql/internal/seedtest"
)

const (
	accounts = 500
	opening  = 1000 // of each account, at the start
)

// A ledger has three kinds of data: accounts between which transactions move
// money, each with a line in a journal; rows that are inserted one by one; and
// a counter that one writer raises. The ledger knows what must hold for them
// whatever happens to a node. The books know what the callers were told.
type ledger struct {
	c     *galera.Cluster
	users []*user
	draws *seedtest.Source
	gate  sync.RWMutex // every operation holds it for reading, a check of the books for writing

	counter counter
	donors  atomic.Bool // a state transfer is under way: its donor may show old data until conns have left it
	floors  sync.Map    // for each node an *atomic.Int64: the highest value of the counter that a read there has shown

	balances [accounts]int64 // as of the last check
	checks   int

	mu     sync.Mutex
	wrongs []string
}

// openLedger makes the tables, and a user for every strategy. One of them reads
// only what is committed everywhere. The seed decides what the users draw.
func openLedger(t *testing.T, c *galera.Cluster, seed uint64) *ledger {
	t.Helper()
	run(t, c,
		"CREATE TABLE app.ledger_accounts (id INT PRIMARY KEY, balance BIGINT NOT NULL)",
		fmt.Sprintf("INSERT INTO app.ledger_accounts SELECT seq, %d FROM app.seq_0_to_%d", opening, accounts-1),
		"CREATE TABLE app.ledger_journal (id BIGINT PRIMARY KEY AUTO_INCREMENT, k VARCHAR(64), debit INT, credit INT, amount BIGINT, KEY (k))",
		"CREATE TABLE app.ledger_rows (id BIGINT PRIMARY KEY AUTO_INCREMENT, k VARCHAR(64), KEY (k))",
		"CREATE TABLE app.ledger_counter (id INT PRIMARY KEY, v BIGINT)",
		"INSERT INTO app.ledger_counter VALUES (0, 0)")
	l := &ledger{c: c, draws: seedtest.NewSource(seed)}
	for i := range l.balances {
		l.balances[i] = opening
	}
	for _, n := range c.Nodes {
		l.floors.Store(n.Name, new(atomic.Int64))
	}
	for name, opts := range map[string][]clustersql.Option{
		"race":     nil,
		"hedged":   {clustersql.WithStrategy(clustersql.Hedged), clustersql.WithIdempotent(true), clustersql.WithCheck(clustersql.CheckGalera)},
		"balanced": {clustersql.WithStrategy(clustersql.Balanced), clustersql.WithIdempotent(true), clustersql.WithCheck(clustersql.CheckGalera)},
		"ordered":  {clustersql.WithStrategy(clustersql.Ordered), clustersql.WithFailbackAfter(5 * time.Second), clustersql.WithRequire("writable")},
	} {
		params := ""
		if name == "ordered" {
			params = "wsrep_sync_wait=1"
		}
		l.users = append(l.users, newUser(t, c, name, params, opts...))
	}
	slices.SortFunc(l.users, func(a, b *user) int { return cmp.Compare(a.name, b.name) })
	return l
}

// begin starts the workers of all users. They work until ctx is done.
func (l *ledger) begin(ctx context.Context, wg *sync.WaitGroup) {
	work := func(workers int, every time.Duration, once func(context.Context)) {
		for range workers {
			wg.Go(func() { l.repeat(ctx, every, once) })
		}
	}
	for _, u := range l.users {
		wg.Go(func() { u.keepSight(ctx) })
		work(6, 120*time.Millisecond, func(ctx context.Context) { l.read(ctx, u, u.db) })
		work(1, 200*time.Millisecond, func(ctx context.Context) { l.read(ctx, u, u.fresh) })
		work(1, 300*time.Millisecond, func(ctx context.Context) { u.fail(ctx, "rows that are left", leaveRows(ctx, u.db)) })
		work(3, 300*time.Millisecond, func(ctx context.Context) { l.insert(ctx, u) })
		work(3, 300*time.Millisecond, func(ctx context.Context) { l.transfer(ctx, u) })
	}
	var v int64
	work(1, 20*time.Millisecond, func(ctx context.Context) { v++; l.raise(ctx, v) })
}

// repeat calls once again and again, at random intervals whose mean is every.
// For each fifth call the context has a deadline.
func (l *ledger) repeat(ctx context.Context, every time.Duration, once func(context.Context)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(l.draws.Until(2 * every)):
		}
		l.gate.RLock()
		caller, cancel := context.Background(), context.CancelFunc(func() {})
		if l.draws.IntN(5) == 0 {
			caller, cancel = context.WithTimeout(caller, l.draws.Until(3*time.Second))
		}
		once(caller)
		cancel()
		l.gate.RUnlock()
	}
}

// read reads the counter and the sum of all accounts in one snapshot.
func (l *ledger) read(ctx context.Context, u *user, db *sql.DB) {
	floors := make(map[string]int64)
	l.floors.Range(func(node, floor any) bool {
		floors[node.(string)] = floor.(*atomic.Int64).Load()
		return true
	})
	o := op{begin: time.Now()}
	var sum int64
	o.err = db.QueryRowContext(ctx, "SELECT @@wsrep_node_name, v, (SELECT SUM(balance) FROM ledger_accounts) FROM ledger_counter WHERE id = 0").Scan(&o.node, &o.value, &sum)
	u.fail(ctx, "read", o.err)
	u.reads.Add(1)
	raiseTo(&u.slowRead, int64(time.Since(o.begin)))
	if o.err != nil {
		if !errors.Is(o.err, context.DeadlineExceeded) {
			u.failed.Add(1)
		}
		return
	}
	if sum != accounts*opening {
		l.wrong("%s: a read on %s found %d in the accounts, not %d", u.name, o.node, sum, accounts*opening)
	}
	if o.value < floors[o.node] {
		l.wrong("%s: a read on %s found the counter at %d, after another there had found it at %d", u.name, o.node, o.value, floors[o.node])
	}
	if sure := l.counter.everywhere(o.begin.Add(-replicationDelay)); o.value < sure && !l.donors.Load() {
		l.wrong("%s: a read on %s found the counter at %d, and %d was committed %s before it began", u.name, o.node, o.value, sure, replicationDelay)
	}
	if floor, ok := l.floors.Load(o.node); ok {
		raiseTo(floor.(*atomic.Int64), o.value)
	}
}

func (l *ledger) insert(ctx context.Context, u *user) {
	line, key := u.inserts.enter()
	began := time.Now()
	query, args := "INSERT INTO ledger_rows (k) VALUES ('"+key+"')", []any(nil)
	if line%2 == 0 {
		query, args = "INSERT INTO ledger_rows (k) VALUES (?)", []any{key}
	}
	_, err := u.db.ExecContext(ctx, query, args...)
	raiseTo(&u.slowWrite, int64(time.Since(began)))
	u.fail(ctx, "insert", err)
	u.inserts.settle(line, fateOf(err), err)
}

// transfer moves money. If anything fails before the Commit, the transfer does
// not count.
func (l *ledger) transfer(ctx context.Context, u *user) {
	line, key := u.transfers.enter()
	began := time.Now()
	committing, err := l.move(ctx, u.db, key)
	raiseTo(&u.slowWrite, int64(time.Since(began)))
	u.fail(ctx, "transfer", err)
	f := fateOf(err)
	if !committing && f != acknowledged {
		f = refused
	}
	u.transfers.settle(line, f, err)
}

// move runs one transfer. It reports whether the transfer has come to its
// Commit.
func (l *ledger) move(ctx context.Context, db *sql.DB, key string) (committing bool, err error) {
	debit, credit, amount := l.draws.IntN(accounts), l.draws.IntN(accounts), 1+l.draws.IntN(100)
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return false, err
	}
	defer func() { _ = tx.Rollback() }()
	steps := []struct{ account, by int }{{debit, -amount}, {credit, amount}}
	if credit < debit { // the order of locks is the same for all
		slices.Reverse(steps)
	}
	for _, s := range steps {
		if _, err := tx.ExecContext(ctx, "UPDATE ledger_accounts SET balance = balance + ? WHERE id = ?", s.by, s.account); err != nil {
			return false, err
		}
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO ledger_journal (k, debit, credit, amount) VALUES (?, ?, ?, ?)", key, debit, credit, amount); err != nil {
		return false, err
	}
	return true, tx.Commit()
}

// raise raises the counter, with a user chosen at random. A statement that
// arrives late does not lower it.
func (l *ledger) raise(ctx context.Context, v int64) {
	u := l.users[l.draws.IntN(len(l.users))]
	_, err := u.db.ExecContext(ctx, "UPDATE ledger_counter SET v = GREATEST(v, ?) WHERE id = 0", v)
	u.fail(ctx, "raise", err)
	if err == nil {
		l.counter.commit(v)
	}
}

// raiseTo sets a to the larger of a and v.
func raiseTo(a *atomic.Int64, v int64) {
	for was := a.Load(); was < v && !a.CompareAndSwap(was, v); was = a.Load() {
	}
}

func (l *ledger) wrong(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.wrongs) < 100 {
		l.wrongs = append(l.wrongs, fmt.Sprintf("%s "+format, slices.Insert(args, 0, any(time.Now().Format("05.000")))...))
	}
}

// check compares the books with every node. All nodes must be whole, and
// nothing may be under way. It removes what it has found.
func (l *ledger) check(t *testing.T) {
	t.Helper()
	var found page
	waitFor(t, "the nodes to agree", func() bool {
		found = readPage(t, l.c.Nodes[0])
		for _, n := range l.c.Nodes[1:] {
			if !found.equal(readPage(t, n)) {
				return false
			}
		}
		return true
	})
	for _, e := range found.journal {
		l.balances[e.debit] -= e.amount
		l.balances[e.credit] += e.amount
		l.find(t, e.k, func(u *user) *book { return &u.transfers })
	}
	for _, k := range found.rows {
		l.find(t, k, func(u *user) *book { return &u.inserts })
	}
	if found.balances != l.balances {
		t.Error("the accounts are not what the journal says")
		l.balances = found.balances
	}
	for _, u := range l.users {
		for _, b := range []*book{&u.inserts, &u.transfers} {
			if v := b.judge(); !v.ok() {
				t.Errorf("%s, %s: %s", u.name, b.what, v)
			}
		}
	}
	l.mu.Lock()
	for _, w := range l.wrongs {
		t.Error(w)
	}
	l.wrongs = nil
	l.mu.Unlock()
	found.remove(t, l.c)
	l.counter.forget(time.Now().Add(-time.Minute))
	l.checks++
}

func (l *ledger) find(t *testing.T, key string, of func(*user) *book) {
	t.Helper()
	if !slices.ContainsFunc(l.users, func(u *user) bool { return of(u).find(key) }) {
		t.Errorf("nobody has written %q", key)
	}
}
