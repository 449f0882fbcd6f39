package pgcluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/EnumApps/clustersql/internal/throwaway"
)

// These are the timeouts of calls whose context has no deadline.
const (
	startTimeout = 3 * time.Minute
	callTimeout  = 30 * time.Second
)

// portRounds is how many times Start tries. It tries again, on other ports,
// when a program that ignores the reservations has taken a port.
const portRounds = 3

// Options says what cluster to start. The zero value is useful.
type Options struct {
	// Nodes is their number, with the primary; 0 means 3.
	Nodes int
	// Dir is where the cluster makes its own folder; "" means os.TempDir().
	// Stop removes that folder, but not Dir. The server's user must be able to
	// reach Dir, and its path must be short enough for a unix socket.
	Dir string
	// Synchronous has the primary acknowledge a commit only when one of its
	// standbys has it too. Nothing acknowledged is then lost when the standby
	// with the longest history is promoted. The administrator's own statements
	// never wait.
	Synchronous bool
	// Extra are further lines of postgresql.conf for each node, such as
	// "max_connections = 50".
	Extra []string
	// Log gets a line for every start, end and fault; nil means none.
	Log io.Writer
}

// A Cluster is a running PostgreSQL cluster. All methods may be called from any
// goroutine. Whoever started the cluster must call Stop.
type Cluster struct {
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
	stop sync.Once

	// mu guards the field below; it is held only while it is read or written
	mu      sync.Mutex
	primary *Node // the one that was promoted last
}

// Start starts a cluster. It returns when every standby streams, and the
// database app and its user exist. ctx bounds the start only, for which there
// are at most 3 minutes if it has no deadline. The cluster then runs until Stop.
// After an error nothing is left.
func Start(ctx context.Context, opts Options) (*Cluster, error) {
	ctx, cancel := throwaway.WithTimeout(ctx, startTimeout)
	defer cancel()
	tools, err := findTools()
	if err != nil {
		return nil, err
	}
	for round := 1; ; round++ {
		c, err := start(ctx, opts, tools)
		if err == nil || round == portRounds || !errors.Is(err, throwaway.ErrPortTaken) {
			return c, err
		}
	}
}

func start(ctx context.Context, opts Options, tools tools) (*Cluster, error) {
	c, err := newCluster(opts, tools)
	if err != nil {
		return nil, err
	}
	if err := c.startAll(ctx); err != nil {
		c.Stop()
		return nil, err
	}
	return c, nil
}

// newCluster makes the folder and the nodes. It starts no server.
func newCluster(opts Options, tools tools) (*Cluster, error) {
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
		Name: "postgres", Parent: opts.Dir, User: user, Path: tools.path,
		Socket: "n999/.s.PGSQL.65535.lock", Farewell: farewell,
	})
	if err != nil {
		return nil, fmt.Errorf("pgcluster: %w", err)
	}
	c := &Cluster{
		sandbox: sandbox, dir: sandbox.Dir(), user: user, tools: tools, opts: opts,
		log: log.New(opts.Log, "pgcluster: ", log.Ltime|log.Lmicroseconds),
	}
	if err := c.addNodes(); err != nil {
		c.Stop()
		return nil, err
	}
	c.primary = c.Nodes[0]
	return c, nil
}

func (c *Cluster) addNodes() error {
	if err := c.sandbox.MakeDir(c.clientDir()); err != nil {
		return fmt.Errorf("pgcluster: making the folder: %w", err)
	}
	for i := range c.opts.Nodes {
		ports, err := throwaway.ReservePorts()
		if err != nil {
			return fmt.Errorf("pgcluster: %w", err)
		}
		n := newNode(c, fmt.Sprintf("n%d", i+1), ports)
		c.Nodes = append(c.Nodes, n)
		if err := n.makeFolder(); err != nil {
			return err
		}
	}
	return nil
}

// startAll makes the primary and then the standbys, as copies of it.
func (c *Cluster) startAll(ctx context.Context) error {
	began := time.Now()
	first := c.Nodes[0]
	if err := first.install(ctx); err != nil {
		return err
	}
	for _, n := range c.Nodes[1:] {
		if err := n.copyOf(ctx, first); err != nil {
			return err
		}
		if err := n.Start(ctx); err != nil {
			return err
		}
	}
	c.log.Printf("%d nodes after %s", len(c.Nodes), time.Since(began).Round(time.Millisecond))
	return c.WaitReplayed(ctx)
}

// Primary returns the node that was promoted last, or else n1. It may be down,
// and an older primary may think that it is one.
func (c *Cluster) Primary() *Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.primary
}

// Standbys returns the other nodes.
func (c *Cluster) Standbys() []*Node {
	primary := c.Primary()
	return slices.DeleteFunc(slices.Clone(c.Nodes), func(n *Node) bool { return n == primary })
}

// Exec runs statements on the primary, in the database app, as the
// administrator. It returns when every running standby has replayed them.
func (c *Cluster) Exec(ctx context.Context, statements ...string) error {
	if _, err := c.Primary().Query(ctx, statements...); err != nil {
		return err
	}
	return c.WaitReplayed(ctx)
}

// WaitReplayed waits until every running standby streams, and has replayed what
// the primary has now. Without a deadline it waits for at most 30 s.
func (c *Cluster) WaitReplayed(ctx context.Context) error {
	for _, n := range c.Standbys() {
		if !n.Running() {
			continue
		}
		if err := n.WaitReplayed(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Stop ends every process of the cluster and removes its folder. It may be
// called more than once, and while other methods run; these then fail.
func (c *Cluster) Stop() {
	c.stop.Do(func() {
		for _, n := range c.Nodes {
			n.Empty()
			throwaway.ResumeBelow(n.dir)
		}
		// The data are not needed any more: the servers end at once.
		c.sandbox.End(func(p *throwaway.Process) { p.Signal(syscall.SIGQUIT) })
		for _, n := range c.Nodes {
			n.close()
		}
		c.log.Printf("stopped")
	})
}
