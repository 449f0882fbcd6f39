package clustersql

import (
	"expvar"
	"fmt"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/BurntSushi/toml"
	backend "github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql/internal/mysql"
)

// A document is one of the texts that people read.
type document struct{ path, text string }

// documents returns the texts for users and for contributors.
func documents(t *testing.T) []document {
	t.Helper()
	paths, err := filepath.Glob("docs/*.md")
	if err != nil || len(paths) == 0 {
		t.Fatal("no docs/*.md", err)
	}
	var all []document
	for _, path := range append([]string{"README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"}, paths...) {
		all = append(all, document{path, docsRead(t, path)})
	}
	return all
}

// manual is the text for users: README.md and docs/*.md.
func manual(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, d := range documents(t) {
		if d.path == "README.md" || strings.HasPrefix(d.path, "docs/") {
			b.WriteString(d.text)
		}
	}
	return b.String()
}

func docsRead(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// blocks returns the fenced blocks of a language.
func (d document) blocks(language string) []string {
	var found []string
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(d.text, -1) {
		found = append(found, m[1])
	}
	return found
}

// prose is the text without its fenced blocks.
func (d document) prose() string {
	return regexp.MustCompile("(?ms)^```.*?^```$").ReplaceAllString(d.text, "")
}

// squeeze folds white space, so that indentation does not count.
func squeeze(s string) string { return strings.Join(strings.Fields(s), " ") }

// Every Go block of the documents is part of a program or of an example that
// is compiled and run.
func TestDocsSnippetsAreCompiled(t *testing.T) {
	var sources []string
	for _, pattern := range []string{"example*_test.go", "compat/*.go", "examples/*/*.go"} {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			t.Fatal(pattern, "finds nothing", err)
		}
		for _, path := range paths {
			sources = append(sources, squeeze(docsRead(t, path)))
		}
	}
	found := 0
	for _, d := range documents(t) {
		for _, block := range d.blocks("go") {
			found++
			if !slices.ContainsFunc(sources, func(s string) bool { return strings.Contains(s, squeeze(block)) }) {
				t.Errorf("%s: no example and no program has this:\n%s", d.path, block)
			}
		}
	}
	if found == 0 {
		t.Error("there is no Go block")
	}
}

// Every TOML block loads. One without a cluster gets one.
func TestDocsTOMLLoads(t *testing.T) {
	const skeleton = "\n[[cluster]]\nname = \"some_conn\"\n[[cluster.node]]\nname = \"n1\"\ndsn = \"tcp(dbhost1:3306)/db\"\n"
	found := 0
	for _, d := range documents(t) {
		for _, block := range d.blocks("toml") {
			found++
			for _, m := range regexp.MustCompile(`\$\{(\w+)\}`).FindAllStringSubmatch(block, -1) {
				t.Setenv(m[1], "secret")
			}
			if !strings.Contains(block, "[[cluster]]") && !strings.Contains(block, "[[Nodes]]") {
				block += skeleton
			}
			path := filepath.Join(t.TempDir(), "config.toml")
			if err := os.WriteFile(path, []byte(block), 0o600); err != nil {
				t.Fatal(err)
			}
			r, err := Load(path)
			if err != nil {
				t.Errorf("%s: %v\n%s", d.path, err, block)
				continue
			}
			r.Close()
		}
	}
	if found == 0 {
		t.Error("there is no TOML block")
	}
}

// docsCommands are the commands that the documents may show, and why each is
// known to work.
var docsCommands = map[string]string{
	"go -C demo run .": "CI runs it",
	"./test.sh":        "CI runs it",
	"go test -v .":     "test.sh runs these tests, see test_module",
	"go test -run '^TestBalancedSharesFollowTheWeights$' -seed 17 ./internal/balance": "internal/seedtest prints commands of this form",
	"go test -run '^TestSoak$' ./integration -soak.seed 17 -soak.for 30m":             "test.sh soak runs this test",
}

