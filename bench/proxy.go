package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// These are the set-ups of HAProxy.
const (
	checkMySQL = "mysql-check"
	checkWsrep = "wsrep check"
)

// A ProxySetup says before which nodes a HAProxy is, and how it checks them.
type ProxySetup struct {
	Kind    string
	Addrs   []string // of the nodes
	Checks  []string // of the nodes' HTTP checks, for checkWsrep
	Weights []int    // of the nodes; nil: all equal
}

// A ProxyInfo says where a HAProxy runs.
type ProxyInfo struct {
	Addr string
	Pid  int
}

// Proxy is the RPC service of a process that has a HAProxy as its child. It
// ends the HAProxy when it ends itself.
type Proxy struct {
	dir string
	cmd *exec.Cmd
	log bytes.Buffer
}

func newProxy() *Proxy { return &Proxy{} }

// haproxy finds Debian's program, which is not in an ordinary user's PATH.
func haproxy() (string, error) {
	for _, name := range []string{"haproxy", "/usr/sbin/haproxy", "/usr/local/sbin/haproxy"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("haproxy is missing: apt-get install -y --no-install-recommends haproxy")
}

// Start starts HAProxy and waits until a connection through it is answered. It
// binds the port itself and passes it on, so that no other process can take it
// in between.
func (p *Proxy) Start(s ProxySetup, info *ProxyInfo) (err error) {
	program, err := haproxy()
	if err != nil {
		return err
	}
	if p.dir, err = os.MkdirTemp("", "clustersql-bench-haproxy-"); err != nil {
		return err
	}
	file := filepath.Join(p.dir, "haproxy.cfg")
	if err := os.WriteFile(file, []byte(s.config()), 0o600); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	bound, err := l.(*net.TCPListener).File()
	if err != nil {
		return err
	}
	defer bound.Close()
	p.cmd = exec.Command(program, "-db", "-f", file)
	p.cmd.Dir = p.dir
	p.cmd.ExtraFiles = []*os.File{bound} // fd 3 in the child
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	detach(p.cmd)
	if err := p.cmd.Start(); err != nil {
		p.cmd = nil
		return err
	}
	*info = ProxyInfo{l.Addr().String(), p.cmd.Process.Pid}
	return p.wait(info.Addr)
}

func (p *Proxy) wait(addr string) error {
	ctx, cancel := context.WithTimeout(context.Background(), usualTimeout)
	defer cancel()
	c, err := peer(addr)
	if err != nil {
		return err
	}
	for {
		conn, err := c.Connect(ctx)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			p.end()
			return fmt.Errorf("haproxy does not answer: %w\n%s", err, p.log.String())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// end ends HAProxy and removes its folder.
func (p *Proxy) end() {
	if p.cmd != nil {
		p.cmd.Process.Kill()
		p.cmd.Wait()
		p.cmd = nil
	}
	if p.dir != "" {
		os.RemoveAll(p.dir)
	}
}

// config is the configuration that the manuals of HAProxy and Galera show. Its
// checks are as frequent as clustersql's probes.
func (s ProxySetup) config() string {
	var b strings.Builder
	b.WriteString("global\n  maxconn 4000\n" +
		"defaults\n  mode tcp\n  timeout connect 1s\n  timeout client 1h\n  timeout server 1h\n  timeout check 600ms\n  retries 3\n  option redispatch\n" +
		"listen galera\n  bind fd@3\n  balance leastconn\n")
	server := " check inter 1s fall 2 rise 2"
	if s.Kind == checkWsrep {
		b.WriteString("  option httpchk GET /\n  http-check expect status 200\n")
		server += " on-marked-down shutdown-sessions"
	} else {
		fmt.Fprintf(&b, "  option mysql-check user %s\n", proxyUser)
	}
	for i, addr := range s.Addrs {
		fmt.Fprintf(&b, "  server %s %s%s", nodeName(i), addr, server)
		if s.Kind == checkWsrep {
			_, port, _ := net.SplitHostPort(s.Checks[i])
			fmt.Fprintf(&b, " port %s", port)
		}
		if s.Weights != nil {
			fmt.Fprintf(&b, " weight %d", s.Weights[i])
		}
		b.WriteString("\n")
	}
	return b.String()
}

// proxyUser is the user, without a password, as whom mysql-check connects.
const proxyUser = "haproxy"
