package sqltext

import "strings"

// Hedge reports whether the statement may be sent to two nodes at a time, and the first
// answer be used. It must be a [Read], on any session of any node, and it must not
// matter that it is run twice. So it must call no function that is not listed here:
// a function of the program may write, and others sleep, take locks, or tell about the
// session or the server. In doubt it is false: the read is sent once then.
//
// It cannot see what a view or an operator calls.
func Hedge(query string, single bool) bool {
	word, rest, ok := firstWord(query)
	if !ok || !isOneOf(word, "SELECT", "WITH", "VALUES", "TABLE") || strings.IndexByte(query, '@') >= 0 {
		return false
	}
	for word, after := nextWord(rest, 0); after >= 0; word, after = nextWord(rest, after) {
		if aboutServer(word) || mayCall(rest[after:]) && (!isListed(word) || isPart(rest, after-len(word))) {
			return false
		}
	}
	return Read(query, single) && !hasSecond(query)
}

// isPart reports whether the word that begins at i is only the end of a name: of a
// schema's function, or of a name with other letters.
func isPart(s string, i int) bool {
	if i == 0 {
		return false
	}
	c := s[i-1]
	return c == '.' || c >= 0x80 || c == '$' || isDigit(c) || c == '`' && i > 1 && s[i-2] == '.' || c == '"' && i > 1 && s[i-2] == '.' ||
		strings.IndexByte(blanks, c) >= 0 && strings.HasSuffix(strings.TrimRight(s[:i], blanks+"`\""), ".")
}

// mayCall reports whether an opening bracket follows, maybe after the end of a quoted
// name or a comment.
func mayCall(rest string) bool {
	rest = strings.TrimLeft(rest, blanks+"`\"")
	return strings.HasPrefix(rest, "(") || strings.HasPrefix(rest, "/*") || strings.HasPrefix(rest, "--") || strings.HasPrefix(rest, "#")
}

// aboutServer reports whether the word names what is another thing on each server.
func aboutServer(word string) bool {
	return len(word) > 3 && strings.EqualFold(word[:3], "PG_") || isOneOf(word, "INFORMATION_SCHEMA", "PERFORMANCE_SCHEMA")
}

