package conffile

// originalTable is the array of tables in the original's file.
const originalTable = "Nodes"

var originalKeys = []string{"Name", "HostName", "Port", "UserName", "Password", "DBName"}

// parseOriginal checks an original file.
func parseOriginal(root section) (Cluster, error) {
	c := Cluster{Original: true, in: root}
	nodes, err := root.tables(originalTable, "[["+originalTable+"]]")
	if err != nil {
		return c, err
	}
	if len(nodes) == 0 {
		return c, root.wrongf(originalTable, "it is empty: write at least one [[%s]] with Name and HostName", originalTable)
	}
	for _, s := range nodes {
		s.what = originalTable
		n, err := parseOriginalNode(s)
		if err != nil {
			return c, err
		}
		if err := c.unique(n.in, "Name", n.Name); err != nil {
			return c, err
		}
		c.Nodes = append(c.Nodes, n)
	}
	return c, nil
}

func parseOriginalNode(s section) (Node, error) {
	s, err := s.folded(originalKeys...)
	if err != nil {
		return Node{}, err
	}
	if err := s.only(originalKeys...); err != nil {
		return Node{}, err
	}
	name, err := s.needed("Name", "give the node a name of its own")
	if err != nil {
		return Node{}, err
	}
	if err := s.noPassword("Name", name); err != nil {
		return Node{}, err
	}
	s.what = s.what + ": " + QuoteName(name)
	var n Account
	if n.Host, err = s.needed("HostName", "give the server's name or address"); err != nil {
		return Node{}, err
	}
	for key, field := range map[string]*string{"UserName": &n.User, "Password": &n.Password, "DBName": &n.DB} {
		if *field, err = s.text(key); err != nil {
			return Node{}, err
		}
	}
	if n.Port, err = originalPort(s); err != nil {
		return Node{}, err
	}
	return Node{Name: name, Account: &n, in: s}, nil
}

// originalPort returns the node's port, or 3306 if the file has none.
func originalPort(s section) (int, error) {
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
