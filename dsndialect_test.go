package clustersql

import (
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/dialects"
	"github.com/EnumApps/clustersql/internal/fakedb"
	"github.com/EnumApps/clustersql/internal/postgres"
)

// withDialects replaces the dialects until the test ends.
func withDialects(t *testing.T, all ...dialect.Dialect) {
	t.Helper()
	real := dialects.Known
	dialects.Known = all
	t.Cleanup(func() { dialects.Known = real })
}

// A libpq URI is of the postgres dialect. Its hosts are asked in the order in which
// they are written, and not by name.
func TestURIOfPostgres(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		withDialects(t, fakeDialect{postgres.Dialect{}, b.Driver()})
		db, err := sql.Open("clustersql", "postgres://app:hunter22@b1,a2:5433/shop?clustersql.check=ping&application_name=x")
		if err != nil {
			t.Fatal(err)
		}
		d := db.Driver().(Driver)
		if err := d.WaitReady(t.Context(), 2); err != nil {
			t.Fatal(err)
		}
		s := d.Status()
		if s.Name != "clustersql/shop@b1:5432,a2:5433" || d.m.cfg().Strategy.String() != "ordered" {
			t.Errorf("cluster %s, strategy %s", s.Name, d.m.cfg().Strategy)
		}
		if s.Nodes[0].Name != "a2:5433" || s.Nodes[0].Priority != 1 || s.Nodes[1].Priority != 0 {
			t.Errorf("%+v", s.Nodes)
		}
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		conn.Raw(func(c any) error {
			const want = "postgres://app:hunter22@b1:5432/shop?application_name=x"
			if got := c.(Conn).Raw().(*fakedb.Conn).NodeName(); got != want {
				t.Errorf("a connection of %s", got)
			}
			return nil
		})
		conn.Close()
		db.Close()
		wantNothingLeft(t, b)
	})
}

// target_session_attrs has the cluster use the second host, where the first is a
// standby.
func TestURIOfPostgresWithTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		withDialects(t, fakeDialect{postgres.Dialect{}, b.Driver()})
		for host, standby := range map[string]bool{"h1": true, "h2": false} {
			script := &pgScript{standby: standby, system: "77", timeline: 1, place: 100, received: 100, streams: standby}
			b.Node("host='" + host + "' port=5432 target_session_attrs=any").OnQuery(script.answer)
		}
		db, err := sql.Open("clustersql", "host=h1,h2 target_session_attrs=read-write clustersql.dialect=postgres")
		if err != nil {
			t.Fatal(err)
		}
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		conn.Raw(func(c any) error {
			if node := c.(Conn).Raw().(*fakedb.Conn).NodeName(); !strings.HasPrefix(node, "host='h2'") {
				t.Errorf("a connection of %s", node)
			}
			return nil
		})
		conn.Close()
		db.Close()
		wantNothingLeft(t, b)
	})
}

// A registeredDialect has its backend in database/sql.
type registeredDialect struct {
	postgres.Dialect
	name string
}

func (d registeredDialect) Backend() (name, pkg string) { return d.name, "example.com/driver" }

// The backend of a DSN is the driver that is registered under the dialect's name
// for it. The error of one that is not says how to get it.
func TestBackendOfADSNIsRegistered(t *testing.T) {
	name := uniqueName("dsn_backend")
	withDialects(t, registeredDialect{name: name})
	const dsn = "postgres://app:hunter22@h1,h2/db?clustersql.check=ping"
	want := fmt.Sprintf("clustersql: the DSN needs the driver %q, which database/sql does not know: write import _ \"example.com/driver\"", name)
	if _, err := sql.Open("clustersql", dsn); err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		sql.Register(name, b.Driver())
		db, err := sql.Open("clustersql", dsn)
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Ping(); err != nil {
			t.Error(err)
		}
		db.Close()
		wantNothingLeft(t, b)
	})
}

// The module that has the backend of the postgres dialect says how it registers
// itself; see pgx/driver.go.
func TestBackendOfPostgresIsThatOfTheModule(t *testing.T) {
	name, pkg := postgres.Dialect{}.Backend()
	if !slices.Contains(strings.Fields(docsRead(t, "pgx/go.mod")), pkg) || !strings.Contains(docsRead(t, "pgx/driver.go"), fmt.Sprintf("= %q", name)) {
		t.Errorf("pgx/ is not the module %s with a driver %s", pkg, name)
	}
}

// A file that names the backend of a dialect gets the same cure.
func TestBackendOfAFileIsNamedWithItsPackage(t *testing.T) {
	name, pkg := postgres.Dialect{}.Backend()
	_, err := backendFor(name, "postgres://h1/db")
	if want := fmt.Sprintf("database/sql knows no driver %q: import its package for its side effect, as in import _ %q; registered are ", name, pkg); err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v", err)
	}
}

// Errors about a URI show nothing of its password, also where a part of it is taken
// for something else.
func TestErrorsOfAURIHoldNoSecret(t *testing.T) {
	withDialects(t, fakeDialect{postgres.Dialect{}, fakedb.New().Driver()})
	for _, dsn := range []string{
		"postgres://app:Hunter22@h1,h1/db", "postgres://app:Hunter22/x@h1/db", "postgres://app:Hunter22", "postgres://app:x@Hunter22@h1/db",
		"postgres://app:1/Hunter22@h1/db", "postgres://app:1?Hunter22@h1,h1/db", "postgres://h1/db?password=Hunter22&clustersql.rise=Hunter22",
		"postgres://app:Hunter22@h1/db?clustersql.Hunter22=1", "postgres://app:Hunter22@h1/db?clustersql.strategy=Hunter22",
		"postgres://app:Hunter22@h1/db?target_session_attrs=Hunter22", "host=h1 password=a Hunter22", "host=h1 password='Hunter22",
		"host=h1;password=Hunter22", "host=h1,h1 password=Hunter22", "host=h1 password=Hunter22 clustersql.name=x clustersql.open_timeout=Hunter22",
		"postgres://app:Hunter22@h1/db?clustersql.open_timeout=1s&clustersql.attempt_timeout=2s", "postgres://app:%Hunter22@h1/db",
	} {
		if _, err := sql.Open("clustersql", dsn); err == nil || strings.Contains(err.Error(), "unter22") {
			t.Errorf("%s: %v", dsn, err)
		}
	}
}
