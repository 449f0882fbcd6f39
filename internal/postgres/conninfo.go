package postgres

import (
	"errors"
	"fmt"
	"strings"

	"github.com/EnumApps/clustersql/internal/redact"
)

// A conninfo is a connection string of libpq, taken apart: a URI, or key=value
// with spaces between. It is read by libpq's rules, which are not those of
// package net/url.
type conninfo struct {
	scheme   string // of a URI, with its slashes; empty for key=value
	userinfo string // of a URI, as it is written, with the @
	path     string // of a URI, as it is written, with the slash
	params   []param
}

// A param is a key with its value. Those of a URI's authority and path come
// before those of its query. The last one of a key counts.
type param struct {
	key, value string
	written    string // the value as it is written
	pair       string // of a URI's query: key=value as it is written
}

// schemes are those of libpq's URIs, in lower case only.
var schemes = []string{"postgresql://", "postgres://"}

// schemeOf returns the DSN's scheme with its slashes, or "".
func schemeOf(dsn string) string {
	for _, s := range schemes {
		if strings.HasPrefix(dsn, s) {
			return s
		}
	}
	return ""
}

// parse takes a DSN apart. The error holds nothing of the DSN: where its form is
// broken, any part of it may be one of a password.
func parse(dsn string) (*conninfo, error) {
	if strings.IndexByte(dsn, 0) >= 0 {
		return nil, errors.New("there is a NUL byte in the DSN: take it out")
	}
	c := &conninfo{scheme: schemeOf(dsn)}
	if c.scheme == "" {
		return c, c.parseWords(dsn)
	}
	return c, c.parseURI(dsn[len(c.scheme):])
}

// Secrets returns the values of the keys that hold passwords, as they are written
// and as they are read. known is false if the DSN cannot be parsed, or if another
// value looks as if it held a part of a password.
func (Dialect) Secrets(dsn string) (secrets []string, known bool) {
	c, err := parse(dsn)
	if err != nil {
		return nil, false
	}
	known = true
	seen := make(map[string]bool)
	for _, p := range c.params {
		switch {
		case redact.IsPassword(p.key, p.value):
			secrets = append(secrets, p.value)
			if p.written != p.value {
				secrets = append(secrets, p.written)
			}
		case strings.Contains(p.key, "."): // a setting of the cluster's, or of a module of the server
		case redact.IsOdd(p.key, p.value):
			known = false
		}
		// One of two values of a key may be a part of a password that has spaces.
		known = known && !(c.scheme == "" && seen[p.key])
		seen[p.key] = true
	}
	if _, err := c.addresses(); err != nil && err != errNoHost {
		known = false
	}
	return secrets, known
}

// value returns the value of a key, or "". The keys dbname and database are one.
func (c *conninfo) value(key string) string {
	for i := len(c.params) - 1; i >= 0; i-- {
		if p := c.params[i]; p.key == key || key == "dbname" && p.key == "database" {
			return p.value
		}
	}
	return ""
}

// has reports whether the key is there, be its value empty.
func (c *conninfo) has(key string) bool {
	for _, p := range c.params {
		if p.key == key {
			return true
		}
	}
	return false
}

const space = " \t\n\r\v\f"

// parseWords parses key=value pairs. A value may be in single quotes; a backslash
// takes what follows it as it is, also outside of quotes.
func (c *conninfo) parseWords(text string) error {
	for rest := strings.TrimLeft(text, space); rest != ""; rest = strings.TrimLeft(rest, space) {
		key, after, found := strings.Cut(rest, "=")
		key = strings.TrimRight(key, space)
		if !found || key == "" || strings.ContainsAny(key, space) {
			return fmt.Errorf("what comes after %d parameters of the DSN is not key=value: write a value that has spaces in single quotes", len(c.params))
		}
		after = strings.TrimLeft(after, space)
		value, written, left, closed := cutWord(after)
		if !closed {
			return fmt.Errorf("parameter %d of the DSN has a quote that is not closed: write a quote in a value as \\'", len(c.params)+1)
		}
		c.params = append(c.params, param{key: key, value: value, written: written})
		rest = left
	}
	return nil
}

// cutWord cuts the value off that text begins with. It returns it as it is read
// and, without its quotes, as it is written.
func cutWord(text string) (value, written, rest string, closed bool) {
	end, quoted := space, strings.HasPrefix(text, "'")
	if quoted {
		text, end = text[1:], "'"
	}
	var b strings.Builder
	i := 0
	for ; i < len(text) && strings.IndexByte(end, text[i]) < 0; i++ {
		if text[i] == '\\' {
			if i++; i == len(text) {
				break
			}
		}
		b.WriteByte(text[i])
	}
	written, rest = text[:i], text[i:]
	if quoted {
		rest, closed = strings.CutPrefix(rest, "'")
		return b.String(), written, rest, closed
	}
	return b.String(), written, rest, true
}

// quoted writes a value of key=value.
func quoted(value string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value) + "'"
}
