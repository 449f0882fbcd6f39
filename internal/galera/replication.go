package galera

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/EnumApps/clustersql/internal/throwaway"
)

// These are the account with which replicas log in to their primary. The
// password is no secret.
const (
	replicator         = "replicator"
	replicatorPassword = "replicator"
)

// StartReplication starts plain servers that replicate asynchronously, by GTID:
// n1 is the primary, and the others follow it and are read-only. It returns when
// they have the database app and its user. Each replica receives through a relay
// of this process; see [Node.Disconnect]. All else is as with [Start]. Methods about
// the group, such as Isolate or Desync, are of no use on such nodes.
func StartReplication(ctx context.Context, opts Options) (*Cluster, error) {
	opts.replicas = true
	return Start(ctx, opts)
}

// replicationOptions are the options of a node that has no group. Its log has
// all that it has applied, so that it can take the primary's place.
func (n *Node) replicationOptions() []string {
	return []string{
		"wsrep_node_name=" + n.Name, // statements ask for it
		"log_bin=binlog",
		"relay_log=relay",
		"log_slave_updates=ON",
		"gtid_strict_mode=ON",
	}
}

// template is the folder of the data with which every node begins.
func (c *Cluster) template() string { return filepath.Join(c.dir, "template") }

// startReplicas starts the nodes with equal data and empty logs, and has all but
// the first follow it.
func (c *Cluster) startReplicas(ctx context.Context) error {
	began, first := time.Now(), c.Nodes[0]
	if err := c.installReplicas(ctx); err != nil {
		return err
	}
	c.primary.Store(first)
	for _, n := range c.Nodes {
		n.demoted.Store(n != first)
		if err := n.startServer(n.replicaArgs()); err != nil {
			return err
		}
	}
	for _, n := range c.Nodes {
		if err := n.waitAnswer(ctx); err != nil {
			return err
		}
	}
	for _, n := range c.Nodes[1:] {
		if err := n.Follow(ctx, first); err != nil {
			return err
		}
	}
	if err := c.WaitSynced(ctx); err != nil {
		return err
	}
	c.log.Printf("%d nodes replicate after %s", len(c.Nodes), time.Since(began).Round(time.Millisecond))
	return nil
}

// installReplicas makes the data of all nodes. What makes them is in no log.
func (c *Cluster) installReplicas(ctx context.Context) error {
	first := c.Nodes[0]
	if err := c.installData(ctx); err != nil {
		return err
	}
	if err := first.startServer([]string{"--skip-log-bin"}); err != nil {
		return err
	}
	if err := first.waitAnswer(ctx); err != nil {
		return err
	}
	if err := first.createApp(ctx); err != nil {
		return err
	}
	err := first.exec(ctx,
		"CREATE USER "+replicator+"@'%' IDENTIFIED BY '"+replicatorPassword+"'",
		"GRANT REPLICATION SLAVE ON *.* TO "+replicator+"@'%'")
	if err != nil {
		return err
	}
	if err := first.Shutdown(ctx); err != nil {
		return err
	}
	if err := copyTree(c.template(), first.data(), c.user); err != nil {
		return fmt.Errorf("galera: keeping the data: %w", err)
	}
	return c.copyData(first.data(), c.Nodes[1:])
}

// Primary returns the node that was promoted last, or n1. It may be down. It is
// nil in a Galera cluster.
func (c *Cluster) Primary() *Node { return c.primary.Load() }

// Best returns the replica that has the most of what the primary has written. It
// first waits until each has applied what it has received. It is for a primary
// that is dead or frozen. Nothing is promoted by it.
func (c *Cluster) Best(ctx context.Context) (*Node, error) {
	ctx, cancel := throwaway.WithTimeout(ctx, sqlTimeout)
	defer cancel()
	var replicas []*Node
	for _, n := range c.awake() {
		f, err := n.following(ctx)
		switch {
		case err != nil:
			return nil, err
		case f == nil:
			continue
		}
		if err := n.applyReceived(ctx); err != nil {
			return nil, err
		}
		replicas = append(replicas, n)
	}
	if len(replicas) == 0 {
		return nil, errors.New("galera: no replica runs")
	}
	return best(replicas, func(n *Node) (int64, error) { return n.sequence(ctx) })
}

// FollowPrimary has all replicas that run follow the primary. A node that follows
// nobody, such as an old primary, is left alone.
func (c *Cluster) FollowPrimary(ctx context.Context) error {
	for _, n := range c.awake() {
		if f, err := n.following(ctx); err != nil {
			return err
		} else if f == nil || n == c.Primary() {
			continue
		}
		if err := n.Follow(ctx, c.Primary()); err != nil {
			return err
		}
	}
	return nil
}

// Switchover makes a replica the primary, as planned and without loss. The
// primary takes no writes from then on. When the replica has all, it is promoted,
// and the others follow it, also the old primary.
func (c *Cluster) Switchover(ctx context.Context, to *Node) error {
	ctx, cancel := throwaway.WithTimeout(ctx, startTimeout)
	defer cancel()
	from := c.Primary()
	if err := from.ReadOnly(ctx, true); err != nil {
		return err
	}
	if err := to.WaitApplied(ctx, from); err != nil {
		return err
	}
	if err := to.Promote(ctx); err != nil {
		return err
	}
	for _, n := range c.awake() {
		if n == to {
			continue
		}
		if err := n.Follow(ctx, to); err != nil {
			return err
		}
	}
	return nil
}

// healReplicas is Heal for nodes that all run unless they are down.
func (c *Cluster) healReplicas(ctx context.Context) error {
	primary := c.Primary()
	for _, n := range c.Nodes {
		n.Reconnect()
		if !n.Running() {
			if err := n.Start(ctx); err != nil {
				return err
			}
		}
		if err := n.MaxConnections(ctx, 0); err != nil {
			return err
		}
	}
	if err := primary.ReadOnly(ctx, false); err != nil {
		return err
	}
	for _, n := range c.Nodes {
		if n == primary {
			continue
		}
		if f, err := n.following(ctx); err != nil {
			return err
		} else if f.runs() && f.source == primary.serverID() && f.delay == 0 {
			if err := n.ReadOnly(ctx, true); err != nil {
				return err
			}
			continue
		}
		if err := n.Follow(ctx, primary); err != nil {
			return err
		}
	}
	return c.WaitSynced(ctx)
}

// awake returns the nodes that run and are not frozen.
func (c *Cluster) awake() []*Node {
	var nodes []*Node
	for _, n := range c.running() {
		if !throwaway.Frozen(n.Pid()) {
			nodes = append(nodes, n)
		}
	}
	return nodes
}
