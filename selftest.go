package clustersql

// Selftest is what a configuration file says to the tests that run against
// the clusters in it. Programs have no use for it.
type Selftest struct {
	// Throwaway is true where the tests start nodes of their own, and set the
	// environment variables that the file's DSNs have in them.
	Throwaway bool
	// Table names an existing table that the tests may write to and clean up
	// again. Without it they only read, but on throwaway nodes.
	Table string
}

func parseSelftest(root section) (t Selftest, err error) {
	v, ok := root.values["selftest"]
	if !ok {
		return t, nil
	}
	values, ok := v.(map[string]any)
	if !ok {
		return t, root.wrongf("selftest", "it is %s: write [selftest]", typeName(v))
	}
	s := section{root.path, "selftest", values, root.at.key("selftest")}
	if err := s.only("throwaway", "table"); err != nil {
		return t, err
	}
	if t.Throwaway, err = s.flag("throwaway"); err != nil {
		return t, err
	}
	t.Table, err = s.text("table")
	return t, err
}

// readSelftest reads this table alone of the file that [Load] would read. The
// file is checked but for its variables, so those may be set afterwards.
func readSelftest(path string) (Selftest, error) {
	f, err := readConfigFile(path)
	if err != nil {
		return Selftest{}, err
	}
	return f.selftest, nil
}
