package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/EnumApps/clustersql"
)

const drainNotEmpty = 1

func init() {
	register(50, "drain", "Take a node of a running program out of use, and wait until no connection is left there.", func() runner { return &drainCommand{} })
	register(51, "undrain", "Use a node again that was drained, and wait until it is up.", func() runner { return &undrainCommand{} })
}

type drainCommand struct{ drainFlags }

type undrainCommand struct{ drainFlags }

type drainFlags struct {
	Node    string        `arg:"" help:"The node's name."`
	URL     string        `arg:"" name:"url" help:"The URL of the program's status page, which it must make with statuspage.AllowDrain."`
	Cluster string        `help:"Only in the cluster of this name; else in each that has the node."`
	Timeout time.Duration `default:"1m" help:"How long to wait; 0 for not at all."`
}

// Run drains the node.
func (c *drainCommand) Run(e *env) error {
	return c.change(e, "drain", "give it more with --timeout: the program cuts what is left after its drain_timeout", func(n *clustersql.NodeStatus) string {
		switch {
		case n.State != clustersql.StateDraining:
			return "is " + n.State.String()
		case n.OpenConns > 0:
			return fmt.Sprintf("%d connections are open", n.OpenConns)
		}
		return ""
	})
}

// Run undrains the node.
func (c *undrainCommand) Run(e *env) error {
	return c.change(e, "undrain", "clustersql doctor says what is odd about it", func(n *clustersql.NodeStatus) string {
		if n.State == clustersql.StateUp {
			return ""
		}
		return strings.TrimSuffix(fmt.Sprintf("is %s: %s", n.State, n.Reason), ": ")
	})
}

// change presses the button in each cluster that has the node, and waits until left
// says of none what is left to do. more says what to do if that takes too long.
func (c *drainFlags) change(e *env, action, more string, left func(*clustersql.NodeStatus) string) error {
	if !isURL(c.URL) {
		return exitf(exitUsage, "%s takes NODE and URL, as in: clustersql %s %s http://host:8080/clusters/", action, action, "n1")
	}
	p, err := newPage(c.URL)
	if err != nil {
		return exitf(exitUsage, "%v", err)
	}
	defer p.close()
	s, err := p.take(e.ctx)
	if err == nil {
		err = s.only(c.Cluster)
	}
	if err != nil {
		return exitf(exitUsage, "%v", err)
	}
	var ids, nodes []string
	for i := range s.Clusters {
		status := &s.Clusters[i].Status
		for j := range status.Nodes {
			nodes = append(nodes, status.Nodes[j].Name)
			if status.Nodes[j].Name == c.Node {
				ids = append(ids, status.ID)
			}
		}
	}
	if len(ids) == 0 {
		slices.Sort(nodes)
		return exitf(exitUsage, "there is no node %q: there are: %s", c.Node, strings.Join(slices.Compact(nodes), ", "))
	}
	for _, id := range ids {
		if err := p.post(e.ctx, action, id, c.Node); err != nil {
			return exitf(exitUsage, "%v", err)
		}
	}
	if c.Timeout <= 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(e.ctx, c.Timeout)
	defer cancel()
	return c.wait(ctx, e, p, ids, more, left)
}

// wait looks until nothing is left to do.
func (c *drainFlags) wait(ctx context.Context, e *env, p *page, ids []string, more string, left func(*clustersql.NodeStatus) string) error {
	said, problem := "", "no answer"
	for {
		if s, err := p.take(ctx); err == nil {
			problem = ""
			for i := range s.Clusters {
				status := &s.Clusters[i].Status
				for j := range status.Nodes {
					n := &status.Nodes[j]
					if n.Name != c.Node || !slices.Contains(ids, status.ID) {
						continue
					}
					if text := left(n); text != "" {
						problem += "; " + status.ID + ": " + text
					}
				}
			}
			problem = strings.TrimPrefix(problem, "; ")
		} else if ctx.Err() == nil {
			problem = err.Error()
		}
		if problem == "" {
			return nil
		}
		if problem != said {
			said = problem
			e.note("%s: %s", c.Node, said)
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return exitf(drainNotEmpty, "%s: after %s: %s: %s", c.Node, c.Timeout, problem, more)
		}
	}
}
