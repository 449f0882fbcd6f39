package mysql

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql/internal/dialect"
)

// parse is mysql.ParseDSN with its panic, for a parameter that it has
// dropped, made an error.
func parse(dsn string) (cfg *mysql.Config, err error) {
	defer func() {
		if r := recover(); r != nil {
			cfg, err = nil, fmt.Errorf("invalid DSN: %v", r)
		}
	}()
	return mysql.ParseDSN(dsn)
}

// Connector returns the driver's connector. It dials with dial on networks tcp
// and unix.
func (Dialect) Connector(dsn string, dial dialect.Dial) (driver.Connector, error) {
	cfg, err := parse(dsn)
	if err != nil {
		return nil, err
	}
	if cfg.Net == "tcp" || cfg.Net == "unix" {
		cfg.DialFunc = dial
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

// Secrets returns what of a mysql DSN must not be shown. It is not known
// where the DSN cannot be parsed, or was parsed into something odd: with the
// slash before the database missing, the password is taken for the network.
func (Dialect) Secrets(dsn string) (secrets []string, known bool) {
	cfg, err := parse(dsn)
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

// AnySession knows that the driver says driver.ErrBadConn only of what it has
// not sent.
func (Dialect) AnySession() dialect.Session { return dialect.Session{Exact: true} }

// Session says what a mysql DSN does to every session. Where the DSN cannot be
// parsed, it says what is safe to assume.
func (Dialect) Session(dsn string) dialect.Session {
	cfg, err := parse(dsn)
	if err != nil {
		return dialect.Session{Manual: true, Exact: true}
	}
	s := dialect.Session{Single: !cfg.MultiStatements, Exact: true}
	for name, value := range cfg.Params {
		if strings.EqualFold(strings.TrimSpace(name), "autocommit") {
			value = strings.Trim(value, "'\" ")
			s.Manual = s.Manual || value != "1" && !strings.EqualFold(value, "on") && !strings.EqualFold(value, "true")
		}
	}
	return s
}
