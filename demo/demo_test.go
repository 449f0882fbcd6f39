package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/EnumApps/clustersql/internal/galera"
	"github.com/EnumApps/clustersql/internal/pgcluster"
	"github.com/EnumApps/clustersql/internal/throwaway"
	"go.uber.org/goleak"
)

// asDemo in the environment makes the test binary the demo. Each run has a
// process of its own, because database/sql cannot forget a name.
const asDemo = "CLUSTERSQL_DEMO_CHILD"

// statusLeak is the exit status of the child if the demo left a goroutine.
const statusLeak = 3

func TestMain(m *testing.M) {
	if os.Getenv(asDemo) == "" {
		goleak.VerifyTestMain(m)
		return
	}
	ctx, stop := interruptible()
	status := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = statusLeak
	}
	os.Exit(status)
}

// command returns the demo as a command. It is killed at the end of the test.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = append(os.Environ(), asDemo+"=1")
	return cmd
}

// outcome runs the demo. It returns the output and the exit status.
func outcome(t *testing.T, args ...string) (output string, status int) {
	t.Helper()
	text, err := command(t, args...).CombinedOutput()
	return string(text), statusOfExit(t, err)
}

func statusOfExit(t *testing.T, err error) int {
	t.Helper()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return statusOK
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	t.Fatal(err)
	return 0
}

// wantLines asserts that the lines occur, in this order.
func wantLines(t *testing.T, output string, lines ...string) {
	t.Helper()
	rest := output
	for _, l := range lines {
		_, after, found := strings.Cut(rest, l)
		if !found {
			t.Fatalf("no %q where it should be in\n%s", l, output)
		}
		rest = after
	}
}

var scenarioLines = []string{
	"all three nodes serve",
	"node2 refuses new connections",
	"both clusters have left node2",
	"node2 is stopped",
	"node2 is started again",
	"both clusters have node2 back",
	"node3 is slow",
	"node3 is fast again",
	"failed operations: none",
	"that were written are on each node",
}

func TestApplicationSeesNoErrorWhileNodesComeAndGo(t *testing.T) {
	output, status := outcome(t, "-duration", "2s")
	if status != statusOK {
		t.Fatalf("status %d:\n%s", status, output)
	}
	wantLines(t, output, scenarioLines...)
	for _, line := range []string{
		"read_conn: node2 down (refused: ", "write_conn: node2 down (refused: ",
		"read_conn: node2 up", "write_conn: node2 up",
		" 0 failed; ", "cluster     node   state ",
	} {
		wantLines(t, output, line)
	}
	for _, never := range []string{"\x1b", "[mysql]", "level="} {
		if strings.Contains(output, never) {
			t.Errorf("%q is in\n%s", never, output)
		}
	}
}

func TestOutageGivesStatus1(t *testing.T) {
	output, status := outcome(t, "-outage", "-duration", "2s")
	if status != statusFailed {
		t.Fatalf("status %d:\n%s", status, output)
	}
	wantLines(t, output, "operations must fail", "all three nodes take connections again", "failed operations: ", ", the last one: ")
	if strings.Contains(output, "failed operations: none") {
		t.Errorf("no operation failed:\n%s", output)
	}
}

func TestInterruptEndsCleanly(t *testing.T) {
	wantLines(t, interrupted(t, "all three nodes serve", "-duration", "10m"), "interrupted after", "failed operations: none")
}

// interrupted runs the demo and interrupts it when it has printed a text. It
// returns the output. The demo must end with status 0.
func interrupted(t *testing.T, at string, args ...string) string {
	t.Helper()
	cmd := command(t, args...)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var seen strings.Builder
	lines := bufio.NewScanner(stdout)
	for lines.Scan() && !strings.Contains(lines.Text(), at) {
		fmt.Fprintln(&seen, lines.Text())
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
		fmt.Fprintln(&seen, lines.Text())
	}
	if status := statusOfExit(t, cmd.Wait()); status != statusOK {
		t.Fatalf("status %d:\n%s%s", status, seen.String(), stderr.String())
	}
	return seen.String()
}

