package pgcluster

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/EnumApps/clustersql/internal/throwaway"
)

// wait polls until done returns true. It fails the test after a minute.
func wait(t *testing.T, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := throwaway.Poll(ctx, nil, done); err != nil {
		t.Fatalf("waiting until %s: %v", what, err)
	}
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// segment returns the line of the kernel's list about the server's shared
// memory, or "".
func segment(t *testing.T, id string) string {
	t.Helper()
	text, err := os.ReadFile("/proc/sysvipc/shm")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[1] == id {
			return line
		}
	}
	return ""
}

// A frozen server's children outlive their postmaster, and have no environment
// by which they could be found.
func TestNothingOutlivesAProcessKilledWithSIGKILL(t *testing.T) {
	throwaway.Demand(t, Available())
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+os.TempDir())
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the child said %q: %v", line, err)
	}
	dir := strings.TrimSpace(line)
	text, err := os.ReadFile(filepath.Join(dir, "n1", "data", "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	shared := strings.Fields(strings.Split(string(text), "\n")[6])[1]
	if n := len(throwaway.Below(dir)); n < 2 || segment(t, shared) == "" {
		t.Fatalf("%d processes run before the kill; segment %s: %q", n, shared, segment(t, shared))
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	wait(t, "no server is left", func() bool { return len(throwaway.Below(dir)) == 0 })
	wait(t, "the folder is gone", func() bool { return !exists(dir) })
	if left := segment(t, shared); left != "" {
		t.Errorf("shared memory is left: %s", left)
	}
}

func TestACanceledStartLeavesNothing(t *testing.T) {
	throwaway.Demand(t, Available())
	parent, err := os.MkdirTemp("", "p")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(parent)
	if err := os.Chmod(parent, 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	// The test cancels when the first server writes its line to the log.
	c, err := Start(ctx, Options{Nodes: 2, Dir: parent, Log: writerFunc(func(b []byte) {
		if strings.Contains(string(b), "started, pid") {
			cancel()
		}
	})})
	if err == nil {
		c.Stop()
		t.Fatal("Start succeeded")
	}
	left, err := os.ReadDir(parent)
	if err != nil || len(left) > 0 || len(throwaway.Below(parent)) > 0 {
		t.Errorf("left: files %v, processes %v, error %v", left, throwaway.Below(parent), err)
	}
}

type writerFunc func([]byte)

func (f writerFunc) Write(b []byte) (int, error) { f(b); return len(b), nil }
