// Package members compares the nodes that a cluster has with those that it is to have,
// and tells in lines what changes. It is plain data: nothing is dialled and nothing changes.
//
// The root and discovery import the package; it imports conffile and dialect.
package members

import (
	"cmp"
	"database/sql/driver"
	"fmt"
	"io"
	"reflect"
	"slices"

	"github.com/EnumApps/clustersql/internal/conffile"
	"github.com/EnumApps/clustersql/internal/dialect"
)

// A Node is a node that a cluster has or is to have, as it is configured. It is printed
// without its DSN, in every form.
type Node struct {
	Name      string
	DSN       string
	Connector driver.Connector // instead of a DSN
	Priority  int
	Weight    int    // 0 stands for 1
	Conns     int    // open connections, where the cluster has the node
	Addr      string // where it is dialled, instead of where the DSN leads; empty: there
	Origin    string // who wants it
}

// Format prints the name, for every verb.
func (n Node) Format(s fmt.State, _ rune) { io.WriteString(s, "node "+n.Name) }

// Share is the weight, or 1 if none is given.
func (n *Node) Share() int {
	if n.Weight == 0 {
		return 1
	}
	return n.Weight
}

// A Present is a node that a cluster has, or is about to have.
type Present struct {
	Node
	Own       *Node // the node that works until this one is up; else nil
	Departing bool  // the node is about to leave
}

// Format prints the name, for every verb.
func (p Present) Format(s fmt.State, verb rune) { p.Node.Format(s, verb) }

// Kind is the kind of a [Change]. The words are those of the root's ChangeKind.
type Kind string

const (
	Add      Kind = "add"
	Remove   Kind = "remove"
	Replace  Kind = "replace"
	Password Kind = "password"
	Dial     Kind = "dial"
	Keep     Kind = "keep"
)

// A Change is what changes about one node.
type Change struct {
	Name  string
	Kind  Kind // empty if Tuned is all
	Tuned bool // another priority or weight, or somebody else asks for the node
	Told  bool // another priority or weight
	Was   Present
	Now   Node
	What  string // of a Replace: what differs, without secrets
}

// Compare returns the changes from the nodes that a cluster has to others, sorted by
// name. d is the dialect of their DSNs. remade says that connectors are made in another
// way.
func Compare(d dialect.Dialect, old []Present, wanted []Node, remade bool) []Change {
	var all []Change
	byName := make(map[string]*Node, len(wanted))
	for i := range wanted {
		byName[wanted[i].Name] = &wanted[i]
	}
	for _, was := range old {
		now, stays := byName[was.Name]
		delete(byName, was.Name)
		switch {
		case stays:
			if ch := compare(d, was, *now, remade); ch.Kind != "" || ch.Tuned {
				all = append(all, ch)
			}
		case !was.Departing:
			all = append(all, Change{Name: was.Name, Kind: Remove, Was: was})
		}
	}
	for name, now := range byName {
		all = append(all, Change{Name: name, Kind: Add, Now: *now})
	}
	slices.SortFunc(all, func(a, b Change) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// compare compares one node with what it is to be.
func compare(d dialect.Dialect, was Present, now Node, remade bool) Change {
	ch := Change{Name: was.Name, Was: was, Now: now}
	ch.Told = was.Priority != now.Priority || was.Share() != now.Share()
	ch.Tuned = ch.Told || was.Origin != now.Origin
	same := func(a, b *Node) bool {
		return a.Addr == b.Addr && sameConnector(a.Connector, b.Connector) && (a.DSN == b.DSN || a.Connector == nil && d.Same(a.DSN, b.DSN))
	}
	switch {
	case was.Own != nil && same(was.Own, &now), was.Departing && same(&was.Node, &now):
		ch.Kind = Keep
	case same(&was.Node, &now):
		if remade && now.Connector == nil {
			ch.Kind = Dial
		}
	case was.Addr == now.Addr && now.Connector == nil && was.Connector == nil && d.Renewed(was.DSN, now.DSN):
		ch.Kind = Password
	default:
		ch.Kind, ch.What = Replace, whatDiffers(d, &was.Node, &now)
	}
	return ch
}

// sameConnector compares two connectors. Those that cannot be compared, or that hold
// what cannot be, are never the same.
func sameConnector(a, b any) bool {
	if a == nil || b == nil {
		return a == b
	}
	return reflect.ValueOf(a).Comparable() && reflect.ValueOf(b).Comparable() && a == b
}

// whatDiffers names what differs between two DSNs, without secrets.
func whatDiffers(d dialect.Dialect, was, now *Node) string {
	if was.Connector != nil || now.Connector != nil {
		return "another connector"
	}
	before, known := d.Host(was.DSN)
	after, also := d.Host(now.DSN)
	if was.Addr != "" {
		before = was.Addr
	}
	if now.Addr != "" {
		after = now.Addr
	}
	if known && also && before != after {
		return conffile.QuoteName(before) + " by " + conffile.QuoteName(after)
	}
	return "the DSN by one with another user, database or parameter"
}

// ChangeOf returns the change of the node of a name, or nil. The changes are sorted by
// name.
func ChangeOf(all []Change, name string) *Change {
	i, found := slices.BinarySearchFunc(all, name, func(c Change, name string) int { return cmp.Compare(c.Name, name) })
	if !found {
		return nil
	}
	return &all[i]
}
