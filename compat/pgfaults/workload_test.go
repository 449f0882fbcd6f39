package pgfaults

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// These are the load of every client.
const (
	readers    = 8
	writers    = 4
	readEvery  = time.Second / 100
	writeEvery = time.Second / 40
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
	select {
	case <-time.After(time.Until(p.began.Add(time.Duration(k) * p.every))):
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// An op is one operation as its caller saw it.
type op struct {
	begin, end time.Time
	port       int    // of the node that answered a read
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

// begin starts the workers. They work until ctx is done and then finish what
// they are doing.
func (c *client) begin(ctx context.Context, wg *sync.WaitGroup, row string) {
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
	work(readers, readEvery, c.read)
	work(writers, writeEvery, func(k int) { c.insert(fmt.Sprintf("%s, %s, %d", row, c.name, k), k) })
}

// of returns the pool, and for every eighth operation the one without idle
// connections.
func (p *pool) of(k int) *sql.DB {
	if k%8 == 0 {
		return p.fresh
	}
	return p.db
}

// readQuery takes its time, so that there is always a read under way.
const readQuery = "SELECT inet_server_port(), v, pg_sleep(0.02) FROM counter WHERE id = "

// read reads the counter. Every second statement has an argument.
func (c *client) read(k int) {
	o := op{begin: time.Now()}
	query, args := readQuery+"0", []any(nil)
	if k%2 == 0 {
		query, args = readQuery+"$1", []any{0}
	}
	o.err = c.readers.of(k/2).QueryRowContext(context.Background(), query, args...).Scan(&o.port, &o.value, new(any))
	c.reads.add(o)
}

// insert inserts a row with a key of its own. The server does not require the
// key to be unique, so that a statement that runs twice can be noticed.
func (c *client) insert(key string, k int) {
	o := op{begin: time.Now(), key: key}
	query, args := "INSERT INTO ins (k, port) VALUES ('"+key+"', inet_server_port())", []any(nil)
	if k%2 == 0 {
		query, args = "INSERT INTO ins (k, port) VALUES ($1, inet_server_port())", []any{key}
	}
	_, o.err = c.writers.of(k/2).ExecContext(context.Background(), query, args...)
	c.inserts.add(o)
}
