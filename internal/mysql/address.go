package mysql

import (
	"errors"
	"strings"
)

// Host returns the address of a DSN on network tcp.
func (Dialect) Host(dsn string) (addr string, ok bool) {
	cfg, err := parse(dsn)
	if err != nil || !strings.HasPrefix(cfg.Net, "tcp") || strings.Contains(cfg.Addr, ",") {
		return "", false
	}
	return cfg.Addr, true
}

// Rehost puts another address in the place of the one that the DSN has. The rest
// of the DSN stays as it is written.
func (d Dialect) Rehost(dsn, addr string) (string, error) {
	slash := strings.LastIndexByte(dsn, '/')
	if _, ok := d.Host(dsn); !ok || slash < 0 {
		return "", errors.New("the DSN has no address on network tcp: write it as user:password@tcp(host:3306)/database")
	}
	at := strings.LastIndexByte(dsn[:slash], '@') + 1
	network, _, _ := strings.Cut(dsn[at:slash], "(")
	if network == "" {
		network = "tcp"
	}
	return dsn[:at] + network + "(" + addr + ")" + dsn[slash:], nil
}

// Same compares what the driver reads.
func (Dialect) Same(before, after string) bool {
	same, renewed := compare(before, after)
	return same && !renewed
}

// Renewed compares what the driver reads, but for the passwords.
func (Dialect) Renewed(before, after string) bool {
	same, renewed := compare(before, after)
	return same && renewed
}

// compare reports whether two DSNs are the same but for the passwords, and whether
// those differ. Names of hosts are the same in upper and lower case.
func compare(before, after string) (same, renewed bool) {
	if before == after {
		return true, false
	}
	b, err := parse(before)
	if err != nil {
		return false, false
	}
	a, err := parse(after)
	if err != nil {
		return false, false
	}
	renewed = a.Passwd != b.Passwd
	a.Passwd, b.Passwd = "", ""
	if strings.HasPrefix(a.Net, "tcp") {
		a.Addr, b.Addr = strings.ToLower(a.Addr), strings.ToLower(b.Addr)
	}
	return a.FormatDSN() == b.FormatDSN(), renewed
}
