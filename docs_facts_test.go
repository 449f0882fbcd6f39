package clustersql

import (
	"expvar"
	"fmt"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/BurntSushi/toml"
	backend "github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql/internal/mysql"
	"github.com/EnumApps/clustersql/internal/postgres"
)

// settingRow is a row of docs/settings.md: key, field, option and default.
var settingRow = regexp.MustCompile("(?m)^\\| \\[`(\\w+)`\\]\\(#\\w+\\) \\| `Config\\.(\\w+)` \\| (.*?) \\| .*? \\| (?:`(.*?)`|\\*of the dialect\\*) \\| [a-z ]+ \\|$")

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
	text, shown := docsRead(t, "docs/operations.md"), expvar.Get(t.Name()).String()
	_, listed, _ := strings.Cut(text, "`Status` has ")
	listed, _, found := strings.Cut(listed, " and `Won`")
	if !found {
		t.Error("docs/operations.md has no list of the keys of Status")
	}
	for _, m := range regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(listed, -1) {
		if !strings.Contains(shown, `"`+m[1]+`":`) {
			t.Errorf("docs/operations.md has the expvar key %s, which is not shown", m[1])
		}
	}
	for _, m := range regexp.MustCompile(`"(\w+)":`).FindAllStringSubmatch(shown, -1) {
		if m[1] != "n1" && !strings.Contains(text, "`"+m[1]+"`") {
			t.Errorf("docs/operations.md does not have the expvar key %s", m[1])
		}
	}
}

// The states, the kinds of events and the fields of what a program gets are in
// the manual.
func TestDocsNamesFieldsAndKinds(t *testing.T) {
	said := make(map[string]bool) // between two backquotes of a line
	for line := range strings.Lines(manual(t)) {
		if parts := strings.Split(line, "`"); len(parts) > 2 {
			for _, word := range regexp.MustCompile(`\w+`).FindAllString(strings.Join(parts[1:len(parts)-1], "`"), -1) {
				said[word] = true
			}
		}
	}
	want := func(what, name string) {
		t.Helper()
		if !said[name] {
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
		NodeConfig{}, Selftest{}, Node{}, Description{}, Diff{}, Change{}, ReloadStatus{}, SourceStatus{}, UnusedNode{},
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
		3100: "Error on observer while running replication hook 'before_commit'.",
		4031: "The client was disconnected by the server because of inactivity.",
		9001: "Max connect timeout reached while reaching hostgroup 10 after 10000ms",
		9002: "Max connect failure while reaching hostgroup 10",
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
	file, err := parser.ParseFile(token.NewFileSet(), "internal/mysql/numbers.go", nil, 0)
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

// sqlstateRow is a row of the SQLSTATEs in docs/errors.md.
var sqlstateRow = regexp.MustCompile("(?m)^\\| `([a-z -]+)` \\| ((?:[0-9A-Z]{2}|[0-9A-Z]{5})\\b.*?) \\|$")

// sqlstate is the error of a driver of PostgreSQL.
type sqlstate string

func (e sqlstate) Error() string    { return string(e) }
func (e sqlstate) SQLState() string { return string(e) }

// What docs/errors.md says of PostgreSQL's SQLSTATEs is what the dialect has, and
// none is left out.
func TestDocsSQLStates(t *testing.T) {
	said := make(map[string]string)
	for _, m := range sqlstateRow.FindAllStringSubmatch(docsRead(t, "docs/errors.md"), -1) {
		for _, state := range regexp.MustCompile(`\b[0-9][0-9A-Z](?:[0-9A-Z]{3})?\b`).FindAllString(m[2], -1) {
			said[state] = m[1]
			class, _ := postgres.Dialect{}.Classify(sqlstate((state + "000")[:5]))
			if class.String() != m[1] {
				t.Errorf("docs/errors.md has %s as %q, and the code as %q", state, m[1], class)
			}
		}
	}
	file, err := parser.ParseFile(token.NewFileSet(), "internal/postgres/errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	ast.Inspect(file, func(n ast.Node) bool {
		row, ok := n.(*ast.CompositeLit)
		if !ok || len(row.Elts) != 3 {
			return true
		}
		if lit, ok := row.Elts[0].(*ast.BasicLit); ok && lit.Kind == token.STRING {
			found++
			if _, ok := said[strings.Trim(lit.Value, `"`)]; !ok {
				t.Errorf("docs/errors.md does not have SQLSTATE %s", lit.Value)
			}
		}
		return true
	})
	if found < 10 || len(said) != found {
		t.Errorf("%d SQLSTATEs in the code, %d in docs/errors.md", found, len(said))
	}
}

// Every exported name of the package has an example, or stands in the manual.
func TestDocsNameTheAPI(t *testing.T) {
	said := make(map[string]bool)
	for _, word := range regexp.MustCompile(`\w+`).FindAllString(manual(t), -1) {
		said[word] = true
	}
	names := 0
	docsNames(t, func(name string, examples int) {
		names++
		if examples == 0 && !said[name[strings.IndexByte(name, '.')+1:]] {
			t.Errorf("%s has no example, and is neither in README.md nor in docs/", name)
		}
	})
	if names < 100 {
		t.Errorf("only %d names were found", names)
	}
}

// What the documents name of the package is there: options, and names with the
// package's before them.
func TestDocsNameNothingElse(t *testing.T) {
	names := make(map[string]bool)
	docsNames(t, func(name string, _ int) { names[name] = true })
	for _, d := range documents(t) {
		for _, m := range regexp.MustCompile(`\bclustersql\.([A-Z]\w*)|[^.\w](With[A-Z]\w*)`).FindAllStringSubmatch(d.text, -1) {
			if name := m[1] + m[2]; !names[name] {
				t.Errorf("%s: the package has no %s", d.path, name)
			}
		}
	}
}

// docsNames calls see for every exported name of the package, a method's with
// its type, and the number of its examples.
func docsNames(t *testing.T, see func(name string, examples int)) {
	t.Helper()
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
	values := func(groups ...[]*doc.Value) {
		for _, v := range slices.Concat(groups...) {
			for _, name := range v.Names {
				if token.IsExported(name) {
					see(name, 0)
				}
			}
		}
	}
	funcs := func(prefix string, all []*doc.Func) {
		for _, f := range all {
			see(prefix+f.Name, len(f.Examples))
		}
	}
	values(pkg.Consts, pkg.Vars)
	funcs("", pkg.Funcs)
	for _, typ := range pkg.Types {
		see(typ.Name, len(typ.Examples))
		values(typ.Consts, typ.Vars)
		funcs("", typ.Funcs)
		funcs(typ.Name+".", typ.Methods)
	}
}
