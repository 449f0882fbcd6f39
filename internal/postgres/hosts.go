package postgres

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/EnumApps/clustersql/internal/dialect"
)

// defaultPort is PostgreSQL's.
const defaultPort = "5432"

// What libpq calls the two settings that a cluster has in its own way, and the
// words that they may have. npgsql has prefer-primary too.
const (
	targetKey  = "target_session_attrs"
	balanceKey = "load_balance_hosts"
)

var targets = []string{"any", "read-write", "read-only", "primary", "standby", "prefer-standby", "prefer-primary"}

var (
	firstKey    = regexp.MustCompile(`^\s*[a-z_][a-z0-9_.]*\s*=`)
	hostKey     = regexp.MustCompile(`(^|\s)host\s*=`)
	withAddress = regexp.MustCompile(`@[a-z0-9+.-]*\(.*\)/`)
)

// Claims reports whether the DSN is a URI of PostgreSQL, or key=value with a key
// host. Of the latter, one that has an address as DSNs of mysql have is left to
// that.
func (Dialect) Claims(dsn string) bool {
	return schemeOf(dsn) != "" || firstKey.MatchString(dsn) && hostKey.MatchString(dsn) && !withAddress.MatchString(dsn)
}

// SplitHosts splits a connection string of libpq, such as
// postgres://user:password@h1:5432,h2:5432/db?target_session_attrs=read-write or
// host=h1,h2 port=5432 dbname=db. The parameters whose names begin with prefix
// are the cluster's own. target_session_attrs becomes its parameter require, and
// load_balance_hosts its strategy: balanced for random, else ordered. What is
// there under the cluster's own names counts before these. The rest stays as it
// is. The error holds nothing of the DSN.
func (d Dialect) SplitHosts(dsn, prefix string) (dialect.HostList, error) {
	var l dialect.HostList
	c, err := parse(dsn)
	if err != nil {
		return l, err
	}
	addresses, err := c.addresses()
	if err != nil {
		return l, err
	}
	if c.has("hostaddr") {
		return l, errors.New("the DSN has hostaddr, which the driver does not know: write the addresses as the hosts")
	}
	own, others, err := c.divided(prefix)
	if err != nil {
		return l, err
	}
	if _, known := d.Secrets(dsn); known { // the name is shown
		l.Database = c.value("dbname")
	}
	l.Parameters = own
	inOrder := strategyOf(own, prefix) == "ordered"
	for i, a := range addresses {
		h := dialect.Host{Name: a.name(), DSN: c.with(a, others)}
		if at := slices.IndexFunc(l.Hosts, func(other dialect.Host) bool { return other.Name == h.Name }); at >= 0 {
			return l, fmt.Errorf("hosts %d and %d of the DSN are the same: take one out", at+1, i+1)
		}
		if inOrder {
			h.Priority = i
		}
		l.Hosts = append(l.Hosts, h)
	}
	return l, nil
}

// divided returns the cluster's own parameters and those that stay the driver's.
// The hosts, and libpq's words for what a cluster does, are in neither.
func (c *conninfo) divided(prefix string) (own []dialect.Parameter, others []param, err error) {
	var strategy, require string
	for _, p := range c.params {
		switch {
		case len(p.key) >= len(prefix) && strings.EqualFold(p.key[:len(prefix)], prefix):
			value := p.written
			if c.scheme == "" {
				value = url.QueryEscape(p.value) // in key=value nothing is escaped so
			}
			own = append(own, dialect.Parameter{Name: p.key, Value: value})
		case p.key == targetKey:
			require = p.value
			if !slices.Contains(targets, require) {
				return nil, nil, fmt.Errorf("%s of the DSN is none of %s", targetKey, strings.Join(targets, ", "))
			}
		case p.key == balanceKey:
			switch p.value {
			case "disable":
				strategy = "ordered"
			case "random":
				strategy = "balanced"
			default:
				return nil, nil, fmt.Errorf("%s of the DSN is neither disable nor random", balanceKey)
			}
		case p.key != "host" && p.key != "port":
			others = append(others, p)
		}
	}
	has := func(key string) bool {
		return slices.ContainsFunc(own, func(p dialect.Parameter) bool { return p.Name == prefix+key })
	}
	if strategy == "" {
		strategy = "ordered" // the hosts in the order in which they are written, as in libpq
	}
	if !has("strategy") {
		own = append(own, dialect.Parameter{Name: prefix + "strategy", Value: strategy})
	}
	if require != "" && !has("require") {
		own = append(own, dialect.Parameter{Name: prefix + "require", Value: require})
	}
	return own, others, nil
}

