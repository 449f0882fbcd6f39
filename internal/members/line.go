package members

import (
	"fmt"
	"strings"
)

// When a change takes effect. The words are those of the root's Takes.
const (
	Live        = "live"
	Connections = "for new connections"
	Restart     = "at restart"
)

// Tune is the kind of a line about another priority or weight.
const Tune Kind = "tune"

// A Line says one thing that changes. Its fields are those of the root's Change, which
// can be converted to it and back.
type Line[K, W ~string] struct {
	Cluster string
	Node    string // empty for a change of the cluster
	Kind    K
	Setting string // of a change of a setting
	From    string // what was
	To      string // what is to be
	When    W
	Moves   int // connections that are closed because of it
}

// Lines returns the lines about one node. Their kinds are the words of a [Kind].
func Lines[K, W ~string](n *Change, cluster string) (all []Line[K, W]) {
	l := Line[K, W]{Cluster: cluster, Node: n.Name, Kind: K(n.Kind), When: Live, To: n.What}
	switch n.Kind {
	case Remove, Replace:
		l.Moves = n.Was.Conns
	case Password, Dial:
		l.When = Connections
	}
	if n.Kind != "" {
		all = append(all, l)
	}
	if n.Told {
		all = append(all, Line[K, W]{
			Cluster: cluster, Node: n.Name, Kind: K(Tune), When: Live,
			From: fmt.Sprintf("priority %d, weight %d", n.Was.Priority, n.Was.Share()),
			To:   fmt.Sprintf("priority %d, weight %d", n.Now.Priority, n.Now.Share()),
		})
	}
	return all
}

// what names what changes.
func (l Line[K, W]) what() string {
	if l.Setting != "" {
		return l.Setting
	}
	return string(l.Kind)
}

// Brief says in a few words what changes.
func (l Line[K, W]) Brief() string {
	text := l.what()
	if l.Node != "" {
		text += " " + l.Node
	}
	if l.When == Restart {
		text += " (at the restart)"
	}
	return text
}

// String returns the change as one line.
func (l Line[K, W]) String() string {
	where := l.Cluster
	if l.Node != "" {
		where += ": node " + l.Node
	}
	what := l.what()
	switch {
	case l.From != "" && l.To != "":
		what += " " + l.From + " -> " + l.To
	case l.To != "":
		what += " " + l.To
	case l.From != "":
		what += " " + l.From
	}
	moves := "moves no connection"
	switch l.Moves {
	case 0:
	case 1:
		moves = "moves 1 connection"
	default:
		moves = fmt.Sprintf("moves %d connections", l.Moves)
	}
	return fmt.Sprintf("%s: %s (%s; %s)", where, what, l.When, moves)
}

// summarised is how many changes a summary names.
const summarised = 8

// Summary says in a line what changes. brief returns the brief form of a change.
func Summary[C any](changes []C, brief func(c C) string) string {
	var named []string
	for i, c := range changes {
		if i == summarised {
			named = append(named, fmt.Sprintf("and %d more", len(changes)-i))
			break
		}
		named = append(named, brief(c))
	}
	return strings.Join(named, ", ")
}
