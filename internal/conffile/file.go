// Package conffile reads config.toml and the file of the original clustersql.
// It checks tables, keys, names and variables, and knows the line of each for
// its errors. It does not know what a setting means: the caller says which keys
// there are, and judges their values.
//
// It has no goroutine, channel, lock or clock. Read reads a file and an
// environment variable; all else is pure. The root imports it. It imports only
// package redact, and is the only package of clustersql that imports toml.
package conffile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
)

const (
	// DefaultPath is the file that is read if neither the program nor the
	// environment names one.
	DefaultPath = "config.toml"
	// PathVariable is the environment variable that names another file.
	PathVariable = "DBCONFIG"
)

// Keys names the keys of settings. A file may have those of Settings at its top
// and in a cluster, and those of Node in a node.
type Keys struct{ Settings, Node []string }

// A File is what a configuration file says. It is checked, except for the
// meaning of its settings and for what depends on the environment.
type File struct {
	Settings []Setting // the defaults of all clusters
	Clusters []Cluster // at least one
	Selftest Selftest

	root section
}

// Path returns the path from which the file was read.
func (f *File) Path() string { return f.root.path }

// A Cluster is one [[cluster]], or the whole of an original file.
type Cluster struct {
	Name, Driver string // Name is empty for an original file
	Settings     []Setting
	Nodes        []Node // at least one; their names differ
	Original     bool   // it comes from an original file

	in section
}

// A Node is one [[cluster.node]] with a DSN, or one entry of an original file
// with an account.
type Node struct {
	Name     string
	DSN      string // may contain variables until [File.Expand]
	Account  *Account
	Settings []Setting

	in section
}

// An Account is what an original file says about a node.
type Account struct {
	Host               string
	Port               int
	User, Password, DB string
}

// A Setting is a key with its value, in the type that the TOML decoder gives.
type Setting struct {
	Key   string
	Value any

	in section
}

// Wrong returns err as an error about the setting, with its line.
func (s Setting) Wrong(err error) error { return s.in.wrong(s.Key, err) }

// Wrong returns err as an error about a key of the cluster, with its line. An
// empty key stands for the cluster as a whole. In an original file, so does a
// key that is not written.
func (c *Cluster) Wrong(key string, err error) error {
	if _, written := c.in.values[key]; !written && c.Original {
		key = ""
	}
	return c.in.wrong(key, err)
}

// Wrong returns err as an error about the node's DSN, with its line.
func (n *Node) Wrong(err error) error {
	if n.Account != nil {
		return n.in.wrong("", err)
	}
	return n.in.wrong("dsn", err)
}

// Conflict returns err as an error about settings of a cluster that do not go
// together. It names the first key; err is to name the others. Its line is that
// of the first key that is written, in the cluster or at the top of the file.
func (f *File) Conflict(c *Cluster, err error, keys ...string) error {
	wrong := &Mistake{Path: c.in.path, Line: c.in.at.line, What: c.in.label(keys[0]), Err: err, drop: c.in.dropping("")}
	for _, key := range keys {
		for _, s := range []section{c.in, f.root} {
			if _, written := s.values[key]; written {
				wrong.Line, wrong.Err, wrong.drop = s.at.key(key).line, s.withoutValue(key, err), s.dropping(key)
				return wrong
			}
		}
	}
	return wrong
}

// Read reads and checks a file. If path is empty, it reads the file that the
// environment variable [PathVariable] names, or else [DefaultPath]. The error
// is a [*Mistake] and holds no secret.
func Read(path string, keys Keys) (*File, error) {
	text, path, err := ReadText(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, text, keys)
}

// ReadText returns the text of the file that Read reads, and the path under which it
// was found.
func ReadText(path string) (text, found string, err error) {
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
		return "", path, &Mistake{Path: path, Err: fmt.Errorf("%w: %s", err, cure)}
	}
	return string(data), path, nil
}

// Parse does what Read does, for the text of a file. path is used in messages
// only.
func Parse(path, text string, keys Keys) (*File, error) {
	values, err := decodeTOML(path, text)
	if err != nil {
		return nil, err
	}
	return parse(path, text, values, keys)
}

// parse checks what the decoder has made of a text.
func parse(path, text string, values map[string]any, keys Keys) (f *File, err error) {
	f = &File{}
	if f.root, err = (section{path: path, values: values, at: locate(text), secrets: secretsOf(values)}).folded(originalTable); err != nil {
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

// add appends the file's clusters.
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
	if err := s.noPassword("name", c.Name); err != nil {
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

// add appends the cluster's nodes.
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
		if err := s.noPassword("name", name); err != nil {
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

// unique returns an error if the cluster already has a node of this name.
func (c *Cluster) unique(s section, key, name string) error {
	for _, n := range c.Nodes {
		if n.Name == name {
			return s.wrongf(key, "line %d has a node of this name: rename one", n.in.at.key(key).line)
		}
	}
	return nil
}

// Expand replaces the variables in the DSNs by the values that lookup finds.
// Accounts of an original file are left as they are.
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
