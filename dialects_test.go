package clustersql

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/dialects"
	"github.com/EnumApps/clustersql/internal/fakedb"
	mysqldialect "github.com/EnumApps/clustersql/internal/mysql"
)

// A tracer is an instrumented driver: it wraps another one, and counts.
type tracer struct {
	driver.Driver
	opened *atomic.Int64
}

func (d tracer) OpenConnector(dsn string) (driver.Connector, error) {
	c, err := d.Driver.(driver.DriverContext).OpenConnector(dsn)
	if err != nil {
		return nil, err
	}
	return tracedConnector{c, d}, nil
}

type tracedConnector struct {
	driver.Connector
	driver tracer
}

func (c tracedConnector) Driver() driver.Driver { return c.driver }

func (c tracedConnector) Connect(ctx context.Context) (driver.Conn, error) {
	c.driver.opened.Add(1)
	return c.Connector.Connect(ctx)
}

// mysqlName is the node that a mysql DSN leads to on fakedb.
func mysqlName(dsn string) string {
	cfg, err := mysql.ParseDSN(dsn)
	if err != nil {
		return dsn
	}
	name, _, _ := strings.Cut(cfg.Addr, ":")
	return name
}

// tracedCluster is a cluster of two nodes behind an instrumented driver.
func tracedCluster(t *testing.T, b *fakedb.Backend, parameters string, opts ...Option) Driver {
	t.Helper()
	b.NameNodes(mysqlName)
	d := NewDriver(tracer{b.Driver(), new(atomic.Int64)}, t.Name(), append([]Option{quiet, seeded(t), WithStrategy(inOrder)}, opts...)...)
	t.Cleanup(func() { d.Close() })
	for i := range 2 {
		if err := d.AddNode(nodeName(i), "app:hunter22@tcp("+nodeName(i)+":3306)/shop"+parameters); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// statementsOf counts what a node was asked to run.
func statementsOf(n *fakedb.Node, fail func(query string) error) map[string]*atomic.Int64 {
	counts := map[string]*atomic.Int64{"DO 1": new(atomic.Int64), "INSERT": new(atomic.Int64), "CALL p()": new(atomic.Int64)}
	n.OnStatement(func(_ context.Context, query string, _ []driver.NamedValue) error {
		if c := counts[query]; c != nil {
			c.Add(1)
		}
		return fail(query)
	})
	return counts
}

// With dialect = "mysql" a driver that wraps mysql is a full one: it is checked
// with DO 1, and refused statements move as its DSN allows. Without it the
// cluster knows nothing of what is inside.
func TestDialectOfAWrappingDriver(t *testing.T) {
	for _, tc := range []struct {
		name       string
		dialect    Dialect
		parameters string
		query      string
		checked    bool // with DO 1
		moves      bool
	}{
		{"mysql", DialectMySQL, "", "INSERT", true, true},
		{"mysql, no whole statement", DialectMySQL, "", "CALL p()", true, false},
		{"mysql, several statements a call", DialectMySQL, "?multiStatements=true", "INSERT", true, false},
		{"mysql, autocommit off", DialectMySQL, "?autocommit=0", "INSERT", true, false},
		{"by backend", DialectByBackend, "", "INSERT", false, false},
		{"generic", DialectGeneric, "", "INSERT", false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				d := tracedCluster(t, b, tc.parameters, WithDialect(tc.dialect))
				refuse := new(atomic.Bool)
				first := statementsOf(b.Node("n1"), func(query string) error {
					if query == tc.query && refuse.Load() {
						return errNotReady
					}
					return nil
				})
				second := statementsOf(b.Node("n2"), func(string) error { return nil })
				db := openDB(t, d)
				if err := db.Ping(); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if checked := first["DO 1"].Load() > 0; checked != tc.checked {
					t.Errorf("checked with DO 1: %v", checked)
				}
				refuse.Store(true)
				_, err := db.Exec(tc.query)
				if moved := err == nil && second[tc.query].Load() == 1; moved != tc.moves || !tc.moves && !errors.Is(err, errNotReady) {
					t.Errorf("moved: %v, %v", moved, err)
				}
				synctest.Wait()
				if s := d.Status().Nodes[0]; s.State != StateDown { // the class of 1047 is known whatever the dialect
					t.Errorf("%s is %s", s.Name, s.State)
				}
			})
		})
	}
}

