package clustersql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/EnumApps/clustersql/internal/conffile"
	"github.com/EnumApps/clustersql/internal/drivers"
)

// registrations numbers the names that the tests register. database/sql keeps
// names for ever, also from one run of a test to the next.
var registrations atomic.Int64

func uniqueName(what string) string { return fmt.Sprintf("%s#%d", what, registrations.Add(1)) }

// A choosyDriver has a connector that refuses certain DSNs and records the
// others.
type choosyDriver struct {
	refuse func(dsn string) error

	mu   sync.Mutex
	dsns []string
}

func (d *choosyDriver) Open(string) (driver.Conn, error) { return nil, errors.New("not used") }

func (d *choosyDriver) OpenConnector(dsn string) (driver.Connector, error) {
	if err := d.refuse(dsn); err != nil {
		return nil, err
	}
	d.mu.Lock()
	d.dsns = append(d.dsns, dsn)
	d.mu.Unlock()
	return choosyConnector{d}, nil
}

type choosyConnector struct{ d *choosyDriver }

func (c choosyConnector) Connect(context.Context) (driver.Conn, error) { return choosyConn{}, nil }
func (c choosyConnector) Driver() driver.Driver                        { return c.d }

type choosyConn struct{}

func (choosyConn) Prepare(string) (driver.Stmt, error) { return nil, errors.New("not used") }
func (choosyConn) Close() error                        { return nil }
func (choosyConn) Begin() (driver.Tx, error)           { return nil, errors.New("not used") }

func registerChoosy(refuse func(dsn string) error) (string, *choosyDriver) {
	if refuse == nil {
		refuse = func(string) error { return nil }
	}
	name, d := uniqueName("choosy"), &choosyDriver{refuse: refuse}
	sql.Register(name, d)
	return name, d
}

