package integration

import (
	"time"

	"github.com/EnumApps/clustersql"
)

// A settling says how a client's connections came to follow its target after
// the node's return.
type settling struct {
	span
	took  time.Duration // below 0: they did not
	share float64       // at the end
}

// settle waits until the clients that have a target follow it, for at most 30 s
// from the node's return.
func (s *stage) settle() []settling {
	s.Helper()
	const limit = 30 * time.Second
	found := make([]settling, len(s.loads))
	for i, w := range s.loads {
		if w.share != (shares{}) {
			s.returned(w, s.faulty, time.Now())
		}
		found[i] = settling{span: span{from: w.d.Status().Nodes[s.faulty].Since.Add(w.due)}, took: -1}
	}
	for ; ; s.pass(20 * time.Millisecond) {
		open := 0
		for i, w := range s.loads {
			f := &found[i]
			if w.share == (shares{}) || f.took >= 0 {
				continue
			}
			f.to, f.share = time.Now(), share(w.d, s.faulty)
			switch {
			case w.share.met(w.d, s.faulty):
				f.took = max(0, f.to.Sub(f.from))
			case f.to.Sub(f.from) < limit:
				open++
			}
		}
		if open == 0 {
			return found
		}
	}
}

// judge asserts what must hold for the node's return, for the clients that have
// a target. quiet is a time before the fault. It must be called after end.
func (s *stage) judge(quiet span, found []settling) {
	s.Helper()
	for i, w := range s.loads {
		f := found[i]
		if w.share == (shares{}) {
			continue
		}
		l := s.tally(w, w.name+", return", f.span, f.took)
		s.bound(l.stale == 0, "%s: %d stale reads on the node that returned", w.name, l.stale)
		s.bound(f.took >= 0, "%s: %s after the node's return its share is %.2f", w.name, f.to.Sub(f.from), f.share)
		s.none(w.name+", reads", f.begun(w.reads.all()))
		s.none(w.name+", writes", f.begun(w.inserts.all()))
		was, is := s.percentile(quiet.begun(w.reads.all()), 0.99), s.percentile(f.begun(w.reads.all()), 0.99)
		// This is told and not judged: it depends on how busy the machine is, and
		// new connections wait longer for it than the witness does. bench compares.
		machine := s.percentile(f.begun(s.witness.all()), 0.99)
		s.Logf("%s: p99 went from %s to %s; the witness has %s", w.name, was, is, machine)
	}
}

// met reports whether a node's share is within the bounds. It may be outside by
// one connection, because a pool with little to do has few.
func (s shares) met(d clustersql.Driver, node int) bool {
	has, total := 0.0, 0.0
	for i, n := range d.Status().Nodes {
		total += float64(n.OpenConns)
		if i == node {
			has = float64(n.OpenConns)
		}
	}
	return total > 0 && has+1 >= s.least*total && has-1 <= s.most*total && has > 0
}

// share returns a node's part of a cluster's connections.
func share(d clustersql.Driver, node int) float64 {
	all := 0
	nodes := d.Status().Nodes
	for _, n := range nodes {
		all += n.OpenConns
	}
	return float64(nodes[node].OpenConns) / float64(max(1, all))
}
