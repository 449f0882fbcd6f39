package prometheus

import (
	dto "github.com/prometheus/client_model/go"
)

// Labels of hundreds of nodes are the same in every scrape. They are made once
// and kept while the node is there.

// A cluster has the labels of one cluster.
type cluster struct {
	id    string
	plain []*dto.LabelPair
	more  map[[2]string][]*dto.LabelPair // with one more label
	nodes map[string]*node               // by name
}

func newCluster(id string) *cluster {
	return &cluster{id: id, plain: pairs("cluster", id), more: make(map[[2]string][]*dto.LabelPair)}
}

func (c *cluster) with(name, value string) []*dto.LabelPair {
	return kept(c.more, [2]string{name, value}, func() []*dto.LabelPair { return pairs("cluster", c.id, name, value) })
}

// A node has the labels of one node.
type node struct {
	cluster, name string

	plain               []*dto.LabelPair
	states              [len(states)][]*dto.LabelPair
	used, idle, retired []*dto.LabelPair
	won, lost           []*dto.LabelPair
	passed, failed      []*dto.LabelPair
	more                map[[2]string][]*dto.LabelPair // others, once they are needed
}

func newNode(cluster, name string) *node {
	n := &node{cluster: cluster, name: name, plain: pairs("cluster", cluster, "node", name), more: make(map[[2]string][]*dto.LabelPair)}
	with := func(label, value string) []*dto.LabelPair { return append(n.plain[:2:2], pair(label, value)) }
	for i, st := range states {
		n.states[i] = with("state", st.String())
	}
	n.used, n.idle, n.retired = with("state", "used"), with("state", "idle"), with("state", "retired")
	n.won, n.lost = with("result", "won"), with("result", "lost")
	n.passed, n.failed = with("result", "ok"), with("result", "error")
	return n
}

// with returns the labels with one more, whose name comes after "node".
func (n *node) with(name, value string) []*dto.LabelPair {
	return kept(n.more, [2]string{name, value}, func() []*dto.LabelPair { return append(n.plain[:2:2], pair(name, value)) })
}

func (n *node) class(class string) []*dto.LabelPair {
	return kept(n.more, [2]string{"class", class}, func() []*dto.LabelPair { return pairs("class", class, "cluster", n.cluster, "node", n.name) })
}

func (n *node) change(cause, to string) []*dto.LabelPair {
	return kept(n.more, [2]string{"to " + to, cause}, func() []*dto.LabelPair {
		return pairs("cause", cause, "cluster", n.cluster, "node", n.name, "to", to)
	})
}

func kept(all map[[2]string][]*dto.LabelPair, key [2]string, make func() []*dto.LabelPair) []*dto.LabelPair {
	l := all[key]
	if l == nil {
		l = make()
		all[key] = l
	}
	return l
}

// pairs returns labels. The names must be in the order of the alphabet.
func pairs(namesAndValues ...string) []*dto.LabelPair {
	all := make([]*dto.LabelPair, 0, len(namesAndValues)/2)
	for i := 0; i < len(namesAndValues); i += 2 {
		all = append(all, pair(namesAndValues[i], namesAndValues[i+1]))
	}
	return all
}

func pair(name, value string) *dto.LabelPair { return &dto.LabelPair{Name: &name, Value: &value} }
