package mysqlgroup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/EnumApps/clustersql/internal/throwaway"
)

// These are the timeouts of calls whose context has no deadline.
const (
	startTimeout = 3 * time.Minute
	callTimeout  = 30 * time.Second
	lookTimeout  = 2 * time.Second
)

// portRounds is how many times Start tries. It tries again, on other ports,
// when a program that ignores the reservations has taken a port.
const portRounds = 3

// Options says what group to start. The zero value is useful.
type Options struct {
	// Nodes is their number; 0 means 3.
	Nodes int
	// Dir is where the group makes its own folder; "" means os.TempDir(). Stop
	// removes that folder, but not Dir. The server's user must be able to reach
	// Dir, and its path must be short enough for a unix socket.
	Dir string
	// Extra are further options of mysqld for each node, such as
	// "--max-connections=50".
	Extra []string
	// Log gets a line for every start, end and fault; nil means none.
	Log io.Writer

	async bool // a primary and its replicas, and no group
}

// A Group is some servers that run as one group. All methods may be called from
// any goroutine. Whoever started the group must call Stop.
type Group struct {
	// Nodes are n1, n2, … in this order. n1 is the primary at first. The slice
	// must not be changed.
	Nodes []*Node

	// immutable after start
	sandbox *throwaway.Sandbox
	dir     string
	user    throwaway.User
	tools   tools
	opts    Options
	log     *log.Logger

	// shared
	primary atomic.Pointer[Node] // of servers that are in no group: the one that was promoted last
	stop    sync.Once
}

// Start starts a group. It returns when every node is ONLINE, and the database
// app and its users exist. ctx bounds the start only, for which there are at
// most 3 minutes if it has no deadline. The group then runs until Stop. After an
// error nothing is left.
func Start(ctx context.Context, opts Options) (*Group, error) {
	ctx, cancel := throwaway.WithTimeout(ctx, startTimeout)
	defer cancel()
	tools, err := findTools()
	if err != nil {
		return nil, err
	}
	for round := 1; ; round++ {
		g, err := start(ctx, opts, tools)
		if err == nil || round == portRounds || !errors.Is(err, throwaway.ErrPortTaken) {
			return g, err
		}
	}
}

func start(ctx context.Context, opts Options, tools tools) (*Group, error) {
	g, err := newGroup(opts, tools)
	if err != nil {
		return nil, err
	}
	if err := g.startAll(ctx); err != nil {
		g.Stop()
		return nil, err
	}
	return g, nil
}

// newGroup makes the folder and the nodes. It starts no server.
func newGroup(opts Options, tools tools) (*Group, error) {
	if opts.Nodes == 0 {
		opts.Nodes = 3
	}
	if opts.Log == nil {
		opts.Log = io.Discard
	}
	user, err := findUser()
	if err != nil {
		return nil, err
	}
	sandbox, err := throwaway.New(throwaway.Plan{
		Name: "mysql", Parent: opts.Dir, User: user, Path: tools.path, Socket: "n999/sock.lock",
	})
	if err != nil {
		return nil, fmt.Errorf("mysqlgroup: %w", err)
	}
	g := &Group{
		sandbox: sandbox, dir: sandbox.Dir(), user: user, tools: tools, opts: opts,
		log: log.New(opts.Log, "mysqlgroup: ", log.Ltime|log.Lmicroseconds),
	}
	for i := range opts.Nodes {
		ports, err := throwaway.ReservePorts()
		if err == nil {
			n := newNode(g, i+1, ports)
			g.Nodes = append(g.Nodes, n)
			err = n.makeFolder()
		}
		if err != nil {
			g.Stop()
			return nil, fmt.Errorf("mysqlgroup: %w", err)
		}
	}
	return g, nil
}

