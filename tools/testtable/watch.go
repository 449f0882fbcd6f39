package main

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A watcher says how far the tests are: a line for each package that ended,
// each test that failed, and now and then one about what runs.
type watcher struct {
	out     io.Writer
	all     bool
	shown   *regexp.Regexp
	results *results
	running []string
	began   time.Time
}

func newWatcher(out io.Writer, all bool, shown *regexp.Regexp) *watcher {
	return &watcher{out: out, all: all, shown: shown, results: newResults(), began: time.Now()}
}

func (w *watcher) watch(in io.Reader, every time.Duration) error {
	lines := make(chan []byte)
	failed := make(chan error, 1)
	go func() {
		defer close(lines)
		failed <- eachLine(in, func(line []byte) { lines <- line })
	}()
	silence := time.NewTicker(every)
	defer silence.Stop()
	for {
		select {
		case line, ok := <-lines:
			if !ok {
				return <-failed
			}
			if w.line(line) {
				silence.Reset(every)
			}
		case <-silence.C:
			w.progress()
		}
	}
}

// Line takes a line and tells whether it printed anything.
func (w *watcher) line(line []byte) bool {
	e, ok := w.results.add(line)
	if !ok {
		fmt.Fprintln(w.out, string(line))
		return true
	}
	if e.Action == "output" && w.all {
		fmt.Fprint(w.out, e.Output)
		return true
	}
	if e.Test != "" {
		return w.test(e)
	}
	if e.Action != "pass" && e.Action != "fail" {
		return false // a package without tests is no news, nor one of which none was asked for
	}
	word := "ok  "
	if e.Action == "fail" {
		word = "FAIL"
	}
	c := w.results.count(e.Package)
	if e.Action == "pass" && c == (count{}) {
		return false
	}
	fmt.Fprintf(w.out, "%s %s: %d passed, %d failed, %d skipped in %.1f s\n", word, e.Package, c.passed, c.failed, c.skipped, e.Elapsed)
	return true
}

func (w *watcher) test(e event) bool {
	switch e.Action {
	case "run":
		w.running = append(w.running, e.Test)
		return false
	case "pass", "fail", "skip":
		if i := slices.Index(w.running, e.Test); i >= 0 {
			w.running = slices.Delete(w.running, i, i+1)
		}
	}
	if (e.Action == "pass" || e.Action == "fail") && w.shown.MatchString(e.Test) && !w.all {
		fmt.Fprint(w.out, w.results.test(e.Package, e.Test).output.String())
		return true
	}
	if e.Action == "fail" {
		fmt.Fprintf(w.out, "FAIL %s after %.1f s\n", e.Test, e.Elapsed)
		return true
	}
	return false
}

func (w *watcher) progress() {
	c := w.results.count("")
	what := "compiling"
	if now := w.deepest(); len(now) > 0 {
		what = "running " + strings.Join(now[:min(3, len(now))], ", ")
	} else if len(w.results.tests) > 0 {
		what = "between two tests"
	}
	fmt.Fprintf(w.out, "     %.0f s: %d passed, %d failed, %d skipped so far; %s\n", time.Since(w.began).Seconds(), c.passed, c.failed, c.skipped, what)
}

// Deepest returns the running tests that do not just wait for a subtest.
func (w *watcher) deepest() []string {
	var found []string
	for _, name := range w.running {
		if !slices.ContainsFunc(w.running, func(other string) bool { return strings.HasPrefix(other, name+"/") }) {
			found = append(found, name)
		}
	}
	return found
}
