package simulation

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/fakedb"
)

// kind is what a call does.
type kind int

const (
	kindExec kind = iota
	kindQuery
	kindTx
	kindConn
	kindPrepared
	kindPing
	kindLeave // reads one row, and leaves
	kindRaw   // holds the backend's conn in a func
)

// A call is one caller's use of the database.
type call struct {
	// decided by the seed
	number     int
	kind       kind
	statements int // in a transaction or on a sql.Conn
	verb       int
	idempotent bool
	timeout    time.Duration // 0: none
	cancel     time.Duration // after this the caller leaves; 0: never
	hold       time.Duration // between two statements, and while a sql.Conn is held
	commit     bool
	stubborn   bool // commits, whatever the statements have come to

	// of the run
	w      *world
	seq    int64        // its place among calls and handovers
	nodes  glance       // when it began
	conn   *fakedb.Conn // that of its first statement
	handle *fakedb.Conn // that of its sql.Conn
	from   int          // the ledger's length when it got that
}

// String says what the seed has decided.
func (c *call) String() string {
	kind := [...]string{"exec", "query", "tx", "conn", "prepared", "ping", "leave", "raw"}[c.kind]
	return fmt.Sprintf("call %d: %s, %d statements, timeout %s, cancel %s, hold %s, idempotent %t", c.number, kind, c.statements, c.timeout, c.cancel, c.hold, c.idempotent)
}

// A statement is one statement of a call; its text is its alone.
type statement struct {
	call *call
	text string
	read bool
	exec bool
	pins bool // on one conn: in a transaction, or on a sql.Conn
	tx   bool
	runs []fakedb.Run
}

type callKey struct{}

// do runs the call and holds it to its deadline.
func (c *call) do(db *sql.DB) {
	ctx, stop := context.WithCancel(context.WithValue(context.Background(), callKey{}, c))
	defer stop()
	if c.idempotent {
		ctx = clustersql.Idempotent(ctx)
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
func (c *call) inTime(began time.Time, limit time.Duration) {
	if took := time.Since(began); limit > 0 && took > limit {
		c.w.violate("call %d was answered after %s, and was to be after %s", c.number, took, limit)
	}
}

// use does what the call's kind says; answered is called after whatever is
// bound by ctx.
func (c *call) use(ctx context.Context, db *sql.DB, answered func()) error {
	switch c.kind {
	case kindExec:
		defer answered()
		return c.exec(ctx, db, c.statement(true, false, false))
	case kindQuery:
		defer answered()
		return c.query(ctx, db, c.statement(false, false, false))
	case kindPing:
		defer answered()
		return db.PingContext(ctx)
	case kindLeave:
		return c.leave(ctx, db, answered)
	case kindTx:
		return c.transact(ctx, db, answered)
	case kindRaw:
		if c.w.plan.hedged && c.number%16 != 0 {
			return nil
		}
		return c.raw(ctx, db, answered)
	}
	return c.hog(ctx, db, answered)
}

// A runner is a sql.DB, a sql.Conn or a sql.Tx.
type runner interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
}

func (c *call) exec(ctx context.Context, r runner, s *statement) error {
	_, err := r.ExecContext(ctx, s.text)
	c.w.answered(ctx, s, err)
	return err
}

func (c *call) query(ctx context.Context, r runner, s *statement) error {
	rows, err := r.QueryContext(ctx, s.text)
	c.w.answered(ctx, s, err)
	if err != nil {
		return err
	}
	for rows.Next() {
	}
	return errors.Join(rows.Err(), rows.Close())
}

func (c *call) prepared(ctx context.Context, r runner, s *statement) error {
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
	if err == nil {
		rows.Close()
	}
	return err
}

// several runs the call's statements on what is pinned to one conn.
func (c *call) several(ctx context.Context, r runner, tx bool, answered func()) error {
	for i := range c.statements {
		s := c.statement((c.number+i)%2 == 0, true, tx)
		var err error
		switch {
		case c.kind == kindPrepared || c.kind == kindTx && i == 1:
			err = c.prepared(ctx, r, s)
		case s.exec:
			err = c.exec(ctx, r, s)
		default:
			err = c.query(ctx, r, s)
		}
		answered()
		if err != nil && !c.stubborn {
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
func (c *call) transact(ctx context.Context, db *sql.DB, answered func()) error {
	tx, err := db.BeginTx(ctx, nil)
	answered()
	if err != nil {
		return err
	}
	if err := c.several(ctx, tx, true, answered); err != nil && !c.stubborn || !c.commit {
		return errors.Join(err, tx.Rollback())
	}
	began := c.w.backend.Runs()
	err = tx.Commit()
	c.w.committed(c, began, err)
	return err
}

// leave reads one row of a query and leaves.
func (c *call) leave(ctx context.Context, db *sql.DB, answered func()) error {
	ctx, leave := context.WithCancel(ctx)
	defer leave()
	s := c.statement(false, false, false)
	rows, err := db.QueryContext(ctx, s.text)
	answered()
	c.w.answered(ctx, s, err)
	if err != nil {
		return err
	}
	defer rows.Close()
	rows.Next()
	leave()
	return rows.Close()
}

// raw holds the backend's conn in a func, as a program does for what database/sql
// does not have. Nobody may close the conn meanwhile.
func (c *call) raw(ctx context.Context, db *sql.DB, answered func()) error {
	conn, err := db.Conn(ctx)
	answered()
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Raw(func(raw any) error {
		backend := raw.(clustersql.Conn).Raw().(*fakedb.Conn)
		if backend.Closed() {
			return nil // the cluster does not see that the conn was taken out of the pool
		}
		time.Sleep(c.hold)
		if backend.Closed() {
			c.w.violate("call %d: the conn of %s was closed while a func of Raw held it", c.number, backend.NodeName())
		}
		return nil
	})
}

// hog holds a sql.Conn, and knows the backend's conn that it has.
func (c *call) hog(ctx context.Context, db *sql.DB, answered func()) error {
	conn, err := db.Conn(ctx)
	answered()
	if err != nil {
		return err
	}
	defer conn.Close()
	err = conn.Raw(func(raw any) error {
		c.handle = within(raw.(driver.Conn))
		clustersql.NodeOf(raw) // whoever knows the node is not led to another one
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
func (c *call) statement(exec, pins, tx bool) *statement {
	number := c.w.statements.Add(1)
	s := &statement{call: c, exec: exec, pins: pins, tx: tx}
	switch {
	case exec && c.verb < 2 && (!c.w.plan.hedged || c.number%16 == 0): // the reads on its connection are not hedged after that
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
