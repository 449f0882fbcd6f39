package throwaway

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// SigFreeze stops a process, SigResume continues it.
const (
	SigFreeze = syscall.SIGSTOP
	SigResume = syscall.SIGCONT
)

// Supported returns nil where the package works.
func Supported() error { return nil }

// bound makes a process run as u, in a process group of its own, so that a
// Ctrl-C does not reach it. The kernel kills it when the launcher's thread
// ends. The user is set here and not by an option of the server, because the
// kernel forgets the death signal when a process changes its user itself.
func bound(u User) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if u.Switched {
		attr.Credential = &syscall.Credential{Uid: uint32(u.UID), Gid: uint32(u.GID)}
	}
	return attr
}

// ownSession puts a process where the terminal's signals do not reach it.
func ownSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// Frozen reports whether the process has stopped after a SigFreeze, or is gone.
func Frozen(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	// The format is: pid (name) state …; the name may contain anything.
	rest := string(text)
	rest = rest[strings.LastIndexByte(rest, ')')+1:]
	return strings.HasPrefix(rest, " T") || strings.HasPrefix(rest, " Z")
}

// reachable checks that the user may enter dir and all folders above it.
func reachable(dir string, u User) error {
	for d := dir; ; d = filepath.Dir(d) {
		info, err := os.Stat(d)
		if err != nil {
			return err
		}
		if stat := info.Sys().(*syscall.Stat_t); !mayEnter(stat, u) {
			return fmt.Errorf("the user %s, as which the servers run, may not enter %s; set TMPDIR or Options.Dir to a folder it may, such as /tmp", u.Name, d)
		}
		if d == filepath.Dir(d) {
			return nil
		}
	}
}

func mayEnter(stat *syscall.Stat_t, u User) bool {
	switch {
	case !u.Switched:
		return true
	case int(stat.Uid) == u.UID:
		return stat.Mode&0o100 != 0
	case int(stat.Gid) == u.GID:
		return stat.Mode&0o010 != 0
	}
	return stat.Mode&0o001 != 0
}
