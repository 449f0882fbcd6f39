package clustersql

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
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
	for _, pattern := range []string{"example*_test.go", "compat/*.go", "pgx/*.go", "metrics/*/*.go", "examples/*/*.go", "statuspage/example*_test.go"} {
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
			if strings.Contains(block, `"pgx"`) || strings.Contains(block, `"clustersql-pgx"`) {
				continue // the modules compat and pgx have these drivers, and load them
			}
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
	"go -C demo run .":               "CI runs it",
	"./test.sh":                      "CI runs it",
	"go test -v .":                   "test.sh runs these tests, see test_module",
	"go -C cmd/clustersql install .": "the tests of that module build it",
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
			if strings.HasPrefix(command, "clustersql ") {
				continue // the tests of cmd/clustersql look at these
			}
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

// Links between the documents lead to a file and to a heading that are there.
func TestDocsLinksResolve(t *testing.T) {
	link := regexp.MustCompile(`(?:\]\(|src="|srcset=")([^)"\s]+)[)"]`)
	anchors := make(map[string][]string) // by the path of the file
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
				continue
			} else if hasAnchor && anchors[target] == nil {
				anchors[target] = (document{target, docsRead(t, target)}).anchors()
			}
			if hasAnchor && !slices.Contains(anchors[target], anchor) {
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
