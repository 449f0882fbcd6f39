package main

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// echo starts a server that answers each byte with the same byte. It returns
// the server's address.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				io.Copy(conn, conn)
			}()
		}
	}()
	t.Cleanup(func() { l.Close(); <-over })
	return l.Addr().String()
}

func testForwarder(t *testing.T) *forwarder {
	t.Helper()
	f, err := newForwarder(echo(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.close)
	return f
}

// dial returns a connection through the forwarder on which an answer has come.
func dial(t *testing.T, f *forwarder) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", f.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	ask(t, conn)
	return conn
}

func ask(t *testing.T, conn net.Conn) {
	t.Helper()
	if _, err := conn.Write([]byte{'?'}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
}

func wantEnd(t *testing.T, conn net.Conn) {
	t.Helper()
	if n, err := conn.Read(make([]byte, 1)); err == nil {
		t.Errorf("%d bytes came, and not the end", n)
	}
}

func TestRefuseKeepsWhatIsThere(t *testing.T) {
	f := testForwarder(t)
	conn := dial(t, f)
	f.refuse()
	if _, err := net.Dial("tcp", f.addr); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v", err)
	}
	ask(t, conn)
}

func TestAcceptEndsARefuse(t *testing.T) {
	f := testForwarder(t)
	f.refuse()
	if err := f.accept(echo(t)); err != nil {
		t.Fatal(err)
	}
	dial(t, f)
}

func TestDrainClosesIdleConnections(t *testing.T) {
	f := testForwarder(t)
	conns := []net.Conn{dial(t, f), dial(t, f)}
	f.refuse()
	if err := f.drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, conn := range conns {
		wantEnd(t, conn)
	}
}

func TestDrainCutsTheRestWhenItsTimeIsOver(t *testing.T) {
	f := testForwarder(t)
	conn := dial(t, f)
	f.refuse()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.drain(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	wantEnd(t, conn)
}

// A connection on which a question waits for its answer is not idle, however
// long nothing moves.
func TestUnansweredQuestionIsNotIdle(t *testing.T) {
	client, other := net.Pipe()
	defer client.Close()
	defer other.Close()
	p := newPassage(client, new(atomic.Int64))
	defer p.cut()
	long := time.Now().Add(-time.Hour).UnixNano()
	for _, tc := range []struct {
		answered bool
		moved    int64
		idle     bool
	}{
		{false, long, false},
		{true, time.Now().Add(time.Hour).UnixNano(), false},
		{true, long, true},
	} {
		p.answered.Store(tc.answered)
		p.moved.Store(tc.moved)
		if p.idle() != tc.idle {
			t.Errorf("%+v: idle is %t", tc, p.idle())
		}
	}
}

func TestCutEndsAHeldAnswer(t *testing.T) {
	f := testForwarder(t)
	conn := dial(t, f)
	f.delay.Store(int64(time.Hour))
	if _, err := conn.Write([]byte{'?'}); err != nil {
		t.Fatal(err)
	}
	f.cut()
	wantEnd(t, conn)
}

func TestServerThatIsGoneEndsThePassage(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f, err := newForwarder(l.Addr().String())
	l.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	conn, err := net.Dial("tcp", f.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	wantEnd(t, conn)
}
