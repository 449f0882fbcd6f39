package redact

import (
	"net/url"
	"slices"
	"strings"
)

// A pair is a key of a DSN with its value.
type pair struct{ key, value string }

var forms = []func(dsn string) ([]pair, bool){parseURL, parseWords, parseSemicolons, parseAddress}

// HoldsPassword reports whether a text that is to be shown, such as a name, can
// be read as a DSN with a password in one of the usual forms.
func HoldsPassword(text string) bool {
	for _, parse := range forms {
		pairs, parsed := parse(text)
		if parsed && slices.ContainsFunc(pairs, func(p pair) bool { return p.value != "" && p.isPassword() }) {
			return true
		}
	}
	return false
}

// IsPassword reports whether a key of a DSN says that its value is a secret, and
// the value is one: an sslkey may be a path, and may be the key itself.
func IsPassword(key, value string) bool {
	p := pair{key, value}
	return p.isPassword() && p.isSecret()
}

// IsOdd reports whether the value of a key that holds no password looks as if it
// held another key with its value, or a password before an @: the DSN is written
// in another way.
func IsOdd(key, value string) bool {
	p := pair{key, value}
	return !p.isPassword() && p.looksOdd()
}

// secretPairs takes a DSN of unknown form apart and returns what of it is
// secret: values of keys that hold secrets, and values of keys that we do not
// know. The DSN may be a URL, key=value as libpq has it, key=value with
// semicolons, or what the mysql driver takes. Where it can be read in several
// ways, the secrets of all of them are returned, also of those that are odd. It
// is not ok if it cannot be read, or if it is not plain where the password ends.
func secretPairs(dsn string) (secrets []pair, ok bool) {
	for _, parse := range forms {
		pairs, parsed := parse(dsn)
		if !parsed {
			continue
		}
		ok = ok || !slices.ContainsFunc(pairs, pair.isOdd)
		for _, p := range pairs {
			if p.isSecret() {
				secrets = append(secrets, p)
			}
		}
	}
	return secrets, ok
}

// publicKeys are keys whose values are shown: what libpq, pgx, SQL Server and
// the mysql driver document, but for the secrets. They are in lower case and
// without spaces, underscores and hyphens.
var publicKeys = toSet(`
	host hostaddr port user username userid uid dbname db database initialcatalog server datasource address addr
	networkaddress sslmode tls encrypt sslnegotiation applicationname appname app fallbackapplicationname
	workstationid wsid connecttimeout connectiontimeout dialtimeout timeout readtimeout writetimeout
	targetsessionattrs loadbalancehosts clientencoding options replication gssencmode gsslib gssdelegation
	sslcompression sslcert sslrootcert sslcrl sslcrldir sslsni sslcertmode sslminprotocolversion
	sslmaxprotocolversion minprotocolversion maxprotocolversion requirepeer requireauth channelbinding krbsrvname
	krbspn service servicefile passfile keepalives keepalivesidle keepalivesinterval keepalivescount
	tcpusertimeout searchpath timezone datestyle binaryparameters sslinline statementcachecapacity
	descriptioncachecapacity defaultqueryexecmode poolmaxconns poolminconns poolmaxconnlifetime
	poolmaxconnidletime poolhealthcheckperiod failoverpartner failoverport trustservercertificate certificate
	hostnameincertificate packetsize log keepalive integratedsecurity trustedconnection persistsecurityinfo
	applicationintent multisubnetfailover protocol charset collation parsetime loc multistatements
	interpolateparams clientfoundrows columnswithalias maxallowedpacket checkconnliveness rejectreadonly autocommit
	network driver provider`)

// syntaxWords are what the text of a DSN is made of. They are words of
// messages too.
var syntaxWords = toSet(`
	host port user username password passwd dbname database server postgres postgresql mysql sqlserver mssql
	sslmode disable require prefer allow true false unix tcp4 tcp6 http https file local localhost 5432 3306 1433`)

func toSet(words string) map[string]bool {
	set := make(map[string]bool)
	for _, w := range strings.Fields(words) {
		set[w] = true
	}
	return set
}

// plainKey is a key as it is in publicKeys.
func plainKey(key string) string {
	return strings.NewReplacer(" ", "", "_", "", "-", "").Replace(strings.ToLower(key))
}

