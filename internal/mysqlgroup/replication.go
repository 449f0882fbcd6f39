package mysqlgroup

import (
	"context"
	"fmt"
	"strconv"

	"github.com/EnumApps/clustersql/internal/throwaway"
)

// StartReplication starts servers that are in no group and replicate
// asynchronously, by GTID: n1 is the primary, and the others follow it and are
// read-only. All else is as with [Start]. Methods about the group, such as Leave or
// Lead, are of no use on such nodes.
func StartReplication(ctx context.Context, opts Options) (*Group, error) {
	opts.async = true
	return Start(ctx, opts)
}

// followFirst makes the servers, which answer, a primary and its replicas.
func (g *Group) followFirst(ctx context.Context) error {
	g.primary.Store(g.Nodes[0])
	for _, n := range g.Nodes {
		if err := n.waitAnswer(ctx); err != nil {
			return err
		}
	}
	for _, n := range g.Nodes[1:] {
		if err := n.Follow(ctx, g.Nodes[0]); err != nil {
			return err
		}
	}
	return g.WaitApplied(ctx)
}

// Follow makes the node a replica of another one, and read-only. It does not wait
// until the node has all.
func (n *Node) Follow(ctx context.Context, primary *Node) error {
	n.log("follow %s", primary.Name)
	n.demoted.Store(true)
	return n.Exec(ctx,
		"SET GLOBAL super_read_only = ON",
		"STOP REPLICA",
		fmt.Sprintf("CHANGE REPLICATION SOURCE TO SOURCE_HOST = '%s', SOURCE_PORT = %d, SOURCE_USER = '%s', SOURCE_PASSWORD = '%s', "+
			"SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1, SOURCE_CONNECT_RETRY = 1", throwaway.Host, primary.ports.At(0), recoveryUser, Password),
		"START REPLICA")
}

// Promote makes a replica the primary: it follows nobody from then on, and takes
// writes. What it has received and not applied is lost. The other replicas go on to
// follow the old primary.
func (n *Node) Promote(ctx context.Context) error {
	n.log("promote")
	if err := n.Exec(ctx, "STOP REPLICA", "RESET REPLICA ALL"); err != nil {
		return err
	}
	n.demoted.Store(false)
	n.group.primary.Store(n)
	return n.ReadOnly(ctx, false)
}

// ReadOnly has a server refuse writes, or take them.
func (n *Node) ReadOnly(ctx context.Context, on bool) error {
	n.log("read-only %t", on)
	if on {
		return n.Exec(ctx, "SET GLOBAL super_read_only = ON")
	}
	return n.Exec(ctx, "SET GLOBAL read_only = OFF")
}

// Switchover makes a replica the primary, as planned and without loss. The primary
// takes no writes from then on. When the replica has all, it is promoted, and the
// others follow it, also the old primary.
func (g *Group) Switchover(ctx context.Context, to *Node) error {
	from := g.primary.Load()
	if err := from.ReadOnly(ctx, true); err != nil {
		return err
	}
	if err := to.WaitApplied(ctx, from); err != nil {
		return err
	}
	if err := to.Promote(ctx); err != nil {
		return err
	}
	for _, n := range g.Nodes {
		if n == to || !n.Running() {
			continue
		}
		if err := n.Follow(ctx, to); err != nil {
			return err
		}
	}
	return nil
}

// StopThreads stops threads of a replica: "SQL_THREAD", "IO_THREAD", or both for "".
func (n *Node) StopThreads(ctx context.Context, threads string) error {
	n.log("stop replica %s", threads)
	return n.Exec(ctx, "STOP REPLICA "+threads)
}

// StartThreads starts all threads of a replica.
func (n *Node) StartThreads(ctx context.Context) error {
	n.log("start replica")
	return n.Exec(ctx, "START REPLICA")
}

// WaitApplied waits until the node has applied all that another one has now. Without
// a deadline it waits for at most 30 s.
func (n *Node) WaitApplied(ctx context.Context, of *Node) error {
	done, err := of.Ask(ctx, "SELECT @@GLOBAL.gtid_executed")
	if err != nil {
		return err
	}
	late, err := n.Ask(ctx, "SELECT WAIT_FOR_EXECUTED_GTID_SET(?, "+strconv.Itoa(int(callTimeout.Seconds()))+")", done)
	if err == nil && late != "0" {
		err = context.DeadlineExceeded
	}
	if err != nil {
		return n.fail("applying", err)
	}
	return nil
}

// healReplicas is Heal for servers that are in no group.
func (g *Group) healReplicas(ctx context.Context) error {
	primary := g.primary.Load()
	for _, n := range g.Nodes {
		if n.Running() {
			if err := n.Resume(); err != nil {
				return err
			}
		} else if err := n.launch(); err != nil {
			return err
		}
	}
	for _, n := range g.Nodes {
		if err := n.waitAnswer(ctx); err != nil {
			return err
		}
	}
	if err := primary.ReadOnly(ctx, false); err != nil {
		return err
	}
	for _, n := range g.Nodes {
		if n == primary {
			continue
		}
		if err := n.Follow(ctx, primary); err != nil {
			return err
		}
	}
	if err := g.WaitApplied(ctx); err != nil || primary == g.Nodes[0] {
		return err
	}
	if err := g.Switchover(ctx, g.Nodes[0]); err != nil {
		return err
	}
	return g.WaitApplied(ctx)
}
