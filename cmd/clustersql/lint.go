package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/conffile"
)

// Exit codes of lint.
const (
	lintErrors   = 1
	lintWarnings = 3 // with --fatal-warnings
)

func init() {
	register(10, "lint", "Find every mistake in a file, without asking any node.", func() runner { return &lintCommand{} })
}

type lintCommand struct {
	File          string `arg:"" optional:"" help:"The file."`
	Format        string `enum:"text,json,sarif" default:"text" help:"text, json or sarif."`
	FatalWarnings bool   `help:"Exit with 3 if there are only warnings."`
	Env           bool   `negatable:"" default:"true" help:"A variable that is not set here is a mistake."`
}

// A finding is one line of lint.
type finding struct {
	File  string `json:"file"`
	Line  int    `json:"line,omitempty"` // 0 for the file as a whole
	Level string `json:"level"`          // "error" or "warning"
	Where string `json:"where,omitempty"`
	Text  string `json:"text"` // what is wrong and the cure
	Rule  string `json:"rule"`
}

func (f finding) String() string {
	place, where := f.File, ""
	if f.Line > 0 {
		place += fmt.Sprintf(":%d", f.Line)
	}
	if f.Where != "" {
		where = f.Where + ": "
	}
	return tame(fmt.Sprintf("%s: %s: %s%s [%s]", place, f.Level, where, f.Text, f.Rule))
}

// Run prints the findings of a file.
func (c *lintCommand) Run(e *env) error {
	all := lint(c.File, c.Env)
	var err error
	switch c.Format {
	case "json":
		err = writeJSON(e.stdout, append([]finding{}, all...))
	case "sarif":
		err = writeSARIF(e.stdout, all)
	default:
		for _, f := range all {
			if _, err = fmt.Fprintln(e.stdout, f); err != nil {
				break
			}
		}
	}
	if err != nil {
		return err
	}
	bad := 0
	for _, f := range all {
		if f.Level == levelError {
			bad++
		}
	}
	switch {
	case bad > 0:
		return finish(lintErrors)
	case len(all) > 0 && c.FatalWarnings:
		return finish(lintWarnings)
	}
	return nil
}

const (
	levelError   = "error"
	levelWarning = "warning"
)

// lint returns the findings of a file by line.
func lint(path string, env bool) []finding {
	// The drivers that the file names and this program does not have must be
	// there before the registry looks for them.
	f, parseErr := conffile.Read(path, fileKeys)
	var all []finding
	if parseErr == nil {
		path = f.Path()
		all = append(all, lendDrivers(f)...)
	}
	lookup := os.LookupEnv
	if !env {
		lookup = standIns(f)
	}
	for _, err := range clustersql.Mistakes(path, lookup) {
		all = append(all, ofMistake(err, "decode", levelError))
	}
	if parseErr == nil {
		all = append(all, (&linter{file: f}).run()...)
	}
	slices.SortStableFunc(all, func(a, b finding) int { return cmp.Compare(a.Line, b.Line) })
	return all
}

// ofMistake returns the finding for an error of the configuration file.
func ofMistake(err error, rule, level string) finding {
	f := finding{Level: level, Rule: rule, Text: err.Error()}
	var m *conffile.Mistake
	if errors.As(err, &m) {
		f.File, f.Line, f.Where, f.Text = m.Path, m.Line, m.What, m.Err.Error()
	}
	switch {
	case rule != "decode":
	case strings.HasPrefix(f.Text, "the environment variable "):
		f.Rule = "variable"
	case strings.HasPrefix(f.Text, "it is not TOML"):
		f.Rule = "syntax"
	case strings.HasPrefix(f.Text, "unknown key"):
		f.Rule = "unknown-key"
	}
	return f
}

// lendDrivers has drivers stand in for those that only the program has.
func lendDrivers(f *conffile.File) (all []finding) {
	for i := range f.Clusters {
		c := &f.Clusters[i]
		switch stands, err := lendDriver(c); {
		case err != nil:
			all = append(all, ofMistake(err, "driver", levelWarning))
		case stands:
			instead := "mysql"
			if lent[c.Driver] == kindPostgres {
				instead = "pgx"
			}
			all = append(all, ofMistake(c.Wrong("driver", fmt.Errorf(
				"this command does not have the driver %s: the DSNs are judged as those of %s: set dialect if that is wrong",
				conffile.QuoteName(c.Driver), instead)), "driver", levelWarning))
		}
	}
	return all
}

// variable is a variable in a DSN, or a "${" that is meant literally.
var variable = regexp.MustCompile(`\$?\$\{[A-Za-z_][A-Za-z0-9_]*\}`)

// standIns returns a lookup that gives variables which are not set a value that
// hides no other mistake.
func standIns(f *conffile.File) func(string) (string, bool) {
	whole := make(map[string]string)
	if f != nil {
		for i := range f.Clusters {
			c := &f.Clusters[i]
			for _, n := range c.Nodes {
				if m := variable.FindString(n.DSN); m != "" && m == n.DSN && !strings.HasPrefix(m, "$$") {
					whole[m[2:len(m)-1]] = standInDSN(kindOf(c.Driver), m[2:len(m)-1])
				}
			}
		}
	}
	return func(name string) (string, bool) {
		if value, ok := os.LookupEnv(name); ok && value != "" {
			return value, true
		}
		if dsn := whole[name]; dsn != "" {
			return dsn, true
		}
		return "1", true
	}
}

func standInDSN(k kind, name string) string {
	host := strings.ToLower(strings.ReplaceAll(name, "_", "-"))
	if k == kindPostgres {
		return "postgres://app@" + host + "/db"
	}
	return "app@tcp(" + host + ":3306)/db"
}

func writeJSON(to interface{ Write([]byte) (int, error) }, v any) error {
	enc := json.NewEncoder(to)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
