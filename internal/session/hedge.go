package session

import (
	"bytes"
	"context"
	"database/sql/driver"
	"errors"
	"time"

	"github.com/EnumApps/clustersql/internal/causal"
	"github.com/EnumApps/clustersql/internal/hedge"
	"github.com/EnumApps/clustersql/internal/sqltext"
)

// A read that has got no answer for a while is sent on a connection to another node
// too. If that answers first, it becomes the connection of the conn: the conn adopts
// it, and its tenure is another one from then on. The socket of the old one is cut, so
// that the call which hangs on it returns. The caller of that call, who is the conn's
// user, finds the answer and makes the change. Nobody else ever changes a conn.

// A Hedging is what a conn whose reads are hedged asks of the cluster. Each tenure has
// its own. The methods may be called from any goroutine, and do not wait, but for Hedge
// and Cut.
type Hedging interface {
	HedgeAfter() time.Duration // how long a read may take before it is hedged; 0: as long as it likes
	Answered()                 // is called after each hedge.Batch of reads that were answered in time
	Hedge(r *Read)             // gets a goroutine of its own for each read that was not
	Cut()                      // closes the socket
	Later(f func())            // runs f in a goroutine of its own
	Panicked(with any)         // is told of a panic of the backend
}

type hedgeKey struct{}

// WithHedgeAfter returns a context whose reads are hedged after d, and never if d is
// negative.
func WithHedgeAfter(ctx context.Context, d time.Duration) context.Context {
	return context.WithValue(ctx, hedgeKey{}, d)
}

// A readKind is what is sent to another node too.
type readKind uint8

const (
	readQuery readKind = iota // a query on the conn
	readStmt                  // a query of a prepared statement
	readPrepare
)

// judge looks at the read, and copies it: once the call has returned, its arguments may
// change. The call has not returned, so its goroutine changes nothing of the conn.
func (w *watch) judge() *Read {
	c, s := w.conn, w.on.link.Session
	r := &Read{w: w, Chosen: w.chosen, Context: w.ctx, kind: w.kind, query: w.query, from: w.on.link.Hedging}
	if s.Manual || c.owes != nil || w.ctx.Err() != nil || !sqltext.Hedge(w.query, s.Single || w.kind != readQuery) {
		return r
	}
	if r.args, r.Eligible = copied(w.args); r.Eligible {
		r.Session = causal.In(w.ctx)
	}
	return r
}

// copied returns arguments that nobody else changes. ok is false if there is one of a
// type of which that is not known.
func copied(args []driver.NamedValue) (copies []driver.NamedValue, ok bool) {
	copies = make([]driver.NamedValue, len(args))
	for i, a := range args {
		switch v := a.Value.(type) {
		case nil, bool, string, time.Time, float32, float64,
			int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64:
		case []byte:
			a.Value = bytes.Clone(v)
		default:
			return nil, false
		}
		copies[i] = a
	}
	return copies, true
}

// A Read is one that takes long. It belongs to the goroutine that got it.
type Read struct {
	Eligible bool            // it may be sent to another node
	Chosen   bool            // its caller has said after which time it is hedged
	Context  context.Context // of the caller; the read runs in it, and not in one made from it, which would end with the goroutine
	Session  *causal.Session // of the caller; nil without one

	w     *watch
	from  Hedging // of the tenure on which it takes long
	kind  readKind
	query string
	args  []driver.NamedValue
}

// Opens says that another connection is being opened for the read. It calls release if
// the read is answered meanwhile. It reports false if it has been answered already.
func (r *Read) Opens(release context.CancelFunc) bool {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	r.w.release = release
	return !r.w.over
}

// Over reports whether the read has been answered.
func (r *Read) Over() bool {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	return r.w.over
}

// Abandon gives the other connection up, unless it has answered first.
func (r *Read) Abandon() {
	r.w.mu.Lock()
	r.w.abandoned = true
	racer, won := r.w.racer, r.w.won
	r.w.mu.Unlock()
	if racer != nil && won == nil {
		racer.link.Hedging.Cut()
	}
}

// A Racer is a connection on which a read is to run that takes long elsewhere.
type Racer struct{ t *tenure }

// NewRacer returns the Racer of a backend's conn, which it owns. The link must have a
// Hedging.
func NewRacer(backend driver.Conn, l Link) Racer {
	t := new(tenure)
	t.start(backend, l)
	return Racer{t}
}

