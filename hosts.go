package clustersql

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/EnumApps/clustersql/internal/redact"
)

// parameterPrefix begins the DSN parameters that are the cluster's own.
const parameterPrefix = "clustersql."

// A hostList is a mysql DSN with a list of hosts, taken apart.
type hostList struct {
	nodes      []hostNode
	database   string
	parameters []parameter     // the cluster's own, without the prefix, in order
	redact     redact.Redactor // for texts made of parts of the DSN
}

// A hostNode is one host of the list: its address with the port, and the DSN
// with this one address and without the cluster's own parameters.
type hostNode struct{ name, dsn string }

type parameter struct{ key, value string }

// splitHosts takes a DSN like user:pw@tcp(h1:3306,h2:3306)/db?clustersql.rise=3
// apart. As the mysql driver does, it takes the last slash for the one before
// the database, and the last @ before that for the end of the password. The
// error holds no part of the DSN's secrets.
func splitHosts(dsn string) (hostList, error) {
	secrets, known := mysqlSecrets(dsn)
	l := hostList{redact: redact.New(dsn, secrets, known)}
	slash := strings.LastIndexByte(dsn, '/')
	if slash < 0 {
		return l, errors.New("the DSN has no slash before the database: write it as user:password@tcp(host1,host2)/database")
	}
	at := strings.LastIndexByte(dsn[:slash], '@') + 1
	network, hosts, found := strings.Cut(dsn[at:slash], "(")
	if found {
		if !strings.HasSuffix(hosts, ")") {
			return l, errors.New("the DSN's host list does not end with \")\" before the last slash: close it, and write slashes in parameters as %2F")
		}
		hosts = strings.TrimSuffix(hosts, ")")
	}
	if network == "" {
		network = "tcp"
	}
	path, query, _ := strings.Cut(dsn[slash:], "?")
	query, err := l.takeParameters(query)
	if err != nil {
		return l, err
	}
	for _, host := range strings.Split(hosts, ",") {
		if err := l.add(network, strings.TrimSpace(host), found, dsn[:at], path+query); err != nil {
			return l, err
		}
	}
	cfg, err := parseMySQL(l.nodes[0].dsn)
	if err != nil {
		return l, errors.New(l.redact.Error(err))
	}
	l.database = cfg.DBName
	return l, nil
}

// add appends the node of one host; there need not be any host when there are
// no brackets either.
func (l *hostList) add(network, host string, brackets bool, userinfo, rest string) error {
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
		full, err := withPort(host)
		if err != nil {
			return fmt.Errorf("host %s: %w", l.redact.Text(strconv.Quote(host)), err)
		}
		host = full
	}
	if slices.ContainsFunc(l.nodes, func(n hostNode) bool { return n.name == host }) {
		return fmt.Errorf("the DSN's host list has %s twice: take one out", l.redact.Text(host))
	}
	l.nodes = append(l.nodes, hostNode{host, userinfo + network + "(" + host + ")" + rest})
	return nil
}

// withPort adds mysql's port where a host has none.
func withPort(host string) (string, error) {
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
	joined := net.JoinHostPort(bare, "3306")
	if _, _, err := net.SplitHostPort(joined); err != nil {
		return "", errors.New("that is none: write host:3306 or [::1]:3306, with commas between hosts")
	}
	return joined, nil
}

// takeParameters moves the cluster's own parameters out of a query and
// returns what is left, with the question mark if that is anything.
func (l *hostList) takeParameters(query string) (string, error) {
	var others []string
	for _, p := range strings.Split(query, "&") {
		name, value, _ := strings.Cut(p, "=")
		if len(name) < len(parameterPrefix) || !strings.EqualFold(name[:len(parameterPrefix)], parameterPrefix) {
			if p != "" {
				others = append(others, p)
			}
			continue
		}
		key, ours := strings.CutPrefix(name, parameterPrefix)
		if _, known := settingFields[key]; !ours || !known && key != "name" {
			return "", fmt.Errorf("unknown parameter %s: there are %sname, %s%s", l.redact.Text(name), parameterPrefix,
				parameterPrefix, strings.Join(settingKeys, ", "+parameterPrefix))
		}
		if slices.ContainsFunc(l.parameters, func(p parameter) bool { return p.key == key }) {
			return "", fmt.Errorf("parameter %s is there twice: take one out", name)
		}
		value, err := url.QueryUnescape(value)
		if err != nil {
			return "", fmt.Errorf("parameter %s: %s: write a percent sign as %%25", name, l.redact.Error(err))
		}
		l.parameters = append(l.parameters, parameter{key, value})
	}
	if len(others) == 0 {
		return "", nil
	}
	return "?" + strings.Join(others, "&"), nil
}

// config returns the cluster's settings as the parameters say. The error
// holds no part of the DSN's secrets.
func (l hostList) config() (Config, error) {
	cfg := DefaultConfig()
	for _, p := range l.parameters {
		if p.key == "name" {
			continue
		}
		if err := cfg.setText(p.key, p.value); err != nil {
			return cfg, fmt.Errorf("parameter %s%s", parameterPrefix, l.redact.Error(err))
		}
	}
	if err := cfg.validate(); err != nil {
		return cfg, fmt.Errorf("parameter %s%s", parameterPrefix, l.redact.Error(err))
	}
	return cfg, nil
}

// name returns the cluster's name: the parameter, or else one made of the
// database and the hosts.
func (l hostList) name() string {
	for _, p := range l.parameters {
		if p.key == "name" && p.value != "" {
			return p.value
		}
	}
	hosts := make([]string, len(l.nodes))
	for i, n := range l.nodes {
		hosts[i] = n.name
	}
	return fmt.Sprintf("clustersql/%s@%s", l.database, strings.Join(hosts, ","))
}
