package drivers

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"sync"
)

// An Owned is a connector that the cluster has to close, once no dial
// uses it any more. Anyone may call the methods; those of nil do nothing.
type Owned struct {
	io.Closer

	mu    sync.Mutex // guards what follows; never held across a dial or a Close
	users int
	left  bool
	idle  chan struct{} // closed when it was left and nobody uses it
}

// NewOwned returns the Owned of a connector; nil if c is nil.
func NewOwned(c io.Closer) *Owned {
	if c == nil {
		return nil
	}
	return &Owned{Closer: c, idle: make(chan struct{})}
}

// Use counts one more dial. It returns false if another recipe has taken the
// place of this one.
func (o *Owned) Use() bool {
	if o == nil {
		return true
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.left {
		o.users++
	}
	return !o.left
}

// Done counts one dial less.
func (o *Owned) Done() {
	if o != nil {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.users--
		o.settle()
	}
}

// Leave says that no further dial is to use it. It returns a channel that is closed
// when the last one is done.
func (o *Owned) Leave() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.left = true
	o.settle()
	return o.idle
}

// settle closes idle if it is time. The caller holds the lock.
func (o *Owned) settle() {
	if !o.left || o.users > 0 {
		return
	}
	select {
	case <-o.idle: // it is closed
	default:
		close(o.idle)
	}
}

// A dsnConnector is the connector of a backend without driver.DriverContext. It
// does not react to cancel, because the backend's Open has no context.
type dsnConnector struct {
	backend driver.Driver
	dsn     string
}

func (c dsnConnector) Connect(context.Context) (driver.Conn, error) { return c.backend.Open(c.dsn) }
func (c dsnConnector) Driver() driver.Driver                        { return c.backend }

// Connector returns the backend's connector for a DSN.
func Connector(backend driver.Driver, dsn string) (driver.Connector, error) {
	dc, ok := backend.(driver.DriverContext)
	if !ok {
		return dsnConnector{backend, dsn}, nil
	}
	return Open(func() (driver.Connector, error) { return dc.OpenConnector(dsn) })
}

// Open asks a backend for a connector, and trusts it with nothing.
func Open(open func() (driver.Connector, error)) (c driver.Connector, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the backend panicked in OpenConnector: %v", r)
		}
	}()
	c, err = open()
	if err == nil && c == nil {
		err = errors.New("the backend returned neither a connector nor an error")
	}
	return c, err
}

// Close closes a connector. Nobody can use its error, so it is dropped.
func Close(c io.Closer) {
	defer func() { _ = recover() }()
	_ = c.Close()
}
