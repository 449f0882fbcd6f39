package clustersql

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestHostParameters(t *testing.T) {
	l, err := parseClusterDSN(backendDialect, "app@tcp(h1,h2)/db?clustersql.strategy=race&clustersql.check=ping&clustersql.open_timeout=5s"+
		"&clustersql.rise=3&parseTime=true&clustersql.name=read%20conn")
	if err != nil {
		t.Fatal(err)
	}
	got, err := l.config()
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
	if l.name() != "read conn" {
		t.Errorf("name %q", l.name())
	}
	if l, err = parseClusterDSN(backendDialect, "app:pass@tcp(h1,h2)/db"); err != nil || l.name() != "clustersql/db@h1:3306,h2:3306" {
		t.Errorf("name %q, %v", l.name(), err)
	}
}

func TestSplitHostsErrors(t *testing.T) {
	const all = "clustersql.name, clustersql.strategy, clustersql.dialect, clustersql.check, clustersql.check_query, clustersql.require, clustersql.max_lag, clustersql.causal_timeout, clustersql.role_query, clustersql.lag_query, clustersql.allow_donor, clustersql.donor_after, clustersql.silence_hold, clustersql.hang_limit, clustersql.late_after, clustersql.groups, clustersql.dial, clustersql.tcp_user_timeout, clustersql.open_timeout, clustersql.attempt_timeout, clustersql.loser_grace, " +
		"clustersql.max_opens_per_node, clustersql.probe_interval, clustersql.probe_timeout, clustersql.rise, clustersql.fall, clustersql.rebalance, clustersql.rebalance_after, clustersql.failback_after, clustersql.max_age, clustersql.drain_timeout, clustersql.discover, clustersql.discover_every, clustersql.discover_missing, clustersql.discover_floor, clustersql.discover_networks, clustersql.discover_addresses, clustersql.name_server, clustersql.idempotent"
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
		{"app:hunter22@tcp(h1,h2)/db?clustersql.open_timeout=5", `parameter clustersql.open_timeout: "5" is not a duration: write one with its unit, as in "1.5s" or "600ms"`},
		{"app:hunter22@tcp(h1,h2)/db?clustersql.open_timeout", `parameter clustersql.open_timeout: "" is not a duration: write one with its unit, as in "1.5s" or "600ms"`},
		{"app:hunter22@tcp(h1,h2)/db?clustersql.open_timeout=1s&clustersql.attempt_timeout=2s", "parameter clustersql.attempt_timeout: 2s is above open_timeout (1s): lower it, or raise open_timeout"},
		{"app:hunter22@tcp(h1,h2)/db?clustersql.probe_interval=2562047h", `parameter clustersql.probe_interval: 2562047h0m0s is too long: write "24h" at most`},
		{"app:hunter22@tcp(h1,h2)/db?clustersql.rise=two", `parameter clustersql.rise: "two" is not a number: write one as in 8`},
		{"app:hunter22@tcp(h1,h2)/db?clustersql.rise=hunter22", `parameter clustersql.rise: "***" is not a number: write one as in 8`},
		{"app:hunter22@tcp(h1,h2)/db?clustersql.strategy=fast", `parameter clustersql.strategy: unknown strategy "fast": use "race", "hedged", "balanced" or "ordered"`},
		{"app:hunter22@tcp(hunter22,hunter22)/db", "the DSN's host list has ***:3306 twice: take one out"},
	}
	for _, tc := range cases {
		l, err := parseClusterDSN(backendDialect, tc.dsn)
		if err == nil {
			_, err = l.config()
		}
		if err == nil || err.Error() != tc.want {
			t.Errorf("%s\ngot  %v\nwant %s", tc.dsn, err, tc.want)
		}
		if strings.Contains(fmt.Sprint(err), "hunter22") {
			t.Errorf("%v holds the password", err)
		}
	}
}