// Handle returns the Handle of the connection, which is in use.
func (r Racer) Handle() Handle { return Handle(r) }

// Run runs the read on the other connection, which it closes unless that answers first.
// If it does, the wrapped conn owns it.
func (r *Read) Run(on Racer) (o hedge.Outcome) {
	a := &answer{tenure: on.t}
	w, err := r.w, errEnded
	w.mu.Lock()
	gone := w.over || w.abandoned
	if w.release = nil; !gone {
		w.racer = on.t
	}
	w.mu.Unlock()
	defer func() { // also if the backend ends the goroutine
		if o = hedge.Lost; gone {
			o = hedge.Unsent
		}
		if r.finish(a, err) {
			o = hedge.Won
		}
	}()
	if !gone {
		err = a.run(r)
	}
	return hedge.Lost
}

var errEnded = errors.New("the read did not return")

// finish gives the answer to the conn, or discards it.
func (r *Read) finish(a *answer, err error) (won bool) {
	w := r.w
	w.mu.Lock()
	w.racer = nil
	if won = err == nil && !w.over && !w.abandoned; won {
		w.won = a
	}
	w.mu.Unlock()
	if !won {
		a.discard()
		return false
	}
	r.from.Cut()
	return true
}

// An answer is what the other connection has answered.
type answer struct {
	tenure *tenure
	rows   driver.Rows
	stmt   driver.Stmt // prepared on it
}

// run runs the read.
func (a *answer) run(r *Read) (err error) {
	defer func() {
		if with := recover(); with != nil {
			a.tenure.link.Hedging.Panicked(with)
			err = errEnded
		}
	}()
	t := a.tenure
	if r.kind == readQuery {
		if t.queryer == nil {
			return errEnded
		}
		a.rows, err = t.queryer.QueryContext(r.Context, r.query, r.args)
		return a.whole(err, a.rows == nil)
	}
	if t.preparer == nil {
		return errEnded
	}
	stmt, err := t.preparer.PrepareContext(r.Context, r.query)
	if err = a.whole(err, stmt == nil); err != nil {
		return err
	}
	if a.stmt = stmt; r.kind == readPrepare {
		return nil
	}
	q, ok := stmt.(driver.StmtQueryContext)
	if !ok {
		return errEnded
	}
	a.rows, err = q.QueryContext(r.Context, r.args)
	return a.whole(err, a.rows == nil)
}

// whole returns the error of a call that has returned nothing, or an error. What comes
// with an error is never touched.
func (a *answer) whole(err error, none bool) error {
	switch {
	case err != nil:
		a.rows = nil
	case none:
		err = errEnded
	}
	return err
}

// discard closes the connection of an answer that nobody gets. It may wait for that.
func (a *answer) discard() {
	defer func() { _ = a.tenure.close(nil, Outrun) }() // also if a backend panics
	defer func() {
		if with := recover(); with != nil {
			a.tenure.link.Hedging.Panicked(with)
		}
	}()
	a.tenure.usage.state.Store(closed)
	closeBoth(a.rows, a.stmt)
}

func closeBoth(rows driver.Rows, stmt driver.Stmt) {
	if rows != nil {
		_ = rows.Close()
	}
	if stmt != nil {
		_ = stmt.Close()
	}
}

// adopt makes the answer's connection the conn's own. Only the conn's user calls it.
// The old connection is closed behind the scenes, and before it what the backend has
// returned on it in the meantime.
func (c *conn) adopt(a *answer, rows driver.Rows, stmt driver.Stmt, err error) {
	old := c.tenure
	old.usage.state.Store(closed)
	a.tenure.link.Over, old.link.Over = old.link.Over, nil
	a.tenure.usage.used = true
	c.tenure, c.harmless = a.tenure, "" // the other node's DSN may allow several statements in a text
	c.left, c.lost, c.spent = false, false, false
	if err != nil { // what comes with an error is never touched
		rows, stmt = nil, nil
	}
	old.link.Hedging.Later(func() {
		h := old.link.Hedging
		defer old.forget()
		defer func() { _ = old.close(nil, Outrun) }()
		defer func() {
			if with := recover(); with != nil {
				h.Panicked(with)
			}
		}()
		closeBoth(rows, stmt)
	})
}

// ranStatement takes note of a statement that was sent, for the reads after it.
func (c *conn) ranStatement(query string) {
	c.begun = true
	c.strange = c.strange || !sqltext.Plain(query)
}
