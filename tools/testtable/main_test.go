package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// A log of every way in which tests end.
const stream = `{"Action":"start","Package":"m/good"}
{"Action":"run","Package":"m/good","Test":"TestA"}
{"Action":"run","Package":"m/good","Test":"TestA/sub"}
{"Action":"output","Package":"m/good","Test":"TestA","Output":"a table\n"}
{"Action":"pass","Package":"m/good","Test":"TestA/sub","Elapsed":0.1}
{"Action":"pass","Package":"m/good","Test":"TestA","Elapsed":0.1}
{"Action":"run","Package":"m/good","Test":"TestB"}
{"Action":"output","Package":"m/good","Test":"TestB","Output":"=== RUN   TestB\n"}
{"Action":"output","Package":"m/good","Test":"TestB","Output":"    b_test.go:3: no server\n"}
{"Action":"skip","Package":"m/good","Test":"TestB","Elapsed":0}
{"Action":"pass","Package":"m/good","Elapsed":1.5}
{"Action":"start","Package":"m/bad"}
{"Action":"run","Package":"m/bad","Test":"TestC"}
{"Action":"run","Package":"m/bad","Test":"TestC/deep"}
{"Action":"output","Package":"m/bad","Test":"TestC/deep","Output":"want 1, got 2\n"}
{"Action":"fail","Package":"m/bad","Test":"TestC/deep","Elapsed":0.1}
{"Action":"fail","Package":"m/bad","Test":"TestC","Elapsed":0.1}
{"Action":"fail","Package":"m/bad","Elapsed":0.2}
{"Action":"run","Package":"m/cut","Test":"TestHangs"}
{"Action":"output","Package":"m/cut","Test":"TestHangs","Output":"panic: test timed out\n"}
{"Action":"fail","Package":"m/cut","Elapsed":9}
{"Action":"run","Package":"m/leaks","Test":"TestFine"}
{"Action":"pass","Package":"m/leaks","Test":"TestFine","Elapsed":0.1}
{"Action":"output","Package":"m/leaks","Output":"found unexpected goroutines\n"}
{"Action":"fail","Package":"m/leaks","Elapsed":0.2}
{"ImportPath":"m/broken [m/broken.test]","Action":"build-output","Output":"b.go:1: undefined: x\n"}
{"ImportPath":"m/broken [m/broken.test]","Action":"build-fail"}
{"Action":"start","Package":"m/broken"}
{"Action":"output","Package":"m/broken","Output":"FAIL\tm/broken [build failed]\n"}
{"Action":"fail","Package":"m/broken","Elapsed":0,"FailedBuild":"m/broken [m/broken.test]"}
{"Action":"start","Package":"m/none"}
{"Action":"output","Package":"m/none","Output":"?   \tm/none\t[no test files]\n"}
{"Action":"skip","Package":"m/none","Elapsed":0}
`

// steps writes a run's folder; each step is kind, exit code and log.
func steps(t *testing.T, run ...[3]string) []*step {
	t.Helper()
	dir := t.TempDir()
	var lines strings.Builder
	for i, s := range run {
		log := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(log, []byte(s[2]), 0o600); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&lines, "%s\t%s\t1.25\t%s\tstep %d\n", s[0], s[1], log, i)
	}
	if err := os.WriteFile(filepath.Join(dir, "steps"), []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	found, err := readSteps(dir)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func holds(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("does not hold %q:\n%s", part, text)
		}
	}
}

