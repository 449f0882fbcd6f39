package conffile

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/EnumApps/clustersql/internal/redact"
)

// hidden stands in a message for a value that might be a secret.
var hidden = strconv.Quote(redact.Mark)

// Quote quotes the value of a setting for a message. It shows only what cannot
// be a secret by its looks: a word of letters, as the names of strategies are,
// or a short number with a unit. Everything else may have come to the wrong key.
func Quote(value string) string {
	if isWord(value) || isQuantity(value) {
		return strconv.Quote(value)
	}
	return hidden
}

// QuoteName quotes the name of a cluster, node or driver for a message. A name
// with an @, an equals sign or a semicolon may be a DSN that stands at the wrong
// key.
func QuoteName(name string) string {
	if strings.ContainsAny(name, "@=;") {
		return hidden
	}
	return strconv.Quote(name)
}

func isWord(s string) bool {
	return len(s) <= 16 && strings.IndexFunc(s, func(r rune) bool { return !isLetter(r) && r != '-' && r != '_' }) < 0
}

// isQuantity reports whether s has at most 8 bytes, begins like a number, and
// has at most three letters in a row.
func isQuantity(s string) bool {
	if s == "" || len(s) > 8 || !strings.ContainsRune("+-.0123456789", rune(s[0])) {
		return false
	}
	inRow := 0
	for _, r := range s {
		switch {
		case isLetter(r) || r == 'µ':
			if inRow++; inRow > 3 {
				return false
			}
		case strings.ContainsRune("+-._ 0123456789", r):
			inRow = 0
		default:
			return false
		}
	}
	return true
}

func isLetter(r rune) bool { return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' }

// secretsOf returns the redactors for the DSNs and passwords that a file
// holds, at whatever key.
func secretsOf(value any) (secrets []redact.Redactor) {
	switch value := value.(type) {
	case map[string]any:
		for k, v := range value {
			text, isText := v.(string)
			switch key := strings.ToLower(k); {
			case !isText:
				secrets = append(secrets, secretsOf(v)...)
			case key == "dsn":
				secrets = append(secrets, redact.New(text, nil, false))
			case key == "password":
				secrets = append(secrets, redact.New("", []string{text}, true))
			}
		}
	case []map[string]any:
		for _, v := range value {
			secrets = append(secrets, secretsOf(v)...)
		}
	case []any:
		for _, v := range value {
			secrets = append(secrets, secretsOf(v)...)
		}
	}
	return secrets
}

// longNumber is the length from which a number may be a secret at the wrong key.
const longNumber = 9

// withoutValue returns the error without the value of its key, if that holds a
// secret of the file or is a long number.
func (s section) withoutValue(key string, err error) error {
	value, written := s.values[key]
	if !written {
		return err
	}
	var quoted string
	text, mark := fmt.Sprint(value), redact.Mark
	switch value.(type) {
	case string:
		quoted, mark = strconv.Quote(text), hidden
	case int64, float64:
		quoted = text
	default:
		return err
	}
	secret := mark == redact.Mark && len(text) >= longNumber ||
		slices.ContainsFunc(s.secrets, func(r redact.Redactor) bool { return r.Text(text) != text })
	if message := err.Error(); secret && strings.Contains(message, quoted) {
		return errors.New(strings.ReplaceAll(message, quoted, mark))
	}
	return err
}
