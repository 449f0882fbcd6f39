package conffile

// A Selftest is what a file says to the tests that run against its clusters.
type Selftest struct {
	Throwaway bool   // the tests start nodes of their own, and set the file's variables
	Table     string // an existing table that the tests may write to; may be empty
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
	s := section{path: root.path, what: "selftest", values: values, at: root.at.key("selftest"), secrets: root.secrets}
	if err := s.only("throwaway", "table"); err != nil {
		return t, err
	}
	if t.Throwaway, err = s.flag("throwaway"); err != nil {
		return t, err
	}
	t.Table, err = s.text("table")
	return t, err
}
