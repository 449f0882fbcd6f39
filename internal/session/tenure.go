package session

import (
	"database/sql/driver"
	"sync/atomic"

	"github.com/EnumApps/clustersql/internal/dialect"
)

//lint:file-ignore SA1019 older backends have only the deprecated interfaces

// A Link is all that a wrapped conn knows of the cluster. The cluster fills it
// in.
type Link struct {
	Generation *atomic.Uint64       // the generation when the conn was opened
	Born       uint64               // its value when the conn was opened
	Node       string               // the name of the node
	Report     func(f Fault) Answer // gets every error of the backend's Conn, Stmts and Txs, except driver.ErrSkip
	Closed     func(by Closer)      // called once, after the backend's Close has returned
	Over       func(by Closer)      // called once, after that, when the wrapped conn has ended; nil: nobody waits for it
	Session    dialect.Session      // what is known of every session on the node
	Pooled     bool                 // database/sql may put the conn into its pool before anybody uses it
	Ended      func() bool          // reports whether the server has ended the connection, unread; nil if nobody knows
	Lateness   Lateness             // is told of calls that take long; nil: nobody is
	Hedging    Hedging              // gets reads that take long; nil: nobody does
	Causal     Causal               // what sessions of calls ask of the cluster; nil: nothing
}

// A Closer says who has closed a conn, and why.
type Closer uint8

const (
	ByPool    Closer = iota // database/sql, for reasons of its own
	Broken                  // database/sql: it was not to be used again
	GivingWay               // database/sql: the cluster had asked it to give way
	ByCluster               // the cluster
	Outrun                  // another connection has answered a read first
)

// A tenure is one connection of the backend, from its open to its close, and all that
// belongs to it and not to the wrapped conn.
type tenure struct {
	// immutable; an optional interface is nil if the backend has none
	backend       driver.Conn
	link          Link
	pinger        driver.Pinger
	execer        driver.ExecerContext
	legacyExecer  driver.Execer // database/sql uses it only if execer is nil
	queryer       driver.QueryerContext
	legacyQueryer driver.Queryer // database/sql uses it only if queryer is nil
	preparer      driver.ConnPrepareContext
	beginner      driver.ConnBeginTx
	resetter      driver.SessionResetter
	validator     driver.Validator
	checker       driver.NamedValueChecker

	// shared by the conn's user and the cluster
	closed atomic.Pointer[chan struct{}] // nil: no Close has returned; &overClosed: one has; else the user waits for it
	usage  usage
}

// start makes a new tenure that of a backend's conn. It calls no method of the backend.
func (t *tenure) start(backend driver.Conn, l Link) {
	t.backend, t.link = backend, l
	if l.Pooled {
		t.usage.state.Store(idle)
	}
	if l.Causal == nil {
		t.link.Causal = apart{}
	}
	t.pinger, _ = backend.(driver.Pinger)
	t.execer, _ = backend.(driver.ExecerContext)
	t.legacyExecer, _ = backend.(driver.Execer)
	t.queryer, _ = backend.(driver.QueryerContext)
	t.legacyQueryer, _ = backend.(driver.Queryer)
	t.preparer, _ = backend.(driver.ConnPrepareContext)
	t.beginner, _ = backend.(driver.ConnBeginTx)
	t.resetter, _ = backend.(driver.SessionResetter)
	t.validator, _ = backend.(driver.Validator)
	t.checker, _ = backend.(driver.NamedValueChecker)
}

// close closes the backend's conn and then tells the link, also if the backend
// panics. Only a caller to whom the usage gave the right to close may call it. of is
// the conn whose user closes it, and knows why. If it is nil, by is who does.
func (t *tenure) close(of *conn, by Closer) error {
	defer func() {
		switch before := t.closed.Swap(&overClosed); before {
		case nil:
		case &overClosed:
			return
		default: // a Raw waits
			close(*before)
		}
		if of != nil {
			by = of.closer()
		}
		t.link.Closed(by)
		if t.link.Over != nil {
			t.link.Over(by)
		}
	}()
	return t.backend.Close()
}

// overClosed has an address, and no other use.
var overClosed chan struct{}

// waitClosed returns when the backend's Close has, if the cluster has taken the conn.
// Whoever took it always calls Close. Only the conn's user calls waitClosed.
func (t *tenure) waitClosed() {
	if t.usage.state.Load() != gone {
		return
	}
	over := make(chan struct{})
	if t.closed.CompareAndSwap(nil, &over) {
		<-over
	}
}

// forget lets go of what a tenure has that is closed: it may be a part of a conn that
// lives on.
func (t *tenure) forget() {
	t.backend, t.link = nil, Link{}
	t.pinger, t.execer, t.legacyExecer, t.queryer, t.legacyQueryer = nil, nil, nil, nil, nil
	t.preparer, t.beginner, t.resetter, t.validator, t.checker = nil, nil, nil, nil, nil
}

// retired reports whether the node's generation was raised since the backend's conn was
// opened.
func (t *tenure) retired() bool { return t.link.Generation.Load() != t.link.Born }
