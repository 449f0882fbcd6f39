package selftest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/conffile"
	"github.com/EnumApps/clustersql/internal/mysql"
	"github.com/EnumApps/clustersql/internal/postgres"
)

const (
	timeout  = 30 * time.Second // bounds each part of the test that has to wait
	patience = 10 * time.Second // until the nodes are what they should be
)

// A cluster is one cluster of the file.
type cluster struct {
	clustersql.Driver
	require  clustersql.Require
	driver   string // the name of the nodes' driver
	backend  driver.Driver
	postgres bool // the backend speaks to PostgreSQL
	nodes    []node
	selftest conffile.Selftest
}

// A node is one node of the cluster, as its driver reaches it.
type node struct{ name, dsn string }

// newCluster returns the cluster d, which the file describes at index i.
func newCluster(t *testing.T, d clustersql.Driver, f *conffile.File, i int) *cluster {
	t.Helper()
	in := &f.Clusters[i]
	c := &cluster{Driver: d, driver: driverOf(in), selftest: f.Selftest}
	for _, s := range slices.Concat(f.Settings, in.Settings) {
		if s.Key != "require" {
			continue
		}
		if err := c.require.UnmarshalText(fmt.Append(nil, s.Value)); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range in.Nodes {
		dsn := n.DSN
		if n.Account != nil {
			var err error
			if dsn, err = mysql.Account(*n.Account).DSN(); err != nil {
				t.Fatal(err)
			}
		}
		c.nodes = append(c.nodes, node{n.Name, dsn})
	}
	db, err := sql.Open(c.driver, c.nodes[0].dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	c.backend = db.Driver()
	c.postgres = (postgres.Dialect{}).Speaks(c.backend)
	return c
}

func (c *cluster) test(t *testing.T) {
	before := goleak.IgnoreCurrent()
	nodes := c.judged(t)
	t.Run("every node answers", func(t *testing.T) { c.answers(t, nodes) })
	t.Run("the nodes are one cluster", c.isOne)
	t.Run("the nodes are what is required", func(t *testing.T) { c.roles(t, nodes) })
	if count(nodes, isUsed) == 0 {
		t.Fatal("the cluster uses none of its nodes: nothing else was tested")
	}
	t.Run("concurrent opens", c.concurrentOpens)
	t.Run("a refused node is masked", c.masksRefused)
	switch {
	case !c.selftest.Throwaway && c.selftest.Table == "":
		t.Log("nothing was written: set [selftest] table in the configuration file to test replication too")
	case !c.writes(nodes):
		t.Log("nothing was written through this cluster: its connections may be to nodes that take no writes")
	default:
		t.Run("what is written on one is read on each", c.replicates)
	}
	if err := goleak.Find(before); err != nil {
		t.Errorf("after Close something is left: %v", err)
	}
}

// eachNode opens a sql.DB on each node of the cluster by itself.
func (c *cluster) eachNode(t *testing.T, f func(ctx context.Context, node string, db *sql.DB)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	for _, n := range c.nodes {
		db, err := sql.Open(c.driver, n.dsn)
		if err != nil {
			t.Errorf("%s: %v", n.name, err)
			continue
		}
		f(ctx, n.name, db)
		if err := db.Close(); err != nil {
			t.Errorf("%s: %v", n.name, err)
		}
	}
}

// judged has the cluster probe its nodes. It returns their status when each of
// them is used, or left out for what it is, and was judged beside the others; or
// when the test's patience is at its end.
func (c *cluster) judged(t *testing.T) []clustersql.NodeStatus {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	db := sql.OpenDB(c.Connector()) // the probes run while it is open
	defer db.Close()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		nodes := c.Status().Nodes
		if count(nodes, func(n *clustersql.NodeStatus) bool {
			return n.Probes > 1 && (n.State == clustersql.StateUp || c.isOther(n))
		}) == len(nodes) {
			return nodes
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nodes
		}
	}
}
