package conffile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/EnumApps/clustersql/internal/redact"
)

// A Mistake is an error in a configuration file.
type Mistake struct {
	Path string // of the file
	Line int    // 0 for the file as a whole
	What string // the cluster, node and key; may be empty
	Err  error  // what is wrong and how to cure it; holds no secret

	// drop takes what is wrong out of the decoded file, so that the rest can be
	// judged without it. It is nil if nothing would be left. follows is true for
	// what is only wrong because of what was dropped before.
	drop    func()
	follows bool
}

// Error gives file, line, place, error and cure.
func (e *Mistake) Error() string {
	var b strings.Builder
	b.WriteString("clustersql: " + e.Path)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
	}
	if e.What != "" {
		b.WriteString(": " + e.What)
	}
	return b.String() + ": " + e.Err.Error()
}

// Unwrap returns Err.
func (e *Mistake) Unwrap() error { return e.Err }

// A section is one table of a configuration file.
type section struct {
	path   string // of the file
	what   string // the cluster and node; empty for the file itself
	values map[string]any
	at     *place

	secrets []redact.Redactor // of the whole file
	from    map[string]any    // what the decoder gave, where values is a copy; else nil
}

// wrong returns err as an error about a key, with its line. An empty key stands
// for the section.
func (s section) wrong(key string, err error) error {
	return &Mistake{Path: s.path, Line: s.at.key(key).line, What: s.label(key), Err: s.withoutValue(key, err), drop: s.dropping(key)}
}

// label names a key for messages.
func (s section) label(key string) string {
	if s.what == "" || key == "" {
		return s.what + key
	}
	return s.what + ": " + key
}

func (s section) wrongf(key, format string, args ...any) error {
	return s.wrong(key, fmt.Errorf(format, args...))
}

// keys returns the keys in the order of the file.
func (s section) keys() []string {
	keys := make([]string, 0, len(s.values))
	for k := range s.values {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b string) int {
		if d := s.at.key(a).line - s.at.key(b).line; d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	return keys
}

// only returns an error for the first key that is not among the known ones. The
// error gives the line and not the key, which may be a secret out of its place.
func (s section) only(known ...string) error {
	for _, k := range s.keys() {
		if !slices.Contains(known, k) {
			what := s.what
			if s.mayName(k) {
				what = s.label(k)
			}
			return &Mistake{Path: s.path, Line: s.at.key(k).line, What: what, drop: s.dropping(k),
				Err: fmt.Errorf("unknown key: the keys here are %s", strings.Join(known, ", "))}
		}
	}
	return nil
}

// mayName reports whether an unknown key may be named in a message: it looks
// like a mistyped key, and is no part of a secret of the file.
func (s section) mayName(key string) bool {
	return len(key) <= 24 && strings.IndexFunc(key, func(r rune) bool { return !isLetter(r) && r != '-' && r != '_' }) < 0 &&
		!slices.ContainsFunc(s.secrets, func(r redact.Redactor) bool { return r.Text(key) != key })
}

// text returns the text of a key, or "" if the key is missing.
func (s section) text(key string) (string, error) {
	v, ok := s.values[key]
	if !ok {
		return "", nil
	}
	text, err := Text(v)
	if err != nil {
		return "", s.wrong(key, err)
	}
	return text, nil
}

// needed is like text, but a missing or empty key is an error.
func (s section) needed(key, cure string) (string, error) {
	text, err := s.text(key)
	if err == nil && text == "" {
		err = s.wrongf(key, "it is missing or empty: %s", cure)
	}
	return text, err
}

// noPassword returns an error if a name is a DSN with a password: names are
// shown.
func (s section) noPassword(key, name string) error {
	if redact.HoldsPassword(name) {
		return s.wrongf(key, "it is a DSN with a password, and names are shown: give a name of another kind, and the DSN at the key of its own")
	}
	return nil
}

// flag returns the boolean of a key, or false if the key is missing.
func (s section) flag(key string) (bool, error) {
	v, ok := s.values[key]
	if !ok {
		return false, nil
	}
	b, err := Bool(v)
	if err != nil {
		return false, s.wrong(key, err)
	}
	return b, nil
}

// tables returns an array of tables, or nil if the key is missing. header is
// how the array's tables begin in a file, for messages.
func (s section) tables(key, header string) ([]section, error) {
	v, ok := s.values[key]
	if !ok {
		return nil, nil
	}
	var tables []map[string]any
	switch v := v.(type) {
	case []map[string]any:
		tables = v
	case []any:
		for _, item := range v {
			if t, ok := item.(map[string]any); ok {
				tables = append(tables, t)
			}
		}
		if len(tables) < len(v) {
			return nil, s.wrongf(key, "it is an array of something else than tables: write %s", header)
		}
	default:
		return nil, s.wrongf(key, "it is %s and not an array of tables: write %s", typeName(v), header)
	}
	var sections []section
	for i, t := range tables {
		if !isDropped(t) {
			sections = append(sections, section{path: s.path, what: s.what, values: t, at: s.at.key(key).item(i), secrets: s.secrets})
		}
	}
	if len(sections) == 0 && len(tables) > 0 {
		return nil, s.nothingLeft()
	}
	return sections, nil
}

// settings returns the section's settings that are among the known ones, in the
// order of the file.
func (s section) settings(known []string) []Setting {
	var settings []Setting
	for _, k := range s.keys() {
		if slices.Contains(known, k) {
			settings = append(settings, Setting{k, s.values[k], s})
		}
	}
	return settings
}

// folded returns the section with its keys spelled as in names, in whatever
// case the file has them. The decoder of the original ignored case too.
func (s section) folded(names ...string) (section, error) {
	f := section{
		path: s.path, what: s.what, values: make(map[string]any), at: &place{line: s.at.line, keys: make(map[string]*place)},
		secrets: s.secrets, from: s.values,
	}
	for _, k := range s.keys() {
		name := k
		if i := slices.IndexFunc(names, func(n string) bool { return strings.EqualFold(n, k) }); i >= 0 {
			name = names[i]
		}
		if _, twice := f.values[name]; twice {
			return f, s.wrongf(k, "it is there twice: take one out")
		}
		f.values[name], f.at.keys[name] = s.values[k], s.at.key(k)
	}
	return f, nil
}
