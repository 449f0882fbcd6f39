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

	"github.com/EnumApps/clustersql/internal/conffile"
	"github.com/EnumApps/clustersql/internal/drivers"
	"github.com/EnumApps/clustersql/internal/members"
	"github.com/EnumApps/clustersql/internal/redact"
)

// A Registry holds the clusters of one configuration file. All methods may be
// called from any goroutine.
type Registry struct {
	// immutable
	path     string // of the file that was loaded
	selftest Selftest
	turn     chan struct{} // has room for one: whoever reloads

	content conffile.Content // what was last read of the file; guarded by the turn

	// shared; what these point to is never changed, only replaced
	clusters atomic.Pointer[[]registered] // in the order in which they came
	known    atomic.Bool                  // database/sql knows the clusters
	closed   atomic.Bool
}

type registered struct {
	spec   clusterSpec
	driver Driver
}

// registering is held by Register, so that two registries do not both find the
// same name free.
var registering sync.Mutex

// Load reads a configuration file and builds its clusters. If path is empty, it
// reads the file that the environment variable DBCONFIG names, or else
// config.toml in the working directory. Load dials nothing, starts nothing and
// registers nothing. The caller closes the Registry.
//
// Every mistake in the file is an error that names the line, the kind of the
// mistake and the remedy. A key is named if it is one that a file may have. No
// error holds a password: one about the syntax quotes nothing of the file.
func Load(path string) (*Registry, error) {
	text, path, err := conffile.ReadText(path)
	if err != nil {
		return nil, err
	}
	f, clusters, err := readSpecs(path, text)
	if err != nil {
		return nil, err
	}
	r := &Registry{path: path, selftest: Selftest(f.Selftest), turn: make(chan struct{}, 1)}
	r.content.Read(text)
	var built []registered
	r.clusters.Store(&built)
	for _, spec := range clusters {
		d, err := spec.build()
		if err != nil {
			r.Close()
			return nil, err
		}
		built = append(built, registered{spec, d})
	}
	return r, nil
}

// all returns the clusters.
func (r *Registry) all() []registered {
	if all := r.clusters.Load(); all != nil {
		return *all
	}
	return nil // of the zero Registry
}

// noteReload notes in every cluster how a reload ended, and emits events about it.
// The log has one line for a mistake, and not one for each cluster.
func (r *Registry) noteReload(diff Diff, err error) {
	for i, c := range r.all() {
		m, mine := c.driver.m, Diff{}
		for _, ch := range diff.Changes {
			if ch.Cluster == m.name {
				mine.add(ch)
			}
		}
		emit := m.emit
		if err != nil && i > 0 {
			emit = m.tell
		}
		m.noteReload(mine, err, emit)
	}
}

// readSpecs reads the text of a file and checks all that can be checked without the
// backends.
func readSpecs(path, text string) (*conffile.File, []clusterSpec, error) {
	f, err := conffile.Parse(path, text, fileKeys)
	if err != nil {
		return nil, nil, err
	}
	clusters, err := specs(f)
	if err == nil {
		err = f.Expand(os.LookupEnv)
	}
	return f, clusters, err
}

// RegisterFile is [Load] and [Registry.Register] in one. After it,
// [database/sql.Open] knows every cluster of the file by its name, with any
// DSN.
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

// Mistakes returns all for which [Load] refuses a configuration file, where Load
// returns only the first, in the order of the lines. It is for tools that look at
// files. lookup finds the values of the variables; nil stands for [os.LookupEnv].
// Mistakes dials nothing, and no error holds a password. What cannot be seen
// because of another mistake, such as one of the syntax, is not among them.
func Mistakes(path string, lookup func(name string) (value string, found bool)) []error {
	if lookup == nil {
		lookup = os.LookupEnv
	}
	return conffile.Mistakes(path, fileKeys, func(f *conffile.File) error {
		clusters, err := specs(f)
		if err != nil {
			return err
		}
		if err := f.Expand(lookup); err != nil {
			return err
		}
		for _, spec := range clusters {
			d, err := spec.build()
			if err != nil {
				return err
			}
			d.Close()
		}
		return nil
	})
}

// A clusterSpec describes one cluster of a file.
type clusterSpec struct {
	file         *conffile.File
	in           *conffile.Cluster
	name, driver string
	cfg          Config
}

// fileKeys are the keys of settings that a file may have.
var fileKeys = conffile.Keys{Settings: configTable.Keys, Node: []string{priorityKey, weightKey}}

// specs returns the clusters that a file describes, with the file's settings
// applied to the defaults.
func specs(f *conffile.File) ([]clusterSpec, error) {
	defaults := DefaultConfig()
	if err := defaults.apply(f.Settings); err != nil {
		return nil, err
	}
	var all []clusterSpec
	for i := range f.Clusters {
		c := &f.Clusters[i]
		spec := clusterSpec{file: f, in: c, name: c.Name, driver: c.Driver, cfg: defaults}
		if c.Original {
			spec.name = DefaultName
		}
		if spec.driver == "" {
			spec.driver = defaultDriver
		}
		if err := spec.cfg.apply(c.Settings); err != nil {
			return nil, err
		}
		if err := spec.cfg.settle(); err != nil {
			return nil, spec.conflict(err)
		}
		for _, n := range c.Nodes {
			if _, err := nodeOptions(n.Settings); err != nil {
				return nil, err
			}
		}
		all = append(all, spec)
	}
	return all, nil
}

// apply applies the settings of a file.
func (c *Config) apply(settings []conffile.Setting) error {
	for _, s := range settings {
		if err := c.set(s.Key, s.Value); err != nil {
			return s.Wrong(problem(err))
		}
	}
	return nil
}

