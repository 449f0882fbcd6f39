package throwaway

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// markName is the environment variable that marks a process as one of a
// sandbox. All processes that the servers start inherit it.
const markName = "CLUSTERSQL_THROWAWAY"

// mark is what the environment of every process of a folder contains.
func mark(dir string) string { return markName + "=" + dir + "/" }

// KillBelow kills every process that runs for a folder, until a search finds
// none.
func KillBelow(dir string) {
	for range 50 {
		pids := Below(dir)
		if len(pids) == 0 {
			return
		}
		for _, pid := range pids {
			signalIfMarked(pid, dir, os.Kill)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// FreezeBelow stops every process that runs for a folder. It returns when a
// search finds only stopped ones.
func FreezeBelow(dir string) error {
	for range 500 {
		running := 0
		for _, pid := range Below(dir) {
			if !Frozen(pid) {
				signalIfMarked(pid, dir, SigFreeze)
				running++
			}
		}
		if running == 0 {
			return nil
		}
		time.Sleep(2 * time.Millisecond)
	}
	return fmt.Errorf("processes of %s do not stop", dir)
}

// ResumeBelow continues every process that runs for a folder.
func ResumeBelow(dir string) {
	for _, pid := range Below(dir) {
		signalIfMarked(pid, dir, SigResume)
	}
}

// signalIfMarked checks the mark again once it has a handle (a pidfd) that is
// bound to one process. Another process may have got the pid since.
func signalIfMarked(pid int, dir string, s os.Signal) {
	p, err := os.FindProcess(pid)
	if err != nil {
		return
	}
	defer p.Release()
	if isMarked(pid, dir) {
		p.Signal(s)
	}
}

// Below returns the processes that run for a folder, or for one in it.
func Below(dir string) []int {
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

// isMarked reports whether a process is one of a folder. Some have no
// environment that could tell: in the middle of an exec it is empty, and
// PostgreSQL's children overwrite it with the title that ps shows. Then the
// working directory tells, which stays the server's.
func isMarked(pid int, dir string) bool {
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil || bytes.ContainsRune(env, '=') {
		return err == nil && bytes.Contains(env, []byte(mark(dir)))
	}
	cwd, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "cwd"))
	return err == nil && strings.HasPrefix(cwd+"/", dir+"/")
}
