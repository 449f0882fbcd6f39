package pgcluster

import (
	"context"

	"github.com/EnumApps/clustersql/internal/throwaway"
)

// StartT starts a cluster for a test and stops it at the test's end. If no
// server is installed, it skips the test and says how to get one. With CI=true
// in the environment that is a failure.
func StartT(tb throwaway.TB, opts Options) *Cluster {
	tb.Helper()
	throwaway.Demand(tb, Available())
	c, err := Start(context.Background(), opts)
	if err != nil {
		tb.Fatalf("%v", err)
	}
	tb.Cleanup(c.Stop)
	return c
}
