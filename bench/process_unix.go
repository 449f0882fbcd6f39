//go:build unix

package main

import (
	"os/exec"
	"syscall"
	"time"
)

// detach keeps the terminal's Ctrl-C from a child. The parent gets it, and ends
// its children itself.
func detach(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// cpuTime returns the time that this process has used so far, in user and
// system mode.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic("getrusage: " + err.Error())
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
