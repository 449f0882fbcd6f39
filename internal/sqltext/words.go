package sqltext

import "strings"

// blanks are the bytes that part words.
const blanks = " \t\r\n\f\v"

// firstWord returns the first word after white space, opening brackets and
// comments, and what follows it. The word is empty where something else is
// there. It is not ok where a comment is no comment, or has no end, or where
// servers do not agree on its end.
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
		s = strings.TrimLeft(s, blanks+"(")
		switch {
		case strings.HasPrefix(s, "/*"):
			body := s[2:]
			end := strings.Index(body, "*/")
			if end < 0 {
				return "", false
			}
			if strings.HasPrefix(body, "!") || strings.HasPrefix(body, "M!") || strings.Contains(body[:end], "/*") {
				return "", false // the server runs it, or comments nest there
			}
			s = body[end+2:]
		case strings.HasPrefix(s, "#"), s == "--", len(s) > 2 && s[:2] == "--" && s[2] <= ' ':
			line := s
			if end := strings.IndexByte(s, '\n'); end >= 0 {
				line, s = s[:end], s[end:]
			} else {
				s = ""
			}
			if strings.IndexByte(strings.TrimSuffix(line, "\r"), '\r') >= 0 {
				return "", false // it ends the comment, or does not
			}
		default:
			return s, true
		}
	}
}

// hasSecond reports whether anything follows a semicolon, be it in a string.
func hasSecond(query string) bool {
	return strings.IndexByte(strings.TrimRight(query, "; \t\r\n"), ';') >= 0
}

// One reports whether nothing follows a semicolon, be it in a string.
func One(query string) bool { return !hasSecond(query) }

// isBlock reports whether what follows DO is, or may be, the code of a block
// instead of an expression.
func isBlock(rest string) bool {
	word, rest, ok := firstWord(rest)
	return !ok || isOneOf(word, "LANGUAGE") || strings.IndexByte(word, '$') >= 0 ||
		word == "" && (rest == "" || strings.IndexByte("'\"$", rest[0]) >= 0)
}

// isWordByte reports whether c may be in a word; bytes above ASCII may.
func isWordByte(c byte) bool { return isPlainByte(c) || c == '$' || c >= 0x80 }

// isPlainByte reports whether c may be in a word of the grammar.
func isPlainByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_'
}

func isOneOf(word string, words ...string) bool {
	for _, w := range words {
		if len(word) == len(w) && strings.EqualFold(word, w) {
			return true
		}
	}
	return false
}

// hasWord reports whether one of the words is anywhere in s, be it in a
// string or a comment.
func hasWord(s string, words ...string) bool {
	for word, after := nextWord(s, 0); after >= 0; word, after = nextWord(s, after) {
		if isOneOf(word, words...) {
			return true
		}
	}
	return false
}

// nextWord returns the next word at or after from, and where it ends; that is
// -1 where there is none. Digits before a word are left out: they are the
// version in an executable comment. Bytes above ASCII part words, because in
// some character sets they are blanks.
func nextWord(s string, from int) (word string, after int) {
	for from < len(s) && (!isPlainByte(s[from]) || isDigit(s[from])) {
		from++
	}
	after = from
	for after < len(s) && isPlainByte(s[after]) {
		after++
	}
	if after == from {
		return "", -1
	}
	return s[from:after], after
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// mayFollow reports whether c is the next byte, or whether a comment may stand
// before it. The blanks and the end of a quoted name are passed over.
func mayFollow(rest string, c byte) bool {
	rest = strings.TrimLeft(rest, blanks+"`\"")
	return rest != "" && (rest[0] == c || strings.IndexByte("/-#", rest[0]) >= 0)
}