// Only the password of a DSN is a secret where its form is known.
func TestDialectTellsWhatIsSecret(t *testing.T) {
	const refusal = "Access denied for user 'app'@'n1' (using password hunter22) to database 'shop'"
	for dialect, want := range map[Dialect]string{
		DialectMySQL:   "failed: Access denied for user 'app'@'n1' (using password ***) to database 'shop'",
		DialectGeneric: "failed: Access denied for user 'app'@'n1' (using password ***) to database 'shop'",
	} {
		synctest.Test(t, func(t *testing.T) {
			b := fakedb.New()
			b.Node("n1").Set(fakedb.Script{Err: errors.New(refusal)})
			d := tracedCluster(t, b, "", WithDialect(dialect))
			openDB(t, d)
			synctest.Wait()
			if got := d.Status().Nodes[0].LastErrorMessage; got != want {
				t.Errorf("%s:\ngot  %s\nwant %s", dialect, got, want)
			}
		})
	}
}

// A wrapping driver whose connections are dialled with Dial, or told with
// TrackSocket, is cut like any other.
func TestWrappingDriverIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		b.OnSocket(func(ctx context.Context, s net.Conn) { TrackSocket(ctx, s) })
		for _, name := range []string{"n1", "n2"} {
			b.Node(name).SetMood(fakedb.Mood{}) // well, and with sockets
		}
		d := tracedCluster(t, b, "", WithDialect(DialectMySQL))
		db := openDB(t, d)
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		synctest.Wait() // the probe is connected, and is the witness
		b.Node("n1").SetMood(fakedb.Mood{Silent: true})
		began := time.Now()
		_, err = conn.ExecContext(context.Background(), "INSERT")
		if took := time.Since(began); err == nil || took > 5*time.Second {
			t.Errorf("a statement on a silent node ended after %v: %v", took, err)
		}
		if !errors.Is(err, ErrUnknownOutcome) {
			t.Errorf("got %v", err)
		}
	})
}

// The dialect of a connector is that of its driver, or the one that is named.
func TestDialectOfAConnector(t *testing.T) {
	for _, tc := range []struct {
		cluster driver.Driver
		node    driver.Driver
		named   Dialect
		want    dialect.Dialect
	}{
		{mysql.MySQLDriver{}, mysql.MySQLDriver{}, DialectByBackend, mysqldialect.Dialect{}},
		{nil, &mysql.MySQLDriver{}, DialectByBackend, mysqldialect.Dialect{}},
		{mysql.MySQLDriver{}, fakedb.New().Driver(), DialectByBackend, dialects.Generic{}},
		{mysql.MySQLDriver{}, nil, DialectByBackend, mysqldialect.Dialect{}},
		{fakedb.New().Driver(), fakedb.New().Driver(), DialectMySQL, mysqldialect.Dialect{}},
		{mysql.MySQLDriver{}, mysql.MySQLDriver{}, DialectGeneric, dialects.Generic{}},
	} {
		d := NewDriver(tc.cluster, t.Name(), quiet, WithDialect(tc.named))
		if err := d.AddConnector("n", namedConnector{tc.node}); err != nil {
			t.Fatal(err)
		}
		if got := (*d.m.nodes.Load())[0].dial.dialect; got != tc.want {
			t.Errorf("cluster %T, node %T, %q: a %T, want a %T", tc.cluster, tc.node, tc.named, got, tc.want)
		}
		d.Close()
	}
}

// A namedConnector has a driver, and does not connect.
type namedConnector struct{ driver driver.Driver }

func (c namedConnector) Connect(context.Context) (driver.Conn, error) { return nil, errBoom }
func (c namedConnector) Driver() driver.Driver                        { return c.driver }

