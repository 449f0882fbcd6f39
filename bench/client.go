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

// Closed is what there is more than before Start, after a Close.
type Closed struct {
	After []Left // at once, and after each of the waits
	End   Left   // when nothing is left, or patience is over
}

// Close closes the pool and reports what stays.
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
	for late := time.Now().Add(patience); ; time.Sleep(settle) {
		if to.End = c.left(); to.End == (Left{}) || time.Now().After(late) {
			return err
		}
	}
}

// left never goes below nothing: what was there before may end too.
func (c *Client) left() Left {
	now := leftNow()
	return Left{max(0, now.Goroutines-c.before.Goroutines), max(0, now.Sockets-c.before.Sockets)}
}
