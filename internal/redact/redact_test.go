package redact

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/EnumApps/clustersql/internal/seedtest"
)

func TestRedactor(t *testing.T) {
	mysqlDSN := func(password string) (string, []string, bool) {
		dsn := "app:" + password + "@tcp(h1:3306)/db"
		if password == "" {
			return dsn, nil, true
		}
		return dsn, []string{password, "app:" + password}, true
	}
	unknown := func(dsn string) func(string) (string, []string, bool) {
		return func(string) (string, []string, bool) { return dsn, nil, false }
	}
	postgres := unknown("postgres://app:hunter22@dbhost:5432/shop?sslmode=off")
	slashes := unknown("postgres://app:hunter/22@dbhost:5432/shop")
	keyValue := unknown(`host=dbhost user=app password='it\'s me' dbname=shop`)
	cases := []struct {
		name     string
		dsn      func(password string) (string, []string, bool)
		password string
		text     string
		want     string
	}{
		{"nothing in it", mysqlDSN, "hunter22", "dial tcp h1:3306: connection refused", "dial tcp h1:3306: connection refused"},
		{"plain", mysqlDSN, "hunter22", "password hunter22 is wrong", "password *** is wrong"},
		{"within a word", mysqlDSN, "hunter22", "xhunter22x", "x***x"},
		{"whole DSN", mysqlDSN, "hunter22", "open app:hunter22@tcp(h1:3306)/db: no", "open ***: no"},
		{"user and password", mysqlDSN, "hunter22", "app:hunter22@h2", "***@h2"},
		{"separators", mysqlDSN, "a@b/c:d#e?f%g", "got a@b/c:d#e?f%g", "got ***"},
		{"path-escaped", mysqlDSN, "a@b/c:d#e?f%g", "got " + url.PathEscape("a@b/c:d#e?f%g"), "got ***"},
		{"query-escaped", mysqlDSN, "a b@b/c:d#e?f%g", "got " + url.QueryEscape("a b@b/c:d#e?f%g"), "got ***"},
		{"in a URL", mysqlDSN, "a@b/c:d#e?f%g", url.UserPassword("x", "a@b/c:d#e?f%g").String(), "x:***"},
		{"quoted", mysqlDSN, "a\"b\\c\nd", fmt.Sprintf("got %q", "a\"b\\c\nd"), `got "***"`},
		{"quoted to ASCII", mysqlDSN, "пароль", fmt.Sprintf("got %+q", "пароль"), `got "***"`},
		{"as JSON", mysqlDSN, "<a>&\u2028b", `{"password":"\u003ca\u003e\u0026\u2028b"}`, `{"password":"***"}`},
		{"unicode", mysqlDSN, "пароль", "got пароль", "got ***"},
		{"twice", mysqlDSN, "hunter22", "hunter22 hunter22", "*** ***"},
		{"touching", mysqlDSN, "hunter22", "hunter22hunter22", "***"},
		{"overlapping itself", mysqlDSN, "abcab", "abcabcab", "***"},
		{"as its user", mysqlDSN, "app1", "app1 app app1", "*** app ***"},
		{"short, within words", mysqlDSN, "a", "a bad handshake", "*** bad handshake"},
		{"short, between signs", mysqlDSN, "pw", "app:pw@tcp, 'pw' of pwd", "***@tcp, '***' of pwd"},
		{"made by taking out", mysqlDSN, "x***y", "xx***yy", "***"},
		{"made of the mark", mysqlDSN, "****", "a ***** b", "a *** b"},
		{"no password", mysqlDSN, "", "app at h1:3306", "app at h1:3306"},

		{"unknown: password", postgres, "", "password hunter22 is wrong", "password *** is wrong"},
		{"unknown: parts", postgres, "", "dial dbhost:5432, database shop, user app", "dial dbhost:5432, database shop, user app"},
		{"unknown: the whole", postgres, "", "open postgres://app:hunter22@dbhost:5432/shop?sslmode=off: no", "open ***: no"},
		{"unknown: part and neighbour", slashes, "", "//app:x", "***x"},
		{"unknown: a word of the syntax", slashes, "", "postgresql reports 3.9 on dbhost", "postgresql reports 3.9 on ***"},
		{"unknown: quoted", keyValue, "", `bad value "it\\'s me"`, `bad value "***"`},
		{"unknown: its escapes taken out", keyValue, "", "bad value it's me", "bad value ***"},
		{"unknown: as it is", keyValue, "", `bad value it\'s me`, "bad value ***"},
		{"unknown: escaped in the DSN", unknown("x://u:p%40s%2Fs@h"), "", "bad p@s/s", "bad ***"},
		{"unknown: split by separators", unknown("x://u:p@s/s:w@h"), "", "bad p@s/s:w", "bad ***"},
		{"unknown: short", unknown("pw"), "", "bad pw of pwd", "bad *** of pwd"},
		{"mysql that cannot be parsed", unknown("app:hunter22@tcp(h1:3306)"), "", "hunter22 on h1:3306", "*** on ***"},
		{"mysql with the slash in the password", unknown("app:hunter/22@tcp(h1:3306)"), "", "default addr for network 'app:hunter' unknown", "default addr for network '***' unknown"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			r := New(tc.dsn(tc.password))
			if got := r.Text(tc.text); got != tc.want {
				t.Errorf("\ntext %s\ngot  %s\nwant %s", tc.text, got, tc.want)
			}
		})
	}
}

