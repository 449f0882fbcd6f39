package throwaway

import (
	"fmt"
	"io"
	"os/exec"
)

// watchdogScript waits for the end of its input, which comes when the process
// that holds the pipe ends, or with the end of the sandbox. It then kills every
// process that still runs for the folder, says farewell, and removes the
// folder. What has no environment is told by its working directory, as in
// isMarked.
const watchdogScript = `
trap '' HUP INT TERM
read -r _
case $1 in */` + folderPrefix + `*) ;; *) exit 1 ;; esac
[ -d "$1" ] || exit 0
end() {
	kill -KILL "$1" 2>/dev/null && found=yes
}
for round in 1 2 3 4 5 6 7 8 9 10; do
	found=
	for file in $(grep -alF -- "$2" /proc/[0-9]*/environ 2>/dev/null); do
		pid=${file#/proc/}
		end "${pid%/environ}"
	done
	for file in $(grep -aLF -- = /proc/[0-9]*/environ 2>/dev/null); do
		pid=${file#/proc/}
		cd -P "/proc/${pid%/environ}/cwd" 2>/dev/null || continue
		case $PWD/ in "$1"/*) end "${pid%/environ}" ;; esac
	done
	[ "$found" ] || break
	sleep 0.1
done
cd "$1" && (eval "$3")
cd /
rm -rf -- "$1"
`

// A watchdog cleans up after a process that could not do so itself.
type watchdog struct {
	cmd  *exec.Cmd
	pipe io.Closer
}

func startWatchdog(dir string, p Plan) (*watchdog, error) {
	shell, err := shellIn(p.Path)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(shell, "-c", watchdogScript, "watchdog", dir, mark(dir), p.Farewell)
	cmd.Dir = "/"
	cmd.SysProcAttr = ownSession()
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("watchdog: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("watchdog: %w", err)
	}
	return &watchdog{cmd, pipe}, nil
}

// release has the watchdog do its work, and waits for its end.
func (w *watchdog) release() {
	w.pipe.Close()
	w.cmd.Wait()
}