// Every command of the documents is one that something runs, and every target
// of test.sh that they name is there.
func TestDocsCommandsAreRun(t *testing.T) {
	ci, script := docsRead(t, ".ci/run"), docsRead(t, "test.sh")
	for _, command := range []string{"go -C demo run .", "./test.sh"} {
		if !strings.Contains(docsRead(t, "README.md"), "\n    "+command+" ") || !strings.Contains(ci, "\n"+command+"\n") {
			t.Errorf("%q is not in both README.md and .ci/run", command)
		}
	}
	target := regexp.MustCompile(`\./test\.sh ([a-z][a-z-]*)`)
	for _, d := range documents(t) {
		commands := strings.Join(d.blocks("sh"), "")
		for _, m := range regexp.MustCompile(`(?m)^    (\S.*)$`).FindAllStringSubmatch(d.prose(), -1) {
			commands += m[1] + "\n"
		}
		for line := range strings.Lines(commands) {
			command, _, _ := strings.Cut(line, "  #")
			command = strings.TrimSpace(command)
			if command != "" && docsCommands[command] == "" && !target.MatchString(command) {
				t.Errorf("%s: nothing runs the command %q", d.path, command)
			}
			docsTestExists(t, command)
		}
		for _, m := range target.FindAllStringSubmatch(d.text, -1) {
			if !strings.Contains(script, "\n  "+m[1]+")") {
				t.Errorf("%s: test.sh has no target %q", d.path, m[1])
			}
		}
	}
	readme := document{"README.md", docsRead(t, "README.md")}
	if !strings.Contains(readme.text, "Before production") || !strings.Contains(readme.prose(), "\n    go test -v .\n") {
		t.Error("the README does not say what to run before production")
	}
}

// docsTestExists fails where a command runs one test that is not there.
func docsTestExists(t *testing.T, command string) {
	t.Helper()
	name := regexp.MustCompile(`-run '\^(\w+)\$'`).FindStringSubmatch(command)
	if name == nil {
		return
	}
	for _, dir := range regexp.MustCompile(`\./[\w/]+`).FindAllString(command, -1) {
		paths, _ := filepath.Glob(filepath.Join(dir, "*_test.go"))
		if !slices.ContainsFunc(paths, func(path string) bool { return strings.Contains(docsRead(t, path), "func "+name[1]+"(") }) {
			t.Errorf("%q: there is no such test", command)
		}
	}
}

// settingRow is a row of docs/settings.md: key, field, option and default.
var settingRow = regexp.MustCompile("(?m)^\\| \\[`(\\w+)`\\]\\(#\\w+\\) \\| `Config\\.(\\w+)` \\| (.*?) \\| .*? \\| (?:`(.*?)`|\\*of the dialect\\*) \\|$")

// Every setting is in the table of docs/settings.md, with its field and its
// default, and has a section of its own.
func TestDocsSettings(t *testing.T) {
	text := docsRead(t, "docs/settings.md")
	rows := make(map[string][]string)
	for _, m := range settingRow.FindAllStringSubmatch(text, -1) {
		rows[m[1]] = m[2:]
	}
	defaults := reflect.ValueOf(DefaultConfig())
	for i := range defaults.NumField() {
		field := defaults.Type().Field(i)
		key := field.Tag.Get("toml")
		if key == "-" {
			if !strings.Contains(text, "`Config."+field.Name+"`") {
				t.Errorf("docs/settings.md does not have Config.%s", field.Name)
			}
			continue
		}
		row, ok := rows[key]
		delete(rows, key)
		switch want := docsDefault(defaults.Field(i)); {
		case !ok:
			t.Errorf("docs/settings.md has no row for %s", key)
		case row[0] != field.Name || row[2] != want:
			t.Errorf("docs/settings.md: %s is Config.%s with the default %s; the table has %q", key, field.Name, want, row)
		case !strings.HasPrefix(row[1], "`With"):
			t.Errorf("docs/settings.md: %s has no option", key)
		case !strings.Contains(text, "\n### "+key+"\n"):
			t.Errorf("docs/settings.md has no section %s", key)
		}
	}
	for key := range rows {
		t.Errorf("docs/settings.md has a row for %s, which is no setting", key)
	}
}

