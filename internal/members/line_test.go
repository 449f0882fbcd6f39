package members

import (
	"strings"
	"testing"
)

// A line says where and what changes, from what to what, and what that moves.
func TestLines(t *testing.T) {
	n := Change{Name: "n1", Kind: Replace, Told: true, What: "a by b", Was: Present{Node: Node{Conns: 3}}, Now: Node{Priority: 1, Weight: 2}}
	var all []string
	for _, l := range Lines[string, string](&n, "c") {
		all = append(all, l.String(), l.Brief())
	}
	want := []string{
		"c: node n1: replace a by b (live; moves 3 connections)", "replace n1",
		"c: node n1: tune priority 0, weight 1 -> priority 1, weight 2 (live; moves no connection)", "tune n1",
	}
	if strings.Join(all, "\n") != strings.Join(want, "\n") {
		t.Errorf("%q", all)
	}
	n = Change{Name: "n1", Kind: Password, Was: Present{Node: Node{Conns: 3}}}
	if l := Lines[string, string](&n, "c"); len(l) != 1 || l[0].String() != "c: node n1: password (for new connections; moves no connection)" {
		t.Errorf("%v", l)
	}
	set := Line[string, string]{Cluster: "c", Kind: "setting", Setting: "rise", From: "1", When: Restart, Moves: 1}
	if set.String() != "c: rise 1 (at restart; moves 1 connection)" || set.Brief() != "rise (at the restart)" {
		t.Errorf("%s, %s", set, set.Brief())
	}
}

// A summary names the first changes.
func TestSummary(t *testing.T) {
	name := func(s string) string { return s }
	if s := Summary(strings.Split("abcdefgh", ""), name); s != "a, b, c, d, e, f, g, h" {
		t.Error(s)
	}
	if s := Summary(strings.Split("abcdefghij", ""), name); s != "a, b, c, d, e, f, g, h, and 2 more" {
		t.Error(s)
	}
}
