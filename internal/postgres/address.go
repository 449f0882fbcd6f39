package postgres

import (
	"errors"
	"net"
	"slices"
)

// Host returns the address of a DSN with one host that is no socket's directory.
func (Dialect) Host(dsn string) (addr string, ok bool) {
	c, err := parse(dsn)
	if err != nil {
		return "", false
	}
	all, err := c.addresses()
	if err != nil || len(all) != 1 || isSocket(all[0].host) {
		return "", false
	}
	return all[0].name(), true
}

// Rehost writes the DSN with another host and port.
func (d Dialect) Rehost(dsn, addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if _, ok := d.Host(dsn); !ok || err != nil {
		return "", errors.New("the DSN does not name one host: write it as postgres://user:password@host:5432/database")
	}
	c, err := parse(dsn)
	if err != nil {
		return "", err
	}
	var others []param
	for _, p := range c.params {
		if p.key != "host" && p.key != "port" && p.key != "hostaddr" {
			others = append(others, p)
		}
	}
	return c.rewritten(hostPort{host, port}, others, false), nil
}

// Renewed compares all parameters but the passwords.
func (Dialect) Renewed(before, after string) bool {
	b, err := parse(before)
	if err != nil {
		return false
	}
	a, err := parse(after)
	if err != nil || a.value("password") == b.value("password") {
		return false
	}
	return slices.Equal(b.withoutPassword(), a.withoutPassword())
}

// withoutPassword returns the parameters as they are read, without the password,
// sorted.
func (c *conninfo) withoutPassword() []string {
	var all []string
	for _, p := range c.params {
		if p.key != "password" {
			all = append(all, p.key+"="+p.value)
		}
	}
	slices.Sort(all)
	return all
}
