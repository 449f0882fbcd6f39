// Package clustersql is a clustering meta-driver for database/sql. It wraps
// any backend driver, knows several nodes (name and DSN) of one replicated
// database, and multiplexes the backend's Open over them: the usable nodes are
// asked, all at once or one after the other, database/sql gets the first
// connection that is fit for use, and the others are closed. MariaDB Galera is what it is made for first;
// replication is the database's business, the client side is all ours.
//
//	d := clustersql.NewDriver(mysql.MySQLDriver{}, "read_conn")
//	d.AddNode("galera1", "user:password@tcp(dbhost1:3306)/db")
//	d.AddNode("galera2", "user:password@tcp(dbhost2:3306)/db")
//	d.AddNode("galera3", "user:password@tcp(dbhost3:3306)/db")
//	sql.Register("read_conn", d)
//	db, err := sql.Open("read_conn", "")
//
// A process may have several clusters. [RegisterFile] makes them from a
// config.toml, and the driver "clustersql" from a DSN with a list of hosts,
// for programs that take a driver name and a DSN and no more.
//
// # One open
//
// A connection is fit when dial, handshake and check have passed; the check
// is DO 1 for mysql, Ping for other backends, or [Config.Check]. The caller's
// deadline bounds an open as a whole, open_timeout where there is none, and
// attempt_timeout each node's attempt. A server that accepts and keeps silent
// costs its own attempt, not the open.
//
// Losing is not an error. An attempt that has started when another node wins
// runs on for loser_grace and is then closed with the backend's Close, so
// that the server does not count a broken handshake; one that has not started
// never does. A node has at most max_opens_per_node attempts in flight.
//
// While no node is usable, or all have failed for reasons that may pass, an
// open waits for the first to come up, and asks again. It starts no attempts
// meanwhile: down nodes are tested by their actors alone, at most about eight
// times a second while somebody waits.
//
// Errors of single nodes are masked while another node wins. They show in
// [Driver.Status], in the expvar map under the cluster's name, and, when they
// change the node's state, in the log and as an [Event] for [Config.OnEvent].
// When no node wins in time, the open fails with an [*OpenError] that lists
// all of them.
//
// # Strategies
//
// [Config.Strategy] says which nodes an open asks, in which order and when.
// [Race], the default, asks all usable nodes at once. [Hedged], [Balanced] and
// [Ordered] ask one, and the next when that one fails or is slower than it is
// used to be; on a cluster that is well an open then costs one connection. A
// node that was overtaken in this way is suspect, so that the next opens do
// not go there first, and is checked every probe_interval with a fresh
// connection until that comes as fast as it should have. A program may bring
// a [Strategy] of its own. [WithPriority] and [WithWeight] are about single
// nodes.
//
// # Nodes
//
// Each node is an actor: one goroutine that owns the node's state, latency
// history and last error. The actors run from the first sql.Open to the last
// DB's Close. Each keeps one probe connection and checks it once per
// probe_interval, so that states are known before the first query. A node
// that refuses is left out of opens at once, a silent one after fall signs of
// silence, while another node is usable; it comes back after rise good
// checks. Connections that the pool holds of a node that went down are
// closed where they lie, or discarded by the pool instead of being handed out.
//
// # Balance over time
//
// A node that has come back, or was added, gets its share of connections as
// [Config.Rebalance] has it: what is too many on others gives way, a fifth in a
// second, where it lies idle or when it is put back, and never under work.
// Ordered prefers a node again when it has been up for failback_after.
// [Driver.Drain] and [Driver.DelNode] take nothing new, let work end, and cut
// what outlasts drain_timeout.
//
// # Errors of statements
//
// A whole statement that a node refuses is one that has not run: outside a
// transaction database/sql sends it to another node, and the caller does not
// see it. What may have run, in full or in part, is never run again unless
// the caller says that it may be, with [Idempotent] or [Config.Idempotent];
// where that is the question, the error is an [ErrUnknownOutcome]. In a
// transaction every error reaches the caller, and none is a
// driver.ErrBadConn. A [*NodeError] names the node; all other errors are
// the backend's as they are.
//
// # Connections
//
// The connections wrap those of the backend and answer every optional
// interface of database/sql/driver as the backend does. [Conn] gives the
// backend's connection back for sql.Conn.Raw.
package clustersql
