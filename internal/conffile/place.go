package conffile

import (
	"strconv"
	"strings"
)

// A place says on which line of a TOML text a value is, and on which lines the
// values inside it are. It is needed because the decoder gives positions only
// for mistakes of syntax.
type place struct {
	line  int // from 1; 0 for the whole text
	keys  map[string]*place
	items []*place // of an array
}

// key returns the place of a table's key. If the key is not written, it returns
// the table's own place.
func (p *place) key(k string) *place {
	if child, ok := p.keys[k]; ok {
		return child
	}
	return p
}

// item returns the place of an array's item, or the array's own place if there
// is no such item.
func (p *place) item(i int) *place {
	if i < len(p.items) {
		return p.items[i]
	}
	return p
}

// child returns the place of a key. A new one is made, at the given line.
func (p *place) child(k string, line int) *place {
	if child, ok := p.keys[k]; ok {
		return child
	}
	if p.keys == nil {
		p.keys = make(map[string]*place)
	}
	p.keys[k] = &place{line: line}
	return p.keys[k]
}

// append adds an item at the given line.
func (p *place) append(line int) *place {
	p.items = append(p.items, &place{line: line})
	return p.items[len(p.items)-1]
}

// last returns the table that a header continues: the last item of an array, or
// the table itself.
func (p *place) last() *place {
	if len(p.items) > 0 {
		return p.items[len(p.items)-1]
	}
	return p
}

// locate returns the places of a TOML text that the decoder has accepted. For
// other texts it also returns, but the result is of no use.
func locate(text string) *place {
	root := &place{}
	s := scanner{text: strings.TrimPrefix(text, "\xef\xbb\xbf"), line: 1}
	table := root
	for s.blank(); s.rest() != ""; s.blank() {
		before := s.pos
		if s.peek() == '[' {
			table = s.header(root)
		} else {
			s.assignment(table)
		}
		if s.pos == before {
			s.pos++
		}
	}
	return root
}

// A scanner reads a TOML text and counts its lines.
type scanner struct {
	text string
	pos  int
	line int
}

func (s *scanner) rest() string { return s.text[s.pos:] }

// peek returns the next byte, or 0 at the end.
func (s *scanner) peek() byte {
	if s.pos < len(s.text) {
		return s.text[s.pos]
	}
	return 0
}

// skip advances by n bytes and counts the lines in them.
func (s *scanner) skip(n int) {
	n = min(n, len(s.text)-s.pos)
	s.line += strings.Count(s.text[s.pos:s.pos+n], "\n")
	s.pos += n
}

// take skips the next byte if it is b, and reports whether it did.
func (s *scanner) take(b byte) bool {
	if s.peek() != b || s.rest() == "" {
		return false
	}
	s.skip(1)
	return true
}

// blank skips white space, line ends and comments.
func (s *scanner) blank() {
	for s.rest() != "" {
		switch s.peek() {
		case ' ', '\t', '\r', '\n':
			s.skip(1)
		case '#':
			s.until("\n")
		default:
			return
		}
	}
}

// space skips white space within a line.
func (s *scanner) space() {
	for s.take(' ') || s.take('\t') {
	}
}

// until skips to the first of the given bytes and returns what was skipped.
func (s *scanner) until(stops string) string {
	n := strings.IndexAny(s.rest(), stops)
	if n < 0 {
		n = len(s.rest())
	}
	skipped := s.rest()[:n]
	s.skip(n)
	return skipped
}

// header reads [a.b] or [[a.b]] and returns the place of the table that it
// opens.
func (s *scanner) header(root *place) *place {
	line := s.line
	s.take('[')
	array := s.take('[')
	keys := s.path("]")
	s.take(']')
	if array {
		s.take(']')
	}
	table := root
	for i, k := range keys {
		table = table.child(k, line)
		if array && i == len(keys)-1 {
			return table.append(line)
		}
		table = table.last()
	}
	if len(keys) > 0 && len(table.keys) == 0 {
		table.line = line
	}
	return table
}

// assignment reads key = value.
func (s *scanner) assignment(table *place) {
	line := s.line
	for _, k := range s.path("=") {
		table = table.child(k, line)
	}
	if s.take('=') {
		s.space()
		s.value(table)
	}
}

// path reads the parts of a dotted key. It stops before the byte end.
func (s *scanner) path(end string) []string {
	var keys []string
	for {
		s.space()
		switch s.peek() {
		case '"', '\'':
			keys = append(keys, s.quoted())
		case '.':
			s.skip(1)
		case 0, '\r', '\n', '#', end[0]:
			return keys
		default:
			keys = append(keys, s.until(" \t\r\n.\"'#"+end))
		}
	}
}

// value reads any value.
func (s *scanner) value(at *place) {
	switch s.peek() {
	case '"', '\'':
		s.quoted()
	case '[':
		s.skip(1)
		for s.blank(); s.rest() != "" && !s.take(']'); s.blank() {
			before := s.pos
			s.value(at.append(s.line))
			s.blank()
			s.separator(before)
		}
	case '{':
		s.skip(1)
		for s.blank(); s.rest() != "" && !s.take('}'); s.blank() {
			before := s.pos
			s.assignment(at)
			s.blank()
			s.separator(before)
		}
	default:
		s.until(",]}#\n")
	}
}

// separator skips the comma after a value. If nothing was read since before, it
// skips one byte, so that the scan always ends.
func (s *scanner) separator(before int) {
	if !s.take(',') && s.pos == before {
		s.skip(1)
	}
}

// quoted reads a string of any of the four kinds and returns what is in it.
func (s *scanner) quoted() string {
	quote := s.rest()[:1]
	if triple := strings.Repeat(quote, 3); strings.HasPrefix(s.rest(), triple) {
		s.skip(3)
		from := s.pos
		for s.rest() != "" && !strings.HasPrefix(s.rest(), triple) {
			s.character(quote)
		}
		text := s.text[from:s.pos]
		s.skip(3)
		for s.take(quote[0]) { // up to two quotes may come before the end
		}
		return text
	}
	s.skip(1)
	from := s.pos
	for s.rest() != "" && s.peek() != quote[0] && s.peek() != '\n' {
		s.character(quote)
	}
	text := s.text[from:s.pos]
	s.take(quote[0])
	if plain, err := strconv.Unquote(`"` + text + `"`); quote == `"` && err == nil {
		return plain
	}
	return text
}

// character skips one byte, or two where a backslash escapes the second.
func (s *scanner) character(quote string) {
	if quote == `"` && s.peek() == '\\' {
		s.skip(1)
	}
	s.skip(1)
}
