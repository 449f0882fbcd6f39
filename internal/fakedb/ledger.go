package fakedb

import (
	"context"
	"net"
	"sync"
)

// An Outcome is what a client can know about a statement once its call has
// returned.
type Outcome uint8

const (
	NotSent    Outcome = iota // the connection was known to be lost
	Refused                   // the node said that it did not run it
	Unanswered                // it was sent and may have run
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
	Query   string // also BEGIN, COMMIT and ROLLBACK
	Outcome Outcome
	Err     error
	Left    bool // the context had ended when the call returned
}

// A ledger holds the runs of all nodes, in the order in which they ended.
type ledger struct {
	mu   sync.Mutex
	runs []Run
}

func (l *ledger) add(r Run) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.runs = append(l.runs, r)
}

// Ledger returns the runs of all nodes from index from on, in the order in
// which they ended. The caller must not change them.
func (b *Backend) Ledger(from int) []Run {
	b.ledger.mu.Lock()
	defer b.ledger.mu.Unlock()
	return b.ledger.runs[from:len(b.ledger.runs):len(b.ledger.runs)]
}

// Runs returns the number of runs in the ledger.
func (b *Backend) Runs() int {
	b.ledger.mu.Lock()
	defer b.ledger.mu.Unlock()
	return len(b.ledger.runs)
}

// OnSocket makes the backend call f for every connection of a node with a
// [Mood]. f gets Connect's context and a socket; closing the socket loses the
// connection. OnSocket must be called before there are nodes.
func (b *Backend) OnSocket(f func(ctx context.Context, socket net.Conn)) { b.onSocket = f }

// OnLookup makes the backend call f when a connect of a node with a [Mood] asks
// a silent name service, and when that has answered after all. f gets Connect's
// context. OnLookup must be called before there are nodes.
func (b *Backend) OnLookup(f func(ctx context.Context, done bool)) { b.onLookup = f }
