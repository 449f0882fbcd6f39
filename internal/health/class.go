package health

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"syscall"
	"time"
)

// A Class is what an error says about the node that gave it.
type Class uint8

const (
	Neutral       Class = iota // says nothing about the node: a statement's own error, or the caller's cancel
	Refused                    // explicit: connection refused, nobody listens
	NotReady                   // explicit: the server answers, but refuses work
	ReadOnly                   // explicit: the server is read-only; matters to clusters that require writable
	Leaving                    // the server shuts down or leaves the group; what was sent may have run
	Lost                       // the connection broke; no proof against the node
	Silent                     // no answer in time
	Failed                     // an open failed for no known reason; several in a row take the node down
	Saturated                  // no room for a connection; open only; the node stays up
	Misconfigured              // access denied, unknown database, host blocked; open only
	Slow                       // outrun by a node that was asked later; open only
	WrongRole                  // explicit: the server works, and has not the role that the cluster requires
	Lagging                    // explicit: the server works, and is further behind its primary than max_lag
)

// Classes is the number of classes.
const Classes = int(Lagging) + 1

// String returns the class as it appears in reasons and logs.
func (c Class) String() string {
	return [...]string{"neutral", "refused", "not ready", "read-only", "leaving", "connection lost", "silent", "failed", "full", "configuration", "slow", "role", "lagging"}[c]
}

// ClassifyTraffic returns the class of an error of a statement, a transaction
// or a pooled connection. Such an error says less about the node than an error
// of an open. Missing rights, unknown
// databases and bad syntax are the statement's business. A
// deadline is the caller's. A timeout of the backend itself counts as Lost,
// because it may be the group's pause. ReadOnly counts only for clusters that
// require writable. An error whose methods panic is Neutral.
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

// Classify returns the class of err. It first asks known, the dialect's
// classifier, which answers for the errors of its own database and driver. It
// then looks for the errors that are common to all backends on a socket.
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
	var (
		name    *net.DNSError
		op      *net.OpError
		timeout net.Error
	)
	switch {
	case errors.As(err, &name) && name.IsNotFound, badCertificate(err):
		return Misconfigured
	case OwnTrouble(err): // asked before anything else: a name service's silence is no node's
		return Neutral
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return Silent
	case errors.Is(err, syscall.ECONNREFUSED):
		return Refused
	case errors.As(err, &op) && op.Op == "dial" && errors.Is(op, syscall.ENOENT):
		return Refused // no unix socket; elsewhere the number is about a file of this machine
	case errors.Is(err, driver.ErrBadConn), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, net.ErrClosed), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE),
		errors.Is(err, io.ErrClosedPipe), errors.Is(err, io.ErrShortWrite), errors.As(err, &op) && op.Op != "dial":
		return Lost // whatever the errno is that the system gives for a connection that is gone
	}
	return Neutral
}

// badCertificate reports whether a server's certificate was not accepted: it has
// expired, is for another name, or nobody known has signed it. People must
// correct that.
func badCertificate(err error) bool {
	var (
		verification *tls.CertificateVerificationError
		invalid      x509.CertificateInvalidError
		authority    x509.UnknownAuthorityError
		host         x509.HostnameError
	)
	return errors.As(err, &verification) || errors.As(err, &invalid) || errors.As(err, &authority) || errors.As(err, &host)
}

// OwnTrouble reports whether an open failed because of this machine: no file or
// port left, or no name service. Such an error says nothing about the node.
func OwnTrouble(err error) bool {
	for _, no := range []error{syscall.EMFILE, syscall.ENFILE, syscall.EADDRNOTAVAIL, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, no) {
			return true
		}
	}
	var name *net.DNSError
	return errors.As(err, &name)
}

// An Unfit is the error of a check that itself finds the node unfit. It carries
// the class, because there is no error of the backend to take it from.
type Unfit struct {
	Class Class
	Need  Scope // what a check must look at to see this again
	Text  string
}

// Error returns Text.
func (e *Unfit) Error() string { return e.Text }

// UnknownPasses is how long a failure of no known class may keep a node down
// while opens still wait for it. A restart of a server is over by then.
const UnknownPasses = time.Minute

// MayPass reports whether trouble of the class may pass by itself. Wrong names
// and passwords do not pass: people must correct them. A failure of no known
// class may pass only on a node that has worked before, or was full, and is not
// taken for a passing one for ever: lasts is for how long it has kept the node down.
func (c Class) MayPass(worked bool, lasts time.Duration) bool {
	switch c {
	case Neutral, Misconfigured:
		return false
	case Failed:
		return worked && lasts < UnknownPasses
	}
	return true
}

// NeedOf returns what a check must look at to see again the fault that err
// describes.
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
