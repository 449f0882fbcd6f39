package fakedb

import (
	"context"
	"database/sql/driver"
	"io"
)

// A result says that one row was changed.
type result struct{}

var oneRow driver.Result = result{}

func (result) LastInsertId() (int64, error) { return 1, nil }
func (result) RowsAffected() (int64, error) { return 1, nil }

// rows are one row with the node's name.
type rows struct {
	node string
	done bool
}

// noRows is the answer of a quiet node. It is shared and never changed.
var (
	noRows      driver.Rows = &rows{done: true}
	columnNames             = []string{"node"}
)

func (r *rows) Columns() []string { return columnNames }
func (r *rows) Close() error      { return nil }
func (r *rows) Next(dest []driver.Value) error {
	if r.done {
		return io.EOF
	}
	r.done = true
	dest[0] = r.node
	return nil
}

// moodRows are those of a node with a mood: each row after the first takes the
// node's time. As with go-sql-driver, the connection is broken when the caller
// leaves before the last one.
type moodRows struct {
	rows
	ctx  context.Context
	c    *Conn
	left int
}

func (r *moodRows) Next(dest []driver.Value) error {
	if r.left == 0 {
		return io.EOF
	}
	if r.done {
		if !r.c.enter() {
			return errClosed
		}
		defer r.c.leave()
		m, _ := r.c.node.currentMood()
		if err := r.c.linger(r.ctx, r.ctx, m.Delay); err != nil {
			return err
		}
		r.c.receive()
	}
	r.left--
	r.done, dest[0] = true, r.node
	return nil
}

func (r *moodRows) Close() error {
	if r.left > 0 && r.ctx.Err() != nil {
		r.c.broken.Store(true)
	}
	r.left = 0
	return nil
}

// tableRows are the rows that [Node.OnTable] gave.
type tableRows struct {
	columns []string
	left    [][]driver.Value
}

func (r *tableRows) Columns() []string { return r.columns }
func (r *tableRows) Close() error      { return nil }
func (r *tableRows) Next(dest []driver.Value) error {
	if len(r.left) == 0 {
		return io.EOF
	}
	copy(dest, r.left[0])
	r.left = r.left[1:]
	return nil
}
