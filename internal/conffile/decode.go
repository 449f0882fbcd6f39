package conffile

import (
	"errors"
	"fmt"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/EnumApps/clustersql/internal/redact"
)

// decodeTOML parses a file's text. A message about a line that may hold a
// secret does not quote from that line.
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
	e := &Mistake{Path: path, Err: errors.New("it is not TOML: " + strings.TrimPrefix(err.Error(), "toml: "))}
	var syntax toml.ParseError
	if errors.As(err, &syntax) {
		lines := strings.Split(text, "\n")
		e.Line = min(max(syntax.Position.Line, 1), len(lines))
		_, value, _ := strings.Cut(lines[e.Line-1], "=")
		if strings.ContainsAny(value, "@:") {
			syntax.Message = redact.New(strings.TrimSpace(value), nil, false).Text(syntax.Message)
		}
		e.Err = fmt.Errorf("it is not TOML: %s: texts stand in quotes, each key = value in a line of its own", syntax.Message)
	}
	return nil, e
}