func TestRedactorWithoutSecretsChangesNothing(t *testing.T) {
	for _, r := range []Redactor{{}, New("", nil, false), New("", nil, true), New("", []string{""}, true)} {
		if got := r.Error(errors.New("user:password@tcp(h)/db")); got != "user:password@tcp(h)/db" {
			t.Errorf("got %s", got)
		}
		if got := r.Error(nil); got != "" {
			t.Errorf("got %s for no error", got)
		}
	}
}

// FuzzRedactKnown: no text shows the DSN, or a known password of 4 bytes or
// more, in any of its forms.
func FuzzRedactKnown(f *testing.F) {
	f.Add("app", "hunter22", "h1:3306", "db", "dial: ", " refused")
	f.Add("app", "a@b/c:d#e?f%g", "[::1]:3306", "d/b", "", "")
	f.Add("", "****", "", "", "*", "*")
	f.Add("x", "x***y", "h", "db", "x", "y")
	f.Add("пользователь", "пароль%d0%bf", "h", "база", "\"", "\\")
	f.Fuzz(func(t *testing.T, user, password, host, db, before, after string) {
		dsn := user + ":" + password + "@tcp(" + host + ")/" + url.PathEscape(db)
		checkRedactor(t, New(dsn, []string{password, user + ":" + password}, true), dsn, password, before, after)
	})
}

// FuzzRedactUnknown: the same holds for DSNs of backends about which nothing is
// known. A password that a driver would take for something else, as it is
// written, is left out.
func FuzzRedactUnknown(f *testing.F) {
	f.Add("app", "hunter22", "h1:5432", "db", "dial: ", " refused")
	f.Add("app", "a@b/c:d#e?f%g", "[::1]:3306", "d/b", "", "")
	f.Add("a", "p:a/s", "", "", "\\", "%")
	f.Fuzz(func(t *testing.T, user, password, host, db, before, after string) {
		if syntaxWords[strings.ToLower(password)] || strings.Contains(user, ":") {
			t.Skip("it goes as a word of its own only, or is not the password")
		}
		for _, dsn := range unknownDSNs(user, password, host, db) {
			checkRedactor(t, New(dsn, nil, false), dsn, password, before, after)
		}
	})
}

// unknownDSNs returns DSNs of every form. What needs no escape in a form is not
// escaped, and neither is what people forget to escape.
func unknownDSNs(user, password, host, db string) []string {
	dsns := []string{
		"postgres://" + user + ":" + password + "@" + host + "/" + db,
		"postgres://" + host + "/" + db + "?user=" + url.QueryEscape(user) + "&password=" + url.QueryEscape(password),
		"host=h user=app password='" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(password) + "' dbname=" + db,
		user + ":" + password + "@tcp(" + host + ")/" + url.PathEscape(db),
		"x://" + url.PathEscape(user) + ":" + url.PathEscape(password) + "@" + host,
	}
	const marks = " \t\n\r\v\f\\'\";{}"
	if !strings.ContainsAny(user+password, marks) {
		dsns = append(dsns,
			"user="+user+" password="+password+" host="+host,
			"user="+user+";password='"+password+"';host="+host,
			"server="+host+";user id="+user+";PWD="+password)
	}
	return dsns
}

// Passwords made of what DSNs are made of are not missed.
func TestOddPasswordsAreNotMissed(t *testing.T) {
	rnd := seedtest.Rand(t)
	pieces := strings.Fields(`a b host = ; & @ / ? # : ' " \ % %41 ( ) { } , [ ] password user db 1 2 tcp * é`)
	draw := func(most int) string {
		var b strings.Builder
		for range rnd.IntN(most) {
			b.WriteString(append(pieces, " ")[rnd.IntN(len(pieces)+1)])
		}
		return b.String()
	}
	for range 3000 {
		user, password, host, db := draw(4), draw(6), draw(4), draw(4)
		if len(password) < minSecret || syntaxWords[strings.ToLower(password)] || strings.Contains(user, ":") {
			continue
		}
		for _, dsn := range unknownDSNs(user, password, host, db) {
			r := New(dsn, nil, false)
			for _, text := range []string{password, url.PathEscape(password), url.QueryEscape(password), "x" + password + "y"} {
				if got := r.Text(text); strings.Contains(got, password) {
					t.Errorf("dsn %q, password %q\ntext %q\ngot  %q", dsn, password, text, got)
				}
			}
		}
	}
}

func checkRedactor(t *testing.T, r Redactor, dsn, password, before, after string) {
	t.Helper()
	if len(dsn)+len(before)+len(after) > 300 {
		t.Skip("longer ones only take longer")
	}
	for _, secret := range []string{dsn, password} {
		if len(secret) < minSecret {
			continue
		}
		for _, form := range []string{
			secret, url.PathEscape(secret), url.QueryEscape(secret),
			inner(strconv.Quote(secret)), inner(strconv.QuoteToASCII(secret)),
		} {
			for _, text := range []string{form, before + form + after, form + before + form, before + form[:len(form)/2] + form + after} {
				got := r.Text(text)
				if strings.Contains(got, secret) || strings.Contains(got, form) {
					t.Errorf("dsn %q, password %q\ntext %q\ngot  %q\nwhich holds %q", dsn, password, text, got, form)
				}
			}
		}
	}
}
