package galera

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const (
	sigFreeze    = syscall.SIGSTOP
	sigResume    = syscall.SIGCONT
	sigTerminate = syscall.SIGTERM
)

// supported returns nil where the package works.
func supported() error { return nil }

// bound makes a process run as u, in a process group of its own, so that a
// Ctrl-C does not reach it. The kernel kills it when the launcher's thread
// ends. The user is set here and not by mariadbd --user, because the kernel
// forgets the death signal when a process changes its user itself.
func bound(u runUser) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if u.switched {
		attr.Credential = &syscall.Credential{Uid: uint32(u.uid), Gid: uint32(u.gid)}
	}
	return attr
}

// ownSession puts a process where the terminal's signals do not reach it.
func ownSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// frozen reports whether the process has stopped after a sigFreeze, or is gone.
func frozen(pid int) bool {
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
func reachable(dir string, u runUser) error {
	for d := dir; ; d = filepath.Dir(d) {
		info, err := os.Stat(d)
		if err != nil {
			return err
		}
		if stat := info.Sys().(*syscall.Stat_t); !mayEnter(stat, u) {
			return fmt.Errorf("galera: the user %s, as which the servers run, may not enter %s; set TMPDIR or Options.Dir to a folder it may, such as /tmp", u.name, d)
		}
		if d == filepath.Dir(d) {
			return nil
		}
	}
}

func mayEnter(stat *syscall.Stat_t, u runUser) bool {
	switch {
	case !u.switched:
		return true
	case int(stat.Uid) == u.uid:
		return stat.Mode&0o100 != 0
	case int(stat.Gid) == u.gid:
		return stat.Mode&0o010 != 0
	}
	return stat.Mode&0o001 != 0
}
