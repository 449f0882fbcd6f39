package postgres

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/EnumApps/clustersql/internal/dialect"
)

const prefix = "clustersql."

func TestSplitHosts(t *testing.T) {
	cases := []struct {
		dsn, database string
		hosts         []dialect.Host
	}{
		{"postgres://app:pw@h1:5432,h2:5433/db?target_session_attrs=read-write", "db", []dialect.Host{
			{Name: "h1:5432", DSN: "postgres://app:pw@h1:5432/db?target_session_attrs=any"},
			{Name: "h2:5433", DSN: "postgres://app:pw@h2:5433/db?target_session_attrs=any", Priority: 1},
		}},
		{"postgresql://h1,h2:5433,[::1],[fe80::1%25eth0]:5434", "", []dialect.Host{
			{Name: "h1:5432", DSN: "postgresql://h1:5432"},
			{Name: "h2:5433", DSN: "postgresql://h2:5433", Priority: 1},
			{Name: "[::1]:5432", DSN: "postgresql://[::1]:5432", Priority: 2},
			{Name: "[fe80::1%eth0]:5434", DSN: "postgresql://[fe80::1%25eth0]:5434", Priority: 3},
		}},
		{"postgres://a%40b:p%2Fw%3F@%2Frun%2Fpg,%68ost/d%2Fb?sslmode=require&x=a%26b&clustersql.rise=3&y=1+1", "d/b", []dialect.Host{
			{Name: "/run/pg/.s.PGSQL.5432", DSN: "postgres://a%40b:p%2Fw%3F@%2Frun%2Fpg:5432/d%2Fb?sslmode=require&x=a%26b&y=1+1"},
			{Name: "host:5432", DSN: "postgres://a%40b:p%2Fw%3F@host:5432/d%2Fb?sslmode=require&x=a%26b&y=1+1", Priority: 1},
		}},
		{"postgres://u@:1,:2/db?host=h1%2C%2Frun/pg&port=6", "db", []dialect.Host{
			{Name: "h1:6", DSN: "postgres://u@h1:6/db"}, {Name: "/run/pg/.s.PGSQL.6", DSN: "postgres://u@%2Frun%2Fpg:6/db", Priority: 1},
		}},
		{"postgres://h1:1,h2:2/?port=9&dbname=shop&load_balance_hosts=disable", "shop", []dialect.Host{
			{Name: "h1:9", DSN: "postgres://h1:9/?dbname=shop"}, {Name: "h2:9", DSN: "postgres://h2:9/?dbname=shop", Priority: 1},
		}},
		{"postgres://h2,h1/db?load_balance_hosts=random", "db", []dialect.Host{
			{Name: "h2:5432", DSN: "postgres://h2:5432/db"}, {Name: "h1:5432", DSN: "postgres://h1:5432/db"},
		}},
		{"postgres://h2,h1/db?clustersql.strategy=race", "db", []dialect.Host{
			{Name: "h2:5432", DSN: "postgres://h2:5432/db"}, {Name: "h1:5432", DSN: "postgres://h1:5432/db"},
		}},
		{"postgres://h2,h1/db?clustersql.strategy=o%72dered", "db", []dialect.Host{
			{Name: "h2:5432", DSN: "postgres://h2:5432/db"}, {Name: "h1:5432", DSN: "postgres://h1:5432/db", Priority: 1},
		}},
		{"host=h1,h2 port=5432,5433 dbname=db target_session_attrs=primary clustersql.rise=3", "db", []dialect.Host{
			{Name: "h1:5432", DSN: "dbname='db' host='h1' port=5432 target_session_attrs=any"},
			{Name: "h2:5433", DSN: "dbname='db' host='h2' port=5433 target_session_attrs=any", Priority: 1},
		}},
		{`  user = 'a b'  password='it\'s \\' host='/run/pg,::1' options=-c\ x=1`, "", []dialect.Host{
			{Name: "/run/pg/.s.PGSQL.5432", DSN: `user='a b' password='it\'s \\' options='-c x=1' host='/run/pg' port=5432`},
			{Name: "[::1]:5432", DSN: `user='a b' password='it\'s \\' options='-c x=1' host='::1' port=5432`, Priority: 1},
		}},
		{`host=h password=a\`, "", []dialect.Host{{Name: "h:5432", DSN: "password='a' host='h' port=5432"}}},
	}
	for _, tc := range cases {
		l, err := (Dialect{}).SplitHosts(tc.dsn, prefix)
		if err != nil || !slices.Equal(l.Hosts, tc.hosts) || l.Database != tc.database {
			t.Errorf("%s: %v\ngot  %q %+v\nwant %q %+v", tc.dsn, err, l.Database, l.Hosts, tc.database, tc.hosts)
		}
		if !(Dialect{}).Claims(tc.dsn) {
			t.Errorf("%s is not claimed", tc.dsn)
		}
	}
}

// libpq's words become the cluster's own parameters, and those that are there
// under the cluster's names count before them.
func TestSplitHostsParameters(t *testing.T) {
	word := func(require string) []dialect.Parameter {
		return []dialect.Parameter{{Name: "clustersql.strategy", Value: "ordered"}, {Name: "clustersql.require", Value: require}}
	}
	cases := map[string][]dialect.Parameter{
		"":                                    {{Name: "clustersql.strategy", Value: "ordered"}},
		"load_balance_hosts=disable":          {{Name: "clustersql.strategy", Value: "ordered"}},
		"load_balance_hosts=random":           {{Name: "clustersql.strategy", Value: "balanced"}},
		"target_session_attrs=any":            word("any"),
		"target_session_attrs=read-write":     word("read-write"),
		"target_session_attrs=read-only":      word("read-only"),
		"target_session_attrs=primary":        word("primary"),
		"target_session_attrs=standby":        word("standby"),
		"target_session_attrs=prefer-standby": word("prefer-standby"),
		"target_session_attrs=prefer-primary": word("prefer-primary"),
		"target_session_attrs=primary&clustersql.require=writable&load_balance_hosts=random&clustersql.strategy=hedged": {
			{Name: "clustersql.require", Value: "writable"}, {Name: "clustersql.strategy", Value: "hedged"},
		},
		"clustersql.check_query=SELECT+1%2B1&ClusterSQL.x=1&cluster%73ql.rise=3": {
			{Name: "clustersql.check_query", Value: "SELECT+1%2B1"}, {Name: "ClusterSQL.x", Value: "1"}, {Name: "clustersql.rise", Value: "3"},
			{Name: "clustersql.strategy", Value: "ordered"},
		},
	}
	for query, want := range cases {
		l, err := (Dialect{}).SplitHosts("postgres://h1,h2/db?"+query, prefix)
		if err != nil || !slices.Equal(l.Parameters, want) {
			t.Errorf("%s: %v\ngot  %v\nwant %v", query, err, l.Parameters, want)
		}
		for _, h := range l.Hosts {
			if strings.Contains(h.DSN, "load_balance") || strings.Contains(h.DSN, "clustersql") {
				t.Errorf("%s: the driver gets %s", query, h.DSN)
			}
		}
	}
	l, err := (Dialect{}).SplitHosts(`host=h clustersql.check_query='SELECT 1+1 = 2 AND \'%\' <> \'&\''`, prefix)
	if want := "SELECT+1%2B1+%3D+2+AND+%27%25%27+%3C%3E+%27%26%27"; err != nil || l.Parameters[0].Value != want {
		t.Errorf("%v, %v", l.Parameters, err)
	}
}

func TestSplitHostsErrors(t *testing.T) {
	cases := []struct{ dsn, want string }{
		{"postgres://", errNoHost.Error()},
		{"postgres://app:hunter22@/db", errNoHost.Error()},
		{"dbname=db password=hunter22", errNoHost.Error()},
		{"postgres://app:hunter22@h1,,h2/db", "host 2 of the DSN is empty: take the comma out"},
		{"postgres://app:hun@ter22@h1/db", "host 1 of the DSN is none: in a URI write special characters of a user or password as in %40 for an @, and in key=value write ports in the key port"},
		{"host=h1:5432,h2:5432 password=hunter22", "host 1 of the DSN is none: in a URI write special characters of a user or password as in %40 for an @, and in key=value write ports in the key port"},
		{"host=h;password=hunter22", "host 1 of the DSN is none: in a URI write special characters of a user or password as in %40 for an @, and in key=value write ports in the key port"},
		{"postgres://app:hunter22/x@h1/db", "there is an @ after the hosts of the DSN: if it ends the password, write a slash of the password as %2F; else write the @ as %40"},
		{"postgres://app:5432/hunter22@h1/db", "there is an @ after the hosts of the DSN: if it ends the password, write a slash of the password as %2F; else write the @ as %40"},
		{"postgres://app:5432/?hunter=22@h1/db", "there is an @ after the hosts of the DSN: if it ends the password, write a slash of the password as %2F; else write the @ as %40"},
		{"postgres://app:hunter22", "the port of host 1 of the DSN is not a number from 1 to 65535: write a colon in a user or password as %3A"},
		{"postgres://h1,h2:0/db", "the port of host 2 of the DSN is not a number from 1 to 65535: write a colon in a user or password as %3A"},
		{"postgres://h1:65536/db", "the port of host 1 of the DSN is not a number from 1 to 65535: write a colon in a user or password as %3A"},
		{"host=h1,h2,h3 port=1,2", "the DSN has 2 ports for 3 hosts: write one port for all, or one for each"},
		{"postgres://h1,h2:5433,h1:5432/db", "hosts 1 and 3 of the DSN are the same: take one out"},
		{"postgres://app:100%hunter22@h1/db", "the user or the password of the DSN has a percent sign or a space that is not escaped: write them as %25 and %20"},
		{"postgres://app:hunter%0022@h1/db", "the user or the password of the DSN has a percent sign or a space that is not escaped: write them as %25 and %20"},
		{"postgres://app:hunter22@h1, h2/db", "the hosts of the DSN have a percent sign or a space that is not escaped: take the spaces out, and write a percent sign as %25"},
		{"postgres://app:hunter22@h1/d b", "the database of the DSN has a percent sign or a space that is not escaped: write them as %25 and %20"},
		{"postgres://app:hunter22@[::1/db", "host 1 of the DSN is not an IPv6 address in brackets: write it as [::1]:5432"},
		{"postgres://app:hunter22@h1,[::1]x/db", "host 2 of the DSN is not an IPv6 address in brackets: write it as [::1]:5432"},
		{"postgres://app:hunter22@h1/db?a=1&hunter22", "parameter 2 of the DSN is not key=value: write an equals sign in a value as %3D, and an ampersand as %26"},
		{"postgres://h1/db?password=hunter=22", "parameter 1 of the DSN is not key=value: write an equals sign in a value as %3D, and an ampersand as %26"},
		{"postgres://h1/db?password=hunter%2", "parameter 1 of the DSN has a percent sign or a space that is not escaped: write them as %25 and %20"},
		{"postgres://h1/db?target_session_attrs=hunter22", "target_session_attrs of the DSN is none of any, read-write, read-only, primary, standby, prefer-standby, prefer-primary"},
		{"postgres://h1/db?load_balance_hosts=hunter22", "load_balance_hosts of the DSN is neither disable nor random"},
		{"postgres://h1/db?hostaddr=10.0.0.1", "the DSN has hostaddr, which the driver does not know: write the addresses as the hosts"},
		{"host=h1 password=my hunter22", "what comes after 2 parameters of the DSN is not key=value: write a value that has spaces in single quotes"},
		{"host=h1 password='hunter22", `parameter 2 of the DSN has a quote that is not closed: write a quote in a value as \'`},
		{"postgres://app:hunter22@h1\x00/db", "there is a NUL byte in the DSN: take it out"},
	}
	for _, tc := range cases {
		if l, err := (Dialect{}).SplitHosts(tc.dsn, prefix); err == nil || err.Error() != tc.want {
			t.Errorf("%s: %+v\ngot  %v\nwant %s", tc.dsn, l.Hosts, err, tc.want)
		}
	}
}

func TestClaims(t *testing.T) {
	for dsn, want := range map[string]bool{
		"postgres://":                       true,
		"postgresql://app:pw/x@h":           true,
		"host=h1,h2 dbname=db":              true,
		" user = app  host = /run/pg":       true,
		"host=h1 password='not closed":      true,
		"host=h1 password=a@/b":             true,
		"":                                  false,
		"dbname=db user=app":                false,
		"app:pw@tcp(h1,h2)/db":              false,
		"app:pw@tcp(h1)/db?host=x":          false,
		"postgres:pw@tcp(h1,h2)/db":         false,
		"host=x:pw@tcp(h1)/db":              false,
		"a=b host=x:pw@tcp(h1)/db":          false,
		"app:a host=b@tcp(h1)/db":           false,
		"/db?host=x":                        false,
		"tcp(h1,h2)/db":                     false,
		"mysql://app:pw@h1/db":              false,
		"POSTGRES://h1/db":                  false,
		"app:password=x host=y@/db":         false,
		"server=h1;user id=app;password=pw": false,
	} {
		if got := (Dialect{}).Claims(dsn); got != want {
			t.Errorf("%q: %t", dsn, got)
		}
	}
}

func TestSecrets(t *testing.T) {
	cases := []struct {
		dsn     string
		secrets []string
		known   bool
	}{
		{"postgres://app:pass@h1,h2/db", []string{"pass"}, true},
		{"postgres://app:p%40s%2Fs@h/db?sslpassword=a%20b&passfile=/home/app/.pgpass&sslkey=/k.pem", []string{"p@s/s", "p%40s%2Fs", "a b", "a%20b"}, true},
		{"postgres://h/db?user=app&pass%77ord=secret", []string{"secret"}, true},
		{"postgres://h1:1,h2:2/db?user=app&password=p@ss", []string{"p@ss"}, true},
		{"postgres://h1:1/db?user=app&password=p@ss", nil, false},
		{"postgres://app:12?34#56@h/db", []string{"12?34#56"}, true},
		{"postgres://app@h/db?application_name=x&search_path=shop", nil, true},
		{"postgres://h/db?clustersql.check_query=SELECT%20(1%3D1)", nil, true},
		{"host=h password=pass dbname=db", []string{"pass"}, true},
		{`host=h password='it\'s \\ me' sslpassword=a\ b`, []string{`it's \ me`, `it\'s \\ me`, "a b", `a\ b`}, true},
		{"host=h password='' user=app", nil, true},
		{"user=app password=pass", []string{"pass"}, true},
		{"host=h sslkey='-----BEGIN KEY-----'", []string{"-----BEGIN KEY-----"}, true},
		{"host=h oauth_client_secret=abcd scram_client_key=efgh", []string{"abcd", "efgh"}, true},
		{"", nil, true},
		{"postgres://app:pa/ss@h/db", nil, false},
		{"postgres://app:12/ss@h/db", nil, false},
		{"postgres://app:pa@ss@h/db", []string{"pa"}, false},
		{"postgres://app:100%@h/db", nil, false},
		{"postgres://app:secret", nil, false},
		{"host=h password='open", nil, false},
		{"host=h password=a b", nil, false},
		{"host=h password=a password=b", []string{"a", "b"}, false},
		{"host=h;password=pass", nil, false},
		{"user=app;password=pass host=h", nil, false},
		{"app:pass@tcp(h:1)/db", nil, false},
	}
	for _, tc := range cases {
		secrets, known := (Dialect{}).Secrets(tc.dsn)
		if !slices.Equal(secrets, tc.secrets) || known != tc.known {
			t.Errorf("%s: got %q, %t; want %q, %t", tc.dsn, secrets, known, tc.secrets, tc.known)
		}
	}
}

// texts are all errors of SplitHosts, with N for each number.
var texts = regexp.MustCompile(`^(` + strings.Join([]string{
	`there is a NUL byte in the DSN: take it out`,
	`what comes after N parameters of the DSN is not key=value: .*`,
	`parameter N of the DSN (has a quote that is not closed|is not key=value|has a percent sign or a space that is not escaped): .*`,
	`the (user or the password|database) of the DSN has a percent sign or a space that is not escaped: .*`,
	`the hosts of the DSN have a percent sign or a space that is not escaped: .*`,
	`host N of the DSN (is not an IPvN address in brackets|is empty|is none): .*`,
	`the port of host N of the DSN is not a number from N to N: .*`,
	`the DSN has N ports for N hosts: .*`,
	`hosts N and N of the DSN are the same: .*`,
	`there is an @ after the hosts of the DSN: .*`,
	`the DSN (names no host|has hostaddr, which the driver does not know): .*`,
	`(target_session_attrs|load_balance_hosts) of the DSN is n.*`,
}, "|") + `)$`)

var numbers = regexp.MustCompile(`\d+`)

func wantFixedText(t *testing.T, dsn string, err error) {
	t.Helper()
	if err != nil && !texts.MatchString(numbers.ReplaceAllString(err.Error(), "N")) {
		t.Errorf("%q: %v", dsn, err)
	}
}

// FuzzSplitHosts: an error is one of a few fixed texts, and so it holds no part of
// the DSN. A DSN of one host is split into itself, and means what the whole does.
func FuzzSplitHosts(f *testing.F) {
	f.Add("postgres://app:hunter22@h1:5432,h2,[::1]:5433/db?target_session_attrs=read-write&load_balance_hosts=random&clustersql.rise=3")
	f.Add("postgresql://a%40b:p%2Fw%3F@%2Frun%2Fpg,h/d%2Fb?sslmode=require&&x=")
	f.Add("postgres://app:pa/ss@h1,h2/db")
	f.Add("postgres://app:5432/?a=b@h1/db")
	f.Add(`host=h1,/run/pg port=5432,5433 user='a b' password='it\'s \\' clustersql.name=x`)
	f.Add(`host=h password=a\`)
	f.Add("host=h port=1,2 hostaddr=::1")
	f.Fuzz(func(t *testing.T, dsn string) {
		if len(dsn) > 300 {
			t.Skip("longer ones only take longer")
		}
		l, err := (Dialect{}).SplitHosts(dsn, prefix)
		if err != nil {
			wantFixedText(t, dsn, err)
			return
		}
		for i, h := range l.Hosts {
			again, err := (Dialect{}).SplitHosts(h.DSN, prefix)
			h.Priority = 0
			if err != nil || len(again.Hosts) != 1 || again.Hosts[0] != h || again.Database != l.Database {
				t.Errorf("%q: host %d, %q, again gives %+v, %v", dsn, i, h, again, err)
			}
			whole, _ := parse(dsn)
			one, _ := parse(h.DSN)
			for _, key := range []string{"user", "password", "dbname", "sslmode", "options", "x"} {
				if whole.value(key) != one.value(key) || whole.has(key) != one.has(key) {
					t.Errorf("%q: %s is %q in the whole and %q in %q", dsn, key, whole.value(key), one.value(key), h.DSN)
				}
			}
		}
	})
}

// FuzzSecrets: a password that is written by libpq's rules is among the secrets,
// if they are said to be known. No error of SplitHosts holds anything of it.
func FuzzSecrets(f *testing.F) {
	f.Add("app", "hunter22", "h1,h2", "db")
	f.Add("app", "a@b/c:d#e?f%g h'i\\j", "[::1]:5432", "d/b")
	f.Add("", "****", "", "")
	f.Add("пользователь", "пароль%d0%bf", "h", "база")
	f.Fuzz(func(t *testing.T, user, password, host, db string) {
		if password == "" || strings.Contains(user+password+host+db, "\x00") {
			t.Skip("no password")
		}
		for _, dsn := range []string{
			"postgres://" + escaped(user) + ":" + escaped(password) + "@" + host + "/" + escaped(db),
			"postgres://" + host + "/" + escaped(db) + "?user=" + escaped(user) + "&password=" + escaped(password),
			"host=" + quoted(host) + " user=" + quoted(user) + " password=" + quoted(password) + " dbname=" + quoted(db),
		} {
			secrets, known := (Dialect{}).Secrets(dsn)
			if known && !slices.Contains(secrets, password) {
				t.Errorf("dsn %q: the password %q is not among its secrets %q", dsn, password, secrets)
			}
			_, err := (Dialect{}).SplitHosts(dsn, prefix)
			wantFixedText(t, dsn, err)
		}
	})
}

// DSNs are the same however they are written, and a password is told from the rest.
func TestSameAndRenewed(t *testing.T) {
	var d Dialect
	for _, tc := range []struct {
		before, after string
		same, renewed bool
	}{
		{"postgres://app:a@H1:5432/db?x=1&y=2", "host=h1 port=5432 user=app password=a database=db y=2 x=1", true, false},
		{"postgres://app:a@h1/db?x=1&y=2", "postgres://app:b@h1/db?y=2&x=1", false, true},
		{"host=a host=b", "host=b host=a", false, false}, // the last one counts
		{"host=/run/A", "host=/run/a", false, false},
		{"host=a password=", "host=a", true, false},
		{"host=a password=x user=b", "host=a password=y user=c", false, false},
		{"host=a password='", "host=a password='", true, false},
		{"host=a password='", "host=a", false, false},
	} {
		for range 2 {
			if same, renewed := d.Same(tc.before, tc.after), d.Renewed(tc.before, tc.after); same != tc.same || renewed != tc.renewed {
				t.Errorf("%s, %s: same %t, renewed %t", tc.before, tc.after, same, renewed)
			}
			tc.before, tc.after = tc.after, tc.before
		}
	}
}
