package main

import (
	"cmp"
	"encoding"
	"fmt"
	"net"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/conffile"
	mysqldialect "github.com/EnumApps/clustersql/internal/mysql"
	"github.com/EnumApps/clustersql/internal/postgres"
)

// rules are what lint looks for.
var rules = map[string]string{
	"decode":           "What the registry refuses.",
	"syntax":           "The file is not TOML.",
	"unknown-key":      "There is no such key.",
	"variable":         "An environment variable is not set.",
	"driver":           "The driver is one that only the program has.",
	"clear-password":   "A password stands in the file.",
	"same-address":     "Two nodes of a cluster have one address.",
	"several-hosts":    "One node's DSN names several hosts.",
	"one-node":         "A cluster of one node has nothing to fail over to.",
	"even-galera":      "An even number of Galera nodes has no majority when the half of it is lost.",
	"require-strategy": "The strategy does not suit what the cluster requires.",
	"timeouts":         "Two times contradict each other.",
	"lag":              "A limit of lag that can never matter.",
	"weights":          "Weights that nothing uses.",
	"tiers":            "No node is of the first tier, or a tier that nothing uses.",
	"nodes-differ":     "The nodes' DSNs differ in more than the address.",
	"statements":       "A parameter of the DSN keeps statements from being moved to another node.",
}

// A linter looks for what decoding cannot see.
type linter struct {
	file  *conffile.File
	found []finding
}

// A lintNode is one node as lint reads it.
type lintNode struct {
	*conffile.Node
	dsn      string        // as far as its variables are set
	address  string        // "" if it cannot be read
	cfg      *mysql.Config // of a mysql DSN; nil if it cannot be read
	rest     string        // what must be equal on all nodes: account, database and parameters
	clear    bool          // a password stands in the file
	priority int64
	weight   bool // is set
}

func (l *linter) run() []finding {
	for i := range l.file.Clusters {
		c := &l.file.Clusters[i]
		k := kindOf(c.Driver)
		nodes := make([]lintNode, len(c.Nodes))
		for j := range c.Nodes {
			nodes[j] = readNode(k, &c.Nodes[j])
		}
		config := configOf(slices.Concat(l.file.Settings, c.Settings))
		if config.Discover == clustersql.DiscoverOff { // else there may be more nodes
			l.nodes(c, nodes)
		}
		l.addresses(nodes)
		l.strategy(c, config, nodes)
		l.times(c, config, nodes)
	}
	return l.found
}

// configOf applies settings to the defaults. It leaves out what cannot be read.
func configOf(settings []conffile.Setting) clustersql.Config {
	config := clustersql.DefaultConfig()
	fields := reflect.ValueOf(&config).Elem()
	for _, s := range settings {
		for i := range fields.NumField() {
			if fields.Type().Field(i).Tag.Get("toml") == s.Key {
				set(fields.Field(i).Addr().Interface(), s.Value)
			}
		}
	}
	d := clustersql.NewDriver(mysql.MySQLDriver{}, "lint", func(c *clustersql.Config) { *c = config })
	defer d.Close()
	return d.Config()
}

// set sets a field of Config from a value of a file.
func set(field, value any) {
	text, _ := value.(string)
	switch field := field.(type) {
	case encoding.TextUnmarshaler:
		_ = field.UnmarshalText([]byte(text))
	case *time.Duration:
		if d, err := time.ParseDuration(text); err == nil {
			*field = d
		}
	case *int:
		if n, ok := value.(int64); ok {
			*field = int(n)
		}
	case *bool:
		*field, _ = value.(bool)
	case *string:
		*field = text
	}
}

func readNode(k kind, in *conffile.Node) lintNode {
	n := lintNode{Node: in, priority: 0}
	for _, s := range in.Settings {
		switch s.Key {
		case "priority":
			n.priority, _ = s.Value.(int64)
		case "weight":
			n.weight = true
		}
	}
	if a := in.Account; a != nil {
		n.address = net.JoinHostPort(strings.ToLower(a.Host), fmt.Sprint(a.Port))
		n.rest = a.User + "/" + a.DB
		n.clear = a.Password != ""
		n.dsn, _ = mysqldialect.Account(*a).DSN()
		n.cfg, _ = mysql.ParseDSN(n.dsn)
		return n
	}
	n.dsn = expandSome(in.DSN)
	n.clear = clearPassword(k, in.DSN)
	if k == kindPostgres {
		if list, err := (postgres.Dialect{}).SplitHosts(n.dsn, "clustersql."); err == nil {
			var names []string
			for _, h := range list.Hosts {
				names = append(names, h.Name)
			}
			n.address, n.rest = strings.ToLower(strings.Join(names, ",")), list.Database
		}
		return n
	}
	cfg, err := mysql.ParseDSN(n.dsn)
	if err != nil {
		return n
	}
	n.cfg, n.address = cfg, strings.ToLower(cfg.Addr)
	rest := cfg.Clone()
	rest.Addr, rest.Passwd, rest.TLS = "", "", nil
	n.rest = rest.FormatDSN()
	return n
}

