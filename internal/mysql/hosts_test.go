package mysql

import (
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql/internal/dialect"
)

const prefix = "clustersql."

func TestSplitHosts(t *testing.T) {
	cases := []struct {
		dsn   string
		hosts []dialect.Host
	}{
		{"app:pass@tcp(h1:3306,h2:3307,[::1]:3308)/db?parseTime=true", []dialect.Host{
			{Name: "h1:3306", DSN: "app:pass@tcp(h1:3306)/db?parseTime=true"},
			{Name: "h2:3307", DSN: "app:pass@tcp(h2:3307)/db?parseTime=true"},
			{Name: "[::1]:3308", DSN: "app:pass@tcp([::1]:3308)/db?parseTime=true"},
		}},
		{"app@tcp(h1, h2 ,[::1],fe80::1)/", []dialect.Host{
			{Name: "h1:3306", DSN: "app@tcp(h1:3306)/"},
			{Name: "h2:3306", DSN: "app@tcp(h2:3306)/"},
			{Name: "[::1]:3306", DSN: "app@tcp([::1]:3306)/"},
			{Name: "[fe80::1]:3306", DSN: "app@tcp([fe80::1]:3306)/"},
		}},
		{"app:p@s:s,w/o(r)?d%@tcp(h1,h2)/d%2Fb?clustersql.rise=3&loc=Europe%2FParis&clustersql.name=a%26b&x='1'", []dialect.Host{
			{Name: "h1:3306", DSN: "app:p@s:s,w/o(r)?d%@tcp(h1:3306)/d%2Fb?loc=Europe%2FParis&x='1'"},
			{Name: "h2:3306", DSN: "app:p@s:s,w/o(r)?d%@tcp(h2:3306)/d%2Fb?loc=Europe%2FParis&x='1'"},
		}},
		{"app@unix(/run/a.sock,/run/b.sock)/db?clustersql.rise=3", []dialect.Host{
			{Name: "/run/a.sock", DSN: "app@unix(/run/a.sock)/db"},
			{Name: "/run/b.sock", DSN: "app@unix(/run/b.sock)/db"},
		}},
		{"/db", []dialect.Host{{Name: "127.0.0.1:3306", DSN: "tcp(127.0.0.1:3306)/db"}}},
		{"app:pass@/db", []dialect.Host{{Name: "127.0.0.1:3306", DSN: "app:pass@tcp(127.0.0.1:3306)/db"}}},
		{"app:pass@tcp/db", []dialect.Host{{Name: "127.0.0.1:3306", DSN: "app:pass@tcp(127.0.0.1:3306)/db"}}},
	}
	for _, tc := range cases {
		l, err := (Dialect{}).SplitHosts(tc.dsn, prefix)
		if err != nil || !slices.Equal(l.Hosts, tc.hosts) {
			t.Errorf("%s: %v\ngot  %q\nwant %q", tc.dsn, err, l.Hosts, tc.hosts)
		}
	}
}

// Programs send a DSN through ParseDSN and FormatDSN, to set parseTime. A list
// of hosts is the same list after that, once or twice, and so are the cluster's
// own parameters.
func TestSplitHostsOfFormattedDSN(t *testing.T) {
	const params = "/db?clustersql.check_query=SELECT+%27a%26b%3Dc%2Fd%25%27&clustersql.name=read%20conn&clustersql.rise=3"
	for _, tc := range []struct {
		hosts string
		want  []string
	}{
		{"h1:3306,h2:3306", []string{"h1:3306", "h2:3306"}},
		{"h1:3307,h2:3308, h3:3309", []string{"h1:3307", "h2:3308", "h3:3309"}},
		{"h1,h2", []string{"h1:3306", "h2:3306"}},
		{"h1,h2:3307", []string{"h1:3306", "h2:3307"}},
		{"h1:3307,h2", []string{"h1:3307", "h2:3306"}},
		{"[::1]:3307,[::2]:3308", []string{"[::1]:3307", "[::2]:3308"}},
		{"[::1],[::2]", []string{"[::1]:3306", "[::2]:3306"}},
		{"::1,fe80::1%eth0", []string{"[::1]:3306", "[fe80::1%eth0]:3306"}},
		{"h1,[::1]:3307,h2:3308", []string{"h1:3306", "[::1]:3307", "h2:3308"}},
		{"[::1]:3307,h2", []string{"[::1]:3307", "h2:3306"}},
		{"[::1]:3307", []string{"[::1]:3307"}},
	} {
		dsn := "app:p@ss@tcp(" + tc.hosts + ")" + params
		for round := range 3 {
			l, err := (Dialect{}).SplitHosts(dsn, prefix)
			var names []string
			for _, h := range l.Hosts {
				names = append(names, h.Name)
			}
			if err != nil || !slices.Equal(names, tc.want) {
				t.Errorf("round %d: %s: %v\ngot  %q\nwant %q", round, dsn, err, names, tc.want)
			}
			got := make(map[string]string)
			for _, p := range l.Parameters {
				if got[p.Name], err = url.QueryUnescape(p.Value); err != nil {
					t.Error(err)
				}
			}
			want := map[string]string{prefix + "check_query": "SELECT 'a&b=c/d%'", prefix + "name": "read conn", prefix + "rise": "3"}
			if !maps.Equal(got, want) {
				t.Errorf("round %d: %s: parameters %q", round, dsn, got)
			}
			cfg, err := mysql.ParseDSN(dsn)
			if err != nil {
				t.Fatal(err)
			}
			cfg.ParseTime = true
			dsn = cfg.FormatDSN()
		}
	}
}

