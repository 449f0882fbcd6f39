// Package sqltext tells from the words of a statement what the statement may
// do. It does not parse SQL and changes no statement. In doubt each function
// gives the answer that lets the caller see the error.
//
// The package is pure: it has no goroutine, channel, lock or clock, and imports
// no other package of this module.
package sqltext

import "strings"

// Whole reports whether a server that refuses the statement has run nothing of
// it. The statement must have been sent alone. CALL and compound statements are
// not whole: their first half may be committed before the second is refused.
func Whole(query string) bool {
	word, rest, ok := firstWord(query)
	switch {
	case !ok:
		return false
	case isOneOf(word, "SELECT", "INSERT", "UPDATE", "DELETE", "REPLACE", "WITH", "SHOW", "DO"):
		return true
	case isOneOf(word, "SET"): // SET STATEMENT ... FOR runs another statement
		word, _, ok = firstWord(rest)
		return ok && !isOneOf(word, "STATEMENT")
	case isOneOf(word, "BEGIN"): // BEGIN NOT ATOMIC begins a compound statement
		word, rest, ok = firstWord(rest)
		if isOneOf(word, "WORK") {
			word, rest, ok = firstWord(rest)
		}
		return ok && word == "" && strings.Trim(rest, "; \t\r\n") == ""
	}
	return false
}

// Read reports whether the statement only reads, so that a cluster that is
// marked idempotent may run it again. single says that the statement was sent
// alone, whatever semicolons it has. What a stored function does cannot be
// seen.
func Read(query string, single bool) bool {
	word, _, ok := firstWord(query)
	switch {
	case !ok, !single && hasSecond(query):
		return false
	case isOneOf(word, "SHOW", "VALUES", "TABLE"):
		return true
	case isOneOf(word, "SELECT"):
		return !hasWord(query, "INTO")
	case isOneOf(word, "WITH"):
		return !hasWord(query, writes...)
	case isOneOf(word, "EXPLAIN", "DESCRIBE"):
		return !hasWord(query, "ANALYZE", "ANALYSE") || !hasWord(query, writes...)
	}
	return false
}

var writes = []string{"INSERT", "UPDATE", "DELETE", "REPLACE", "MERGE", "INTO", "CREATE", "REFRESH", "CALL", "EXECUTE", "DO"}

// MayBegin reports whether a statement may leave a transaction open without
// database/sql knowing. It is called after every statement. It therefore
// recognises the usual ones by three letters, and allocates nothing.
func MayBegin(query string, single bool) bool {
	if len(query) >= 3 {
		switch uint32(query[0]|0x20)<<16 | uint32(query[1]|0x20)<<8 | uint32(query[2]|0x20) {
		case 's'<<16 | 'e'<<8 | 'l', 'i'<<16 | 'n'<<8 | 's', 'u'<<16 | 'p'<<8 | 'd', 'd'<<16 | 'e'<<8 | 'l',
			'r'<<16 | 'e'<<8 | 'p', 'w'<<16 | 'i'<<8 | 't', 's'<<16 | 'h'<<8 | 'o':
			return !single && strings.IndexByte(query, ';') >= 0 && hasSecond(query)
		}
	}
	word, rest, ok := firstWord(query)
	switch {
	case !ok, !single && hasSecond(query), isOneOf(word, "BEGIN", "START", "XA"):
		return true
	case isOneOf(word, "SET"):
		return hasWord(rest, "AUTOCOMMIT")
	}
	return false
}

// hasSecond reports whether anything follows a semicolon. A semicolon in a
// string counts too.
func hasSecond(query string) bool {
	return strings.IndexByte(strings.TrimRight(query, "; \t\r\n"), ';') >= 0
}

// firstWord returns the first word after white space, opening brackets and
// comments, and what follows the word. The word is empty if something else is
// there. ok is false for a comment that a server may run, that has no end, or
// on whose end servers do not agree.
func firstWord(query string) (word, rest string, ok bool) {
	rest, ok = skip(query)
	n := 0
	for n < len(rest) && isWordByte(rest[n]) {
		n++
	}
	return rest[:n], rest[n:], ok
}

func skip(s string) (rest string, ok bool) {
	for {
		s = strings.TrimLeft(s, " \t\r\n\f\v(")
		var end int
		switch {
		case strings.HasPrefix(s, "/*"):
			body := s[2:]
			if end = strings.Index(body, "*/"); end < 0 {
				return "", false
			}
			if strings.HasPrefix(body, "!") || strings.HasPrefix(body, "M!") || strings.Contains(body[:end], "/*") {
				return "", false // the server runs it, or comments may nest
			}
			s = body[end+2:]
			continue
		case strings.HasPrefix(s, "#"), s == "--", len(s) > 2 && s[:2] == "--" && s[2] <= ' ':
			end = strings.IndexByte(s, '\n')
		default:
			return s, true
		}
		if end < 0 {
			return "", true
		}
		s = s[end:]
	}
}

// isWordByte reports whether c may be part of a word. Bytes above ASCII may.
func isWordByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '$' || c >= 0x80
}

func isOneOf(word string, words ...string) bool {
	for _, w := range words {
		if strings.EqualFold(word, w) {
			return true
		}
	}
	return false
}

// hasWord reports whether one of the words is anywhere in s. Words in a string
// or a comment count too.
func hasWord(s string, words ...string) bool {
	for i := 0; i < len(s); i++ {
		start := i
		for i < len(s) && isWordByte(s[i]) {
			i++
		}
		if i > start && isOneOf(s[start:i], words...) {
			return true
		}
	}
	return false
}
