package conffile

import (
	"errors"
	"fmt"
	"strings"
)

// expand replaces each ${NAME} in a DSN by the value of the variable. The value
// is used as it is and not expanded again. $${ stands for a literal ${, and
// every other dollar sign for itself. A variable that is missing or empty is an
// error. No error holds more of the DSN than the variable's name.
func expand(dsn string, lookup func(name string) (value string, found bool)) (string, error) {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(dsn, "${")
		if !found {
			b.WriteString(dsn)
			return b.String(), nil
		}
		if literal, escaped := strings.CutSuffix(before, "$"); escaped {
			b.WriteString(literal + "${")
			dsn = after
			continue
		}
		name, rest, closed := strings.Cut(after, "}")
		if !closed || !isVariable(name) {
			return "", errors.New("a \"${\" is not followed by a variable's name and \"}\": write ${NAME}, or $${ for a \"${\" that is meant literally")
		}
		value, set := lookup(name)
		switch {
		case !set:
			return "", fmt.Errorf("the environment variable %s is not set: set it, or write $${ for a \"${\" that is meant literally", name)
		case value == "":
			return "", fmt.Errorf("the environment variable %s is empty: give it a value, or take ${%s} out", name, name)
		}
		b.WriteString(before + value)
		dsn = rest
	}
}

// isVariable reports whether a shell can set a variable of this name.
func isVariable(name string) bool {
	for i, r := range name {
		switch {
		case r == '_', 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z':
		case i > 0 && '0' <= r && r <= '9':
		default:
			return false
		}
	}
	return name != ""
}
