//go:build !race

package clustersql

const raceEnabled = false
