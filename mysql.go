package clustersql

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql/internal/health"
)

// mysqlBackend is the backend of clusters made from a mysql DSN alone.
func mysqlBackend() driver.Driver { return mysql.MySQLDriver{} }

// isMySQL reports whether the backend is go-sql-driver/mysql itself, and not
// a driver that wraps it.
func isMySQL(backend driver.Driver) bool {
	switch backend.(type) {
	case mysql.MySQLDriver, *mysql.MySQLDriver:
		return true
	}
	return false
}

// parseMySQL is mysql.ParseDSN with its panic, for a parameter that it has
// dropped, made an error.
func parseMySQL(dsn string) (cfg *mysql.Config, err error) {
	defer func() {
		if r := recover(); r != nil {
			cfg, err = nil, fmt.Errorf("invalid DSN: %v", r)
		}
	}()
	return mysql.ParseDSN(dsn)
}

// mysqlConnector is the backend's connector for a DSN, which dials with [Dial]
// where the network is one of package net's.
func mysqlConnector(dsn string) (driver.Connector, error) {
	cfg, err := parseMySQL(dsn)
	if err != nil {
		return nil, err
	}
	if cfg.Net == "tcp" || cfg.Net == "unix" {
		cfg.DialFunc = Dial
		cfg.Logger = cutLogger{cfg.Logger}
	}
	return mysql.NewConnector(cfg)
}

// A cutLogger leaves out what the driver has to say of sockets that were
// closed under it: a cut is one line of ours.
type cutLogger struct{ mysql.Logger }

// Print passes a line on.
func (l cutLogger) Print(v ...any) {
	for _, x := range v {
		if err, ok := x.(error); ok && errors.Is(err, net.ErrClosed) {
			return
		}
	}
	l.Logger.Print(v...)
}

// mysqlSecrets returns what of a mysql DSN must not be shown. It is not known
// where the DSN cannot be parsed, or was parsed into something odd: with the
// slash before the database missing, the password is taken for the network.
func mysqlSecrets(dsn string) (secrets []string, known bool) {
	cfg, err := parseMySQL(dsn)
	if err != nil || !isNetwork(cfg.Net) || strings.Contains(dsn[strings.LastIndexByte(dsn, '/')+1:], "@") {
		return nil, false
	}
	if cfg.Passwd == "" {
		return nil, true
	}
	return []string{cfg.Passwd, cfg.User + ":" + cfg.Passwd}, true
}

func isNetwork(s string) bool {
	for _, r := range s {
		if !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("+-_.", r)) {
			return false
		}
	}
	return true
}

// mysqlTraits says what a mysql DSN does to every session. What cannot be
// known of it is what a cautious reader assumes.
func mysqlTraits(dsn string) traits {
	cfg, err := parseMySQL(dsn)
	if err != nil {
		return traits{manual: true}
	}
	t := traits{single: !cfg.MultiStatements}
	for name, value := range cfg.Params {
		if strings.EqualFold(strings.TrimSpace(name), "autocommit") {
			value = strings.Trim(value, "'\" ")
			t.manual = t.manual || value != "1" && !strings.EqualFold(value, "on") && !strings.EqualFold(value, "true")
		}
	}
	return t
}

// mysqlMayHaveRun reports whether a server that answered with err may have
// run the statement all the same: one that lost its group while it committed.
func mysqlMayHaveRun(err error) bool {
	var e *mysql.MySQLError
	return errors.As(err, &e) && e.Number == 1180 && mysqlNumberClass(e.Number, strings.ToLower(e.Message)) == health.Leaving
}

// mysqlClass says what an error of go-sql-driver/mysql tells about the node.
// ok is false for errors that are not this driver's.
func mysqlClass(err error) (c health.Class, ok bool) {
	var e *mysql.MySQLError
	if errors.As(err, &e) {
		return mysqlNumberClass(e.Number, strings.ToLower(e.Message)), true
	}
	for _, lost := range []error{mysql.ErrInvalidConn, mysql.ErrMalformPkt, mysql.ErrPktSync, mysql.ErrPktSyncMul} {
		if errors.Is(err, lost) {
			return health.Lost, true
		}
	}
	for _, config := range []error{
		mysql.ErrNoTLS, mysql.ErrCleartextPassword, mysql.ErrNativePassword, mysql.ErrOldPassword,
		mysql.ErrUnknownPlugin, mysql.ErrOldProtocol,
	} {
		if errors.Is(err, config) {
			return health.Misconfigured, true
		}
	}
	if errors.Is(err, mysql.ErrPktTooLarge) {
		return health.Neutral, true
	}
	return health.Neutral, false
}

// mysqlNumberClass classes the servers' error numbers; the message is in
// lower case. Some numbers have two meanings, which the message tells apart.
func mysqlNumberClass(number uint16, message string) health.Class {
	switch number {
	case 1047: // ER_UNKNOWN_COM_ERROR, which Galera gives for "not prepared for application use"
		if strings.Contains(message, "wsrep") {
			return health.NotReady
		}
	case 1180: // ER_ERROR_DURING_COMMIT
		if strings.Contains(message, "not connected to primary component") {
			return health.Leaving
		}
	case 1290: // ER_OPTION_PREVENTS_STATEMENT: --read-only, but also --secure-file-priv and others
		if strings.Contains(message, "read-only") || strings.Contains(message, "read_only") {
			return health.ReadOnly
		}
	case 1836: // ER_READ_ONLY_MODE; 1792 is what a READ ONLY transaction gets on any node
		return health.ReadOnly
	case 1053: // ER_SERVER_SHUTDOWN
		return health.Leaving
	case 1927, 3169: // ER_CONNECTION_KILLED, ER_SESSION_WAS_KILLED: a shutdown does it, and so does an administrator's KILL
		return health.Lost
	case 1040, 1203, 1226: // ER_CON_COUNT_ERROR, ER_TOO_MANY_USER_CONNECTIONS, ER_USER_LIMIT_REACHED
		return health.Saturated
	case 1044, 1045, 1049, 1129, 1130: // access denied, no such database, host blocked, host not allowed
		return health.Misconfigured
	}
	return health.Neutral
}

// A legacyNode is an entry of the original's config.toml.
type legacyNode struct {
	host               string
	port               int
	user, password, db string
}

// legacyDSN makes an entry of the original's config.toml a mysql DSN. A user
// or host that a DSN has no way to write is an error, which holds neither.
func legacyDSN(n legacyNode) (string, error) {
	cfg := mysql.NewConfig()
	cfg.User, cfg.Passwd, cfg.Net, cfg.DBName = n.user, n.password, "tcp", n.db
	cfg.Addr = net.JoinHostPort(strings.TrimSuffix(strings.TrimPrefix(n.host, "["), "]"), strconv.Itoa(n.port))
	dsn := cfg.FormatDSN()
	back, err := parseMySQL(dsn)
	switch {
	case err != nil || back.Net != cfg.Net || back.Addr != cfg.Addr || back.DBName != cfg.DBName:
		return "", errors.New("HostName or DBName has a character that a mysql DSN cannot hold")
	case back.User != cfg.User || back.Passwd != cfg.Passwd:
		return "", errors.New("a mysql DSN cannot hold this UserName: it must not be empty when there is a Password, and have no colon")
	}
	return dsn, nil
}
