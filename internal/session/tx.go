package session

import (
	"context"
	"database/sql/driver"
	"errors"

	"github.com/EnumApps/clustersql/internal/causal"
)

//lint:file-ignore SA1019 older backends have only the deprecated interfaces

// A tx wraps a backend's transaction.
type tx struct {
	backend driver.Tx
	conn    *conn
	ctx     context.Context // the context of BeginTx, if its end must discard the conn; else nil
}

var _ driver.Tx = (*tx)(nil)

var (
	errIsolation = errors.New("sql: driver does not support non-default isolation level")
	errReadOnly  = errors.New("sql: driver does not support read-only transactions")
)

// BeginTx begins a transaction. A backend without ConnBeginTx takes no options:
// any but the defaults are an error. If such a backend has begun the
// transaction and ctx is done by then, it is rolled back.
func (c *conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if !c.usage.used {
		if err := c.taken(); err != nil {
			return nil, err
		}
	}
	if c.discarded {
		return nil, errDiscarded
	}
	if s := causal.In(ctx); s != nil {
		if err := c.await(ctx, s); err != nil {
			return nil, err
		}
	}
	switch {
	case c.beginner != nil:
		c.last = ctx
		c.begin()
		t, err := c.beginner.BeginTx(ctx, opts)
		c.end()
		return c.wrapTx(ctx, t, err)
	case opts.Isolation != 0:
		return nil, errIsolation
	case opts.ReadOnly:
		return nil, errReadOnly
	}
	c.begin()
	t, err := c.backend.Begin()
	c.end()
	if err == nil && t != nil && ctx.Err() != nil {
		_ = t.Rollback()
		return nil, ctx.Err()
	}
	return c.wrapTx(ctx, t, err)
}

// Begin calls the backend's Begin.
func (c *conn) Begin() (driver.Tx, error) {
	if !c.usage.used {
		if err := c.taken(); err != nil {
			return nil, err
		}
	}
	if c.discarded {
		return nil, errDiscarded
	}
	c.begin()
	t, err := c.backend.Begin()
	c.end()
	return c.wrapTx(context.Background(), t, err)
}

// wrapTx wraps what the backend returned. A transaction that comes with an
// error is never touched. A nil transaction without an error stays nil.
func (c *conn) wrapTx(ctx context.Context, backend driver.Tx, err error) (driver.Tx, error) {
	if err != nil {
		return nil, c.failed(ctx, OpIdle, "", err)
	}
	if backend == nil {
		return nil, nil
	}
	c.inTx, c.begun, c.txOf = true, true, causal.In(ctx)
	t := &tx{backend: backend, conn: c}
	if c.resetter == nil || c.validator == nil {
		t.ctx = ctx
	}
	return t, nil
}

// Commit calls the backend's Commit.
func (t *tx) Commit() error {
	defer t.end()
	t.conn.begin()
	err := t.backend.Commit()
	t.conn.end()
	if err != nil {
		t.conn.pinned = true // the server may still be in the transaction
		err = t.conn.failed(context.Background(), OpCommit, "", err)
		t.conn.ended(err)
		return err
	}
	t.conn.ended(nil)
	return nil
}

// Rollback calls the backend's Rollback. If the context of BeginTx is done,
// database/sql itself rolls back, possibly in the middle of the session's work.
// A conn whose backend cannot both reset and judge its sessions is then
// discarded.
func (t *tx) Rollback() error {
	if t.ctx != nil && t.ctx.Err() != nil {
		t.conn.discarded = true
	}
	defer t.end()
	if t.conn.txOf != nil {
		t.conn.owes = t.conn.txOf // for what was read in it
	}
	t.conn.begin()
	err := t.backend.Rollback()
	t.conn.end()
	if err != nil {
		t.conn.pinned = true // the server may still be in the transaction
		return t.conn.failed(context.Background(), OpRollback, "", err)
	}
	return nil
}

// end notes that database/sql is done with the transaction, which it is also
// after a Commit or Rollback that failed. Else a sql.Conn would go on to hide
// the driver.ErrBadConn of a connection that is gone.
func (t *tx) end() { t.conn.inTx, t.conn.txOf = false, nil }
