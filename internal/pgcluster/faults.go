package pgcluster

import (
	"context"
	"errors"
	"syscall"

	"github.com/EnumApps/clustersql/internal/relay"
	"github.com/EnumApps/clustersql/internal/throwaway"
)

var (
	errDown    = errors.New("the server does not run")
	errRunning = errors.New("the server runs already")
	errStale   = errors.New("another node was promoted since: Rewind this one, or StartAlone")
)

// Kill ends the postmaster and all its children with SIGKILL, and waits for
// their end. Nothing happens to a node that is down.
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

// Freeze stops the postmaster and all its children. Their sockets stay open, and
// the kernel still accepts connections for them, but they answer nothing.
func (n *Node) Freeze() error {
	p := n.live()
	if p == nil {
		return n.wrap("freeze", errDown)
	}
	n.log("freeze")
	// The postmaster is first: it then starts no more children.
	if err := p.Signal(throwaway.SigFreeze); err != nil {
		return n.wrap("freeze", err)
	}
	return n.wrap("freeze", throwaway.FreezeBelow(n.dir))
}

// Resume continues a frozen server. It does not wait until the node has caught
// up.
func (n *Node) Resume() error {
	if !n.Running() {
		return n.wrap("resume", errDown)
	}
	n.log("resume")
	throwaway.ResumeBelow(n.dir)
	return nil
}

// Shutdown has the server end all sessions and then itself, also if it is
// frozen, and waits for its end. A primary first waits until the standbys that
// are connected have everything. Without a deadline it waits for at most 30 s.
// If ctx is done first, the server may still run.
func (n *Node) Shutdown(ctx context.Context) error {
	p := n.live()
	if p == nil {
		return nil
	}
	ctx, cancel := throwaway.WithTimeout(ctx, callTimeout)
	defer cancel()
	n.log("shutdown")
	if err := p.Signal(syscall.SIGINT); err != nil {
		return n.wrap("shutdown", err)
	}
	throwaway.ResumeBelow(n.dir)
	select {
	case <-p.Done():
		return nil
	case <-ctx.Done():
		return n.fail("shutdown", ctx.Err())
	}
}

// Start starts a node that is down as what it was, and waits until it takes
// connections. It does not wait until a standby has caught up. An old primary is
// not started so. Without a deadline it takes at most 3 minutes. After an error
// the node is down.
func (n *Node) Start(ctx context.Context) error {
	if !n.isStandby() && n.cluster.Primary() != n {
		return n.wrap("start", errStale)
	}
	return n.start(ctx)
}

// StartAlone starts an old primary that is down as it was: it thinks that it is
// the primary, and waits for no standby. What is written there is lost at the
// next Rewind.
func (n *Node) StartAlone(ctx context.Context) error {
	n.log("start alone")
	return n.start(ctx, "-c", "synchronous_standby_names=")
}

func (n *Node) start(ctx context.Context, args ...string) error {
	if n.Running() {
		return n.wrap("start", errRunning)
	}
	ctx, cancel := throwaway.WithTimeout(ctx, startTimeout)
	defer cancel()
	return n.launch(ctx, args...)
}

// Disconnect cuts a standby off: its connections to its primary end, and new
// ones are closed at once.
func (n *Node) Disconnect() error { return n.switchLink("disconnect", relay.Cut) }

// Blackhole cuts a standby off without a word: its connections to its primary
// stay, and nothing goes through them.
func (n *Node) Blackhole() error { return n.switchLink("blackhole", relay.Silent) }

// Reconnect undoes Disconnect and Blackhole. It does not wait until the standby
// has caught up.
func (n *Node) Reconnect() error { return n.switchLink("reconnect", relay.Open) }

func (n *Node) switchLink(what string, to relay.State) error {
	l := n.way()
	if l == nil {
		return n.wrap(what, errors.New("it follows no node"))
	}
	n.log("%s", what)
	l.Turn(to)
	return nil
}
