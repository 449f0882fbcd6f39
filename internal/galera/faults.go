package galera

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/EnumApps/clustersql/internal/throwaway"
)

var (
	errDown    = errors.New("the server does not run")
	errRunning = errors.New("the server runs already")
)

// Kill ends the server with SIGKILL, ends what it had started, and waits for
// its end. Nothing happens to a node that is down.
func (n *Node) Kill() error {
	p := n.live()
	if p == nil {
		return nil
	}
	n.log("kill")
	err := p.Kill()
	throwaway.KillBelow(n.dir)
	return n.wrap("kill", err)
}

// Freeze stops the server's process. Its sockets stay open, and the kernel
// still accepts connections for it, but it answers nothing.
func (n *Node) Freeze() error {
	p := n.live()
	if p == nil {
		return n.wrap("freeze", errDown)
	}
	n.log("freeze")
	if err := p.Signal(throwaway.SigFreeze); err != nil {
		return n.wrap("freeze", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), sqlTimeout)
	defer cancel()
	return n.wrap("freeze", throwaway.Poll(ctx, p.Done(), func() bool { return throwaway.Frozen(p.Pid()) }))
}

// Resume continues a frozen server. It does not wait until the node has caught
// up.
func (n *Node) Resume() error {
	p := n.live()
	if p == nil {
		return n.wrap("resume", errDown)
	}
	n.log("resume")
	return n.wrap("resume", p.Signal(throwaway.SigResume))
}

// Shutdown asks the server to end, also if it is frozen, and waits for its end.
// Without a deadline it waits for at most 10 s. If ctx is done first, the
// server may still run.
func (n *Node) Shutdown(ctx context.Context) error {
	p := n.live()
	if p == nil {
		return nil
	}
	ctx, cancel := throwaway.WithTimeout(ctx, sqlTimeout)
	defer cancel()
	n.log("shutdown")
	if err := errors.Join(p.Signal(syscall.SIGTERM), p.Signal(throwaway.SigResume)); err != nil {
		return n.wrap("shutdown", err)
	}
	select {
	case <-p.Done():
		return nil
	case <-ctx.Done():
		return n.fail("shutdown", ctx.Err())
	}
}

// Start starts a node that is down, and waits until it is Synced. The node gets
// the changes that it missed from another node, or all data after a Wipe. Start
// first waits until the others are a primary component without this node, and
// makes them one if they have lost their majority. If no other node runs, this one becomes the first of a new component; Heal picks
// the best one for that. Without a deadline it takes at most 3 minutes. After
// an error the node is down.
//
// A replica goes on to follow, and is not waited for until it has all. A primary
// takes writes, also if another node was promoted meanwhile.
func (n *Node) Start(ctx context.Context) error {
	if n.Running() {
		return n.wrap("start", errRunning)
	}
	ctx, cancel := throwaway.WithTimeout(ctx, startTimeout)
	defer cancel()
	if n.cluster.opts.replicas {
		return n.startReplica(ctx)
	}
	others := n.cluster.running()
	if err := n.waitForgotten(ctx, others); err != nil {
		return err
	}
	err := n.launch(ctx, len(others) == 0)
	if err == nil {
		err = n.WaitSynced(ctx)
	}
	if err != nil {
		return errors.Join(err, n.Kill())
	}
	return nil
}

// StartAlone starts a node that is down as the first of a new group, as by
// mistake with --wsrep-new-cluster. It first waits until the others are a
// primary component without this node. From then on its data are others than
// theirs. A Wipe undoes that.
func (n *Node) StartAlone(ctx context.Context) error {
	if n.Running() {
		return n.wrap("start alone", errRunning)
	}
	ctx, cancel := throwaway.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := n.waitForgotten(ctx, n.cluster.running()); err != nil {
		return err
	}
	n.log("start alone")
	n.apart.Store(true)
	err := n.launch(ctx, true)
	if err == nil {
		err = n.waitView(ctx, 1)
	}
	if err != nil {
		return errors.Join(err, n.Kill())
	}
	return nil
}

