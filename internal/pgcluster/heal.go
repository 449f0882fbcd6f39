package pgcluster

import (
	"context"

	"github.com/EnumApps/clustersql/internal/relay"
	"github.com/EnumApps/clustersql/internal/throwaway"
)

// Heal undoes every fault. Frozen nodes resume, nodes that are full have room
// again, nodes that were cut off are connected, settings and limits are what
// they were, replay goes on, and nodes that are down start. All nodes but the
// one that was promoted last become its standbys. Heal waits until these have
// everything, for at most 3 minutes if ctx has no deadline.
func (c *Cluster) Heal(ctx context.Context) error {
	ctx, cancel := throwaway.WithTimeout(ctx, startTimeout)
	defer cancel()
	for _, n := range c.Nodes {
		n.Empty()
		if n.Running() {
			if err := n.Resume(); err != nil {
				return err
			}
		}
		if l := n.way(); l != nil {
			l.Turn(relay.Open)
		}
	}
	primary := c.Primary()
	if !primary.Running() {
		if err := primary.Start(ctx); err != nil {
			return err
		}
	}
	if err := primary.resetAll(ctx); err != nil {
		return err
	}
	for _, n := range c.Standbys() {
		if err := n.heal(ctx, primary); err != nil {
			return err
		}
	}
	if _, err := primary.Query(ctx, "ALTER ROLE "+User+" CONNECTION LIMIT -1"); err != nil {
		return err
	}
	return c.WaitReplayed(ctx)
}

// heal makes a node a standby that lacks nothing.
func (n *Node) heal(ctx context.Context, primary *Node) error {
	if !n.isStandby() || n.Upstream() != primary {
		return n.Rewind(ctx) // it may have what the primary lacks
	}
	if !n.Running() {
		if err := n.Start(ctx); err != nil {
			return err
		}
	}
	if err := n.resetAll(ctx); err != nil {
		return err
	}
	return n.ResumeReplay(ctx)
}
