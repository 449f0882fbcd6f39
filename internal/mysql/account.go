package mysql

import (
	"errors"
	"net"
	"strconv"
	"strings"

	"github.com/go-sql-driver/mysql"
)

// An Account says where a database is and who logs in.
type Account struct {
	Host               string
	Port               int
	User, Password, DB string
}

// DSN returns the DSN of the account over TCP. It fails for a user, host or
// database name that a DSN has no way to write. The error holds none of them.
func (a Account) DSN() (string, error) {
	cfg := mysql.NewConfig()
	cfg.User, cfg.Passwd, cfg.Net, cfg.DBName = a.User, a.Password, "tcp", a.DB
	cfg.Addr = net.JoinHostPort(strings.TrimSuffix(strings.TrimPrefix(a.Host, "["), "]"), strconv.Itoa(a.Port))
	dsn := cfg.FormatDSN()
	back, err := parse(dsn)
	switch {
	case err != nil || back.Net != cfg.Net || back.Addr != cfg.Addr || back.DBName != cfg.DBName:
		return "", errors.New("HostName or DBName has a character that a mysql DSN cannot hold")
	case back.User != cfg.User || back.Passwd != cfg.Passwd:
		return "", errors.New("a mysql DSN cannot hold this UserName: it must not be empty when there is a Password, and have no colon")
	}
	return dsn, nil
}
