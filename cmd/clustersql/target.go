package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/conffile"
	"github.com/EnumApps/clustersql/internal/dialect"
	mysqldialect "github.com/EnumApps/clustersql/internal/mysql"
	"github.com/EnumApps/clustersql/internal/postgres"
	"github.com/EnumApps/clustersql/internal/redact"
	clusterpgx "github.com/EnumApps/clustersql/pgx"
)

// A target is what a command was told to look at: the clusters of a file, or the
// one of a DSN. Whoever opened it closes it.
type target struct {
	name     string // the file's path, or "the DSN"
	clusters []*cluster
	registry *clustersql.Registry // of a file
	db       *sql.DB              // of a DSN
}

// A cluster is one cluster of a target.
type cluster struct {
	name   string
	kind   kind
	driver clustersql.Driver
	config clustersql.Config
	nodes  []node
}

// A node is one node as its driver reaches it.
type node struct {
	name, dsn        string
	priority, weight int
	hide             redact.Redactor // of what the DSN holds
}

// A kind is the database that a cluster's nodes are.
type kind uint8

const (
	kindOther kind = iota
	kindMySQL
	kindPostgres
)

func (k kind) dialect() dialect.Dialect {
	switch k {
	case kindMySQL:
		return mysqldialect.Dialect{}
	case kindPostgres:
		return postgres.Dialect{}
	}
	return nil
}

// fileKeys are the keys that a file may have.
var fileKeys = func() conffile.Keys {
	keys := conffile.Keys{Node: []string{"priority", "weight"}}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[clustersql.Config]()) {
		if key := f.Tag.Get("toml"); key != "" && key != "-" {
			keys.Settings = append(keys.Settings, key)
		}
	}
	return keys
}()

// silenceDrivers keeps what libraries log out of the commands' output.
func silenceDrivers() {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	_ = mysql.SetLogger(noLogger{})
}

type noLogger struct{}

func (noLogger) Print(...any) {}

// isURL reports whether an argument is the address of a running program's page.
func isURL(arg string) bool {
	return strings.HasPrefix(arg, "http://") || strings.HasPrefix(arg, "https://")
}

// isDSN reports whether an argument is a DSN and no file's path.
func isDSN(arg string) bool {
	if _, err := os.Stat(arg); err == nil {
		return false
	}
	return strings.Contains(arg, "${") || strings.Contains(arg, "://") || strings.ContainsAny(arg, "@()=")
}

// openTarget opens the clusters of a file or a DSN. It dials nothing.
func openTarget(arg string) (*target, error) {
	if isURL(arg) {
		return nil, errors.New("this command takes a FILE or a DSN, and no URL")
	}
	if isDSN(arg) {
		return openDSN(arg)
	}
	f, err := conffile.Read(arg, fileKeys)
	if err != nil {
		return nil, err
	}
	for i := range f.Clusters {
		if _, err := lendDriver(&f.Clusters[i]); err != nil {
			return nil, err
		}
	}
	registry, err := clustersql.Load(f.Path())
	if err != nil {
		return nil, err
	}
	t := &target{name: f.Path(), registry: registry}
	for _, description := range registry.Describe() {
		if d, ok := registry.Driver(description.Name); ok {
			t.add(d, description)
		}
	}
	return t, nil
}

// add adds a cluster.
func (t *target) add(d clustersql.Driver, description clustersql.Description) {
	c := &cluster{name: description.Name, driver: d, config: description.Config, kind: kindOf(description.Driver)}
	switch c.config.Dialect {
	case clustersql.DialectMySQL:
		c.kind = kindMySQL
	case clustersql.DialectPostgres:
		c.kind = kindPostgres
	case clustersql.DialectGeneric:
		c.kind = kindOther
	}
	c.take(description)
	t.clusters = append(t.clusters, c)
}

// take takes the nodes of a description.
func (c *cluster) take(description clustersql.Description) {
	c.nodes = nil
	var found []string
	for _, n := range c.driver.Status().Nodes {
		found = append(found, n.Name)
	}
	for _, in := range description.Nodes {
		if c.config.Discover != clustersql.DiscoverOff && !slices.Contains(found, in.Name) {
			continue // nodes are found for it
		}
		n := node{name: in.Name, dsn: in.DSN, priority: in.Priority, weight: max(1, in.Weight), hide: redact.New(in.DSN, nil, false)}
		if d := c.kind.dialect(); d != nil {
			secrets, known := d.Secrets(in.DSN)
			n.hide = redact.New(in.DSN, secrets, known)
		}
		c.nodes = append(c.nodes, n)
	}
}

