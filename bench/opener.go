package main

import (
	"context"
	"time"
)

// probeRead is the read of a table that every fresh connection must be able to
// do.
const probeRead = "SELECT @@port FROM kv WHERE id = 1"

// An Opening says how a client opens connections. It opens one at a time.
type Opening struct {
	N       int           // how many, one after the other
	For     time.Duration // if N is 0: for how long
	Every   time.Duration // one at each interval, but never two at once
	Timeout time.Duration // the caller's deadline for each
}

// An Open is one fresh connection, or the attempt to get one.
type Open struct {
	At, Took time.Duration // when it began, since the start of the series; and how long it took
	Failed   bool          // there was no connection
	Useless  bool          // the connection could not read a table
	Port     int           // of its node; 0 if that is not known
	Err      string
}

// Open opens connections, and tests each one with a read of a table. The time
// of the read does not count.
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
	read, stop := context.WithTimeout(context.Background(), usualTimeout)
	defer stop()
	if err := conn.QueryRowContext(read, probeRead).Scan(&o.Port); err != nil {
		o.Useless, o.Err = true, err.Error()
	}
	return o
}
