package selftest

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
)

// answers looks at what came of the cluster's probes. That a node is something
// else than the cluster requires is no fault.
func (c *cluster) answers(t *testing.T, nodes []clustersql.NodeStatus) {
	for _, n := range nodes {
		switch {
		case n.State == clustersql.StateUp:
			t.Logf("%s: dialled and checked, a probe takes %v", n.Name, n.ProbeLatency.Mean().Round(10*time.Microsecond))
		case c.isOther(&n):
			t.Logf("%s: it answers, and this cluster leaves it out: %s", n.Name, n.Reason)
		default:
			t.Errorf("%s is %s: %s", n.Name, n.State, n.Reason)
		}
	}
}

// isOther reports whether a node that is down has told that it is something else
// than the cluster requires.
func (c *cluster) isOther(n *clustersql.NodeStatus) bool {
	told := n.Role != clustersql.RoleUnknown || n.Access != clustersql.AccessUnknown
	return n.State == clustersql.StateDown && told && strings.Contains(n.Reason, fmt.Sprintf("require %q: the server ", string(c.require)))
}

// isOne compares what names the nodes' data.
func (c *cluster) isOne(t *testing.T) {
	found := make(map[string][]string)
	c.eachNode(t, func(ctx context.Context, node string, db *sql.DB) {
		id := c.galera
		if c.postgres {
			id = systemOf
		}
		if group := id(t, ctx, node, db); group != "" {
			found[group] = append(found[group], node)
		}
	})
	if len(found) > 1 {
		t.Errorf("the nodes are of %d different clusters: %v", len(found), found)
	}
	for id, nodes := range found {
		t.Logf("%s: %v", id, nodes)
	}
}

// systemOf returns PostgreSQL's system_identifier.
func systemOf(t *testing.T, ctx context.Context, node string, db *sql.DB) (id string) {
	t.Helper()
	if err := db.QueryRowContext(ctx, "SELECT system_identifier::text FROM pg_control_system()").Scan(&id); err != nil {
		t.Errorf("%s: %v", node, err)
		return ""
	}
	return "system_identifier " + id
}

// galera returns Galera's cluster UUID, and "" for another server. It asks the
// node for its state.
func (c *cluster) galera(t *testing.T, ctx context.Context, node string, db *sql.DB) string {
	t.Helper()
	var name, uuid, state string
	err := db.QueryRowContext(ctx, "SHOW STATUS LIKE 'wsrep_cluster_state_uuid'").Scan(&name, &uuid)
	if err != nil || uuid == "" {
		t.Logf("%s: no Galera: nothing to compare (%v)", node, err)
		return ""
	}
	if err := db.QueryRowContext(ctx, "SHOW STATUS LIKE 'wsrep_local_state_comment'").Scan(&name, &state); err != nil {
		t.Errorf("%s: %v", node, err)
	} else if state != "Synced" {
		t.Errorf("%s is %s, not Synced", node, state)
	}
	return "wsrep_cluster_state_uuid " + uuid
}
