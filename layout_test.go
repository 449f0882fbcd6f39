package clustersql

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Each dependency, and what only one part of the package is about, enters
// through one file.
func TestEachDependencyHasOneDoor(t *testing.T) {
	doors := map[string]string{
		"golang.org/x/sync/errgroup": "open.go",
		"expvar":                     "expvar.go",
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		for _, path := range imports(t, file) {
			door, guarded := doors[path]
			if guarded && file != door {
				t.Errorf("%s imports %s, whose door is %s", file, path, door)
			}
			if !guarded && strings.Contains(path, ".") && !strings.HasPrefix(path, "github.com/EnumApps/clustersql/internal/") {
				t.Errorf("%s imports %s, which has no door", file, path)
			}
			used[path] = true
		}
	}
	for path := range doors {
		if !used[path] {
			t.Errorf("nothing imports %s: take it off the list", path)
		}
	}
}

// Pure files have no goroutines, no channels and no clock of their own.
func TestPureFilesStayPure(t *testing.T) {
	for _, file := range []string{"strategy.go", "state.go", "errors.go", "config.go", "nodeerror.go"} {
		for _, path := range imports(t, file) {
			if slices.Contains([]string{"sync", "sync/atomic", "net/http", "os"}, path) {
				t.Errorf("%s imports %s", file, path)
			}
		}
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range []string{"\tgo ", "make(chan", "time.Now(", "time.Sleep("} {
			if strings.Contains(string(src), word) {
				t.Errorf("%s contains %q", file, word)
			}
		}
	}
}

// One noun per file also means that none grows beyond reading.
func TestFilesStayShort(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(src), "\n"); n > 400 && !strings.HasSuffix(file, "_test.go") {
			t.Errorf("%s has %d lines; 400 are enough", file, n)
		}
	}
}

func imports(t *testing.T, file string) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, spec := range f.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	return paths
}
