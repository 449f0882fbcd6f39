package session

import (
	"context"
	"database/sql/driver"
	"errors"

	"github.com/EnumApps/clustersql/internal/causal"
)

// A Causal lets a call see what its session has seen. The cluster fills it in. Its
// methods run statements on the backend's conn, on which nothing else runs.
type Causal interface {
	// Await returns when the node has all that the session has seen, before
	// something is sent. born is the generation of the conn. Of the error, ours says that
	// it is no answer of the backend: the node does not have it. It is a
	// driver.ErrBadConn if the call moves, which it does not if pinned says that the
	// session on the server may have state.
	Await(ctx context.Context, s *causal.Session, on Place, pinned bool) (err error, ours bool)
	// Note asks for the node's position, and adds it to the session. If there is none
	// to be had, the session is told so. The error is the backend's.
	Note(s *causal.Session, on Place) error
	// Miss is Note where the conn cannot be asked any more.
	Miss(s *causal.Session, on Place)
}

// apart is the Causal of a conn whose cluster keeps no sessions.
type apart struct{}

func (apart) Await(context.Context, *causal.Session, Place, bool) (err error, ours bool) {
	return nil, false
}
func (apart) Note(*causal.Session, Place) error { return nil }
func (apart) Miss(*causal.Session, Place)       {}

// await lets the session's next call begin. In a transaction it does nothing but
// take note of the session: what is seen there was decided when it began.
func (c *conn) await(ctx context.Context, s *causal.Session) error {
	if c.inTx {
		if c.txOf == nil {
			c.txOf = s
		}
		return nil
	}
	if c.owes != nil && c.owes != s {
		c.pay()
	}
	c.begin()
	err, ours := c.link.Causal.Await(ctx, s, c.place(), c.pinned)
	c.end()
	switch {
	case err == nil:
		return nil
	case ours:
		c.spent = c.spent || errors.Is(err, driver.ErrBadConn)
		return err
	}
	return c.failed(ctx, OpIdle, "", err)
}

// A Place is a backend's conn, and the generation of its node to which it belongs.
type Place struct {
	Conn driver.Conn
	Born uint64
}

func (c *conn) place() Place { return Place{c.backend, c.link.Born} }

// read takes note of a query of the session. While its rows are read, the conn
// cannot be asked for its position; that is done when it is put back. It may have
// written too, as INSERT ... RETURNING does.
func (c *conn) read(s *causal.Session, err error) {
	if err != driver.ErrSkip && !c.inTx {
		c.owes = s
	}
}

// wrote asks for the position after a statement of the session that may have
// written. One that failed may have done so in part.
func (c *conn) wrote(s *causal.Session, err error) {
	if err == driver.ErrSkip || c.inTx {
		return
	}
	c.owes = s
	if c.lost || c.spent {
		c.forgo()
		return
	}
	c.pay()
}

// ended is wrote for the Commit of a transaction.
func (c *conn) ended(err error) {
	if s := c.txOf; s != nil {
		c.inTx, c.txOf = false, nil
		c.wrote(s, err)
	}
}

// pay asks the conn for its position, for the session whose call was the last. It
// reports whether the conn can be used further.
func (c *conn) pay() bool {
	s := c.owes
	c.owes = nil
	c.begin()
	err := c.link.Causal.Note(s, c.place())
	c.end()
	if err != nil {
		_ = c.failed(context.Background(), OpIdle, "", err)
	}
	return !c.lost && !c.spent
}

// forgo tells the session that the position is not to be had.
func (c *conn) forgo() {
	s := c.owes
	c.owes = nil
	c.link.Causal.Miss(s, c.place())
}
