package integration

import (
	"database/sql"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/galera"
	"github.com/go-sql-driver/mysql"
)

// discovered returns a cluster that is told one node, by its DSN, and asks for the
// others.
func discovered(t *testing.T, dsn string, opts ...clustersql.Option) (clustersql.Driver, *sql.DB) {
	t.Helper()
	opts = append(opts, clustersql.WithProbe(often, often), clustersql.WithDiscover(clustersql.DiscoverMembers, 200*time.Millisecond),
		clustersql.WithDiscoverNetworks("127.0.0.0/8"), clustersql.WithDiscoverLimits(2, 1))
	d := clustersql.NewDriver(mysql.MySQLDriver{}, t.Name(), opts...)
	t.Cleanup(func() { d.Close() })
	must(t, d.AddNode("told", dsn))
	db := sql.OpenDB(d.Connector())
	t.Cleanup(func() { db.Close() })
	must(t, db.Ping())
	return d, db
}

// addresses returns the sorted addresses of the nodes that are up.
func addresses(d clustersql.Driver) []string {
	var all []string
	for _, n := range d.Status().Nodes {
		if n.State == clustersql.StateUp {
			all = append(all, n.Address)
		}
	}
	slices.Sort(all)
	return all
}

func addressesOf(nodes ...*galera.Node) []string {
	var all []string
	for _, n := range nodes {
		all = append(all, n.Addr())
	}
	slices.Sort(all)
	return all
}

// A program that knows one node of a group finds the others. A node that leaves the
// group goes, and comes back with it.
func groupIsDiscovered(t *testing.T, c *galera.Cluster) {
	d, db := discovered(t, c.Nodes[0].DSN(""), clustersql.WithStrategy(clustersql.Balanced))
	waitFor(t, "all nodes to be found", func() bool { return slices.Equal(addresses(d), addressesOf(c.Nodes...)) })
	for _, n := range d.Status().Nodes {
		want := string(clustersql.DiscoverMembers)
		if n.Name == "told" {
			want = "code"
		}
		if n.Origin != want {
			t.Errorf("%s comes from %q, want %q", n.Name, n.Origin, want)
		}
	}
	must(t, c.Nodes[2].Shutdown(t.Context()))
	waitFor(t, "the node that left to go", func() bool { return len(d.Nodes()) == 2 })
	if _, err := db.Exec("DO 1"); err != nil {
		t.Error(err)
	}
	must(t, c.Heal(t.Context()))
	waitFor(t, "the node to be found again", func() bool { return slices.Equal(addresses(d), addressesOf(c.Nodes...)) })
}

// A program that knows the primary finds its replicas, where the servers tell their
// addresses and the account may ask for them.
func replicasAreDiscovered(t *testing.T, c *galera.Cluster) {
	makeUser(t, c, "finder")
	const right = "REPLICATION MASTER ADMIN ON *.*"
	d, _ := discovered(t, dsnOf(c.Primary(), "finder", ""), clustersql.WithRequire(clustersql.RequireAny))
	waitFor(t, "the missing right to be told", func() bool {
		s := d.Status().Sources
		return len(s) == 1 && strings.Contains(s[0].Err, "MASTER ADMIN")
	})
	if n := d.Nodes(); len(n) != 1 {
		t.Errorf("%q without the right", n)
	}
	run(t, c, "GRANT "+right+" TO finder@'%'")
	defer run(t, c, "REVOKE "+right+" FROM finder@'%'")
	must(t, c.WaitSynced(t.Context()))
	waitFor(t, "the replicas to be found", func() bool { return slices.Equal(addresses(d), addressesOf(c.Nodes...)) })
}