// expandSome replaces the variables that are set.
func expandSome(dsn string) string {
	return variable.ReplaceAllStringFunc(dsn, func(m string) string {
		if value := os.Getenv(strings.Trim(m, "${}")); value != "" && !strings.HasPrefix(m, "$$") {
			return value
		}
		return m
	})
}

// clearPassword reports whether a DSN has a password that is no variable.
func clearPassword(k kind, dsn string) bool {
	d := k.dialect()
	if d == nil || variable.FindString(dsn) == dsn {
		return false
	}
	secrets, known := d.Secrets(dsn)
	if k == kindMySQL {
		secrets = secrets[:min(1, len(secrets))] // the next is the account with its password
	}
	return known && slices.ContainsFunc(secrets, func(s string) bool {
		return s != "" && variable.ReplaceAllString(s, "") != ""
	})
}

func (l *linter) add(rule, level string, err error) {
	l.found = append(l.found, ofMistake(err, rule, level))
}

func (l *linter) warn(rule string, at func(error) error, format string, args ...any) {
	l.add(rule, levelWarning, at(fmt.Errorf(format, args...)))
}

// setting returns what makes errors about a setting of a cluster, at its line where
// it is written, and whether it is written.
func (l *linter) setting(c *conffile.Cluster, key string) (at func(error) error, written bool) {
	for _, s := range slices.Concat(c.Settings, l.file.Settings) {
		if s.Key == key {
			return s.Wrong, true
		}
	}
	return func(err error) error { return c.Wrong("name", err) }, false
}

func (l *linter) isGalera(c *conffile.Cluster) bool {
	for _, s := range slices.Concat(l.file.Settings, c.Settings) {
		if s.Key == "check" && s.Value == "galera" {
			return true
		}
	}
	return false
}

// nodes looks at how many nodes there are.
func (l *linter) nodes(c *conffile.Cluster, nodes []lintNode) {
	cluster := func(err error) error { return c.Wrong("name", err) }
	if len(nodes) == 1 {
		l.warn("one-node", cluster, "the cluster has one node: nothing can take its place: add the others")
	}
	if len(nodes)%2 == 0 && l.isGalera(c) {
		l.warn("even-galera", cluster, "the cluster has %d Galera nodes: if half of them are lost, the rest has no majority and refuses work: "+
			"add a node, or an arbitrator (garbd), which is no node of this file", len(nodes))
	}
	first := slices.MinFunc(nodes, func(a, b lintNode) int { return cmp.Compare(a.priority, b.priority) })
	if first.priority > 0 {
		l.warn("tiers", first.Wrong, "no node has priority 0: the first tier is that of priority %d: write 0 for it", first.priority)
	}
	for i := range nodes[1:] {
		if a, b := &nodes[0], &nodes[i+1]; a.rest != b.rest && a.rest != "" && b.rest != "" {
			l.warn("nodes-differ", b.Wrong, "account, database or parameters are not those of node %s: a statement may find another world after a failover: "+
				"write them alike, but for the address", conffile.QuoteName(a.Name))
		}
	}
}

// addresses looks at each DSN.
func (l *linter) addresses(nodes []lintNode) {
	seen := make(map[string]string)
	for i := range nodes {
		n := &nodes[i]
		if n.clear {
			l.warn("clear-password", n.Wrong, "a password stands in the file in clear text: write ${DB_PASSWORD} in its place, and set that variable for the program")
		}
		address := cmp.Or(n.address, n.DSN)
		if other, twice := seen[address]; twice {
			l.warn("same-address", n.Wrong, "node %s has the same address: they are one server, which counts twice and cannot take its own place: "+
				"correct the address, or take one out", conffile.QuoteName(other))
		} else {
			seen[address] = n.Name
		}
		if strings.Contains(n.address, ",") {
			l.warn("several-hosts", n.Wrong, "the DSN of one node names several hosts: write a [[cluster.node]] for each, so that each is watched")
		}
		switch {
		case n.cfg == nil:
		case n.cfg.MultiStatements:
			l.warn("statements", n.Wrong, "multiStatements=true: a refused statement may have run in part, so it is not moved to another node: leave it out where no program needs it")
		case slices.Contains([]string{"0", "false", "off", "no"}, strings.ToLower(n.cfg.Params["autocommit"])):
			l.warn("statements", n.Wrong, "autocommit is off: every statement is in a transaction, and none is moved to another node: leave it out, and use transactions where they are needed")
		}
	}
}

