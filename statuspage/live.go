package statuspage

import (
	"encoding/json"
	"strconv"
)

// news returns what a page needs that has shown the given version, as JSON: the
// cells that have changed since. Of a page that shows other names it says so by
// the shape, and the page loads itself again. All viewers of a version share
// what is returned.
//
//	{"shape": "…", "version": 17, "now": 1764460800000, "rows": {"3": {"state": "down"}}}
func (f *frame) news(from uint64) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.encoded == nil || f.from != from {
		f.encoded, f.from = f.encode(from), from
	}
	return f.encoded
}

func (f *frame) encode(from uint64) []byte {
	room := 512 + 64*len(f.rows)
	if from == 0 { // all cells
		room += 1200 * len(f.rows)
	}
	b := append(make([]byte, 0, room), `{"shape":`...)
	b = appendQuoted(b, f.shape)
	b = append(b, `,"version":`...)
	b = strconv.AppendUint(b, f.version, 10)
	b = append(b, `,"now":`...)
	b = strconv.AppendInt(b, f.snap.Time.UnixMilli(), 10)
	b = append(b, `,"rows":{`...)
	first := true
	for i := range f.rows {
		b, first = f.rows[i].encode(b, i, from, first)
	}
	b = append(b, '}')
	return append(appendEvents(b, f.eventsAfter(from)), '}')
}

// encode appends the cells that have changed since a version.
func (r *row) encode(b []byte, number int, from uint64, firstRow bool) ([]byte, bool) {
	first := true
	for i, since := range r.since {
		if since <= from {
			continue
		}
		switch {
		case !first:
			b = append(b, ',')
		case !firstRow:
			b = append(b, ',')
			fallthrough
		default:
			b = append(b, '"')
			b = strconv.AppendInt(b, int64(number), 10)
			b = append(b, `":{`...)
		}
		first = false
		b = append(b, '"')
		b = append(b, r.keys[i]...) // which need no escapes
		b = append(b, `":`...)
		b = appendQuoted(b, r.values[i])
	}
	if first {
		return b, firstRow
	}
	return append(b, '}'), false
}

// appendQuoted appends a text as a JSON string.
func appendQuoted(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			quoted, _ := json.Marshal(s) // no error: it is a string
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
