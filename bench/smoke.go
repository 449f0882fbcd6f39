package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// smoke judges a short run. It judges no times.
func smoke(dir string, r *Results) error {
	var errs []error
	if n, opens := useless(r); n > 0 || opens == 0 {
		errs = append(errs, fmt.Errorf("%d of %d opens of clustersql were useless", n, opens))
	}
	for _, l := range r.Left {
		if isOurs(l.Contestant) && (l.End != (Left{}) || l.ServerConns > 0) {
			errs = append(errs, fmt.Errorf("%s left %+v and %d server connections", l.Contestant, l.End, l.ServerConns))
		}
	}
	for _, t := range r.Load {
		if t.Failed > 0 && t.Work != workTx {
			errs = append(errs, fmt.Errorf("%s, %s: %d failed: %s", t.Contestant, t.Work, t.Failed, t.Err))
		}
	}
	return errors.Join(append(errs, complete(dir, r))...)
}

// complete checks that every table and picture is there.
func complete(dir string, r *Results) error {
	text, err := os.ReadFile(filepath.Join(dir, "RESULTS.md"))
	if err != nil {
		return err
	}
	wanted := []string{"## What the figures must be", "### All nodes well\n\n| ", "### Server connections per useful open, one node answers 1047\n\n| ", "## Spread", "## Left after Close", "## Nodes that nobody uses", "## Settings", r.Machine.Server}
	for _, f := range nodeFaults {
		wanted = append(wanted, "#### One node "+f.name+"\n\n| ")
	}
	for _, work := range works {
		wanted = append(wanted, "### "+work+"\n\n| ")
	}
	for _, o := range outages {
		wanted = append(wanted, "### "+o.name+"\n\n| ")
	}
	for _, c := range contestants {
		wanted = append(wanted, "| "+c.name+" |")
	}
	for _, w := range wanted {
		if !strings.Contains(string(text), w) {
			return fmt.Errorf("the report lacks %q", w)
		}
	}
	for _, name := range []string{"opens.svg", "opens-more.svg", "failover.svg", "failover-more.svg"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() < 1000 {
			return fmt.Errorf("the picture %s is missing or empty: %w", name, err)
		}
	}
	return nil
}
