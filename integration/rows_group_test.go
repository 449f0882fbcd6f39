package integration

import (
	"slices"
	"time"

	"github.com/EnumApps/clustersql"
)

// lastDesynced leaves one node, and desyncs it, as a backup does. A plain driver
// goes on there, and so must the client.
func lastDesynced(s *stage) {
	const every, lasts = 500 * time.Millisecond, time.Second
	w := s.start(client{name: "last one desynced", probe: every, opts: []clustersql.Option{clustersql.WithCheck(clustersql.CheckGalera),
		clustersql.WithProbe(every, every), clustersql.WithDonors(false, lasts), clustersql.WithIdempotent(true)}})[0]
	s.quiet()
	s.blind = true
	from, last := time.Now(), s.c.Nodes[2]
	for _, n := range s.c.Nodes[:2] {
		s.harm(n)
		s.must(n.Shutdown(s.Context()))
		s.insertsGoOn()
	}
	s.must(last.Desync(s.Context(), true))
	waitFor(s.T, "the node to be seen desynced", func() bool { return w.d.Status().Nodes[2].Donor })
	alone := span{from: time.Now()}
	s.pass(lasts + 4*every)
	alone.to = time.Now()
	s.must(last.Desync(s.Context(), false))
	s.end()
	s.tally(w, w.name, s.since(from), -1)
	s.none("reads on the last node", alone.begun(w.reads.all()))
	s.none("writes on the last node", alone.begun(w.inserts.all()))
	for _, e := range w.told(last.Name) {
		s.bound(e.Kind != clustersql.EventState || e.To != clustersql.StateDown, "the last node went down: %s", e.Reason)
	}
}

// causal freezes a node for a moment and kills it. The group cannot commit in
// the meantime, and with wsrep_sync_wait a read waits for that: also on the
// nodes that are well. These stay in use, and what waits there succeeds.
func causal(s *stage) {
	const params = "wsrep_sync_wait=1"
	writable := clustersql.WithRequire("writable")
	loads := s.start(client{name: "causal", params: params, opts: []clustersql.Option{writable}},
		client{name: "causal, balanced", params: params, opts: []clustersql.Option{writable, clustersql.WithStrategy(clustersql.Balanced), clustersql.WithIdempotent(true)}})
	s.quiet()
	s.faulty = 2
	n := s.c.Nodes[s.faulty]
	s.harm(n)
	from := time.Now()
	s.must(n.Freeze())
	s.pass(2 * time.Second)
	s.must(n.Resume())
	s.insertsGoOn()
	s.must(n.Kill())
	s.insertsGoOn()
	s.end()
	for _, w := range loads {
		s.tally(w, w.name, s.since(from), -1)
		ops := slices.Concat(w.reads.all(), w.inserts.all())
		bad := slices.DeleteFunc(failed(ops), func(o op) bool { return o.node == n.Name || rolledBack(o) })
		s.bound(len(bad) == 0, "%s: %d failed on the other nodes:\n%s", w.name, len(bad), causes(bad))
		s.Logf("%s: the slowest operation took %s", w.name, s.hung(s.since(from), ops))
	}
}

// split kills a node and starts it as a group of its own. Whatever is written
// there is lost once the mistake is mended, so the node must not be used.
func split(s *stage) {
	spread := []clustersql.Option{clustersql.WithStrategy(clustersql.Balanced), clustersql.WithIdempotent(true)}
	loads := s.start(client{name: "split", opens: true, opts: spread},
		client{name: "split, galera check", opens: true, opts: append(slices.Clone(spread), clustersql.WithCheck(clustersql.CheckGalera))})
	s.quiet()
	s.faulty = 2
	n := s.c.Nodes[s.faulty]
	s.harm(n)
	from := time.Now()
	s.must(n.Kill())
	s.insertsGoOn()
	s.must(n.StartAlone(s.Context()))
	apart := span{from: time.Now()}
	s.pass(comesBack)
	for _, w := range loads {
		is := w.d.Status().Nodes[s.faulty]
		s.Logf("%s: the node is %s: %s", w.name, is.State, is.Reason)
		s.bound(is.State == clustersql.StateDown && is.Reason != "", "%s: the node is %s: %q", w.name, is.State, is.Reason)
	}
	apart.to = time.Now()
	s.end()
	for _, w := range loads {
		s.tally(w, w.name, s.since(from), -1)
		used := on(apart.begun(slices.Concat(w.reads.all(), w.opens.all())), n.Name)
		s.bound(len(used) == 0, "%s: %d reads on a node of another group", w.name, len(used))
		s.none(w.name+", opens", apart.begun(w.opens.all()))
		s.none(w.name+", writes", apart.begun(w.inserts.all()))
	}
}
