//go:build !linux

package galera

import (
	"errors"
	"os"
	"runtime"
	"syscall"
)

// These are never sent, because nothing starts here.
const (
	sigFreeze    = syscall.SIGKILL
	sigResume    = syscall.SIGKILL
	sigTerminate = syscall.SIGTERM
)

func supported() error {
	return errors.New("galera: real nodes are started on Linux only, not on " + runtime.GOOS)
}

func bound(runUser) *syscall.SysProcAttr { return nil }

func ownSession() *syscall.SysProcAttr { return nil }

func frozen(int) bool { return true }

func reachable(dir string, _ runUser) error {
	_, err := os.Stat(dir)
	return err
}