// docsDefault is a default as config.toml has it.
func docsDefault(v reflect.Value) string {
	switch value := v.Interface().(type) {
	case Check:
		return "" // the backend's, which no text stands for
	case time.Duration:
		return fmt.Sprintf("%q", value.String())
	case fmt.Stringer:
		return fmt.Sprintf("%q", value.String())
	}
	if v.Kind() == reflect.String {
		return fmt.Sprintf("%q", v.String())
	}
	return fmt.Sprint(v.Interface())
}

// The example file of docs/settings.md has every setting, and what it says at
// the top are the defaults.
func TestDocsConfigSaysTheDefaults(t *testing.T) {
	block := document{text: docsRead(t, "docs/settings.md")}.blocks("toml")[0]
	var values map[string]any
	if _, err := toml.Decode(block, &values); err != nil {
		t.Fatal(err)
	}
	defaults := reflect.ValueOf(DefaultConfig())
	for i := range defaults.NumField() {
		key := defaults.Type().Field(i).Tag.Get("toml")
		if key == "-" {
			continue
		}
		if !regexp.MustCompile(`(?m)^\s*(# )?` + key + `\s*=`).MatchString(block) {
			t.Errorf("the file does not show %s", key)
		}
		value, shown := values[key]
		want := docsDefault(defaults.Field(i))
		if s, ok := value.(string); ok {
			if d, err := time.ParseDuration(s); err == nil {
				s = d.String()
			}
			value = fmt.Sprintf("%q", s)
		}
		if shown && fmt.Sprint(value) != want {
			t.Errorf("the file has %s = %v, and the default is %s", key, value, want)
		}
	}
}

// Every key that a cluster shows through expvar is in docs/operations.md.
func TestDocsExpvarKeys(t *testing.T) {
	d := NewDriver(backend.MySQLDriver{}, t.Name())
	defer d.Close()
	if err := d.AddNode("n1", "tcp(dbhost1:3306)/db"); err != nil {
		t.Fatal(err)
	}
	text := docsRead(t, "docs/operations.md")
	for _, m := range regexp.MustCompile(`"(\w+)":`).FindAllStringSubmatch(expvar.Get(t.Name()).String(), -1) {
		if m[1] != "n1" && !strings.Contains(text, "`"+m[1]+"`") {
			t.Errorf("docs/operations.md does not have the expvar key %s", m[1])
		}
	}
}

// The states, the kinds of events and the fields of what a program gets are in
// the manual.
func TestDocsNamesFieldsAndKinds(t *testing.T) {
	text := manual(t)
	want := func(what, name string) {
		t.Helper()
		if !regexp.MustCompile("`[^`\n]*\\b" + name + "\\b[^`\n]*`").MatchString(text) {
			t.Errorf("the manual does not have %s %s", what, name)
		}
	}
	for s := State(0); !strings.HasPrefix(s.String(), "State("); s++ {
		want("the state", s.String())
	}
	for k := EventKind(0); !strings.HasPrefix(k.String(), "EventKind("); k++ {
		want("the kind of event", k.String())
	}
	for _, v := range []any{
		ClusterStatus{}, NodeStatus{}, Event{}, OpenError{}, AttemptError{}, NodeError{}, SettingError{}, Launch{},
		NodeConfig{}, Selftest{},
	} {
		for _, field := range reflect.VisibleFields(reflect.TypeOf(v)) {
			if field.IsExported() {
				want("the field of "+reflect.TypeOf(v).Name(), field.Name)
			}
		}
	}
}

// errorRow is a row of the table of classes: the class, and its numbers.
var errorRow = regexp.MustCompile("(?m)^\\| `([a-z -]+)` \\| (.*?) \\|")