// The page is there while the scenario runs, and with -page until an interrupt.
func TestPageStaysUntilAnInterrupt(t *testing.T) {
	cmd := command(t, "-page", "127.0.0.1:0", "-duration", "2s")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var seen strings.Builder
	lines := bufio.NewScanner(stdout)
	next := func(text string) string {
		for lines.Scan() {
			fmt.Fprintln(&seen, lines.Text())
			if strings.Contains(lines.Text(), text) {
				return lines.Text()
			}
		}
		t.Fatalf("no %q in\n%s", text, seen.String())
		return ""
	}
	_, address, _ := strings.Cut(next("the page in a browser: "), "browser: ")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	look := func() {
		answer, err := client.Get(address)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		wantLines(t, string(text), "<h1>clustersql demo</h1>", "read_conn", "node3", "write_conn", "node3")
	}
	look()
	stays := next("the page stays at ")
	wantLines(t, seen.String(), "failed operations: none", stays)
	look()
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
		fmt.Fprintln(&seen, lines.Text())
	}
	if status := statusOfExit(t, cmd.Wait()); status != statusOK {
		t.Errorf("status %d:\n%s", status, seen.String())
	}
}

// demandNodes ends a test that cannot have real nodes.
func demandNodes(t *testing.T, err error) {
	t.Helper()
	throwaway.Demand(t, err)
	if testing.Short() {
		t.Skip("real nodes take their time; run without -short")
	}
}

var failoverLines = []string{
	"all three nodes serve: node1 is the primary",
	"node2 refuses new connections",
	"the readers have left node2",
	"node2 is stopped",
	"node2 is started again",
	"the readers have node2 back",
	"node3 is slow",
	"node3 is fast again",
	"node3 replays nothing any more",
	"the readers have left node3: it is further behind than max_lag",
	"node3 replays again",
	"the readers have node3 back",
	"node1, the primary, is killed",
	"the demo plays the failover manager",
	" is promoted, and the other standby follows it",
	"the writers have found node",
	"node1, the old primary, is rewound and started as a standby of node",
	"the readers have node1 back",
	"failed operations: none",
	"that were written are on each node",
}

func TestPostgresNodesComeAndGo(t *testing.T) {
	demandNodes(t, pgcluster.Available())
	output, status := outcome(t, "-postgres", "-duration", "3s")
	if status != statusOK {
		t.Fatalf("status %d:\n%s", status, output)
	}
	wantLines(t, output, failoverLines...)
	for _, line := range []string{
		"read_conn: node3 down (lagging: ", "write_conn: node1 down (", "node's role (primary, was replica)",
		"write_conn: node1 node's role (replica, was primary)", " state    role        lag ", " 0 failed; ",
	} {
		wantLines(t, output, line)
	}
}

// An operation that waits for a primary when the demo is interrupted still gets
// one.
func TestInterruptWithoutAPrimaryEndsCleanly(t *testing.T) {
	demandNodes(t, pgcluster.Available())
	wantLines(t, interrupted(t, "is killed", "-postgres", "-duration", "3s"), "is promoted", "interrupted after", "failed operations: none")
}

func TestPostgresOutageGivesStatus1(t *testing.T) {
	demandNodes(t, pgcluster.Available())
	output, status := outcome(t, "-postgres", "-outage", "-duration", "2s")
	if status != statusFailed {
		t.Fatalf("status %d:\n%s", status, output)
	}
	wantLines(t, output, "operations must fail", "all three nodes take connections again", ", the last one: ")
}

func TestGaleraNodesComeAndGo(t *testing.T) {
	demandNodes(t, galera.Available())
	output, status := outcome(t, "-galera", "-duration", "2s")
	if status != statusOK {
		t.Fatalf("status %d:\n%s", status, output)
	}
	wantLines(t, output, scenarioLines...)
}

func TestMistakesHaveTheirStatus(t *testing.T) {
	cases := []struct {
		name   string
		args   []string
		status int
		says   string
	}{
		{"unknown flag", []string{"-nodes"}, statusUsage, "flag provided but not defined: -nodes"},
		{"argument", []string{"fast"}, statusUsage, "no arguments but flags"},
		{"no time", []string{"-duration", "0s"}, statusUsage, "must be positive"},
		{"two databases", []string{"-galera", "-postgres"}, statusUsage, "exclude each other"},
		{"no address", []string{"-page", "nowhere"}, statusFailed, "-page: listen tcp: address nowhere: missing port"},
		{"help", []string{"-h"}, statusOK, "-galera"},
		{"help", []string{"-h"}, statusOK, "-postgres"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			var stderr strings.Builder
			if status := run(context.Background(), tc.args, io.Discard, &stderr); status != tc.status {
				t.Errorf("status %d, want %d", status, tc.status)
			}
			wantLines(t, stderr.String(), tc.says)
		})
	}
}

func TestMissingConfigurationGivesStatus1(t *testing.T) {
	output, status := outcome(t, "-config", "none.toml")
	if status != statusFailed {
		t.Fatalf("status %d:\n%s", status, output)
	}
	wantLines(t, output, "demo: clustersql: none.toml: ")
}
