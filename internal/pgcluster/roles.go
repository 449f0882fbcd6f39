package pgcluster

import (
	"context"
	"errors"

	"github.com/EnumApps/clustersql/internal/throwaway"
)

// Promote makes a standby the primary. It returns when the node takes writes.
// The node that was the primary is not touched.
func (n *Node) Promote(ctx context.Context) error {
	if !n.isStandby() {
		return n.wrap("promote", errors.New("it is no standby"))
	}
	n.log("promote")
	if err := n.until(ctx, "promote", "NOT pg_is_in_recovery()", "SELECT pg_promote(false)"); err != nil {
		return err
	}
	n.cluster.mu.Lock()
	n.cluster.primary = n
	n.cluster.mu.Unlock()
	return n.lay(nil)
}

// Follow has a standby follow another node, whose history must have everything
// that the standby has; where it has not, Rewind helps. If the standby runs,
// Follow returns when it streams; otherwise it does so when it is started.
func (n *Node) Follow(ctx context.Context, to *Node) error {
	if !n.isStandby() {
		return n.wrap("follow "+to.Name, errors.New("it is no standby"))
	}
	n.log("follow %s", to.Name)
	if err := n.lay(to); err != nil {
		return err
	}
	if !n.Running() {
		return n.followOnStart()
	}
	if err := n.alter(ctx, "SET primary_conninfo = '"+n.conninfo()+"'"); err != nil {
		return err
	}
	return n.until(ctx, "follow "+to.Name, n.streams())
}

// Best returns the running standby with the longest history. A frozen one
// cannot tell its history, so that nothing is returned but an error.
func (c *Cluster) Best(ctx context.Context) (*Node, error) {
	var best *Node
	most := ""
	for _, n := range c.Standbys() {
		if !n.Running() || !n.isStandby() {
			continue
		}
		// Numbers of 20 digits sort as texts do.
		at, err := n.Query(ctx, "SELECT to_char(GREATEST(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) - '0/0'::pg_lsn, '00000000000000000000')")
		if err != nil {
			return nil, err
		}
		if at > most {
			best, most = n, at
		}
	}
	if best == nil {
		return nil, errors.New("pgcluster: no standby runs")
	}
	return best, nil
}

// Failover promotes the best running standby, and has the other running
// standbys follow it.
func (c *Cluster) Failover(ctx context.Context) (*Node, error) {
	best, err := c.Best(ctx)
	if err != nil {
		return nil, err
	}
	if err := best.Promote(ctx); err != nil {
		return nil, err
	}
	for _, n := range c.Standbys() {
		if !n.Running() || !n.isStandby() {
			continue
		}
		if err := n.Follow(ctx, best); err != nil {
			return nil, err
		}
	}
	return best, nil
}

// Rewind makes a node a standby of the primary: an old primary, or a standby
// whose history is another one. It shuts the node down, takes back what the
// primary does not have, and starts it. Where pg_rewind cannot do that, the node
// gets a copy of all data. Without a deadline it takes at most 3 minutes.
func (n *Node) Rewind(ctx context.Context) error {
	ctx, cancel := throwaway.WithTimeout(ctx, startTimeout)
	defer cancel()
	primary := n.cluster.Primary()
	if primary == n {
		return n.wrap("rewind", errors.New("it is the primary"))
	}
	if err := n.Shutdown(ctx); err != nil {
		return err
	}
	if err := n.lay(primary); err != nil {
		return err
	}
	if err := n.rewind(ctx, primary); err != nil {
		if ctx.Err() != nil {
			return err
		}
		n.log("%v", err)
		n.log("gets a copy of all data")
		if err := n.copyOf(ctx, primary); err != nil {
			return err
		}
	}
	n.mu.Lock()
	clear(n.changed) // its settings are those of the primary now
	n.mu.Unlock()
	if err := n.start(ctx); err != nil {
		return err
	}
	return n.WaitReplayed(ctx)
}

// rewind runs pg_rewind. It looks for the timeline in the control file, which
// has that of a promotion only after a checkpoint.
func (n *Node) rewind(ctx context.Context, primary *Node) error {
	if _, err := primary.Query(ctx, "CHECKPOINT"); err != nil {
		return err
	}
	n.log("rewind to %s", primary.Name)
	if err := n.run(ctx, "pg_rewind", "--target-pgdata="+n.Data(), "--source-server="+n.conninfo()+" dbname=postgres", "--no-sync"); err != nil {
		return err
	}
	return n.followOnStart()
}
