package fakedb

import "context"

// A tx is a transaction.
type tx struct{ c *Conn }

func (t tx) Commit() error   { return t.end("COMMIT") }
func (t tx) Rollback() error { return t.end("ROLLBACK") }

func (t tx) end(query string) error {
	if t.c.node.quiet.Load() {
		return nil
	}
	if t.c.broken.Load() {
		return errClosed // as go-sql-driver/mysql, which has its own error for it here
	}
	return t.c.answer(context.Background(), query, nil)
}