// An unknown dialect is an error that says which there are, wherever it is
// named.
func TestUnknownDialect(t *testing.T) {
	const problem = `dialect: there is no dialect "oracle": use "mysql", "postgres" or "generic", or leave it out`
	d := NewDriver(fakedb.New().Driver(), t.Name(), quiet, WithDialect("oracle"))
	defer d.Close()
	var setting *SettingError
	if err := d.AddNode("n", "n"); !errors.As(err, &setting) || setting.Error() != problem {
		t.Errorf("AddNode: %v", err)
	}
	if _, err := sql.Open("clustersql", "app@tcp(h)/db?clustersql.dialect=oracle"); err == nil || err.Error() != "clustersql: parameter clustersql."+problem {
		t.Errorf("DSN: %v", err)
	}
	inFile(t, "[[cluster]]\nname = \"c\"\ndialect = \"oracle\"\nnode = [{name = \"n\", dsn = \"d\"}]\n")
	if _, err := Load(""); err == nil || err.Error() != `clustersql: config.toml:3: cluster "c": `+problem {
		t.Errorf("file: %v", err)
	}
}

// A file names the dialect of a driver that wraps mysql.
func TestDialectInAFile(t *testing.T) {
	backend, _ := registerChoosy(nil)
	inFile(t, fmt.Sprintf(`
dialect = "generic"
[[cluster]]
name    = "traced"
driver  = %q
dialect = "mysql"
require = "writable" # which a generic backend without a check cannot tell
node    = [{name = "n", dsn = "app:pw@tcp(h:3306)/db"}]
[[cluster]]
name   = "plain"
driver = "mysql"
node   = [{name = "n", dsn = "app:pw@tcp(h:3306)/db"}]
`, backend))
	r := load(t, "")
	for name, want := range map[string]dialect.Dialect{"traced": mysqldialect.Dialect{}, "plain": dialects.Generic{}} {
		d, ok := r.Driver(name)
		if !ok {
			t.Fatalf("no cluster %s", name)
		}
		n := (*d.m.nodes.Load())[0]
		if n.dial.dialect != want || n.session != want.Session("app:pw@tcp(h:3306)/db") {
			t.Errorf("%s: a %T, %+v", name, n.dial.dialect, n.session)
		}
	}
}

// A cluster says once that it knows nothing of its backend's database, unless
// the program has said how its nodes are to be checked.
func TestUnknownBackendIsTold(t *testing.T) {
	other := fakedb.New().Driver()
	cases := []struct {
		name    string
		backend driver.Driver
		opts    []Option
		lines   int
	}{
		{"unknown", other, nil, 1},
		{"unknown, checked with a query", other, []Option{WithCheckQuery("SELECT 1")}, 0},
		{"unknown, and meant", other, []Option{WithDialect(DialectGeneric)}, 0},
		{"wraps the mysql driver, and says so", tracer{mysql.MySQLDriver{}, new(atomic.Int64)}, []Option{WithDialect(DialectMySQL)}, 0},
		{"wraps the mysql driver", tracer{mysql.MySQLDriver{}, new(atomic.Int64)}, nil, 1},
		{"mysql", mysql.MySQLDriver{}, nil, 0},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			var log bytes.Buffer
			d := NewDriver(tc.backend, t.Name(), append(tc.opts, WithLogger(slog.New(slog.NewTextHandler(&log, nil))))...)
			defer d.Close()
			for _, node := range []string{"n1", "n2"} {
				if err := d.AddNode(node, "app:secret@tcp(127.0.0.1:1)/db"); err != nil {
					t.Fatal(err)
				}
			}
			if n := strings.Count(log.String(), "is not known"); n != tc.lines {
				t.Errorf("%d lines, want %d:\n%s", n, tc.lines, &log)
			}
			if tc.lines > 0 && !strings.Contains(log.String(), "dialect") {
				t.Errorf("it names no cure:\n%s", &log)
			}
		})
	}
}
