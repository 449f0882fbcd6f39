package selftest

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/conffile"
)

// The file of the manual has every key.
func TestKeysAreThoseOfTheManual(t *testing.T) {
	text, err := os.ReadFile("../../docs/settings.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, found := strings.Cut(string(text), "```toml\n")
	block, _, ended := strings.Cut(after, "```")
	if !found || !ended {
		t.Fatal("docs/settings.md has no file")
	}
	f, err := conffile.Parse("config.toml", block, keys())
	if err != nil {
		t.Fatal(err)
	}
	if drivers := (&File{f}).Drivers(); len(drivers) != 1 || drivers[0] != "mysql" {
		t.Errorf("drivers %v", drivers)
	}
}

// status makes nodes of words: a state, a role and an access each.
func status(t *testing.T, texts ...string) (nodes []clustersql.NodeStatus) {
	t.Helper()
	for i, text := range texts {
		n := clustersql.NodeStatus{Name: fmt.Sprintf("n%d", i+1)}
		for _, word := range strings.Fields(text) {
			switch word {
			case "up":
				n.State = clustersql.StateUp
			case "down":
				n.State = clustersql.StateDown
			case "primary":
				n.Role = clustersql.RolePrimary
			case "replica":
				n.Role = clustersql.RoleReplica
			case "read-write":
				n.Access = clustersql.AccessReadWrite
			case "read-only":
				n.Access = clustersql.AccessReadOnly
			default:
				t.Fatalf("what is %s?", word)
			}
		}
		nodes = append(nodes, n)
	}
	return nodes
}

func TestWhatIsRequiredOfTheNodesTogether(t *testing.T) {
	for _, tc := range []struct {
		require  clustersql.Require
		postgres bool
		nodes    []string
		wrong    int
		writes   bool
	}{
		{clustersql.RequireReadWrite, true, []string{"up primary read-write", "down replica read-only"}, 0, true},
		{clustersql.RequireReadWrite, true, []string{"up primary read-write", "up primary read-write"}, 1, true},
		{clustersql.RequireReadWrite, true, []string{"down replica read-only", "down replica read-only"}, 1, true},
		{clustersql.RequireWritable, false, []string{"up primary read-write", "up primary read-write"}, 0, true}, // Galera
		{clustersql.RequirePrimary, true, []string{"up primary", "up primary"}, 1, true},
		{clustersql.RequireStandby, true, []string{"down primary read-write", "up replica read-only"}, 0, false},
		{clustersql.RequireStandby, true, []string{"down primary read-write"}, 1, false},
		{clustersql.RequireReadOnly, true, []string{"up replica read-only", "up replica read-only"}, 0, false},
		{clustersql.RequirePreferStandby, true, []string{"up primary read-write", "up replica read-only"}, 0, false},
		{clustersql.RequirePreferPrimary, true, []string{"up primary read-write", "up replica read-only"}, 0, true},
		{clustersql.RequireAny, true, []string{"up primary read-write", "up replica read-only"}, 0, false},
		{clustersql.RequireAny, true, []string{"up primary read-write", "down replica read-only"}, 0, true},
		{clustersql.RequireAny, false, []string{"up", "up"}, 0, true},
	} {
		c, nodes := &cluster{require: tc.require, postgres: tc.postgres}, status(t, tc.nodes...)
		if wrong := c.wrongRoles(nodes); len(wrong) != tc.wrong {
			t.Errorf("%s, %v: %q", tc.require, tc.nodes, wrong)
		}
		if got := c.writes(nodes); got != tc.writes {
			t.Errorf("%s, %v: writes is %t", tc.require, tc.nodes, got)
		}
	}
}

// Only a node that says what it is, and is down for that, is no fault.
func TestAnotherRoleIsNoFault(t *testing.T) {
	c := &cluster{require: clustersql.RequireReadWrite}
	for _, tc := range []struct {
		node, reason string
		other        bool
	}{
		{"down replica read-only", `read-only: require "read-write": the server takes no writes`, true},
		{"up replica read-only", "", false},
		{"down replica read-only", "refused: dial tcp", false},
		{"down", `configuration: require "read-write": the server does not say what it is`, false},
		{"down primary read-write", "role: n2 is the new primary: held until it is a standby", false},
	} {
		n := status(t, tc.node)[0]
		n.Reason = tc.reason
		if got := c.isOther(&n); got != tc.other {
			t.Errorf("%s, %s: %t", tc.node, tc.reason, got)
		}
	}
}
