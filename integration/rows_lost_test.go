package integration

import (
	"context"
	"database/sql/driver"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
)

func killed(s *stage) {
	loads := s.start(client{name: "kill -9"}, client{name: "kill -9, idempotent", opts: idempotent}, balanced("kill -9"))
	quiet := s.quiet()
	s.harm(s.victim())
	fault := span{from: time.Now()}
	s.must(s.victim().Kill())
	fault.to = time.Now()
	s.insertsGoOn()
	s.must(s.victim().Start(context.Background()))
	back := s.backs(time.Now())
	settled := s.settle()
	s.pass(time.Second)
	s.end()
	for i, w := range loads {
		l := s.tally(w, w.name, s.since(fault.from), back[i])
		most := onWire(w.reads.all(), fault)
		if i > 0 {
			most = 0
		}
		s.bound(l.readsFailed <= most, "%s: %d reads failed, at most %d may", w.name, l.readsFailed, most)
		s.bound(l.gap < 300*time.Millisecond, "%s: no read succeeded for %s", w.name, l.gap)
	}
	s.judge(quiet, settled)
}

func frozen(s *stage) {
	loads := s.start(
		client{name: "SIGSTOP", opens: true},
		client{name: "SIGSTOP, probes of 200ms", probe: 200 * time.Millisecond, opts: []clustersql.Option{clustersql.WithProbe(200*time.Millisecond, 200*time.Millisecond)}},
		client{name: "SIGSTOP, idempotent", opts: idempotent},
		balanced("SIGSTOP", clustersql.WithCheck(clustersql.CheckGalera)))
	quiet := s.quiet()
	s.harm(s.victim())
	var opening []time.Duration
	for _, w := range loads {
		open := w.d.Status().Nodes[0].OpenLatency
		opening = append(opening, open.Mean()+4*open.Deviation())
	}
	fault := span{from: time.Now()}
	s.must(s.victim().Freeze())
	s.pass(time.Until(fault.from.Add(12 * time.Second)))
	fault.to = time.Now()
	s.must(s.victim().Resume())
	ctx, stop := context.WithCancel(context.Background())
	unprotected := s.watch(ctx, s.victim())
	back := s.backs(fault.to)
	s.insertsGoOn()
	s.pass(2 * time.Second)
	stop()
	settled := s.settle()
	s.end()
	const slow = 2600 * time.Millisecond
	limits := []time.Duration{slow, 750 * time.Millisecond, slow, slow}
	for i := range limits {
		limits[i] += opening[i] // the second probe dials
	}
	for i, w := range loads {
		l := s.tally(w, w.name, fault, -1)
		// An insert on another node waits until the group has left the victim out.
		took := max(s.hung(fault, w.reads.all()), s.hung(fault, failedOn(w.inserts.all(), s.victim().Name)))
		s.Logf("%s: a query hung for %s of %s", w.name, took, limits[i])
		s.bound(took <= limits[i], "%s: a query hung for %s, at most %s may pass", w.name, took, limits[i])
		s.bound(i < 2 || l.readsFailed == 0, "%s: %d reads failed", w.name, l.readsFailed)
	}
	s.Logf("a client that knew no better got %d stale reads", s.counter.stale(unprotected.all(), s.victim().Name, replicationDelay))
	l := s.tally(loads[0], "SIGCONT after 12s", s.since(fault.to), back[0])
	s.bound(l.stale == 0, "%d stale reads after SIGCONT", l.stale)
	s.bound(l.readsFailed == 0, "%d reads failed after SIGCONT", l.readsFailed)
	s.judge(quiet, settled)
}

func isolated(s *stage) {
	w := s.start(client{name: "isolated", opens: true}, balanced("isolated"))[0]
	quiet := s.quiet()
	s.harm(s.victim())
	from := time.Now()
	s.must(s.victim().Isolate(s.Context()))
	turned := s.nonPrimary()
	waitState(s.T, w.d, 0, clustersql.StateDown)
	s.insertsGoOn()
	s.pass(time.Second)
	s.must(s.victim().Rejoin(s.Context()))
	s.must(s.victim().WaitSynced(context.Background()))
	back := s.backs(time.Now())
	settled := s.settle()
	s.pass(time.Second)
	s.end()
	s.tally(w, w.name, s.since(from), back[0])
	s.judge(quiet, settled)
	s.none("reads after the node turned non-primary", s.since(turned).begun(w.reads.all()))
	s.none("opens after the node turned non-primary", s.since(turned).begun(w.opens.all()))
}

// nonPrimary waits until the first node says that it is not in the primary
// component. It returns the time.
func (s *stage) nonPrimary() time.Time {
	s.Helper()
	waitFor(s.T, "the node to be non-primary", func() bool {
		v, err := s.victim().Status(s.Context(), "wsrep_cluster_status")
		return err == nil && v != "Primary"
	})
	return time.Now()
}

