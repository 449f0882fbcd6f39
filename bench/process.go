package main

import (
	"errors"
	"fmt"
	"io"
	"net/rpc"
	"os"
	"os/exec"
)

// A process is a child of the benchmark. They talk over the child's standard
// input and output. The child ends when its input ends, and therefore also when
// its parent ends.
type process struct {
	cmd  *exec.Cmd
	call *rpc.Client
}

// Nothing stands for the arguments or the reply of a call that has none.
type Nothing struct{ None bool }

// pipes join both directions to one connection.
type pipes struct {
	io.Reader
	io.WriteCloser
}

// startProcess starts this program again in a role. The caller must call end.
func startProcess(role string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, "-role", role)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	detach(cmd)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting a %s: %w", role, err)
	}
	return &process{cmd, rpc.NewClient(pipes{out, in})}, nil
}

// end closes the process's input and waits for its end.
func (p *process) end() error {
	return errors.Join(p.call.Close(), p.cmd.Wait())
}

// serveRole is the main function of a child process.
func serveRole(role string) error {
	server := rpc.NewServer()
	end := func() {}
	var service any
	switch role {
	case "client":
		service = newClient()
	case "relay":
		service = newRelays()
	case "proxy":
		p := newProxy()
		service, end = p, p.end
	default:
		return fmt.Errorf("there is no role %q", role)
	}
	if err := server.RegisterName("Role", service); err != nil {
		return err
	}
	server.ServeConn(pipes{os.Stdin, os.Stdout})
	end()
	return nil
}