func TestReport(t *testing.T) {
	var out strings.Builder
	ok := report(&out, steps(t,
		[3]string{"tests", "1", stream},
		[3]string{"check", "0", "all well\n"},
		[3]string{"check", "1", "gofmt -w this.go\n"},
		[3]string{"check", "77", "trying\nthe database is out of reach\n"}), 3)
	if ok {
		t.Error("a run with failures passed")
	}
	text := out.String()
	// 3 tests passed in m/good and m/leaks, 5 failed: TestC and its subtest,
	// TestHangs, and two packages without a failed test.
	for _, row := range []string{`step 0 +5 +3 +5 +1 +1\.2`, `step 1 +- +1 +0 +0`, `step 2 +- +0 +1 +0`, `step 3 +- +0 +0 +1`, `all +5 +4 +6 +2 +3\.0`} {
		if !regexp.MustCompile(`(?m)^` + row).MatchString(text) {
			t.Errorf("no row %q:\n%s", row, text)
		}
	}
	holds(t, text, "\n4 passed, 6 failed, 2 skipped\n",
		"TestC/deep in m/bad", "want 1, got 2",
		"TestHangs in m/cut", "panic: test timed out",
		"the package as a whole in m/leaks", "found unexpected goroutines",
		"the package as a whole in m/broken", "b.go:1: undefined: x",
		"gofmt -w this.go",
		"TestB in m/good: b_test.go:3: no server",
		"step 3: the database is out of reach")
	if strings.Contains(text, "TestC in") {
		t.Errorf("a parent is listed beside its failed subtest:\n%s", text)
	}
}

func TestRunThatPasses(t *testing.T) {
	good := stream[:strings.Index(stream, `{"Action":"start","Package":"m/bad"}`)]
	var out strings.Builder
	if !report(&out, steps(t, [3]string{"tests", "0", good}), 0) {
		t.Error("failed")
	}
	holds(t, out.String(), "\n2 passed, 0 failed, 1 skipped\n")
}

// A step whose exit code and log disagree has failed, whichever is right.
func TestDoubtIsAFailure(t *testing.T) {
	for name, s := range map[string][3]string{
		"exit code 2":      {"tests", "2", "flag provided but not defined: -x\n"},
		"no test has run":  {"tests", "0", `{"Action":"pass","Package":"m/p","Elapsed":0}` + "\n"},
		"its log holds":    {"tests", "0", `{"Action":"fail","Package":"m/p","Test":"TestX"}` + "\n"},
		"not defined: -x":  {"tests", "2", "flag provided but not defined: -x\n"},
		"0 passed, 1 fail": {"tests", "1", `{"Action":"run","Package":"m/p","Test":"TestCutOff"}` + "\n"},
	} {
		var out strings.Builder
		if report(&out, steps(t, s), 0) {
			t.Errorf("%s: passed", name)
		}
		holds(t, out.String(), name)
	}
}

func TestWatch(t *testing.T) {
	var out strings.Builder
	w := newWatcher(&out, false, regexp.MustCompile("^TestA$"))
	if err := w.watch(iotest.OneByteReader(strings.NewReader("go: downloading\n"+stream)), time.Minute); err != nil {
		t.Fatal(err)
	}
	w.progress()
	text := out.String()
	holds(t, text, "go: downloading\n", "a table\n",
		"ok   m/good: 2 passed, 0 failed, 1 skipped in 1.5 s\n",
		"FAIL TestC/deep after 0.1 s\n", "FAIL m/bad: 0 passed, 2 failed, 0 skipped in 0.2 s\n",
		"3 passed, 3 failed, 1 skipped so far")
	if strings.Contains(text, "m/none") || strings.Contains(text, "want 1") {
		t.Errorf("too much:\n%s", text)
	}
}

// What runs is named as closely as it can be, and what has ended is not.
func TestProgress(t *testing.T) {
	var out strings.Builder
	w := newWatcher(&out, false, regexp.MustCompile("^$"))
	w.progress()
	for _, line := range []string{"TestA", "TestA/one", "TestAB"} {
		w.line([]byte(`{"Action":"run","Package":"m/p","Test":"` + line + `"}`))
	}
	w.progress()
	w.line([]byte(`{"Action":"pass","Package":"m/p","Test":"TestA/one"}`))
	w.progress()
	holds(t, out.String(), "so far; compiling\n", "so far; running TestA/one, TestAB\n", "1 passed, 0 failed, 0 skipped so far; running TestA, TestAB\n")
}

func TestTail(t *testing.T) {
	var text strings.Builder
	for i := range 100 {
		fmt.Fprintln(&text, "line", i)
	}
	got := tail(text.String(), 9)
	if n := strings.Count(got, "\n"); n != 10 {
		t.Errorf("%d lines:\n%s", n, got)
	}
	holds(t, got, "line 2\n... 91 lines left out ...\nline 94\n", "line 99\n")
}
