package main

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/EnumApps/clustersql"
)

// A condition is what --until waits for, as in "up>=2". It holds if it does for
// each cluster.
type condition []comparison

// A comparison compares how many nodes are something with a number.
type comparison struct {
	word, op string
	n        int
}

var comparisonForm = regexp.MustCompile(`^(\w+)\s*(>=|<=|==|=|!=|>|<)\s*(\d{1,6})$`)

// countWords are what may be counted.
var countWords = []string{"up", "suspect", "down", "draining", "unknown", "usable", "nodes"}

// parseCondition reads a condition: comparisons with commas or "and" between them.
func parseCondition(text string) (condition, error) {
	var all condition
	for part := range strings.SplitSeq(strings.ReplaceAll(text, " and ", ","), ",") {
		m := comparisonForm.FindStringSubmatch(strings.TrimSpace(part))
		if m == nil || !slices.Contains(countWords, m[1]) {
			return nil, fmt.Errorf("--until: %q is no condition: write it as 'up>=2' or 'up>=2,down=0', with one of %s", strings.TrimSpace(part), strings.Join(countWords, ", "))
		}
		n, err := strconv.Atoi(m[3])
		if err != nil {
			return nil, err
		}
		all = append(all, comparison{m[1], m[2], n})
	}
	return all, nil
}

// missing says in words what does not hold; "" if all does.
func (c condition) missing(s *snapshot) string {
	if len(s.Clusters) == 0 {
		return "there is no cluster"
	}
	var parts []string
	for i := range s.Clusters {
		status := &s.Clusters[i].Status
		for _, cmp := range c {
			if n := count(status, cmp.word); !cmp.holds(n) {
				parts = append(parts, fmt.Sprintf("%s: %s is %d, wanted is %s %d%s", status.ID, cmp.word, n, cmp.op, cmp.n, ill(status)))
			}
		}
	}
	return strings.Join(parts, "; ")
}

func (c comparison) holds(n int) bool {
	d := cmp.Compare(n, c.n)
	switch c.op {
	case ">=":
		return d >= 0
	case "<=":
		return d <= 0
	case ">":
		return d > 0
	case "<":
		return d < 0
	case "!=":
		return d != 0
	}
	return d == 0
}

func count(s *clustersql.ClusterStatus, word string) (n int) {
	switch word {
	case "nodes":
		return len(s.Nodes)
	case "usable":
		return s.Usable
	}
	for i := range s.Nodes {
		if s.Nodes[i].State.String() == word {
			n++
		}
	}
	return n
}

// ill lists the nodes that are not up.
func ill(s *clustersql.ClusterStatus) string {
	var parts []string
	for i := range s.Nodes {
		if n := &s.Nodes[i]; n.State != clustersql.StateUp {
			text := n.Name + " is " + n.State.String()
			if n.Reason != "" {
				text += " (" + n.Reason + ")"
			}
			parts = append(parts, text)
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}
