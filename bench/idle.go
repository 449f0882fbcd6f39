package main

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/fakedb"
)

// An Idle is what a cluster of scripted nodes costs while nobody uses it.
type Idle struct {
	Nodes  int
	Bytes  float64 // of each node, its fakedb connection included
	CPU    float64 // of one core, in percent, for all nodes together
	Probes float64 // per second
}

// An Idling says how to measure an Idle.
type Idling struct {
	Nodes int
	For   time.Duration
}

// Idle measures an Idle in this process.
func (c *Client) Idle(how Idling, of *Idle) error {
	b := fakedb.New()
	before := memory()
	d := clustersql.NewDriver(b.Driver(), "idle", clustersql.WithLogger(silence))
	defer d.Close()
	for i := range how.Nodes {
		if err := d.AddNode(fmt.Sprintf("n%d", i), fmt.Sprintf("dsn%d", i)); err != nil {
			return err
		}
	}
	db := sql.OpenDB(d.Connector())
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), usualTimeout)
	defer cancel()
	if err := d.WaitReady(ctx, how.Nodes); err != nil {
		return err
	}
	of.Nodes, of.Bytes = how.Nodes, float64(memory()-before)/float64(how.Nodes)
	cpu, probes, began := cpuTime(), probesOf(d), time.Now()
	time.Sleep(how.For)
	wall := time.Since(began)
	of.CPU = 100 * float64(cpuTime()-cpu) / float64(wall)
	of.Probes = float64(probesOf(d)-probes) / wall.Seconds()
	return nil
}

func probesOf(d clustersql.Driver) (sum uint64) {
	for _, n := range d.Status().Nodes {
		sum += n.Probes
	}
	return sum
}

// memory returns the size of the live heap and all stacks.
func memory() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// A Wrapper is what clustersql's connection adds to a call of a backend that
// does nothing.
type Wrapper struct {
	Added  []float64 // ns, of paired rounds
	Armed  []float64 // ns more for the timer of late calls
	Allocs float64   // with the timer
}

// Wrap measures a Wrapper in this process.
func (c *Client) Wrap(rounds int, of *Wrapper) error {
	b := fakedb.New()
	b.Quiet()
	ctx := context.Background()
	off := clustersql.NewDriver(b.Driver(), "wrap", clustersql.WithLogger(silence), clustersql.WithLateAfter(0))
	defer off.Close()
	armed := clustersql.NewDriver(b.Driver(), "armed", clustersql.WithLogger(silence))
	defer armed.Close()
	if err := errors.Join(off.AddNode("n1", "dsn"), armed.AddNode("n1", "dsn")); err != nil {
		return err
	}
	backend, err := b.Driver().(driver.DriverContext).OpenConnector("dsn")
	if err != nil {
		return err
	}
	var conns [3]driver.ExecerContext
	for i, connector := range []driver.Connector{backend, off.Connector(), armed.Connector()} {
		if closer, ok := connector.(io.Closer); ok {
			defer closer.Close()
		}
		conn, err := connector.Connect(ctx)
		if err != nil {
			return err
		}
		defer conn.Close()
		conns[i] = conn.(driver.ExecerContext)
	}
	for range rounds {
		bare, wrapped, armed := execTime(ctx, conns[0]), execTime(ctx, conns[1]), execTime(ctx, conns[2])
		of.Added, of.Armed = append(of.Added, wrapped-bare), append(of.Armed, armed-wrapped)
	}
	of.Allocs = execAllocs(ctx, conns[2]) - execAllocs(ctx, conns[0])
	return nil
}

// wrapRounds and execs say how often the wrapper is measured.
const (
	wrapRounds = 50
	execs      = 100_000
)

// execTime returns the time of one Exec in ns.
func execTime(ctx context.Context, c driver.ExecerContext) float64 {
	began := time.Now()
	for range execs {
		if _, err := c.ExecContext(ctx, "INSERT", nil); err != nil {
			panic(err)
		}
	}
	return float64(time.Since(began)) / execs
}

func execAllocs(ctx context.Context, c driver.ExecerContext) float64 {
	return testing.AllocsPerRun(1000, func() {
		if _, err := c.ExecContext(ctx, "INSERT", nil); err != nil {
			panic(err)
		}
	})
}

// idle measures clusters of scripted nodes, each in a process of its own.
func (r *rig) idle(ctx context.Context) (all []*Idle, w *Wrapper, err error) {
	for _, n := range r.plan.idleNodes {
		r.say("idle, %d scripted nodes", n)
		of := new(Idle)
		if err := callOnce("Role.Idle", Idling{n, r.plan.idleFor}, of); err != nil {
			return nil, nil, err
		}
		all = append(all, of)
	}
	w = new(Wrapper)
	return all, w, callOnce("Role.Wrap", wrapRounds, w)
}

// callOnce starts a client process for one call, and ends it after the call.
func callOnce(method string, args, reply any) error {
	p, err := startProcess("client")
	if err != nil {
		return err
	}
	defer p.end()
	return p.call.Call(method, args, reply)
}
