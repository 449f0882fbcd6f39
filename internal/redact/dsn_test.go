package redact

import "testing"

// Texts of backends stay readable: of a DSN that can be read only the secrets
// go, and not in the middle of words.
func TestTextsStayReadable(t *testing.T) {
	const (
		url       = "postgres://report:hunter22@port1:5432,port2/reports?sslmode=require&application_name=support&sslpassword=pem%2Fword&trace_to=collector"
		words     = `host=dbhost port=5432 user=role password='hun\'ter 22' dbname=exist sslmode=disable connect_timeout=5 target_session_attrs=read-write fancy='thing' longer='a long thing'`
		semicolon = "server=dbhost;user id=sa;password={hunter22};database=shop;encrypt=disable;Access Token=tok-1234"
		address   = "app:hunter22@tcp(dbhost:3306)/shop?parseTime=true&charset=utf8mb4&apiKey=k3y5"
	)
	cases := []struct{ name, dsn, text, want string }{
		{"url: words", url, `role "report" does not exist, "3.9" is not supported, dial tcp port1:5432, reported`, ""},
		{"url: password", url, "hunter22 xhunter22x", "*** x***x"},
		{"url: its parameters", url, "sslmode require, application support", ""},
		{"url: password of the key", url, "pem/word, pem%2Fword", "***, ***"},
		{"url: unknown key", url, "collector of 3", "*** of 3"},
		{"url: without its scheme", url, "report:hunter22@port1", "report:***@port1"},
		{"url: no secrets", "postgres://dbhost/shop", "dbhost/shop of postgres", ""},
		{"url: password in the query", "postgres://dbhost/shop?user=app&password=a%40bc", "app: a@bc, a%40bc, abc", "app: ***, ***, abc"},
		{"url: short password", "postgres://app:pw@dbhost/shop", "pw of pwd", "*** of pwd"},
		{"words: words", words, `role "role" does not exist: dial tcp dbhost:5432, read-write, 5`, ""},
		{"words: password", words, `hun'ter 22 and hun\'ter 22`, "*** and ***"},
		{"words: pairs", words, "user=role password='x' dbname=exist", ""},
		{"words: unknown value", words, "thing of things, a long things", "*** of things, ***s"},
		{"words: unquoted, escaped", `user=app password=a\ bcd`, "a bcd", "***"},
		{"words: spaces around", "user = app  password = abcd", "app abcd", "app ***"},
		{"semicolon: words", semicolon, `login failed for user "sa" on dbhost, shop`, ""},
		{"semicolon: password", semicolon, "hunter22 {hunter22}", "*** {***}"},
		{"semicolon: token", semicolon, "tok-1234", "***"},
		{"semicolon within a word", "host=h user=app password=ab;cd=efgh", "ab;cd=efgh", "***"},
		{"address: words", address, "dial tcp dbhost:3306: Access denied for 'app', database shop, utf8mb4", ""},
		{"address: secrets", address, "hunter22 k3y5", "*** ***"},
		{"address after a scheme", "mysql://app:hunter22@tcp(dbhost)/shop", "hunter22", "***"},
		{"a token", "c2VjcmV0c2Vj=", "got c2VjcmV0c2Vj", "got ***"},
		{"a key, as it is", "host=h sslkey='-----BEGIN KEY----- abc'", "-----BEGIN KEY----- abc", "***"},
		{"a key's path", "host=h sslkey=/etc/key.pem", "open /etc/key.pem: no such file", ""},

		{"cannot be read: word without a key", "host=dbhost hunter22", "hunter22", "***"},
		{"cannot be read: spaces without quotes", "password=my hunter22 pass host=h", "hunter22", "***"},
		{"cannot be read: key twice", "password=a password=hunter22 host=h", "hunter22", "***"},
		{"cannot be read: open quote", "host=h password='hunter22", "hunter22", "***"},
		{"cannot be read: quote within", "host=h password=hunter'22x", "hunter'22x", "***"},
		{"cannot be read: @ twice", "postgres://app:hun@ter22@h/d", "host ter22", "host ***"},
		{"cannot be read: slash in the password", "postgres://app:hun1/ter22@h/d", "bad port hun1", "bad port ***"},
		{"cannot be read: query in the password", "postgres://app:12?hunter22@h/d", "12?hunter22", "***"},
		{"cannot be read: escape", "postgres://app:100%hunter22@h/d", "100%hunter22", "***"},
		{"cannot be read: double quotes", `user="scott" password="hunter22" connectString="h"`, "hunter22", "***"},
		{"cannot be read: braces", "host=h password={hunter22}", "hunter22", "***"},
		{"cannot be read: a scheme before semicolons", "sqlserver://h:1433;user=sa;password=hunter22", "hunter22", "***"},
		{"cannot be read: no scheme", "app:hunter22@account/db?role=x", "hunter22", "***"},
		{"cannot be read: a file", "file:test.db?_auth_pass=hunter22", "hunter22", "***"},
		{"a short key of a password", "host=h pw=abcd", "abcdef", "***ef"},
		{"a user with a server", "host=h user=app@server password=hunter22", "hunter22 of app@server", "*** of app@server"},
		{"two forms, one of them odd", "host=:;ba =@tcp()/db", ";ba =", "***"},
		{"cannot be read: a user that looks like a key", "host=:hunter22@tcp(h1)/db", "hunter22", "***"},
		{"cannot be read: a password that looks like a key", "db=db: 2=tcp@tcp())/x", " 2=tcp", "***"},
		{"cannot be read: a password that looks like a key of one", "db=db: pw=tcp@tcp())/x", " pw=tcp", "***"},
		{"cannot be read: two addresses", "app:hunter22@tcp(@h1())/db", "hunter22", "***"},
		{"hosts without names", "postgresql:///shop?host=/run/pg&password=hunter22", "shop on /run/pg with hunter22", "shop on /run/pg with ***"},
		{"a backend's words", words, "failed to connect to `user=role database=exist`: dbhost (10.0.0.1): dial tcp 10.0.0.1:5432: connect: connection refused", ""},
		{"cannot be read: spaces and semicolons", "host=h password=my hunter22;x=y", "hunter22", "***"},
		{"cannot be read: semicolons in a query", "sqlserver://h?database=x;password=hunter22", "hunter22", "***"},
		{"cannot be read: quotes and semicolons", `server=h;password="a;hunter22"`, "hunter22", "***"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			if tc.want == "" {
				tc.want = tc.text
			}
			if got := New(tc.dsn, nil, false).Text(tc.text); got != tc.want {
				t.Errorf("\ntext %s\ngot  %s\nwant %s", tc.text, got, tc.want)
			}
		})
	}
}