// strategyOf returns the value of the parameter strategy.
func strategyOf(own []dialect.Parameter, prefix string) string {
	for _, p := range own {
		if p.Name == prefix+"strategy" {
			value, _ := url.QueryUnescape(p.Value)
			return value
		}
	}
	return ""
}

// with returns a DSN with one host. Where the whole DSN says what a server must
// be, the driver is told that any will do: else it would ask the environment.
func (c *conninfo) with(a hostPort, others []param) string {
	return c.rewritten(a, others, c.has(targetKey))
}

// rewritten returns the DSN with one host and the given parameters. judged says
// that the driver is told that any server will do.
func (c *conninfo) rewritten(a hostPort, others []param, judged bool) string {
	if c.scheme == "" {
		var words []string
		for _, p := range others {
			words = append(words, p.key+"="+quoted(p.value))
		}
		words = append(words, "host="+quoted(a.host), "port="+a.port)
		if judged {
			words = append(words, targetKey+"=any")
		}
		return strings.Join(words, " ")
	}
	var pairs []string
	for _, p := range others {
		if p.pair != "" {
			pairs = append(pairs, p.pair)
		}
	}
	if judged {
		pairs = append(pairs, targetKey+"=any")
	}
	dsn := c.scheme + c.userinfo + a.written() + ":" + a.port + c.path
	if len(pairs) > 0 {
		dsn += "?" + strings.Join(pairs, "&")
	}
	return dsn
}

// A hostPort is where one server is. The host may be the directory of a socket.
type hostPort struct{ host, port string }

var errNoHost = errors.New("the DSN names no host: write it as postgres://user:password@host1,host2/database")

// addresses returns the hosts of the DSN. One port is that of all hosts; else
// there are as many as hosts. An empty one is the default.
func (c *conninfo) addresses() ([]hostPort, error) {
	if c.value("host") == "" {
		return nil, errNoHost
	}
	hosts, ports := strings.Split(c.value("host"), ","), strings.Split(c.value("port"), ",")
	if len(ports) != 1 && len(ports) != len(hosts) {
		return nil, fmt.Errorf("the DSN has %d ports for %d hosts: write one port for all, or one for each", len(ports), len(hosts))
	}
	var all []hostPort
	for i, host := range hosts {
		port := ports[i%len(ports)]
		if port == "" {
			port = defaultPort
		}
		n, err := strconv.ParseUint(port, 10, 16)
		switch {
		case host == "":
			return nil, fmt.Errorf("host %d of the DSN is empty: take the comma out", i+1)
		case !isHost(host):
			return nil, fmt.Errorf("host %d of the DSN is none: in a URI write special characters of a user or password as in %%40 for an @, and in key=value write ports in the key port", i+1)
		case err != nil || n == 0:
			return nil, fmt.Errorf("the port of host %d of the DSN is not a number from 1 to 65535: write a colon in a user or password as %%3A", i+1)
		}
		all = append(all, hostPort{host, strconv.FormatUint(n, 10)})
	}
	return all, nil
}

// isSocket reports whether a host is the directory of a socket.
func isSocket(host string) bool { return host[0] == '/' }

// isHost reports whether a host is a name, an address or a path. Other texts are
// not shown, and a host is.
func isHost(host string) bool {
	if strings.Contains(host, ":") && !isSocket(host) {
		_, err := netip.ParseAddr(host)
		return err == nil
	}
	return !strings.ContainsFunc(host, func(r rune) bool {
		if isSocket(host) {
			return !unicode.IsPrint(r) || r == '@' || r == '='
		}
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-._", r)
	})
}

// name returns the address: that of the socket's file, or with the port.
func (a hostPort) name() string {
	if isSocket(a.host) {
		return path.Join(a.host, ".s.PGSQL."+a.port)
	}
	return net.JoinHostPort(a.host, a.port)
}

// written returns the host as a URI has it.
func (a hostPort) written() string {
	if strings.Contains(a.host, ":") && !isSocket(a.host) {
		return "[" + strings.ReplaceAll(a.host, "%", "%25") + "]"
	}
	return escaped(a.host)
}
