package main

import (
	"net/url"

	clusterpgx "github.com/EnumApps/clustersql/pgx"
	"github.com/go-sql-driver/mysql"
)

// A dialect is how the demo speaks to the nodes' database.
type dialect struct {
	driver string // the plain driver's name in database/sql
	config string // the file of the clusters, if the command line names none
	// dsn returns the node's own DSN, for what the demo does without the
	// application.
	dsn func(c *cluster, n *node) string

	read, insert string // statements of the application
	// again says that an insert may run twice: a row that is there stays as it
	// is.
	again bool
}

var mysqlDialect = dialect{
	driver: "mysql", config: "config.toml",
	dsn: func(c *cluster, n *node) string {
		cfg := mysql.NewConfig()
		cfg.Net, cfg.Addr = "tcp", n.forward.addr
		cfg.User, cfg.Passwd, cfg.DBName = c.user, c.password, c.database
		return cfg.FormatDSN()
	},
	read:   "SELECT text FROM event WHERE id = ?",
	insert: "INSERT INTO event (id, text) VALUES (?, ?)",
}

var postgresDialect = dialect{
	driver: clusterpgx.Name, config: "postgres.toml",
	dsn: func(c *cluster, n *node) string {
		u := url.URL{Scheme: "postgres", User: url.User(c.user), Host: n.forward.addr, Path: c.database, RawQuery: "sslmode=disable"}
		return u.String()
	},
	read:   "SELECT text FROM event WHERE id = $1",
	insert: "INSERT INTO event (id, text) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING",
	again:  true,
}
