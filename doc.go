// Package clustersql is a clustering meta-driver for database/sql. It wraps any
// backend driver and knows several nodes (name and DSN) of one replicated
// database. When database/sql needs a connection, the cluster asks its usable
// nodes, all at once or one after the other. database/sql gets the first
// connection that is fit for use, and the others are closed. The package is
// made for MariaDB Galera first. Replication is the work of the database.
//
//	d := clustersql.NewDriver(mysql.MySQLDriver{}, "read_conn")
//	d.AddNode("galera1", "user:password@tcp(dbhost1:3306)/db")
//	d.AddNode("galera2", "user:password@tcp(dbhost2:3306)/db")
//	d.AddNode("galera3", "user:password@tcp(dbhost3:3306)/db")
//	sql.Register("read_conn", d)
//	db, err := sql.Open("read_conn", "")
//
// A process may have several clusters. [RegisterFile] makes them of a
// config.toml. The driver "clustersql" makes one of a DSN with a list of hosts,
// of mysql or of PostgreSQL, for programs that take only a driver name and a DSN.
//
// # One open
//
// A connection is fit when dial, handshake and check have passed. The check
// is DO 1 for mysql and Ping for other backends, or [Config.Check]. The caller's
// deadline bounds an open as a whole; open_timeout does where there is none.
// attempt_timeout bounds the attempt on each node. A server that accepts a
// connection and stays silent costs its own attempt, not the open.
//
// Losing is not an error. An attempt that has started when another node wins
// goes on for loser_grace. Then it is closed with the backend's Close, so that
// the server does not count a broken handshake. An attempt that has not started
// never starts. A node has at most max_opens_per_node attempts in flight.
//
// While no node is usable, or all have failed for reasons that may pass, an
// open waits for the first node to come up, and asks again. It starts no
// attempts meanwhile. Nodes that are down are tested by their actors alone, at
// most about eight times a second while somebody waits.
//
// Errors of single nodes are masked while another node wins. They show in
// [Driver.Status] and in the expvar map under the cluster's name. When they
// change the node's state, they also show in the log and as an [Event] for
// [Config.OnEvent]. When no node wins in time, the open fails with an
// [*OpenError] that lists all of them.
//
// # Strategies
//
// [Config.Strategy] says which nodes an open asks, in which order and when.
// [Race], the default, asks all usable nodes at once. [Hedged], [Balanced] and
// [Ordered] ask one node. They ask the next one when that fails, or takes longer
// than it usually does. On a healthy cluster an open then costs one connection.
//
// A node that is outrun in this way is suspect: the next opens ask it last.
// It is checked every probe_interval on a fresh connection, until such a
// connection comes as fast as it should have. [NewStrategy] makes a strategy of
// the program's own. [WithPriority] and [WithWeight] are settings of single
// nodes.
//
// # Dialects
//
// [Config.Dialect] is what the cluster knows of the database: its checks, its
// errors, the statements that may be sent again, and the secrets in its DSNs. The
// backend's type decides, unless the setting names one: go-sql-driver/mysql, pgx
// and lib/pq have a dialect, and all other drivers have the generic one. Name
// [DialectMySQL] or [DialectPostgres] for a driver that wraps one of these.
//
// # Nodes
//
// Each node is an actor: one goroutine that owns the node's state, latency
// history and last error. The actors run from the first sql.Open to the last
// Close of a sql.DB. Each keeps one probe connection and checks it once per
// probe_interval, so states are known before the first query.
//
// The probe's lasting connection speaks for established connections, a fresh dial
// for new ones. Trouble of new connections alone retires no established one.
//
// A node that refuses is left out of opens at once, and a silent one after fall
// signs of silence, while another node is usable. It comes back after rise good
// checks. Connections that the pool holds of a node that went down are closed
// where they lie idle, or discarded by the pool instead of being handed out.
//
// # Balance over time
//
// A node that has come back, or was added, gets its share of connections as
// [Config.Rebalance] has it. Connections that are too many on other nodes give
// way, a fifth of them in a second: where they lie idle, or when they are put
// back. Work on them always ends first. Ordered prefers a node again when it
// has been up for failback_after. [Driver.Drain] and [Driver.DelNode] take
// nothing new, let work end, and cut what is left after drain_timeout.
//
// # Errors of statements
//
// A whole statement that a node refuses has not run. Outside a transaction
// database/sql sends it to another node, and the caller does not see the
// refusal. What may have run, in full or in part, is never run again unless the
// caller allows it, with [Idempotent] or [Config.Idempotent]. The error is then
// an [ErrUnknownOutcome]. In a transaction every error reaches the caller. It is
// a driver.ErrBadConn only if the backend says so, and only where database/sql
// does not run anything again for it. A [*NodeError] names the node. All other
// errors are the backend's as they are.
//
// # Connections
//
// The connections wrap those of the backend and answer every optional
// interface of database/sql/driver as the backend does. [Conn] gives the
// backend's connection back for sql.Conn.Raw.
//
// # Reading the code
//
// The order to read it in: driver.go, manager.go, open.go, nodeactor.go,
// attempt.go, and the package internal/health. CONTRIBUTING.md shows all
// packages in one picture.
package clustersql
