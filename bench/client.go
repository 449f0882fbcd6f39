package main

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"runtime"
	"strings"
	"time"
)

// Client is the service of a process that runs one contestant, so that its
// CPU time is its own.
type Client struct {
	db     *sql.DB
	point  *sql.Stmt // prepared once, at the first use
	before Left
	watch  *watch
}

func newClient() *Client { return &Client{} }

// patience bounds whatever has no reason to take long; no figure depends on
// it.
const patience = 15 * time.Second

// Start opens the contestant. A pool of its own follows from s.Conns.
func (c *Client) Start(s Setup, _ *Nothing) error {
	if c.db != nil {
		return errors.New("started already")
	}
	who, err := contestantNamed(s.Contestant)
	if err != nil {
		return err
	}
	c.before = leftNow()
	connector, err := who.make(s)
	if err != nil {
		return err
	}
	c.db = sql.OpenDB(connector)
	c.db.SetMaxOpenConns(s.Conns)
	c.db.SetMaxIdleConns(max(s.Conns, 1))
	if s.Conns == 0 {
		c.db.SetMaxIdleConns(-1)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return c.db.PingContext(ctx)
}

// Left is what a process holds.
type Left struct{ Goroutines, Sockets int }

func leftNow() Left { return Left{runtime.NumGoroutine(), sockets()} }

// sockets counts this process's open sockets.
func sockets() int {
	const dir = "/proc/self/fd"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0
	}
	n := 0
	for _, e := range entries {
		if to, err := os.Readlink(dir + "/" + e.Name()); err == nil && strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// Close closes the pool and reports how much more there is than before Start:
// at once, and after each of the waits.
func (c *Client) Close(waits []time.Duration, left *[]Left) error {
	if c.db == nil {
		return errors.New("not started")
	}
	err := c.db.Close()
	c.db = nil
	for _, wait := range append([]time.Duration{0}, waits...) {
		time.Sleep(wait)
		now := leftNow()
		*left = append(*left, Left{now.Goroutines - c.before.Goroutines, now.Sockets - c.before.Sockets})
	}
	return err
}
