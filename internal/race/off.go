//go:build !race

// Package race tells tests whether they run under the race detector, which
// costs memory and allocations of its own. Tests that measure those run
// without it.
package race

// Enabled reports whether the race detector is on.
const Enabled = false
