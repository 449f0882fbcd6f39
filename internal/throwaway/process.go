package throwaway

import (
	"context"
	"errors"
	"os"
	"os/exec"
)

// ErrEnded says that a server has ended for which somebody waited.
var ErrEnded = errors.New("the server ended")

// A Process is one that a sandbox has started. Its methods may be called from
// any goroutine.
type Process struct {
	cmd *exec.Cmd

	// closed when the process has ended and was waited for
	done chan struct{}
}

// startProcess may be called only by the launcher.
func startProcess(cmd *exec.Cmd) (*Process, error) {
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &Process{cmd: cmd, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		cmd.Wait() // the exit status stays in cmd.ProcessState
	}()
	return p, nil
}

// Pid returns the process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// HasEnded reports whether the process has ended.
func (p *Process) HasEnded() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Signal sends a signal. It may be called after the process's end: os.Process
// then sends nothing.
func (p *Process) Signal(s os.Signal) error {
	err := p.cmd.Process.Signal(s)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// Kill kills the process and waits for its end.
func (p *Process) Kill() error {
	if err := p.Signal(os.Kill); err != nil {
		return err
	}
	<-p.done
	return nil
}

// wait waits for the process's end. If ctx is done first, it kills the process.
func (p *Process) wait(ctx context.Context) error {
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		p.Kill()
		return ctx.Err()
	}
}
