package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql/internal/health"
)

func TestClass(t *testing.T) {
	server := func(number uint16, message string) error {
		return &mysql.MySQLError{Number: number, Message: message}
	}
	cases := []struct {
		err  error
		want health.Class
		ok   bool
	}{
		{server(1047, "WSREP has not yet prepared node for application use"), health.NotReady, true},
		{server(1047, "Unknown command"), health.Neutral, true},
		{server(1180, "wsrep: Got error 5 during COMMIT: not connected to Primary Component"), health.Leaving, true},
		{server(1180, "Got error 28 during COMMIT"), health.Neutral, true},
		{server(1290, "The MariaDB server is running with the --read-only option so it cannot execute this statement"), health.ReadOnly, true},
		{server(1290, "The MySQL server is running with the --super-read-only option"), health.ReadOnly, true},
		{server(1290, "The MySQL server is running with the --secure-file-priv option"), health.Neutral, true},
		{server(1792, "Cannot execute statement in a READ ONLY transaction"), health.Neutral, true},
		{server(1836, "Running in read-only mode"), health.ReadOnly, true},
		{server(1053, "Server shutdown in progress"), health.Leaving, true},
		{server(1927, "Connection was killed"), health.Lost, true},
		{server(3169, "The session was killed"), health.Lost, true},
		{server(1040, "Too many connections"), health.Saturated, true},
		{server(1203, "User already has more than 'max_user_connections'"), health.Saturated, true},
		{server(1226, "User has exceeded the 'max_user_connections' resource"), health.Saturated, true},
		{server(1044, "Access denied"), health.Misconfigured, true},
		{server(1045, "Access denied"), health.Misconfigured, true},
		{server(1049, "Unknown database"), health.Misconfigured, true},
		{server(1129, "Host is blocked"), health.Misconfigured, true},
		{server(1130, "Host is not allowed to connect"), health.Misconfigured, true},
		{server(1062, "Duplicate entry"), health.Neutral, true},
		{server(1213, "Deadlock found"), health.Neutral, true},
		{fmt.Errorf("wrapped: %w", server(1045, "")), health.Misconfigured, true},
		{mysql.ErrInvalidConn, health.Lost, true},
		{fmt.Errorf("wrapped: %w", mysql.ErrMalformPkt), health.Lost, true},
		{mysql.ErrNoTLS, health.Misconfigured, true},
		{mysql.ErrUnknownPlugin, health.Misconfigured, true},
		{mysql.ErrPktTooLarge, health.Neutral, true},
		{driver.ErrBadConn, health.Neutral, false},
		{errors.New("anything else"), health.Neutral, false},
		{context.DeadlineExceeded, health.Neutral, false},
	}
	for _, tc := range cases {
		if got, ok := classify(tc.err); got != tc.want || ok != tc.ok {
			t.Errorf("%v: got %s, %t; want %s, %t", tc.err, got, ok, tc.want, tc.ok)
		}
	}
}

func TestOwns(t *testing.T) {
	for _, tc := range []struct {
		backend driver.Driver
		want    bool
	}{
		{mysql.MySQLDriver{}, true},
		{&mysql.MySQLDriver{}, true},
		{(Dialect{}).Driver(), true},
		{nil, false},
		{struct{ mysql.MySQLDriver }{}, false},
	} {
		if got := (Dialect{}).Owns(tc.backend); got != tc.want {
			t.Errorf("%T: got %t", tc.backend, got)
		}
	}
}

func TestSecrets(t *testing.T) {
	cases := []struct {
		dsn     string
		secrets []string
		known   bool
	}{
		{"app:pass@tcp(h:1)/db", []string{"pass", "app:pass"}, true},
		{"app:p@s:s/w(o)r?d%@tcp(h:1)/db?parseTime=true", []string{"p@s:s/w(o)r?d%", "app:p@s:s/w(o)r?d%"}, true},
		{":pass@/", []string{"pass", ":pass"}, true},
		{"app@unix(/tmp/my.sock)/db", nil, true},
		{"/db", nil, true},
		{"", nil, true},
		{"app:pass@tcp(h:1)", nil, false},
		{"app:pa/ss@tcp(h:1)", nil, false},
		{"app:p(a)/ss@tcp(h:1)", nil, false},
		{"app:pass@tcp(h:1)/db?strict=true", nil, false},
		{"app:pass@tcp(h:1)/db?timeout=1", nil, false},
		{"postgres://app:pass@h:1/db", nil, false},
		{"host=h password=pass", nil, false},
	}
	for _, tc := range cases {
		secrets, known := (Dialect{}).Secrets(tc.dsn)
		if !slices.Equal(secrets, tc.secrets) || known != tc.known {
			t.Errorf("%s: got %q, %t; want %q, %t", tc.dsn, secrets, known, tc.secrets, tc.known)
		}
	}
}

func FuzzAccount(f *testing.F) {
	f.Add("h1", 3306, "app", "p@s:s/w(o)r?d%", "db")
	f.Add("::1", 3306, "app", "", "d/b?")
	f.Add("[::1]", 1, "", "", "")
	f.Fuzz(func(t *testing.T, host string, port int, user, password, db string) {
		if host == "" || port < 1 || port > 65535 {
			t.Skip("refused before")
		}
		dsn, err := Account{host, port, user, password, db}.DSN()
		if err != nil {
			checkNoSecret(t, err, password)
			return
		}
		cfg, err := mysql.ParseDSN(dsn)
		if err != nil || cfg.User != user || cfg.Passwd != password || cfg.DBName != db || cfg.Net != "tcp" {
			t.Errorf("%q: %+v, %v", dsn, cfg, err)
		}
	})
}

// FuzzSecrets: if the secrets of a DSN are said to be known, the password is
// among them.
func FuzzSecrets(f *testing.F) {
	f.Add("app", "hunter22", "h1:3306", "db")
	f.Add("app", "a@b/c:d#e?f%g", "[::1]:3306", "d/b")
	f.Add("", "****", "", "")
	f.Add("пользователь", "пароль%d0%bf", "h", "база")
	f.Fuzz(func(t *testing.T, user, password, host, db string) {
		if strings.Contains(user, ":") {
			t.Skip("mysql takes what follows the first colon for the password")
		}
		if strings.ContainsAny(host, "/@") {
			t.Skip("mysql takes the last of these for the end of the address and of the password")
		}
		dsn := user + ":" + password + "@tcp(" + host + ")/" + url.PathEscape(db)
		secrets, known := (Dialect{}).Secrets(dsn)
		if known && password != "" && !slices.Contains(secrets, password) {
			t.Errorf("dsn %q: the password %q is not among its secrets %q", dsn, password, secrets)
		}
	})
}