// conflict returns the error for settings that do not go together. It points at
// the keys that the message names.
func (c *clusterSpec) conflict(err error) error {
	var e *SettingError
	if !errors.As(err, &e) {
		return c.in.Wrong("", err)
	}
	keys := []string{e.Key}
	for _, k := range configTable.Keys {
		if strings.Contains(e.Problem, k) {
			keys = append(keys, k)
		}
	}
	return c.file.Conflict(c.in, problem(err), keys...)
}

// nodes returns the nodes that the spec describes.
func (c *clusterSpec) nodes() ([]members.Node, error) {
	all := make([]members.Node, len(c.in.Nodes))
	for i := range c.in.Nodes {
		n := &c.in.Nodes[i]
		dsn, err := dsnOf(n)
		if err != nil {
			return nil, n.Wrong(err)
		}
		opts, _ := nodeOptions(n.Settings) // no error: specs has checked them
		settings, _ := newNodeConfig(opts)
		all[i] = members.Node{Name: n.Name, DSN: dsn, Priority: settings.Priority, Weight: settings.Weight, Origin: originFile}
	}
	return all, nil
}

// wrongNode returns err as an error about a node of the file.
func (c *clusterSpec) wrongNode(i int, err error) error {
	return c.in.Nodes[i].Wrong(fmt.Errorf("%s: write it as driver %q takes it", err, c.driver))
}

// build makes the cluster that the spec describes.
func (c *clusterSpec) build() (Driver, error) {
	nodes, err := c.nodes()
	if err != nil {
		return Driver{}, err
	}
	behind, err := backendFor(c.driver, nodes[0].DSN)
	if err != nil {
		return Driver{}, c.in.Wrong("driver", c.redacted(err, nodes[0].DSN))
	}
	if err := c.cfg.validateFor(behind); err != nil {
		return Driver{}, c.conflict(err)
	}
	d := NewDriver(behind, c.name, func(cfg *Config) { *cfg = c.cfg })
	for i, n := range nodes {
		if err := d.m.addDSN(n.Name, n.DSN, optionsOf(&n), n.Origin); err != nil {
			d.Close()
			prefix := fmt.Sprintf("clustersql: cluster %q: node %q: ", c.name, n.Name)
			return Driver{}, c.wrongNode(i, errors.New(strings.TrimPrefix(err.Error(), prefix)))
		}
	}
	return d, nil
}

// redacted returns an error from backendFor, without secrets. The form of the
// DSN is not known, so the backend's error loses the whole DSN and its parts.
// Our own errors hold nothing of a DSN and are returned as they are.
func (c *clusterSpec) redacted(err error, dsn string) error {
	var b *drivers.RefusedError
	if errors.As(err, &b) {
		return fmt.Errorf("driver %q refuses the DSN of node %s: %s", c.driver, conffile.QuoteName(c.in.Nodes[0].Name),
			redact.New(dsn, nil, false).Error(b.Err))
	}
	return err
}

// Register makes every cluster known to [database/sql.Open] under its name. If
// one of the names is taken, by another cluster, another driver or an earlier
// Register, it returns an error and registers none.
func (r *Registry) Register() error {
	registering.Lock()
	defer registering.Unlock()
	if r.closed.Load() {
		return ErrClosed
	}
	if err := registerAll(r.all()); err != nil {
		return err
	}
	r.known.Store(true)
	return nil
}

// registerAll makes clusters known to database/sql, or none of them. The caller
// holds registering.
func registerAll(clusters []registered) error {
	taken := sql.Drivers()
	for _, c := range clusters {
		if slices.Contains(taken, c.spec.name) {
			return c.spec.in.Wrong("name", fmt.Errorf("database/sql has a driver %q already: give the cluster another name, and register a file only once", c.spec.name))
		}
	}
	for _, c := range clusters {
		if err := register(c.spec.name, c.driver); err != nil {
			return c.spec.in.Wrong("name", err)
		}
	}
	return nil
}

// register calls sql.Register. That panics if another goroutine has registered
// the name since it was found free; register returns the panic as an error.
func register(name string, d Driver) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	sql.Register(name, d)
	return nil
}

// Names returns the clusters' names in the order of the file.
func (r *Registry) Names() []string {
	clusters := r.all()
	names := make([]string, len(clusters))
	for i, c := range clusters {
		names[i] = c.spec.name
	}
	return names
}

// Driver returns the cluster with the given name.
func (r *Registry) Driver(name string) (d Driver, ok bool) {
	for _, c := range r.all() {
		if c.spec.name == name {
			return c.driver, true
		}
	}
	return Driver{}, false
}

// Describe returns the clusters as they are configured now; see [Driver.Describe].
func (r *Registry) Describe() []Description {
	var all []Description
	for _, c := range r.all() {
		all = append(all, c.driver.m.description(c.spec.driver))
	}
	return all
}

// Selftest returns the file's settings for the tests.
func (r *Registry) Selftest() Selftest { return r.selftest }

// Close closes every cluster; see [Driver.Close]. database/sql cannot forget a
// name, so the names stay registered. To open one of them is [ErrClosed] from
// then on. A second Close changes nothing, and waits as the first does.
func (r *Registry) Close() error {
	r.closed.Store(true)
	var errs []error
	for _, c := range r.all() {
		errs = append(errs, c.driver.Close())
	}
	return errors.Join(errs...)
}

// Selftest holds a configuration file's settings for the tests that run against
// its clusters. Programs do not need it.
type Selftest struct {
	// Throwaway is true if the tests start their own nodes, and set the
	// environment variables that the file's DSNs contain.
	Throwaway bool
	// Table names an existing table that the tests may write to; they clean it
	// up again. Without it they only read, except on throwaway nodes.
	Table string
}
