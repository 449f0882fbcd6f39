package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"time"
)

var works = []string{workSelect1, workPoint, workTx}

// A Throughput is the rounds of one contestant with one kind of work.
type Throughput struct {
	Contestant, Work string
	Workers          int
	Rounds           []Load
	ProxyCPU         time.Duration // of all rounds together
	Failed           int
	Err              string
}

// each returns one figure of every round.
func (t *Throughput) each(figure func(Load) float64) []float64 {
	var all []float64
	for _, l := range t.Rounds {
		all = append(all, figure(l))
	}
	return all
}

func perSecond(l Load) float64 { return float64(l.Queries) / l.Wall.Seconds() }
func cpuPerQuery(l Load) float64 {
	return float64(l.CPU.Nanoseconds()) / 1e3 / float64(max(l.Queries, 1))
}
func p50(l Load) float64 { return ms(l.P50) }
func p99(l Load) float64 { return ms(l.P99) }

func (t *Throughput) queries() (n int) {
	for _, l := range t.Rounds {
		n += l.Queries
	}
	return n
}

// throughput measures queries on warm pools, directly to the nodes. One
// contestant works at a time, in rounds of random order, so that other work of
// the machine affects all of them alike.
func (r *rig) throughput(ctx context.Context) (results []*Throughput, err error) {
	r.say("throughput")
	most := r.plan.workers[len(r.plan.workers)-1]
	t, err := r.newTeam(field{conns: most}, but(append([]string{plainDo1}, settingsOnly...)...))
	if err != nil {
		return nil, err
	}
	defer t.end()
	for _, work := range works {
		for _, workers := range r.plan.workers {
			r.say("throughput, %s, %d workers", work, workers)
			of := make([]*Throughput, len(t.members))
			for i, m := range t.members {
				of[i] = &Throughput{Contestant: m.name, Work: work, Workers: workers}
			}
			for round := range r.plan.loadRounds + 1 {
				for _, i := range rand.Perm(len(t.members)) {
					if ctx.Err() != nil {
						return nil, ctx.Err()
					}
					into := of[i]
					if round == 0 { // this round opens the connections
						into = &Throughput{Work: work, Workers: workers}
					}
					if err := t.members[i].load(into, r.plan.loadFor); err != nil {
						return nil, err
					}
				}
			}
			results = append(results, of...)
		}
	}
	return results, nil
}

func (m *member) load(into *Throughput, d time.Duration) error {
	before, err := m.proxyCPU()
	if err != nil {
		return err
	}
	how := Loading{Work: into.Work, Workers: into.Workers, For: d, Base: rowsRead + 1 + m.index*rowsWrite}
	var l Load
	if err := m.client.call.Call("Role.Load", how, &l); err != nil {
		return fmt.Errorf("%s: %s: %w", m.name, into.Work, err)
	}
	after, err := m.proxyCPU()
	into.Rounds = append(into.Rounds, l)
	into.ProxyCPU += after - before
	into.Failed += l.Failed
	if into.Err == "" {
		into.Err = l.Err
	}
	return err
}

// clockTick is the unit in which the kernel counts the time of processes. It is
// the same on every Linux.
const clockTick = 10 * time.Millisecond

// proxyCPU returns the time that the contestant's HAProxy has used so far.
func (m *member) proxyCPU() (time.Duration, error) {
	if m.proxy == nil {
		return 0, nil
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", m.info.Pid))
	if err != nil {
		return 0, err
	}
	// The format is: pid (name) state …; utime and stime are fields 14 and 15.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	var ticks time.Duration
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(string(f))
		if err != nil {
			return 0, err
		}
		ticks += time.Duration(n)
	}
	return ticks * clockTick, nil
}
