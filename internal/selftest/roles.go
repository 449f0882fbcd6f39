package selftest

import (
	"cmp"
	"fmt"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
)

// roles shows what each node is, and counts those that the cluster uses. A
// PostgreSQL cluster that writes must have one.
func (c *cluster) roles(t *testing.T, nodes []clustersql.NodeStatus) {
	for _, n := range nodes {
		t.Log(part(&n))
	}
	for _, problem := range c.wrongRoles(nodes) {
		t.Error(problem)
	}
	if c.require == clustersql.RequirePreferStandby && count(nodes, isUsedReplica) == 0 {
		t.Log("no standby is up: the cluster uses what else there is")
	}
}

// wrongRoles returns what is wrong with the nodes as a whole.
func (c *cluster) wrongRoles(nodes []clustersql.NodeStatus) (problems []string) {
	used, require := count(nodes, isUsed), cmp.Or(string(c.require), "any")
	if used == 0 {
		problems = append(problems, fmt.Sprintf("require = %q: no node is used", require))
	}
	switch c.require {
	case clustersql.RequireReadWrite, clustersql.RequireWritable, clustersql.RequirePrimary:
		if c.postgres && used > 1 {
			problems = append(problems, fmt.Sprintf("require = %q: %d nodes are used, and one can be the primary", require, used))
		}
	}
	return problems
}

func count(nodes []clustersql.NodeStatus, is func(*clustersql.NodeStatus) bool) (found int) {
	for i := range nodes {
		if is(&nodes[i]) {
			found++
		}
	}
	return found
}

func isUsed(n *clustersql.NodeStatus) bool {
	return n.State == clustersql.StateUp || n.State == clustersql.StateSuspect
}

func isUsedReplica(n *clustersql.NodeStatus) bool {
	return isUsed(n) && n.Role == clustersql.RoleReplica
}

// part describes a node's part in replication.
func part(n *clustersql.NodeStatus) string {
	text := fmt.Sprintf("%s: role %s, access %s, %s", n.Name, n.Role, n.Access, n.State)
	switch {
	case n.Role != clustersql.RoleReplica:
	case n.LagUnknown != "":
		text += ", its lag is not known: " + n.LagUnknown
	default:
		text += fmt.Sprintf(", lag %v", n.Lag.Round(time.Millisecond))
	}
	return text
}

// writes reports whether what is written through the cluster reaches a node that
// takes it.
func (c *cluster) writes(nodes []clustersql.NodeStatus) bool {
	switch c.require {
	case clustersql.RequireReadOnly, clustersql.RequireStandby, clustersql.RequirePreferStandby:
		return false
	case clustersql.RequireAny:
		// Any of them may get it.
		return count(nodes, func(n *clustersql.NodeStatus) bool { return isUsed(n) && n.Access == clustersql.AccessReadOnly }) == 0
	}
	return true
}
