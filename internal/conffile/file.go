// Package conffile reads config.toml, and the file of the original clustersql:
// their tables and keys, with the line of each. What a setting means is the
// caller's to say.
package conffile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
)

const (
	// DefaultPath is read where neither the program nor the environment names
	// another file.
	DefaultPath = "config.toml"
	// PathVariable is the environment variable that names another file.
	PathVariable = "DBCONFIG"
)

// Keys are the keys of settings. A file may have Settings at its top and in a
// cluster, and Node in a node.
type Keys struct{ Settings, Node []string }

// A File is what a configuration file says, checked but for the meaning of its
// settings and for what depends on the environment.
type File struct {
	Settings []Setting // the defaults of all clusters
	Clusters []Cluster // at least one
	Selftest Selftest

	root section
}

// A Cluster is one [[cluster]], or the whole of the original's file.
type Cluster struct {
	Name, Driver string // the name is empty for the original's file
	Settings     []Setting
	Nodes        []Node // at least one, with names that differ
	Original     bool   // it is the original's file

	in section
}

// A Node is one [[cluster.node]] with a DSN, or an entry of the original's file
// with an account.
type Node struct {
	Name     string
	DSN      string // may have variables in it until [File.Expand]
	Account  *Account
	Settings []Setting

	in section
}

// An Account is what the original's file says of a node.
type Account struct {
	Host               string
	Port               int
	User, Password, DB string
}

// A Setting is a key with its value as the TOML decoder gives it.
type Setting struct {
	Key   string
	Value any

	in section
}

// Wrong returns the error for the setting, at its line.
func (s Setting) Wrong(err error) error { return s.in.wrong(s.Key, err) }

// Wrong returns the error for a key of the cluster, at its line. An empty key,
// or one that the cluster does not have, stands for the cluster as a whole.
func (c *Cluster) Wrong(key string, err error) error {
	if _, written := c.in.values[key]; !written && c.Original {
		key = ""
	}
	return c.in.wrong(key, err)
}

// Wrong returns the error for the node's DSN, at its line.
func (n *Node) Wrong(err error) error {
	if n.Account != nil {
		return n.in.wrong("", err)
	}
	return n.in.wrong("dsn", err)
}

// Conflict returns the error for settings of a cluster that do not go together.
// It is about the first key, and the others are named in it. Its line is that
// of the first of them which is written, in the cluster or at the top.
func (f *File) Conflict(c *Cluster, err error, keys ...string) error {
	wrong := &Mistake{c.in.path, c.in.at.line, c.in.label(keys[0]), err}
	for _, key := range keys {
		for _, s := range []section{c.in, f.root} {
			if _, written := s.values[key]; written {
				wrong.Line = s.at.key(key).line
				return wrong
			}
		}
	}
	return wrong
}

// Read reads and checks a file. An empty path stands for the file that the
// environment variable [PathVariable] names, or else for [DefaultPath]. The
// error is a [*Mistake], and holds no secret.
func Read(path string, keys Keys) (*File, error) {
	cure := "create it, or name another file"
	if path == "" {
		path = os.Getenv(PathVariable)
		cure = "create it, or correct " + PathVariable + ", which names it"
	}
	if path == "" {
		path = DefaultPath
		cure = "create it, or name another file with the environment variable " + PathVariable
	}
	data, err := os.ReadFile(path)
	if err != nil {
		if info, statErr := os.Stat(path); statErr == nil && info.IsDir() {
			err, cure = errors.New("it is a directory"), "name the file in it"
		}
		var e *fs.PathError
		if errors.As(err, &e) {
			err = e.Err
		}
		return nil, &Mistake{Path: path, Err: fmt.Errorf("%w: %s", err, cure)}
	}
	return Parse(path, string(data), keys)
}

