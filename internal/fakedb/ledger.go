package fakedb

import (
	"context"
	"net"
	"sync"
)

// An Outcome is what a client that got a statement's answer, or none, knows.
type Outcome uint8

const (
	NotSent    Outcome = iota // the connection was known to be lost
	Refused                   // the node said that it did not run it
	Unanswered                // it was sent, and may have run or not
	Answered                  // it was run
)

// String returns the outcome in words.
func (o Outcome) String() string {
	return [...]string{"not sent", "refused", "unanswered", "answered"}[o]
}

// A Run is one statement on one connection of a node with a [Mood].
type Run struct {
	Ctx     context.Context
	Node    string
	Conn    *Conn
	Query   string // BEGIN, COMMIT and ROLLBACK among them
	Outcome Outcome
	Err     error
	Left    bool // the context had ended by then
}

// ledger is the runs of all nodes, in the order of their ends.
type ledger struct {
	mu   sync.Mutex
	runs []Run
}

func (l *ledger) add(r Run) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.runs = append(l.runs, r)
}

// Ledger returns the runs of all nodes from the given one on, counted from 0,
// in the order of their ends.
func (b *Backend) Ledger(from int) []Run {
	b.ledger.mu.Lock()
	defer b.ledger.mu.Unlock()
	return b.ledger.runs[from:len(b.ledger.runs):len(b.ledger.runs)]
}

// Runs returns the length of the ledger.
func (b *Backend) Runs() int {
	b.ledger.mu.Lock()
	defer b.ledger.mu.Unlock()
	return len(b.ledger.runs)
}

// OnSocket has f called for every connection of a node with a [Mood], with
// Connect's context and a socket whose Close loses the connection. It is to be
// called before there are nodes.
func (b *Backend) OnSocket(f func(ctx context.Context, socket net.Conn)) { b.onSocket = f }
