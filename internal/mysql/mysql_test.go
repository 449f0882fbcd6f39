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

	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/fakedb"
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
		{server(4031, "The client was disconnected by the server because of inactivity."), health.Lost, true},
		{server(4031, "Referenced trigger 't' for the given action time and event type does not exist"), health.Neutral, true},
		{server(9001, "Max connect timeout reached while reaching hostgroup 10 after 10000ms"), health.NotReady, true},
		{server(2003, "Can't connect to remote MySQL server for client connected to '0.0.0.0:6446'"), health.Lost, true},
		{server(9001, "PD server timeout"), health.Neutral, true},
		{server(1153, "Got a packet bigger than 'max_allowed_packet' bytes"), health.Neutral, true},
		{server(1040, ""), health.Saturated, true},
		{server(1317, "Query execution was interrupted"), health.Neutral, true},
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

// Where the number is not known, the SQLSTATE decides; where it is, the number.
func TestClassBySQLSTATE(t *testing.T) {
	for _, tc := range []struct {
		number uint16
		state  string
		want   health.Class
	}{
		{65000, "28000", health.Misconfigured},
		{65000, "3D000", health.Misconfigured},
		{65000, "42S02", health.Misconfigured},
		{65000, "08004", health.Neutral},
		{65000, "08S01", health.Lost},
		{65000, "08006", health.Lost},
		{65000, "53300", health.Saturated},
		{65000, "57P01", health.Neutral},
		{65000, "HY000", health.Neutral},
		{65000, "\x00\x00\x00\x00\x00", health.Neutral},
		{1064, "42000", health.Misconfigured},
		{1203, "42000", health.Saturated},
		{1251, "08004", health.Misconfigured},
		{1040, "08004", health.Saturated},
		{1047, "08S01", health.Neutral},
		{1053, "08S01", health.Leaving},
	} {
		err := &mysql.MySQLError{Number: tc.number, SQLState: [5]byte([]byte(tc.state)), Message: "message"}
		if got, ok := classify(err); got != tc.want || !ok {
			t.Errorf("%v: got %s, %t; want %s", err, got, ok, tc.want)
		}
		want := health.Neutral
		if tc.want == health.Lost || tc.want == health.Leaving {
			want = tc.want
		}
		if got := health.ClassifyTraffic(err, classify, true); got != want {
			t.Errorf("%v of a statement: got %s, want %s", err, got, want)
		}
	}
}

