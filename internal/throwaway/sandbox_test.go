package throwaway

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
	"weak"

	"go.uber.org/goleak"
)

// childEnv makes the test binary the process that is killed. Its value is the
// folder for the sandbox.
const childEnv = "CLUSTERSQL_THROWAWAY_CHILD"

func TestMain(m *testing.M) {
	if parent := os.Getenv(childEnv); parent != "" {
		os.Exit(child(parent))
	}
	goleak.VerifyTestMain(m)
}

// child starts processes, freezes them, says where they are, and waits to be
// killed.
func child(parent string) int {
	s, err := New(plan(parent))
	if err == nil {
		err = startFamily(s)
	}
	for err == nil && len(Below(s.dir)) < family {
		time.Sleep(10 * time.Millisecond)
	}
	if err == nil {
		err = FreezeBelow(s.dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	dir, dog, gone := s.dir, weak.Make(s.launcher.watchdog), make(chan struct{})
	runtime.AddCleanup(s, func(gone chan struct{}) { close(gone) }, gone)
	for !closed(gone) { // nobody holds the sandbox any more
		runtime.GC()
	}
	if runtime.GC(); dog.Value() == nil {
		fmt.Fprintln(os.Stderr, "the watchdog went with the sandbox")
		return 1
	}
	fmt.Println(dir)
	select {}
}

func closed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// plan is that of a sandbox that writes a file beside its folder at the end.
func plan(parent string) Plan {
	return Plan{Name: "test", Parent: parent, Path: SearchPath(), Farewell: ": > ../farewell"}
}

// family is how many processes startFamily starts.
const family = 3

// startFamily starts a server with a child that has left its process group, and
// one that has no environment.
func startFamily(s *Sandbox) error {
	_, err := s.Start(s.Command(s.dir, nil, Lookup("sh", s.plan.Path), "-c", "setsid sleep 1000 & env -i sleep 1000 & exec sleep 1000"))
	return err
}

// wait polls until done returns true. It fails the test after a minute.
func wait(t *testing.T, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := Poll(ctx, nil, done); err != nil {
		t.Fatalf("waiting until %s: %v", what, err)
	}
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

func TestNothingOutlivesAProcessKilledWithSIGKILL(t *testing.T) {
	Demand(t, Supported())
	parent := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+parent)
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
	if n := len(Below(dir)); n != family {
		t.Fatalf("%d processes run before the kill", n)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	wait(t, "no process is left", func() bool { return len(Below(dir)) == 0 })
	wait(t, "the folder is gone", func() bool { return !exists(dir) })
	if !exists(filepath.Join(parent, "farewell")) {
		t.Error("there was no farewell")
	}
}

// Processes that a server has started may leave its process group and outlive
// it.
func TestEndEndsWhatAServerStarted(t *testing.T) {
	Demand(t, Supported())
	parent := t.TempDir()
	s, err := New(plan(parent))
	if err != nil {
		t.Fatal(err)
	}
	if err := startFamily(s); err != nil {
		t.Error(err)
	}
	wait(t, "all run", func() bool { return len(Below(s.dir)) == family })
	s.End(func(p *Process) { p.Signal(os.Interrupt) })
	if left := Below(s.dir); len(left) > 0 || exists(s.dir) || !exists(filepath.Join(parent, "farewell")) {
		t.Errorf("left after End: processes %v, folder %t", left, exists(s.dir))
	}
	if err := startFamily(s); err == nil {
		t.Error("a process started after End")
	}
}

func TestRunAndOutput(t *testing.T) {
	Demand(t, Supported())
	s, err := New(plan(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	defer s.End(func(*Process) {})
	shell, log := Lookup("sh", s.plan.Path), filepath.Join(s.dir, "log")
	if out, err := s.Output(t.Context(), s.dir, "in", shell, "-c", "cat; echo out; echo complaint >&2"); err != nil || out != "inout\n" {
		t.Errorf("%q, %v", out, err)
	}
	if _, err := s.Output(t.Context(), s.dir, "", shell, "-c", "echo complaint >&2; exit 3"); err == nil || !strings.Contains(err.Error(), "exit status 3: complaint") {
		t.Error(err)
	}
	if err := s.Run(t.Context(), s.dir, log, shell, "-c", "echo complaint; exit 3"); err == nil || !strings.Contains(err.Error(), "\tcomplaint") {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(time.Millisecond, cancel)
	if err := s.Run(ctx, s.dir, log, shell, "-c", "sleep 1000 & wait"); err != context.Canceled || len(Below(s.dir)) > 0 {
		t.Errorf("%v; left: %v", err, Below(s.dir))
	}
}

func TestALongPathIsRefused(t *testing.T) {
	parent := filepath.Join(t.TempDir(), strings.Repeat("x", maxSocketPath))
	if err := os.Mkdir(parent, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := New(plan(parent)); err == nil || !strings.Contains(err.Error(), "too long for a unix socket") {
		t.Errorf("New: %v", err)
	}
	if left, err := os.ReadDir(parent); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestAFolderTheServerCannotReachIsNamed(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the server runs as this process's user: run as root to see this")
	}
	parent := t.TempDir()
	if err := os.Chmod(parent, 0o700); err != nil {
		t.Fatal(err)
	}
	p := plan(parent)
	p.User = User{Name: "other", UID: 12345, GID: 12345, Switched: true}
	if _, err := New(p); err == nil || !strings.Contains(err.Error(), "may not enter "+parent) {
		t.Errorf("New: %v", err)
	}
}