// The node comes back by IST. For a second another node is the donor; that one
// keeps its connections.
func shutDown(s *stage) {
	loads := s.start(client{name: "shutdown", opts: []clustersql.Option{clustersql.WithCheck(clustersql.CheckGalera)}},
		client{name: "shutdown, idempotent", opts: idempotent})
	s.quiet()
	s.harm(s.victim())
	fault := span{from: time.Now()}
	s.must(s.victim().Shutdown(s.Context()))
	fault.to = time.Now()
	s.insertsGoOn()
	s.must(s.victim().Start(context.Background()))
	back := s.backs(time.Now())
	s.pass(time.Second)
	others := loads[0].d.Status().Nodes[1:]
	s.end()
	for i, w := range loads {
		l := s.tally(w, w.name, s.since(fault.from), back[i])
		most := onWire(w.reads.all(), fault)
		if i == 1 {
			most = 0
		}
		s.bound(l.readsFailed <= most, "%s: %d reads failed, at most %d may", w.name, l.readsFailed, most)
	}
	for _, n := range others {
		s.bound(n.Generation == 0, "another node's connections were given up: %+v", n)
	}
}

// Callers have 15 s. With a full pool, database/sql opens one connection at a
// time, each within open_timeout.
func allFrozen(s *stage) {
	loads := s.start(client{name: "all frozen", opts: idempotent, timeout: 15 * time.Second, opens: true},
		client{name: "all frozen, full pool", opts: idempotent, timeout: 15 * time.Second, maxOpen: 8})
	s.quiet()
	s.blind = true
	s.harm(s.c.Nodes...)
	fault := span{from: time.Now()}
	for _, n := range s.c.Nodes {
		s.must(n.Freeze())
	}
	before := make([][]clustersql.NodeStatus, len(loads))
	for i, w := range loads {
		before[i] = w.d.Status().Nodes
	}
	s.pass(time.Until(fault.from.Add(5 * time.Second)))
	fault.to = time.Now()
	during := make([][]clustersql.NodeStatus, len(loads))
	for i, w := range loads {
		during[i] = w.d.Status().Nodes
	}
	for _, n := range s.c.Nodes {
		s.must(n.Resume())
	}
	s.must(s.c.WaitSynced(context.Background()))
	back := s.backs(fault.to)
	s.insertsGoOn()
	s.pass(time.Second)
	s.end()
	usable := s.outage(fault.from)
	s.Logf("nobody could read for %s", usable)
	for i, w := range loads {
		s.tally(w, w.name, s.since(fault.from), back[i])
		patience := []time.Duration{14 * time.Second, 9 * time.Second}[i]
		bad := failed(s.since(fault.from).begun(w.reads.all()))
		for _, o := range failed(s.since(fault.from).begun(w.opens.all())) {
			if !metTheEnd(o, w.told(o.node)) {
				bad = append(bad, o)
			}
		}
		s.bound(len(bad) == 0 || usable > patience, "%s: %d reads failed:\n%s", w.name, len(bad), causes(bad))
		for j := range s.c.Nodes {
			opens, probes := during[i][j].Opens-before[i][j].Opens, during[i][j].Probes-before[i][j].Probes
			s.bound(opens <= 24 && probes <= 12, "%s: %d attempts and %d probes on %s in 5s", w.name, opens, probes, s.c.Nodes[j].Name)
		}
	}
}

// metTheEnd tells whether a read on a fresh connection was refused because its
// node left the group in that moment. Such a connection was good when it was
// handed out, and a statement on a sql.Conn is not moved. Nodes that were all
// frozen may leave once more after they were resumed, where the processors are
// busy. The node's actor may hear of it up to a second after the caller.
func metTheEnd(o op, told []clustersql.Event) bool {
	return errors.Is(o.err, driver.ErrBadConn) && slices.ContainsFunc(told, func(e clustersql.Event) bool {
		return e.From == clustersql.StateUp && e.To == clustersql.StateDown &&
			o.begin.Before(e.Time) && e.Time.Before(o.end.Add(time.Second))
	})
}

func TestMetTheEnd(t *testing.T) {
	began := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	left := func(after time.Duration) []clustersql.Event {
		return []clustersql.Event{
			{From: clustersql.StateDown, To: clustersql.StateUp, Time: began},
			{From: clustersql.StateUp, To: clustersql.StateDown, Time: began.Add(after)},
		}
	}
	for _, c := range []struct {
		name string
		err  error
		told []clustersql.Event
		want bool
	}{
		{"the node left under it", driver.ErrBadConn, left(50 * time.Millisecond), true},
		{"the actor heard of it later", driver.ErrBadConn, left(200 * time.Millisecond), true},
		{"the node had left before", driver.ErrBadConn, left(-time.Millisecond), false},
		{"the node left long after", driver.ErrBadConn, left(2 * time.Second), false},
		{"the node came back under it", driver.ErrBadConn, []clustersql.Event{{From: clustersql.StateDown, To: clustersql.StateUp, Time: began.Add(50 * time.Millisecond)}}, false},
		{"the node did not leave", driver.ErrBadConn, nil, false},
		{"no refusal", errors.New("hung"), left(50 * time.Millisecond), false},
		{"it succeeded", nil, left(50 * time.Millisecond), false},
	} {
		o := op{begin: began, end: began.Add(100 * time.Millisecond), err: c.err}
		if got := metTheEnd(o, c.told); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// outage returns how long after then the witness could not read. After a freeze
// of all nodes the group must first agree again.
func (s *stage) outage(then time.Time) time.Duration {
	last := then
	for _, o := range s.witness.all() {
		if o.end.After(then) && (o.err != nil || o.end.Sub(o.begin) > time.Second) {
			last = o.end
		}
	}
	return last.Sub(then)
}