// inFile writes text to config.toml in a new working directory of the test.
func inFile(t *testing.T, text string) {
	t.Helper()
	t.Chdir(t.TempDir())
	t.Setenv(conffile.PathVariable, "")
	if err := os.WriteFile(conffile.DefaultPath, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func load(t *testing.T, path string) *Registry {
	t.Helper()
	r, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func TestRegistryOfSeveralClusters(t *testing.T) {
	backend, seen := registerChoosy(nil)
	write, read := uniqueName("write_conn"), uniqueName("read_conn")
	t.Setenv("REGISTRY_PW", "p:${HOME}@/w")
	inFile(t, fmt.Sprintf(`
open_timeout = "20s"
rise         = 5

[selftest]
throwaway = true
table     = "scratch"

[[cluster]]
name         = %q
driver       = %q
rise         = 1
  [[cluster.node]]
  name = "n2"
  dsn  = "writer:${REGISTRY_PW}@tcp(dbhost2:3306)/db"
  [[cluster.node]]
  name = "n1"
  dsn  = "literal $${REGISTRY_PW}"

[[cluster]]
name  = %q
check = "ping"
node  = [{ name = "n1", dsn = "reader:pw@tcp(127.0.0.1:1)/db" }]
`, write, backend, read))
	r, err := RegisterFile("")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got := r.Names(); !slices.Equal(got, []string{write, read}) {
		t.Errorf("names %q", got)
	}
	if got := r.Selftest(); got != (Selftest{Throwaway: true, Table: "scratch"}) {
		t.Errorf("selftest %+v", got)
	}
	w, ok := r.Driver(write)
	if !ok || !slices.Equal(w.Nodes(), []string{"n1", "n2"}) || w.m.cfg().Rise != 1 || w.m.cfg().OpenTimeout != 20e9 {
		t.Errorf("%t, nodes %q, settings %+v", ok, w.Nodes(), w.m.cfg())
	}
	if d, ok := r.Driver(read); !ok || d.m.cfg().Rise != 5 || !backendDialect.Owns(d.m.backend) {
		t.Errorf("%t, settings %+v over %T", ok, d.m.cfg(), d.m.backend)
	}
	if _, ok := r.Driver("none"); ok {
		t.Error("there is a cluster \"none\"")
	}
	if want := []string{"", "writer:p:${HOME}@/w@tcp(dbhost2:3306)/db", "literal ${REGISTRY_PW}"}; !slices.Equal(seen.dsns, want) {
		t.Errorf("the backend was given %q, want %q", seen.dsns, want)
	}

	db, err := sql.Open(write, "anything")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Ping(); err != nil {
		t.Error(err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := sql.Open(write, ""); !errors.Is(err, ErrClosed) {
		t.Errorf("opening a closed registry's cluster: %v", err)
	}
	if err := r.Register(); !errors.Is(err, ErrClosed) {
		t.Errorf("registering a closed registry: %v", err)
	}
}

func TestLegacyFile(t *testing.T) {
	inFile(t, `# the original's file
[[Nodes]]
  Name = "maria1"
  HostName = "127.0.0.1"
  Port = 3301
  UserName = "root"
  DBName = "shop"

[[nodes]]
  name = "maria2"
  hostname = "::1"
  username = "root"
  password = "p@s:s/w(o)r?d%${X}"
  dbname = "a/b"
`)
	// The decoder reads Nodes and nodes as two tables. A file may have only one
	// of them.
	if _, err := Load(""); err == nil || err.Error() != "clustersql: config.toml:9: nodes: it is there twice: take one out" {
		t.Errorf("got %v", err)
	}
	text, err := os.ReadFile(conffile.DefaultPath)
	if err != nil {
		t.Fatal(err)
	}
	file, err := conffile.Parse("x", strings.ReplaceAll(string(text), "[[nodes]]", "[[Nodes]]"), fileKeys)
	if err != nil {
		t.Fatal(err)
	}
	if err := file.Expand(func(string) (string, bool) { return "", false }); err != nil {
		t.Fatal(err)
	}
	want := []string{"root@tcp(127.0.0.1:3301)/shop", "root:p@s:s/w(o)r?d%${X}@tcp([::1]:3306)/a%2Fb"}
	var got []string
	for _, n := range file.Clusters[0].Nodes {
		dsn, err := dsnOf(&n)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, dsn)
	}
	if !slices.Equal(got, want) {
		t.Errorf("\ngot  %q\nwant %q", got, want)
	}

	inFile(t, "rise = 3\n[[nodes]]\nname = \"maria1\"\nHOSTNAME = \"127.0.0.1\"\nPort = 3301\nUserName = \"root\"\n")
	r := load(t, "")
	d, ok := r.Driver(DefaultName)
	if !ok || !slices.Equal(d.Nodes(), []string{"maria1"}) || d.m.cfg().Rise != 3 {
		t.Errorf("%t, %q", ok, d.Nodes())
	}
}

// All clusters of a file are registered or none, whoever has taken a name.
func TestRegisterTakenNames(t *testing.T) {
	free, taken := uniqueName("free"), uniqueName("taken")
	file := func(names ...string) string {
		var b strings.Builder
		for _, n := range names {
			fmt.Fprintf(&b, "[[cluster]]\nname = %q\nnode = [{name = \"n\", dsn = \"app:pw@tcp(h1)/db\"}]\n", n)
		}
		return b.String()
	}
	sql.Register(taken, &choosyDriver{})
	inFile(t, file(free, taken))
	r := load(t, "")
	want := fmt.Sprintf("clustersql: config.toml:5: cluster %q: name: database/sql has a driver %q already: give the cluster another name, and register a file only once", taken, taken)
	if err := r.Register(); err == nil || err.Error() != want {
		t.Errorf("\ngot  %v\nwant %s", err, want)
	}
	if slices.Contains(sql.Drivers(), free) {
		t.Error("the other cluster was registered")
	}
	if _, err := RegisterFile(""); err == nil || err.Error() != want {
		t.Errorf("\ngot  %v\nwant %s", err, want)
	}

	inFile(t, file(free))
	first, second := load(t, ""), load(t, "")
	results := make(chan error, 2)
	for _, r := range []*Registry{first, second} {
		go func() { results <- r.Register() }()
	}
	a, b := <-results, <-results
	if (a == nil) == (b == nil) {
		t.Errorf("of two, %v and %v", a, b)
	}
}

func TestConfigFileIsFound(t *testing.T) {
	good := "[[cluster]]\nname = \"c\"\nnode = [{name = \"n\", dsn = \"app:pw@tcp(h1)/db\"}]\n"
	inFile(t, good)
	dir := t.TempDir()
	other := filepath.Join(dir, "other.toml")
	if err := os.WriteFile(other, []byte(strings.ReplaceAll(good, `"c"`, `"o"`)), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := load(t, "").Names(); got[0] != "c" {
		t.Errorf("config.toml has %q", got)
	}
	t.Setenv(conffile.PathVariable, other)
	if got := load(t, "").Names(); got[0] != "o" {
		t.Errorf("DBCONFIG's file has %q", got)
	}
	if got := load(t, "config.toml").Names(); got[0] != "c" {
		t.Errorf("a path given has %q", got)
	}
	for _, tc := range []struct{ variable, path, want string }{
		{"none.toml", "", "clustersql: none.toml: no such file or directory: create it, or correct DBCONFIG, which names it"},
		{"", "none.toml", "clustersql: none.toml: no such file or directory: create it, or name another file"},
		{dir, "", "clustersql: " + dir + ": it is a directory: name the file in it"},
	} {
		t.Setenv(conffile.PathVariable, tc.variable)
		if _, err := Load(tc.path); err == nil || err.Error() != tc.want {
			t.Errorf("\ngot  %v\nwant %s", err, tc.want)
		}
	}
	t.Setenv(conffile.PathVariable, "")
	t.Chdir(t.TempDir())
	want := "clustersql: config.toml: no such file or directory: create it, or name another file with the environment variable DBCONFIG"
	if _, err := Load(""); !errors.Is(err, fs.ErrNotExist) || err.Error() != want {
		t.Errorf("\ngot  %v\nwant %s", err, want)
	}
}

func TestBackendFor(t *testing.T) {
	refusesEmpty, _ := registerChoosy(func(dsn string) error {
		if dsn == "" {
			return errors.New("an empty DSN")
		}
		return nil
	})
	if b, err := backendFor(refusesEmpty, "x"); err != nil || reflect.TypeOf(b) != reflect.TypeFor[*choosyDriver]() {
		t.Errorf("%T, %v", b, err)
	}
	panics, _ := registerChoosy(func(dsn string) error { panic("bad " + dsn) })
	var refused *drivers.RefusedError
	if _, err := backendFor(panics, "x"); !errors.As(err, &refused) || err.Error() != "the driver panicked in OpenConnector: bad x" {
		t.Errorf("%v", err)
	}
	own := NewDriver(backendDialect.Driver(), "own")
	value, pointer := uniqueName("own"), uniqueName("own")
	sql.Register(value, own)
	sql.Register(pointer, &own)
	for _, name := range []string{dsnDriverName, value, pointer} {
		if _, err := backendFor(name, "app@tcp(h1)/db"); !errors.Is(err, errOwnBackend) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
