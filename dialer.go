package clustersql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"runtime/debug"
)

// A dialer makes checked connections to one node. It has no state; every
// method may be called from any goroutine.
type dialer struct {
	connector driver.Connector
	check     Check
	redact    redactor
	log       logger
}

// A dialError is a failed dial or check, with what it says about the node.
type dialError struct {
	class class
	err   error
	need  sight // what a check must look at to see it again
}

// open dials, shakes hands and checks, bounded by ctx as far as the backend
// heeds it. The caller owns the conn it returns. When released is closed
// before the check, the check is left out, since nobody is going to use the
// conn, and there is no finding. A conn that comes with an error is never
// touched.
func (d *dialer) open(ctx context.Context, released <-chan struct{}, want sight) (conn driver.Conn, found *finding, failed *dialError) {
	conn, err := d.connect(ctx)
	if err != nil {
		return nil, nil, d.judge(ctx, err, classRefused)
	}
	select {
	case <-released:
		return conn, nil, nil
	default:
	}
	if found, failed = d.test(ctx, conn, want); failed != nil {
		return nil, nil, failed
	}
	return conn, found, nil
}

// test runs the check on a conn that the caller owns; an unfit conn is
// closed.
func (d *dialer) test(ctx context.Context, conn driver.Conn, want sight) (*finding, *dialError) {
	run, found := withFinding(ctx, want)
	err := d.examine(run, conn, found)
	if err == nil {
		return found, nil
	}
	failed := d.judge(ctx, err, classNotReady)
	d.close(conn)
	return nil, failed
}

// connect is the backend's Connect, with a panic or an empty answer made an
// error.
func (d *dialer) connect(ctx context.Context) (conn driver.Conn, err error) {
	defer d.contain("Connect", &err)
	conn, err = d.connector.Connect(ctx)
	if err == nil && conn == nil {
		err = errors.New("the backend returned neither a connection nor an error")
	}
	return conn, err
}

// examine is the check, with a panic made an error. DO 1 follows where it is
// wanted and the check was another one: a node that has answered traffic with
// 1047 answers Ping as ever.
func (d *dialer) examine(ctx context.Context, conn driver.Conn, found *finding) (err error) {
	defer d.contain("check", &err)
	if err := d.check(ctx, conn); err != nil || found.want&^found.saw&sawWork == 0 {
		return err
	}
	if _, ok := conn.(driver.ExecerContext); !ok {
		found.saw |= sawWork // nothing can look closer on this backend
		return nil
	}
	return CheckDo1(ctx, conn)
}

// close is the backend's Close for conns that database/sql does not get. Its
// error is of no use to anybody.
func (d *dialer) close(conn driver.Conn) {
	var err error
	defer d.contain("Close", &err)
	err = conn.Close()
}

// judge classes an error of a dial or a check. What has no class of its own
// is explicit evidence of the given class, unless we ended ctx ourselves.
func (d *dialer) judge(ctx context.Context, err error, otherwise class) *dialError {
	c, need := classify(err), needOf(err)
	switch {
	case ctx.Err() != nil:
		c, need = classNeutral, 0
		if errors.Is(context.Cause(ctx), ErrAttemptTimeout) {
			c, err = classSilent, context.Cause(ctx)
		}
	case c == classNeutral:
		c = otherwise
	}
	return &dialError{c, withoutBadConn(err), need}
}

// contain turns a panic of the backend into an error, and logs its stack.
func (d *dialer) contain(what string, err *error) {
	r := recover()
	if r == nil {
		return
	}
	*err = fmt.Errorf("the backend panicked in %s: %v", what, r)
	d.log.to().Error("backend panicked", "in", what, "panic", d.redact.text(fmt.Sprint(r)), "stack", string(debug.Stack()))
}

// A dsnConnector is the connector of a backend without driver.DriverContext.
// It is deaf to cancel, as the backend's Open is.
type dsnConnector struct {
	backend driver.Driver
	dsn     string
}

func (c dsnConnector) Connect(context.Context) (driver.Conn, error) { return c.backend.Open(c.dsn) }
func (c dsnConnector) Driver() driver.Driver                        { return c.backend }

// connectorFor returns the backend's connector for a DSN.
func connectorFor(backend driver.Driver, dsn string) (c driver.Connector, err error) {
	dc, ok := backend.(driver.DriverContext)
	if !ok {
		return dsnConnector{backend, dsn}, nil
	}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the backend panicked in OpenConnector: %v", r)
		}
	}()
	c, err = dc.OpenConnector(dsn)
	if err == nil && c == nil {
		err = errors.New("the backend returned neither a connector nor an error")
	}
	return c, err
}
