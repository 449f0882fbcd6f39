package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Results is all that a run has measured.
type Results struct {
	Quick     bool
	Took      time.Duration
	Machine   Machine
	Steady    []*SteadyOpens
	Faulty    []*FaultOpens
	Load      []*Throughput
	Failovers []*Failover
	Spreads   []*NodeSpread
	Left      []*Leftover
	Idle      []*Idle
	Wrapper   *Wrapper
}

// A section is one part of the benchmark.
type section struct {
	name string
	run  func(*rig, context.Context, *Results) error
}

var sections = []section{
	{"opens", (*rig).sectionOpens},
	{"load", func(r *rig, ctx context.Context, to *Results) (err error) {
		to.Load, err = r.throughput(ctx)
		return err
	}},
	{"failover", func(r *rig, ctx context.Context, to *Results) (err error) {
		to.Failovers, err = r.failovers(ctx)
		return err
	}},
	{"spread", func(r *rig, ctx context.Context, to *Results) (err error) {
		to.Spreads, err = r.spreads(ctx)
		return err
	}},
	{"left", func(r *rig, ctx context.Context, to *Results) (err error) {
		to.Left, err = r.leftovers(ctx)
		return err
	}},
	{"idle", func(r *rig, ctx context.Context, to *Results) (err error) {
		to.Idle, to.Wrapper, err = r.idle(ctx)
		return err
	}},
}

func (r *rig) sectionOpens(ctx context.Context, to *Results) error {
	t, err := r.newTeam(field{relays: true}, but(settingsOnly...))
	if err != nil {
		return err
	}
	defer t.end()
	for _, delay := range []time.Duration{0, r.plan.delay} {
		steady, err := r.steadyOpens(ctx, t, delay)
		if err != nil {
			return err
		}
		to.Steady = append(to.Steady, steady...)
	}
	steady, err := r.rejectingOpens(ctx, t)
	if err != nil {
		return err
	}
	to.Steady = append(to.Steady, steady...)
	to.Faulty, err = r.faultOpens(ctx, t)
	return err
}

// measure runs everything and writes the report.
func measure(ctx context.Context, o options, stdout io.Writer) error {
	p := fullPlan
	if o.quick {
		p = quickPlan
	}
	out, err := outFolder(o)
	if err != nil {
		return err
	}
	began := time.Now()
	r, err := newRig(ctx, p, stdout)
	if err != nil {
		return err
	}
	defer r.close()
	results := &Results{Quick: o.quick}
	if results.Machine, err = r.machine(ctx); err != nil {
		return err
	}
	for _, s := range sections {
		if o.only != "" && !strings.Contains(","+o.only+",", ","+s.name+",") {
			continue
		}
		if err := s.run(r, ctx, results); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		results.Machine.LoadAfter = loadAverage()
		results.Took = time.Since(began)
		if o.raw != "" {
			if err := save(o.raw, results); err != nil {
				return err
			}
		}
	}
	if err := write(out, results, p); err != nil {
		return err
	}
	r.say("wrote %s after %v", filepath.Join(out, "RESULTS.md"), results.Took.Round(time.Second))
	if o.quick && o.only == "" {
		return smoke(out, results)
	}
	return nil
}

// outFolder returns the folder for the report. Only a full run writes to the
// folder of the benchmark.
func outFolder(o options) (string, error) {
	switch {
	case o.out != "":
		return o.out, os.MkdirAll(o.out, 0o755)
	case o.quick || o.only != "":
		return os.MkdirTemp("", "clustersql-bench-")
	}
	return ".", nil
}

func save(file string, r *Results) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o644)
}

// renderAgain writes the report of an earlier run again.
func renderAgain(o options) error {
	if o.out == "" {
		return errors.New("-from needs -out, a folder")
	}
	text, err := os.ReadFile(o.from)
	if err != nil {
		return err
	}
	var r Results
	if err := json.Unmarshal(text, &r); err != nil {
		return err
	}
	p := fullPlan
	if r.Quick {
		p = quickPlan
	}
	return write(o.out, &r, p)
}
