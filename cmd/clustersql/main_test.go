package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// variables are those of the environment that files of the tests have.
var variables = []string{"LINT_PW=hunter22", "CHECK_WRONG=wrong%pass/42"}

// binary is the program, built for the tests: they run it as users do.
var binary string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "clustersql-command")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "clustersql")
	for _, v := range variables {
		name, value, _ := strings.Cut(v, "=")
		os.Setenv(name, value)
	}
	args := []string{"build", "-o", binary}
	if raceEnabled {
		args = append(args, "-race")
	}
	if out, err := exec.Command("go", append(args, ".")...).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	// Most tests wait for the program or for servers, and need no processor of their own.
	flag.Parse()
	if err := flag.Set("test.parallel", "6"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	http.DefaultClient.CloseIdleConnections()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err) // what ran in this process
		return 1
	}
	return code
}

// A result is what the program has printed, and its exit code.
type result struct {
	stdout, stderr string
	code           int
}

// invoke runs the program with variables of the environment, "NAME=value" each, before
// its arguments.
func invoke(t *testing.T, env []string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = append(os.Environ(), env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
	return result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// inProcess runs a command line in this process, which is faster.
func inProcess(t *testing.T, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	code := run(&env{ctx: t.Context(), stdout: &out, stderr: &errs}, args)
	return result{out.String(), errs.String(), code}
}

// writeFile writes a file into a folder of the test's own and returns its path.
func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// waitFor waits until problem returns no text, for at most half a minute.
func waitFor(t *testing.T, problem func() string) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		text := problem()
		if text == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(text)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
