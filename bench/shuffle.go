package main

import (
	"context"
	"database/sql/driver"
	"errors"
	"math/rand/v2"
)

// shuffle is what teams write themselves: it asks a random node, and the next
// one if that fails.
type shuffle []driver.Connector

func newShuffle(s Setup) (driver.Connector, error) {
	var all shuffle
	for _, addr := range s.Addrs {
		c, err := peer(addr)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

// Connect returns the first connection that a node gives.
func (s shuffle) Connect(ctx context.Context) (driver.Conn, error) {
	var errs []error
	for _, i := range rand.Perm(len(s)) {
		conn, err := s[i].Connect(ctx)
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func (s shuffle) Driver() driver.Driver { return s[0].Driver() }
