package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/EnumApps/clustersql"
)

// A Watching says how a client reads while a fault comes and goes.
type Watching struct {
	Readers int
	Every   time.Duration // between two reads, of all readers together
	Port    int           // of the node that must have a quarter of the connections
}

// A Read is one read of a client.
type Read struct {
	At     time.Time
	Took   time.Duration
	Failed bool
	Port   int // of the node that answered
}

// A watch is a client's reads while they go on.
type watch struct {
	stop    context.CancelFunc
	readers sync.WaitGroup

	mu    sync.Mutex // guards the fields below
	reads []Read
	err   string // the last error
}

// Watch starts reading, and returns at once.
func (c *Client) Watch(how Watching, _ *Nothing) error {
	if c.watch != nil {
		return errors.New("watching already")
	}
	ctx, stop := context.WithCancel(context.Background())
	c.watch = &watch{stop: stop}
	pace := time.Duration(how.Readers) * how.Every
	for i := range how.Readers {
		c.watch.readers.Go(func() { c.watch.run(ctx, c, time.Duration(i)*how.Every, pace) })
	}
	return nil
}

// Gather opens the readers' connections. It repeats that until a quarter of
// them are on the node that the fault is for, because a fault on a node without
// connections would test nothing. It returns how many are on that node. A node that
// was away a moment ago may leave its group once more, and refuse: then it is asked
// again for a while.
func (c *Client) Gather(how Watching, on *int) (err error) {
	end := time.Now().Add(usualTimeout)
	for tries := 0; tries < 30 || err != nil && time.Now().Before(end); tries++ {
		c.db.SetMaxIdleConns(-1) // this closes the idle ones
		c.db.SetMaxIdleConns(how.Readers)
		if *on, err = c.fill(how); err == nil && 4**on >= how.Readers {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}

// fill opens all connections and returns how many are on the node.
func (c *Client) fill(how Watching) (on int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), usualTimeout)
	defer cancel()
	for range how.Readers {
		conn, err := c.db.Conn(ctx)
		if err != nil {
			return 0, err
		}
		defer conn.Close()
		var port int
		if err := conn.QueryRowContext(ctx, probeRead).Scan(&port); err != nil {
			return 0, err
		}
		if port == how.Port {
			on++
		}
	}
	return on, nil
}

func (w *watch) run(ctx context.Context, c *Client, first, pace time.Duration) {
	next := time.NewTimer(first)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
		}
		r, err := c.read()
		w.mu.Lock()
		w.reads = append(w.reads, r)
		if err != nil {
			w.err = err.Error()
		}
		w.mu.Unlock()
		next.Reset(pace)
	}
}

// watchedRead is a read of one row that also tells the port of the node. hedge_reads
// leaves a read alone that names a variable or calls a function, and so the view does.
const watchedRead = "SELECT port, v FROM node, kv WHERE id = %d"

// read reads one row by its key. It has a deadline that is too long to matter.
func (c *Client) read() (r Read, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), usualTimeout)
	defer cancel()
	r.At = time.Now()
	query := fmt.Sprintf(watchedRead, rand.IntN(rowsRead)+1)
	var v int
	err = c.db.QueryRowContext(ctx, query).Scan(&r.Port, &v)
	r.Took, r.Failed = time.Since(r.At), err != nil
	return r, err
}

// Watched is what a watch saw.
type Watched struct {
	Reads []Read
	Err   string
}

// Unwatch ends reading and returns every read.
func (c *Client) Unwatch(_ Nothing, to *Watched) error {
	if c.watch == nil {
		return errors.New("not watching")
	}
	c.watch.stop()
	c.watch.readers.Wait()
	to.Reads, to.Err = c.watch.reads, c.watch.err
	c.watch = nil
	return nil
}

// Hedged returns how many reads another node has answered first so far. It is 0 for
// contestants that hedge none.
func (c *Client) Hedged(_ Nothing, n *int) error {
	d, ok := c.db.Driver().(clustersql.Driver)
	if !ok {
		return nil
	}
	for _, node := range d.Status().Nodes {
		*n += int(node.HedgedReads.Won)
	}
	return nil
}
