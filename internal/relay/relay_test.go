package relay

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// A relay refuses, freezes and is slow, and then relays again as if nothing had been.
func TestRelay(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	const delay = 150 * time.Millisecond
	r, err := New("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	r.Delay = delay
	defer r.Close()
	dial := func() net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", r.Addr())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	echo := func(conn net.Conn, within time.Duration) (time.Duration, error) {
		began := time.Now()
		_ = conn.SetDeadline(began.Add(within))
		if _, err := conn.Write([]byte("x")); err != nil {
			return 0, err
		}
		_, err := io.ReadFull(conn, make([]byte, 1))
		return time.Since(began), err
	}
	const long = 20 * time.Second
	first := dial()
	if _, err := echo(first, long); err != nil {
		t.Fatal(err)
	}
	if err := r.Turn(Slow); err != nil {
		t.Fatal(err)
	}
	if took, err := echo(first, long); err != nil || took < delay {
		t.Errorf("slow: %s, %v", took, err)
	}
	if err := r.Turn(Silent); err != nil {
		t.Fatal(err)
	}
	second := dial()
	for _, conn := range []net.Conn{first, second} {
		var timeout net.Error
		if _, err := echo(conn, 100*time.Millisecond); !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("frozen: %v", err)
		}
	}
	if err := r.Turn(Open); err != nil {
		t.Fatal(err)
	}
	for _, conn := range []net.Conn{first, second} { // what was sent meanwhile comes
		_ = conn.SetDeadline(time.Now().Add(long))
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			t.Errorf("after a freeze: %v", err)
		}
	}
	if err := r.Turn(Refused); err != nil {
		t.Fatal(err)
	}
	if _, err := echo(first, long); err == nil {
		t.Error("a connection goes on while the relay refuses")
	}
	if conn, err := net.Dial("tcp", r.Addr()); err == nil {
		conn.Close()
		t.Error("somebody listens while the relay refuses")
	}
	if err := r.Turn(Open); err != nil {
		t.Fatal(err)
	}
	if _, err := echo(dial(), long); err != nil {
		t.Errorf("after it refused: %v", err)
	}
}