// isSecret reports whether the value must not be shown. An sslkey may be a
// path or the key itself. Of the keys that we do not know, a value under
// minSecret or a boolean is shown: it is no secret, and texts are full of them.
func (p pair) isSecret() bool {
	switch key := plainKey(p.key); {
	case p.value == "" || publicKeys[key]:
		return false
	case key == "sslkey":
		return strings.ContainsAny(p.value, "\n ") || strings.Contains(p.value, "BEGIN")
	case p.isPassword():
		return true
	}
	return len(p.value) >= minSecret && !syntaxWords[strings.ToLower(p.value)]
}

// isOdd reports whether the value looks as if the DSN were written in another way.
// One that is to be shown may hold another key with its value, or a password before
// an @: some servers have users like app@server. One that is a secret by itself may
// be the end of user:password@net(address): its key is then a part of the password.
func (p pair) isOdd() bool {
	if publicKeys[plainKey(p.key)] {
		return p.looksOdd()
	}
	_, after, found := strings.Cut(p.value, "@")
	return found && (!p.isPassword() || strings.Contains(after, "("))
}

func (p pair) looksOdd() bool {
	key := plainKey(p.key)
	return strings.ContainsAny(p.value, ";(") || strings.Contains(p.value, "=") && key != "options" ||
		strings.Contains(p.value, "@") && (!strings.HasPrefix(key, "u") || strings.ContainsAny(p.value, ":/"))
}

// isPassword reports whether the key says that the value is a secret.
func (p pair) isPassword() bool {
	key := plainKey(p.key)
	if publicKeys[key] {
		return false
	}
	for _, part := range []string{"pass", "pw", "secret", "token", "key", "auth", "cred"} {
		if strings.Contains(key, part) {
			return true
		}
	}
	return false
}

// parseURL parses scheme://user:password@host:port,host:port/database?key=value.
// An @ after the hosts may be one of a password that holds a slash, so it is
// not ok.
func parseURL(dsn string) ([]pair, bool) {
	scheme, rest, found := strings.Cut(dsn, "://")
	if !found || !isName(scheme) {
		return nil, false
	}
	authority, path := rest, ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority, path = rest[:i], rest[i:]
	}
	if strings.ContainsAny(path, "@#") {
		return nil, false
	}
	var pairs []pair
	if at := strings.IndexByte(authority, '@'); at >= 0 {
		user, password, _ := strings.Cut(authority[:at], ":")
		if !isEscaped(user) || !isEscaped(password) {
			return nil, false
		}
		pairs = append(pairs, pair{"user", user}, pair{"password", password})
		authority = authority[at+1:]
	}
	for _, host := range strings.Split(authority, ",") {
		if !isHost(host) {
			return nil, false
		}
	}
	_, query, _ := strings.Cut(path, "?")
	more, ok := parseQuery(query)
	return append(pairs, more...), ok
}

// parseQuery parses key=value&key=value.
func parseQuery(query string) (pairs []pair, ok bool) {
	for _, p := range strings.Split(query, "&") {
		if p == "" {
			continue
		}
		escaped, value, found := strings.Cut(p, "=")
		key, err := url.QueryUnescape(escaped)
		if err != nil || !found || !isKey(key) || !isEscaped(value) {
			return nil, false
		}
		pairs = append(pairs, pair{key, value})
	}
	return pairs, true
}

// isEscaped reports whether every percent sign begins an escape.
func isEscaped(s string) bool {
	_, err := url.PathUnescape(s)
	return err == nil
}

// isHost reports whether s is a host with or without a port. An IPv6 address is
// in brackets, and a socket's path is escaped.
func isHost(s string) bool {
	if address, port, found := strings.Cut(s, "]"); found {
		return strings.HasPrefix(address, "[") && consistsOf(address[1:], hexDigits+":.%") && isPort(port)
	}
	i := strings.IndexByte(s, ':')
	if i < 0 {
		i = len(s)
	}
	return consistsOf(s[:i], letters+digits+"._-%") && isPort(s[i:])
}

func isPort(s string) bool {
	return s == "" || s[0] == ':' && consistsOf(s[1:], digits)
}

const (
	digits    = "0123456789"
	letters   = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	hexDigits = digits + "abcdefABCDEF"
)

func consistsOf(s, characters string) bool { return strings.Trim(s, characters) == "" }

// isName reports whether s is the name of a scheme or a network.
func isName(s string) bool { return s != "" && consistsOf(s, letters+digits+"+-_.") }

