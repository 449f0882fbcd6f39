package dialect

import (
	"context"
	"database/sql/driver"
	"errors"
	"time"

	"github.com/EnumApps/clustersql/internal/causal"
)

// ErrNoPosition is the error of a server that tells no position: its database has
// none, or the account may not ask.
var ErrNoPosition = errors.New("the server tells no position in what is replicated")

// A Site is what the probes know of a node's database.
type Site struct {
	Group  string // of a Galera group; "" if it is none
	System string // PostgreSQL's system_identifier; "" if it is not known
	// Primary says that the node follows no other and takes writes, so that it has
	// all that there is. It is false where several nodes are equal.
	Primary bool
}

// Positions is how a database tells what a node has, for calls that must see what
// was written before; see the package causal. Its statements run on conns of the
// program between two of its calls. They do not wait for other nodes, change no
// data, and leave no state in the session on the server, but what a query without a
// table leaves: FOUND_ROWS and ROW_COUNT are its own.
type Positions interface {
	// Position asks a node what it has. What a query on the conn has seen before that
	// is in it. all says that the node has all that there is, whatever the position: what
	// a failover has lost is nowhere. The error is [ErrNoPosition], or one of the conn.
	Position(ctx context.Context, conn driver.Conn, at Site) (p causal.Position, all bool, err error)
	// Await waits on the server until it has all of want, for at most about limit. It
	// need not: asked is false if the server cannot wait, and then nothing was sent.
	// Whether it has it is asked with Position.
	Await(ctx context.Context, conn driver.Conn, at Site, want causal.Position, limit time.Duration) (asked bool, err error)
	// CatchUp waits until the node has all that any node had when it was called, and
	// returns its position after that. ok is false if this node cannot tell, as a
	// replica cannot.
	CatchUp(ctx context.Context, conn driver.Conn, at Site) (p causal.Position, ok bool, err error)
}

// Position fails: nobody knows what to ask.
func (Generic) Position(context.Context, driver.Conn, Site) (causal.Position, bool, error) {
	return causal.Position{}, false, ErrNoPosition
}

// Await sends nothing.
func (Generic) Await(context.Context, driver.Conn, Site, causal.Position, time.Duration) (bool, error) {
	return false, nil
}

// CatchUp cannot tell.
func (Generic) CatchUp(context.Context, driver.Conn, Site) (causal.Position, bool, error) {
	return causal.Position{}, false, nil
}
