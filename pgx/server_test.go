package clusterpgx

import (
	"net"
	"net/url"
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

// password is that of the user app on every server of the tests.
const password = "p@ss/w:rd hunter22"

// A server is a throwaway PostgreSQL server on a free loopback port.
type server struct {
	bin, dir string
	port     string
	as       *syscall.Credential // nil: the user who runs the test
	cmd      *exec.Cmd
	ended    chan struct{} // closed when the postmaster has ended
}

// startPair starts a primary and its streaming standby.
func startPair(t *testing.T) (primary, standby *server) {
	t.Helper()
	primary = newServer(t)
	secret := filepath.Join(primary.dir, "password")
	if err := os.WriteFile(secret, []byte(password), 0o644); err != nil {
		t.Fatal(err)
	}
	primary.run(t, "initdb", "-D", primary.data(), "-U", "app", "--pwfile="+secret, "--auth-local=trust", "--auth-host=scram-sha-256", "-E", "UTF8", "--no-sync")
	primary.start(t)
	standby = newServer(t)
	standby.run(t, "pg_basebackup", "-D", standby.data(), "-h", "127.0.0.1", "-p", primary.port, "-U", "app", "-R", "-X", "stream", "-c", "fast", "--no-sync")
	standby.start(t)
	return primary, standby
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{bin: binaries(t)}
	var err error
	if s.dir, err = os.MkdirTemp("", "pg"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(s.dir) })
	if os.Geteuid() != 0 {
		return s
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		t.Fatalf("PostgreSQL does not run as root: %v", err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	s.as = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	if err := os.Chown(s.dir, uid, gid); err != nil {
		t.Fatal(err)
	}
	return s
}

// binaries finds the programs of the server, which Debian does not have on the
// PATH.
func binaries(t *testing.T) string {
	t.Helper()
	if found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres"); len(found) > 0 {
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

func (s *server) data() string { return filepath.Join(s.dir, "data") }
func (s *server) addr() string { return "127.0.0.1:" + s.port }

func (s *server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.bin, name), args...)
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "LC_ALL=C", "PGPASSWORD=" + password}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Credential: s.as}
	return cmd
}

func (s *server) run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := s.command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// start starts the server and waits until it takes connections. Another process
// may take the free port first: then it takes another one.
func (s *server) start(t *testing.T) {
	t.Helper()
	for range 5 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_, s.port, _ = net.SplitHostPort(l.Addr().String())
		l.Close()
		s.cmd = s.command("postgres", "-D", s.data(), "-F", "-h", "127.0.0.1", "-p", s.port, "-k", s.dir)
		if err := s.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		s.ended = make(chan struct{})
		go func() { defer close(s.ended); s.cmd.Wait() }()
		if s.ready() {
			t.Cleanup(s.kill)
			return
		}
		s.kill()
	}
	t.Fatal("PostgreSQL does not start")
}

func (s *server) ready() bool {
	for range 600 {
		select {
		case <-s.ended:
			return false
		case <-time.After(50 * time.Millisecond):
		}
		if s.command("pg_isready", "-q", "-h", "127.0.0.1", "-p", s.port).Run() == nil {
			return true
		}
	}
	return false
}

// signal sends a signal to the postmaster, and then to its children, one for each
// connection.
func (s *server) signal(sig syscall.Signal) {
	parent := strconv.Itoa(s.cmd.Process.Pid)
	_ = syscall.Kill(s.cmd.Process.Pid, sig)
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range stats {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		_, after, _ := strings.Cut(string(text), ") ")
		if fields := strings.Fields(after); len(fields) > 1 && fields[1] == parent {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			_ = syscall.Kill(pid, sig)
		}
	}
}

func (s *server) freeze() { s.signal(syscall.SIGSTOP) }
func (s *server) resume() { s.signal(syscall.SIGCONT) }

// kill ends all processes at once. It may be called more than once.
func (s *server) kill() {
	select {
	case <-s.ended:
		return
	default:
	}
	s.signal(syscall.SIGKILL)
	<-s.ended
}

// uri returns a URI of the user app for the given hosts.
func uri(hosts, query string) string {
	return "postgres://" + url.UserPassword("app", password).String() + "@" + hosts + "/postgres?sslmode=disable" + query
}
