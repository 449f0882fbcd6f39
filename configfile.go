package clustersql

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/EnumApps/clustersql/internal/redact"
)

// defaultConfigFile is read where neither the program nor the environment
// names another.
const defaultConfigFile = "config.toml"

// configFileVariable is the environment variable that names another file.
const configFileVariable = "DBCONFIG"

// A configFile is what a configuration file says, checked but for what
// depends on the environment and on the backends.
type configFile struct {
	clusters []clusterSpec
	selftest Selftest
}

// A clusterSpec describes one cluster.
type clusterSpec struct {
	in           section
	name, driver string
	cfg          Config
	nodes        []nodeSpec
}

// A nodeSpec describes one node. The DSN may have variables in it when raw is
// set, which expandDSNs clears.
type nodeSpec struct {
	in     section
	name   string
	dsn    string
	dsnKey string // what its mistakes are put down to; empty for a node without
	raw    bool
	opts   []NodeOption
}

// readConfigFile reads and checks a file; "" stands for the one that DBCONFIG
// names, or config.toml.
func readConfigFile(path string) (*configFile, error) {
	cure := "create it, or name another file"
	if path == "" {
		path = os.Getenv(configFileVariable)
		cure = "create it, or correct " + configFileVariable + ", which names it"
	}
	if path == "" {
		path = defaultConfigFile
		cure = "create it, or name another file with the environment variable " + configFileVariable
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
		return nil, &fileError{path: path, err: fmt.Errorf("%w: %s", err, cure)}
	}
	return parseConfigFile(path, string(data))
}

// parseConfigFile checks the text of a file. The path is for messages.
func parseConfigFile(path, text string) (*configFile, error) {
	values, err := decodeTOML(path, text)
	if err != nil {
		return nil, err
	}
	root, err := section{path, "", values, locate(text)}.folded(legacyTable)
	if err != nil {
		return nil, err
	}
	if err := root.only(append([]string{"cluster", "selftest", legacyTable}, settingKeys...)...); err != nil {
		return nil, err
	}
	f := &configFile{}
	if f.selftest, err = parseSelftest(root); err != nil {
		return nil, err
	}
	defaults := DefaultConfig()
	if err := root.settings(&defaults); err != nil {
		return nil, err
	}
	clusters, err := root.tables("cluster", "[[cluster]]")
	if err != nil {
		return nil, err
	}
	if _, legacy := root.values[legacyTable]; legacy {
		if len(clusters) > 0 {
			return nil, root.wrongf(legacyTable, "the file has clusters as well: write either [[%s]] for one cluster or [[cluster]]s", legacyTable)
		}
		c, err := parseLegacy(root, defaults)
		f.clusters = []clusterSpec{c}
		return f, err
	}
	return f, f.add(root, clusters, defaults)
}

// decodeTOML parses a file's text. A message about a line that might hold a
// secret does not quote from it.
func decodeTOML(path, text string) (values map[string]any, err error) {
	defer func() {
		if recover() != nil {
			err = &fileError{path: path, err: errors.New("it is not TOML: the decoder panicked")}
		}
	}()
	_, err = toml.Decode(text, &values)
	if err == nil {
		return values, nil
	}
	e := &fileError{path: path, err: errors.New("it is not TOML: " + strings.TrimPrefix(err.Error(), "toml: "))}
	var syntax toml.ParseError
	if errors.As(err, &syntax) {
		lines := strings.Split(text, "\n")
		e.line = min(max(syntax.Position.Line, 1), len(lines))
		_, value, _ := strings.Cut(lines[e.line-1], "=")
		if strings.ContainsAny(value, "@:") {
			syntax.Message = redact.New(strings.TrimSpace(value), nil, false).Text(syntax.Message)
		}
		e.err = fmt.Errorf("it is not TOML: %s: texts stand in quotes, each key = value in a line of its own", syntax.Message)
	}
	return nil, e
}

