package sqltext

import "strings"

// Pins reports whether the statement may leave a transaction open that
// database/sql knows nothing of, or state in the session: a setting, a user
// variable, a lock, a temporary table, a prepared statement. What is listed
// here is what cannot; all else may.
//
// It is asked after every statement, so it allocates nothing, and the usual
// statements are told by a few bytes.
func Pins(query string, single bool) bool {
	if !single && strings.IndexByte(query, ';') >= 0 && hasSecond(query) {
		return true
	}
	return !isUsual(query) && kindPins(query) ||
		strings.IndexByte(query, '@') >= 0 && setsVariable(query) ||
		strings.IndexByte(query, '(') >= 0 && (takesLock(query, 'k') || takesLock(query, 'K'))
}

// PinsPostgres reports whether a statement of PostgreSQL may leave state in the
// session where [Pins] does not see it: the function set_config, and a SELECT
// that makes a temporary table.
func PinsPostgres(query string) bool {
	if hasWord(query, "SET_CONFIG") {
		return true
	}
	word, rest, _ := firstWord(query)
	return isOneOf(word, "SELECT", "WITH", "VALUES", "TABLE") && hasWord(rest, "TEMP", "TEMPORARY", "PG_TEMP") && hasWord(rest, "INTO")
}

// isUsual reports whether the query begins with SELECT, INSERT, UPDATE or
// DELETE. Others are looked at word by word.
func isUsual(query string) bool {
	if len(query) < 6 || len(query) > 6 && isWordByte(query[6]) {
		return false
	}
	first := uint32(query[0])<<24 | uint32(query[1])<<16 | uint32(query[2])<<8 | uint32(query[3])
	last := uint32(query[4])<<8 | uint32(query[5])
	switch first | 0x20202020 { // in lower case
	case 's'<<24 | 'e'<<16 | 'l'<<8 | 'e':
		return last|0x2020 == 'c'<<8|'t'
	case 'i'<<24 | 'n'<<16 | 's'<<8 | 'e':
		return last|0x2020 == 'r'<<8|'t'
	case 'u'<<24 | 'p'<<16 | 'd'<<8 | 'a', 'd'<<24 | 'e'<<16 | 'l'<<8 | 'e':
		return last|0x2020 == 't'<<8|'e'
	}
	return false
}

// kindPins reports whether a statement of this kind may pin. COMMIT and
// ROLLBACK are not listed: by completion_type they begin the next transaction.
func kindPins(query string) bool {
	word, rest, ok := firstWord(query)
	var upper [8]byte
	if !ok || len(word) > len(upper) {
		return true
	}
	for i := range len(word) {
		upper[i] = word[i]
		if 'a' <= word[i] && word[i] <= 'z' {
			upper[i] -= 'a' - 'A'
		}
	}
	switch string(upper[:len(word)]) {
	case "SELECT", "INSERT", "UPDATE", "DELETE", "REPLACE", "WITH", "SHOW", "VALUES", "TABLE",
		"ALTER", "DROP", "TRUNCATE", "RENAME", "GRANT", "REVOKE", "CHECK", "CHECKSUM", "OPTIMIZE", "REPAIR", "KILL":
		return false
	case "CREATE", "EXPLAIN", "DESCRIBE", "DESC", "ANALYZE":
		return hasWord(rest, "TEMPORARY", "TEMP", "PG_TEMP")
	case "DO":
		return isBlock(rest)
	case "SET":
		return setPins(rest)
	case "FLUSH": // FLUSH TABLES ... WITH READ LOCK, FLUSH TABLES ... FOR EXPORT
		return hasWord(rest, "LOCK", "EXPORT")
	case "LOAD":
		word, _, ok = firstWord(rest)
		return !ok || !isOneOf(word, "DATA", "XML", "INDEX")
	case "": // white space and comments alone run nothing
		return strings.Trim(rest, "; \t\r\n") != ""
	}
	return true
}

// setPins reports whether a SET may pin, by what follows the word. SET
// STATEMENT ... FOR sets variables for one statement, and that one may pin.
func setPins(rest string) bool {
	word, settings, ok := firstWord(rest)
	if !ok || !isOneOf(word, "STATEMENT") {
		return true
	}
	for word, after := nextWord(settings, 0); after >= 0; word, after = nextWord(settings, after) {
		if isOneOf(word, "FOR") { // in a string, a bracket or a comment it is not the one
			statement := settings[after:]
			word, _, _ = firstWord(statement)
			return strings.ContainsAny(settings[:after], "'\"`#(/-") || isOneOf(word, "SET") || kindPins(statement)
		}
	}
	return true
}

// setsVariable reports whether the statement may set a user variable, by := or
// by INTO. LOAD DATA has an INTO too, and reads rows into variables.
func setsVariable(query string) bool {
	if strings.Contains(query, ":=") {
		return true
	}
	word, rest, _ := firstWord(query)
	seen := isOneOf(word, "INSERT", "REPLACE") // the first INTO is their own
	for word, after := nextWord(rest, 0); after >= 0; word, after = nextWord(rest, after) {
		if len(word) == len("INTO") && isOneOf(word, "INTO") {
			if !seen {
				return true
			}
			seen = false
		}
	}
	return false
}

// takesLock reports whether a function is named that takes a lock for the
// session. Each has "_lock" in its name; k is the last letter of that, which
// few statements have.
func takesLock(query string, k byte) bool {
	for i := 4; i < len(query); i++ {
		n := strings.IndexByte(query[i:], k)
		if n < 0 {
			return false
		}
		i += n
		if query[i-4] == '_' && strings.EqualFold(query[i-3:i], "loc") && isOneOf(wordAround(query, i), lockTakers...) {
			return true
		}
	}
	return false
}

var lockTakers = []string{
	"GET_LOCK",
	"SERVICE_GET_READ_LOCKS", "SERVICE_GET_WRITE_LOCKS", "VERSION_TOKENS_LOCK_SHARED", "VERSION_TOKENS_LOCK_EXCLUSIVE",
	"PG_ADVISORY_LOCK", "PG_ADVISORY_LOCK_SHARED", "PG_TRY_ADVISORY_LOCK", "PG_TRY_ADVISORY_LOCK_SHARED",
}

// wordAround returns the word of which the byte at i is a part.
func wordAround(s string, i int) string {
	from := i
	for from > 0 && isPlainByte(s[from-1]) {
		from--
	}
	word, _ := nextWord(s, from)
	return word
}
