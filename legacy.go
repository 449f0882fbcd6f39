package clustersql

import (
	"fmt"

	"github.com/EnumApps/clustersql/internal/mysql"
)

// legacyTable is the array of tables in the original's config.toml.
const legacyTable = "Nodes"

var legacyKeys = []string{"Name", "HostName", "Port", "UserName", "Password", "DBName"}

// parseLegacy makes the original's file a cluster: mysql, of the default
// name. Its passwords are taken as they are, without variables.
func parseLegacy(root section, cfg Config) (clusterSpec, error) {
	c := clusterSpec{in: root, name: DefaultName, driver: "mysql", cfg: cfg}
	if err := cfg.validate(); err != nil {
		return c, conflict(err, root)
	}
	nodes, err := root.tables(legacyTable, "[["+legacyTable+"]]")
	if err != nil {
		return c, err
	}
	if len(nodes) == 0 {
		return c, root.wrongf(legacyTable, "it is empty: write at least one [[%s]] with Name and HostName", legacyTable)
	}
	for _, s := range nodes {
		s.what = legacyTable
		n, err := parseLegacyNode(s)
		if err != nil {
			return c, err
		}
		if err := c.unique(n.in, "Name", n.name); err != nil {
			return c, err
		}
		c.nodes = append(c.nodes, n)
	}
	return c, nil
}

func parseLegacyNode(s section) (nodeSpec, error) {
	s, err := s.folded(legacyKeys...)
	if err != nil {
		return nodeSpec{}, err
	}
	if err := s.only(legacyKeys...); err != nil {
		return nodeSpec{}, err
	}
	name, err := s.needed("Name", "give the node a name of its own")
	if err != nil {
		return nodeSpec{}, err
	}
	s.what = fmt.Sprintf("%s: %q", s.what, name)
	var n mysql.Account
	if n.Host, err = s.needed("HostName", "give the server's name or address"); err != nil {
		return nodeSpec{}, err
	}
	for key, field := range map[string]*string{"UserName": &n.User, "Password": &n.Password, "DBName": &n.DB} {
		if *field, err = s.text(key); err != nil {
			return nodeSpec{}, err
		}
	}
	if n.Port, err = legacyPort(s); err != nil {
		return nodeSpec{}, err
	}
	dsn, err := n.DSN()
	if err != nil {
		return nodeSpec{}, s.wrong("", err)
	}
	return nodeSpec{in: s, name: name, dsn: dsn}, nil
}

// legacyPort returns the node's port, mysql's where it has none.
func legacyPort(s section) (int, error) {
	v, ok := s.values["Port"]
	if !ok {
		return 3306, nil
	}
	port, ok := v.(int64)
	switch {
	case !ok:
		return 0, s.wrongf("Port", "it is %s: write a number without quotes, as in 3306", typeName(v))
	case port < 1 || port > 65535:
		return 0, s.wrongf("Port", "%d is no port: write one from 1 to 65535", port)
	}
	return int(port), nil
}
