package integration

import (
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
