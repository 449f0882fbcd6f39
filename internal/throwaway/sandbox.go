package throwaway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// stopTimeout is how long the processes have to end by themselves.
const stopTimeout = 4 * time.Second

// folderPrefix is how the name of every sandbox's folder begins.
const folderPrefix = "clustersql-"

// maxSocketPath is the longest path that fits into a unix socket's address.
const maxSocketPath = 107

// A Plan says what sandbox to make.
type Plan struct {
	// Name is the kind of server. The folder's name has it.
	Name string
	// Parent is where the sandbox makes its folder; "" means os.TempDir(). The
	// user must be able to reach it.
	Parent string
	// User is as whom the processes run.
	User User
	// Path is the PATH of the processes.
	Path string
	// Socket is the longest path of a unix socket in the folder, such as
	// n999/sock.
	Socket string
	// Farewell are commands of the shell, for what servers that were killed
	// leave outside the folder. They run in the folder before it is removed,
	// when no process of the sandbox is left.
	Farewell string
}

// A Sandbox is a folder and the processes that run for it. All methods may be
// called from any goroutine. Whoever made it must call End.
type Sandbox struct {
	// immutable after New
	plan     Plan
	dir      string
	launcher *launcher
}

// New makes the folder and starts the watchdog. After an error nothing is left.
func New(p Plan) (*Sandbox, error) {
	dir, err := makeFolder(p)
	if err != nil {
		return nil, err
	}
	dog, err := startWatchdog(dir, p)
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	return &Sandbox{plan: p, dir: dir, launcher: startLauncher(dog)}, nil
}

// Dir returns the folder. Only the servers' user and root may look into it.
func (s *Sandbox) Dir() string { return s.dir }

// MakeDir makes a folder for the servers' user.
func (s *Sandbox) MakeDir(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	return s.plan.User.Own(dir)
}

// Command describes a process that runs in dir as the servers' user, in a
// process group of its own. It carries the mark of dir.
func (s *Sandbox) Command(dir string, out io.Writer, name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = []string{
		mark(dir),
		"PATH=" + s.plan.Path,
		"HOME=" + dir,
		"TMPDIR=" + filepath.Join(dir, "tmp"),
		"LC_ALL=C",
	}
	cmd.SysProcAttr = bound(s.plan.User)
	return cmd
}

// Start starts cmd. The process ends with this one at the latest.
func (s *Sandbox) Start(cmd *exec.Cmd) (*Process, error) { return s.launcher.start(cmd) }

// Run starts a program in dir and waits for its end. If ctx is done first, it
// kills everything that runs for dir. The output goes to the file out.
func (s *Sandbox) Run(ctx context.Context, dir, out, name string, args ...string) error {
	file, err := os.Create(out)
	if err != nil {
		return err
	}
	defer file.Close()
	p, err := s.Start(s.Command(dir, file, name, args...))
	if err != nil {
		return err
	}
	if err := p.wait(ctx); err != nil {
		KillBelow(dir)
		return err
	}
	if state := p.cmd.ProcessState; !state.Success() {
		return fmt.Errorf("%s: %s%s", filepath.Base(name), state, Tail(out))
	}
	return nil
}

// Output starts a program in dir, gives it the input, waits for its end and
// returns what it has written. If ctx is done first, it kills the program, but
// nothing that the program has started.
func (s *Sandbox) Output(ctx context.Context, dir, input, name string, args ...string) (string, error) {
	var out, complaint bytes.Buffer
	cmd := s.Command(dir, &out, name, args...)
	cmd.Stdin, cmd.Stderr = strings.NewReader(input), &complaint
	p, err := s.Start(cmd)
	if err != nil {
		return "", err
	}
	if err := p.wait(ctx); err != nil {
		return "", err
	}
	if state := cmd.ProcessState; !state.Success() {
		return "", fmt.Errorf("%s: %s: %s", filepath.Base(name), state, strings.TrimSpace(complaint.String()))
	}
	return out.String(), nil
}

// End ends every process of the sandbox and removes its folder. It asks each
// process to end, by ask, and kills it after a moment. It may be called once,
// and while other methods run; these then fail.
func (s *Sandbox) End(ask func(*Process)) {
	live := s.launcher.seal()
	for _, p := range live {
		ask(p)
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	for _, p := range live {
		p.wait(ctx) // and kills it
	}
	KillBelow(s.dir)
	s.launcher.end()
	s.launcher.watchdog.release()
	os.RemoveAll(s.dir)
}

// makeFolder makes a sandbox's folder in its parent.
func makeFolder(p Plan) (string, error) {
	parent := p.Parent
	if parent == "" {
		parent = os.TempDir()
	}
	parent, err := filepath.Abs(parent)
	if err != nil {
		return "", err
	}
	if err := reachable(parent, p.User); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(parent, folderPrefix+p.Name+"-")
	if err != nil {
		return "", err
	}
	err = p.User.Own(dir)
	if socket := filepath.Join(dir, p.Socket); err == nil && len(socket) > maxSocketPath {
		err = fmt.Errorf("the path %s is too long for a unix socket; set TMPDIR or Options.Dir to a shorter one", socket)
	}
	if err != nil {
		return "", errors.Join(err, os.Remove(dir))
	}
	return dir, nil
}
