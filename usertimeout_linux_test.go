package clustersql

import (
	"context"
	"database/sql/driver"
	"net"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/EnumApps/clustersql/internal/fakedb"
)

// A socketConnector dials an address before it gives a connection of fakedb.
type socketConnector struct {
	driver.Connector
	addr  net.Addr
	dials chan net.Conn // takes each socket
}

func (c *socketConnector) Connect(ctx context.Context) (driver.Conn, error) {
	socket, err := Dial(ctx, c.addr.Network(), c.addr.String())
	if err != nil {
		return nil, err
	}
	c.dials <- socket
	return c.Connector.Connect(ctx)
}

// A socket that Dial has made for an open has the TCP user timeout of the
// cluster's settings. Unix sockets have none, and work.
func TestDialSetsTheTCPUserTimeout(t *testing.T) {
	for _, tc := range []struct {
		name, network string
		opts          []Option
		want          int // milliseconds
	}{
		{"default", "tcp", nil, 30_000},
		{"set", "tcp", []Option{WithTCPUserTimeout(1500 * time.Millisecond)}, 1500},
		{"longest", "tcp", []Option{WithTCPUserTimeout(longestWait)}, 86_400_000},
		{"off", "tcp", []Option{WithTCPUserTimeout(0)}, 0},
		{"unix", "unix", nil, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			addr := "127.0.0.1:0"
			if tc.network == "unix" {
				addr = filepath.Join(t.TempDir(), "sock")
			}
			listener, err := net.Listen(tc.network, addr)
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			b := fakedb.New()
			c := &socketConnector{connectorOf(t, b, "n1"), listener.Addr(), make(chan net.Conn, 100)}
			d := NewDriver(b.Driver(), t.Name(), append(tc.opts, quiet)...)
			defer d.Close()
			if err := d.AddConnector("n1", c); err != nil {
				t.Fatal(err)
			}
			conn, err := d.Connector().Connect(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			conn.Close()
			d.Close()
			close(c.dials)
			longest := 0
			for socket := range c.dials { // the open's, and the probe's, which needs none
				if tcp, ok := socket.(*net.TCPConn); ok {
					longest = max(longest, userTimeout(t, tcp))
				}
				socket.Close()
			}
			if longest != tc.want {
				t.Errorf("%d ms, want %d", longest, tc.want)
			}
		})
	}
}

func userTimeout(t *testing.T, conn *net.TCPConn) (ms int) {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		ms, err = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, 0x12)
	}); err != nil {
		t.Fatal(err)
	}
	return ms
}
