package clustersql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/EnumApps/clustersql/internal/clusterdsn"
	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/fakedb"
)

// refusedAddrs returns loopback addresses on which nobody listens.
func refusedAddrs(t *testing.T, n int) []string {
	t.Helper()
	var addrs []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // closed together at the end, so that no two addresses are the same
		addrs = append(addrs, l.Addr().String())
	}
	return addrs
}

func TestDSNDriver(t *testing.T) {
	nodes := refusedAddrs(t, 2)
	dsn := "app:hunter22@tcp(" + strings.Join(nodes, ",") + ")/db?clustersql.open_timeout=70ms&clustersql.attempt_timeout=50ms&timeout=5s"
	first, err := sql.Open("clustersql", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	second, err := sql.Open("clustersql", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()

	d := first.Driver().(Driver)
	if want := slices.Sorted(slices.Values(nodes)); !slices.Equal(d.Nodes(), want) || d.m.cfg().OpenTimeout != 7e7 ||
		d.Status().Name != "clustersql/db@"+strings.Join(nodes, ",") {
		t.Errorf("cluster %q, nodes %q, settings %+v", d.Status().Name, d.Nodes(), d.m.cfg())
	}
	for _, db := range []*sql.DB{first, second} {
		err := db.Ping()
		var open *OpenError
		if !errors.As(err, &open) || len(open.Attempts) != 2 || strings.Contains(err.Error(), "hunter22") {
			t.Errorf("got %v", err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := d.AddNode("late", dsn); !errors.Is(err, ErrClosed) {
		t.Errorf("the cluster outlives its DB: %v", err)
	}
}

func TestDSNDriverOpen(t *testing.T) {
	_, err := dsnDriver{}.Open("app:hunter22@tcp(" + refusedAddrs(t, 1)[0] + ")/db?clustersql.open_timeout=50ms&clustersql.attempt_timeout=50ms")
	var open *OpenError
	if !errors.As(err, &open) || strings.Contains(err.Error(), "hunter22") {
		t.Errorf("got %v", err)
	}
}

func TestDSNDriverErrors(t *testing.T) {
	cases := []struct{ dsn, want string }{
		{"app:hunter22@tcp(h1,h2)", "clustersql: the DSN has no slash before the database: write it as user:password@tcp(host1,host2)/database"},
		{"app:hunter22@tcp(h1,h2)/db?clustersql.rise=0", "clustersql: parameter clustersql.rise: 0 is too small: it must be at least 1"},
		{"app:hunter22@tcp(h1,h1)/db", "clustersql: the DSN's host list has h1:3306 twice: take one out"},
		{"app:hunter22@tcp(h1,h2)/db?timeout=1", `clustersql: time: missing unit in duration "1"`},
	}
	for _, tc := range cases {
		_, opened := sql.Open("clustersql", tc.dsn)
		_, legacy := dsnDriver{}.Open(tc.dsn)
		for _, err := range []error{opened, legacy} {
			if err == nil || err.Error() != tc.want {
				t.Errorf("%s\ngot  %v\nwant %s", tc.dsn, err, tc.want)
			}
		}
	}
}

// A fakeDialect reads DSNs as the real one does, and has another driver.
type fakeDialect struct {
	dialect.Dialect
	backend driver.Driver
}

func (d fakeDialect) Driver() driver.Driver { return d.backend }

// fakeDSNs makes the DSN driver open connections of a fake backend.
func fakeDSNs(t *testing.T, b *fakedb.Backend) {
	t.Helper()
	real := backendDialect
	backendDialect = fakeDialect{real, b.Driver()}
	t.Cleanup(func() { backendDialect = real })
}

const dsnA, dsnB = "app@tcp(a1,a2)/a?clustersql.check=ping", "app@tcp(b1,b2)/b?clustersql.check=ping"

// The driver of a DB opens what a DSN names, and not what the DB was opened
// with. It is the DB's cluster too.
func TestDriverOfADBTakesTheDSN(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		fakeDSNs(t, b)
		db, err := sql.Open("clustersql", dsnA)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		d := db.Driver().(Driver)
		if err := d.WaitReady(t.Context(), 2); err != nil || !slices.Equal(d.Nodes(), []string{"a1:3306", "a2:3306"}) {
			t.Error(err, d.Nodes())
		}
		conn, err := d.Open(dsnB)
		if err != nil {
			t.Fatal(err)
		}
		if node := conn.(Conn).Raw().(*fakedb.Conn).NodeName(); !strings.Contains(node, "(b") {
			t.Errorf("a connection of %s", node)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		c, err := d.OpenConnector(dsnB)
		if err != nil {
			t.Fatal(err)
		}
		other := sql.OpenDB(c)
		if err := other.Ping(); err != nil || !slices.Equal(other.Driver().(Driver).Nodes(), []string{"b1:3306", "b2:3306"}) {
			t.Error(err, other.Driver().(Driver).Nodes())
		}
		other.Close()
		for _, err := range []error{second(d.Open("")), second(d.Open("b1"))} {
			if err == nil {
				t.Error("opened what no DSN names")
			}
		}
		if err := sql.OpenDB(d.Connector()).Close(); err != nil || len(d.Nodes()) != 2 {
			t.Error(err, d.Nodes())
		}
	})
}

func second(_ driver.Conn, err error) error { return err }

// A program that wraps the driver by its name opens it with an empty DSN, and
// takes its driver.
func TestEmptyDSNGivesTheDriver(t *testing.T) {
	const want = "clustersql: the DSN is empty: write it as user:password@tcp(host1,host2)/database or postgres://user:password@host1,host2/database"
	synctest.Test(t, func(t *testing.T) {
		fakeDSNs(t, fakedb.New())
		db, err := sql.Open("clustersql", "")
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Ping(); err == nil || err.Error() != want {
			t.Error(err)
		}
		if _, err := db.Driver().Open(""); err == nil || err.Error() != want {
			t.Error(err)
		}
		d := db.Driver()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
		if s := d.(Driver).Status(); len(s.Nodes) != 0 {
			t.Error(s)
		}
		c, err := d.(driver.DriverContext).OpenConnector(dsnB)
		if err != nil {
			t.Fatal(err)
		}
		wrapped := sql.OpenDB(c)
		if err := wrapped.Ping(); err != nil {
			t.Error(err)
		}
		wrapped.Close()
	})
}

// An onlyOpen is a driver that wraps another and knows no DriverContext.
type onlyOpen struct{ driver.Driver }

// Connections that are opened one by one share the cluster of their DSN. It
// ends with the last of them.
func TestOpenedConnectionsShareACluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		fakeDSNs(t, b)
		name := uniqueName("only_open")
		sql.Register(name, onlyOpen{dsnDriver{}})
		db, err := sql.Open(name, dsnA)
		if err != nil {
			t.Fatal(err)
		}
		var conns []*sql.Conn
		for range 5 {
			c, err := db.Conn(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			conns = append(conns, c)
		}
		clusters := 0
		opened.mu.Lock()
		for _, c := range opened.all {
			if clusters++; c.conns != 5 {
				t.Errorf("%d connections", c.conns)
			}
		}
		opened.mu.Unlock()
		if clusters != 1 {
			t.Errorf("%d clusters", clusters)
		}
		for _, c := range conns {
			c.Close()
		}
		db.Close()
		if len(opened.all) != 0 {
			t.Error("the cluster outlives its connections")
		}
		wantNothingLeft(t, b)
	})
}

func TestHostParameters(t *testing.T) {
	l, err := clusterdsn.Parse(backendDialect, "app@tcp(h1,h2)/db?clustersql.strategy=race&clustersql.check=ping&clustersql.open_timeout=5s"+
		"&clustersql.rise=3&parseTime=true&clustersql.name=read%20conn", configTable.Keys)
	if err != nil {
		t.Fatal(err)
	}
	got, err := configOf(&l)
	if err != nil {
		t.Fatal(err)
	}
	want := DefaultConfig()
	want.OpenTimeout, want.Rise = 5e9, 3
	if got.Check == nil || got.Strategy.String() != "race" {
		t.Error("check or strategy are missing")
	}
	got.Check, got.Strategy, want.Strategy = nil, Strategy{}, Strategy{}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("\ngot  %+v\nwant %+v", got, want)
	}
}

// A setting that cannot work is an error about its parameter.
func TestErrorsOfParameters(t *testing.T) {
	cases := []struct{ dsn, want string }{
		{"app:hunter22@tcp(h1,h2)/db?clustersql.open_timeout=5", `parameter clustersql.open_timeout: "5" is not a duration: write one with its unit, as in "1.5s" or "600ms"`},
		{"app:hunter22@tcp(h1,h2)/db?clustersql.open_timeout", `parameter clustersql.open_timeout: "" is not a duration: write one with its unit, as in "1.5s" or "600ms"`},
		{"app:hunter22@tcp(h1,h2)/db?clustersql.open_timeout=1s&clustersql.attempt_timeout=2s", "parameter clustersql.attempt_timeout: 2s is above open_timeout (1s): lower it, or raise open_timeout"},
		{"app:hunter22@tcp(h1,h2)/db?clustersql.probe_interval=2562047h", `parameter clustersql.probe_interval: 2562047h0m0s is too long: write "24h" at most`},
		{"app:hunter22@tcp(h1,h2)/db?clustersql.rise=two", `parameter clustersql.rise: "two" is not a number: write one as in 8`},
		{"app:hunter22@tcp(h1,h2)/db?clustersql.rise=hunter22", `parameter clustersql.rise: "***" is not a number: write one as in 8`},
		{"app:hunter22@tcp(h1,h2)/db?clustersql.strategy=fast", `parameter clustersql.strategy: unknown strategy "fast": use "race", "hedged", "balanced" or "ordered"`},
	}
	for _, tc := range cases {
		l, err := clusterdsn.Parse(backendDialect, tc.dsn, configTable.Keys)
		if err == nil {
			_, err = configOf(&l)
		}
		if err == nil || err.Error() != tc.want {
			t.Errorf("%s\ngot  %v\nwant %s", tc.dsn, err, tc.want)
		}
		if strings.Contains(fmt.Sprint(err), "hunter22") {
			t.Errorf("%v holds the password", err)
		}
	}
}
