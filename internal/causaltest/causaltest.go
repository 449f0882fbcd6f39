// Package causaltest looks for reads that see less than they must: less than what
// their session has written, or than it has read before. It runs sessions that write
// and read counters, and knows for each counter the least that a session may read. It
// starts no server. Tests import it; it imports no other package of this module.
package causaltest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Options say what a run does.
type Options struct {
	Sessions int           // how many at a time; each has a counter of its own
	Reads    int64         // the run ends after so many reads
	Longest  time.Duration // or after this
	Seed     uint64
	From     int64 // the counters begin above this; all that was written before is below

	// Put writes a counter, and Get reads one. A counter that was never written is 0. An
	// error says that nothing is known.
	Put func(ctx context.Context, key int, value int64) error
	Get func(ctx context.Context, key int) (int64, error)
	// Behind reports whether the error of a Get says that no node had in time what the
	// session has seen. Nil: there is no such error.
	Behind func(err error) bool
	// Open returns the context of a new session, or of none.
	Open func(ctx context.Context) context.Context
	// Carry returns a context that goes on with the session of ctx elsewhere. It is nil
	// if there is no such thing.
	Carry func(ctx context.Context) context.Context
}

// A Result is what a run has found.
type Result struct {
	Writes, Reads, Carried    int64
	WriteErrors, ReadErrors   int64
	Behind                    int64 // reads that failed as Options.Behind says; not in ReadErrors
	Stale, Backward           int64 // reads that saw less than their session had written, or had read
	Example                   string
	FirstWriteErr, FirstError error // of a write and a read, for the log
	ReadTime, WriteTime       time.Duration
}

// String returns the counts.
func (r *Result) String() string {
	return fmt.Sprintf("%d reads (%d more were behind, %d failed), %d writes (%d failed), %d sessions carried on; %d stale, %d backward; a read took %s, a write %s",
		r.Reads, r.Behind, r.ReadErrors, r.Writes, r.WriteErrors, r.Carried, r.Stale, r.Backward,
		mean(r.ReadTime, r.Reads+r.Behind+r.ReadErrors), mean(r.WriteTime, r.Writes+r.WriteErrors))
}

func mean(d time.Duration, n int64) time.Duration {
	if n == 0 {
		return 0
	}
	return (d / time.Duration(n)).Round(time.Microsecond)
}

// Run runs sessions until enough reads were made. Errors of single calls are counted
// and change nothing: what a failed write has left is not known.
func Run(ctx context.Context, o Options) *Result {
	ctx, cancel := context.WithTimeout(ctx, o.Longest)
	defer cancel()
	var (
		mu    sync.Mutex // guards total
		total Result
		reads atomic.Int64
		all   sync.WaitGroup
	)
	for own := range o.Sessions {
		all.Go(func() {
			w := worker{Options: o, own: own, written: o.From, draw: rand.New(rand.NewPCG(o.Seed, uint64(own)))}
			for ctx.Err() == nil && reads.Load() < o.Reads {
				reads.Add(w.session(ctx))
			}
			mu.Lock()
			defer mu.Unlock()
			total.add(&w.Result)
		})
	}
	all.Wait()
	return &total
}

// A worker runs one session after another. Nobody else writes its counter.
type worker struct {
	Options
	Result
	own     int
	written int64 // the greatest value that was sent
	draw    *rand.Rand
}

// session runs one session of some calls. It returns how many of them were reads.
func (w *worker) session(ctx context.Context) (reads int64) {
	ctx = w.Open(ctx)
	wrote, read := make(map[int]int64), make(map[int]int64)
	for range 4 + w.draw.IntN(12) {
		if ctx.Err() != nil {
			return reads
		}
		switch w.draw.IntN(8) {
		case 0, 1:
			w.put(ctx, wrote)
		case 2:
			if w.Carry != nil {
				ctx = w.Carry(ctx)
				w.Carried++
			}
		default:
			reads++
			w.get(ctx, wrote, read)
		}
	}
	return reads
}

func (w *worker) put(ctx context.Context, wrote map[int]int64) {
	w.written++
	began := time.Now()
	err := w.Put(ctx, w.own, w.written)
	w.WriteTime += time.Since(began)
	if err != nil {
		if ctx.Err() == nil {
			w.WriteErrors++
			w.FirstWriteErr = either(w.FirstWriteErr, err)
		}
		return
	}
	w.Writes++
	wrote[w.own] = w.written
}

