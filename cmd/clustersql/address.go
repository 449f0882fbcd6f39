package main

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"
)

// addressOf returns the address that a DSN leads to, as host:port or as the path of
// a socket; "" if it cannot be read.
func addressOf(k kind, dsn string) string {
	if k == kindPostgres {
		cfg, err := pgconn.ParseConfig(dsn)
		if err != nil {
			return ""
		}
		_, address := pgconn.NetworkAddress(cfg.Host, cfg.Port)
		return address
	}
	cfg, err := mysql.ParseDSN(dsn)
	if err != nil {
		return ""
	}
	return cfg.Addr
}

// isLocal reports whether an address is on this machine.
func isLocal(address string) bool {
	if strings.HasPrefix(address, "/") || strings.HasPrefix(address, "@") {
		return true
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// cure says what to do about the error of a node.
func (f *facts) cure(k kind) string {
	var my *mysql.MySQLError
	var pg *pgconn.PgError
	var dns *net.DNSError
	switch {
	case errors.As(f.err, &my):
		return cureMySQL(my)
	case errors.As(f.err, &pg):
		return curePostgres(pg)
	case errors.As(f.err, &dns):
		return "the name service does not know the host: correct the host in the dsn"
	case strings.Contains(f.err.Error(), "connection refused"):
		return fmt.Sprintf("nothing listens on %s: start the server, or correct host and port in the dsn", f.address)
	case strings.Contains(strings.ToLower(f.err.Error()), "tls"), strings.Contains(f.err.Error(), "x509"):
		return "the connection cannot be encrypted as the dsn says: correct tls (sslmode) there, or the server's certificate"
	}
	return fmt.Sprintf("%s does not answer as a server does: see whether it hangs, whether a firewall drops its packets, and whether host and port in the dsn are right", f.address)
}

func cureMySQL(err *mysql.MySQLError) string {
	switch err.Number {
	case 1045, 1698:
		return "the server knows no such account with this password: correct user and password in the dsn, or CREATE USER there"
	case 1044:
		return "the account may not use the database: GRANT it the rights there, or correct the database in the dsn"
	case 1049:
		return "there is no such database on this node: create it, or correct the database in the dsn"
	case 1040, 1203, 1226:
		return "no connection is free: raise max_connections there, or lower the pools"
	case 1129:
		return "the server has locked this host out for broken handshakes: FLUSH HOSTS there, and raise max_connect_errors"
	case 1130:
		return "the server does not admit this host: CREATE USER for it there"
	case 1047:
		return "the node refuses work: see wsrep_cluster_status and wsrep_reject_queries there: bring it back into its group, or SET GLOBAL wsrep_reject_queries = NONE"
	case 1820, 1862, 4151:
		return "the account is locked, or its password has expired: ALTER USER there"
	}
	return "see error " + fmt.Sprint(err.Number) + " in the server's manual, and correct the dsn or the server"
}

func curePostgres(err *pgconn.PgError) string {
	switch {
	case strings.HasPrefix(err.Code, "28"):
		return "the server refuses the login: correct user and password in the dsn, or pg_hba.conf there"
	case err.Code == "3D000":
		return "there is no such database on this node: create it, or correct the database in the dsn"
	case err.Code == "42501":
		return "the account may not use the database: GRANT CONNECT there"
	case err.Code == "53300":
		return "no connection is free: raise max_connections there, or lower the pools"
	case strings.HasPrefix(err.Code, "57P"):
		return "the server starts, stops or is in recovery: wait, or see its log"
	}
	return "see SQLSTATE " + err.Code + " in the server's manual, and correct the dsn or the server"
}