// isListed reports whether the word may stand before an opening bracket.
func isListed(word string) bool {
	var upper [20]byte
	if len(word) > len(upper) {
		return false
	}
	for i := range len(word) {
		upper[i] = word[i]
		if 'a' <= word[i] && word[i] <= 'z' {
			upper[i] -= 'a' - 'A'
		}
	}
	switch string(upper[:len(word)]) {
	// words of the grammar, and types
	case "SELECT", "FROM", "WHERE", "IN", "EXISTS", "ANY", "ALL", "SOME", "AS", "ON", "AND", "OR", "NOT", "XOR", "BY", "OVER", "JOIN",
		"VALUES", "ROW", "ARRAY", "UNION", "EXCEPT", "INTERSECT", "BETWEEN", "LIKE", "ILIKE", "REGEXP", "RLIKE", "LIMIT", "OFFSET", "USING",
		"CASE", "WHEN", "THEN", "ELSE", "HAVING", "DISTINCT", "INTERVAL", "IS", "DIV", "LATERAL", "FILTER", "INDEX", "KEY", "MATERIALIZED",
		"VARCHAR", "DECIMAL", "NUMERIC", "BINARY", "VARBINARY", "DATETIME", "TIMESTAMP", "CHARACTER", "VARYING", "FLOAT",
		// of groups and windows
		"COUNT", "SUM", "MIN", "MAX", "AVG", "STDDEV", "VARIANCE", "BIT_AND", "BIT_OR", "BIT_XOR", "BOOL_AND", "BOOL_OR", "EVERY",
		"GROUP_CONCAT", "STRING_AGG", "ARRAY_AGG", "JSON_ARRAYAGG", "JSON_OBJECTAGG", "JSON_AGG", "JSONB_AGG", "JSON_OBJECT_AGG", "JSONB_OBJECT_AGG",
		"ROW_NUMBER", "RANK", "DENSE_RANK", "PERCENT_RANK", "CUME_DIST", "NTILE", "LAG", "LEAD", "FIRST_VALUE", "LAST_VALUE", "NTH_VALUE", "GROUPING",
		// of values
		"COALESCE", "IFNULL", "NULLIF", "IF", "GREATEST", "LEAST", "CAST", "CONVERT",
		"ABS", "CEIL", "CEILING", "FLOOR", "ROUND", "TRUNCATE", "TRUNC", "MOD", "POW", "POWER", "SQRT", "EXP", "LN", "LOG", "LOG2", "LOG10", "SIGN",
		"SIN", "COS", "TAN", "ASIN", "ACOS", "ATAN", "ATAN2", "PI", "RADIANS", "DEGREES", "BIT_COUNT",
		// of texts
		"CONCAT", "CONCAT_WS", "LOWER", "UPPER", "LCASE", "UCASE", "LENGTH", "CHAR_LENGTH", "CHARACTER_LENGTH", "OCTET_LENGTH", "SUBSTRING", "SUBSTR",
		"SUBSTRING_INDEX", "MID", "LEFT", "RIGHT", "TRIM", "LTRIM", "RTRIM", "BTRIM", "LPAD", "RPAD", "REPLACE", "REVERSE", "REPEAT", "SPACE", "INSTR",
		"LOCATE", "POSITION", "STRPOS", "SPLIT_PART", "INITCAP", "FIELD", "ELT", "FIND_IN_SET", "FORMAT", "HEX", "UNHEX", "ASCII", "ORD", "CHAR", "CHR",
		"MD5", "SHA1", "SHA2", "CRC32", "TO_BASE64", "FROM_BASE64", "REGEXP_REPLACE", "REGEXP_SUBSTR", "REGEXP_INSTR", "REGEXP_LIKE", "MATCH", "AGAINST",
		"INET_ATON", "INET_NTOA", "INET6_ATON", "INET6_NTOA", "UUID_TO_BIN", "BIN_TO_UUID",
		// of times
		"NOW", "CURDATE", "CURTIME", "CURRENT_DATE", "CURRENT_TIME", "CURRENT_TIMESTAMP", "LOCALTIME", "LOCALTIMESTAMP", "UTC_DATE", "UTC_TIME",
		"UTC_TIMESTAMP", "UNIX_TIMESTAMP", "FROM_UNIXTIME", "DATE", "TIME", "YEAR", "QUARTER", "MONTH", "MONTHNAME", "WEEK", "YEARWEEK", "DAY", "DAYNAME",
		"DAYOFMONTH", "DAYOFWEEK", "DAYOFYEAR", "WEEKDAY", "HOUR", "MINUTE", "SECOND", "MICROSECOND", "EXTRACT", "DATE_ADD", "DATE_SUB", "ADDDATE",
		"SUBDATE", "ADDTIME", "SUBTIME", "DATEDIFF", "TIMEDIFF", "TIMESTAMPDIFF", "TIMESTAMPADD", "DATE_FORMAT", "TIME_FORMAT", "STR_TO_DATE", "MAKEDATE",
		"LAST_DAY", "TO_DAYS", "FROM_DAYS", "SEC_TO_TIME", "TIME_TO_SEC", "DATE_TRUNC", "DATE_PART", "AGE", "TO_CHAR", "TO_DATE", "TO_TIMESTAMP", "TO_NUMBER",
		// of documents and sets
		"JSON_EXTRACT", "JSON_UNQUOTE", "JSON_QUOTE", "JSON_VALUE", "JSON_QUERY", "JSON_OBJECT", "JSON_ARRAY", "JSON_CONTAINS", "JSON_LENGTH", "JSON_KEYS",
		"JSON_TYPE", "JSON_VALID", "JSON_SEARCH", "JSON_CONTAINS_PATH", "JSON_BUILD_OBJECT", "JSONB_BUILD_OBJECT", "JSON_BUILD_ARRAY", "JSONB_BUILD_ARRAY",
		"ROW_TO_JSON", "TO_JSON", "TO_JSONB", "UNNEST", "GENERATE_SERIES", "ARRAY_LENGTH", "CARDINALITY":
		return true
	}
	return false
}

// Plain reports whether the statement is of a kind that leaves nothing behind in its
// session but what every session has: what is hedged later on the connection may be
// answered on another one.
func Plain(query string) bool {
	if isUsual(query) {
		return true
	}
	word, _, ok := firstWord(query)
	return ok && isOneOf(word, "SELECT", "INSERT", "UPDATE", "DELETE", "REPLACE", "WITH", "SHOW")
}
