package integration

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/EnumApps/clustersql"
)

func rejecting(s *stage) {
	w := s.start(client{name: "wsrep_reject_queries"}, balanced("wsrep_reject_queries"))[0]
	quiet := s.quiet()
	s.harm(s.victim())
	from := time.Now()
	s.must(s.victim().RejectQueries(s.Context(), "ALL"))
	waitState(s.T, w.d, 0, clustersql.StateDown)
	s.pass(2 * time.Second)
	s.must(s.victim().RejectQueries(s.Context(), "NONE"))
	back := s.backs(time.Now())
	settled := s.settle()
	s.pass(time.Second)
	s.end()
	s.judge(quiet, settled)
	for i, w := range s.loads {
		s.tally(w, w.name, s.since(from), back[i])
		s.none(w.name+", reads", w.reads.all())
		s.none(w.name+", writes", w.inserts.all())
	}
}

func readOnly(s *stage) {
	w := s.start(client{name: "read_only", opts: []clustersql.Option{clustersql.WithRequire("writable"), clustersql.WithFailbackAfter(failBackAfter)}})[0]
	s.quiet()
	s.harm(s.victim())
	from := time.Now()
	s.must(s.victim().ReadOnly(s.Context(), true))
	waitState(s.T, w.d, 0, clustersql.StateDown)
	s.within(15*time.Second, "the third node to have no connection", func() bool {
		return w.d.Status().Nodes[2].Load == 0
	})
	s.pass(100 * time.Millisecond) // for inserts under way
	settled := span{from: time.Now()}
	s.pass(2 * time.Second)
	settled.to = time.Now()
	s.must(s.victim().ReadOnly(s.Context(), false))
	back := s.backs(time.Now())
	s.within(failBackAfter+15*time.Second, "all to be on the first node again", func() bool {
		nodes := w.d.Status().Nodes
		return nodes[0].Load > 0 && nodes[1].Load == 0 && nodes[2].Load == 0
	})
	failedBack := time.Now()
	s.pass(time.Second)
	s.end()
	s.tally(w, w.name, s.since(from), back[0])
	s.none("writes", w.inserts.all())
	for node := range s.writersIn(w, settled) {
		s.bound(node == s.c.Nodes[1].Name, "%s wrote while the first node was read-only", node)
	}
	last := s.writersIn(w, s.since(failedBack))
	s.bound(len(last) == 1 && last[s.victim().Name] > 0, "after the fail-back these wrote: %v", last)
}

// failBackAfter is how long a better node must have been up. It is less than
// the default, so that the run is shorter.
const failBackAfter = 10 * time.Second

// writersIn returns how many of the inserts within a span each node ran.
func (s *stage) writersIn(w *workload, p span) map[string]int {
	nodes := make(map[string]int)
	for _, o := range p.begun(w.inserts.all()) {
		if o.err == nil && o.end.Before(p.to) {
			nodes[s.rows[o.key].node]++
		}
	}
	return nodes
}

// The third node gets all its data again, from the first or the second.
func stateTransfer(s *stage) {
	w := s.start(client{name: "state transfer", opens: true, opts: []clustersql.Option{
		clustersql.WithCheck(clustersql.CheckGalera), clustersql.WithStrategy(clustersql.Balanced), clustersql.WithIdempotent(true)}})[0]
	s.quiet()
	s.faulty = 2
	joiner := s.c.Nodes[s.faulty]
	s.harm(joiner)
	from := time.Now()
	s.must(joiner.Shutdown(s.Context()))
	s.must(joiner.Wipe())
	waitState(s.T, w.d, 2, clustersql.StateDown)
	joining := span{from: time.Now()}
	var synced sync.WaitGroup
	ended := make(chan error, 1)
	synced.Go(func() { ended <- joiner.Start(context.Background()) })
	donors := make([]span, 2)
	waitFor(s.T, "the joiner to be synced", func() bool {
		for i, n := range w.d.Status().Nodes[:2] {
			if n.Donor {
				if donors[i].from.IsZero() {
					donors[i].from = time.Now()
				}
				donors[i].to = time.Now()
			}
		}
		return len(ended) > 0
	})
	s.must(<-ended)
	joining.to = time.Now()
	waitState(s.T, w.d, 2, clustersql.StateUp)
	back := max(0, time.Since(joining.to))
	s.pass(time.Second)
	s.end()
	s.tally(w, w.name, s.since(from), back)
	s.none("reads", s.since(from).begun(w.reads.all()))
	s.none("opens", s.since(joining.from).begun(w.opens.all()))
	joining.to = joining.to.Add(-200 * time.Millisecond) // before this the harness may not see it
	for what, ops := range map[string][]op{"reads": w.reads.all(), "opens": w.opens.all()} {
		n := len(on(joining.begun(ops), joiner.Name))
		s.bound(n == 0, "%d %s on the joiner", n, what)
	}
	for i, p := range donors {
		s.Logf("%s was seen as a donor for %s", s.c.Nodes[i].Name, p.to.Sub(p.from))
		n := len(on(p.begun(w.opens.all()), s.c.Nodes[i].Name))
		s.bound(n == 0, "%d opens on %s, the donor", n, s.c.Nodes[i].Name)
	}
}

