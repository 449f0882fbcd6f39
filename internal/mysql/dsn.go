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

// parse is mysql.ParseDSN. ParseDSN panics at a parameter that the driver no
// longer has; parse returns an error instead.
func parse(dsn string) (cfg *mysql.Config, err error) {
	defer func() {
		if r := recover(); r != nil {
			cfg, err = nil, fmt.Errorf("invalid DSN: %v", r)
		}
	}()
	return mysql.ParseDSN(dsn)
}

// Connector returns the driver's connector. On the networks tcp and unix it
// dials with dial.
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

// A cutLogger drops the driver's lines about sockets that were closed under it.
// The cluster writes one line of its own for a cut.
type cutLogger struct{ mysql.Logger }

// Print passes a line on, unless it is about a closed socket.
func (l cutLogger) Print(v ...any) {
	for _, x := range v {
		if err, ok := x.(error); ok && errors.Is(err, net.ErrClosed) {
			return
		}
	}
	l.Logger.Print(v...)
}

// Secrets returns the password, alone and with the user. known is false if the
// DSN cannot be parsed, or if its parts look wrong: without the slash before
// the database, for example, the driver takes the password for the network.
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

// AnySession says that the driver returns driver.ErrBadConn only for what it
// has not sent.
func (Dialect) AnySession() dialect.Session { return dialect.Session{Exact: true} }

// Session says what a mysql DSN does to every session. If the DSN cannot be
// parsed it makes the safe assumptions.
func (Dialect) Session(dsn string) dialect.Session {
	cfg, err := parse(dsn)
	if err != nil {
		return dialect.Session{Manual: true, Exact: true}
	}
	s := dialect.Session{Single: !cfg.MultiStatements, Exact: true}
	for name, value := range cfg.Params {
		s.Manual = s.Manual || isManual(strings.ToLower(name), strings.ToLower(value))
	}
	return s
}

// isManual reports whether a parameter of a DSN may leave the session in a
// transaction after each statement, or after a Commit. The driver puts it into a
// SET as it is, so other settings may follow in its value.
func isManual(name, value string) bool {
	plain := strings.Trim(value, "'\" ")
	switch strings.TrimSpace(name) {
	case "autocommit":
		return plain != "1" && plain != "on" && plain != "true"
	case "completion_type": // 1 and CHAIN begin the next transaction
		return plain != "0" && plain != "no_chain" && plain != "2" && plain != "release"
	}
	for _, setting := range []string{"autocommit", "completion_type"} {
		if strings.Contains(name, setting) || strings.Contains(value, setting) {
			return true
		}
	}
	return false
}
