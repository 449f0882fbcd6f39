// Package redact takes the secrets of a node out of texts. It cannot find a
// secret by itself: the dialect says which parts of a DSN are secret.
//
// The package is pure: it has no goroutine, channel, lock or clock, and imports
// no other package of this module.
package redact

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Mark replaces each secret in a text.
const Mark = "***"

// minSecret is the length in bytes from which a secret is taken out wherever it
// stands. A shorter one is taken out only if it is a word of its own. If it
// were taken out of the middle of a word, the missing letters would give it
// away.
const minSecret = 4

// minLong is the length in bytes from which a value that may be a secret is
// taken out wherever it stands. A shorter one is taken out only if it is a word
// of its own: it may as well be a common word.
const minLong = 8

// A Redactor takes the secrets of one node out of texts. The secrets are the
// DSN and the passwords in it: as they are, URL-escaped, URL-unescaped, as %q and
// %+q show them, and as JSON. If the form of the DSN cannot be read, its parts are
// secrets too: every run of 4 bytes or more that begins and ends at a separator.
//
// What Text returns holds no password of 4 bytes or more. A password of 1 to 3
// bytes may remain as part of a longer word. The zero Redactor has no secrets
// and changes nothing.
type Redactor struct{ secrets []secret }

// A secret is a text of which some runs are to be taken out.
type secret struct {
	text string
	cuts []int // where a run may begin and end: ascending, from 0 to len(text)
	// inWords is the length in bytes from which a run goes within a longer word
	// too.
	inWords int
}

// New returns the Redactor for a node's DSN. secrets are parts of the DSN that
// must not be shown, each by itself. With known they are all of them. Without
// known, New works out what is secret from the form of the DSN. If that is not
// one of the usual forms, any part of the DSN may be a secret.
func New(dsn string, secrets []string, known bool) Redactor {
	var r Redactor
	for _, s := range secrets {
		r.add(s, nil, minSecret)
	}
	if !known {
		pairs, parsed := secretPairs(dsn)
		if !parsed {
			r.add(dsn, separations(dsn), minSecret)
			return r
		}
		for _, p := range pairs {
			if p.isPassword() {
				r.add(p.value, nil, minSecret)
			} else {
				r.add(p.value, nil, minLong)
			}
		}
	}
	if len(dsn) >= minSecret {
		r.add(dsn, nil, minSecret)
	}
	return r
}

// add adds every form of a text as a secret, with the given cuts.
func (r *Redactor) add(text string, cuts []int, inWords int) {
	if text == "" {
		return
	}
	seen := make(map[string]bool)
	for _, plain := range plainForms {
		for _, written := range writtenForms {
			s := transform(text, cuts, func(part string) string { return written(plain(part)) })
			s.inWords = inWords
			if s.text != "" && !seen[s.text] {
				seen[s.text] = true
				r.secrets = append(r.secrets, s)
			}
		}
	}
}

// plainForms are what a backend may read a part of a DSN as.
var plainForms = []func(string) string{
	func(s string) string { return s },
	func(s string) string { return unescaped(s, url.PathUnescape) },
	func(s string) string { return unescaped(s, url.QueryUnescape) },
	withoutBackslashes,
}

// writtenForms are how a message may then write that part.
var writtenForms = []func(string) string{
	func(s string) string { return s },
	url.PathEscape,
	url.QueryEscape,
	func(s string) string { return url.User(s).String() },
	func(s string) string { return inner(strconv.Quote(s)) },
	func(s string) string { return inner(strconv.QuoteToASCII(s)) },
	func(s string) string { return inner(asJSON(s)) },
}

func unescaped(s string, unescape func(string) (string, error)) string {
	if u, err := unescape(s); err == nil {
		return u
	}
	return s
}