func desynced(s *stage) {
	w := s.start(client{name: "wsrep_desync", opens: true, opts: []clustersql.Option{clustersql.WithCheck(clustersql.CheckGalera)}})[0]
	s.quiet()
	s.harm(s.victim())
	from := time.Now()
	s.must(s.victim().Desync(s.Context(), true))
	waitFor(s.T, "the node to be seen desynced", func() bool { return w.d.Status().Nodes[0].Donor })
	seen := time.Now()
	waitState(s.T, w.d, 0, clustersql.StateDown)
	down := span{from: time.Now()}
	after := down.from.Sub(seen)
	s.pass(time.Second)
	down.to = time.Now()
	s.must(s.victim().Desync(s.Context(), false))
	s.must(s.victim().WaitSynced(context.Background()))
	back := s.backs(time.Now())
	s.pass(time.Second)
	s.end()
	s.tally(w, w.name, s.since(from), back[0])
	s.none("reads", w.reads.all())
	s.none("writes", w.inserts.all())
	s.none("opens", w.opens.all())
	opened := on(span{seen, down.to}.begun(w.opens.all()), s.victim().Name)
	s.bound(len(opened) == 0, "%d opens on the desynced node", len(opened))
	kept := on(span{seen, down.from}.begun(w.reads.all()), s.victim().Name)
	s.bound(len(kept) > 0, "the desynced node lost its connections at once")
	read := on(down.begun(w.reads.all()), s.victim().Name)
	s.bound(len(read) == 0, "%d reads on the node after it was drained", len(read))
	s.bound(after > 3*time.Second && after < 9*time.Second, "drained after %s", after)
}

func full(s *stage) {
	w := s.start(client{name: "max_connections", opens: true})[0]
	s.quiet()
	from := time.Now()
	s.must(s.victim().MaxConnections(s.Context(), 10))
	refused := w.d.Status().Nodes[0].Errors
	held := hold(s.T, w.db, 2*pool)
	for _, conn := range held {
		conn.Close()
	}
	s.pass(2 * time.Second)
	n := w.d.Status().Nodes[0]
	s.bound(n.Errors > refused, "the node refused nobody: the row shows nothing")
	s.bound(n.State == clustersql.StateUp && n.Generation == 0, "a full node was given up: %+v", n)
	s.must(s.victim().MaxConnections(s.Context(), 0))
	back := s.backs(time.Now())
	s.pass(time.Second)
	s.end()
	s.tally(w, w.name, s.since(from), back[0])
	s.none("reads", w.reads.all())
	s.none("writes", w.inserts.all())
	s.none("opens", w.opens.all())
}

func flipping(s *stage) {
	const cycles = 30
	w := s.start(client{name: "flipping"})[0]
	s.quiet()
	s.harm(s.victim())
	from := time.Now()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for range cycles {
		s.must(s.victim().RejectQueries(s.Context(), "ALL"))
		<-tick.C
		s.must(s.victim().RejectQueries(s.Context(), "NONE"))
		<-tick.C
	}
	back := s.backs(time.Now())
	s.end()
	s.tally(w, w.name, s.since(from), back[0])
	s.none("reads", w.reads.all())
	s.none("writes", w.inserts.all())
	ups, downs := 0, 0
	for _, e := range w.told(s.victim().Name) {
		switch {
		case e.Kind == clustersql.EventState && e.To == clustersql.StateDown:
			downs++
		case e.Kind == clustersql.EventState && e.To == clustersql.StateUp:
			ups++
		}
	}
	s.Logf("down %d times, up %d times in %d cycles", downs, ups, cycles)
	s.bound(downs > 0 && downs <= cycles && ups <= cycles+1, "down %d times, up %d times in %d cycles", downs, ups, cycles)
}

// After the node's return, each client's connections follow its strategy's
// target again. No operation notices.
func returning(s *stage) {
	s.start(balanced("shutdown"), client{name: "shutdown, ordered", share: fullShare, due: failBackAfter, opts: append(slices.Clone(idempotent), clustersql.WithFailbackAfter(failBackAfter))})
	quiet := s.quiet()
	s.harm(s.victim())
	s.must(s.victim().Shutdown(s.Context()))
	s.insertsGoOn()
	s.must(s.victim().Start(context.Background()))
	settled := s.settle()
	s.end()
	s.judge(quiet, settled)
}

func membership(s *stage) {
	w := s.start(client{name: "DelNode and AddNode", opens: true, opts: []clustersql.Option{clustersql.WithFailbackAfter(time.Second)}})[0]
	s.quiet()
	from := time.Now()
	n := s.victim()
	s.harm(n)
	s.must(w.d.DelNode(n.Name))
	left := -1
	for began := time.Now(); left != 0 && time.Since(began) < 5*time.Second; s.pass(50 * time.Millisecond) {
		var err error
		left, err = n.AppConns(s.Context())
		s.must(err)
	}
	s.must(w.d.AddNode(n.Name, n.DSN("")))
	added := time.Now()
	waitState(s.T, w.d, 0, clustersql.StateUp)
	back := time.Since(added)
	s.pass(2 * time.Second)
	s.end()
	s.tally(w, w.name, s.since(from), back)
	s.bound(left == 0, "%d connections left on the node that was removed", left)
	s.none("reads", w.reads.all())
	s.none("writes", w.inserts.all())
	s.none("opens", w.opens.all())
	opened := on(s.since(added).begun(w.opens.all()), n.Name)
	s.bound(len(opened) > 0, "the node that was added was not used")
}
