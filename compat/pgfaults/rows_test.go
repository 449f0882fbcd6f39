package pgfaults

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/EnumApps/clustersql"
)

func standbyKilled(s *stage) {
	n := s.standby()
	s.start(n)
	s.must(n.Kill())
	s.pass(2 * time.Second)
	s.must(n.Start(s.Context()))
	s.up(n)
	s.end()
}

func primaryKilled(s *stage) {
	s.start(s.c.Primary())
	s.must(s.primary.Kill())
	s.pass(500 * time.Millisecond)
	s.failOver()
	s.goOn()
	s.pass(time.Second)
	s.must(s.primary.Rewind(s.Context()))
	s.up(s.primary)
	s.end()
}

func standbyFrozen(s *stage) {
	n := s.standby()
	s.start(n)
	s.must(n.Freeze())
	s.pass(4 * time.Second)
	s.must(n.Resume())
	s.up(n)
	s.end()
}

// primaryFrozen freezes the primary until another has been promoted, and for a
// while longer. When it goes on it knows nothing of that, and takes writes.
func primaryFrozen(s *stage) {
	s.start(s.c.Primary())
	s.must(s.primary.Freeze())
	s.pass(3 * time.Second) // nobody promotes sooner, and the silence is noticed
	s.failOver()
	s.goOn()
	s.must(s.primary.Resume())
	s.must(s.primary.Set(s.Context(), "synchronous_standby_names", ""))
	s.pass(3 * time.Second)
	s.end()
}

func standbyRestarts(s *stage) {
	n := s.standby()
	s.start(n)
	s.must(n.Shutdown(s.Context()))
	s.must(n.Start(s.Context()))
	s.up(n)
	s.end()
}

func primaryRestarts(s *stage) {
	s.start(s.c.Primary())
	s.must(s.primary.Shutdown(s.Context()))
	s.must(s.primary.Start(s.Context()))
	s.goOn()
	s.up(s.primary)
	s.end()
}

// switchoverReadOnly makes the old primary read-only before another one is
// promoted, and a standby after that.
func switchoverReadOnly(s *stage) {
	s.start(s.c.Primary())
	s.must(s.primary.Set(s.Context(), "default_transaction_read_only", "on"))
	s.must(s.c.WaitReplayed(s.Context()))
	s.failOver()
	s.goOn()
	s.must(s.primary.Rewind(s.Context()))
	s.up(s.primary)
	s.end()
}

func switchoverShutdown(s *stage) {
	s.start(s.c.Primary())
	s.must(s.primary.Shutdown(s.Context()))
	s.failOver()
	s.goOn()
	s.must(s.primary.Rewind(s.Context()))
	s.up(s.primary)
	s.end()
}

// oldPrimaryBack has a primary come back as it was, after another one has been
// promoted.
func oldPrimaryBack(s *stage) {
	s.start(s.c.Primary())
	s.must(s.primary.Kill())
	s.pass(500 * time.Millisecond)
	s.failOver()
	s.goOn()
	s.must(s.primary.StartAlone(s.Context()))
	s.pass(5 * time.Second)
	s.end()
}

func replayPaused(s *stage) {
	n := s.standby()
	s.start(n)
	s.must(n.PauseReplay(s.Context()))
	s.pass(maxLag + slack + 2*time.Second)
	s.must(n.ResumeReplay(s.Context()))
	s.up(n)
	s.end()
}

// standbyCutOff cuts two standbys off, one after the other: the first is told,
// and the second is not.
func standbyCutOff(s *stage) {
	told, untold := s.c.Standbys()[0], s.c.Standbys()[1]
	s.start(told)
	s.must(told.Disconnect())
	s.pass(maxLag + slack + time.Second)
	s.must(told.Reconnect())
	s.must(told.WaitReplayed(s.Context()))
	s.lookout.harm(untold)
	s.must(untold.Blackhole())
	s.pass(maxLag + slack + time.Second)
	s.must(untold.Reconnect())
	s.end()
}

// full leaves no room on a standby, and then on the primary.
func full(s *stage) {
	n := s.standby()
	s.start()
	before := s.generations()
	for _, n := range []interface {
		Fill(context.Context) error
		Empty()
	}{n, s.primary} {
		s.must(n.Fill(s.Context()))
		s.pass(1500 * time.Millisecond)
		n.Empty()
	}
	if now := s.generations(); !slices.Equal(now, before) {
		s.Errorf("a full node was given up: %v, and before %v", now, before)
	}
	s.end()
}

// generations returns those of the nodes that are up, in the pools of
// clustersql.
func (s *stage) generations() []string {
	var all []string
	for _, p := range s.clients[0].pools() {
		for _, n := range p.d.Status().Nodes {
			if n.State == clustersql.StateUp {
				all = append(all, fmt.Sprintf("%s %d", n.Name, n.Generation))
			}
		}
	}
	return all
}

func allFrozen(s *stage) {
	s.start(s.c.Nodes...)
	for _, n := range s.c.Nodes {
		s.must(n.Freeze())
	}
	s.pass(3 * time.Second) // less than max_lag and the slack: nobody writes meanwhile, but the clock goes on
	for _, n := range s.c.Nodes {
		s.must(n.Resume())
	}
	s.goOn()
	for _, n := range s.c.Nodes {
		s.up(n)
	}
	s.end()
}

// returns has a standby come back. The readers' connections are then spread over
// all standbys again, as the program needs new ones: now and then it uses as many
// as it has workers.
func returns(s *stage) {
	n := s.standby()
	s.start(n)
	s.must(n.Shutdown(s.Context()))
	s.pass(time.Second)
	s.must(n.Start(s.Context()))
	s.up(n)
	s.from = time.Now()
	for limit := time.Now().Add(20 * time.Second); !spread(s.clients[0].readers.d); s.pass(100 * time.Millisecond) {
		warm(s.T, s.clients[0].readers, readers)
		if time.Now().After(limit) {
			s.Errorf("20s after its return the node does not have its share: %+v", s.clients[0].readers.d.Status().Nodes)
			break
		}
	}
	s.Logf("the node had its share after %s", time.Since(s.from).Round(10*time.Millisecond))
	s.end()
}

// spread reports whether each standby has its share of the connections, 20 percent
// and one connection more or less.
func spread(d clustersql.Driver) bool {
	nodes := slices.DeleteFunc(d.Status().Nodes, func(n clustersql.NodeStatus) bool { return n.Role != clustersql.RoleReplica })
	all := 0.0
	for _, n := range nodes {
		all += float64(n.OpenConns)
	}
	share := all / float64(len(nodes))
	for _, n := range nodes {
		if is := float64(n.OpenConns); is+1 < 0.8*share || is-1 > 1.2*share || is == 0 {
			return false
		}
	}
	return true
}