// strategy looks at what the settings make of the nodes.
func (l *linter) strategy(c *conffile.Cluster, config clustersql.Config, nodes []lintNode) {
	at, _ := l.setting(c, "strategy")
	name := config.Strategy.String()
	writes := config.Require == clustersql.RequireReadWrite || config.Require == clustersql.RequireWritable
	if writes && name != "ordered" && l.isGalera(c) {
		l.warn("require-strategy", at, "require is %q and the strategy %q: writers of one program are spread over all Galera nodes, whose transactions then collide (error 1213): "+
			"use strategy = \"ordered\"", config.Require, name)
	}
	if (config.Require == clustersql.RequireStandby || config.Require == clustersql.RequireReadOnly) && name == "ordered" && len(nodes) > 2 {
		l.warn("require-strategy", at, "require is %q and the strategy \"ordered\": all reads go to one standby, and the others lie idle: use strategy = \"balanced\"", config.Require)
	}
	if i := slices.IndexFunc(nodes, func(n lintNode) bool { return n.weight }); i >= 0 && name != "balanced" && config.Rebalance != clustersql.RebalanceShares {
		for _, s := range nodes[i].Settings {
			if s.Key == "weight" {
				l.warn("weights", s.Wrong, "only strategy = \"balanced\" uses weights, and this cluster's is %q: set it, or leave the weight out", name)
			}
		}
	}
	if config.MaxLag > 0 {
		at, _ := l.setting(c, "max_lag")
		switch {
		case writes || config.Require == clustersql.RequirePrimary:
			l.warn("lag", at, "require is %q: only a primary is used, and a primary does not lag: leave max_lag out, or require something else", config.Require)
		case l.isGalera(c):
			l.warn("lag", at, "Galera's nodes are no replicas and tell no lag: leave max_lag out, and set wsrep_sync_wait for reads that must be new")
		}
	}
}

// times looks for times that contradict each other.
func (l *linter) times(c *conffile.Cluster, config clustersql.Config, nodes []lintNode) {
	found := time.Duration(1.2*float64(config.ProbeInterval)) + time.Duration(config.Fall)*config.ProbeTimeout
	if config.OpenTimeout < found {
		at, _ := l.setting(c, "open_timeout")
		l.warn("timeouts", at, "open_timeout is %s, and a silent node is taken down after up to %s (1.2 × probe_interval + fall × probe_timeout): opens may end before that: "+
			"raise open_timeout, or lower the others", config.OpenTimeout, found)
	}
	if config.LoserGrace > config.AttemptTimeout {
		at, _ := l.setting(c, "loser_grace")
		l.warn("timeouts", at, "loser_grace is %s, and attempt_timeout (%s) ends a loser before: lower loser_grace, or raise attempt_timeout", config.LoserGrace, config.AttemptTimeout)
	}
	if config.MaxAge > 0 && config.MaxAge < config.RebalanceAfter {
		at, _ := l.setting(c, "max_age")
		l.warn("timeouts", at, "max_age is %s, below rebalance_after (%s): connections are gone before they could be moved: raise max_age", config.MaxAge, config.RebalanceAfter)
	}
	for i := range nodes {
		n := &nodes[i]
		if n.cfg == nil {
			continue
		}
		if t := n.cfg.Timeout; t > config.AttemptTimeout {
			l.warn("timeouts", n.Wrong, "timeout=%s is above attempt_timeout (%s), which ends the dial before: lower it, or raise attempt_timeout", t, config.AttemptTimeout)
		}
		if t := n.cfg.ReadTimeout; t > 0 && t < config.ProbeTimeout {
			l.warn("timeouts", n.Wrong, "readTimeout=%s is below probe_timeout (%s): it ends probes, and statements of your own that take longer: raise it above your longest statement", t, config.ProbeTimeout)
		}
	}
}
