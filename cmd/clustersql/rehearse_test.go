package main

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
)

// What is seen of a loss is judged: what was under way may fail, and nothing else.
func TestLossIsJudged(t *testing.T) {
	good := call{took: time.Millisecond}
	bad := call{took: time.Second, err: errors.New("lost")}
	many := func(c call, n int) (all []call) {
		for range n {
			all = append(all, c)
		}
		return all
	}
	well := func(fault relayMode) loss {
		return loss{fault: fault, calls: many(good, 100), later: many(good, 100), down: time.Second, back: true, delay: time.Millisecond}
	}
	for _, c := range []struct {
		name   string
		fault  relayMode
		change func(*loss)
		want   verdict
		say    string
	}{
		{"well", relayRefuse, func(*loss) {}, isOK, "200 statements, 0 failed"},
		{"slow and well", relaySlow, func(l *loss) { l.down = -1 }, isOK, "0 failed"},
		{"those under way fail", relayFreeze, func(l *loss) { l.calls = append(l.calls, many(bad, clients)...) }, isOK, "5 failed, longest 1s"},
		{"one more fails", relayFreeze, func(l *loss) { l.calls = append(l.calls, many(bad, clients+1)...) }, isFailed, "room"},
		{"one fails later", relayFreeze, func(l *loss) { l.later = append(l.later, bad) }, isFailed, "other nodes work"},
		{"one fails of a slow node", relaySlow, func(l *loss) { l.calls = append(l.calls, bad) }, isFailed, "other nodes work"},
		{"nothing works", relayRefuse, func(l *loss) { l.later = nil }, isFailed, "no statement"},
		{"not taken down", relayFreeze, func(l *loss) { l.down = -1 }, isFailed, "probe_timeout"},
		{"not back", relayRefuse, func(l *loss) { l.back = false }, isFailed, "rise"},
		{"slower than an open", relayFreeze, func(l *loss) { l.calls = append(l.calls, call{took: time.Hour}) }, isWarning, "deadline"},
		{"no relay", relayRefuse, func(l *loss) { l.err = errors.New("no port") }, isFailed, "no port"},
	} {
		l := well(c.fault)
		c.change(&l)
		r := &report{cluster: &cluster{config: clustersql.DefaultConfig()}}
		r.judgeLoss("n1", l)
		if got := r.rows[0]; got.Verdict != c.want || !strings.Contains(got.Have+got.Note, c.say) || got.Check != "failover: "+c.fault.String() {
			t.Errorf("%s: %+v, want %s with %q", c.name, got, c.want, c.say)
		}
	}
}

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
	r, err := newRelay("tcp", l.Addr().String(), delay)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	dial := func() net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", r.addr())
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
	if err := r.turn(relaySlow); err != nil {
		t.Fatal(err)
	}
	if took, err := echo(first, long); err != nil || took < delay {
		t.Errorf("slow: %s, %v", took, err)
	}
	if err := r.turn(relayFreeze); err != nil {
		t.Fatal(err)
	}
	second := dial()
	for _, conn := range []net.Conn{first, second} {
		var timeout net.Error
		if _, err := echo(conn, 100*time.Millisecond); !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("frozen: %v", err)
		}
	}
	if err := r.turn(relayOpen); err != nil {
		t.Fatal(err)
	}
	for _, conn := range []net.Conn{first, second} { // what was sent meanwhile comes
		_ = conn.SetDeadline(time.Now().Add(long))
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			t.Errorf("after a freeze: %v", err)
		}
	}
	if err := r.turn(relayRefuse); err != nil {
		t.Fatal(err)
	}
	if _, err := echo(first, long); err == nil {
		t.Error("a connection goes on while the relay refuses")
	}
	if conn, err := net.Dial("tcp", r.addr()); err == nil {
		conn.Close()
		t.Error("somebody listens while the relay refuses")
	}
	if err := r.turn(relayOpen); err != nil {
		t.Fatal(err)
	}
	if _, err := echo(dial(), long); err != nil {
		t.Errorf("after it refused: %v", err)
	}
}