// Parse is Read for the text of a file. The path is for messages.
func Parse(path, text string, keys Keys) (*File, error) {
	values, err := decodeTOML(path, text)
	if err != nil {
		return nil, err
	}
	f := &File{}
	if f.root, err = (section{path, "", values, locate(text), secretsOf(values)}).folded(originalTable); err != nil {
		return nil, err
	}
	if err := f.root.only(append([]string{"cluster", "selftest", originalTable}, keys.Settings...)...); err != nil {
		return nil, err
	}
	if f.Selftest, err = parseSelftest(f.root); err != nil {
		return nil, err
	}
	f.Settings = f.root.settings(keys.Settings)
	clusters, err := f.root.tables("cluster", "[[cluster]]")
	if err != nil {
		return nil, err
	}
	if _, original := f.root.values[originalTable]; original {
		if len(clusters) > 0 {
			return nil, f.root.wrongf(originalTable, "the file has clusters as well: write either [[%s]] for one cluster or [[cluster]]s", originalTable)
		}
		c, err := parseOriginal(f.root)
		if err != nil {
			return nil, err
		}
		f.Clusters = []Cluster{c}
		return f, nil
	}
	return f, f.add(clusters, keys)
}

// add appends the clusters of a file.
func (f *File) add(clusters []section, keys Keys) error {
	if len(clusters) == 0 {
		return &Mistake{Path: f.root.path, Err: errors.New("it has no cluster: write a [[cluster]] with its name and at least one [[cluster.node]] with name and dsn")}
	}
	for _, s := range clusters {
		c, err := parseCluster(s, keys)
		if err != nil {
			return err
		}
		if i := slices.IndexFunc(f.Clusters, func(o Cluster) bool { return o.Name == c.Name }); i >= 0 {
			return c.in.wrongf("name", "line %d has a cluster of this name: rename one", f.Clusters[i].in.at.key("name").line)
		}
		f.Clusters = append(f.Clusters, c)
	}
	return nil
}

// parseCluster checks one [[cluster]].
func parseCluster(s section, keys Keys) (Cluster, error) {
	s.what = "cluster"
	c := Cluster{in: s}
	if err := s.only(append([]string{"name", "driver", "node"}, keys.Settings...)...); err != nil {
		return c, err
	}
	var err error
	if c.Name, err = s.needed("name", "give the cluster the name that sql.Open is to know it by"); err != nil {
		return c, err
	}
	c.in.what = "cluster " + QuoteName(c.Name)
	if c.Driver, err = c.in.text("driver"); err != nil {
		return c, err
	}
	c.Settings = c.in.settings(keys.Settings)
	nodes, err := c.in.tables("node", "[[cluster.node]]")
	if err != nil {
		return c, err
	}
	return c, c.add(nodes, keys)
}

// add appends the nodes of a [[cluster]].
func (c *Cluster) add(nodes []section, keys Keys) error {
	if len(nodes) == 0 {
		return c.in.wrongf("node", "the cluster has no nodes: write at least one [[cluster.node]] with name and dsn")
	}
	for _, s := range nodes {
		s.what += ": node"
		if err := s.only(append([]string{"name", "dsn"}, keys.Node...)...); err != nil {
			return err
		}
		name, err := s.needed("name", "give the node a name of its own")
		if err != nil {
			return err
		}
		s.what = s.what + " " + QuoteName(name)
		dsn, err := s.needed("dsn", "give the DSN as the driver takes it")
		if err != nil {
			return err
		}
		if err := c.unique(s, "name", name); err != nil {
			return err
		}
		c.Nodes = append(c.Nodes, Node{Name: name, DSN: dsn, Settings: s.settings(keys.Node), in: s})
	}
	return nil
}

// unique returns an error if the cluster has a node of the name.
func (c *Cluster) unique(s section, key, name string) error {
	for _, n := range c.Nodes {
		if n.Name == name {
			return s.wrongf(key, "line %d has a node of this name: rename one", n.in.at.key(key).line)
		}
	}
	return nil
}

// Expand puts the values of variables into the DSNs, where lookup finds them.
// Passwords of the original's file are taken as they are.
func (f *File) Expand(lookup func(name string) (value string, found bool)) error {
	for _, c := range f.Clusters {
		for i := range c.Nodes {
			n := &c.Nodes[i]
			if n.Account != nil {
				continue
			}
			dsn, err := expand(n.DSN, lookup)
			if err != nil {
				return n.Wrong(err)
			}
			n.DSN = dsn
		}
	}
	return nil
}
