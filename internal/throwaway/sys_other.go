//go:build !linux

package throwaway

import (
	"errors"
	"os"
	"runtime"
	"syscall"
)

// These are never sent, because nothing starts here.
const (
	SigFreeze = syscall.SIGKILL
	SigResume = syscall.SIGKILL
)

// Supported says that the package does not work here.
func Supported() error {
	return errors.New("real nodes are started on Linux only, not on " + runtime.GOOS)
}

func bound(User) *syscall.SysProcAttr { return nil }

func ownSession() *syscall.SysProcAttr { return nil }

// Frozen is for Linux.
func Frozen(int) bool { return true }

func reachable(dir string, _ User) error {
	_, err := os.Stat(dir)
	return err
}
