package main

import (
	"context"
	"fmt"
	"time"

	"github.com/EnumApps/clustersql"
)

// pause is how long at most there is no primary before the demo promotes a
// standby. Writes wait meanwhile, each for at most the timeout of an operation.
const pause = 2 * time.Second

// failover returns the part of the scenario that needs a primary and standbys.
func (s *scenario) failover() []step {
	return []step{{s.lagThird, 0.15}, {s.catchUpThird, 0.1}, {s.losePrimary, 0.2}, {s.rejoinOld, 0.15}}
}

// primary returns the node that was promoted last.
func (s *scenario) primary() *node {
	for i, n := range s.replicas.Nodes {
		if n == s.replicas.Primary() {
			return s.nodes[i]
		}
	}
	return nil // not reached: the primary is one of the nodes
}

// lagThird has the third node fall behind. It still answers, and receives what
// it does not replay.
func (s *scenario) lagThird(ctx context.Context) error {
	n := s.nodes[2]
	s.journal.add(begins, n.name+" replays nothing any more: it answers, and falls behind the primary")
	if err := s.replicas.Nodes[2].PauseReplay(ctx); err != nil {
		return err
	}
	if err := s.await(ctx, func() bool { return s.down(n.name) }); err != nil {
		return err
	}
	s.journal.add(did, s.users(n.name)+" have left "+n.name+": it is further behind than max_lag")
	return nil
}

func (s *scenario) catchUpThird(ctx context.Context) error {
	n := s.nodes[2]
	s.journal.add(begins, n.name+" replays again")
	if err := s.replicas.Nodes[2].ResumeReplay(ctx); err != nil {
		return err
	}
	if err := s.await(ctx, func() bool { return s.up(n.name) }); err != nil {
		return err
	}
	s.journal.add(did, s.users(n.name)+" have "+n.name+" back")
	return nil
}

// losePrimary kills the primary while the application writes, and promotes a
// standby after a pause. A write that was under way may have happened or not: it
// runs again, which its ON CONFLICT DO NOTHING allows. Where ctx is done, the
// standby is promoted all the same, because writes wait for it.
func (s *scenario) losePrimary(ctx context.Context) error {
	old := s.primary()
	s.journal.add(begins, old.name+", the primary, is killed: reads go on, and writes wait for a new primary")
	old.refuse()
	if err := s.replicas.Primary().Kill(); err != nil {
		return err
	}
	interrupted := s.await(ctx, func() bool { return s.down(old.name) })
	if interrupted == nil {
		interrupted = s.wait(ctx, min(pause, s.length/10))
	}
	s.journal.add(did, "the demo plays the failover manager: it promotes the standby that has most")
	if _, err := s.replicas.Failover(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	n := s.primary()
	s.journal.add(did, n.name+" is promoted, and the other standby follows it")
	if interrupted != nil {
		return interrupted
	}
	if err := s.await(ctx, func() bool { return s.up(n.name) }); err != nil {
		return err
	}
	s.journal.add(did, "the writers have found "+n.name)
	return nil
}

// rejoinOld brings the old primary back. What it has beyond the new one's
// history is taken back first.
func (s *scenario) rejoinOld(ctx context.Context) error {
	n := s.nodes[0]
	s.journal.add(begins, fmt.Sprintf("%s, the old primary, is rewound and started as a standby of %s", n.name, s.primary().name))
	if err := n.start(ctx); err != nil {
		return err
	}
	if err := s.await(ctx, func() bool { return s.up(n.name) && s.isReplica(n.name) }); err != nil {
		return err
	}
	s.journal.add(did, s.users(n.name)+" have "+n.name+" back")
	return nil
}

// isReplica reports whether each cluster has seen that the node is a standby.
func (s *scenario) isReplica(name string) bool {
	for _, c := range s.clusters {
		if statusOf(c, name).Role != clustersql.RoleReplica {
			return false
		}
	}
	return true
}