// add appends the clusters of a file in the present form.
func (f *configFile) add(root section, clusters []section, defaults Config) error {
	if len(clusters) == 0 {
		return &fileError{path: root.path, err: errors.New("it has no cluster: write a [[cluster]] with its name and at least one [[cluster.node]] with name and dsn")}
	}
	for _, s := range clusters {
		c, err := parseCluster(root, s, defaults)
		if err != nil {
			return err
		}
		if i := slices.IndexFunc(f.clusters, func(o clusterSpec) bool { return o.name == c.name }); i >= 0 {
			return c.in.wrongf("name", "line %d has a cluster of this name: rename one", f.clusters[i].in.at.key("name").line)
		}
		f.clusters = append(f.clusters, c)
	}
	return nil
}

// parseCluster checks one [[cluster]] of the file; the defaults are the
// settings that the root has.
func parseCluster(root, s section, defaults Config) (clusterSpec, error) {
	s.what = "cluster"
	c := clusterSpec{in: s, cfg: defaults}
	if err := s.only(append([]string{"name", "driver", "node"}, settingKeys...)...); err != nil {
		return c, err
	}
	var err error
	if c.name, err = s.needed("name", "give the cluster the name that sql.Open is to know it by"); err != nil {
		return c, err
	}
	c.in.what = fmt.Sprintf("cluster %q", c.name)
	if c.driver, err = c.in.text("driver"); err != nil {
		return c, err
	}
	if c.driver == "" {
		c.driver = "mysql"
	}
	if err := c.in.settings(&c.cfg); err != nil {
		return c, err
	}
	if err := c.cfg.validate(); err != nil {
		return c, conflict(err, c.in, root)
	}
	nodes, err := c.in.tables("node", "[[cluster.node]]")
	if err != nil {
		return c, err
	}
	return c, c.add(nodes)
}

// conflict returns the error for settings that do not go together, for the
// section it is about and those that it has its defaults from. Its line is
// that of the key if one of them has it, else of another key that the message
// names.
func conflict(err error, about section, defaults ...section) error {
	e, ok := err.(*SettingError)
	if !ok {
		return about.wrong("", err)
	}
	wrong := &fileError{about.path, about.at.line, about.label(e.Key), problem(err)}
	named := slices.DeleteFunc(slices.Clone(settingKeys), func(k string) bool { return !strings.Contains(e.Problem, k) })
	for _, key := range append([]string{e.Key}, named...) {
		for _, s := range append([]section{about}, defaults...) {
			if _, written := s.values[key]; written {
				wrong.line = s.at.key(key).line
				return wrong
			}
		}
	}
	return wrong
}

// add appends the nodes of a [[cluster]].
func (c *clusterSpec) add(nodes []section) error {
	if len(nodes) == 0 {
		return c.in.wrongf("node", "the cluster has no nodes: write at least one [[cluster.node]] with name and dsn")
	}
	for _, s := range nodes {
		s.what += ": node"
		if err := s.only("name", "dsn", priorityKey, weightKey); err != nil {
			return err
		}
		name, err := s.needed("name", "give the node a name of its own")
		if err != nil {
			return err
		}
		s.what = fmt.Sprintf("%s %q", s.what, name)
		dsn, err := s.needed("dsn", "give the DSN as the driver takes it")
		if err != nil {
			return err
		}
		if err := c.unique(s, "name", name); err != nil {
			return err
		}
		opts, err := s.nodeOptions()
		if err != nil {
			return err
		}
		c.nodes = append(c.nodes, nodeSpec{in: s, name: name, dsn: dsn, dsnKey: "dsn", raw: true, opts: opts})
	}
	return nil
}

// unique returns an error if the cluster has a node of the name.
func (c *clusterSpec) unique(s section, key, name string) error {
	for _, n := range c.nodes {
		if n.name == name {
			return s.wrongf(key, "line %d has a node of this name: rename one", n.in.at.key(key).line)
		}
	}
	return nil
}

// expandDSNs puts the variables' values into the DSNs.
func (f *configFile) expandDSNs(lookup func(string) (string, bool)) error {
	for _, c := range f.clusters {
		for i := range c.nodes {
			n := &c.nodes[i]
			if !n.raw {
				continue
			}
			dsn, err := expand(n.dsn, lookup)
			if err != nil {
				return n.in.wrong(n.dsnKey, err)
			}
			n.dsn, n.raw = dsn, false
		}
	}
	return nil
}
