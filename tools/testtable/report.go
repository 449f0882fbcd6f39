package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A step is a row of the table.
type step struct {
	name     string
	seconds  float64
	log      string
	packages int
	count    count
	failures []failure
	skips    []failure
}

// SkipCode is the exit code of a step that cannot be done here. The last line
// of its log says why.
const skipCode = 77

// ReadSteps reads a line for each step: kind, exit code, seconds, log and
// name, with a tab between them. The kind is "tests" where the log is that of
// `go test -json`, and "check" where it is plain. A check counts as one.
func readSteps(dir string) ([]*step, error) {
	text, err := os.ReadFile(filepath.Join(dir, "steps"))
	if err != nil {
		return nil, err
	}
	var steps []*step
	for line := range strings.Lines(string(text)) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), "\t", 5)
		if len(f) != 5 {
			return nil, fmt.Errorf("steps: not five fields: %q", line)
		}
		code, err := strconv.Atoi(f[1])
		if err != nil {
			return nil, err
		}
		seconds, err := strconv.ParseFloat(f[2], 64)
		if err != nil {
			return nil, err
		}
		s := &step{name: f[4], seconds: seconds, log: f[3]}
		if err := s.read(f[0] == "tests", code); err != nil {
			return nil, err
		}
		steps = append(steps, s)
	}
	return steps, nil
}

func (s *step) read(tests bool, code int) error {
	file, err := os.Open(s.log)
	if err != nil {
		return err
	}
	defer file.Close()
	// A plain log is the case that no line of it is an event.
	r, err := readResults(file)
	if err != nil {
		return err
	}
	switch {
	case code == skipCode:
		s.count.skipped++
		s.skips = []failure{{name: s.name, output: lastLine(r.plain.String())}}
		return nil
	case !tests && code == 0:
		s.count.passed++
		return nil
	case !tests:
		s.fail("", r.plain.String())
		return nil
	}
	for pkg := range r.pkgs {
		if r.count(pkg) != (count{}) || r.pkgs[pkg].outcome == "fail" {
			s.packages++
		}
	}
	s.count = r.count("")
	s.failures, s.skips = r.failures(), r.skips()
	for _, f := range s.failures {
		if f.whole {
			s.count.failed++
		}
	}
	switch {
	case code != 0 && s.count.failed == 0:
		s.fail(fmt.Sprintf("exit code %d", code), r.plain.String())
	case code == 0 && s.count.failed > 0:
		s.fail("go test says that all is well", "and its log holds failures")
	case code == 0 && s.count == (count{}):
		// A test that was renamed would pass for ever.
		s.fail("no test has run", r.plain.String())
	}
	return nil
}

func (s *step) fail(what, output string) {
	s.count.failed++
	name := s.name
	if what != "" {
		name += ": " + what
	}
	s.failures = append(s.failures, failure{name: name, output: output})
}

// Report prints the output of what failed, the table, what failed and was
// skipped by name, and the closing line. It returns false if anything failed. All
// of it took so many seconds; 0 is the sum of the steps.
func report(out io.Writer, steps []*step, took float64) bool {
	var total step
	for _, s := range steps {
		for i, f := range s.failures {
			if i == 10 {
				fmt.Fprintf(out, "\n%d more failures of this step: see %s\n", len(s.failures)-i, s.log)
				break
			}
			fmt.Fprintf(out, "\n-- FAILED: %s\n%s", f.title(), tail(f.output, 60))
		}
		total.packages += s.packages
		total.seconds += s.seconds
		total.count.passed += s.count.passed
		total.count.failed += s.count.failed
		total.count.skipped += s.count.skipped
	}
	if took > 0 {
		total.seconds = took
	}
	fmt.Fprintln(out)
	total.name = "all"
	table(out, append(steps[:len(steps):len(steps)], &total))

	list(out, "skipped", steps, func(s *step) []failure { return s.skips }, 20)
	list(out, "failed", steps, func(s *step) []failure { return s.failures }, 100)
	fmt.Fprintf(out, "\n%d passed, %d failed, %d skipped\n", total.count.passed, total.count.failed, total.count.skipped)
	return total.count.failed == 0
}

func table(out io.Writer, rows []*step) {
	width := len("step")
	for _, s := range rows {
		width = max(width, len(s.name))
	}
	fmt.Fprintf(out, "%-*s  packages  passed  failed  skipped  seconds\n", width, "step")
	for _, s := range rows {
		packages := "-"
		if s.packages > 0 {
			packages = strconv.Itoa(s.packages)
		}
		fmt.Fprintf(out, "%-*s  %8s  %6d  %6d  %7d  %7.1f\n", width, s.name, packages, s.count.passed, s.count.failed, s.count.skipped, s.seconds)
	}
}

// List names what a step skipped or failed, and for a skip why.
func list(out io.Writer, word string, steps []*step, of func(*step) []failure, limit int) {
	n := 0
	for _, s := range steps {
		for _, f := range of(s) {
			if n++; n == 1 {
				fmt.Fprintf(out, "\n%s:\n", word)
			}
			if n > limit {
				continue
			}
			fmt.Fprintf(out, "  %s", f.title())
			if word == "skipped" {
				fmt.Fprintf(out, ": %s\n", reason(f.output))
			} else {
				fmt.Fprintf(out, "; all output: %s\n", s.log)
			}
		}
	}
	if n > limit {
		fmt.Fprintf(out, "  and %d more\n", n-limit)
	}
}

func (f failure) title() string {
	if f.pkg == "" {
		return f.name
	}
	return f.name + " in " + f.pkg
}

// Reason finds what a test gave to t.Skip in its output.
func reason(output string) string {
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(line, "--- ") {
			return line
		}
	}
	return "no reason given"
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// Tail is the end of a text, where a failure tells what it is about, and its
// first lines if there are too many between them.
func tail(text string, lines int) string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(all) > lines {
		left := len(all) - lines
		head := lines / 3
		all = append(append(all[:head:head], fmt.Sprintf("... %d lines left out ...", left)), all[head+left:]...)
	}
	return strings.Join(all, "\n") + "\n"
}
