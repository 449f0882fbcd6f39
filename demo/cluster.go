package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/EnumApps/clustersql/internal/pgcluster"
)

// stopTimeout is how long a server may take to stop.
const stopTimeout = 10 * time.Second

// A cluster is the nodes that the demo runs on.
type cluster struct {
	what                     string // shown on the screen
	user, password, database string
	dialect                  *dialect
	nodes                    []*node
	replicas                 *pgcluster.Cluster // the nodes again, if one is the primary of the others; else nil
	end                      func()             // called after the nodes are closed; may be nil
}

// A node is one server and the forwarder before it.
type node struct {
	name    string // as in config.toml
	server  server
	addr    string // the server's, since its last start
	forward *forwarder
}

// A server can be stopped and started again.
type server interface {
	// start returns the address that the server listens on.
	start(ctx context.Context) (addr string, err error)
	// stop shuts down a server without connections, as its operator would.
	stop(ctx context.Context) error
	// close ends the server for good.
	close(ctx context.Context) error
}

// startEmbedded starts three servers in this process. The caller must close the
// cluster.
func startEmbedded(ctx context.Context) (*cluster, error) {
	c := &cluster{
		what: "three MySQL servers in this process, reached over TCP on loopback",
		user: "demo", password: rand.Text(), database: "demo", dialect: &mysqlDialect,
	}
	shared := newStorage(c.database)
	for range 3 {
		if err := c.add(ctx, newMySQLServer(shared, c.user, c.password)); err != nil {
			return nil, errors.Join(err, c.close())
		}
	}
	return c, nil
}

// add starts a server, puts a forwarder before it, and makes a node of the two.
// The cluster closes the server, also if add fails.
func (c *cluster) add(ctx context.Context, s server) error {
	n := &node{name: fmt.Sprintf("node%d", len(c.nodes)+1), server: s}
	c.nodes = append(c.nodes, n)
	var err error
	if n.addr, err = s.start(ctx); err == nil {
		n.forward, err = newForwarder(n.addr)
	}
	return n.wrap("start", err)
}

// export sets the environment variables that config.toml uses.
func (c *cluster) export() error {
	vars := map[string]string{"DEMO_USER": c.user, "DEMO_PASSWORD": c.password, "DEMO_DATABASE": c.database}
	for i, n := range c.nodes {
		vars[fmt.Sprintf("DEMO_NODE%d", i+1)] = n.forward.addr
	}
	for name, value := range vars {
		if err := os.Setenv(name, value); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// close ends forwarders and servers.
func (c *cluster) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	var errs []error
	for _, n := range c.nodes {
		if n.forward != nil {
			n.forward.close()
		}
		errs = append(errs, n.wrap("close", n.server.close(ctx)))
	}
	if c.end != nil {
		c.end()
	}
	return errors.Join(errs...)
}

// refuse makes the node refuse new connections.
func (n *node) refuse() { n.forward.refuse() }

// accept ends refuse.
func (n *node) accept() error { return n.wrap("accept", n.forward.accept(n.addr)) }

// cut closes all of the node's connections, also those in use.
func (n *node) cut() { n.forward.cut() }

// slow delays each of the node's answers by d; 0 ends that.
func (n *node) slow(d time.Duration) { n.forward.delay.Store(int64(d)) }

// stop completes an orderly stop of a node that refuses. It closes the node's
// connections once they are idle, then stops the server. It ignores a cancel of
// ctx, because it must not cut a query short.
func (n *node) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := n.forward.drain(ctx); err != nil {
		return n.wrap("drain", err)
	}
	return n.wrap("stop", n.server.stop(ctx))
}

// start brings a stopped node back.
func (n *node) start(ctx context.Context) error {
	addr, err := n.server.start(ctx)
	if err != nil {
		return n.wrap("start", err)
	}
	n.addr = addr
	return n.accept()
}

// wrap adds the node and what was done to an error, if there is one.
func (n *node) wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %s: %w", n.name, what, err)
}
