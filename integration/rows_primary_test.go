package integration

import (
	"context"
	"time"
)

// outage is how long the operator's tool takes to find that the primary is dead.
const outage = 2 * time.Second

func primaryKilled(s *stage) { s.killPrimary("kill -9 of the primary") }

// primaryKilledQuickly has clients that are to be on the new primary sooner.
func primaryKilledQuickly(s *stage) {
	s.probe = 200 * time.Millisecond
	s.killPrimary("the same, probes every 200 ms")
}

func (s *stage) killPrimary(name string) {
	writer, reader := s.pair(name, 0)
	old := s.victim()
	s.harm(old)
	fault := span{from: time.Now()}
	s.must(old.Kill())
	fault.to = time.Now()
	s.pass(outage)
	best, promoted, wrote := s.promote(writer)
	s.pass(time.Second)
	s.must(old.Start(context.Background()))
	read := s.oldBack(writer, reader, old, best, promoted)
	s.end()
	s.judgePair(writer, reader, fault.from, wrote, read, onWire(writer.inserts.all(), fault))
}

// The promotion comes when the writers' connections have been cut. What they had
// sent the old primary runs when it goes on; its callers know that it may have.
func primaryFrozen(s *stage) {
	writer, reader := s.pair("SIGSTOP of the primary", 0)
	old := s.victim()
	s.harm(old)
	fault := span{from: time.Now()}
	s.must(old.Freeze())
	fault.to = time.Now()
	s.pass(2 * outage)
	best, promoted, wrote := s.promote(writer)
	s.pass(time.Second)
	s.must(old.Resume())
	read := s.oldBack(writer, reader, old, best, promoted)
	s.end()
	s.judgePair(writer, reader, fault.from, wrote, read, writers)
}

// Nobody is promoted: the writers wait for the primary.
func primaryShutDown(s *stage) {
	writer, reader := s.pair("shutdown of the primary", 0)
	s.harm(s.victim())
	fault := span{from: time.Now()}
	s.must(s.victim().Shutdown(s.Context()))
	fault.to = time.Now()
	s.pass(outage)
	s.must(s.victim().Start(context.Background()))
	back := s.returned(writer, 0, time.Now())
	s.insertsGoOn()
	s.pass(time.Second)
	s.end()
	s.judgePair(writer, reader, fault.from, back, -1, onWire(writer.inserts.all(), fault))
}

// Nothing fails in a planned switchover, and no node is bad.
func switchedOver(s *stage) {
	writer, reader := s.pair("switchover", 0)
	from := time.Now()
	s.must(s.c.Switchover(s.Context(), s.replica()))
	promoted := time.Now()
	s.insertsGoOn()
	back := s.net(span{promoted, time.Now()})
	s.bound(back <= promotes, "writes went on %s after the switchover", back)
	s.pass(2 * time.Second)
	s.end()
	s.judgePair(writer, reader, from, back, -1, 0)
	for node := range s.writersIn(writer, s.since(promoted.Add(promotes))) {
		s.bound(node == s.replica().Name, "%s wrote after the switchover", node)
	}
}

// Between its steps a probe of each node surely comes. The old primary and the new one
// follow nobody for a moment then, and take no writes; nobody has more than they have.
func switchedOverSlowly(s *stage) {
	s.probe = 400 * time.Millisecond
	writer, reader := s.pair("slow switchover", 0)
	from, old, next := time.Now(), s.victim(), s.replica()
	for _, step := range []func(context.Context) error{
		func(ctx context.Context) error { return old.ReadOnly(ctx, true) },
		func(ctx context.Context) error { return next.WaitApplied(ctx, old) },
		next.FollowNobody,
		next.Promote,
		func(ctx context.Context) error { return s.c.Nodes[2].Follow(ctx, next) },
		func(ctx context.Context) error { return old.Follow(ctx, next) },
	} {
		s.must(step(s.Context()))
		s.pass(s.probe * 3 / 2)
	}
	s.insertsGoOn()
	s.pass(2 * time.Second)
	s.end()
	s.judgePair(writer, reader, from, -1, -1, 0)
}

func replicationFrozen(s *stage) {
	writer, reader := s.pair("all frozen", 0)
	s.blind = true
	s.harm(s.c.Nodes...)
	fault := span{from: time.Now()}
	for _, n := range s.c.Nodes {
		s.must(n.Freeze())
	}
	s.pass(2 * outage)
	fault.to = time.Now()
	for _, n := range s.c.Nodes {
		s.must(n.Resume())
	}
	wrote := s.returned(writer, 0, fault.to)
	read := s.returned(reader, 1, fault.to)
	s.insertsGoOn()
	s.pass(time.Second)
	s.end()
	s.judgePair(writer, reader, fault.from, wrote, read, 0)
}
