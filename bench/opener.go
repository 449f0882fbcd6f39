package main

import (
	"context"
	"time"
)

// probeRead is the table read that every fresh connection must be able to do.
const probeRead = "SELECT @@port FROM kv WHERE id = 1"

// An Opening says how a client opens connections, one at a time.
type Opening struct {
	N       int           // as many, one after the other
	For     time.Duration // or, with N 0, for so long
	Every   time.Duration // and one every so often, but never two at once
	Timeout time.Duration // the caller's deadline for each
}

// An Open is one fresh connection.
type Open struct {
	At, Took time.Duration // since the start of the series, since then
	Failed   bool          // there was none
	Useless  bool          // it could not read a table
	Port     int           // of the node it is on, 0 where that is not known
	Err      string
}

// Open opens, and tries each connection with a table read, whose time does
// not count.
func (c *Client) Open(how Opening, opens *[]Open) error {
	began := time.Now()
	for i := 0; ; i++ {
		if how.N > 0 {
			if i == how.N {
				return nil
			}
		} else {
			next := began.Add(time.Duration(i) * how.Every)
			if late := time.Since(next); late > how.Every {
				i += int(late / how.Every)
				next = began.Add(time.Duration(i) * how.Every)
			}
			time.Sleep(time.Until(next))
			if time.Since(began) >= how.For {
				return nil
			}
		}
		*opens = append(*opens, c.open(began, how.Timeout))
	}
}

func (c *Client) open(began time.Time, timeout time.Duration) (o Open) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	start := time.Now()
	conn, err := c.db.Conn(ctx)
	o.At, o.Took = start.Sub(began), time.Since(start)
	if err != nil {
		o.Failed, o.Err = true, err.Error()
		return o
	}
	defer conn.Close()
	read, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	if err := conn.QueryRowContext(read, probeRead).Scan(&o.Port); err != nil {
		o.Useless, o.Err = true, err.Error()
	}
	return o
}
