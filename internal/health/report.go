package health

import "context"

// A Scope is a set of things that a check may look at. A node that was taken
// down by something that only one of them shows comes up only by a check that
// looked at that one.
type Scope uint8

const (
	ScopeWork   Scope = 1 << iota // whether the node does work: DO 1
	ScopeStatus                   // the node's own status: the galera check's query
	ScopeView                     // the number of its view of the group
	ScopeDial                     // whether it takes new connections: the check's own was new
	ScopeRole                     // its part in replication: role, access and lag
)

// StatusEvery is how often the probes of a healthy node send the status query:
// one probe in so many.
const StatusEvery = 5

// A Report belongs to one run of a check and travels in its context. It says
// what the check is asked to look at, and takes what the check saw. Only the
// goroutine of that run uses it.
type Report struct {
	Want       Scope // what the check is asked to look at
	AllowDonor bool  // a donor counts like any other node
	Causal     bool  // queries on the conn may wait for the node's group

	// Extra makes the context for a question without whose answer the node is used
	// all the same: it ends earlier. It is nil if there is no such question.
	Extra func(context.Context) (context.Context, context.CancelFunc)
	Brief bool // the last such question got no answer: it is left out
	// Member says that the node is set up for a group whose members decide who may
	// serve. It is asked for its state there also if Brief is set.
	Member bool

	// Attempt takes note of the server's first answer. It is nil if nobody asks.
	Attempt interface{ Work() }
	// Asker makes an error of what a backend has panicked with, and logs it. It is nil
	// if a program runs the check itself.
	Asker interface{ Panicked(with any) error }

	Saw   Scope // what the check looked at
	Asked bool  // a query of the program was run, which may have begun a transaction
	Donor bool  // fit, but to be used last
	View  *View // nil if the node told none

	Replication *Replication // nil if the node told nothing of it

	Server Server // which one the conn leads to
	Spent  bool   // a question of Extra got no answer: the conn is not to be used any more
}

// A Server is what a server says of its identity.
type Server struct {
	Text   string // all of it; empty if it says nothing
	Port   string // where it says that it listens
	Unique bool   // a number that no two servers share is a part of it
}

// Worked notes that the server has answered a statement on the conn, whatever
// becomes of the statements that follow.
func (f *Report) Worked() {
	if f.Attempt != nil {
		f.Attempt.Work()
	}
}

// Recover turns a panic of the backend into an error. It must be deferred directly.
// Nobody knows what is left of the conn: it is not to be used any more. Without an
// Asker the panic goes on.
func (f *Report) Recover(err *error) {
	if r := recover(); r != nil {
		if f.Asker == nil {
			panic(r)
		}
		f.Spent, *err = true, f.Asker.Panicked(r)
	}
}

// Excuses reports whether an error of a class, the answer to a question of Extra,
// says nothing against the node. It notes what it says about the conn.
func (f *Report) Excuses(c Class) bool {
	switch c {
	case Neutral, Misconfigured, Saturated, Failed:
		return true
	case Silent, Lost:
		f.Spent = true
		return true
	}
	return false
}

// Evidence returns what a check that passed says about the node.
func (f *Report) Evidence() Evidence {
	return Evidence{OK: true, Saw: f.Saw, Donor: f.Donor, View: f.View, Replication: f.Replication, Spent: f.Spent}
}
