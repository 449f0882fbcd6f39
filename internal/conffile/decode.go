package conffile

import (
	"errors"
	"fmt"
	"strings"

	"github.com/BurntSushi/toml"
)

// decodeTOML parses a file's text. Its error gives the line and the kind of the
// mistake, and no piece of the file: any piece might be a secret.
func decodeTOML(path, text string) (values map[string]any, err error) {
	defer func() {
		if recover() != nil {
			err = &Mistake{Path: path, Err: errors.New("it is not TOML: the decoder panicked")}
		}
	}()
	_, err = toml.Decode(text, &values)
	if err == nil {
		return values, nil
	}
	e := &Mistake{Path: path, Err: errors.New("it is not TOML: " + anyMistake)}
	var syntax toml.ParseError
	if errors.As(err, &syntax) {
		e.Line = min(max(syntax.Position.Line, 1), strings.Count(text, "\n")+1)
		e.Err = fmt.Errorf("it is not TOML: %s: texts stand in quotes, each key = value in a line of its own", kindOf(syntax.Message))
	}
	return nil, e
}

// anyMistake is the kind of a mistake that is not in the table.
const anyMistake = "it cannot be read here"

const (
	noText       = "a text has no quotes, or a value is missing"
	openText     = "a text has no quote at its end"
	wrongEscape  = `a text has a backslash that escapes nothing: write \\ for a backslash, or put the text in single quotes`
	keyTwice     = "a key or a table is there twice"
	wrongNumber  = "a number is none, or a text has no quotes"
	wrongDate    = "a date is none, or a text has no quotes"
	afterValue   = "something stands after the value, or a text has no quotes"
	wrongKey     = "a key is not followed by an equals sign and a value"
	wrongTable   = "a table's name in brackets is none"
	wrongList    = "an array or an inline table has a comma or a bracket too many, or one is missing"
	wrongLetters = "a character is none that a TOML file may hold: save the file as UTF-8"
)

// kinds are the decoder's messages by how they begin and end, each with the
// kind of the mistake in our words. What the decoder says between may be a
// piece of the file. The first that fits counts.
var kinds = []struct{ prefix, suffix, kind string }{
	{"expected value but found", "", noText},
	{"unexpected EOF; expected value", "", noText},
	{"unexpected EOF; expected key", "", wrongKey},
	{"unexpected EOF; expected", "", openText},
	{"strings cannot contain newlines", "", openText},
	{"unexpected '\"\"\"", "", openText},
	{`unexpected "'''`, "", openText},
	{"invalid escape", "", wrongEscape},
	{"Escaped character", "", wrongEscape},
	{"expected two hexadecimal", "", wrongEscape},
	{"expected four hexadecimal", "", wrongEscape},
	{"expected eight hexadecimal", "", wrongEscape},
	{"Key '", "", keyTwice},
	{"", "is not a table", keyTwice},
	{"Invalid integer", "", wrongNumber},
	{"Invalid float", "", wrongNumber},
	{"invalid float", "", wrongNumber},
	{"floats must start", "", wrongNumber},
	{"cannot use sign", "", wrongNumber},
	{"expected a digit", "", wrongNumber},
	{"not a", "", wrongNumber},
	{"", "is out of range for int64", wrongNumber},
	{"", "is out of range for float64", wrongNumber},
	{"invalid datetime", "", wrongDate},
	{"expected a top-level item", "", afterValue},
	{"unexpected '='", "", wrongKey},
	{"unexpected '.'", "", wrongKey},
	{"expected '.' or '='", "", wrongKey},
	{"expected end of table", "", wrongTable},
	{"unexpected end of table", "", wrongTable},
	{"unexpected table", "", wrongTable},
	{"expected '.' or ']'", "", wrongTable},
	{"unexpected comma", "", wrongList},
	{"expected a comma", "", wrongList},
	{"newlines not allowed within inline tables", "", wrongList},
	{"TOML files cannot contain control", "", wrongLetters},
	{"invalid UTF-8", "", wrongLetters},
	{"files cannot contain NULL", "", wrongLetters},
}

// kindOf returns the kind of the mistake that a message of the decoder is
// about.
func kindOf(message string) string {
	for _, k := range kinds {
		if strings.HasPrefix(message, k.prefix) && strings.HasSuffix(message, k.suffix) {
			return k.kind
		}
	}
	return anyMistake
}
