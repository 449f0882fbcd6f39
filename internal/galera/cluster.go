package galera

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

// fastFailure makes a group notice and get over the loss of a node in about 2 s
// instead of 6 s.
const fastFailure = "evs.keepalive_period=PT0.3S;evs.inactive_check_period=PT0.1S;" +
	"evs.suspect_timeout=PT1S;evs.inactive_timeout=PT3S;evs.install_timeout=PT2S"

// These are the timeouts of calls whose context has no deadline.
const (
	startTimeout  = 3 * time.Minute
	sqlTimeout    = 10 * time.Second
	probePatience = 2 * time.Second
)

// portRounds is how many times Start tries. It tries again, on other ports,
// when a program that ignores the reservations has taken a port.
const portRounds = 3

// Options says what cluster to start. The zero value is useful.
type Options struct {
	// Nodes is their number; 0 means 3.
	Nodes int
	// Dir is where the cluster makes its own folder; "" means os.TempDir().
	// Stop removes that folder, but not Dir. The server's user must be able to
	// reach Dir, and its path must be short enough for a unix socket.
	Dir string
	// Provider is added to wsrep_provider_options. Semicolons separate its
	// settings.
	Provider string
	// FastFailure shortens the group's timeouts: the group notices a lost node
	// after 1–3 s instead of 5–6 s.
	FastFailure bool
	// Extra are further mariadbd options for each node, such as
	// "--max-connections=50".
	Extra []string
	// Monitor gives the user app the right REPLICA MONITOR, with which it may ask
	// a server what it follows.
	Monitor bool
	// Log gets a line for every start, end and fault; nil means none.
	Log io.Writer

	replicas bool // StartReplication: one primary, and replicas of it
}

// A Cluster is a running Galera cluster, or a primary with its replicas. All
// methods may be called from any goroutine. Whoever started the cluster must call
// Stop.
type Cluster struct {
	// Nodes are n1, n2, … in this order. The slice must not be changed.
	Nodes []*Node

	// immutable after start
	dir     string
	user    throwaway.User
	tools   tools
	opts    Options
	log     *log.Logger
	sandbox *throwaway.Sandbox

	// shared
	stop    sync.Once
	primary atomic.Pointer[Node] // of StartReplication; nil before
}

// Start starts a cluster. It returns when every node is Synced and the database
// app and its user exist. ctx bounds the start only, for which there are at
// most 3 minutes if it has no deadline. The cluster then runs until Stop. After
// an error nothing is left.
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

// newCluster makes the folder, the watchdog and the nodes. It starts no server.
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
	sandbox, err := throwaway.New(throwaway.Plan{Name: "galera", Parent: opts.Dir, User: user, Path: tools.path, Socket: "n999/sock"})
	if err != nil {
		return nil, fmt.Errorf("galera: %w", err)
	}
	c := &Cluster{
		dir: sandbox.Dir(), user: user, tools: tools, opts: opts,
		log:     log.New(opts.Log, "galera: ", log.Ltime|log.Lmicroseconds),
		sandbox: sandbox,
	}
	if err := errors.Join(c.makeCertificate(), c.addNodes()); err != nil {
		c.Stop()
		return nil, err
	}
	return c, nil
}

func (c *Cluster) addNodes() error {
	for i := range c.opts.Nodes {
		ports, err := throwaway.ReservePorts()
		if err != nil {
			return fmt.Errorf("galera: %w", err)
		}
		c.Nodes = append(c.Nodes, newNode(c, i+1, ports))
	}
	for _, n := range c.Nodes {
		if err := n.makeFolder(); err != nil {
			return err
		}
	}
	return nil
}

// startAll starts the nodes with equal data, so that none of them needs a state
// transfer. It then makes the database.
func (c *Cluster) startAll(ctx context.Context) error {
	if c.opts.replicas {
		return c.startReplicas(ctx)
	}
	began := time.Now()
	if err := c.install(ctx); err != nil {
		return err
	}
	first := c.Nodes[0]
	if err := first.Start(ctx); err != nil {
		return err
	}
	for i, n := range c.Nodes[1:] {
		if err := n.launch(ctx, false); err != nil {
			return err
		}
		// Nodes that join the group at the same moment delay each other.
		if err := n.waitMember(ctx, first, i+2); err != nil {
			return err
		}
	}
	if err := c.WaitSynced(ctx); err != nil {
		return err
	}
	c.log.Printf("%d nodes synced after %s", len(c.Nodes), time.Since(began).Round(time.Millisecond))
	return nil
}

// WaitSynced waits until every running node is Synced, ready and in a primary
// component of exactly the running nodes. Replicas are waited for until they have
// all that the primary has. It fails if a running node ends, if none runs, and if
// ctx is done. Without a deadline it waits for at most 3 minutes. On a busy machine
// nodes that outlive another one may lose each other too, and then wait for ever:
// WaitSynced gives them their majority back.
func (c *Cluster) WaitSynced(ctx context.Context) error {
	ctx, cancel := throwaway.WithTimeout(ctx, startTimeout)
	defer cancel()
	running := c.running()
	if len(running) == 0 {
		return errors.New("galera: no node runs")
	}
	// All nodes are waited for at once, so that the end of any of them is seen.
	ctx, giveUp := context.WithCancel(ctx)
	var healing sync.WaitGroup
	defer healing.Wait()
	defer giveUp()
	if !c.opts.replicas {
		healing.Go(func() {
			_ = c.majority(ctx, running, func() bool { // what fails here, fails below
				together, primary := component(ctx, running)
				return together && primary
			})
		})
	}
	errs := make(chan error)
	for _, n := range running {
		go func() { errs <- n.waitView(ctx, len(running)) }()
	}
	var first error
	for range running {
		if err := <-errs; err != nil && first == nil {
			first = err
			giveUp()
		}
	}
	return first
}

// Exec runs statements on the first node, or on the primary, as the
// administrator. It returns when every running node has applied them, so that a
// statement that prepares on another node finds the table. wsrep_sync_wait alone
// does not ensure that.
func (c *Cluster) Exec(ctx context.Context, statements ...string) error {
	first := c.Nodes[0]
	if c.opts.replicas {
		first = c.Primary()
	}
	if err := first.exec(ctx, statements...); err != nil {
		return err
	}
	for _, n := range c.running() {
		if err := n.catchUp(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Stop ends every process of the cluster and removes its folder. It first asks
// the nodes to shut down, and kills them after a moment. It may be called more
// than once, and while other methods run; these then fail.
func (c *Cluster) Stop() {
	c.stop.Do(func() {
		c.sandbox.End(func(p *throwaway.Process) {
			p.Signal(throwaway.SigResume)
			p.Signal(syscall.SIGTERM)
		})
		for _, n := range c.Nodes {
			n.close()
		}
		c.log.Printf("stopped")
	})
}

// running returns the nodes whose server runs. Frozen ones count as running.
func (c *Cluster) running() []*Node {
	var nodes []*Node
	for _, n := range c.Nodes {
		if n.Running() {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// peers returns the gcomm address of the whole cluster.
func (c *Cluster) peers() string {
	var addrs []string
	for _, n := range c.Nodes {
		addrs = append(addrs, throwaway.Addr(n.ports.group()))
	}
	return "gcomm://" + strings.Join(addrs, ",")
}