// startAll makes the data and starts the nodes, the first one as a group of its
// own.
func (g *Group) startAll(ctx context.Context) error {
	began := time.Now()
	if err := g.install(ctx); err != nil {
		return err
	}
	for _, n := range g.Nodes {
		if err := n.launch(); err != nil {
			return err
		}
	}
	if g.opts.async {
		return g.followFirst(ctx)
	}
	for i, n := range g.Nodes {
		if err := n.begin(ctx); err != nil {
			return err
		}
		join := n.Join
		if i == 0 {
			join = n.bootstrap
		}
		if err := join(ctx); err != nil {
			return err
		}
	}
	if err := g.WaitWhole(ctx); err != nil {
		return err
	}
	g.log.Printf("%d nodes after %s", len(g.Nodes), time.Since(began).Round(time.Millisecond))
	return nil
}

// seeds is where each node talks to its fellows.
func (g *Group) seeds() string {
	var all []string
	for _, n := range g.Nodes {
		all = append(all, throwaway.Addr(n.ports.At(1)))
	}
	return strings.Join(all, ",")
}

// Primary returns the node that says that it is the group's primary, ONLINE, in
// a view of the most of the group. Without a deadline it waits for one for at
// most 30 s. Of servers that are in no group it is the one that was promoted last,
// which may be down.
func (g *Group) Primary(ctx context.Context) (*Node, error) {
	if n := g.primary.Load(); n != nil {
		return n, nil
	}
	ctx, cancel := throwaway.WithTimeout(ctx, callTimeout)
	defer cancel()
	var found *Node
	err := throwaway.Poll(ctx, nil, func() bool {
		for _, n := range g.Nodes {
			if v, err := n.view(ctx); err == nil && v.role == "PRIMARY" && v.state == "ONLINE" && 2*v.online > v.size {
				found = n
				return true
			}
		}
		return false
	})
	if err != nil {
		return nil, fmt.Errorf("mysqlgroup: waiting for a primary: %w", err)
	}
	return found, nil
}

// Exec runs statements on the primary, as the administrator. It returns when
// every running node has applied them.
func (g *Group) Exec(ctx context.Context, statements ...string) error {
	primary, err := g.Primary(ctx)
	if err != nil {
		return err
	}
	if err := primary.Exec(ctx, statements...); err != nil {
		return err
	}
	return g.WaitApplied(ctx)
}

// WaitApplied waits until every node that runs has applied all that the primary
// has now. Without a deadline it waits for at most 30 s.
func (g *Group) WaitApplied(ctx context.Context) error {
	primary, err := g.Primary(ctx)
	if err != nil {
		return err
	}
	done, err := primary.Ask(ctx, "SELECT @@GLOBAL.gtid_executed")
	if err != nil {
		return err
	}
	for _, n := range g.Nodes {
		if n == primary || !n.Running() {
			continue
		}
		late, err := n.Ask(ctx, "SELECT WAIT_FOR_EXECUTED_GTID_SET(?, 30)", done)
		if err == nil && late != "0" {
			err = context.DeadlineExceeded
		}
		if err != nil {
			return n.fail("applying", err)
		}
	}
	return nil
}

// WaitWhole waits until every node is ONLINE and sees all others ONLINE. Without
// a deadline it waits for at most 30 s.
func (g *Group) WaitWhole(ctx context.Context) error {
	ctx, cancel := throwaway.WithTimeout(ctx, callTimeout)
	defer cancel()
	for _, n := range g.Nodes {
		if err := n.wait(ctx, "ONLINE among all", func(v view) bool { return v.state == "ONLINE" && v.online == len(g.Nodes) }); err != nil {
			return err
		}
	}
	return nil
}

// Stop ends every process of the group and removes its folder. It may be called
// more than once, and while other methods run; these then fail.
func (g *Group) Stop() {
	g.stop.Do(func() {
		for _, n := range g.Nodes {
			throwaway.ResumeBelow(n.dir)
		}
		// The data are not needed any more: the servers end at once.
		g.sandbox.End(func(p *throwaway.Process) { p.Signal(syscall.SIGKILL) })
		for _, n := range g.Nodes {
			n.close()
		}
		g.log.Printf("stopped")
	})
}
