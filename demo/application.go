package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/EnumApps/clustersql"
)

// These are the clusters of config.toml and postgres.toml.
const (
	readConn  = "read_conn"
	writeConn = "write_conn"
)

const (
	readers    = 4
	readPause  = 10 * time.Millisecond
	writePause = 20 * time.Millisecond
	seedRows   = 20

	// Connections have a short life, so that new ones are opened all the time:
	// the demo shows opens. Your program would set minutes.
	readLifetime  = 500 * time.Millisecond
	writeLifetime = 300 * time.Millisecond
)

// An application does what any program does with two sql.DB: it reads and
// writes. It repeats no operation that failed.
type application struct {
	// immutable
	read, write *sql.DB
	dialect     *dialect
	timeout     time.Duration // of one operation

	next int // the row to write next; owned by the writer

	mu      sync.Mutex // guards the fields below
	totals  totals
	seconds [2]second // the last second, and the one under way
}

// A second is the slowest operation of one second.
type second struct {
	began   time.Time
	slowest time.Duration
}

// totals are what the application has seen so far.
type totals struct {
	Reads, Writes, Failed int
	LastFailure           error         // of the latest operation that failed
	Slowest               time.Duration // of all operations
	Lately                time.Duration // the slowest of the last one or two seconds
}

// openApplication opens both clusters by their registered names. The caller
// must close the application.
func openApplication(d *dialect, timeout time.Duration) (*application, error) {
	read, err := sql.Open(readConn, "")
	if err != nil {
		return nil, err
	}
	write, err := sql.Open(writeConn, "")
	if err != nil {
		read.Close()
		return nil, err
	}
	read.SetMaxOpenConns(readers)
	read.SetMaxIdleConns(readers)
	read.SetConnMaxLifetime(readLifetime)
	write.SetMaxOpenConns(1)
	write.SetMaxIdleConns(1)
	write.SetConnMaxLifetime(writeLifetime)
	return &application{read: read, write: write, dialect: d, timeout: timeout}, nil
}

func (a *application) close() error { return errors.Join(a.read.Close(), a.write.Close()) }

// prepare makes the table and the rows that the readers read. It must be called
// before run.
func (a *application) prepare(ctx context.Context) error {
	_, err := a.write.ExecContext(ctx, "CREATE TABLE event (id INT PRIMARY KEY, text VARCHAR(40) NOT NULL)")
	for a.next < seedRows && err == nil {
		err = a.insert(ctx, a.next)
		a.next++
	}
	return err
}

// run works until ctx is done. It then finishes what it has begun.
func (a *application) run(ctx context.Context) {
	var workers sync.WaitGroup
	for range readers {
		workers.Go(func() { a.work(ctx, readPause, a.readOne) })
	}
	workers.Go(func() { a.work(ctx, writePause, a.writeOne) })
	workers.Wait()
}

// work runs one operation after the other. An operation that has begun is not
// cancelled with ctx.
func (a *application) work(ctx context.Context, pause time.Duration, operation func(context.Context) error) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for ctx.Err() == nil {
		began := time.Now()
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.timeout)
		err := operation(bounded)
		cancel()
		a.note(time.Since(began), err)
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

func (a *application) readOne(ctx context.Context) error {
	id := rand.IntN(seedRows)
	var text string
	if err := a.read.QueryRowContext(ctx, a.dialect.read, id).Scan(&text); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	if text != eventText(id) {
		return fmt.Errorf("read: row %d has the text %q, and not %q", id, text, eventText(id))
	}
	a.mu.Lock()
	a.totals.Reads++
	a.mu.Unlock()
	return nil
}

// writeOne may be called by one goroutine only.
func (a *application) writeOne(ctx context.Context) error {
	id := a.next
	a.next++
	if err := a.insert(ctx, id); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	a.mu.Lock()
	a.totals.Writes++
	a.mu.Unlock()
	return nil
}

func (a *application) insert(ctx context.Context, id int) error {
	if a.dialect.again {
		ctx = clustersql.Idempotent(ctx)
	}
	_, err := a.write.ExecContext(ctx, a.dialect.insert, id, eventText(id))
	return err
}

func eventText(id int) string { return fmt.Sprintf("event %d", id) }

func (a *application) note(took time.Duration, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.turn(time.Now())
	a.seconds[1].slowest = max(a.seconds[1].slowest, took)
	a.totals.Slowest = max(a.totals.Slowest, took)
	if err != nil {
		a.totals.Failed++
		a.totals.LastFailure = err
	}
}

// turn begins a new second if the one under way is over. The caller holds a.mu.
func (a *application) turn(now time.Time) {
	if now.Sub(a.seconds[1].began) >= time.Second {
		a.seconds[0], a.seconds[1] = a.seconds[1], second{began: now}
	}
}

// soFar returns what the application has seen so far.
func (a *application) soFar() totals {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.turn(time.Now())
	t := a.totals
	t.Lately = max(a.seconds[0].slowest, a.seconds[1].slowest)
	return t
}