// isKey reports whether s is a key without spaces.
func isKey(s string) bool { return s != "" && consistsOf(s, letters+digits+"_.-") }

// parseWords parses key=value pairs between spaces, as libpq does. A value in
// single quotes may have spaces. A backslash escapes what follows it. It is not
// ok if a key is there twice, because one of them may be a part of a password.
// Nor is it if a value begins with a quote or brace of other drivers, because
// they may take its inside for the value.
func parseWords(dsn string) (pairs []pair, ok bool) {
	const space = " \t\n\r\v\f"
	seen := make(map[string]bool)
	rest := strings.TrimLeft(dsn, space)
	for rest != "" {
		key, after, found := strings.Cut(rest, "=")
		key = strings.TrimRight(key, space)
		if !found || !isKey(key) || seen[key] {
			return nil, false
		}
		seen[key] = true
		value, left, closed := cutValue(strings.TrimLeft(after, space), space)
		if !closed || value != "" && strings.IndexByte("\"`{[(<", value[0]) >= 0 {
			return nil, false
		}
		pairs = append(pairs, pair{key, value})
		rest = strings.TrimLeft(left, space)
	}
	return pairs, anyPublic(pairs)
}

// cutValue cuts the first value off. It returns the value as it is written,
// without its quotes.
func cutValue(s, space string) (value, rest string, ok bool) {
	end, quoted := space, strings.HasPrefix(s, "'")
	if quoted {
		s, end = s[1:], "'"
	}
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			i++
		case !quoted && s[i] == '\'':
			return "", "", false
		case strings.IndexByte(end, s[i]) < 0:
		case !quoted:
			return s[:i], s[i:], true
		default:
			rest = s[i+1:]
			return s[:i], rest, rest == "" || strings.IndexByte(space, rest[0]) >= 0
		}
	}
	return s, "", !quoted
}

// parseSemicolons parses key=value;key=value, as SQL Server's drivers do. A
// value in quotes or braces may have semicolons, which is not ok: drivers do
// not agree on what is escaped in it.
func parseSemicolons(dsn string) (pairs []pair, ok bool) {
	dsn = strings.TrimPrefix(dsn, "odbc:")
	if !strings.Contains(dsn, ";") {
		return nil, false
	}
	seen := make(map[string]bool)
	for _, p := range strings.Split(dsn, ";") {
		if strings.TrimSpace(p) == "" {
			continue
		}
		key, value, found := strings.Cut(p, "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		for _, quotes := range []string{`""`, `''`, `{}`} {
			if len(value) > 1 && value[0] == quotes[0] && value[len(value)-1] == quotes[1] {
				value = value[1 : len(value)-1]
				break
			}
		}
		if !found || !isKey(strings.ReplaceAll(key, " ", "_")) || seen[plainKey(key)] || strings.ContainsAny(value, `"'{}`) {
			return nil, false
		}
		seen[plainKey(key)] = true
		pairs = append(pairs, pair{key, value})
	}
	return pairs, anyPublic(pairs)
}

// anyPublic reports whether there is a key that DSNs have. Without one, a text
// with an equals sign may be anything, such as a token in base64.
func anyPublic(pairs []pair) bool {
	return slices.ContainsFunc(pairs, func(p pair) bool { return publicKeys[plainKey(p.key)] })
}

// parseAddress parses user:password@network(address)/database?key=value, as the
// mysql driver does: the last slash is the one before the database, and the
// last @ before it ends the password.
func parseAddress(dsn string) ([]pair, bool) {
	slash := strings.LastIndexByte(dsn, '/')
	at := strings.LastIndexByte(dsn[:max(slash, 0)], '@')
	if at < 0 || strings.Contains(dsn[slash:], "@") || strings.Contains(dsn[:at], "://") {
		return nil, false
	}
	network, address, found := strings.Cut(dsn[at+1:slash], "(")
	address, closed := strings.CutSuffix(address, ")")
	if !found || !closed || !isName(network) || !consistsOf(address, letters+digits+"._-:[]%/,") {
		return nil, false
	}
	user, password, _ := strings.Cut(dsn[:at], ":")
	if _, after, again := strings.Cut(dsn[:at], "@"); again && strings.Contains(after, "(") {
		return nil, false // the address may be another
	}
	_, query, _ := strings.Cut(dsn[slash:], "?")
	pairs, ok := parseQuery(query)
	return append(pairs, pair{"user", user}, pair{"password", password}), ok
}
