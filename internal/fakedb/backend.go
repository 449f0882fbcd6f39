// Package fakedb is a scripted database for tests. Its nodes answer, refuse,
// hang, panic or come late as a test tells them, and count what is done to
// them. It runs no SQL and keeps no data. It works in the virtual time of
// testing/synctest.
//
// Each connection holds a goroutine until it is closed. Tests, the demo and the
// benchmarks import the package; it imports no other package of this module.
package fakedb

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"sync"
)

// A Backend is a set of nodes behind one driver. A DSN leads to a node.
type Backend struct {
	ledger   ledger
	onSocket func(ctx context.Context, socket net.Conn)
	onLookup func(ctx context.Context, done bool)

	mu      sync.Mutex // guards the fields below; never held while anything waits
	nodes   map[string]*Node
	refused map[string]error
	quiet   bool
	name    func(dsn string) string // the name of the node that a DSN leads to; nil: the DSN itself
}

// refusedDSN is a DSN that every backend refuses with errRefused.
const refusedDSN = "refused-dsn"

// errRefused is the answer to refusedDSN.
var errRefused = errors.New("fakedb: this DSN is always refused")

// New returns a backend without nodes. A node is made when its DSN is first
// used.
func New() *Backend {
	return &Backend{nodes: make(map[string]*Node), refused: map[string]error{refusedDSN: errRefused}}
}

// Node returns the node of a DSN. If there is none yet, it makes one, which is
// healthy.
func (b *Backend) Node(dsn string) *Node {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.nodes[dsn]
	if n == nil {
		n = &Node{name: dsn, ledger: &b.ledger, onSocket: b.onSocket, onLookup: b.onLookup, conns: make(map[*Conn]struct{})}
		n.quiet.Store(b.quiet)
		b.nodes[dsn] = n
	}
	return n
}

// NameNodes makes each DSN lead to the node that name returns for it. A test
// can then write DSNs like those of a real driver. It must be called before a
// DSN is first used.
func (b *Backend) NameNodes(name func(dsn string) string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.name = name
}

// behind returns the node that a DSN leads to.
func (b *Backend) behind(dsn string) *Node {
	b.mu.Lock()
	name := b.name
	b.mu.Unlock()
	if name != nil {
		dsn = name(dsn)
	}
	return b.Node(dsn)
}

// Quiet makes all nodes quiet, also those that are made later; see
// [Node.Quiet].
func (b *Backend) Quiet() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.quiet = true
	for _, n := range b.nodes {
		n.Quiet()
	}
}

// RefuseDSN makes the driver refuse a DSN in OpenConnector and Open.
func (b *Backend) RefuseDSN(dsn string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refused[dsn] = err
}

func (b *Backend) refusal(dsn string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.refused[dsn]
}

// Stats returns the sum of all nodes' counts.
func (b *Backend) Stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	var sum Stats
	for _, n := range b.nodes {
		sum.add(n.Stats())
	}
	return sum
}

// Driver returns a driver whose connectors obey contexts.
func (b *Backend) Driver() driver.Driver { return contextDriver{legacyDriver{b}} }

// LegacyDriver returns a driver that has only Open, and so takes no context.
func (b *Backend) LegacyDriver() driver.Driver { return legacyDriver{b} }

type legacyDriver struct{ b *Backend }

func (d legacyDriver) Open(dsn string) (driver.Conn, error) {
	if err := d.b.refusal(dsn); err != nil {
		return nil, err
	}
	return d.b.behind(dsn).connect(context.Background())
}

type contextDriver struct{ legacyDriver }

func (d contextDriver) OpenConnector(dsn string) (driver.Connector, error) {
	if err := d.b.refusal(dsn); err != nil {
		return nil, err
	}
	return &Connector{d, d.b.behind(dsn)}, nil
}

// A Connector connects to one node.
type Connector struct {
	driver contextDriver
	node   *Node
}

// Connect makes a connection as the node's script says.
func (c *Connector) Connect(ctx context.Context) (driver.Conn, error) { return c.node.connect(ctx) }

// Driver returns the backend's driver.
func (c *Connector) Driver() driver.Driver { return c.driver }

// Stats counts what was done to a node or to all of them.
type Stats struct {
	Connects int // calls of Connect or Open
	Opens    int // connections made; one that comes with an error does not count
	Closes   int // connections closed
	Live     int // connections made and not closed
	MaxLive  int // of one node
	Closing  int // calls of Close under way; their connections are live
	Dialing  int // calls of Connect or Open under way

	// Each of these counts a mistake of the caller.
	DoubleCloses   int // a connection was closed again
	UsedAfterClose int // a method was called on a closed connection
	TouchedWithErr int // a method was called on a connection that came with an error
	Concurrent     int // a method was called while another one ran
}

func (s *Stats) add(o Stats) {
	s.Connects += o.Connects
	s.Opens += o.Opens
	s.Closes += o.Closes
	s.Live += o.Live
	s.MaxLive = max(s.MaxLive, o.MaxLive)
	s.Dialing += o.Dialing
	s.Closing += o.Closing
	s.DoubleCloses += o.DoubleCloses
	s.UsedAfterClose += o.UsedAfterClose
	s.TouchedWithErr += o.TouchedWithErr
	s.Concurrent += o.Concurrent
}

// String shows the counts by name.
func (s Stats) String() string {
	type plain Stats // without this method
	return fmt.Sprintf("%+v", plain(s))
}
