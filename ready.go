package clustersql

import (
	"context"
	"fmt"
	"strings"
)

// waitReady waits until at least want nodes are up.
func (m *manager) waitReady(ctx context.Context, want int) error {
	running, err := m.running()
	if err != nil {
		return err
	}
	for {
		news := m.news.Next()
		s := m.status()
		if s.up() >= want {
			return nil
		}
		select {
		case <-news:
		case <-running.Done():
			return ErrClosed
		case <-ctx.Done():
			return fmt.Errorf("clustersql: cluster %q: %d of %d wanted nodes up%s: %w", m.name, s.up(), want, s.missing(), context.Cause(ctx))
		}
	}
}

func (s *ClusterStatus) up() int {
	up := 0
	for i := range s.Nodes {
		if s.Nodes[i].State == StateUp {
			up++
		}
	}
	return up
}

// missing lists the nodes that are not up, each with its reason.
func (s *ClusterStatus) missing() string {
	var b strings.Builder
	sep := ": "
	for i := range s.Nodes {
		if n := &s.Nodes[i]; n.State != StateUp {
			fmt.Fprintf(&b, "%s%s is %s", sep, n.Name, n.State)
			if n.Reason != "" {
				fmt.Fprintf(&b, " (%s)", n.Reason)
			}
			sep = "; "
		}
	}
	return b.String()
}
