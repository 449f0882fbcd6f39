package integration

import (
	"context"
	"time"

	"github.com/EnumApps/clustersql"
)

func replicaKilled(s *stage) {
	writer, reader := s.pair("kill -9 of a replica", 1)
	s.harm(s.replica())
	from := time.Now()
	s.must(s.replica().Kill())
	s.pass(2 * time.Second)
	s.must(s.replica().Start(context.Background()))
	back := s.returned(reader, 1, time.Now())
	s.pass(time.Second)
	s.end()
	s.judgePair(writer, reader, from, -1, back, 0)
}

// While it is frozen the primary goes on. It is used again when it has caught up.
func replicaFrozen(s *stage) {
	writer, reader := s.pair("SIGSTOP of a replica", 1)
	s.harm(s.replica())
	from := time.Now()
	s.must(s.replica().Freeze())
	s.pass(lagBound + 2*time.Second)
	s.must(s.replica().Resume())
	back := s.returned(reader, 1, time.Now())
	s.pass(2 * time.Second)
	s.end()
	s.judgePair(writer, reader, from, -1, back, 0)
}

// After its return the replica has its half of the readers' connections again.
func replicaShutDown(s *stage) {
	writer, reader := s.pair("shutdown of a replica", 1)
	s.harm(s.replica())
	from := time.Now()
	s.must(s.replica().Shutdown(s.Context()))
	s.pass(2 * time.Second)
	s.must(s.replica().Start(context.Background()))
	back := s.returned(reader, 1, time.Now())
	quiet := span{from.Add(-time.Second), from}
	settled := s.settle()
	s.end()
	s.judgePair(writer, reader, from, -1, back, 0)
	s.judge(quiet, settled)
}

// lagging does something to a replica by which it lags, and undoes it.
func (s *stage) lagging(fault string, begin, end func()) {
	writer, reader := s.pair(fault, 1)
	s.harm(s.replica())
	from := time.Now()
	begin()
	s.leftOut(reader, "lagging: further behind its primary than max_lag")
	s.pass(lagBound)
	end()
	back := s.returned(reader, 1, time.Now())
	s.pass(time.Second)
	s.end()
	s.judgePair(writer, reader, from, -1, back, 0)
}

func applyingStopped(s *stage) {
	s.lagging("SQL thread stopped", func() { s.must(s.replica().StopApplying(s.Context())) }, func() { s.must(s.replica().StartApplying(s.Context())) })
}

// The replica says that it is not behind.
func replicaCutOff(s *stage) {
	s.lagging("replica cut off", s.replica().Blackhole, s.replica().Reconnect)
}

func replicaFull(s *stage) {
	writer, reader := s.pair("max_connections", 1)
	from := time.Now()
	s.must(s.replica().MaxConnections(s.Context(), 10))
	refused := reader.d.Status().Nodes[1].Errors
	for _, conn := range hold(s.T, reader.db, 2*pool) {
		conn.Close()
	}
	s.pass(2 * time.Second)
	n := reader.d.Status().Nodes[1]
	s.bound(n.Errors > refused, "the node refused nobody: the row shows nothing")
	s.bound(n.State == clustersql.StateUp && n.Generation == 0, "a full node was given up: %+v", n)
	s.must(s.replica().MaxConnections(s.Context(), 0))
	s.pass(time.Second)
	s.end()
	s.judgePair(writer, reader, from, -1, -1, 0)
}
