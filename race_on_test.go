//go:build race

package clustersql

// raceEnabled tells tests that measure memory or allocations that the race
// detector would be measured with it. ./test.sh runs these without it too.
const raceEnabled = true
