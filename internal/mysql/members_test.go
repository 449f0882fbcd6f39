package mysql

import (
	"strings"
	"testing"

	"github.com/EnumApps/clustersql/internal/dialect"
)

func told(addrs []string, unused []dialect.Unaddressed) string {
	text := strings.Join(addrs, " ")
	for _, u := range unused {
		text += " -" + u.Told
	}
	return strings.TrimSpace(text)
}

// What a Galera node tells: AUTO where a node does not know its address, and an empty
// element for garbd.
func TestIncomingAddresses(t *testing.T) {
	for list, want := range map[string]string{
		"10.0.0.1:3306,10.0.0.2:3307":        "10.0.0.1:3306 10.0.0.2:3307",
		"10.0.0.1:3306,,10.0.0.2:3306":       "10.0.0.1:3306 10.0.0.2:3306",
		"AUTO,10.0.0.2:3306,AUTO":            "10.0.0.2:3306 -AUTO -AUTO",
		",":                                  "",
		"10.0.0.1, [fd00::1]:3306,fd00::2":   "10.0.0.1:3306 [fd00::1]:3306 [fd00::2]:3306",
		"galera1.svc:3306":                   "galera1.svc:3306",
		"10.0.0.1:0":                         "10.0.0.1:3306",
		"x@tcp(evil):1,a b:2,10.0.0.1:99999": "-(unreadable) -(unreadable) -(unreadable)",
	} {
		if got := told(incoming(list)); got != want {
			t.Errorf("%q: %q, want %q", list, got, want)
		}
	}
}

func TestGroupMembersAndReplicas(t *testing.T) {
	got := told(groupMembers([][]string{{"h1", "3306", "ONLINE"}, {"h2", "3307", "RECOVERING"}, {"h3", "3306", "ERROR"}, {"", "", "OFFLINE"}, {"a b", "1", "ONLINE"}}))
	if got != "h1:3306 h2:3307 -h3:3306 -(unreadable)" {
		t.Error(got)
	}
	got = told(replicas([][]string{{"2", "h2", "3306", "1"}, {"3", "", "3306", "1"}, {"4", "h4", "user", "pw"}, {"5"}}))
	if got != "h2:3306 -server 3" {
		t.Error(got)
	}
}

func TestHostOfADSN(t *testing.T) {
	d := Dialect{}
	for dsn, want := range map[string]string{
		"app:p@w/x@tcp(h:3306)/db?tls=true": "h:3306", "tcp(h)/": "h:3306", "unix(/s)/db": "", "app@tcp(h1,h2)/db": "", "nothing": "", "@/db": "127.0.0.1:3306",
	} {
		host, ok := d.Host(dsn)
		if host != want || ok != (want != "") {
			t.Errorf("%s leads to %q", dsn, host)
		}
		moved, err := d.Rehost(dsn, "10.0.0.9:1")
		if (err == nil) != ok {
			t.Errorf("%s: %v", dsn, err)
		}
		if at, _ := d.Host(moved); ok && (at != "10.0.0.9:1" || d.Renewed(dsn, moved)) {
			t.Errorf("%s became %s", dsn, moved)
		}
	}
	if !d.Renewed("app:a@tcp(h)/db?x=1&y=2", "app:b@tcp(h:3306)/db?y=2&x=1") || d.Renewed("app:a@tcp(h)/db", "app:a@tcp(h)/db") || d.Renewed("app:a@tcp(h)/db", "root:b@tcp(h)/db") || d.Renewed("", "x") {
		t.Error("what differs in the password alone")
	}
}