func (w *worker) get(ctx context.Context, wrote, read map[int]int64) {
	key := w.own
	if w.draw.IntN(2) == 0 {
		key = w.draw.IntN(w.Sessions)
	}
	began := time.Now()
	value, err := w.Get(ctx, key)
	w.ReadTime += time.Since(began)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return
	case w.Options.Behind != nil && w.Options.Behind(err):
		w.Result.Behind++
		return
	default:
		w.ReadErrors++
		w.FirstError = either(w.FirstError, err)
		return
	}
	w.Result.Reads++
	if value < wrote[key] {
		w.Stale++
		w.Example = fmt.Sprintf("counter %d: read %d after %d was written", key, value, wrote[key])
	}
	if value < read[key] {
		w.Backward++
		w.Example = fmt.Sprintf("counter %d: read %d after %d was read", key, value, read[key])
	}
	read[key] = max(read[key], value)
}

func either(first, err error) error {
	if first != nil {
		return first
	}
	return err
}

func (r *Result) add(o *Result) {
	r.Writes += o.Writes
	r.Reads += o.Reads
	r.Carried += o.Carried
	r.WriteErrors += o.WriteErrors
	r.ReadErrors += o.ReadErrors
	r.Behind += o.Behind
	r.Stale += o.Stale
	r.Backward += o.Backward
	r.ReadTime += o.ReadTime
	r.WriteTime += o.WriteTime
	if r.Example == "" {
		r.Example = o.Example
	}
	r.FirstWriteErr, r.FirstError = either(r.FirstWriteErr, o.FirstWriteErr), either(r.FirstError, o.FirstError)
}

// A Cost is what calls take, one after the other.
type Cost struct {
	Read, ReadInSession, Write, WriteInSession time.Duration // means
	Reads                                      int           // in the session
	Calls                                      Calls         // of them
}

// Calls are calls of sessions, by what they had to do before they were sent.
type Calls struct {
	Known, Asked, Waited, Moved uint64
	WaitTime                    time.Duration // of those in Waited and Moved
}

// Costs measures n calls of each kind, in turns. Each write is followed by a read, which
// may have to wait. calls tells what the sessions' reads have done so far.
func Costs(ctx context.Context, o Options, calls func() Calls, n int) (c Cost, err error) {
	session := o.Open(ctx)
	timed := func(sum *time.Duration, f func() error) {
		began := time.Now()
		if e := f(); e != nil && err == nil {
			err = e
		}
		*sum += time.Since(began) / time.Duration(n)
	}
	read := func(ctx context.Context) func() error {
		return func() error { _, err := o.Get(ctx, 0); return err }
	}
	before := calls()
	for i := range n {
		timed(&c.Write, func() error { return o.Put(ctx, 0, o.From+int64(2*i)) })
		timed(&c.Read, read(ctx))
		timed(&c.WriteInSession, func() error { return o.Put(session, 0, o.From+int64(2*i+1)) })
		timed(&c.ReadInSession, read(session))
	}
	c.Reads, c.Calls = n, calls()
	c.Calls.Known -= before.Known
	c.Calls.Asked -= before.Asked
	c.Calls.Waited -= before.Waited
	c.Calls.Moved -= before.Moved
	c.Calls.WaitTime -= before.WaitTime
	return c, err
}

// CostHead is the head of the manual's table.
const CostHead = "a write | in a session | a read | in a session | its node was asked | and it waited | for"

// String returns a row of that table. A read that has to be prepared is two calls, and the
// second one's node is known, so the shares are of the reads.
func (c Cost) String() string {
	ms := func(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d)/1e6) }
	share := func(n uint64) string { return fmt.Sprintf("%.0f %%", 100*float64(n)/float64(c.Reads)) }
	waited, wait := c.Calls.Waited+c.Calls.Moved, "-"
	if waited > 0 {
		wait = ms(c.Calls.WaitTime / time.Duration(waited))
	}
	return fmt.Sprintf("%s | %s | %s | %s | %s | %s | %s", ms(c.Write), ms(c.WriteInSession), ms(c.Read), ms(c.ReadInSession),
		share(c.Calls.Asked+waited), share(waited), wait)
}
