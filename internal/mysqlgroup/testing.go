package mysqlgroup

import (
	"context"

	"github.com/EnumApps/clustersql/internal/throwaway"
)

// StartT starts a group for a test and stops it at the test's end. Without an
// unpacked MySQL it skips the test and says how to get one, also in CI: such a
// server is not to be had every day.
func StartT(tb throwaway.TB, opts Options) *Group {
	tb.Helper()
	return startT(tb, opts, Start)
}

// StartReplicationT is StartT for [StartReplication].
func StartReplicationT(tb throwaway.TB, opts Options) *Group {
	tb.Helper()
	return startT(tb, opts, StartReplication)
}

func startT(tb throwaway.TB, opts Options, start func(context.Context, Options) (*Group, error)) *Group {
	tb.Helper()
	if err := Available(); err != nil {
		tb.Skipf("%v", err)
	}
	g, err := start(context.Background(), opts)
	if err != nil {
		tb.Fatalf("%v", err)
	}
	tb.Cleanup(g.Stop)
	return g
}
