//go:build !linux

package integration

import (
	"testing"

	"github.com/EnumApps/clustersql/internal/galera"
)

const droppedEnv = "CLUSTERSQL_DROPPED"

func droppedChild(string) int { return 1 }

func droppedPacketsEndIt(t *testing.T, _ *galera.Cluster) {
	t.Fatal("the servers of these tests run on Linux only")
}
