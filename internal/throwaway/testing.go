package throwaway

import "os"

// TB is what the clusters need of a testing.TB. With it, programs that are no
// tests do not link package testing.
type TB interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
}

// Demand ends a test that cannot run because of err, which says what is missing
// and how to get it. The test is skipped. With CI=true in the environment that
// is a failure.
func Demand(tb TB, err error) {
	tb.Helper()
	switch {
	case err == nil:
	case os.Getenv("CI") == "true":
		tb.Fatalf("%v", err)
	default:
		tb.Skipf("%v", err)
	}
}
