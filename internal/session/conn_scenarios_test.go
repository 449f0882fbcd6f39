package session

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"testing/synctest"
	"time"
)

// A user works with a database and records the results.
type user struct {
	s   *script
	db  *sql.DB
	ctx context.Context // never done
}

// A scenario is something that a user does.
type scenario struct {
	name string
	set  func(*script) // nil: the backend is healthy
	run  func(*user)
	// uncounted: callers leave and the backend breaks in the same scenario, so
	// the number of reports cannot be told in advance.
	uncounted bool
}

// saw records an outcome, with all that a program can ask of an error.
func (u *user) saw(what string, result any, err error) {
	if err == nil {
		u.s.log("%s: %v", what, result)
		return
	}
	u.s.log("%s: %T %v (bad conn %v, done %v, ours %v, backend's %v)", what, err, err,
		errors.Is(err, driver.ErrBadConn), errors.Is(err, sql.ErrConnDone), err == errDiscarded, errors.Is(err, errBackend))
}

func (u *user) sawResult(what string, r sql.Result, err error) {
	var n int64
	if err == nil {
		n, err = r.RowsAffected()
	}
	u.saw(what, n, err)
}

func (u *user) sawRows(what string, rows *sql.Rows, err error) {
	if err != nil {
		u.saw(what, nil, err)
		return
	}
	columns, _ := rows.Columns()
	for rows.Next() {
		var v any
		_ = rows.Scan(&v)
		u.s.log("%s: %v = %v", what, columns, v)
	}
	u.saw(what, "end", rows.Err())
	u.saw(what+" close", nil, rows.Close())
}

// An executor is what *sql.DB, *sql.Conn and *sql.Tx have in common.
type executor interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
}

// statements runs one statement of each kind.
func (u *user) statements(ctx context.Context, h executor, args ...any) {
	r, err := h.ExecContext(ctx, "exec", args...)
	u.sawResult("exec", r, err)
	rows, err := h.QueryContext(ctx, "query", args...)
	u.sawRows("query", rows, err)
	u.prepared(ctx, h, args...)
}

func (u *user) prepared(ctx context.Context, h executor, args ...any) {
	stmt, err := h.PrepareContext(u.ctx, "prepared")
	u.saw("prepare", "ok", err)
	if err != nil {
		return
	}
	r, err := stmt.ExecContext(ctx, args...)
	u.sawResult("stmt exec", r, err)
	rows, err := stmt.QueryContext(ctx, args...)
	u.sawRows("stmt query", rows, err)
	u.saw("stmt close", "ok", stmt.Close())
}

// transaction runs one transaction to its end.
func (u *user) transaction(opts *sql.TxOptions, end func(*sql.Tx) error, args ...any) {
	tx, err := u.db.BeginTx(u.ctx, opts)
	u.saw("begin", "ok", err)
	if err != nil {
		return
	}
	u.statements(u.ctx, tx, args...)
	u.saw("end", "ok", end(tx))
	synctest.Wait() // for the goroutine that database/sql has for the transaction
}

// everything uses each method of the backend, some of them twice.
func (u *user) everything() {
	u.saw("ping", "ok", u.db.PingContext(u.ctx))
	u.statements(u.ctx, u.db, 1)
	u.transaction(nil, (*sql.Tx).Commit, 1)
	u.transaction(nil, (*sql.Tx).Rollback, 1)
	u.saw("ping", "ok", u.db.PingContext(u.ctx))
}

// on runs f with a conn of its own.
func (u *user) on(f func(*sql.Conn)) {
	c, err := u.db.Conn(u.ctx)
	u.saw("conn", "ok", err)
	if err == nil {
		f(c)
		_ = c.Close()
	}
}

type valuer struct {
	v   any
	err error
}

func (v valuer) Value() (driver.Value, error) { return v.v, v.err }

type label string

var argLists = map[string][]any{
	"none":            {},
	"plain":           {1, "two", []byte("three"), nil, true, 1.5, time.Unix(0, 0).UTC()},
	"one":             {1},
	"list":            {[]int{1, 2}},
	"two lists":       {[]int{1}, []int{2}},
	"high bit":        {uint64(1) << 63},
	"own type":        {label("x")},
	"named":           {sql.Named("a", 1)},
	"misnamed":        {sql.Named("1a", 1)},
	"valuer":          {valuer{v: "v"}},
	"failing valuer":  {valuer{err: errBackend}},
	"unfit valuer":    {valuer{v: label("x")}},
	"nil valuer":      {(*valuer)(nil)},
	"out":             {sql.Out{Dest: new(int)}},
	"struct":          {struct{}{}},
	"pointer":         {new(int)},
	"accepted":        {accepted{}},
	"replaced":        {replaced{}},
	"removed":         {removed{}, 1},
	"all removed":     {removed{}},
	"rejected":        {rejected("x")},
	"skipped":         {skipped("x")},
	"unfit":           {unfit("x")},
	"named and extra": {sql.Named("a", accepted{}), 2},
}

// argScenarios send every list of arguments in every way.
func argScenarios() []scenario {
	var all []scenario
	for name, args := range argLists {
		all = append(all, scenario{name: "args " + name, run: func(u *user) {
			u.statements(u.ctx, u.db, args...)
			u.transaction(nil, (*sql.Tx).Commit, args...)
		}})
	}
	return all
}

