package galera

import (
	"context"

	"github.com/EnumApps/clustersql/internal/throwaway"
)

// StartT starts a cluster for a test and stops it at the test's end. If no
// server is installed, it skips the test and says how to get one. With CI=true
// in the environment that is a failure.
func StartT(tb throwaway.TB, opts Options) *Cluster {
	tb.Helper()
	return startT(tb, opts, Start)
}

// StartReplicationT is StartT for a primary and its replicas.
func StartReplicationT(tb throwaway.TB, opts Options) *Cluster {
	tb.Helper()
	return startT(tb, opts, StartReplication)
}

func startT(tb throwaway.TB, opts Options, start func(context.Context, Options) (*Cluster, error)) *Cluster {
	tb.Helper()
	throwaway.Demand(tb, Available())
	c, err := start(context.Background(), opts)
	if err != nil {
		tb.Fatalf("%v", err)
	}
	tb.Cleanup(c.Stop)
	return c
}
