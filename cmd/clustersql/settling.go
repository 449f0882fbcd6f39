package main

import (
	"slices"

	"github.com/EnumApps/clustersql"
)

// A settling is the time until each node has been judged beside the others: until a
// probe of it has ended after the others became what they are. The lag of a replica is
// not known before its primary has answered.
type settling struct {
	before []clustersql.NodeStatus
	probes map[string]uint64 // of each node, when another one became what it is
}

// over reports whether it has ended. Who waits asks it for each status.
func (s *settling) over(nodes []clustersql.NodeStatus) bool {
	if s.probes == nil {
		s.probes = make(map[string]uint64)
	}
	for _, n := range nodes {
		became := func(was clustersql.NodeStatus) bool {
			return was.Name == n.Name && was.State == n.State && was.Role == n.Role
		}
		if slices.ContainsFunc(s.before, became) {
			continue
		}
		for _, other := range nodes {
			if other.Name != n.Name {
				s.probes[other.Name] = other.Probes
			}
		}
	}
	s.before = nodes
	return !slices.ContainsFunc(nodes, func(n clustersql.NodeStatus) bool {
		up, replica := n.State == clustersql.StateUp, n.Role == clustersql.RoleReplica
		switch {
		case n.State == clustersql.StateUnknown, n.State == clustersql.StateSuspect, up && n.Probes < 2:
			return true
		case !up && replica && (n.Probing || n.Good > 0): // it may be about to come up
			return true
		}
		return (up || replica && n.LagUnknown != "") && n.Probes <= s.probes[n.Name]
	})
}
