package main

import (
	"context"
	"fmt"
	"strings"
)

// sumUp prints the result. It reports whether no operation failed and no row
// was lost. A node that an interrupt left stopped is not audited.
func (s *stage) sumUp(interrupted bool) (clean bool) {
	if !s.screen.live {
		s.screen.printTable()
	}
	f := s.screen.frame()
	t := f.totals
	var b strings.Builder
	if interrupted {
		fmt.Fprintf(&b, "interrupted after %.1f s\n", f.at.Seconds())
	}
	fmt.Fprintf(&b, "application: %d reads and %d writes, the slowest took %s\n", t.Reads, t.Writes, millis(t.Slowest))
	b.WriteString(f.behindTheScenes() + "\n")
	clean = t.Failed == 0
	if clean {
		b.WriteString("failed operations: none; the application saw nothing of that, and repeated nothing")
		if s.app.dialect.again {
			b.WriteString(": the cluster runs a write again whose connection is lost, which its ON CONFLICT DO NOTHING allows")
		}
		b.WriteString("\n")
	} else {
		fmt.Fprintf(&b, "failed operations: %d, the last one: %v\n", t.Failed, t.LastFailure)
	}
	if clean && !interrupted {
		clean = s.auditAll(&b, seedRows+t.Writes)
	}
	fmt.Fprint(s.screen.out, b.String())
	return clean
}

// auditAll checks that no write was lost.
func (s *stage) auditAll(b *strings.Builder, rows int) bool {
	ctx, cancel := context.WithTimeout(context.Background(), auditTimeout)
	defer cancel()
	if err := s.nodes.audit(ctx, rows); err != nil {
		fmt.Fprintf(b, "rows: %v\n", err)
		return false
	}
	fmt.Fprintf(b, "rows: all %d that were written are on each node\n", rows)
	return true
}

// behindTheScenes returns what the clusters did, and the trouble that they had.
func (f *frame) behindTheScenes() string {
	var won, lost, failed, probes uint64
	for _, c := range f.clusters {
		for _, n := range c.Nodes {
			won += n.Won
			lost += n.Lost
			failed += n.Errors
			probes += n.ProbeErrors
		}
	}
	text := fmt.Sprintf("clusters: %d connections opened, %d more lost the race and were closed; %d attempts and %d probes failed on a node",
		won, lost, failed, probes)
	if f.roles {
		text += ", or found a standby where the primary is asked for"
	}
	return text
}
