package galera

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// markName is the environment variable that marks a process as one of a
// cluster. All processes that the servers start inherit it.
const markName = "CLUSTERSQL_GALERA"

var errEnded = errors.New("the server ended")

// mark is what the environment of every process of a folder contains.
func mark(dir string) string { return markName + "=" + dir + "/" }

// A process is one that the launcher has started.
type process struct {
	cmd *exec.Cmd

	// closed when the process has ended and was waited for
	done chan struct{}
}

// startProcess may be called only by the launcher.
func startProcess(cmd *exec.Cmd) (*process, error) {
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		cmd.Wait() // the exit status stays in cmd.ProcessState
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) hasEnded() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// signal may be called after the process's end: os.Process then sends nothing.
func (p *process) signal(s os.Signal) error {
	err := p.cmd.Process.Signal(s)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

func (p *process) resume() error    { return p.signal(sigResume) }
func (p *process) terminate() error { return p.signal(sigTerminate) }

// kill kills the process and waits for its end.
func (p *process) kill() error {
	if err := p.signal(os.Kill); err != nil {
		return err
	}
	<-p.done
	return nil
}

// endBy waits for the process's end. If late is closed first, it kills the
// process.
func (p *process) endBy(late <-chan struct{}) {
	select {
	case <-p.done:
	case <-late:
		p.kill()
	}
}

// run starts cmd in dir and waits for its end. If ctx is done first, it kills
// cmd and what it started. The output goes to the file out.
func (c *Cluster) run(ctx context.Context, dir, out, name string, args ...string) error {
	file, err := os.Create(out)
	if err != nil {
		return err
	}
	defer file.Close()
	p, err := c.launcher.start(c.command(dir, file, name, args...))
	if err != nil {
		return err
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		p.kill()
		killMarked(dir)
		return ctx.Err()
	}
	if state := p.cmd.ProcessState; !state.Success() {
		return fmt.Errorf("%s: %s%s", filepath.Base(name), state, tail(out))
	}
	return nil
}

// command describes a process that runs as the server's user, in a process
// group of its own. It carries the mark of dir, and ends with this process.
func (c *Cluster) command(dir string, out *os.File, name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = []string{
		mark(dir),
		"PATH=" + c.tools.path,
		"HOME=" + dir,
		"TMPDIR=" + filepath.Join(dir, "tmp"),
		"LC_ALL=C",
	}
	cmd.SysProcAttr = bound(c.user)
	return cmd
}

// killMarked kills every process marked for dir, until a search finds none.
func killMarked(dir string) {
	for range 50 {
		pids := marked(dir)
		if len(pids) == 0 {
			return
		}
		for _, pid := range pids {
			killIfMarked(pid, dir)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// killIfMarked checks the mark again once it has a handle (a pidfd) that is
// bound to one process. Another process may have got the pid since.
func killIfMarked(pid int, dir string) {
	p, err := os.FindProcess(pid)
	if err != nil {
		return
	}
	defer p.Release()
	if isMarked(pid, dir) {
		p.Kill()
	}
}

// marked returns the processes that carry the mark of dir.
func marked(dir string) []int {
	var pids []int
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && isMarked(pid, dir) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// isMarked reports whether a process is one below dir. In the middle of an
// exec a process has no environment for a moment. Then its working directory,
// which an exec keeps, tells.
func isMarked(pid int, dir string) bool {
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil || len(env) > 0 {
		return err == nil && bytes.Contains(env, []byte(mark(dir)))
	}
	cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
	return err == nil && strings.HasPrefix(cwd+"/", dir+"/")
}
