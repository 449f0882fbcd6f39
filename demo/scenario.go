package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/pgcluster"
)

const (
	// slowness is how long a slow node's answers are delayed. It is shorter
	// than probe_timeout in config.toml, because a slow node must not count as
	// down.
	slowness = 150 * time.Millisecond
	// noticeTimeout is how long the demo waits until the clusters notice what
	// was done to a node. It is longer than the longest wait between two tests
	// of a down node.
	noticeTimeout = 10 * time.Second
)

// A scenario is what is done to the nodes while the application works.
type scenario struct {
	nodes    []*node
	clusters []clustersql.Driver
	journal  *journal
	replicas *pgcluster.Cluster // the nodes again, if one is the primary of the others; else nil
	length   time.Duration      // of all looks together
}

// A step is what is done to the nodes, and the share of the scenario's length
// for which one can then look at what came of it. The shares are relative to
// each other.
type step struct {
	do   func(context.Context) error
	look float64
}

// run runs the scenario. If ctx is done it ends early, with ctx's error.
func (s *scenario) run(ctx context.Context) error {
	steps := []step{
		{s.calm, 0.15}, {s.stopSecond, 0.25}, {s.startSecond, 0.15}, {s.slowThird, 0.25}, {s.healThird, 0.2},
	}
	if s.replicas != nil {
		steps = append(steps, s.failover()...)
	}
	whole := 0.0
	for _, step := range steps {
		whole += step.look
	}
	for _, step := range steps {
		if err := step.do(ctx); err != nil {
			return err
		}
		if err := s.hold(ctx, step.look/whole); err != nil {
			return err
		}
	}
	return nil
}

// calm waits until the clusters know what each node is.
func (s *scenario) calm(ctx context.Context) error {
	if err := s.await(ctx, func() bool { return !slices.ContainsFunc(s.nodes, func(n *node) bool { return !s.up(n.name) }) }); err != nil {
		return err
	}
	text := "all three nodes serve"
	if s.replicas != nil {
		text += ": " + s.primary().name + " is the primary, for the writers; the readers have its standbys"
	}
	s.journal.add(begins, text)
	return nil
}

// stopSecond stops the second node in an orderly way, as for maintenance. The
// clusters see by themselves that it takes no new connections. Those that it has
// work, so the clusters keep them until the program drains the node. No
// connection may be cut during a query: every driver would have to report that
// to the program.
func (s *scenario) stopSecond(ctx context.Context) error {
	n := s.nodes[1]
	s.journal.add(begins, n.name+" refuses new connections from now on; those it has may go on")
	n.refuse()
	if err := s.await(ctx, func() bool { return s.down(n.name) }); err != nil {
		return err
	}
	for _, c := range s.clusters {
		if err := c.Drain(n.name); err != nil {
			return err
		}
	}
	if err := s.await(ctx, func() bool { return s.left(n.name) }); err != nil {
		return err
	}
	s.journal.add(did, s.users(n.name)+" have left "+n.name+": it was drained, and its server stops")
	if err := n.stop(ctx); err != nil {
		return err
	}
	s.journal.add(did, n.name+" is stopped")
	return nil
}

func (s *scenario) startSecond(ctx context.Context) error {
	n := s.nodes[1]
	s.journal.add(begins, n.name+" is started again; the clusters use it again once it passes their checks")
	if err := n.start(ctx); err != nil {
		return err
	}
	for _, c := range s.clusters {
		if err := c.Undrain(n.name); err != nil {
			return err
		}
	}
	if err := s.await(ctx, func() bool { return s.up(n.name) }); err != nil {
		return err
	}
	s.journal.add(did, s.users(n.name)+" have "+n.name+" back")
	return nil
}

func (s *scenario) slowThird(context.Context) error {
	n := s.nodes[2]
	s.journal.add(begins, fmt.Sprintf("%s is slow: each of its answers is held back by %d ms; it still serves", n.name, slowness.Milliseconds()))
	n.slow(slowness)
	return nil
}

func (s *scenario) healThird(context.Context) error {
	n := s.nodes[2]
	s.journal.add(begins, n.name+" is fast again")
	n.slow(0)
	return nil
}

// outage is the other scenario. No node is left, so operations must fail.
func (s *scenario) outage(ctx context.Context) error {
	if err := s.calm(ctx); err != nil {
		return err
	}
	if err := s.hold(ctx, 0.15); err != nil {
		return err
	}
	s.journal.add(begins, "all three nodes refuse new connections, and every connection is cut: operations must fail")
	for _, n := range s.nodes {
		n.refuse()
		n.cut()
	}
	if err := s.hold(ctx, 0.6); err != nil {
		return err
	}
	s.journal.add(begins, "all three nodes take connections again")
	for _, n := range s.nodes {
		if err := n.accept(); err != nil {
			return err
		}
	}
	return s.await(ctx, func() bool {
		return !slices.ContainsFunc(s.nodes, func(n *node) bool { return !s.up(n.name) })
	})
}

// hold waits for a share of the scenario's length.
func (s *scenario) hold(ctx context.Context, share float64) error {
	return s.wait(ctx, time.Duration(share*float64(s.length)))
}

func (s *scenario) wait(ctx context.Context, d time.Duration) error {
	wait := time.NewTimer(d)
	defer wait.Stop()
	select {
	case <-wait.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// errUnnoticed means that the clusters did not notice what they should have.
var errUnnoticed = errors.New("the clusters did not notice in time")

// await waits until seen returns true.
func (s *scenario) await(ctx context.Context, seen func() bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, noticeTimeout, errUnnoticed)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !seen() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// down reports whether each cluster has found that the node takes no new
// connection.
func (s *scenario) down(name string) bool {
	for _, c := range s.clusters {
		if statusOf(c, name).State != clustersql.StateDown {
			return false
		}
	}
	return true
}

// left reports whether no cluster has a connection to the node any more.
func (s *scenario) left(name string) bool {
	for _, c := range s.clusters {
		if statusOf(c, name).OpenConns > 0 {
			return false
		}
	}
	return true
}

// up reports whether the node is up in each cluster that it is fit for.
func (s *scenario) up(name string) bool {
	for _, c := range s.clusters {
		if s.fit(c, name) && statusOf(c, name).State != clustersql.StateUp {
			return false
		}
	}
	return true
}

// fit reports whether a cluster uses the node while all is well: the writers
// leave standbys out.
func (s *scenario) fit(c clustersql.Driver, name string) bool {
	return s.replicas == nil || c.Status().Name != writeConn || name == s.primary().name
}

// users names the clusters that the node is fit for.
func (s *scenario) users(name string) string {
	if s.replicas != nil && name != s.primary().name {
		return "the readers"
	}
	return "both clusters"
}

func statusOf(c clustersql.Driver, name string) clustersql.NodeStatus {
	for _, n := range c.Status().Nodes {
		if n.Name == name {
			return n
		}
	}
	return clustersql.NodeStatus{}
}
