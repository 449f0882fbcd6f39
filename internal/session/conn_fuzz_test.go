package session

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// A tape turns fuzzed bytes into choices. After its end all choices are zero.
type tape struct{ left []byte }

func (t *tape) next(n int) int {
	if len(t.left) == 0 {
		return 0
	}
	b := t.left[0]
	t.left = t.left[1:]
	return int(b) % n
}

// A walk is a user who does what a tape says. It has at most one conn, one
// transaction and one statement.
type walk struct {
	*user
	tape *tape
	conn *sql.Conn
	tx   *sql.Tx
	stmt *sql.Stmt
	own  bool // stmt was prepared on conn
}

// usable reports whether the statement may be run. A statement that was
// prepared on a sql.Conn must not run while a transaction runs there: if it
// then gets a bad connection, database/sql waits for itself for ever.
func (w *walk) usable() bool { return w.stmt != nil && !(w.own && w.tx != nil) }

// handle returns what the next statement runs on.
func (w *walk) handle() executor {
	switch {
	case w.tx != nil && w.tape.next(4) > 0:
		return w.tx
	case w.conn != nil && w.tx == nil && w.tape.next(4) > 0:
		return w.conn
	}
	return w.db
}

// context returns a context that is done before the call, during it, or never.
func (w *walk) context() (context.Context, context.CancelFunc) {
	switch w.tape.next(8) {
	case 0:
		ctx, cancel := context.WithCancel(w.ctx)
		cancel()
		return ctx, cancel
	case 1:
		return context.WithTimeout(w.ctx, time.Duration(1+w.tape.next(3))*time.Second)
	}
	return w.ctx, func() {}
}

func (w *walk) args() []any {
	names := slices.Sorted(maps.Keys(argLists))
	if i := w.tape.next(2 * len(names)); i < len(names) {
		return argLists[names[i]]
	}
	return []any{1}
}

// step does one thing. Whatever it leaves open is closed when the walk ends.
func (w *walk) step() {
	ctx, cancel := w.context()
	defer func() { cancel(); synctest.Wait() }()
	switch w.tape.next(10) {
	case 0:
		w.saw("ping", "ok", w.db.PingContext(ctx))
	case 1:
		r, err := w.handle().ExecContext(ctx, "exec", w.args()...)
		w.sawResult("exec", r, err)
	case 2:
		rows, err := w.handle().QueryContext(ctx, "query", w.args()...)
		w.sawRows("query", rows, err)
	case 3:
		w.prepare(ctx)
	case 4:
		if w.usable() {
			r, err := w.stmt.ExecContext(ctx, w.args()...)
			w.sawResult("stmt exec", r, err)
		}
	case 5:
		if w.usable() {
			rows, err := w.stmt.QueryContext(ctx, w.args()...)
			w.sawRows("stmt query", rows, err)
		}
	case 6:
		w.begin(ctx)
		time.Sleep(time.Duration(w.tape.next(4)) * time.Second)
	case 7:
		w.end()
	case 8:
		if w.conn == nil {
			var err error
			w.conn, err = w.db.Conn(ctx)
			w.saw("conn", "ok", err)
		} else if w.tx == nil {
			w.saw("conn close", "ok", w.conn.Close())
			w.conn = nil
		}
	case 9:
		w.breaks()
	}
}

func (w *walk) prepare(ctx context.Context) {
	if w.stmt != nil {
		w.saw("stmt close", "ok", w.stmt.Close())
	}
	var err error
	on := w.handle()
	w.stmt, err = on.PrepareContext(ctx, "prepared")
	_, w.own = on.(*sql.Conn)
	w.saw("prepare", "ok", err)
}

func (w *walk) begin(ctx context.Context) {
	if w.tx != nil {
		return
	}
	opts := &sql.TxOptions{Isolation: sql.IsolationLevel(w.tape.next(3)), ReadOnly: w.tape.next(4) == 0}
	var err error
	if w.conn != nil {
		if !w.resets() {
			ctx = w.ctx
		}
		w.tx, err = w.conn.BeginTx(ctx, opts)
	} else {
		w.tx, err = w.db.BeginTx(ctx, opts)
	}
	w.saw("begin", "ok", err)
}

// resets reports whether the backend's sessions can be reset. If they cannot, a
// cancelled transaction on a sql.Conn makes that sql.Conn useless: with a bare
// backend at once, with a wrapped one at its next use.
func (w *walk) resets() bool {
	c := w.s.newConn(nil)
	_, resets := c.(driver.SessionResetter)
	_, validates := c.(driver.Validator)
	return resets && validates
}

func (w *walk) end() {
	if w.tx == nil {
		return
	}
	if w.tape.next(2) == 0 {
		w.saw("commit", "ok", w.tx.Commit())
	} else {
		w.saw("rollback", "ok", w.tx.Rollback())
	}
	w.tx = nil
}

// breaks changes how one of the backend's methods answers from now on.
func (w *walk) breaks() {
	what := []string{"ping", "exec", "query", "prepare", "begin", "commit", "rollback", "reset", "stmt exec", "stmt query", "stmt close", "close"}[w.tape.next(12)]
	how := []error{nil, nil, errBackend, driver.ErrBadConn, driver.ErrSkip, fmt.Errorf("%w, %w", errBackend, driver.ErrBadConn)}[w.tape.next(6)]
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	if w.s.fails == nil {
		w.s.fails = map[string]error{}
	}
	w.s.fails[what] = how
	w.s.invalid = w.tape.next(16) == 1
}

func (w *walk) finish() {
	if w.tx != nil {
		w.saw("rollback", "ok", w.tx.Rollback())
	}
	if w.stmt != nil {
		w.saw("stmt close", "ok", w.stmt.Close())
	}
	if w.conn != nil {
		w.saw("conn close", "ok", w.conn.Close())
	}
	synctest.Wait()
}

// Whatever a program does, on whatever backend, it sees the same with a wrapped
// conn as with a bare one.
func FuzzConn(f *testing.F) {
	f.Add([]byte{8, 1, 5, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9})
	f.Add([]byte{0, 0, 0, 7, 6, 1, 0, 7, 1, 9, 7, 7, 7, 0, 7, 9, 6, 3, 0})
	f.Add([]byte{40, 15, 2, 1, 6, 1, 1, 2, 1, 2, 7, 3, 1, 1, 7, 4, 30})
	f.Fuzz(func(t *testing.T, choices []byte) {
		if len(choices) > 400 {
			return
		}
		head := &tape{choices}
		alike := shape{backendConns[head.next(len(backendConns))], backendStmts[head.next(len(backendStmts))], head.next(4) - 1}
		rest := head.left
		synctest.Test(t, func(t *testing.T) {
			compare(t, scenario{name: "walk", uncounted: true, run: func(u *user) {
				w := &walk{user: u, tape: &tape{rest}}
				for len(w.tape.left) > 0 {
					w.step()
				}
				w.finish()
			}}, alike)
		})
	})
}
