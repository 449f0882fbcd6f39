package postgres

import (
	"errors"
	"fmt"
	"strings"
)

// parseURI parses what follows the scheme:
// user:password@host:port,host:port/database?key=value&key=value. As in libpq
// the first @ ends the password, if no slash comes before it.
func (c *conninfo) parseURI(text string) error {
	if at := strings.IndexAny(text, "@/"); at >= 0 && text[at] == '@' {
		c.userinfo, text = text[:at+1], text[at+1:]
		user, password, _ := strings.Cut(c.userinfo[:at], ":")
		if c.add("user", user) != nil || c.add("password", password) != nil {
			return errors.New("the user or the password of the DSN has a percent sign or a space that is not escaped: write them as %25 and %20")
		}
	}
	end := strings.IndexAny(text, "/?")
	if end < 0 {
		end = len(text)
	}
	hosts, rest := text[:end], text[end:]
	if err := c.parseHosts(hosts); err != nil {
		return err
	}
	var query string
	c.path, query, _ = strings.Cut(rest, "?")
	switch {
	case strings.Contains(c.path, "@"), c.userinfo == "" && strings.Contains(query, "@") && isPair(hosts):
		return errors.New("there is an @ after the hosts of the DSN: if it ends the password, write a slash of the password as %2F; else write the @ as %40")
	case c.add("dbname", strings.TrimPrefix(c.path, "/")) != nil:
		return errors.New("the database of the DSN has a percent sign or a space that is not escaped: write them as %25 and %20")
	}
	return c.parseQuery(query)
}

// isPair reports whether what stands for one host with its port may as well be a
// user with the beginning of a password.
func isPair(hosts string) bool { return strings.Contains(hosts, ":") && !strings.Contains(hosts, ",") }

// add adds a part of the URI before its query. An empty one is left out, and
// libpq's default holds.
func (c *conninfo) add(key, written string) error {
	value, err := decoded(written)
	if written != "" {
		c.params = append(c.params, param{key: key, value: value, written: written})
	}
	return err
}

// parseHosts makes the two lists host and port of the URI's list of hosts. An
// IPv6 address is in brackets, and a socket's directory is escaped. The lists are
// decoded as a whole, so an escaped comma separates as well.
func (c *conninfo) parseHosts(text string) error {
	var hosts, ports []string
	for i, spec := range strings.Split(text, ",") {
		host, port, _ := strings.Cut(spec, ":")
		if inner, found := strings.CutPrefix(spec, "["); found {
			address, after, closed := strings.Cut(inner, "]")
			if !closed || address == "" || after != "" && after[0] != ':' {
				return fmt.Errorf("host %d of the DSN is not an IPv6 address in brackets: write it as [::1]:%s", i+1, defaultPort)
			}
			host, port = address, strings.TrimPrefix(after, ":")
		}
		hosts, ports = append(hosts, host), append(ports, port)
	}
	if c.add("host", strings.Join(hosts, ",")) != nil || c.add("port", strings.Join(ports, ",")) != nil {
		return errors.New("the hosts of the DSN have a percent sign or a space that is not escaped: take the spaces out, and write a percent sign as %25")
	}
	return nil
}

// parseQuery parses key=value&key=value.
func (c *conninfo) parseQuery(text string) error {
	for n := 1; text != ""; n++ {
		var pair string
		pair, text, _ = strings.Cut(text, "&")
		key, value, found := strings.Cut(pair, "=")
		if !found || strings.Contains(value, "=") {
			return fmt.Errorf("parameter %d of the DSN is not key=value: write an equals sign in a value as %%3D, and an ampersand as %%26", n)
		}
		p := param{written: value, pair: pair}
		var inKey, inValue error
		p.key, inKey = decoded(key)
		p.value, inValue = decoded(value)
		if inKey != nil || inValue != nil {
			return fmt.Errorf("parameter %d of the DSN has a percent sign or a space that is not escaped: write them as %%25 and %%20", n)
		}
		c.params = append(c.params, p)
	}
	return nil
}

var errEscape = errors.New("a percent sign or a space that is not escaped")

// decoded replaces the escapes of a part of a URI. Spaces around it do not count.
// A plus sign stands for itself.
func decoded(written string) (string, error) {
	text := strings.Trim(written, " ")
	if strings.Contains(text, " ") {
		return "", errEscape
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '%' {
			b.WriteByte(text[i])
			continue
		}
		if i+2 >= len(text) {
			return "", errEscape
		}
		high, low := strings.IndexByte(hexDigits, text[i+1]), strings.IndexByte(hexDigits, text[i+2])
		char := byte(high%16<<4 | low%16)
		if high < 0 || low < 0 || char == 0 {
			return "", errEscape
		}
		b.WriteByte(char)
		i += 2
	}
	return b.String(), nil
}

// hexDigits are the digits at their values, and 16 places on in upper case.
const hexDigits = "0123456789abcdef0123456789ABCDEF"

// escaped writes a part of a URI.
func escaped(text string) string {
	var b strings.Builder
	for i := range len(text) {
		switch char := text[i]; {
		case 'a' <= char && char <= 'z', 'A' <= char && char <= 'Z', '0' <= char && char <= '9', strings.IndexByte("-._~", char) >= 0:
			b.WriteByte(char)
		default:
			fmt.Fprintf(&b, "%%%02X", char)
		}
	}
	return b.String()
}
