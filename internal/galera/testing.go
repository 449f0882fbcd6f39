package galera

import (
	"context"
	"os"
)

// TB is what StartT needs of a testing.TB. With it, programs that are no tests
// do not link package testing.
type TB interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
}

// StartT starts a cluster for a test and stops it at the test's end. If no
// server is installed, it skips the test and says how to get one. With CI=true
// in the environment that is a failure.
func StartT(tb TB, opts Options) *Cluster {
	tb.Helper()
	demand(tb, Available())
	c, err := Start(context.Background(), opts)
	if err != nil {
		tb.Fatalf("%v", err)
	}
	tb.Cleanup(c.Stop)
	return c
}

// demand ends a test that cannot run because of err.
func demand(tb TB, err error) {
	tb.Helper()
	switch {
	case err == nil:
	case os.Getenv("CI") == "true":
		tb.Fatalf("%v", err)
	default:
		tb.Skipf("%v", err)
	}
}
