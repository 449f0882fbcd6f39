// Package sqltext tells from the words of a statement what the statement may
// do. It does not parse SQL and changes no statement.
//
// The first word says what kind of statement it is. Everything else is whether
// a word is there at all, also in a string, a quoted name or a comment. So no
// sql_mode changes an answer, and what is in an executable comment counts. In
// doubt each function gives the answer that lets the caller see the error. It
// cannot see what a stored function or a trigger does.
//
// The package is pure: it has no goroutine, channel, lock or clock, and imports
// no other package of this module.
package sqltext

import "strings"

// Whole reports whether a server that refuses the statement, which was sent
// alone, has run nothing of it. CALL and compound statements may commit their
// first half and be refused at the second.
func Whole(query string) bool {
	word, rest, ok := firstWord(query)
	switch {
	case !ok:
		return false
	case isOneOf(word, "SELECT", "WITH"): // a file of the server is not taken back
		return !hasWord(rest, "OUTFILE", "DUMPFILE")
	case isOneOf(word, "INSERT", "UPDATE", "DELETE", "REPLACE", "SHOW"):
		return true
	case isOneOf(word, "DO"):
		return !isBlock(rest)
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

// Read reports whether the statement only reads, so that a cluster marked
// idempotent may run it again on another connection. single says that it was
// sent alone, whatever semicolons are in it.
//
// A SELECT that locks rows is no read, though outside a transaction its locks
// end with it: who sends it means to write next.
func Read(query string, single bool) bool {
	word, rest, ok := firstWord(query)
	switch {
	case !ok, Pins(query, single), Leans(query), changes(query):
		return false
	case isOneOf(word, "SHOW"):
		return true
	case isOneOf(word, "SELECT", "VALUES", "TABLE"):
		return !hasWord(rest, "INTO", "UPDATE", "SHARE", "PROCEDURE", "INSERT", "DELETE", "MERGE")
	case isOneOf(word, "WITH"):
		return !hasWord(rest, writes...)
	case isOneOf(word, "EXPLAIN", "DESCRIBE", "DESC"): // with ANALYZE the server runs what it explains
		return !hasWord(rest, "INTO") && (!hasWord(rest, "ANALYZE", "ANALYSE") || !hasWord(rest, writes...))
	}
	return false
}

var writes = []string{"INSERT", "UPDATE", "DELETE", "REPLACE", "MERGE", "INTO", "SHARE", "CREATE", "REFRESH", "CALL", "EXECUTE", "DO"}

// changes reports whether a function is named that changes something, on the
// server or in the session.
func changes(query string) bool {
	for word, after := nextWord(query, 0); after >= 0; word, after = nextWord(query, after) {
		if isOneOf(word, "RELEASE_LOCK", "RELEASE_ALL_LOCKS", "NEXTVAL", "SETVAL", "LAST_INSERT_ID", "SETSEED") {
			return true
		}
		for _, family := range changingFamilies {
			if len(word) > len(family) && strings.EqualFold(word[:len(family)], family) {
				return true
			}
		}
	}
	return hasWord(query, "NEXT") && hasWord(query, "VALUE")
}

// changingFamilies are beginnings of the names of functions. Some functions of
// each family change something.
var changingFamilies = []string{
	"SERVICE_", "VERSION_TOKENS_", "KEYRING_KEY_", "AUDIT_LOG_", "GROUP_REPLICATION_", "ASYNCHRONOUS_CONNECTION_", "SPIDER_",
	"MASKING_", "GEN_DICTIONARY_", "MROONGA_",
	"PG_ADVISORY_", "PG_TRY_", "LO_", "DBLINK", "PG_NOTIF", "PG_TERMINATE_", "PG_CANCEL_", "PG_LOGICAL_", "PG_REPLICATION_",
	"PG_CREATE_", "PG_DROP_", "PG_COPY_", "PG_SWITCH_", "PG_PROMOT", "PG_STAT_RESE", "PG_RELOAD_", "PG_ROTATE_", "PG_WAL_REPLAY_",
	"PG_BACKUP_", "SET_CONF",
}

// Leans reports whether the statement asks for what an earlier one has left
// behind: the last inserted id, a count of rows, the warnings. On another
// connection it would get a wrong answer and no error.
func Leans(query string) bool {
	variable := strings.IndexByte(query, '@') >= 0
	for word, after := nextWord(query, 0); after >= 0; word, after = nextWord(query, after) {
		switch {
		case isOneOf(word, "LASTVAL", "CURRVAL"), variable && isOneOf(word, leftVariables...):
			return true
		case isOneOf(word, "FOUND_ROWS", "ROW_COUNT"):
			if mayFollow(query[after:], '(') {
				return true
			}
		case isOneOf(word, "LAST_INSERT_ID"): // with an argument it sets the id and asks for nothing
			call := strings.TrimLeft(query[after:], blanks+"`\"")
			if strings.HasPrefix(call, "(") && mayFollow(call[1:], ')') || mayFollow(call, '/') {
				return true
			}
		}
	}
	word, rest, _ := firstWord(query)
	return isOneOf(word, "SHOW") && (hasWord(rest, "WARNINGS", "ERRORS", "PROFILE", "PROFILES") || countsSession(rest)) ||
		isOneOf(word, "GET") && hasWord(rest, "DIAGNOSTICS") || hasWord(query, "PROFILING") ||
		hasWord(query, "PREVIOUS") && hasWord(query, "VALUE")
}

// countsSession reports whether one of the status variables is named that show
// what the session's last statement did.
func countsSession(rest string) bool {
	for word, after := nextWord(rest, 0); after >= 0; word, after = nextWord(rest, after) {
		for _, family := range []string{"LAST_QUERY", "HANDLER"} {
			if len(word) >= len(family) && strings.EqualFold(word[:len(family)], family) {
				return true
			}
		}
	}
	return false
}

// leftVariables are the server's variables, written with @@, that every
// statement may set.
var leftVariables = []string{"LAST_INSERT_ID", "IDENTITY", "WARNING_COUNT", "ERROR_COUNT", "LAST_GTID"}
