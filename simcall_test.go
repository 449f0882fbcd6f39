package clustersql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/EnumApps/clustersql/internal/fakedb"
)

// simKind is what a call does.
type simKind int

const (
	simExec simKind = iota
	simQuery
	simTx
	simConn
	simPrepared
	simPing
)

// A simCall is one caller's use of the database.
type simCall struct {
	// decided by the seed
	number     int
	kind       simKind
	statements int // in a transaction or on a sql.Conn
	verb       int
	idempotent bool
	timeout    time.Duration // 0: none
	cancel     time.Duration // after this the caller leaves; 0: never
	hold       time.Duration // between two statements, and while a sql.Conn is held
	commit     bool

	// of the run
	w      *simWorld
	seq    int64                     // its place among calls and handovers
	gens   map[*atomic.Uint64]uint64 // the nodes' generations when it began
	conn   *fakedb.Conn              // that of its first statement
	handle *fakedb.Conn              // that of its sql.Conn
	from   int                       // the ledger's length when it got that
}

// String says what the seed has decided.
func (c *simCall) String() string {
	kind := [...]string{"exec", "query", "tx", "conn", "prepared", "ping"}[c.kind]
	return fmt.Sprintf("call %d: %s, %d statements, timeout %s, cancel %s, hold %s, idempotent %t", c.number, kind, c.statements, c.timeout, c.cancel, c.hold, c.idempotent)
}

// A simStatement is one statement of a call; its text is its alone.
type simStatement struct {
	call *simCall
	text string
	read bool
	exec bool
	pins bool // on one conn: in a transaction, or on a sql.Conn
	tx   bool
	runs []fakedb.Run
}

type simCallKey struct{}

// do runs the call and holds it to its deadline.
func (c *simCall) do(db *sql.DB) {
	ctx, stop := context.WithCancel(context.WithValue(context.Background(), simCallKey{}, c))
	defer stop()
	if c.idempotent {
		ctx = Idempotent(ctx)
	}
	limit := time.Duration(0)
	if c.timeout > 0 {
		limit = c.timeout
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.timeout)
		defer cancel()
	}
	if c.cancel > 0 {
		if limit == 0 || c.cancel < limit {
			limit = c.cancel
		}
		defer time.AfterFunc(c.cancel, stop).Stop()
	}
	began := time.Now()
	err := c.use(ctx, db, func() { c.inTime(began, limit) })
	c.w.ended(c, err, time.Since(began))
}

// inTime is called when an operation that has a context returns.
func (c *simCall) inTime(began time.Time, limit time.Duration) {
	if took := time.Since(began); limit > 0 && took > limit {
		c.w.violate("call %d was answered after %s, and was to be after %s", c.number, took, limit)
	}
}

// use does what the call's kind says; answered is called after whatever is
// bound by ctx.
func (c *simCall) use(ctx context.Context, db *sql.DB, answered func()) error {
	switch c.kind {
	case simExec:
		defer answered()
		return c.exec(ctx, db, c.statement(true, false, false))
	case simQuery:
		defer answered()
		return c.query(ctx, db, c.statement(false, false, false))
	case simPing:
		defer answered()
		return db.PingContext(ctx)
	case simTx:
		return c.transact(ctx, db, answered)
	}
	return c.hog(ctx, db, answered)
}

// A simRunner is a sql.DB, a sql.Conn or a sql.Tx.
type simRunner interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
}

func (c *simCall) exec(ctx context.Context, r simRunner, s *simStatement) error {
	_, err := r.ExecContext(ctx, s.text)
	c.w.answered(ctx, s, err)
	return err
}

func (c *simCall) query(ctx context.Context, r simRunner, s *simStatement) error {
	rows, err := r.QueryContext(ctx, s.text)
	c.w.answered(ctx, s, err)
	if err != nil {
		return err
	}
	for rows.Next() {
	}
	return errors.Join(rows.Err(), rows.Close())
}

func (c *simCall) prepared(ctx context.Context, r simRunner, s *simStatement) error {
	stmt, err := r.PrepareContext(ctx, s.text)
	if err != nil {
		return err
	}
	defer stmt.Close()
	if s.exec {
		_, err = stmt.ExecContext(ctx)
		c.w.answered(ctx, s, err)
		return err
	}
	rows, err := stmt.QueryContext(ctx)
	c.w.answered(ctx, s, err)
	return closing(rows, err)
}

// several runs the call's statements on what is pinned to one conn.
func (c *simCall) several(ctx context.Context, r simRunner, tx bool, answered func()) error {
	for i := range c.statements {
		s := c.statement((c.number+i)%2 == 0, true, tx)
		var err error
		switch {
		case c.kind == simPrepared || c.kind == simTx && i == 1:
			err = c.prepared(ctx, r, s)
		case s.exec:
			err = c.exec(ctx, r, s)
		default:
			err = c.query(ctx, r, s)
		}
		answered()
		if err != nil {
			return err
		}
		select {
		case <-time.After(c.hold):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// transact runs a transaction. Its end has no context, so nothing bounds it
// but the node's silence.
func (c *simCall) transact(ctx context.Context, db *sql.DB, answered func()) error {
	tx, err := db.BeginTx(ctx, nil)
	answered()
	if err != nil {
		return err
	}
	if err := c.several(ctx, tx, true, answered); err != nil || !c.commit {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// hog holds a sql.Conn, and knows the backend's conn that it has.
func (c *simCall) hog(ctx context.Context, db *sql.DB, answered func()) error {
	conn, err := db.Conn(ctx)
	answered()
	if err != nil {
		return err
	}
	defer conn.Close()
	err = conn.Raw(func(raw any) error {
		c.handle = raw.(Conn).Raw().(*fakedb.Conn)
		return nil
	})
	if err != nil {
		return err
	}
	c.w.claim(c)
	defer c.w.disclaim(c)
	return c.several(ctx, conn, false, answered)
}

// statement makes a statement that no other call sends.
func (c *simCall) statement(exec, pins, tx bool) *simStatement {
	number := c.w.statements.Add(1)
	s := &simStatement{call: c, exec: exec, pins: pins, tx: tx}
	switch {
	case exec && c.verb < 2:
		s.text = fmt.Sprintf("CALL p(%d)", number)
	case exec && c.verb == 2 && !c.w.plan.settings.single:
		s.text = fmt.Sprintf("INSERT INTO t VALUES (%d); INSERT INTO u VALUES (%d)", number, number)
	case exec && c.verb < 5:
		s.text = fmt.Sprintf("UPDATE t SET i = i + 1 WHERE id = %d", number)
	case exec:
		s.text = fmt.Sprintf("INSERT INTO t VALUES (%d)", number)
	case c.verb == 0:
		s.text = fmt.Sprintf("INSERT INTO t VALUES (%d) RETURNING id", number)
	default:
		s.text, s.read = fmt.Sprintf("SELECT %d", number), true
	}
	c.w.register(s)
	return s
}
