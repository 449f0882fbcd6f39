package throwaway

import (
	"errors"
	"os/exec"
	"runtime"
)

var errStopped = errors.New("the cluster was stopped")

// A launcher starts processes from one goroutine that keeps its thread. The
// kernel sends a parent death signal when the *thread* that forked ends. The
// thread must therefore live as long as the processes.
type launcher struct {
	// anybody sends, the loop receives; never closed
	launches chan launch
	seals    chan chan []*Process
	// closed by end
	quit chan struct{}
	// closed by the loop when it ends
	ended chan struct{}
	// Held for as long as the loop runs, also where a program keeps no more of the
	// sandbox than its processes. The collector would close the watchdog's pipe, and
	// the watchdog would kill them all. Sandbox.End releases it.
	watchdog *watchdog
}

type launch struct {
	cmd   *exec.Cmd
	reply chan launched // buffered: the loop never waits for a caller
}

type launched struct {
	process *Process
	err     error
}

func startLauncher(dog *watchdog) *launcher {
	l := &launcher{
		launches: make(chan launch),
		seals:    make(chan chan []*Process),
		quit:     make(chan struct{}),
		ended:    make(chan struct{}),
		watchdog: dog,
	}
	go l.run()
	return l
}

// run never unlocks its thread. The runtime then ends the thread with the
// goroutine, and no other goroutine gets a thread that has child processes.
func (l *launcher) run() {
	runtime.LockOSThread()
	defer close(l.ended)
	var started []*Process
	sealed := false
	for {
		select {
		case r := <-l.launches:
			if sealed {
				r.reply <- launched{err: errStopped}
				continue
			}
			p, err := startProcess(r.cmd)
			if err == nil {
				started = append(running(started), p)
			}
			r.reply <- launched{p, err}
		case reply := <-l.seals:
			sealed = true
			reply <- running(started)
		case <-l.quit:
			return
		}
	}
}

// start starts cmd. The process belongs to the caller and to End.
func (l *launcher) start(cmd *exec.Cmd) (*Process, error) {
	reply := make(chan launched, 1)
	select {
	case l.launches <- launch{cmd, reply}:
	case <-l.ended:
		return nil, errStopped
	}
	r := <-reply
	return r.process, r.err
}

// seal makes start refuse everything from now on. It returns the processes that
// still run.
func (l *launcher) seal() []*Process {
	reply := make(chan []*Process, 1)
	l.seals <- reply
	return <-reply
}

// end ends the launcher's thread. It may be called only after all processes
// have ended.
func (l *launcher) end() {
	close(l.quit)
	<-l.ended
}

func running(all []*Process) []*Process {
	var live []*Process
	for _, p := range all {
		if !p.HasEnded() {
			live = append(live, p)
		}
	}
	return live
}
