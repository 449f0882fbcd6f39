package clustersql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/EnumApps/clustersql/internal/redact"
)

// A recipe is how connections to a node are made and checked. It is never
// changed. A new password or new settings replace the recipe of a node, and the
// connections that there are stay as they are.
type recipe struct {
	dsn, addr string // as in a wantedNode
	connector driver.Connector
	owned     *ownedConnector // nil if the cluster need not close the connector
	check     Check
	redact    redact.Redactor
	former    *formerly // of the recipes before, the latest first: errors of older connections may come late
}

// formerRedactors is how many recipes back secrets are taken out of texts.
const formerRedactors = 8

// recipe returns the node's recipe as it is now.
func (d *dialer) recipe() *recipe {
	if d.recipes == nil {
		return &recipe{}
	}
	return d.recipes.Load()
}

// recipeInUse returns the node's recipe, whose connector stays open until the
// caller says that it is done.
func (d *dialer) recipeInUse() *recipe {
	for {
		if r := d.recipe(); r.owned.use() {
			return r
		}
	}
}

// newRecipes returns the place of a node's recipe.
func newRecipes(r recipe) *atomic.Pointer[recipe] {
	p := new(atomic.Pointer[recipe])
	p.Store(&r)
	return p
}

// hide returns a text without the recipe's secrets and those of the recipes before.
func (r *recipe) hide(text string) string {
	text = r.redact.Text(text)
	for f := r.former; f != nil; f = f.before {
		text = f.redact.Text(text)
	}
	return text
}

// A formerly is what was secret in a recipe that was replaced.
type formerly struct {
	redact redact.Redactor
	before *formerly
}

// after returns the recipe as the successor of another one of the same node.
func (r recipe) after(old *recipe) *recipe {
	r.former = old.former
	if r.dsn == old.dsn {
		return &r
	}
	r.former = &formerly{redact: old.redact}
	last := r.former
	for i, f := 1, old.former; f != nil && i < formerRedactors; i, f = i+1, f.before {
		last.before = &formerly{redact: f.redact}
		last = last.before
	}
	return &r
}

// An ownedConnector is a connector that the cluster has to close, once no dial
// uses it any more. Anyone may call the methods; those of nil do nothing.
type ownedConnector struct {
	io.Closer

	mu    sync.Mutex // guards what follows; never held across a dial or a Close
	users int
	left  bool
	idle  chan struct{} // closed when it was left and nobody uses it
}

func newOwnedConnector(c io.Closer) *ownedConnector {
	if c == nil {
		return nil
	}
	return &ownedConnector{Closer: c, idle: make(chan struct{})}
}

// use counts one more dial. It returns false if another recipe has taken the
// place of this one.
func (o *ownedConnector) use() bool {
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

func (o *ownedConnector) done() {
	if o != nil {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.users--
		o.settle()
	}
}

// leave says that no further dial is to use it. It returns a channel that is closed
// when the last one is done.
func (o *ownedConnector) leave() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.left = true
	o.settle()
	return o.idle
}

// settle closes idle if it is time. The caller holds the lock.
func (o *ownedConnector) settle() {
	if o.left && o.users == 0 && !isClosed(o.idle) {
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

// connectorFor returns the backend's connector for a DSN.
func connectorFor(backend driver.Driver, dsn string) (driver.Connector, error) {
	dc, ok := backend.(driver.DriverContext)
	if !ok {
		return dsnConnector{backend, dsn}, nil
	}
	return openConnector(func() (driver.Connector, error) { return dc.OpenConnector(dsn) })
}

// openConnector asks a backend for a connector, and trusts it with nothing.
func openConnector(open func() (driver.Connector, error)) (c driver.Connector, err error) {
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

// closeConnector closes a connector. Nobody can use its error, so it is dropped.
func closeConnector(c io.Closer) {
	defer func() { _ = recover() }()
	_ = c.Close()
}
