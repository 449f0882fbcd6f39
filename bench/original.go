package main

import (
	"context"
	"database/sql/driver"

	"github.com/go-sql-driver/mysql"
)

// original opens as the first clustersql did. It opens on every node at once,
// returns the first connection, and closes the others in the background. It has
// no contexts, no checks and no health.
type original []string // DSNs

func newOriginal(s Setup) (driver.Connector, error) {
	var o original
	for _, addr := range s.Addrs {
		o = append(o, dsn(addr, peerTimeouts))
	}
	return o, nil
}

type originalResult struct {
	conn driver.Conn
	err  error
}

// Connect ignores its context.
func (o original) Connect(context.Context) (driver.Conn, error) {
	results := make(chan originalResult, len(o))
	for _, dsn := range o {
		go func() {
			conn, err := mysql.MySQLDriver{}.Open(dsn)
			results <- originalResult{conn, err}
		}()
	}
	var err error
	for i := range o {
		r := <-results
		if r.err == nil {
			go closeOthers(results, len(o)-i-1)
			return r.conn, nil
		}
		err = r.err
	}
	return nil, err
}

func closeOthers(results <-chan originalResult, left int) {
	for range left {
		if r := <-results; r.err == nil {
			r.conn.Close()
		}
	}
}

func (o original) Driver() driver.Driver { return mysql.MySQLDriver{} }
