package main

import (
	"bufio"
	"io"
	"net"
	"testing"
	"time"
)

// echo starts a server that answers every line with the same line.
func echo(t *testing.T) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); io.Copy(c, c) }()
		}
	}()
	return l.Addr().String()
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// ask sends a line and returns the answer.
func ask(c net.Conn) (string, error) {
	if _, err := io.WriteString(c, "hello\n"); err != nil {
		return "", err
	}
	return bufio.NewReader(c).ReadString('\n')
}

func newTestRelay(t *testing.T) *relay {
	t.Helper()
	r, err := newRelay(echo(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.set(Fault{Refuse: true}) })
	return r
}

func setFault(t *testing.T, r *relay, f Fault) {
	t.Helper()
	if err := r.set(f); err != nil {
		t.Fatal(err)
	}
}

func TestRelayHoldsAnswersBack(t *testing.T) {
	r := newTestRelay(t)
	const delay = 50 * time.Millisecond
	setFault(t, r, Fault{Delay: delay})
	began := time.Now()
	if _, err := ask(dial(t, r.addr)); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 2*delay {
		t.Errorf("the first answer came after %v, before twice %v", took, delay)
	}
}

// A silent relay passes nothing on until it is healthy again. Then the answer
// comes.
func TestRelayIsSilent(t *testing.T) {
	r := newTestRelay(t)
	there := dial(t, r.addr)
	if _, err := ask(there); err != nil {
		t.Fatal(err)
	}
	setFault(t, r, Fault{Silent: true})
	fresh := dial(t, r.addr)
	for name, c := range map[string]net.Conn{"there": there, "fresh": fresh} {
		c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		if answer, err := ask(c); err == nil {
			t.Errorf("%s: a silent relay answered %q", name, answer)
		}
		c.SetReadDeadline(time.Time{})
	}
	setFault(t, r, Fault{})
	for name, c := range map[string]net.Conn{"there": there, "fresh": fresh} {
		if answer, err := bufio.NewReader(c).ReadString('\n'); err != nil || answer != "hello\n" {
			t.Errorf("%s: %q, %v", name, answer, err)
		}
	}
}

// A refusing relay cuts the existing connections. Later it accepts connections
// again on the same port.
func TestRelayRefuses(t *testing.T) {
	r := newTestRelay(t)
	there := dial(t, r.addr)
	if _, err := ask(there); err != nil {
		t.Fatal(err)
	}
	setFault(t, r, Fault{Refuse: true})
	if _, err := ask(there); err == nil {
		t.Error("a connection outlived the refusal")
	}
	if c, err := net.Dial("tcp", r.addr); err == nil {
		c.Close()
		t.Error("a refusing relay took a connection")
	}
	setFault(t, r, Fault{})
	if _, err := ask(dial(t, r.addr)); err != nil {
		t.Error(err)
	}
}
