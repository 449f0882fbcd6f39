package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"

	"github.com/EnumApps/clustersql"
)

const watchNotReached = 1

func init() {
	register(30, "watch", "Watch clusters, as top does processes: those of a running program, or with probes of its own.", func() runner { return &watchCommand{} })
}

type watchCommand struct {
	Target   string        `arg:"" optional:"" name:"url-or-file" help:"The URL of a program's status page, a file, or a DSN."`
	Cluster  string        `help:"Only the cluster of this name."`
	Once     bool          `help:"Print what is now, and end."`
	Until    string        `placeholder:"CONDITION" help:"End when each cluster is so, as in 'up>=2' or 'usable>=1,down=0'. Exit with 1 if that is not reached."`
	Timeout  time.Duration `help:"End after this time. With --until it is a minute by default."`
	Interval time.Duration `default:"1s" help:"How often to look."`
	Format   string        `enum:"table,jsonl,json" default:"table" help:"table; jsonl, an event on each line; json, a snapshot on each line."`
	NoColor  bool          `env:"NO_COLOR" help:"No colours. A NO_COLOR in the environment does the same."`
}

// untilTimeout is how long --until waits if --timeout says nothing.
const untilTimeout = time.Minute

// A watcher is a watch that runs.
type watcher struct {
	*watchCommand
	e      *env
	source source
	until  condition
	events follower
	out    output
}

// An output shows snapshots.
type output interface {
	show(s *snapshot, news []clustersql.Event) error
	trouble(err error)        // nothing new could be had
	resized() <-chan struct{} // has a value when the same is to be shown again
	close()
}

// Run watches.
func (c *watchCommand) Run(e *env) error {
	w := &watcher{watchCommand: c, e: e}
	if c.Until != "" {
		var err error
		if w.until, err = parseCondition(c.Until); err != nil {
			return exit{exitUsage, err.Error()}
		}
		if c.Timeout == 0 {
			c.Timeout = untilTimeout
		}
	}
	if c.Interval < 50*time.Millisecond {
		return exitf(exitUsage, "--interval: %s is too short: write 50ms at least", c.Interval)
	}
	var err error
	if w.source, err = openSource(c.Target); err != nil {
		return exitf(exitUsage, "%v", err)
	}
	defer w.source.close()
	if own, ok := w.source.(*ownSource); ok {
		if err := own.only(c.Cluster); err != nil {
			return exitf(exitUsage, "%v", err)
		}
		if c.Once || c.Format == "table" && w.until == nil {
			own.ready(e.ctx)
		}
	}
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	w.out = w.output(cancel)
	err = w.watch(ctx)
	w.out.close()
	return err
}

// output returns how the snapshots are shown. leave ends the watch.
func (w *watcher) output(leave func()) output {
	switch {
	case w.Format == "json":
		return &lines{w: w.e.stdout, e: w.e, snapshots: true}
	case w.Format == "jsonl":
		return &lines{w: w.e.stdout, e: w.e}
	}
	if f, ok := w.e.stdout.(*os.File); ok && !w.Once && term.IsTerminal(int(f.Fd())) {
		return newScreen(f, w.source.name(), !w.NoColor && os.Getenv("TERM") != "dumb", leave)
	}
	return &plain{w: w.e.stdout, e: w.e}
}

// watch shows what is there until it is told to end.
func (w *watcher) watch(ctx context.Context) error {
	var deadline <-chan time.Time
	if w.Timeout > 0 {
		timer := time.NewTimer(w.Timeout)
		defer timer.Stop()
		deadline = timer.C
	}
	tick := time.NewTicker(w.Interval)
	defer tick.Stop()
	missing := "nothing was seen"
	for {
		s, err := w.source.take(ctx)
		if err == nil {
			err = s.only(w.Cluster)
		}
		switch {
		case ctx.Err() != nil:
		case err != nil:
			if w.until == nil && w.events.seen == nil {
				return exitf(watchNotReached, "%v", err) // it never answered
			}
			missing = err.Error()
			w.out.trouble(err)
		default:
			if err := w.out.show(s, w.events.news(s)); err != nil {
				return err
			}
			if w.until != nil {
				if missing = w.until.missing(s); missing == "" {
					return nil
				}
			}
			if w.Once {
				return w.ended(missing)
			}
		}
		select {
		case <-tick.C:
		case <-deadline:
			return w.ended(fmt.Sprintf("after %s: %s", w.Timeout, missing))
		case <-w.out.resized():
		case <-ctx.Done():
			return w.ended("interrupted")
		}
	}
}

// ended returns how a watch ends that nothing else has ended.
func (w *watcher) ended(why string) error {
	if w.until == nil {
		return nil
	}
	return exitf(watchNotReached, "--until '%s' was not reached: %s", w.Until, why)
}

// lines prints JSON: a line for each event or snapshot.
type lines struct {
	w         io.Writer
	e         *env
	snapshots bool
	begun     bool
	said      string
}

// A nowLine is a node's state when a watch begins, in the form of an event.
type nowLine struct {
	Time    time.Time        `json:"time"`
	Cluster string           `json:"cluster"`
	Node    string           `json:"node"`
	Kind    string           `json:"kind"` // "now"
	To      clustersql.State `json:"to"`
	Reason  string           `json:"reason,omitempty"`
}

func (l *lines) show(s *snapshot, news []clustersql.Event) error {
	l.said = ""
	enc := json.NewEncoder(l.w)
	enc.SetEscapeHTML(false)
	if l.snapshots {
		return enc.Encode(s)
	}
	if !l.begun {
		l.begun = true
		for i := range s.Clusters {
			c := &s.Clusters[i].Status
			for j := range c.Nodes {
				n := &c.Nodes[j]
				if err := enc.Encode(nowLine{s.Time, c.ID, n.Name, "now", n.State, n.Reason}); err != nil {
					return err
				}
			}
		}
	}
	for i := range news {
		if err := enc.Encode(news[i]); err != nil {
			return err
		}
	}
	return nil
}

func (l *lines) trouble(err error)        { complain(l.e, &l.said, err) }
func (l *lines) resized() <-chan struct{} { return nil }
func (l *lines) close()                   {}

// plain prints a table at first, and then a line for each event.
type plain struct {
	w     io.Writer
	e     *env
	begun bool
	said  string
}

func (p *plain) show(s *snapshot, news []clustersql.Event) error {
	p.said = ""
	if !p.begun {
		p.begun = true
		r := renderer{width: 0}
		for _, line := range r.clusters(s, nil) {
			if _, err := fmt.Fprintln(p.w, line); err != nil {
				return err
			}
		}
	}
	for i := range news {
		e := &news[i]
		if _, err := fmt.Fprintln(p.w, tame(fmt.Sprintf("%s %s %s %s", e.Time.Format(time.RFC3339), e.Cluster, e.Node, sentence(e)))); err != nil {
			return err
		}
	}
	return nil
}

func (p *plain) trouble(err error)        { complain(p.e, &p.said, err) }
func (p *plain) resized() <-chan struct{} { return nil }
func (p *plain) close()                   {}

// complain prints an error, once as long as it stays the same.
func complain(e *env, said *string, err error) {
	if *said != err.Error() {
		*said = err.Error()
		e.note("%s", *said)
	}
}
