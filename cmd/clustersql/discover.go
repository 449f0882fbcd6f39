package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/EnumApps/clustersql"
)

const discoverNothing = 2

func init() {
	register(25, "discover", "Say where nodes are found, and what each source of that says now.", func() runner { return &discoverCommand{} })
}

type discoverCommand struct {
	Target  string        `arg:"" optional:"" name:"file-or-dsn" help:"The file, or a DSN."`
	Cluster string        `arg:"" optional:"" help:"Only the cluster of this name."`
	Timeout time.Duration `default:"10s" help:"How long to wait for the sources."`
	Format  string        `enum:"text,json" default:"text" help:"text or json."`
}

// A discovery is what the sources of one cluster say.
type discovery struct {
	Cluster string                    `json:"cluster"`
	Sources []clustersql.SourceStatus `json:"sources"`
	Nodes   []foundNode               `json:"nodes"`
	Unused  []clustersql.UnusedNode   `json:"unused"`
}

// A foundNode is one node of a cluster, whoever wants it.
type foundNode struct {
	Name     string `json:"name"`
	Address  string `json:"address,omitempty"`
	Origin   string `json:"origin"` // "file", "dsn", or the source
	Priority int    `json:"priority"`
	Weight   int    `json:"weight"`
}

// Run asks every source once, and prints what they say.
func (c *discoverCommand) Run(e *env) error {
	t, err := openTarget(c.Target)
	if err != nil {
		return exitf(exitUsage, "%v", err)
	}
	defer t.close()
	if err := t.only(c.Cluster); err != nil {
		return exitf(exitUsage, "%v", err)
	}
	stop := t.run()
	defer stop()
	all := []discovery{}
	found := 0
	for _, cl := range t.clusters {
		if cl.config.Discover == clustersql.DiscoverOff {
			continue
		}
		s := answered(e.ctx, cl.driver, c.Timeout)
		d := discovery{Cluster: s.ID, Sources: append([]clustersql.SourceStatus{}, s.Sources...), Nodes: []foundNode{}, Unused: append([]clustersql.UnusedNode{}, s.Unused...)}
		for i := range s.Nodes {
			n := &s.Nodes[i]
			d.Nodes = append(d.Nodes, foundNode{n.Name, n.Address, n.Origin, n.Priority, n.Weight})
			if isFound(n) {
				found++
			}
		}
		all = append(all, d)
	}
	if c.Format == "json" {
		err = writeJSON(e.stdout, all)
	} else {
		err = writeDiscoveries(e, all)
	}
	switch {
	case err != nil:
		return err
	case len(all) == 0:
		return exitf(discoverNothing, "%s has no cluster with discover: set it, as in discover = \"dns\"", t.name)
	case found == 0:
		return exitf(discoverNothing, "nothing was found that is used: see above what each source says, and correct it, or discover_networks")
	}
	return nil
}

// isFound reports whether a source has found the node.
func isFound(n *clustersql.NodeStatus) bool {
	return !slices.Contains([]string{"code", "file", "dsn"}, n.Origin)
}

// answered waits until each source has said something, and until what it has said
// counts. It returns what is then known.
func answered(ctx context.Context, d clustersql.Driver, limit time.Duration) clustersql.ClusterStatus {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	waitStatus(ctx, d, func([]clustersql.NodeStatus) bool {
		s := d.Status()
		return len(s.Sources) > 0 && !slices.ContainsFunc(s.Sources, func(s clustersql.SourceStatus) bool {
			return s.Answered.IsZero() && s.Err == ""
		})
	})
	return d.Status()
}

func writeDiscoveries(e *env, all []discovery) error {
	var b strings.Builder
	for _, d := range all {
		fmt.Fprintf(&b, "cluster %s\n", tame(d.Cluster))
		for _, s := range d.Sources {
			text := strings.Join(s.Addresses, ", ")
			if s.Err != "" {
				text = strings.TrimPrefix(text+"; ", "; ") + s.Err
			}
			if text == "" {
				text = "no answer yet"
			}
			fmt.Fprintf(&b, "  asked    %s: %s\n", tame(s.Name), tame(text))
		}
		for _, n := range d.Nodes {
			fmt.Fprintf(&b, "  node     %s, by %s, priority %d, weight %d\n", tame(n.Name), tame(n.Origin), n.Priority, n.Weight)
		}
		for _, u := range d.Unused {
			fmt.Fprintf(&b, "  not used %s, by %s: %s\n", tame(u.Address), tame(u.Source), tame(u.Why))
		}
	}
	_, err := fmt.Fprint(e.stdout, b.String())
	return err
}
