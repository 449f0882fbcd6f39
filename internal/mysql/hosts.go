package mysql

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/redact"
)

// A hostList is a DSN while it is being split.
type hostList struct {
	dialect.HostList
	redact redact.Redactor // for texts made of parts of the DSN
}

// SplitHosts splits a DSN like
// user:pw@tcp(h1:3306,h2:3306)/db?clustersql.rise=3. Like the mysql driver, it
// takes the last slash for the one before the database, and the last @ before
// it for the end of the password. The error holds no secret of the DSN.
func (d Dialect) SplitHosts(dsn, prefix string) (dialect.HostList, error) {
	secrets, known := d.Secrets(dsn)
	l := hostList{redact: redact.New(dsn, secrets, known)}
	err := l.split(dsn, prefix)
	return l.HostList, err
}

func (l *hostList) split(dsn, prefix string) error {
	slash := strings.LastIndexByte(dsn, '/')
	if slash < 0 {
		return errors.New("the DSN has no slash before the database: write it as user:password@tcp(host1,host2)/database")
	}
	at := strings.LastIndexByte(dsn[:slash], '@') + 1
	network, hosts, found := strings.Cut(dsn[at:slash], "(")
	if found {
		if !strings.HasSuffix(hosts, ")") {
			return errors.New("the DSN's host list does not end with \")\" before the last slash: close it, and write slashes in parameters as %2F")
		}
		hosts = strings.TrimSuffix(hosts, ")")
	}
	if network == "" {
		network = "tcp"
	}
	path, query, _ := strings.Cut(dsn[slash:], "?")
	query = l.takeParameters(query, prefix)
	port := defaultPort
	if strings.HasPrefix(network, "tcp") {
		hosts, port = unwrapped(hosts)
	}
	for _, host := range strings.Split(hosts, ",") {
		if err := l.add(network, port, strings.TrimSpace(host), found, dsn[:at], path+query); err != nil {
			return err
		}
	}
	cfg, err := parse(l.Hosts[0].DSN)
	if err != nil {
		return errors.New(l.redact.Error(err))
	}
	l.Database = cfg.DBName
	return nil
}

// unwrapped returns a list of hosts without what the mysql driver puts around
// it, and the port of those hosts that have none. The driver takes the list for
// the address of one host. Its ParseDSN makes [h1:3306,h2:3306]:3306 of
// h1:3306,h2:3306, because that looks like an IPv6 address without a port. With
// IPv6 in the list every ParseDSN does it again. No address of one host has a
// comma.
func unwrapped(hosts string) (list, port string) {
	list, port = hosts, defaultPort
	for {
		end := matching(list)
		if end < 0 || !strings.Contains(list[:end], ",") {
			return list, port
		}
		outer, found := strings.CutPrefix(list[end+1:], ":")
		if !found || outer == "" || strings.ContainsAny(outer, ":,[]") {
			return list, port
		}
		list, port = list[1:end], outer
	}
}

// matching returns the index of the bracket that closes the one at the
// beginning, or -1.
func matching(hosts string) int {
	if !strings.HasPrefix(hosts, "[") {
		return -1
	}
	depth := 0
	for i, r := range hosts {
		switch r {
		case '[':
			depth++
		case ']':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

// add appends one host. An empty host is allowed only without brackets: on tcp
// it is then 127.0.0.1.
func (l *hostList) add(network, port, host string, brackets bool, userinfo, rest string) error {
	if host == "" {
		if brackets {
			return errors.New("the DSN's host list has an empty host: take the comma or the brackets out")
		}
		if network != "tcp" {
			return errors.New("the DSN names no address: write it in brackets after the network, as in unix(/path/to/socket)")
		}
		host = "127.0.0.1"
	}
	if strings.HasPrefix(network, "tcp") {
		full, err := withPort(host, port)
		if err != nil {
			return fmt.Errorf("host %s: %w", l.redact.Text(strconv.Quote(host)), err)
		}
		host = full
	}
	if slices.ContainsFunc(l.Hosts, func(h dialect.Host) bool { return h.Name == host }) {
		return fmt.Errorf("the DSN's host list has %s twice: take one out", l.redact.Text(host))
	}
	l.Hosts = append(l.Hosts, dialect.Host{Name: host, DSN: userinfo + network + "(" + host + ")" + rest})
	return nil
}

// defaultPort is mysql's.
const defaultPort = "3306"

// withPort adds the default port to a host that has no port.
func withPort(host, defaultPort string) (string, error) {
	_, port, err := net.SplitHostPort(host)
	switch {
	case strings.ContainsFunc(host, unicode.IsSpace):
		return "", errors.New("there is a space in it: take it out")
	case err == nil && port == "":
		return "", errors.New("there is a colon but no port: write host:3306")
	case err == nil:
		return host, nil
	}
	bare := host
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		bare = host[1 : len(host)-1]
	}
	joined := net.JoinHostPort(bare, defaultPort)
	if _, _, err := net.SplitHostPort(joined); err != nil {
		return "", errors.New("that is none: write host:3306 or [::1]:3306, with commas between hosts")
	}
	return joined, nil
}

// takeParameters moves the cluster's own parameters from query to l.Parameters.
// It returns the rest with its question mark, or "" if nothing is left.
func (l *hostList) takeParameters(query, prefix string) string {
	var others []string
	for _, p := range strings.Split(query, "&") {
		name, value, _ := strings.Cut(p, "=")
		switch {
		case len(name) >= len(prefix) && strings.EqualFold(name[:len(prefix)], prefix):
			l.Parameters = append(l.Parameters, dialect.Parameter{Name: name, Value: value})
		case p != "":
			others = append(others, p)
		}
	}
	if len(others) == 0 {
		return ""
	}
	return "?" + strings.Join(others, "&")
}