// discover waits for what the sources of the cluster find, if it has any, and takes
// the nodes that there are then. The cluster must run.
func (c *cluster) discover(ctx context.Context, limit time.Duration) {
	if c.config.Discover == clustersql.DiscoverOff {
		return
	}
	answered(ctx, c.driver, limit)
	c.take(c.driver.Describe())
}

// kindOf returns the kind of a driver by its name in database/sql.
func kindOf(driver string) kind {
	switch driver {
	case "", "mysql":
		return kindMySQL
	case clusterpgx.Name, "pgx", "pgx/v5":
		return kindPostgres
	}
	return lent[driver]
}

// lent are the drivers of files that this program does not have, each with the
// kind of the driver that stands in for it.
var lent = make(map[string]kind)

// lendDriver registers a driver that stands in for the one that a cluster names, if
// this program does not have that: programs wrap drivers. It reports whether one
// stands in.
func lendDriver(c *conffile.Cluster) (bool, error) {
	name := c.Driver
	if _, known := lent[name]; known {
		return true, nil
	}
	if name == "" || slices.Contains(sql.Drivers(), name) {
		return false, nil
	}
	k := kindMySQL
	if len(c.Nodes) > 0 && (postgres.Dialect{}).Claims(c.Nodes[0].DSN) {
		k = kindPostgres
	}
	for _, s := range c.Settings {
		if text, ok := s.Value.(string); ok && s.Key == "dialect" {
			switch text {
			case "mysql":
				k = kindMySQL
			case "postgres":
				k = kindPostgres
			case "generic":
				return false, c.Wrong("driver", fmt.Errorf("this command has no driver %s: it has mysql, %s and pgx",
					conffile.QuoteName(name), clusterpgx.Name))
			}
		}
	}
	if k == kindPostgres {
		sql.Register(name, stdlib.GetDefaultDriver())
	} else {
		sql.Register(name, mysql.MySQLDriver{})
	}
	lent[name] = k
	return true, nil
}

// openDSN opens the cluster of a DSN with a list of hosts.
func openDSN(arg string) (*target, error) {
	dsn, err := expandDSN(arg)
	if err != nil {
		return nil, err
	}
	db, err := sql.Open("clustersql", dsn)
	if err != nil {
		return nil, err
	}
	d, ok := db.Driver().(clustersql.Driver)
	if !ok {
		db.Close()
		return nil, errors.New("the DSN makes no cluster: name its hosts, as in 'app:${DB_PASSWORD}@tcp(dbhost1,dbhost2)/db'")
	}
	description := d.Describe()
	if (postgres.Dialect{}).Claims(dsn) {
		description.Driver = clusterpgx.Name
	}
	t := &target{name: "the DSN", db: db}
	t.add(d, description)
	return t, nil
}

// expandDSN replaces the variables in a DSN of the command line, as in a file.
func expandDSN(arg string) (string, error) {
	var missing error
	dsn := variable.ReplaceAllStringFunc(arg, func(m string) string {
		if strings.HasPrefix(m, "$$") {
			return m[1:]
		}
		name := m[2 : len(m)-1]
		value := os.Getenv(name)
		if value == "" && missing == nil {
			missing = fmt.Errorf("the DSN: the environment variable %s is not set: set it, or write $${ for a \"${\" that is meant literally", name)
		}
		return value
	})
	return dsn, missing
}

// run has every cluster of the target probe its nodes, until stop is called.
func (t *target) run() (stop func()) {
	var dbs []*sql.DB
	if t.db == nil {
		for _, c := range t.clusters {
			dbs = append(dbs, sql.OpenDB(c.driver.Connector()))
		}
	}
	return func() {
		for _, db := range dbs {
			db.Close()
		}
	}
}

// only leaves one cluster in the target. An empty name leaves all.
func (t *target) only(name string) error {
	if name == "" {
		return nil
	}
	var names []string
	for _, c := range t.clusters {
		if c.name == name {
			t.clusters = []*cluster{c}
			return nil
		}
		names = append(names, c.name)
	}
	return fmt.Errorf("%s has no cluster %q: it has %s", t.name, name, strings.Join(names, ", "))
}

func (t *target) close() {
	if t.registry != nil {
		t.registry.Close()
	}
	if t.db != nil {
		t.db.Close()
	}
}

// text returns an error's text without what the node's DSN holds.
func (n *node) text(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "no answer in time"
	}
	return n.hide.Error(err)
}

// redactAll takes the secrets of the DSNs among the arguments out of a text.
func redactAll(args []string, text string) string {
	for _, a := range args {
		if !strings.HasPrefix(a, "-") && isDSN(a) {
			text = redact.New(a, nil, false).Text(text)
		}
	}
	return text
}