// Every number has its facts, and the class that its row says. With another
// message than its row wants, it says nothing.
func TestNumbers(t *testing.T) {
	last := uint16(0)
	for _, n := range numbers {
		if n.number < last {
			t.Errorf("%d is not in order", n.number)
		}
		last = n.number
		if len(n.state) != 5 || n.symbol == "" || n.source == "" || n.says != strings.ToLower(n.says) {
			t.Errorf("%+v", n)
		}
		if got := classOf(n.number, n.state, "before "+strings.ToUpper(n.says)+" after"); got != n.class {
			t.Errorf("%d is %s, want %s", n.number, got, n.class)
		}
		if n.says != "" {
			if got := classOf(n.number, n.state, "something else"); got != health.Neutral {
				t.Errorf("%d with another message is %s", n.number, got)
			}
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

// A server that does not know the query of the view, or does not allow it, is
// none the worse for it. Other errors of it count.
func TestViewIsNotAskedOfWhoCannotTell(t *testing.T) {
	server := func(number uint16, state string) error {
		return &mysql.MySQLError{Number: number, SQLState: [5]byte([]byte(state)), Message: "message"}
	}
	for _, tc := range []struct {
		err   error
		fails bool
	}{
		{server(1064, "42000"), false},
		{server(1142, "42000"), false},
		{server(1105, "HY000"), false},
		{server(1820, "HY000"), true},
		{server(1053, "08S01"), true},
		{mysql.ErrInvalidConn, true},
	} {
		b := fakedb.New()
		b.Node("n").SetHealth(tc.err, 0, false)
		conn, err := b.Driver().Open("n")
		if err != nil {
			t.Fatal(err)
		}
		ctx, _ := dialect.WithReport(t.Context(), health.ScopeView)
		if err := observe(ctx, conn); (err != nil) != tc.fails {
			t.Errorf("%v: %v", tc.err, err)
		}
		conn.Close()
	}
}

// A check that cannot work on a backend is a mistake in the settings.
func TestDo1OnABackendWithoutExec(t *testing.T) {
	ctx, _ := dialect.WithReport(t.Context(), 0)
	err := Do1(ctx, struct{ driver.Conn }{})
	if c := health.Classify(err, classify); c != health.Misconfigured || !strings.Contains(err.Error(), `use check = "ping"`) {
		t.Errorf("%s: %v", c, err)
	}
}

// Only a session that was idle for too long ends before its statement is read.
func TestUnread(t *testing.T) {
	server := func(number uint16, message string) error {
		return &mysql.MySQLError{Number: number, Message: message}
	}
	for _, tc := range []struct {
		err  error
		want bool
	}{
		{server(4031, "The client was disconnected by the server because of inactivity."), true},
		{server(4031, "Referenced trigger 't' for the given action time and event type does not exist"), false},
		{server(1927, "Connection was killed"), false},
		{server(1047, "WSREP has not yet prepared node for application use"), false},
	} {
		if got := (Dialect{}).Unread(tc.err); got != tc.want {
			t.Errorf("%v: %v", tc.err, got)
		}
	}
}

// What leaves the session in a transaction by the DSN, under all names.
func TestManualByTheDSN(t *testing.T) {
	for parameters, manual := range map[string]bool{
		"autocommit=0": true, "autocommit=1": false, "AutoCommit=ON": false, "@@autocommit=0": true, "@@session.autocommit=0": true,
		"sql_mode=%27%27,autocommit=0": true, "completion_type=1": true, "completion_type=%27CHAIN%27": true,
		"completion_type=0": false, "completion_type=NO_CHAIN": false, "completion_type=2": false, "@@completion_type=0": true,
		"time_zone=%27%2B00:00%27": false, "": false,
	} {
		if got := (Dialect{}).Session("u:p@tcp(h)/db?" + parameters).Manual; got != manual {
			t.Errorf("%s: %v", parameters, got)
		}
	}
}

// Numbers whose class hangs on the text, and those that proxies pass on.
func TestMoreNumbers(t *testing.T) {
	for _, tc := range []struct {
		number uint16
		text   string
		want   health.Class
		mayRun bool
	}{
		{1180, `Got error 6 "No such device or address" during COMMIT`, health.Leaving, true},
		{1180, "Got error 6 - '' during COMMIT", health.Leaving, true},
		{1180, "Got error 64 during COMMIT", health.Neutral, false},
		{3100, "Error on observer while running replication hook 'before_commit'.", health.Leaving, true},
		{2026, "SSL connection error: SSL is required from client", health.Misconfigured, false},
		{2005, "Unknown MySQL server host 'db1' (-2)", health.Lost, false},
		{2012, "Error in server handshake", health.Lost, false},
		{2027, "Malformed packet", health.Lost, false},
		{1298, "Unknown or incorrect time zone: 'Europe/Nowhere'", health.Misconfigured, false},
		{1229, "Variable 'max_connections' is a GLOBAL variable and should be set with SET GLOBAL", health.Misconfigured, false},
		{1238, "Variable 'version' is a read only variable", health.Misconfigured, false},
		{1273, "Unknown collation: 'utf8mb4_0900_ai_ci'", health.Misconfigured, false},
		{9002, "Max connect failure while reaching hostgroup 0", health.NotReady, false},
	} {
		e := &mysql.MySQLError{Number: tc.number, SQLState: [5]byte([]byte("HY000")), Message: tc.text}
		if c, _ := classify(e); c != tc.want {
			t.Errorf("%v is %v, want %v", e, c, tc.want)
		}
		if r := (Dialect{}).MayHaveRun(e); r != tc.mayRun {
			t.Errorf("%v may have run: %v", e, r)
		}
	}
}
