package galera

import (
	"context"
	"errors"
	"strconv"

	"github.com/EnumApps/clustersql/internal/throwaway"
)

// headlessPolls is the number of polls in a row, 50 ms apart, in which all
// running nodes must be together without being primary before they count as a
// group without a majority. In a merge they are so for a moment.
const headlessPolls = 40

// Heal undoes every fault. Frozen nodes resume, limits and refusals end, nodes
// that were cut off rejoin, nodes that were started alone lose what they have
// written there, and nodes that are down start. All replicas follow the primary,
// which was promoted last. It waits until the cluster is whole, for at most 3
// minutes if ctx has no deadline.
func (c *Cluster) Heal(ctx context.Context) error {
	ctx, cancel := throwaway.WithTimeout(ctx, startTimeout)
	defer cancel()
	for _, n := range c.running() {
		if err := n.Resume(); err != nil {
			return err
		}
	}
	if c.opts.replicas {
		return c.healReplicas(ctx)
	}
	for _, n := range c.Nodes {
		if n.apart.Load() {
			if err := n.Wipe(); err != nil {
				return err
			}
		}
	}
	for _, n := range c.running() {
		if err := n.heal(ctx); err != nil {
			return err
		}
	}
	if err := c.component(ctx); err != nil {
		return err
	}
	for _, n := range c.running() {
		if err := n.Desync(ctx, false); err != nil {
			return err
		}
	}
	for _, n := range c.Nodes {
		if n.Running() {
			continue
		}
		if err := n.Start(ctx); err != nil {
			return err
		}
	}
	return c.WaitSynced(ctx)
}

// heal undoes the faults that need no primary component to be undone.
func (n *Node) heal(ctx context.Context) error {
	return errors.Join(
		n.MaxConnections(ctx, 0),
		n.RejectQueries(ctx, "NONE"),
		n.ReadOnly(ctx, false),
		n.Rejoin(ctx),
	)
}

// component makes sure that there is a primary component of all running nodes.
// If no node runs it starts the best one.
func (c *Cluster) component(ctx context.Context) error {
	running := c.running()
	if len(running) == 0 {
		best, err := best(c.Nodes, func(n *Node) (int64, error) { return n.position(ctx) })
		if err != nil {
			return err
		}
		return best.Start(ctx)
	}
	return c.majority(ctx, running, func() bool {
		together, primary := component(ctx, running)
		return together && primary
	})
}

// majority waits until done. If the nodes, which run, have found together before
// that and are no primary component, they have no majority: they wait for nodes
// that do not run. The best one then makes them a primary component, as an
// operator would.
func (c *Cluster) majority(ctx context.Context, nodes []*Node, done func() bool) error {
	// A node that has not yet noticed that others died still calls itself
	// primary, but the component's size shows it.
	headless := 0
	err := throwaway.Poll(ctx, nil, func() bool {
		if done() {
			headless = 0
			return true
		}
		if together, primary := component(ctx, nodes); together && !primary {
			headless++
		} else {
			headless = 0
		}
		return headless == headlessPolls
	})
	if err != nil {
		return nodes[0].fail("waiting for a primary component", err)
	}
	if headless < headlessPolls {
		return nil
	}
	best, err := best(nodes, func(n *Node) (int64, error) { return n.committed(ctx) })
	if err != nil {
		return err
	}
	best.log("bootstrap")
	if err := best.exec(ctx, "SET GLOBAL wsrep_provider_options='pc.bootstrap=1'"); err != nil {
		return err
	}
	return c.WaitSynced(ctx)
}

// component reports whether each of the nodes is in a component of exactly
// these nodes, and whether the component is primary.
func component(ctx context.Context, nodes []*Node) (together, primary bool) {
	primary = true
	for _, n := range nodes {
		v, err := n.view(ctx)
		if err != nil || v.size != strconv.Itoa(len(nodes)) {
			return false, false
		}
		primary = primary && v.primary()
	}
	return true, primary
}

// waitForgotten waits until the others, if any, have got over the loss of this
// node. A node that comes back during that change of view may cost the group
// its majority for good. On a busy machine the others may lose each other too
// when this node dies, and then have no majority; they get it back here.
func (n *Node) waitForgotten(ctx context.Context, others []*Node) error {
	if len(others) == 0 {
		return nil
	}
	err := n.cluster.majority(ctx, others, func() bool {
		for _, other := range others {
			v, err := other.view(ctx)
			if size, e := strconv.Atoi(v.size); err == nil && e == nil && v.primary() && size <= len(others) {
				return true
			}
		}
		return false
	})
	return n.wrap("waiting for a component to join", err)
}

// best returns the node with the longest history.
func best(nodes []*Node, history func(*Node) (int64, error)) (*Node, error) {
	var best *Node
	most := int64(-2)
	for _, n := range nodes {
		seqno, err := history(n)
		if err != nil {
			return nil, err
		}
		if seqno > most {
			best, most = n, seqno
		}
	}
	return best, nil
}

// committed returns the number of the last transaction of a running node.
func (n *Node) committed(ctx context.Context) (int64, error) {
	text, err := n.Status(ctx, "wsrep_last_committed")
	if err != nil {
		return -1, err
	}
	return strconv.ParseInt(text, 10, 64)
}
