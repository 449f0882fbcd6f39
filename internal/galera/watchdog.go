package galera

import (
	"fmt"
	"io"
	"os/exec"
)

// watchdogScript waits for the end of its input, which comes when the process
// that holds the pipe ends. It then kills every process that still carries the
// mark of the folder, and removes the folder. After a Stop there is nothing
// left to do.
const watchdogScript = `
trap '' HUP INT TERM
read -r _
case $1 in */` + folderPrefix + `*) ;; *) exit 1 ;; esac
[ -d "$1" ] || exit 0
for round in 1 2 3 4 5 6 7 8 9 10; do
	found=
	for file in $(grep -alF -- "$2" /proc/[0-9]*/environ 2>/dev/null); do
		pid=${file#/proc/}
		kill -KILL "${pid%/environ}" 2>/dev/null && found=yes
	done
	[ "$found" ] || break
	sleep 0.1
done
rm -rf -- "$1"
`

// A watchdog cleans up after a process that could not do so itself.
type watchdog struct {
	cmd  *exec.Cmd
	pipe io.Closer
}

func startWatchdog(dir, shell string) (*watchdog, error) {
	cmd := exec.Command(shell, "-c", watchdogScript, "watchdog", dir, mark(dir))
	cmd.Dir = "/"
	cmd.SysProcAttr = ownSession()
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("galera: watchdog: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("galera: watchdog: %w", err)
	}
	return &watchdog{cmd, pipe}, nil
}

// release ends the watchdog and waits for its end.
func (w *watchdog) release() {
	w.pipe.Close()
	w.cmd.Wait()
}
