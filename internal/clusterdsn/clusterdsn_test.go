package clusterdsn

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/EnumApps/clustersql/internal/mysql"
)

var keys = []string{"strategy", "rise"}

// A DSN gives its settings in its order, and names its cluster.
func TestParse(t *testing.T) {
	l, err := Parse(mysql.Dialect{}, "app@tcp(h1,h2)/db?clustersql.rise=3&parseTime=true&clustersql.strategy=ra%20ce&clustersql.name=read%20conn", keys)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	if err := l.Set(func(key, value string) error { got = append(got, key+"="+value); return nil }); err != nil {
		t.Error(err)
	}
	if s := strings.Join(got, ";"); s != "rise=3;strategy=ra ce" || l.Name() != "read conn" {
		t.Errorf("%q, name %q", s, l.Name())
	}
	if l, err = Parse(mysql.Dialect{}, "app:hunter22@tcp(h1,h2)/db?clustersql.rise=hunter22", keys); err != nil || l.Name() != "clustersql/db@h1:3306,h2:3306" {
		t.Errorf("name %q, %v", l.Name(), err)
	}
	err = l.Set(func(key, value string) error { return errors.New(key + ": " + value + " is no number") })
	if err == nil || err.Error() != "parameter clustersql.rise: *** is no number" {
		t.Error(err)
	}
}

// Errors name the remedy, and no secret.
func TestParseErrors(t *testing.T) {
	const all = "clustersql.name, clustersql.strategy, clustersql.rise"
	cases := []struct{ dsn, want string }{
		{"", "the DSN has no slash before the database: write it as user:password@tcp(host1,host2)/database"},
		{"app:hunter22@tcp(h1,h2)", "the DSN has no slash before the database: write it as user:password@tcp(host1,host2)/database"},
		{"app:hunter22@tcp(h1,h2/db", `the DSN's host list does not end with ")" before the last slash: close it, and write slashes in parameters as %2F`},
		{"app:hunter22@tcp(h1,h2)/db?loc=Europe/Paris", `the DSN's host list does not end with ")" before the last slash: close it, and write slashes in parameters as %2F`},
		{"app:hunter22@tcp(h1,,h2)/db", "the DSN's host list has an empty host: take the comma or the brackets out"},
		{"app:hunter22@tcp(h1,)/db", "the DSN's host list has an empty host: take the comma or the brackets out"},
		{"app:hunter22@tcp()/db", "the DSN's host list has an empty host: take the comma or the brackets out"},
		{"app:hunter22@unix/db", "the DSN names no address: write it in brackets after the network, as in unix(/path/to/socket)"},
		{"app:hunter22@tcp(h1,h2:3306,h1:3306)/db", "the DSN's host list has h1:3306 twice: take one out"},
		{"app:hunter22@tcp(h1:,h2)/db", `host "h1:": there is a colon but no port: write host:3306`},
		{"app:hunter22@tcp(h1,h 2)/db", `host "h 2": there is a space in it: take it out`},
		{"app:hunter22@tcp([::1,h2)/db", `host "[::1": that is none: write host:3306 or [::1]:3306, with commas between hosts`},
		{"app:hunter22@tcp(h1,h2)/db?timeout=5", `time: missing unit in duration "5"`},
		{"app:hunter22@tcp(h1,h2)/db?strict=true", "invalid DSN: strict mode has been removed. See https://github.com/go-sql-driver/mysql/wiki/strict-mode"},
		{"app:hunter22@tcp(h1,h2)/db?clustersql.stratgy=race", "unknown parameter clustersql.stratgy: there are " + all},
		{"app:hunter22@tcp(h1,h2)/db?ClusterSQL.strategy=race", "unknown parameter ClusterSQL.strategy: there are " + all},
		{"app:hunter22@tcp(h1,h2)/db?clustersql.=race", "unknown parameter clustersql.: there are " + all},
		{"app:hunter22@tcp(h1,h2)/db?clustersql.rise=1&x=1&clustersql.rise=1", "parameter clustersql.rise is there twice: take one out"},
		{"app:hunter22@tcp(h1,h2)/db?clustersql.name=5%", `parameter clustersql.name: invalid URL escape "%": write a percent sign as %25`},
		{"app:hunter22@tcp(hunter22,hunter22)/db", "the DSN's host list has ***:3306 twice: take one out"},
	}
	for _, tc := range cases {
		_, err := Parse(mysql.Dialect{}, tc.dsn, keys)
		if err == nil || err.Error() != tc.want {
			t.Errorf("%s\ngot  %v\nwant %s", tc.dsn, err, tc.want)
		}
		if strings.Contains(fmt.Sprint(err), "hunter22") {
			t.Errorf("%v holds the password", err)
		}
	}
}
