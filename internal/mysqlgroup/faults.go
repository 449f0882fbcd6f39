package mysqlgroup

import (
	"context"
	"errors"

	"github.com/EnumApps/clustersql/internal/throwaway"
)

var (
	errDown    = errors.New("the server does not run")
	errRunning = errors.New("the server runs already")
)

// Kill ends the server with SIGKILL and waits for its end. Nothing happens to a
// node that is down.
func (n *Node) Kill() error {
	p := n.live()
	if p == nil {
		return nil
	}
	n.log("kill")
	return n.wrap("kill", p.Kill())
}

// Freeze stops the server's process. Its sockets stay open, and the kernel still
// accepts connections for it, but it answers nothing.
func (n *Node) Freeze() error {
	if !n.Running() {
		return n.wrap("freeze", errDown)
	}
	n.log("freeze")
	return n.wrap("freeze", throwaway.FreezeBelow(n.dir))
}

// Resume continues a frozen server. A group that went on without the node has
// put it out by then; the node finds that out and joins again by itself.
func (n *Node) Resume() error {
	if !n.Running() {
		return n.wrap("resume", errDown)
	}
	n.log("resume")
	throwaway.ResumeBelow(n.dir)
	return nil
}

// Leave has the node leave its group. It goes on to answer.
func (n *Node) Leave(ctx context.Context) error {
	n.log("leave")
	return n.Exec(ctx, "STOP GROUP_REPLICATION")
}

// Join has the node join the group, and waits until it is ONLINE.
func (n *Node) Join(ctx context.Context) error {
	ctx, cancel := throwaway.WithTimeout(ctx, startTimeout)
	defer cancel()
	n.log("join")
	if err := n.Exec(ctx, "START GROUP_REPLICATION"); err != nil {
		return err
	}
	return n.wait(ctx, "ONLINE", func(v view) bool { return v.state == "ONLINE" })
}

// bootstrap has the node be the first of a new group.
func (n *Node) bootstrap(ctx context.Context) error {
	const name = "SET GLOBAL group_replication_bootstrap_group = "
	if err := n.Exec(ctx, name+"ON"); err != nil {
		return err
	}
	return errors.Join(n.Join(ctx), n.Exec(ctx, name+"OFF"))
}

// Stall has the node apply nothing of what it receives, until resume is called.
// Reads go on.
func (n *Node) Stall(ctx context.Context) (resume func(), err error) {
	n.log("stall")
	conn, err := n.admin.Conn(ctx)
	if err != nil {
		return nil, n.wrap("stall", err)
	}
	if _, err := conn.ExecContext(ctx, "FLUSH TABLES WITH READ LOCK"); err != nil {
		return nil, n.fail("stall", errors.Join(err, conn.Close()))
	}
	return func() {
		_, _ = conn.ExecContext(context.Background(), "UNLOCK TABLES")
		_ = conn.Close()
	}, nil
}

// Lead makes the node the primary, as a planned switchover does. It returns when
// the group has done so.
func (n *Node) Lead(ctx context.Context) error {
	n.log("lead")
	_, err := n.Ask(ctx, "SELECT group_replication_set_as_primary(@@GLOBAL.server_uuid)")
	return err
}

// ForceAlone makes a node that has lost the most of its group a group of one. The
// server may take a minute for that. Without a deadline there are 3.
func (n *Node) ForceAlone(ctx context.Context) error {
	ctx, cancel := throwaway.WithTimeout(ctx, startTimeout)
	defer cancel()
	n.log("alone")
	const name = "SET GLOBAL group_replication_force_members = "
	if err := n.Exec(ctx, name+"'"+throwaway.Addr(n.ports.At(1))+"'"); err != nil {
		return err
	}
	// Unless it is empty again, the server cannot start group replication anew. For
	// a moment it refuses that too.
	return n.wait(ctx, "alone", func(v view) bool { return v.size == 1 && n.Exec(ctx, name+"''") == nil })
}

// Heal undoes every fault: frozen nodes resume, nodes that are down start, those
// that have left join again, and n1 becomes the primary. It waits until the group
// is whole, for at most 3 minutes if ctx has no deadline. Some node must be in
// the group still. Servers that are in no group all follow n1 then.
func (g *Group) Heal(ctx context.Context) error {
	ctx, cancel := throwaway.WithTimeout(ctx, startTimeout)
	defer cancel()
	if g.opts.async {
		return g.healReplicas(ctx)
	}
	for _, n := range g.Nodes {
		if !n.Running() {
			if err := n.launch(); err != nil {
				return err
			}
			continue
		}
		if err := n.Resume(); err != nil {
			return err
		}
	}
	for _, n := range g.Nodes {
		if err := n.rejoin(ctx); err != nil {
			return err
		}
	}
	if err := g.WaitWhole(ctx); err != nil {
		return err
	}
	if primary, err := g.Primary(ctx); err != nil || primary == g.Nodes[0] {
		return err
	}
	return g.Nodes[0].Lead(ctx)
}

// rejoin waits until the node is ONLINE. If it is out of its group, it joins; it
// may have been about to do so by itself.
func (n *Node) rejoin(ctx context.Context) error {
	return n.wait(ctx, "ONLINE", func(v view) bool {
		if v.state == "OFFLINE" || v.state == "ERROR" {
			n.log("%s: joins", v.state)
			_ = n.Exec(ctx, "STOP GROUP_REPLICATION")
			_ = n.Exec(ctx, "START GROUP_REPLICATION")
		}
		return v.state == "ONLINE"
	})
}
