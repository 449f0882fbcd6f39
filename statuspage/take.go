package statuspage

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/EnumApps/clustersql"
)

// Take returns a snapshot of clusters, sorted by ID. It never waits for a node.
func Take(clusters ...clustersql.Driver) *Snapshot {
	s := &Snapshot{Time: time.Now(), Clusters: make([]Cluster, 0, len(clusters))}
	for _, d := range clusters {
		c := Cluster{Status: d.Status(), Events: d.Events(), History: d.History()}
		c.judge()
		s.Clusters = append(s.Clusters, c)
	}
	slices.SortStableFunc(s.Clusters, func(a, b Cluster) int { return cmp.Compare(a.Status.ID, b.Status.ID) })
	s.Level, s.Summary = overall(s.Clusters)
	return s
}

// judge says how the cluster and its nodes are.
func (c *Cluster) judge() {
	c.Nodes = make([]Node, len(c.Status.Nodes))
	first := c.firstTier()
	for i := range c.Status.Nodes {
		n := &c.Status.Nodes[i]
		c.Nodes[i] = Node{Name: n.Name, Why: n.WhyNot}
		c.Nodes[i].Kind, c.Nodes[i].Word, c.Nodes[i].Level = c.kindOf(n, first)
		c.Level = max(c.Level, c.Nodes[i].Level)
	}
	switch {
	case c.Status.Usable > 0:
	case c.Status.Open || len(c.Nodes) == 0:
		c.Level = LevelBad
	}
	c.Summary = c.inWords()
}

// firstTier returns the lowest priority number of the nodes that are up.
func (c *Cluster) firstTier() int {
	first, found := 0, false
	for i := range c.Status.Nodes {
		if n := &c.Status.Nodes[i]; n.State == clustersql.StateUp && n.SameAs == "" && (!found || n.Priority < first) {
			first, found = n.Priority, true
		}
	}
	return first
}

// kindOf returns the colour of a node, the word beside it, and how bad it is.
// firstTier is the lowest priority number of the nodes that are up.
func (c *Cluster) kindOf(n *clustersql.NodeStatus, firstTier int) (Kind, string, Level) {
	switch n.State {
	case clustersql.StateDown:
		return kindOfDown(n)
	case clustersql.StateDraining:
		return KindDrain, "draining", LevelWarn
	case clustersql.StateSuspect:
		return KindGoingDown, "suspect" + progress(n.Bad, n.Fall), LevelWarn
	case clustersql.StateUnknown:
		if !c.Status.Open {
			return KindUnknown, "not in use", LevelWell
		}
		return KindUnknown, "unknown", LevelWarn
	}
	switch {
	case n.SameAs != "":
		return KindHold, "up, known twice", LevelWarn
	case n.Full:
		return KindHold, "up, full", LevelWarn
	case n.Donor:
		return KindHold, "up, donor", LevelWarn
	case n.Returning && c.Status.Strategy == clustersql.Ordered.String():
		return KindGoingUp, "up, returning", LevelWarn
	case n.Priority > firstTier:
		return KindStandby, "up, standby", LevelWell
	}
	return KindUp, "up", LevelWell
}

// kindOfDown is kindOf for a node that is down. One that works and is of another
// role than the cluster requires is as it should be.
func kindOfDown(n *clustersql.NodeStatus) (Kind, string, Level) {
	class, _, _ := strings.Cut(n.Reason, ":")
	switch {
	case class == "role" && strings.Contains(n.Reason, "held"): // a second primary
		return KindHold, "held", LevelWarn
	case class == "read-only" || class == "role":
		return KindStandby, "other role", LevelWell
	case class == "lagging":
		return KindHold, "lagging", LevelWarn
	case !n.HeldUntil.IsZero() || strings.Contains(n.Reason, "held"):
		return KindHold, "held", LevelWarn
	case n.Good > 0:
		return KindGoingUp, "down" + progress(n.Good, n.Rise), LevelBad
	}
	return KindDown, "down", LevelBad
}

// progress returns how far a node is on its way, as in " 1/2".
func progress(so, needed int) string {
	if so == 0 || needed < 2 {
		return ""
	}
	return fmt.Sprintf(" %d/%d", so, needed)
}

// ill names the nodes that are not well, the worst first.
func (c *Cluster) ill() string {
	var parts []string
	for _, level := range []Level{LevelBad, LevelWarn} {
		for i := range c.Nodes {
			if n := &c.Nodes[i]; n.Level == level {
				word := strings.TrimPrefix(n.Word, "up, ")
				if word == "donor" {
					word = "a donor"
				}
				parts = append(parts, n.Name+" is "+word)
			}
		}
	}
	return some(parts, 4, "%d more are not well")
}

// some joins the first texts of a list, and says how many more there are.
func some(list []string, most int, more string) string {
	if left := len(list) - most; left > 0 {
		list = append(list[:most:most], fmt.Sprintf(more, left))
	}
	return strings.Join(list, ", ")
}

// inWords says in one sentence how the cluster is, and names the nodes that are
// not well.
func (c *Cluster) inWords() string {
	ill, all := c.ill(), len(c.Nodes)
	switch {
	case all == 0:
		return "The cluster has no nodes: every open fails."
	case !c.Status.Open:
		return "Not in use: no sql.DB of it is open, and nothing checks its nodes."
	case c.Status.Usable == 0 && ill == "":
		return "No node is usable: opens wait. No node has the role that the cluster requires."
	case c.Status.Usable == 0:
		return "No node is usable: opens wait: " + ill + "."
	case ill != "":
		return fmt.Sprintf("%d of %d nodes usable: %s.", c.Status.Usable, all, ill)
	case all == 1:
		return "Its node is well."
	}
	return fmt.Sprintf("All %d nodes are well.", all)
}

// overall says how all clusters are.
func overall(clusters []Cluster) (Level, string) {
	level, ill := LevelWell, []string(nil)
	for i := range clusters {
		c := &clusters[i]
		level = max(level, c.Level)
		switch nodes := c.ill(); {
		case c.Level == LevelWell:
		case nodes == "":
			ill = append(ill, c.Status.ID+" has no usable node")
		default:
			ill = append(ill, fmt.Sprintf("%s (%s)", c.Status.ID, nodes))
		}
	}
	switch {
	case len(clusters) == 0:
		return LevelWarn, "This process has no cluster in use."
	case len(ill) > 0:
		return level, "Not well: " + some(ill, 6, "%d more clusters") + "."
	case len(clusters) == 1:
		return level, "The cluster is well."
	}
	return level, fmt.Sprintf("All %d clusters are well.", len(clusters))
}

// began returns when the oldest node was added, or the snapshot's time if there
// is none.
func (s *Snapshot) began() time.Time {
	began := s.Time
	for i := range s.Clusters {
		for j := range s.Clusters[i].Status.Nodes {
			if added := s.Clusters[i].Status.Nodes[j].Added; added.Before(began) {
				began = added
			}
		}
	}
	return began
}
