package conffile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/EnumApps/clustersql/internal/redact"
)

// A Mistake is one in a configuration file.
type Mistake struct {
	Path string // of the file
	Line int    // 0 for the file as a whole
	What string // which cluster, node and key; may be empty
	Err  error  // what is wrong and the cure; holds no secret
}

// Error gives file, line, place and cure.
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

// Unwrap returns what is wrong.
func (e *Mistake) Unwrap() error { return e.Err }

// A section is one table of a configuration file.
type section struct {
	path   string // of the file
	what   string // which cluster and node it is; empty for the file itself
	values map[string]any
	at     *place

	secrets []redact.Redactor // of the whole file
}

// wrong returns the error for a key, at its line. An empty key stands for the
// section.
func (s section) wrong(key string, err error) error {
	return &Mistake{s.path, s.at.key(key).line, s.label(key), s.withoutValue(key, err)}
}

// label names a key for people.
func (s section) label(key string) string {
	if s.what == "" || key == "" {
		return s.what + key
	}
	return s.what + ": " + key
}

func (s section) wrongf(key, format string, args ...any) error {
	return s.wrong(key, fmt.Errorf(format, args...))
}

// keys returns the keys in the file's order.
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
			return &Mistake{s.path, s.at.key(k).line, s.what, fmt.Errorf("unknown key: the keys here are %s", strings.Join(known, ", "))}
		}
	}
	return nil
}

// text returns a key's text, and "" where the key is missing.
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

// needed is text for a key that must be there and have one.
func (s section) needed(key, cure string) (string, error) {
	text, err := s.text(key)
	if err == nil && text == "" {
		err = s.wrongf(key, "it is missing or empty: %s", cure)
	}
	return text, err
}

// flag returns a key's boolean, and false where the key is missing.
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

// tables returns an array of tables, and nothing where the key is missing.
// The header is how a file writes it.
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
		return nil, s.wrongf(key, "it is %s and not an array of tables: write %s", TypeName(v), header)
	}
	sections := make([]section, len(tables))
	for i, t := range tables {
		sections[i] = section{s.path, s.what, t, s.at.key(key).item(i), s.secrets}
	}
	return sections, nil
}

// settings returns the section's settings, of those that are known, in the
// file's order.
func (s section) settings(known []string) []Setting {
	var settings []Setting
	for _, k := range s.keys() {
		if slices.Contains(known, k) {
			settings = append(settings, Setting{k, s.values[k], s})
		}
	}
	return settings
}

// folded returns the section with its keys as they are in names, whatever
// case they are in: the decoder that the original used did not mind.
func (s section) folded(names ...string) (section, error) {
	f := section{s.path, s.what, make(map[string]any), &place{line: s.at.line, keys: make(map[string]*place)}, s.secrets}
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
