package conffile

import (
	"cmp"
	"errors"
	"slices"
)

// most bounds the mistakes that are looked for.
const most = 1000

// Mistakes returns every mistake of a file, in the order of its lines. more judges
// what this package does not know; it is called again and again, with less of the
// file each time. A mistake that hides others, such as one of the syntax, is the
// last one that is found.
func Mistakes(path string, keys Keys, more func(*File) error) []error {
	text, path, err := ReadText(path)
	if err != nil {
		return []error{err}
	}
	values, err := decodeTOML(path, text)
	if err != nil {
		return []error{err}
	}
	var found []*Mistake
	for range most {
		f, err := parse(path, text, values, keys)
		if err == nil {
			err = more(f)
		}
		var m *Mistake
		switch {
		case err == nil:
			return inOrder(found, nil)
		case !errors.As(err, &m) || m.drop == nil:
			return inOrder(found, err)
		default:
			if !m.follows {
				found = append(found, m)
			}
			m.drop()
		}
	}
	return inOrder(found, nil)
}

// inOrder returns the mistakes in the order of their lines, and then the last.
func inOrder(found []*Mistake, last error) []error {
	slices.SortStableFunc(found, func(a, b *Mistake) int { return cmp.Compare(a.Line, b.Line) })
	var all []error
	for _, m := range found {
		all = append(all, m)
	}
	var m *Mistake
	if last != nil && !(errors.As(last, &m) && m.follows) {
		all = append(all, last)
	}
	return all
}

// essential are the keys without which a table is of no use.
var essential = []string{"name", "dsn", "driver", "Name", "HostName", "Port", "node", "cluster", originalTable}

// droppedTable stands at the empty key of a table that is left out.
type droppedTable struct{}

func isDropped(table map[string]any) bool { return table[""] == any(droppedTable{}) }

// dropping returns what leaves a key out of the section, or the whole section if
// it is of no use without the key. It is nil for what the file itself needs.
func (s section) dropping(key string) func() {
	values := s.from
	if values == nil {
		values = s.values
	}
	if _, written := values[key]; written && !slices.Contains(essential, key) {
		return func() { delete(values, key) }
	}
	if s.what == "" {
		return nil
	}
	return func() { values[""] = droppedTable{} }
}

// nothingLeft is the error of a section whose tables have all been left out: no
// mistake of its own.
func (s section) nothingLeft() error {
	return &Mistake{Path: s.path, Line: s.at.line, What: s.what, Err: errors.New("nothing of it is left"), drop: s.dropping(""), follows: true}
}
