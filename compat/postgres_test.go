package compat

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A postgres is a throwaway PostgreSQL server on a free loopback port.
type postgres struct {
	bin, dir string
	port     int
	rejects  bool                // it is ready when it answers that it takes no logins
	as       *syscall.Credential // nil: the user who runs the test
	cmd      *exec.Cmd
	ended    chan struct{} // closed when the postmaster has ended
}

// postgresBin finds the programs of Debian's servers, which are not on the
// PATH.
func postgresBin(t *testing.T) string {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if len(found) > 0 {
		return filepath.Dir(slices.Max(found))
	}
	if path, err := exec.LookPath("postgres"); err == nil {
		return filepath.Dir(path)
	}
	const cure = "no PostgreSQL server is installed: ./test.sh install gets it"
	if os.Getenv("CI") == "true" {
		t.Fatal(cure)
	}
	t.Skip(cure)
	return ""
}

// startPostgres starts a server that ends with the test.
func startPostgres(t *testing.T) *postgres {
	t.Helper()
	p := newPostgres(t)
	if out, err := p.command("initdb", "-D", p.data(), "-U", "app", "-A", "trust", "-E", "UTF8", "--no-sync").CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	p.start(t)
	return p
}

// startStandby starts a streaming standby of the server.
func startStandby(t *testing.T, primary *postgres) *postgres {
	t.Helper()
	p := newPostgres(t)
	p.copyOf(t, primary)
	p.start(t)
	return p
}

// copyOf fills the folder with a standby of the server.
func (p *postgres) copyOf(t *testing.T, primary *postgres) {
	t.Helper()
	out, err := p.command("pg_basebackup", "-D", p.data(), "-h", "127.0.0.1", "-p", strconv.Itoa(primary.port), "-U", "app",
		"-R", "-X", "stream", "-c", "fast", "--no-sync").CombinedOutput()
	if err != nil {
		t.Fatalf("pg_basebackup: %v\n%s", err, out)
	}
}

// promote makes a standby the primary.
func (p *postgres) promote(t *testing.T) {
	t.Helper()
	if out, err := p.command("pg_ctl", "promote", "-w", "-D", p.data()).CombinedOutput(); err != nil {
		t.Fatalf("pg_ctl promote: %v\n%s", err, out)
	}
}

// newPostgres makes the folder of a server, and of nothing else.
func newPostgres(t *testing.T) *postgres {
	t.Helper()
	p := &postgres{bin: postgresBin(t)}
	var err error
	if p.dir, err = os.MkdirTemp("", "pg"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(p.dir) })
	if os.Geteuid() == 0 {
		p.as = credential(t, "postgres")
		if err := os.Chown(p.dir, int(p.as.Uid), int(p.as.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// credential returns the user for a server that root starts.
func credential(t *testing.T, name string) *syscall.Credential {
	t.Helper()
	u, err := user.Lookup(name)
	if err != nil {
		t.Fatalf("PostgreSQL does not run as root: %v", err)
	}
	uid, errU := strconv.Atoi(u.Uid)
	gid, errG := strconv.Atoi(u.Gid)
	if err := errors.Join(errU, errG); err != nil {
		t.Fatal(err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

func (p *postgres) data() string { return filepath.Join(p.dir, "data") }

func (p *postgres) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(p.bin, name), args...)
	cmd.Dir = p.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.dir, "LC_ALL=C"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Credential: p.as}
	return cmd
}

// start starts the server and waits until it accepts connections. It tries
// several times, because another process may take the free port first.
func (p *postgres) start(t *testing.T) {
	t.Helper()
	for range 5 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		p.port = l.Addr().(*net.TCPAddr).Port
		l.Close()
		log, err := os.Create(filepath.Join(p.dir, "log"))
		if err != nil {
			t.Fatal(err)
		}
		p.cmd = p.command("postgres", "-D", p.data(), "-F", "-h", "127.0.0.1", "-p", strconv.Itoa(p.port), "-k", p.dir)
		p.cmd.Stdout, p.cmd.Stderr = log, log
		err = p.cmd.Start()
		log.Close()
		if err != nil {
			t.Fatal(err)
		}
		p.ended = make(chan struct{})
		go func() { defer close(p.ended); p.cmd.Wait() }()
		if p.ready() {
			t.Cleanup(p.kill)
			return
		}
		p.kill()
	}
	text, _ := os.ReadFile(filepath.Join(p.dir, "log"))
	t.Fatalf("PostgreSQL does not start:\n%s", text)
}

func (p *postgres) ready() bool {
	for range 600 {
		select {
		case <-p.ended:
			return false
		case <-time.After(50 * time.Millisecond):
		}
		ready := p.command("pg_isready", "-q", "-h", "127.0.0.1", "-p", strconv.Itoa(p.port))
		if err := ready.Run(); err == nil || p.rejects && ready.ProcessState.ExitCode() == 1 {
			return true
		}
	}
	return false
}

// dsn returns a DSN for the user app, who needs no password.
func (p *postgres) dsn() string {
	return fmt.Sprintf("postgres://app@127.0.0.1:%d/postgres?sslmode=disable", p.port)
}

// processes returns the postmaster and its children, one for each connection.
func (p *postgres) processes() []int {
	pids := []int{p.cmd.Process.Pid}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range stats {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(pids[0]) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// signal sends a signal to all processes, to the postmaster first: it then
// starts no more children.
func (p *postgres) signal(s syscall.Signal) {
	for _, pid := range p.processes() {
		_ = syscall.Kill(pid, s)
	}
}

func (p *postgres) freeze() { p.signal(syscall.SIGSTOP) }
func (p *postgres) resume() { p.signal(syscall.SIGCONT) }

// kill ends all processes at once. It may be called more than once.
func (p *postgres) kill() {
	select {
	case <-p.ended:
		return
	default:
	}
	p.signal(syscall.SIGKILL)
	<-p.ended
}
