package clustersql

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const modulePath = "github.com/EnumApps/clustersql"

// arrows are all imports between packages of the module, without those of test
// files. The root is ".". An import that is not in the table is a failure, and
// so is an entry that is not in the code.
var arrows = map[string][]string{
	".": {
		"internal/balance", "internal/calls", "internal/causal", "internal/clusterdsn", "internal/conffile", "internal/counts",
		"internal/deadline", "internal/dialect", "internal/dialects", "internal/discovery", "internal/draw",
		"internal/drivers", "internal/gate", "internal/health", "internal/hedge", "internal/held", "internal/history",
		"internal/jsonform", "internal/logline", "internal/members", "internal/mysql", "internal/postgres",
		"internal/redact", "internal/roles", "internal/roll", "internal/seen", "internal/session", "internal/settings",
		"internal/socket", "internal/whynot",
	},

	"internal/conffile": {"internal/redact"},
	"internal/mysql":    {"internal/causal", "internal/dialect", "internal/health", "internal/redact"},
	"internal/postgres": {"internal/causal", "internal/dialect", "internal/health", "internal/redact"},
	"internal/session":  {"internal/causal", "internal/dialect", "internal/health", "internal/hedge", "internal/sqltext"},

	"internal/balance":    {"internal/health"},
	"internal/calls":      {},
	"internal/clusterdsn": {"internal/dialect", "internal/redact"},
	"internal/deadline":   {},
	"internal/dialect":    {"internal/causal", "internal/health"},
	"internal/dialects":   {"internal/dialect", "internal/health", "internal/mysql", "internal/postgres"},
	"internal/draw":       {},
	"internal/drivers":    {"internal/conffile", "internal/dialects"},
	"internal/gate":       {},
	"internal/health":     {"internal/jsonform"},
	"internal/hedge":      {"internal/balance", "internal/health"},
	"internal/held":       {"internal/counts", "internal/draw", "internal/session", "internal/socket"},
	"internal/history":    {"internal/health"},
	"internal/jsonform":   {},
	"internal/members":    {"internal/conffile", "internal/dialect"},
	"internal/logline":    {"internal/calls", "internal/health"},
	"internal/redact":     {},
	"internal/discovery":  {"internal/dialect", "internal/draw", "internal/health", "internal/members"},
	"internal/roles":      {"internal/dialect", "internal/health"},
	"internal/roll":       {},
	"internal/settings":   {"internal/conffile"},
	"internal/socket":     {},
	"internal/counts":     {"internal/health", "internal/jsonform"},
	"internal/sqltext":    {},

	"internal/causal":     {},
	"internal/causaltest": {},
	"internal/seen":       {"internal/causal", "internal/counts", "internal/dialect"},

	"internal/whynot": {"internal/balance", "internal/health"},

	"statuspage": {"."},

	// These serve tests, the demo and the benchmarks. Nothing above imports
	// them.
	"internal/dnstest":    {},
	"internal/fakedb":     {},
	"internal/galera":     {"internal/relay", "internal/throwaway"},
	"internal/galeratest": {"internal/fakedb"},
	"internal/mysqlgroup": {"internal/throwaway"},
	"internal/pgcluster":  {"internal/relay", "internal/throwaway"},
	"internal/race":       {},
	"internal/relay":      {},
	"internal/seedtest":   {},
	"internal/selftest": {
		".", "internal/conffile", "internal/mysql", "internal/postgres",
	},
	"internal/simulation": {},
	"internal/throwaway":  {},
	"integration":         {},
	"examples/threeclusters": {
		".",
	},
}

// pure packages have no goroutine, channel, lock, file or clock of their own,
// and import pure packages only.
var pure = []string{"internal/balance", "internal/health", "internal/redact", "internal/sqltext", "internal/jsonform", "internal/whynot"}

// doors names the one package that may import each dependency.
var doors = map[string]string{
	"github.com/go-sql-driver/mysql": "internal/mysql",
	"github.com/BurntSushi/toml":     "internal/conffile",
	"golang.org/x/sync/errgroup":     ".",
}

// doorFiles names the one file of the root that may import these.
var doorFiles = map[string]string{
	"golang.org/x/sync/errgroup": "open.go",
	"expvar":                     "expvar.go",
}

// A sourceFile is one parsed Go file of the module.
type sourceFile struct {
	dir, name string // dir is relative to the module's root
	test      bool
	text      []byte
	ast       *ast.File
	lines     int
}

func (f *sourceFile) path() string { return path.Join(f.dir, f.name) }

// imports returns the paths that the file imports.
func (f *sourceFile) imports(t *testing.T) []string {
	t.Helper()
	var paths []string
	for _, spec := range f.ast.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, p)
	}
	return paths
}

// sources parses every Go file of the root module.
func sources(t *testing.T) []*sourceFile {
	t.Helper()
	files, err := parsedSources()
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 50 {
		t.Fatalf("only %d files were found", len(files))
	}
	return files
}

var parsedSources = sync.OnceValues(func() ([]*sourceFile, error) {
	var files []*sourceFile
	err := filepath.WalkDir(".", func(p string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && p != ".":
			if _, err := os.Stat(filepath.Join(p, "go.mod")); err == nil || strings.HasPrefix(e.Name(), ".") || e.Name() == "testdata" {
				return fs.SkipDir
			}
			return nil
		case filepath.Ext(p) != ".go":
			return nil
		}
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), p, text, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		files = append(files, &sourceFile{
			dir: filepath.ToSlash(filepath.Dir(p)), name: e.Name(), test: strings.HasSuffix(p, "_test.go"),
			text: text, ast: parsed, lines: bytes.Count(text, []byte("\n")),
		})
		return nil
	})
	return files, err
})

