package clustersql

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/EnumApps/clustersql/internal/redact"
)

// A Registry is the clusters of one configuration file. All methods may be
// called from any goroutine.
type Registry struct {
	// immutable
	clusters []registered // in the file's order
	selftest Selftest

	// shared
	closed atomic.Bool
}

type registered struct {
	spec   clusterSpec
	driver Driver
}

// registering keeps two registries from finding one name free at once.
var registering sync.Mutex

// Load reads a configuration file and builds its clusters. An empty path
// stands for the file that the environment variable DBCONFIG names, or else
// for config.toml in the working directory. It dials nothing, starts nothing
// and registers nothing; the caller closes the Registry.
//
// Every mistake in the file is an error with its line, the key and the cure.
// No error holds a password.
func Load(path string) (*Registry, error) {
	f, err := readConfigFile(path)
	if err != nil {
		return nil, err
	}
	if err := f.expandDSNs(os.LookupEnv); err != nil {
		return nil, err
	}
	r := &Registry{selftest: f.selftest}
	for _, spec := range f.clusters {
		d, err := spec.build()
		if err != nil {
			r.Close()
			return nil, err
		}
		r.clusters = append(r.clusters, registered{spec, d})
	}
	return r, nil
}

// RegisterFile is [Load] and [Registry.Register] in one: after it,
// [database/sql.Open] knows every cluster of the file by its name, with
// whatever DSN.
func RegisterFile(path string) (*Registry, error) {
	r, err := Load(path)
	if err != nil {
		return nil, err
	}
	if err := r.Register(); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// build makes the described cluster.
func (c *clusterSpec) build() (Driver, error) {
	first := c.nodes[0]
	backend, err := backendFor(c.driver, first.dsn)
	if err != nil {
		return Driver{}, c.in.wrong("driver", c.hidden(err))
	}
	d := NewDriver(backend, c.name, func(cfg *Config) { *cfg = c.cfg })
	for _, n := range c.nodes {
		if err := d.AddNode(n.name, n.dsn, n.opts...); err != nil {
			d.Close()
			prefix := fmt.Sprintf("clustersql: cluster %q: node %q: ", c.name, n.name)
			return Driver{}, n.in.wrongf(n.dsnKey, "%s: write it as driver %q takes it",
				strings.TrimPrefix(err.Error(), prefix), c.driver)
		}
	}
	return d, nil
}

// hidden returns the error of a backend that was given the first node's DSN,
// redacted; nothing is known of the DSN's form. Errors of ours have no part
// of a DSN in them.
func (c *clusterSpec) hidden(err error) error {
	var b *backendError
	if errors.As(err, &b) {
		return fmt.Errorf("driver %q refuses the DSN of node %q: %s", c.driver, c.nodes[0].name,
			redact.New(c.nodes[0].dsn, nil, false).Error(b.err))
	}
	return err
}

// Register makes every cluster known to [database/sql.Open] under its name.
// Where one of the names is taken, by another cluster, another driver or an
// earlier Register, it returns an error and registers none.
func (r *Registry) Register() error {
	registering.Lock()
	defer registering.Unlock()
	if r.closed.Load() {
		return ErrClosed
	}
	taken := sql.Drivers()
	for _, c := range r.clusters {
		if slices.Contains(taken, c.spec.name) {
			return c.spec.in.wrongf(c.spec.nameKey(), "database/sql has a driver %q already: give the cluster another name, and register a file only once", c.spec.name)
		}
	}
	for _, c := range r.clusters {
		if err := register(c.spec.name, c.driver); err != nil {
			return c.spec.in.wrong(c.spec.nameKey(), err)
		}
	}
	return nil
}

// nameKey is the key that gives the name; the original's files have none.
func (c *clusterSpec) nameKey() string {
	if _, ok := c.in.values["name"]; ok {
		return "name"
	}
	return ""
}

// register is sql.Register with its panic, for a name that a package has
// taken in this moment, made an error.
func register(name string, d Driver) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	sql.Register(name, d)
	return nil
}

// Names returns the clusters' names in the file's order.
func (r *Registry) Names() []string {
	names := make([]string, len(r.clusters))
	for i, c := range r.clusters {
		names[i] = c.spec.name
	}
	return names
}

// Driver returns the cluster of a name.
func (r *Registry) Driver(name string) (d Driver, ok bool) {
	for _, c := range r.clusters {
		if c.spec.name == name {
			return c.driver, true
		}
	}
	return Driver{}, false
}

// Selftest returns what the file says to the tests.
func (r *Registry) Selftest() Selftest { return r.selftest }

// Close closes every cluster; see [Driver.Close]. Their names stay registered
// with database/sql, which cannot forget one: opening them is [ErrClosed]
// from then on. A second Close does nothing.
func (r *Registry) Close() error {
	if !r.closed.CompareAndSwap(false, true) {
		return nil
	}
	var errs []error
	for _, c := range r.clusters {
		errs = append(errs, c.driver.Close())
	}
	return errors.Join(errs...)
}
