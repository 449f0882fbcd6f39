// Package causal keeps what the calls of one session must see, whatever node they
// are sent to: positions in what a database replicates, and the session itself,
// which contexts carry.
//
// It has no goroutine, channel, lock or clock, and imports no other package of this
// module. What goroutines share is atomic.
package causal

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"strings"
)

// A Position is how much a node has of what is replicated: for each origin of
// changes a set of their numbers. An origin says of which database it is, so that
// positions of two databases have none in common. A Position is never changed. The
// zero Position knows nothing.
type Position struct{ parts []part } // sorted by origin, each origin once

// A part is what there is of one origin. Without spans it is nothing yet.
type part struct {
	origin string
	spans  []Span // sorted, apart from each other
}

// A Span is all numbers from From to To.
type Span struct{ From, To uint64 }

// At is the position of a node that has the changes 1 to n of an origin. Where n is
// 0, it has none of them.
func At(origin string, n uint64) Position {
	if n == 0 {
		return Of(origin)
	}
	return Of(origin, Span{1, n})
}

// Of is the position of a node that has these changes of an origin. Spans that end
// before they begin are left out.
func Of(origin string, spans ...Span) Position {
	spans = slices.DeleteFunc(slices.Clone(spans), func(s Span) bool { return s.To < s.From })
	slices.SortFunc(spans, func(a, b Span) int { return cmp.Compare(a.From, b.From) })
	return Position{[]part{{origin, joined(spans)}}}
}

// joined joins sorted spans that touch.
func joined(spans []Span) []Span {
	var all []Span
	for _, s := range spans {
		if n := len(all); n > 0 && (s.From <= all[n-1].To || s.From == all[n-1].To+1) {
			all[n-1].To = max(all[n-1].To, s.To)
			continue
		}
		all = append(all, s)
	}
	return all
}

// IsZero reports whether nothing is known.
func (p Position) IsZero() bool { return len(p.parts) == 0 }

// Origins calls f with each origin and its changes, until f returns false.
func (p Position) Origins(f func(origin string, spans []Span) bool) {
	for _, part := range p.parts {
		if !f(part.origin, part.spans) {
			return
		}
	}
}

// Union has all of what p or q has.
func (p Position) Union(q Position) Position {
	switch {
	case p.Has(q):
		return p
	case q.Has(p):
		return q
	}
	var all []part
	i, j := 0, 0
	for i < len(p.parts) || j < len(q.parts) {
		switch order := p.compareAt(i, q, j); {
		case order < 0:
			all = append(all, p.parts[i])
			i++
		case order > 0:
			all = append(all, q.parts[j])
			j++
		default:
			a, b := p.parts[i], q.parts[j]
			spans := slices.Concat(a.spans, b.spans)
			slices.SortFunc(spans, func(a, b Span) int { return cmp.Compare(a.From, b.From) })
			all = append(all, part{a.origin, joined(spans)})
			i, j = i+1, j+1
		}
	}
	return Position{all}
}

// compareAt compares the origins of two parts. There is none behind the last.
func (p Position) compareAt(i int, q Position, j int) int {
	switch {
	case i == len(p.parts):
		return 1
	case j == len(q.parts):
		return -1
	}
	return cmp.Compare(p.parts[i].origin, q.parts[j].origin)
}

// Has reports whether p has all of what q has, and knows all its origins.
func (p Position) Has(q Position) bool {
	i := 0
	for _, want := range q.parts {
		for i < len(p.parts) && p.parts[i].origin < want.origin {
			i++
		}
		if i == len(p.parts) || p.parts[i].origin != want.origin || !covers(p.parts[i].spans, want.spans) {
			return false
		}
	}
	return true
}

// covers reports whether all numbers of want are in have.
func covers(have, want []Span) bool {
	i := 0
	for _, w := range want {
		for i < len(have) && have[i].To < w.From {
			i++
		}
		if i == len(have) || have[i].From > w.From || have[i].To < w.To {
			return false
		}
	}
	return true
}

// Related reports whether p and q have an origin in common. Positions of one
// database do, once it has replicated anything.
func (p Position) Related(q Position) bool {
	for i, j := 0, 0; i < len(p.parts) && j < len(q.parts); {
		switch order := p.compareAt(i, q, j); {
		case order == 0:
			return true
		case order < 0:
			i++
		default:
			j++
		}
	}
	return false
}

// String returns the position as a text for [Parse], such as "pg/7312:1-42". It is
// made of letters, digits and -./:_~ unless an origin has others.
func (p Position) String() string {
	var b strings.Builder
	for i, part := range p.parts {
		if i > 0 {
			b.WriteByte('~')
		}
		b.WriteString(part.origin)
		for _, s := range part.spans {
			b.WriteByte(':')
			b.WriteString(strconv.FormatUint(s.From, 10))
			if s.To != s.From {
				b.WriteByte('-')
				b.WriteString(strconv.FormatUint(s.To, 10))
			}
		}
	}
	return b.String()
}

var errNoPosition = errors.New("it is no position")

// Parse reads what String writes. The empty text is the zero Position.
func Parse(text string) (Position, error) {
	var p Position
	if text == "" {
		return p, nil
	}
	for item := range strings.SplitSeq(text, "~") {
		origin, rest, some := strings.Cut(item, ":")
		if !isOrigin(origin) {
			return Position{}, errNoPosition
		}
		var spans []Span
		for some {
			var word string
			word, rest, some = strings.Cut(rest, ":")
			s, ok := parseSpan(word)
			if !ok {
				return Position{}, errNoPosition
			}
			spans = append(spans, s)
		}
		p = p.Union(Of(origin, spans...))
	}
	return p, nil
}

// isOrigin reports whether a text from outside may be an origin.
func isOrigin(text string) bool {
	return text != "" && strings.Trim(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-./_") == ""
}

func parseSpan(word string) (Span, bool) {
	first, last, ranged := strings.Cut(word, "-")
	if !ranged {
		last = first
	}
	from, errFrom := strconv.ParseUint(first, 10, 64)
	to, errTo := strconv.ParseUint(last, 10, 64)
	return Span{from, to}, errFrom == nil && errTo == nil && from > 0 && from <= to
}