// restart shuts the node down and starts it.
func (n *Node) restart(ctx context.Context) error {
	if err := n.Shutdown(ctx); err != nil {
		return err
	}
	return n.Start(ctx)
}

// Wipe kills the server and removes its data. At the next Start the node gets
// all data from another one, which is a donor in the meantime. A replica gets
// them from the primary's log, once it is told to Follow.
func (n *Node) Wipe() error {
	if err := n.Kill(); err != nil {
		return err
	}
	n.log("wipe")
	n.apart.Store(false)
	n.wipes.Add(1)
	entries, err := os.ReadDir(n.data())
	if err != nil {
		return n.wrap("wipe", err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(n.data(), e.Name())); err != nil {
			return n.wrap("wipe", err)
		}
	}
	if n.cluster.opts.replicas {
		return n.wrap("wipe", copyTree(n.data(), n.cluster.template(), n.cluster.user))
	}
	return nil
}

// Isolate cuts the node off from its group. The node works on as before until
// the group's timeout. It then is non-primary.
func (n *Node) Isolate(ctx context.Context) error {
	return n.set(ctx, "wsrep_provider_options='gmcast.isolate=1'")
}

// Rejoin undoes Isolate. It does not wait until the node is Synced.
func (n *Node) Rejoin(ctx context.Context) error {
	return n.set(ctx, "wsrep_provider_options='gmcast.isolate=0'")
}

// Desync takes the node out of the group's flow control, or back in. While it
// is out its state is that of a donor. Nothing happens if the node is so
// already.
func (n *Node) Desync(ctx context.Context, on bool) error {
	ctx, cancel := throwaway.WithTimeout(ctx, sqlTimeout)
	defer cancel()
	var is bool
	if err := n.admin.QueryRowContext(ctx, "SELECT @@GLOBAL.wsrep_desync").Scan(&is); err != nil {
		return n.fail("SELECT @@GLOBAL.wsrep_desync", err)
	}
	if is == on {
		return nil
	}
	return n.set(ctx, "wsrep_desync="+onOff(on))
}

// RejectQueries makes the node refuse the queries of clients. mode is NONE, ALL
// or ALL_KILL; ALL_KILL also ends the existing connections.
func (n *Node) RejectQueries(ctx context.Context, mode string) error {
	switch mode {
	case "NONE", "ALL", "ALL_KILL":
		return n.set(ctx, "wsrep_reject_queries="+mode)
	}
	return n.wrap("reject queries", fmt.Errorf("no such mode: %q", mode))
}

// ReadOnly makes the node refuse the writes of clients, or accept them again.
func (n *Node) ReadOnly(ctx context.Context, on bool) error {
	return n.set(ctx, "read_only="+onOff(on))
}

// MaxConnections limits the node's connections; the administrator may have one
// more. The server accepts no limit below 10. 0 means the limit that the server
// started with: 400, unless Options.Extra sets another.
func (n *Node) MaxConnections(ctx context.Context, limit int) error {
	if n.connLimit.Load() == 0 {
		ctx, cancel := throwaway.WithTimeout(ctx, sqlTimeout)
		defer cancel()
		var now int64
		if err := n.admin.QueryRowContext(ctx, "SELECT @@GLOBAL.max_connections").Scan(&now); err != nil {
			return n.fail("SELECT @@GLOBAL.max_connections", err)
		}
		n.connLimit.CompareAndSwap(0, now)
	}
	if limit == 0 {
		limit = int(n.connLimit.Load())
	}
	return n.set(ctx, fmt.Sprintf("max_connections=%d", limit))
}

func (n *Node) set(ctx context.Context, assignment string) error {
	if !n.Running() {
		return n.wrap("SET GLOBAL "+assignment, errDown)
	}
	n.log(assignment)
	return n.exec(ctx, "SET GLOBAL "+assignment)
}

func (n *Node) log(what string) { n.cluster.log.Printf("%s: %s", n.Name, what) }

func onOff(on bool) string {
	if on {
		return "ON"
	}
	return "OFF"
}