// withoutBackslashes removes each backslash that escapes the next character, as
// in the values of a key=value DSN.
func withoutBackslashes(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' {
			if i++; i == len(s) {
				break
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func asJSON(s string) string {
	text, _ := json.Marshal(s) // never fails for a string
	return string(text)
}

func inner(quoted string) string { return quoted[1 : len(quoted)-1] }

// transform applies a form to each part between the cuts.
func transform(text string, cuts []int, form func(string) string) secret {
	var b strings.Builder
	s := secret{cuts: []int{0}}
	from := 0
	for _, to := range append(cuts[:len(cuts):len(cuts)], len(text)) {
		if to <= from {
			continue
		}
		b.WriteString(form(text[from:to]))
		if n := b.Len(); n > s.cuts[len(s.cuts)-1] {
			s.cuts = append(s.cuts, n)
		}
		from = to
	}
	s.text = b.String()
	return s
}

// separations returns where a DSN's separators begin and end. Every ASCII
// character separates, except letters, digits and the characters that are
// common within names and escapes.
func separations(dsn string) []int {
	separates := func(b byte) bool {
		return b < utf8.RuneSelf && !('a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9') &&
			!strings.ContainsRune(`.-_~%+\`, rune(b))
	}
	var cuts []int
	for i := 1; i < len(dsn); i++ {
		if separates(dsn[i-1]) || separates(dsn[i]) {
			cuts = append(cuts, i)
		}
	}
	return cuts
}

// Error returns the text of err without the secrets. For nil it returns "".
func (r Redactor) Error(err error) string {
	if err == nil {
		return ""
	}
	return r.Text(fmt.Sprint(err)) // the methods of a driver's error may panic
}

// Text returns s without the secrets. Secrets that overlap or touch are
// replaced by one mark. If taking one out forms another one from the rest, that
// one is taken out too. If that does not end, the mark alone is returned.
func (r Redactor) Text(s string) string {
	if len(r.secrets) == 0 {
		return s
	}
	for range 3 {
		s = r.pass(s)
		if !r.leaks(s) {
			return s
		}
	}
	return Mark
}

// pass replaces the secrets that it finds in s, once.
func (r Redactor) pass(s string) string {
	var b strings.Builder
	end := 0 // of what has been written or taken out
	for i := range len(s) {
		n := r.match(s, i)
		if n == 0 {
			continue
		}
		if i > end || end == 0 {
			b.WriteString(s[end:i])
			b.WriteString(Mark)
		}
		end = max(end, i+n)
	}
	b.WriteString(s[end:])
	return b.String()
}

// leaks reports whether s holds a secret outside the marks themselves.
func (r Redactor) leaks(s string) bool {
	for i := range len(s) {
		n := r.match(s, i)
		if n > len(Mark) || strings.Trim(s[i:i+n], "*") != "" {
			return true
		}
	}
	return false
}

// match returns the length of the longest run to take out that begins at s[i:].
// It returns 0 if there is none.
func (r Redactor) match(s string, i int) int {
	longest := 0
	for _, secret := range r.secrets {
		if n := secret.match(s[i:]); n > longest && (n >= secret.inWords && !secret.isSyntax(s[i:i+n]) || isWord(s, i, i+n)) {
			longest = n
		}
	}
	return longest
}

// match returns the length of the longest run that s begins with. If the secret
// has parts, runs shorter than minSecret do not count. It skips runs that
// cannot be longer than the longest found: else texts that repeat themselves
// would take too long.
func (c secret) match(s string) int {
	longest := 0
	for _, from := range c.cuts[:len(c.cuts)-1] {
		if min(len(c.text)-from, len(s)) <= longest {
			break
		}
		if c.text[from] != s[0] || c.text[from+longest] != s[longest] {
			continue
		}
		common := commonPrefix(c.text[from:], s)
		i, found := slices.BinarySearch(c.cuts, from+common)
		if !found {
			i-- // from is a cut, so there is one before
		}
		if n := c.cuts[i] - from; n >= minSecret || len(c.cuts) == 2 {
			longest = max(longest, n)
		}
	}
	return longest
}

// isSyntax reports whether a run of a text with parts is one of the words that
// DSNs are made of. Such a word goes only where it is a word of its own.
func (c secret) isSyntax(run string) bool {
	return len(c.cuts) > 2 && syntaxWords[strings.ToLower(run)]
}

func commonPrefix(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// isWord reports whether s[from:to] is a word of its own: no letter, digit or
// underscore comes directly before or after it.
func isWord(s string, from, to int) bool {
	partOfWord := func(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) }
	before, _ := utf8.DecodeLastRuneInString(s[:from])
	after, _ := utf8.DecodeRuneInString(s[to:])
	return !partOfWord(before) && !partOfWord(after)
}