// A name is shown, so it must not be a DSN with a password.
func TestHoldsPassword(t *testing.T) {
	for name, holds := range map[string]bool{
		"galera1": false, "db1:3306": false, "[::1]:3306": false, "shop/primary": false, "a@b": false, "a=b": false,
		"app@tcp(db1:3306)/shop": false, "postgres://app@db1/shop": false, "host=db1 user=app": false, "": false,
		"app:hunter22@tcp(db1:3306)/shop": true, "postgres://app:hunter22@db1/shop": true,
		"postgres://db1/shop?user=app&password=hunter22": true, "host=db1 password=hunter22": true,
		"Server=db1;User Id=app;Password=hunter22": true,
	} {
		if got := HoldsPassword(name); got != holds {
			t.Errorf("%q: %v", name, got)
		}
	}
}

func TestKeysOfPasswords(t *testing.T) {
	for _, tc := range []struct {
		key, value    string
		password, odd bool
	}{
		{"password", "p=a;b", true, false},
		{"sslpassword", "x", true, false},
		{"oauth_client_secret", "x", true, false},
		{"password", "", false, false},
		{"passfile", "/home/app/.pgpass", false, false},
		{"sslkey", "/etc/key.pem", false, false},
		{"sslkey", "-----BEGIN KEY-----", true, false},
		{"dbname", "shop", false, false},
		{"dbname", "shop;password=x", false, true},
		{"anything", "a=b", false, true},
		{"options", "-c x=1", false, false},
		{"user", "app@server", false, false},
		{"user", "app:x@server", false, true},
		{"host", "x@h", false, true},
	} {
		if got, odd := IsPassword(tc.key, tc.value), IsOdd(tc.key, tc.value); got != tc.password || odd != tc.odd {
			t.Errorf("%s=%s: %t, %t", tc.key, tc.value, got, odd)
		}
	}
}
