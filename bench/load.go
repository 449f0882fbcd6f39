package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// These are the kinds of work.
const (
	workSelect1 = "SELECT 1"
	workPoint   = "point select, prepared"
	workTx      = "transaction of three statements"
)

// A Loading says what work is done in one round.
type Loading struct {
	Work    string
	Workers int
	For     time.Duration
	Base    int // id of the first of the rows that only this client may write
}

// A Load is the result of one round.
type Load struct {
	Queries   int
	Failed    int
	Wall, CPU time.Duration
	P50, P99  time.Duration
	Err       string
}

// A task does one piece of work.
type task func(ctx context.Context, i int) error

// Load runs the work in the given number of goroutines for the given time.
func (c *Client) Load(how Loading, load *Load) error {
	ctx := context.Background()
	work, err := c.tasks(ctx, how)
	if err != nil {
		return err
	}
	took := make([][]time.Duration, how.Workers)
	errs := make([][]error, how.Workers)
	cpu, began := cpuTime(), time.Now()
	var all sync.WaitGroup
	for w := range how.Workers {
		all.Go(func() {
			for i := w; ; i += how.Workers {
				start := time.Now()
				if start.Sub(began) >= how.For {
					return
				}
				if err := work[w](ctx, i); err != nil {
					errs[w] = append(errs[w], err)
				}
				took[w] = append(took[w], time.Since(start))
			}
		})
	}
	all.Wait()
	load.Wall, load.CPU = time.Since(began), cpuTime()-cpu
	times := slices.Concat(took...)
	slices.Sort(times)
	load.Queries, load.P50, load.P99 = len(times), quantile(times, 0.5), quantile(times, 0.99)
	if failed := slices.Concat(errs...); len(failed) > 0 {
		load.Failed, load.Err = len(failed), failed[0].Error()
	}
	return nil
}

// tasks returns the task of each worker.
func (c *Client) tasks(ctx context.Context, how Loading) (tasks []task, err error) {
	tasks = make([]task, how.Workers)
	switch how.Work {
	case workSelect1:
		for w := range tasks {
			tasks[w] = c.select1
		}
	case workPoint:
		if c.point == nil {
			if c.point, err = c.db.PrepareContext(ctx, "SELECT v FROM kv WHERE id = ?"); err != nil {
				return nil, err
			}
		}
		for w := range tasks {
			tasks[w] = c.pointSelect
		}
	case workTx:
		for w := range tasks {
			tasks[w] = c.transaction(how.Base + w)
		}
	default:
		return nil, fmt.Errorf("there is no work %q", how.Work)
	}
	return tasks, nil
}

func (c *Client) select1(ctx context.Context, _ int) error {
	var one int
	return c.db.QueryRowContext(ctx, "SELECT 1").Scan(&one)
}

func (c *Client) pointSelect(ctx context.Context, i int) error {
	var v int
	return c.point.QueryRowContext(ctx, i%rowsRead+1).Scan(&v)
}

// transaction reads a row of the worker's own, writes it and reads it again.
func (c *Client) transaction(row int) task {
	read := fmt.Sprintf("SELECT v FROM kv WHERE id = %d", row)
	write := fmt.Sprintf("UPDATE kv SET v = v + 1 WHERE id = %d", row)
	return func(ctx context.Context, _ int) error {
		tx, err := c.db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		var v int
		if err := tx.QueryRowContext(ctx, read).Scan(&v); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, write); err != nil {
			return err
		}
		if err := tx.QueryRowContext(ctx, read).Scan(&v); err != nil {
			return err
		}
		return tx.Commit()
	}
}
