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

// Client is the RPC service of a process that runs one contestant. The process
// is there so that the contestant's CPU time can be measured alone.
type Client struct {
	db     *sql.DB
	point  *sql.Stmt // prepared at its first use
	before Left
	watch  *watch
}

func newClient() *Client { return &Client{} }

// usualTimeout bounds everything that should not take long. No figure depends on
// it.
const usualTimeout = 15 * time.Second

// Start opens the contestant. It has a pool of its own if s.Conns is not 0.
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
	ctx, cancel := context.WithTimeout(context.Background(), usualTimeout)
	defer cancel()
	return c.db.PingContext(ctx)
}

// Left is what a process still holds.
type Left struct{ Goroutines, Sockets int }

func leftNow() Left { return Left{runtime.NumGoroutine(), sockets()} }

// sockets returns the number of this process's open sockets.
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

// Closed is what a process holds after a Close, beyond what it held before
// Start.
type Closed struct {
	After []Left // at once, and after each of the waits
	End   Left   // when nothing is left, or after usualTimeout
}

// Close closes the pool and reports what is left.
func (c *Client) Close(waits []time.Duration, to *Closed) error {
	if c.db == nil {
		return errors.New("not started")
	}
	err := c.db.Close()
	c.db = nil
	for _, wait := range append([]time.Duration{0}, waits...) {
		time.Sleep(wait)
		to.After = append(to.After, c.left())
	}
	for late := time.Now().Add(usualTimeout); ; time.Sleep(settle) {
		if to.End = c.left(); to.End == (Left{}) || time.Now().After(late) {
			return err
		}
	}
}

// left is never negative, although what was there before may end too.
func (c *Client) left() Left {
	now := leftNow()
	return Left{max(0, now.Goroutines-c.before.Goroutines), max(0, now.Sockets-c.before.Sockets)}
}
