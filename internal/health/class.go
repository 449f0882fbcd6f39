package health

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"syscall"
)

// A class is what an error says about the node that gave it.
type Class uint8

const (
	Neutral       Class = iota // nothing: a statement's own error, a caller's cancel
	Refused                    // explicit: connection refused, nobody there
	NotReady                   // explicit: the server answers, but refuses work
	ReadOnly                   // explicit, for clusters that require writable
	Leaving                    // shutting down or leaving the group; what was sent may have run
	Lost                       // the connection broke; no proof against the node
	Silent                     // no answer in time
	Failed                     // an open's error without a class: seen often enough it is the node's
	Saturated                  // full; open only; the node stays up
	Misconfigured              // access denied, unknown database, host blocked; open only
	Slow                       // overtaken by a node asked later; open only
)

// String returns the class as it stands in reasons and logs.
func (c Class) String() string {
	return [...]string{"neutral", "refused", "not ready", "read-only", "leaving", "connection lost", "silent", "failed", "full", "configuration", "slow"}[c]
}

// trafficClass says what an error of a statement, a transaction or a pooled
// connection tells about the node: less than one of an open does. Rights,
// databases and syntax are the statement's business, and a deadline is the
// caller's; a timeout of the backend's own may be the group's pause. That the
// node is read-only matters to clusters that require writable. An error whose
// methods panic says nothing.
func ClassifyTraffic(err error, known func(error) (Class, bool), writable bool) (c Class) {
	defer func() {
		if recover() != nil {
			c = Neutral
		}
	}()
	switch c := Classify(err, known); {
	case c == ReadOnly && writable:
		return c
	case c == NotReady, c == Leaving, c == Lost:
		return c
	case c == Silent && !errors.Is(err, context.DeadlineExceeded), c == Refused:
		return Lost
	}
	return Neutral
}

// classify says what err tells about the node: first by the dialect, which is
// known and tells the errors that are its own, then by what every backend on a
// socket shares.
func Classify(err error, known func(error) (Class, bool)) Class {
	if err == nil || errors.Is(err, context.Canceled) {
		return Neutral
	}
	if c, ok := known(err); ok {
		return c
	}
	var unfit *Unfit
	if errors.As(err, &unfit) {
		return unfit.Class
	}
	var timeout net.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return Silent
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT):
		return Refused
	case errors.Is(err, driver.ErrBadConn), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, net.ErrClosed), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return Lost
	}
	return Neutral
}

// clientTrouble reports an error of an open that is this machine's own: no
// file or port left, no name service. It says nothing about the node.
func OwnTrouble(err error) bool {
	for _, no := range []error{syscall.EMFILE, syscall.ENFILE, syscall.EADDRNOTAVAIL, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, no) {
			return true
		}
	}
	var name *net.DNSError
	return errors.As(err, &name)
}

// An unfitError is a check's own judgement, where no error of the backend
// tells the class.
type Unfit struct {
	Class Class
	Need  Scope // what a check must look at to see this
	Text  string
}

func (e *Unfit) Error() string { return e.Text }

// needOf says what a check must look at to see the fault that err told of.
func NeedOf(err error, known func(error) (Class, bool)) Scope {
	var unfit *Unfit
	switch {
	case errors.As(err, &unfit):
		return unfit.Need
	case Classify(err, known) == NotReady:
		return ScopeWork
	}
	return 0
}
