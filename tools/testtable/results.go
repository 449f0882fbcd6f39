package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"strings"
)

// An event is a line of `go test -json`; see `go doc test2json`.
type event struct {
	Action     string
	Package    string
	Test       string
	Elapsed    float64
	Output     string
	ImportPath string
}

// A test is one test, subtest or, with an empty name, a package as a whole.
type test struct {
	pkg, name string
	outcome   string // "pass", "fail", "skip", or "" while it runs
	output    strings.Builder
}

// Results is what a stream of events has told so far.
type results struct {
	tests  []*test // in the order in which they began
	byName map[[2]string]*test
	pkgs   map[string]*test
	ended  []string // packages, in the order in which they ended
	builds map[string]*strings.Builder
	plain  strings.Builder // what was not JSON: go's own complaints
}

func newResults() *results {
	return &results{
		byName: map[[2]string]*test{},
		pkgs:   map[string]*test{},
		builds: map[string]*strings.Builder{},
	}
}

// Add takes one line. It returns false for a line that is no event.
func (r *results) add(line []byte) (event, bool) {
	var e event
	if len(line) == 0 || line[0] != '{' || json.Unmarshal(line, &e) != nil || e.Action == "" {
		r.plain.Write(line)
		r.plain.WriteByte('\n')
		return event{}, false
	}
	switch e.Action {
	case "build-output":
		b := r.builds[e.ImportPath]
		if b == nil {
			b = new(strings.Builder)
			r.builds[e.ImportPath] = b
		}
		b.WriteString(e.Output)
		return e, true
	case "build-fail":
		return e, true
	}
	t := r.test(e.Package, e.Test)
	switch e.Action {
	case "output":
		t.output.WriteString(e.Output)
	case "pass", "fail", "skip":
		t.outcome = e.Action
		if e.Test == "" {
			r.ended = append(r.ended, e.Package)
			r.end(e)
		}
	}
	return e, true
}

func (r *results) test(pkg, name string) *test {
	if name == "" {
		if r.pkgs[pkg] == nil {
			r.pkgs[pkg] = &test{pkg: pkg}
		}
		return r.pkgs[pkg]
	}
	t := r.byName[[2]string{pkg, name}]
	if t == nil {
		t = &test{pkg: pkg, name: name}
		r.byName[[2]string{pkg, name}] = t
		r.tests = append(r.tests, t)
	}
	return t
}

// End settles what a package leaves open: a test that was cut off by a panic
// or a time limit has failed, although nobody said so.
func (r *results) end(e event) {
	for _, t := range r.tests {
		if t.pkg == e.Package && t.outcome == "" {
			t.outcome = e.Action
		}
	}
}

// ReadResults reads a whole log.
func readResults(in io.Reader) (*results, error) {
	r := newResults()
	return r, eachLine(in, func(line []byte) { r.add(line) })
}

// EachLine has no limit to a line's length, as a test's output has none.
func eachLine(in io.Reader, do func([]byte)) error {
	b := bufio.NewReader(in)
	for {
		line, err := b.ReadBytes('\n')
		if len(line) > 0 {
			do([]byte(strings.TrimRight(string(line), "\r\n")))
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// A count is of tests and subtests, as `go test -v` prints them.
type count struct{ passed, failed, skipped int }

func (c *count) add(outcome string) {
	switch outcome {
	case "pass":
		c.passed++
	case "fail":
		c.failed++
	case "skip":
		c.skipped++
	}
}

func (r *results) count(pkg string) count {
	var c count
	for _, t := range r.tests {
		if pkg == "" || t.pkg == pkg {
			c.add(t.outcome)
		}
	}
	return c
}

// Failures are the failed tests at the bottom of their trees: a parent fails
// with its subtests and has nothing to add. A package that failed without a
// failed test stands for itself: it did not compile, or its TestMain failed.
func (r *results) failures() []failure {
	var found []failure
	for _, t := range r.tests {
		if t.outcome == "fail" && !r.has(t.pkg, t.name+"/") {
			found = append(found, failure{name: t.name, pkg: t.pkg, output: t.output.String()})
		}
	}
	for _, pkg := range r.ended {
		if p := r.pkgs[pkg]; p.outcome == "fail" && !r.has(pkg, "") {
			found = append(found, failure{name: "the package as a whole", pkg: pkg, output: r.build(pkg) + p.output.String(), whole: true})
		}
	}
	return found
}

// Has tells whether a test of the package failed whose name begins so.
func (r *results) has(pkg, prefix string) bool {
	for _, t := range r.tests {
		if t.pkg == pkg && t.outcome == "fail" && strings.HasPrefix(t.name, prefix) {
			return true
		}
	}
	return false
}

// Build returns what the compiler said about a package or its tests, which go
// by the names "p", "p_test [p.test]" and the like. A dependency that does not
// compile may have any name, so all is returned where nothing fits.
func (r *results) build(pkg string) string {
	var fits, all strings.Builder
	for path, text := range r.builds {
		name, _, _ := strings.Cut(path, " ")
		if name == pkg || name == pkg+"_test" {
			fits.WriteString(text.String())
		}
		all.WriteString(text.String())
	}
	if fits.Len() > 0 {
		return fits.String()
	}
	if strings.Contains(r.pkgs[pkg].output.String(), "build failed") {
		return all.String()
	}
	return ""
}

func (r *results) skips() []failure {
	var found []failure
	for _, t := range r.tests {
		if t.outcome == "skip" {
			found = append(found, failure{name: t.name, pkg: t.pkg, output: t.output.String()})
		}
	}
	return found
}

// A failure is what somebody has to look at, also something skipped.
type failure struct {
	name, pkg, output string
	whole             bool // no test failed, so none has been counted
}
