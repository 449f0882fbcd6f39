package galera

import (
	"context"
	"errors"
	"strconv"
	"time"
)

// componentPatience is how long the nodes that run may take to find together
// again before one of them is told that it alone goes on.
const componentPatience = 15 * time.Second

// Heal undoes every fault: frozen nodes resume, limits and refusals end, cut
// off nodes rejoin, nodes that are down start. It waits until the cluster is
// whole, at most 3 minutes if ctx has no deadline.
func (c *Cluster) Heal(ctx context.Context) error {
	ctx, cancel := patience(ctx, startPatience)
	defer cancel()
	for _, n := range c.running() {
		if err := n.Resume(); err != nil {
			return err
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

// heal undoes what does not need a primary component.
func (n *Node) heal(ctx context.Context) error {
	return errors.Join(
		n.MaxConnections(ctx, 0),
		n.RejectQueries(ctx, "NONE"),
		n.ReadOnly(ctx, false),
		n.Rejoin(ctx),
	)
}

// component sees to it that there is a primary component of all running nodes:
// it waits for one; failing that (two of three died, and the last has no
// majority) it lets the best of them be one; where none runs it starts the best.
func (c *Cluster) component(ctx context.Context) error {
	running := c.running()
	if len(running) == 0 {
		best, err := best(c.Nodes, func(n *Node) (int64, error) { return n.position(ctx) })
		if err != nil {
			return err
		}
		return best.Start(ctx)
	}
	soon, cancel := context.WithTimeout(ctx, componentPatience)
	defer cancel()
	if poll(soon, nil, func() bool { return together(ctx, running) }) == nil {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, n := range running {
		if v, err := n.view(ctx); err == nil && v.primary() {
			return nil // there is one; a node that is late is waited for elsewhere
		}
	}
	best, err := best(running, func(n *Node) (int64, error) { return n.committed(ctx) })
	if err != nil {
		return err
	}
	best.log("bootstrap")
	return best.exec(ctx, "SET GLOBAL wsrep_provider_options='pc.bootstrap=1'")
}

// together reports whether all nodes are in a primary component.
func together(ctx context.Context, nodes []*Node) bool {
	for _, n := range nodes {
		if v, err := n.view(ctx); err != nil || !v.primary() {
			return false
		}
	}
	return true
}

// best returns the node with the most history.
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

// committed is how far a running node's data go.
func (n *Node) committed(ctx context.Context) (int64, error) {
	text, err := n.Status(ctx, "wsrep_last_committed")
	if err != nil {
		return -1, err
	}
	return strconv.ParseInt(text, 10, 64)
}
