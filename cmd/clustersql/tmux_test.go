package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/throwaway"
)

// A terminal is a window of tmux, with a server of its own.
type terminal struct {
	t      *testing.T
	socket string
}

// newTerminal starts a shell command in a terminal of a size.
func newTerminal(t *testing.T, width, height int, command string) *terminal {
	t.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		throwaway.Demand(t, fmt.Errorf("no tmux: ./test.sh install, or apt-get install tmux"))
	}
	term := &terminal{t, filepath.Join(t.TempDir(), "tmux")}
	term.tmux("-f", os.DevNull, "new-session", "-d", "-s", "w", "-x", fmt.Sprint(width), "-y", fmt.Sprint(height), command)
	t.Cleanup(func() { _ = exec.Command("tmux", "-S", term.socket, "kill-server").Run() })
	return term
}

func (term *terminal) tmux(args ...string) string {
	term.t.Helper()
	cmd := exec.Command("tmux", append([]string{"-S", term.socket}, args...)...)
	cmd.Env = append(os.Environ(), "TMUX=", "LC_ALL=C.UTF-8")
	out, err := cmd.CombinedOutput()
	if err != nil {
		term.t.Fatalf("tmux %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// text is what the terminal shows.
func (term *terminal) text(args ...string) string {
	term.t.Helper()
	return term.tmux(append([]string{"capture-pane", "-p", "-t", "w"}, args...)...)
}

// wait waits until the terminal shows all of some texts, and none of others, which
// begin with an exclamation mark.
func (term *terminal) wait(texts ...string) {
	term.t.Helper()
	waitFor(term.t, func() string {
		shown := term.text()
		for _, text := range texts {
			without, not := strings.CutPrefix(text, "!")
			if strings.Contains(shown, without) == not {
				return fmt.Sprintf("%q: the terminal shows\n%s", text, shown)
			}
		}
		return ""
	})
}

// In a terminal watch draws the screen again and again, follows the window's size,
// and gives the terminal back.
func TestWatchInATerminal(t *testing.T) {
	s := newStage(t)
	term := newTerminal(t, 120, 24, "echo before; "+binary+" watch --interval=100ms '"+s.url+"'; echo left with $?; exec cat")
	term.wait("3 of 3 nodes usable", "n1", "n2", "n3", "+ up", "opens/s", "!before")
	if text := term.text("-e"); !strings.Contains(text, "\x1b[32m") {
		t.Errorf("nothing is green:\n%q", text)
	}
	s.kill(2)
	term.wait("2 of 3 nodes usable", "- down", "events", "n2  down, was", "refused")
	for _, size := range [][2]int{{50, 8}, {200, 40}, {20, 4}, {80, 24}} {
		term.tmux("resize-window", "-t", "w", "-x", fmt.Sprint(size[0]), "-y", fmt.Sprint(size[1]))
		// The line of the cluster is cut to the width, and nothing is left of what was
		// drawn before.
		term.wait("app"[:min(3, size[0])])
		waitFor(t, func() string {
			lines := strings.Split(strings.TrimRight(term.text(), "\n"), "\n")
			heads := 0
			for _, l := range lines {
				if utf8.RuneCountInString(l) > size[0] {
					return fmt.Sprintf("wider than %d: %q", size[0], l)
				}
				if strings.Contains(l, "app  race") {
					heads++
				}
			}
			if heads != 1 || len(lines) > size[1] {
				return fmt.Sprintf("at %v the cluster is there %d times:\n%s", size, heads, strings.Join(lines, "\n"))
			}
			return ""
		})
	}
	s.revive(2)
	term.wait("3 of 3 nodes usable", "n2  up, was down")
	term.tmux("send-keys", "-t", "w", "q")
	term.wait("before", "left with 0", "!usable")
	term.tmux("send-keys", "-t", "w", "echoed", "Enter") // the keyboard is as it was
	term.wait("echoed")
}

// Without colours there is no colour, and --until ends a watch in a terminal too.
func TestWatchInATerminalWithoutColours(t *testing.T) {
	s := newStage(t)
	s.kill(1)
	s.waitState(t, "n1", clustersql.StateDown)
	term := newTerminal(t, 100, 24, "NO_COLOR=1 "+binary+" watch --interval=100ms --until=up=3 --timeout=30s '"+s.url+"'; echo left with $?; exec cat")
	term.wait("2 of 3 nodes usable")
	if text := term.text("-e"); strings.Contains(text, "\x1b[3") || strings.Contains(text, "\x1b[1m") {
		t.Errorf("there are colours:\n%q", text)
	}
	s.revive(1)
	term.wait("left with 0", "!usable")
}

// Ctrl-C and a signal give the terminal back.
func TestWatchInATerminalInterrupted(t *testing.T) {
	s := newStage(t)
	term := newTerminal(t, 100, 24, "echo before; "+binary+" watch '"+s.url+"'; echo left with $?; exec cat")
	term.wait("3 of 3 nodes usable")
	term.tmux("send-keys", "-t", "w", "C-c")
	term.wait("before", "left with 0", "!usable")
}