// failScenarios make each method of the backend fail in each way.
func failScenarios() []scenario {
	var all []scenario
	for _, what := range []string{"ping", "exec", "query", "prepare", "begin", "commit", "rollback", "reset", "stmt exec", "stmt query", "stmt close", "close"} {
		for name, err := range map[string]error{
			"error": errBackend, "bad conn": driver.ErrBadConn, "skip": driver.ErrSkip,
			"wrapped bad conn": fmt.Errorf("%w, %w", errBackend, driver.ErrBadConn),
			"wrapped skip":     fmt.Errorf("%w", driver.ErrSkip),
		} {
			all = append(all, scenario{
				name: what + " fails: " + name,
				set:  func(s *script) { s.fails = map[string]error{what: err} },
				run:  (*user).everything,
			})
		}
	}
	return all
}

// panicScenarios make the backend panic. They leave out the methods in which
// database/sql would lose track of a conn that panics.
func panicScenarios() []scenario {
	var all []scenario
	for _, what := range []string{"ping", "exec", "query", "prepare", "begin", "reset", "stmt exec", "stmt query"} {
		all = append(all, scenario{
			name: what + " panics",
			set:  func(s *script) { s.panics = what },
			run: func(u *user) {
				u.survive(func() { u.saw("ping", "ok", u.db.PingContext(u.ctx)) })
				u.survive(func() { r, err := u.db.ExecContext(u.ctx, "exec"); u.sawResult("exec", r, err) })
				u.survive(func() { rows, err := u.db.QueryContext(u.ctx, "query"); u.sawRows("query", rows, err) })
				u.survive(func() { _, err := u.db.BeginTx(u.ctx, nil); u.saw("begin", "ok", err) })
			},
		})
	}
	return all
}

func (u *user) survive(f func()) {
	defer func() {
		if r := recover(); r != nil {
			u.s.log("panic: %v", r)
		}
	}()
	f()
}

// contextScenarios are about contexts that are done.
func contextScenarios() []scenario {
	return []scenario{
		{name: "context done before each call", run: func(u *user) {
			done, cancel := context.WithCancel(u.ctx)
			cancel()
			u.on(func(c *sql.Conn) { u.saw("ping", "ok", c.PingContext(done)) })
			u.on(func(c *sql.Conn) { u.statements(done, c, 1) })
			u.on(func(c *sql.Conn) { u.statements(done, c, sql.Named("a", 1)) })
			u.on(func(c *sql.Conn) { _, err := c.PrepareContext(done, "late"); u.saw("prepare", "ok", err) })
			u.on(func(c *sql.Conn) {
				_, err := c.BeginTx(done, nil)
				u.saw("begin", "ok", err)
				synctest.Wait()
			})
			u.saw("ping", "ok", u.db.PingContext(u.ctx))
		}},
		{name: "transaction cancelled", run: (*user).cancelled},
		{name: "transaction cancelled, rollback fails", run: (*user).cancelled,
			set: func(s *script) { s.fails = map[string]error{"rollback": errBackend} }},
		{name: "transaction cancelled, rollback finds a bad conn", run: (*user).cancelled,
			set: func(s *script) { s.fails = map[string]error{"rollback": driver.ErrBadConn} }},
		{name: "transaction timed out", run: func(u *user) {
			ctx, cancel := context.WithTimeout(u.ctx, time.Second)
			defer cancel()
			tx, err := u.db.BeginTx(ctx, nil)
			u.saw("begin", "ok", err)
			time.Sleep(2 * time.Second)
			synctest.Wait()
			u.saw("commit", "ok", tx.Commit())
			u.everything()
		}},
		{name: "context done after the end", run: func(u *user) {
			ctx, cancel := context.WithCancel(u.ctx)
			tx, err := u.db.BeginTx(ctx, nil)
			u.saw("begin", "ok", err)
			u.saw("commit", "ok", tx.Commit())
			cancel()
			synctest.Wait()
			u.everything()
		}},
	}
}

func (u *user) cancelled() {
	ctx, cancel := context.WithCancel(u.ctx)
	tx, err := u.db.BeginTx(ctx, nil)
	u.saw("begin", "ok", err)
	_, err = tx.PrepareContext(ctx, "left open")
	u.saw("prepare", "ok", err)
	cancel()
	synctest.Wait()
	u.saw("commit", "ok", tx.Commit())
	u.everything()
}

// otherScenarios are all other ones.
func otherScenarios() []scenario {
	all := []scenario{
		{name: "all is well", run: (*user).everything},
		{name: "not valid", set: func(s *script) { s.invalid = true }, run: (*user).everything},
		{name: "statement across conns", run: func(u *user) {
			stmt, err := u.db.PrepareContext(u.ctx, "prepared")
			u.saw("prepare", "ok", err)
			u.on(func(*sql.Conn) {
				r, err := stmt.ExecContext(u.ctx, 1)
				u.sawResult("on another conn", r, err)
			})
			tx, err := u.db.BeginTx(u.ctx, nil)
			u.saw("begin", "ok", err)
			r, err := tx.StmtContext(u.ctx, stmt).ExecContext(u.ctx, 1)
			u.sawResult("in a transaction", r, err)
			u.saw("commit", "ok", tx.Commit())
			u.saw("stmt close", "ok", stmt.Close())
		}},
	}
	for name, opts := range map[string]*sql.TxOptions{
		"isolated":  {Isolation: sql.LevelSerializable},
		"read-only": {ReadOnly: true},
		"both":      {Isolation: sql.LevelReadCommitted, ReadOnly: true},
	} {
		all = append(all, scenario{name: "transaction " + name, run: func(u *user) {
			u.transaction(opts, (*sql.Tx).Commit)
		}})
	}
	return all
}
