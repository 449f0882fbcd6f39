package clusterpgx

import (
	"database/sql"
	"database/sql/driver"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/postgres"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// The type that a program gets from database/sql is this package's Driver, and the
// cluster knows the database behind it.
func TestDriverIsKnown(t *testing.T) {
	db, err := sql.Open(Name, "")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if db.Driver() != driver.Driver(Driver{}) || !(postgres.Dialect{}).Speaks(db.Driver()) {
		t.Errorf("a %T", db.Driver())
	}
}

// A DSN that pgx refuses is refused at once, and a cluster shows no secret of it.
func TestRefusedDSN(t *testing.T) {
	for _, dsn := range []string{
		"postgres://app:Hunter22@h1/db?sslmode=wrong", "host=h1 password=Hunter22 sslmode=wrong", "postgres://app:Hunter22@h1:port/db",
		"postgres://app:x/Hunter22@h1/db", "postgres://app:%Hunter22@h1/db", "host=h1 password='Hunter22",
		"host=h1 password=x Hunter22", "postgres://app:Hunter22@h1/db?connect_timeout=Hunter22",
	} {
		d := clustersql.NewDriver(Driver{}, t.Name())
		if err := d.AddNode("n1", dsn); err == nil || strings.Contains(err.Error(), "unter22") {
			t.Errorf("%s: %v", dsn, err)
		}
		d.Close()
		if db, err := sql.Open("clustersql", strings.ReplaceAll(dsn, "h1", "h1,h2")); err == nil || strings.Contains(err.Error(), "unter22") {
			t.Errorf("%s: %v", dsn, err)
			if err == nil {
				db.Close()
			}
		}
	}
}

// splitDSNs are DSNs with several hosts.
var splitDSNs = []string{
	"postgres://app:pw@h1:5432,h2:5433/db?target_session_attrs=read-write&application_name=a%26b+c&connect_timeout=7",
	"postgresql://a%40b:p%2Fw%3F@%2Frun%2Fpg,[::1]:5433,[fe80::1%25eth0],h%34/d%2Fb?search_path=a&default_query_exec_mode=exec",
	"postgres://:1,:2/?host=h1,%2Frun%2Fpg&port=6&user=app&password=p@ss&target_session_attrs=standby",
	"postgres://app@h1,h2/db?ssl=true&statement_cache_capacity=3&options=-c%20x%3D1",
	`host='h1,h2,/run/pg' port=5432,,5434 user='a b' password='it\'s \\' dbname=db target_session_attrs=any`,
	`host=h1,::1 password=a\ b\\ timezone=UTC database=x`,
}

// Each of the split DSNs means to pgx what the whole means, apart from the host,
// and from what the cluster takes over.
func TestSplitDSNsMeanTheSameToPgx(t *testing.T) {
	t.Setenv("PGTARGETSESSIONATTRS", "primary")
	for _, dsn := range splitDSNs {
		whole, err := pgx.ParseConfig(dsn)
		if err != nil {
			t.Fatal(err)
		}
		l, err := (postgres.Dialect{}).SplitHosts(dsn, "clustersql.")
		if err != nil {
			t.Fatal(err)
		}
		hosts := hostsOf(whole)
		if len(hosts) != len(l.Hosts) {
			t.Fatalf("%s: %d hosts, and to pgx %d", dsn, len(l.Hosts), len(hosts))
		}
		for i, h := range l.Hosts {
			one, err := pgx.ParseConfig(h.DSN)
			if err != nil {
				t.Fatalf("%s: %v", h.DSN, err)
			}
			if got := hostsOf(one); len(got) != 1 || got[0] != hosts[i] || l.Database != one.Database || h.Name != got[0] {
				t.Errorf("%s: host %d is %q, named %s, in database %s", dsn, i, got, h.Name, l.Database)
			}
			if strings.Contains(dsn, "target_session_attrs") && one.ValidateConnect != nil {
				t.Errorf("%s: pgx judges what the cluster judges", h.DSN)
			}
			if got, want := restOf(one), restOf(whole); !reflect.DeepEqual(got, want) {
				t.Errorf("%s:\ngot  %+v\nwant %+v", h.DSN, got, want)
			}
		}
	}
}

// hostsOf returns the addresses that pgx dials, each once.
func hostsOf(cfg *pgx.ConnConfig) (hosts []string) {
	all := append([]*pgconn.FallbackConfig{{Host: cfg.Host, Port: cfg.Port}}, cfg.Fallbacks...)
	for _, f := range all {
		_, address := pgconn.NetworkAddress(f.Host, f.Port)
		if len(hosts) == 0 || hosts[len(hosts)-1] != address { // sslmode=prefer has each host twice
			hosts = append(hosts, address)
		}
	}
	return hosts
}

// restOf is what of a configuration does not depend on the host.
func restOf(cfg *pgx.ConnConfig) any {
	return []any{
		cfg.Database, cfg.User, cfg.Password, cfg.ConnectTimeout, cfg.RuntimeParams, cfg.DefaultQueryExecMode,
		cfg.StatementCacheCapacity, cfg.SSLNegotiation, cfg.ChannelBinding, cfg.RequireAuth,
	}
}

// FuzzSplitHosts: what SplitHosts takes, pgx takes, and both find the same hosts,
// user, password and database.
func FuzzSplitHosts(f *testing.F) {
	for _, dsn := range splitDSNs {
		f.Add(dsn)
	}
	f.Fuzz(func(t *testing.T, dsn string) {
		if len(dsn) > 300 || !(postgres.Dialect{}).Claims(dsn) {
			t.Skip("no DSN of PostgreSQL, or one that only takes longer")
		}
		for _, key := range []string{"sslcert", "sslkey", "sslrootcert", "service", "passfile"} {
			if strings.Contains(dsn, key) {
				t.Skip("it reads a file")
			}
		}
		l, err := (postgres.Dialect{}).SplitHosts(dsn, "clustersql.")
		if err != nil {
			return
		}
		for _, h := range l.Hosts {
			one, err := pgx.ParseConfig(h.DSN)
			if err != nil {
				continue // a parameter that pgx alone judges
			}
			whole, err := pgx.ParseConfig(dsn)
			if err != nil {
				if strings.Contains(err.Error(), "target_session_attrs") {
					t.Skip("prefer-primary is not pgx's")
				}
				t.Fatalf("%q: pgx takes %q alone: %v", dsn, h.DSN, err)
			}
			if hosts := hostsOf(one); len(hosts) != 1 || hosts[0] != h.Name {
				t.Errorf("%q: %q is %q to pgx", dsn, h.Name, hosts)
			}
			if one.User != whole.User || one.Password != whole.Password || one.Database != whole.Database {
				t.Errorf("%q: %q has another login", dsn, h.DSN)
			}
			if secrets, known := (postgres.Dialect{}).Secrets(h.DSN); known && whole.Password != "" && !slices.Contains(secrets, whole.Password) {
				t.Errorf("%q: the password %q is none of the secrets %q", h.DSN, whole.Password, secrets)
			}
		}
	})
}