// inModule returns the directory of a package of this module.
func inModule(importPath string) (dir string, ok bool) {
	if importPath == modulePath {
		return ".", true
	}
	return strings.CutPrefix(importPath, modulePath+"/")
}

// The table of arrows is exactly the import graph of the module.
func TestArrowsAreThoseOfTheTable(t *testing.T) {
	found := map[string]map[string]bool{}
	for _, f := range sources(t) {
		if found[f.dir] == nil {
			found[f.dir] = map[string]bool{}
		}
		if _, known := arrows[f.dir]; !known {
			t.Errorf("%s: the table has no package %s", f.path(), f.dir)
		}
		if f.test {
			continue
		}
		for _, p := range f.imports(t) {
			dir, ours := inModule(p)
			if !ours {
				continue
			}
			found[f.dir][dir] = true
			if !slices.Contains(arrows[f.dir], dir) {
				t.Errorf("%s imports %s, which the table does not have", f.path(), dir)
			}
		}
	}
	for from, tos := range arrows {
		if found[from] == nil {
			t.Errorf("there is no package %s: take it out of the table", from)
		}
		for _, to := range tos {
			if !found[from][to] {
				t.Errorf("%s does not import %s: take it out of the table", from, to)
			}
			if to == "." && strings.HasPrefix(from, "internal/") && from != "internal/selftest" { // which only tests import
				t.Errorf("%s imports the root", from)
			}
		}
	}
}

// The imports have no cycle. Pure packages import only pure ones.
func TestPurePackagesArePure(t *testing.T) {
	for _, from := range pure {
		for _, to := range arrows[from] {
			if !slices.Contains(pure, to) {
				t.Errorf("%s imports %s, which is not pure", from, to)
			}
		}
	}
	forbidden := []string{"sync", "sync/atomic", "os", "os/exec", "net/http", "io/fs", "runtime", "log", "log/slog"}
	clocks := []string{"Now", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick", "Since", "Until"}
	for _, f := range sources(t) {
		if f.test || !slices.Contains(pure, f.dir) {
			continue
		}
		for _, p := range f.imports(t) {
			if slices.Contains(forbidden, p) {
				t.Errorf("%s imports %s", f.path(), p)
			}
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s starts a goroutine", f.path())
			case *ast.ChanType, *ast.SendStmt, *ast.SelectStmt:
				t.Errorf("%s has a channel", f.path())
			case *ast.SelectorExpr:
				pkg, ok := n.X.(*ast.Ident)
				if ok && pkg.Name == "time" && slices.Contains(clocks, n.Sel.Name) {
					t.Errorf("%s asks a clock: time.%s", f.path(), n.Sel.Name)
				}
				if ok && pkg.Name == "rand" && !slices.Contains([]string{"Rand", "New", "NewPCG"}, n.Sel.Name) {
					t.Errorf("%s draws from a source of its own: rand.%s", f.path(), n.Sel.Name)
				}
			}
			return true
		})
	}
}

// Each dependency enters through one package, and some through one file.
func TestEachDependencyHasOneDoor(t *testing.T) {
	used := map[string]bool{}
	for _, f := range sources(t) {
		if f.test || slices.Contains([]string{"internal/fakedb", "internal/galera", "internal/galeratest", "internal/mysqlgroup", "internal/seedtest", "internal/selftest", "internal/simulation", "integration"}, f.dir) || strings.HasPrefix(f.dir, "examples/") {
			continue
		}
		for _, p := range f.imports(t) {
			used[p] = true
			if file, guarded := doorFiles[p]; guarded && f.dir == "." && f.name != file {
				t.Errorf("%s imports %s, whose door is %s", f.path(), p, file)
			}
			if _, ours := inModule(p); ours || !strings.Contains(p, ".") {
				continue
			}
			if door, guarded := doors[p]; !guarded {
				t.Errorf("%s imports %s, which has no door", f.path(), p)
			} else if f.dir != door {
				t.Errorf("%s imports %s, whose door is %s", f.path(), p, door)
			}
		}
	}
	for p := range doors {
		if !used[p] {
			t.Errorf("nothing imports %s: take it off the list", p)
		}
	}
}

// Files and functions keep their limits of length, and the root its limit of
// files.
func TestTheRootIsWhatAReaderCanHold(t *testing.T) {
	root := 0
	for _, f := range sources(t) {
		if f.test {
			continue
		}
		if f.dir == "." {
			root++
		}
		if f.lines > 400 {
			t.Errorf("%s has %d lines; 400 are enough", f.path(), f.lines)
		}
	}
	if root > 26 {
		t.Errorf("the root has %d source files; 26 are enough", root)
	}
	for _, name := range []string{
		"go.mod", "go.sum", "manager.go", "nodeactor.go", "dialer.go", "registry.go", "expvar.go",
		"manager_test.go", "leak_test.go", "config.toml", "README.md",
	} {
		if _, err := os.Stat(name); err != nil {
			t.Errorf("a file that users know is gone: %v", err)
		}
	}
}

// The core never asks which driver it has. In the root only the choice of the
// dialect, and comments, name a database.
func TestTheCoreAsksNoDriversName(t *testing.T) {
	for _, f := range sources(t) {
		if f.test || f.dir != "." || f.name == "dialects.go" {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CommentGroup, *ast.Comment:
				return false
			case *ast.Ident:
				if strings.Contains(strings.ToLower(n.Name), "mysql") {
					t.Errorf("%s names %s", f.path(), n.Name)
				}
			}
			return true
		})
		for _, p := range f.imports(t) {
			if strings.Contains(p, "mysql") || strings.Contains(p, "postgres") {
				t.Errorf("%s imports %s", f.path(), p)
			}
		}
	}
}
