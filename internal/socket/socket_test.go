package socket

import (
	"context"
	"net"
	"runtime"
	"testing"
	"time"
)

// The end of a connection is seen although bytes wait to be read before it, as
// those of a server that says why. A connection on which the server has only
// written goes on.
func TestWatchSeesTheEnd(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for name, tc := range map[string]struct {
		act   func(server *net.TCPConn) error
		ended bool
	}{
		"nothing":   {func(*net.TCPConn) error { return nil }, false},
		"a notice":  {func(s *net.TCPConn) error { _, err := s.Write([]byte("notice")); return err }, false},
		"its end":   {func(s *net.TCPConn) error { return s.Close() }, true},
		"a goodbye": {func(s *net.TCPConn) error { _, err := s.Write([]byte("bye")); s.Close(); return err }, true},
		"a reset":   {func(s *net.TCPConn) error { s.SetLinger(0); return s.Close() }, true},
	} {
		t.Run(name, func(t *testing.T) {
			client, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			server, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			slot := new(Slot)
			Track(With(context.Background(), slot), client)
			ended := slot.Watch()
			if runtime.GOOS != "linux" {
				if ended != nil {
					t.Error("this system tells nothing")
				}
				return
			}
			if ended() {
				t.Fatal("it has ended before anything was done")
			}
			if err := tc.act(server.(*net.TCPConn)); err != nil {
				t.Fatal(err)
			}
			// On loopback what was sent is there when the call returns; only a
			// machine that hangs needs the wait.
			for deadline := time.Now().Add(10 * time.Second); tc.ended && !ended() && time.Now().Before(deadline); {
				time.Sleep(time.Millisecond)
			}
			if got := ended(); got != tc.ended {
				t.Errorf("ended: %v", got)
			}
			if allocs := testing.AllocsPerRun(100, func() { ended() }); allocs > 0 {
				t.Errorf("%v allocations a look", allocs)
			}
		})
	}
	pipe, other := net.Pipe()
	defer pipe.Close()
	defer other.Close()
	slot := new(Slot)
	slot.set(pipe)
	if slot.Watch() != nil || new(Slot).Watch() != nil {
		t.Error("a socket that is no TCP connection, or none, is watched")
	}
}

// A slot hears what the server sends, although nobody reads it, and not that a
// connection was made.
func TestHeard(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	slot := new(Slot)
	slot.set(client)
	if at := slot.Heard(); !at.IsZero() {
		t.Errorf("it was heard at %v, and has sent nothing", at)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	before := time.Now().Add(-20 * time.Millisecond) // the system counts in ticks
	if _, err := server.Write([]byte("greeting")); err != nil {
		t.Fatal(err)
	}
	tells := !received(client.(*net.TCPConn)).IsZero()
	for deadline := time.Now().Add(10 * time.Second); !tells && runtime.GOOS == "linux" && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
		tells = !slot.Heard().IsZero()
	}
	if !tells {
		t.Skip("this system does not tell")
	}
	if at := slot.Heard(); at.Before(before) || at.After(time.Now().Add(20*time.Millisecond)) {
		t.Errorf("it was heard at %v, %s after it has sent", at, at.Sub(before))
	}
	if allocs := testing.AllocsPerRun(100, func() { slot.Heard() }); allocs > 4 { // 2 or 3, as the compiler has it
		t.Errorf("%v allocations a look", allocs)
	}
	client.Close()
	if at := slot.Heard(); !at.IsZero() {
		t.Errorf("a closed socket was heard at %v", at)
	}
	slot.Work()
	if at := slot.Heard(); time.Since(at) > time.Minute {
		t.Errorf("an answer was heard at %v", at)
	}
	if at := (*Slot)(nil).Heard(); !at.IsZero() {
		t.Errorf("no slot was heard at %v", at)
	}
}

func BenchmarkHeard(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	slot := new(Slot)
	slot.set(client)
	b.ReportAllocs()
	for b.Loop() {
		slot.Heard()
	}
}
