package pgcluster

import (
	"context"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// childEnv makes the test binary the process that is killed. Its value is the
// folder for the cluster.
const childEnv = "CLUSTERSQL_PGCLUSTER_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		os.Exit(child(dir))
	}
	goleak.VerifyTestMain(m)
}

// child starts a node, freezes it, says where it is, and waits to be killed.
func child(dir string) int {
	c, err := Start(context.Background(), Options{Nodes: 1, Dir: dir})
	if err == nil {
		err = c.Nodes[0].Freeze()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(c.dir)
	select {}
}
