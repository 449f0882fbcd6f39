package integration

import (
	"slices"
	"testing"

	"github.com/EnumApps/clustersql/internal/galera"
	"go.uber.org/goleak"
)

// A standing is what this process and the servers hold.
type standing struct {
	sockets    int
	conns      []int
	goroutines goleak.Option
}

// stand returns the standing, without the administrator's idle connections.
func stand(t *testing.T, c *galera.Cluster) standing {
	t.Helper()
	s := standing{conns: serverConnsOf(t, c)}
	closeIdle(c)
	s.sockets = countSockets(t)
	s.goroutines = goleak.IgnoreCurrent()
	return s
}

// left asserts that no more is held than before. The harness has a goroutine
// for every server that it has started.
func (s standing) left(t *testing.T, c *galera.Cluster) {
	t.Helper()
	waitFor(t, "the servers' connections to be what they were", func() bool {
		return slices.Equal(serverConnsOf(t, c), s.conns)
	})
	closeIdle(c)
	waitFor(t, "the sockets to be closed", func() bool { return countSockets(t) <= s.sockets })
	if err := goleak.Find(s.goroutines, goleak.IgnoreAnyFunction("github.com/EnumApps/clustersql/internal/throwaway.startProcess.func1"),
		goleak.IgnoreAnyFunction("github.com/EnumApps/clustersql/internal/relay.(*Relay).pump"), goleak.IgnoreAnyFunction("github.com/EnumApps/clustersql/internal/relay.(*Relay).serve")); err != nil {
		t.Error(err)
	}
}

func serverConnsOf(t *testing.T, c *galera.Cluster) []int {
	t.Helper()
	counts := make([]int, len(c.Nodes))
	for i, n := range c.Nodes {
		var err error
		if counts[i], err = n.AppConns(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return counts
}

// closeIdle closes the administrator's idle connections.
func closeIdle(c *galera.Cluster) {
	for _, n := range c.Nodes {
		n.AdminDB().SetMaxIdleConns(-1)
		n.AdminDB().SetMaxIdleConns(1)
	}
}