// The port after the brackets is that of the hosts that have none.
func TestSplitHostsWithOnePort(t *testing.T) {
	l, err := (Dialect{}).SplitHosts("app@tcp([h1,h2:3308,[::1]]:3307)/db", prefix)
	want := []dialect.Host{
		{Name: "h1:3307", DSN: "app@tcp(h1:3307)/db"}, {Name: "h2:3308", DSN: "app@tcp(h2:3308)/db"},
		{Name: "[::1]:3307", DSN: "app@tcp([::1]:3307)/db"},
	}
	if err != nil || !slices.Equal(l.Hosts, want) {
		t.Errorf("%v\ngot  %q\nwant %q", err, l.Hosts, want)
	}
	for _, hosts := range []string{"[h1,h2]:", "[h1,h2", "[h1,h2]:1:2", "[h1,h2]x:3306", "[[h1,h2]:3306"} {
		if l, err := (Dialect{}).SplitHosts("app@tcp("+hosts+")/db", prefix); err == nil {
			t.Errorf("%s: %q", hosts, l.Hosts)
		}
	}
}

// FuzzSplitHosts: each of the split DSNs means to the mysql driver what the
// whole DSN meant, except for the address. Splitting it again changes nothing.
func FuzzSplitHosts(f *testing.F) {
	f.Add("app:hunter22@tcp(h1:3306,h2:3306,[::1]:3306)/db?parseTime=true&clustersql.rise=3")
	f.Add("app:p@s:s,w/o(r)?d%@tcp(h1,h2)/d%2Fb?clustersql.name=a%26b&loc=Europe%2FParis")
	f.Add("app@unix(/a,/b)/?tls=skip-verify&&charset=utf8mb4,utf8")
	f.Add("/db?strict=1")
	f.Add("@cloud(a)/")
	f.Add("0/")
	f.Add("app@tcp(h1)/db?Clustersql.x=1")
	f.Add("app@tcp([[::1]:3306,h2:3307]:3306)/db")
	f.Fuzz(func(t *testing.T, dsn string) {
		if len(dsn) > 300 {
			t.Skip("longer ones only take longer")
		}
		l, err := (Dialect{}).SplitHosts(dsn, prefix)
		if err != nil {
			if secrets, known := (Dialect{}).Secrets(dsn); known && len(secrets) > 0 {
				checkNoSecret(t, err, secrets[0])
			}
			return
		}
		whole, err := parse(dsn)
		if err != nil {
			t.Fatalf("%q is refused as a whole: %v", dsn, err)
		}
		for _, n := range l.Hosts {
			cfg, err := parse(n.DSN)
			if err != nil {
				t.Fatalf("%q: %v", n.DSN, err)
			}
			if cfg.Addr != n.Name {
				t.Errorf("%q: address %q, name %q", n.DSN, cfg.Addr, n.Name)
			}
			wantSameButAddress(t, cfg, whole)
			again, err := (Dialect{}).SplitHosts(n.DSN, prefix)
			if err != nil || len(again.Hosts) != 1 || again.Hosts[0] != n {
				t.Errorf("%q: %q again gives %q, %v", dsn, n, again.Hosts, err)
			}
		}
	})
}

// checkNoSecret fails the test if err holds the secret. It skips secrets that
// may be words of the messages.
func checkNoSecret(t *testing.T, err error, secret string) {
	t.Helper()
	if strings.ContainsAny(secret, "0123456789@#!%$") && len(secret) > 5 && strings.Contains(err.Error(), secret) {
		t.Errorf("%v holds the password %q", err, secret)
	}
}

func wantSameButAddress(t *testing.T, got, want *mysql.Config) {
	t.Helper()
	for _, key := range slices.Collect(maps.Keys(want.Params)) {
		if strings.HasPrefix(strings.ToLower(key), prefix) {
			delete(want.Params, key)
		}
	}
	got, want = got.Clone(), want.Clone()
	got.Addr, want.Addr = "", ""
	if g, w := got.FormatDSN(), want.FormatDSN(); g != w {
		t.Errorf("\ngot  %q\nwant %q", g, w)
	}
	if got.User != want.User || got.Passwd != want.Passwd {
		t.Errorf("got %q:%q, want %q:%q", got.User, got.Passwd, want.User, want.Passwd)
	}
}
