package postgres

import (
	"errors"
	"maps"
	"net"
	"strings"
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

// Same compares all parameters as they are read.
func (Dialect) Same(before, after string) bool {
	same, renewed := compare(before, after)
	return same && !renewed
}

// Renewed compares all parameters but the passwords.
func (Dialect) Renewed(before, after string) bool {
	same, renewed := compare(before, after)
	return same && renewed
}

// compare reports whether two DSNs are the same but for the passwords, and whether
// those differ.
func compare(before, after string) (same, renewed bool) {
	if before == after {
		return true, false
	}
	b, err := parse(before)
	if err != nil {
		return false, false
	}
	a, err := parse(after)
	if err != nil {
		return false, false
	}
	read, also := b.read(), a.read()
	renewed = read["password"] != also["password"]
	delete(read, "password")
	delete(also, "password")
	return maps.Equal(read, also), renewed
}

// read returns the parameters as they are read: the last one of a key counts. Names
// of hosts are the same in upper and lower case; those of sockets' files are not.
func (c *conninfo) read() map[string]string {
	all := make(map[string]string, len(c.params))
	for _, p := range c.params {
		key, value := p.key, p.value
		if key == "database" {
			key = "dbname"
		}
		if key == "host" && !strings.ContainsAny(value, "/@") {
			value = strings.ToLower(value)
		}
		all[key] = value
	}
	return all
}
