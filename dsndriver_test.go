package clustersql

import (
	"database/sql"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
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
	if want := slices.Sorted(slices.Values(nodes)); !slices.Equal(d.Nodes(), want) || d.m.cfg.OpenTimeout != 7e7 ||
		d.Status().Name != "clustersql/db@"+strings.Join(nodes, ",") {
		t.Errorf("cluster %q, nodes %q, settings %+v", d.Status().Name, d.Nodes(), d.m.cfg)
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