// Every error number that the mysql dialect knows is in docs/errors.md, in the
// row of its class.
func TestDocsErrorNumbers(t *testing.T) {
	messages := map[uint16]string{ // where the number alone does not tell
		1047: "WSREP has not yet prepared node for application use",
		1180: "not connected to Primary Component",
		1290: "running with the --read-only option",
	}
	known := make(map[string]bool)
	for _, m := range errorRow.FindAllStringSubmatch(docsRead(t, "docs/errors.md"), -1) {
		for _, text := range regexp.MustCompile(`\b[1-9]\d{3}\b`).FindAllString(m[2], -1) {
			known[text] = true
			var number uint16
			fmt.Sscan(text, &number)
			class, _ := mysql.Dialect{}.Classify(&backend.MySQLError{Number: number, Message: messages[number]})
			if class.String() != m[1] {
				t.Errorf("docs/errors.md has %d as %q, and the code as %q", number, m[1], class)
			}
		}
	}
	file, err := parser.ParseFile(token.NewFileSet(), "internal/mysql/errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.INT && len(lit.Value) == 4 && !known[lit.Value] {
			t.Errorf("the table of docs/errors.md does not have error %s", lit.Value)
		}
		return true
	})
}

// Links between the documents lead to a file and to a heading that are there.
func TestDocsLinksResolve(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for _, d := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(d.prose(), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			path, anchor, hasAnchor := strings.Cut(m[1], "#")
			target := d.path
			if path != "" {
				target = filepath.Join(filepath.Dir(d.path), path)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: the link %s leads to no file", d.path, m[1])
			} else if hasAnchor && !slices.Contains((document{target, docsRead(t, target)}).anchors(), anchor) {
				t.Errorf("%s: the link %s leads to no heading", d.path, m[1])
			}
		}
	}
}

// anchors returns what a link to one of the headings has after the hash, by
// GitHub's rule.
func (d document) anchors() []string {
	var all []string
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(d.prose(), -1) {
		all = append(all, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-', r == '_', unicode.IsLetter(r), unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, m[1]))
	}
	return all
}

// Every package under internal/ is in the picture of CONTRIBUTING.md.
func TestDocsPackages(t *testing.T) {
	text := docsRead(t, "CONTRIBUTING.md")
	dirs, err := filepath.Glob("internal/*")
	if err != nil || len(dirs) == 0 {
		t.Fatal("internal/ is empty", err)
	}
	for _, dir := range dirs {
		if !regexp.MustCompile(`\b` + filepath.Base(dir) + `\b`).MatchString(text) {
			t.Errorf("CONTRIBUTING.md does not say what %s is", dir)
		}
	}
}

// Every exported name of the package has an example, or stands in the manual.
func TestDocsNameTheAPI(t *testing.T) {
	paths, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	fset := token.NewFileSet()
	var files []*ast.File
	for _, path := range paths {
		f, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	pkg, err := doc.NewFromFiles(fset, files, "github.com/EnumApps/clustersql")
	if err != nil {
		t.Fatal(err)
	}
	text := manual(t)
	names := 0
	check := func(name string, examples int) {
		t.Helper()
		names++
		_, last, method := strings.Cut(name, ".")
		if !method {
			last = name
		}
		if examples == 0 && !regexp.MustCompile(`\b`+last+`\b`).MatchString(text) {
			t.Errorf("%s has no example, and is neither in README.md nor in docs/", name)
		}
	}
	values := func(groups ...[]*doc.Value) {
		for _, v := range slices.Concat(groups...) {
			for _, name := range v.Names {
				if token.IsExported(name) {
					check(name, 0)
				}
			}
		}
	}
	funcs := func(prefix string, all []*doc.Func) {
		for _, f := range all {
			check(prefix+f.Name, len(f.Examples))
		}
	}
	values(pkg.Consts, pkg.Vars)
	funcs("", pkg.Funcs)
	for _, typ := range pkg.Types {
		check(typ.Name, len(typ.Examples))
		values(typ.Consts, typ.Vars)
		funcs("", typ.Funcs)
		funcs(typ.Name+".", typ.Methods)
	}
	if names < 100 {
		t.Errorf("only %d names were found", names)
	}
}
