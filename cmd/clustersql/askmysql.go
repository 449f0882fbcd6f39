package main

import (
	"context"
	"database/sql"
	"slices"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
)

// trips is how many round trips are measured; the median counts.
const trips = 7

// askMySQL asks one node of MariaDB, MySQL or Galera. It only reads, but for a
// setting of its own connection.
func (f *facts) askMySQL(ctx context.Context) {
	cfg, err := mysql.ParseDSN(f.dsn)
	if err != nil {
		f.err = err
		return
	}
	cfg.Logger = noLogger{}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		f.err = err
		return
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	began := time.Now()
	conn, err := db.Conn(ctx)
	if err != nil {
		f.err = err
		return
	}
	defer conn.Close()
	f.connect, f.reached = time.Since(began), true
	if _, err := conn.ExecContext(ctx, "DO 1"); err != nil {
		f.err = err
	}
	f.vars = f.pairs(ctx, conn, "SHOW GLOBAL VARIABLES")
	f.status = f.pairs(ctx, conn, "SHOW GLOBAL STATUS")
	for name, value := range f.pairs(ctx, conn, "SHOW SESSION STATUS LIKE 'Ssl_cipher'") {
		if name == "ssl_cipher" {
			f.tls = value
		}
	}
	if f.err != nil {
		return // it refuses the rest
	}
	f.askClock(ctx, conn, "SELECT UNIX_TIMESTAMP(NOW(6))")
	f.askGrants(ctx, conn)
	if f.vars["wsrep_on"] == "ON" {
		f.askCausal(ctx, conn)
		return
	}
	f.askReplication(ctx, conn)
}

// pairs returns the rows of a statement that shows names and values. Names are in
// lower case.
func (f *facts) pairs(ctx context.Context, conn *sql.Conn, query string) map[string]string {
	all := make(map[string]string)
	rows, err := conn.QueryContext(ctx, query)
	if err != nil {
		f.untold[query] = err
		return all
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var value sql.NullString
		if err := rows.Scan(&name, &value); err != nil {
			break
		}
		all[strings.ToLower(name)] = value.String
	}
	if err := rows.Err(); err != nil {
		f.untold[query] = err
	}
	return all
}

// askClock measures round trips and the node's clock. query returns the seconds
// since 1970.
func (f *facts) askClock(ctx context.Context, conn *sql.Conn, query string) {
	var all []time.Duration
	for range trips {
		began := time.Now()
		var seconds float64
		if err := conn.QueryRowContext(ctx, query).Scan(&seconds); err != nil {
			f.untold["the clock"] = err
			return
		}
		took := time.Since(began)
		if len(all) == 0 || took < slices.Min(all) {
			middle := began.Add(took / 2)
			there := time.UnixMicro(int64(seconds * 1e6))
			f.skew, f.skewOf = there.Sub(middle), took/2
		}
		all = append(all, took)
	}
	slices.Sort(all)
	f.trip = all[len(all)/2]
}

// askGrants reads what the account may do.
func (f *facts) askGrants(ctx context.Context, conn *sql.Conn) {
	rows, err := conn.QueryContext(ctx, "SHOW GRANTS")
	if err != nil {
		f.untold["SHOW GRANTS"] = err
		return
	}
	defer rows.Close()
	var all []string
	for rows.Next() {
		var grant string
		if rows.Scan(&grant) == nil {
			// What follows the account may be the hash of its password.
			grant, _, _ = strings.Cut(grant, " IDENTIFIED ")
			all = append(all, grant)
		}
	}
	f.grants = strings.ToUpper(strings.Join(all, "\n"))
}

// askCausal measures how long a read waits that must see all that the group has
// committed.
func (f *facts) askCausal(ctx context.Context, conn *sql.Conn) {
	if _, err := conn.ExecContext(ctx, "SET SESSION wsrep_sync_wait = 1"); err != nil {
		f.causalBy = err
		return
	}
	var all []time.Duration
	for range trips {
		began := time.Now()
		var n int
		if f.causalBy = conn.QueryRowContext(ctx, "SELECT COUNT(*) FROM information_schema.SCHEMATA").Scan(&n); f.causalBy != nil {
			return
		}
		all = append(all, time.Since(began))
	}
	slices.Sort(all)
	f.causal = all[len(all)/2]
	// The connection is closed after this, so its setting goes with it.
}
