package galera

import (
	"errors"
	"net"
	"strings"
	"testing"
)

func TestPortsAreReservedOnce(t *testing.T) {
	low, high := portRange()
	seen := make(map[int]bool)
	for range 100 {
		p, err := reservePorts()
		if err != nil {
			t.Fatal(err)
		}
		defer p.release()
		for _, port := range []int{p.mysql, p.group, p.ist, p.sst} {
			if seen[port] {
				t.Errorf("port %d came twice", port)
			}
			if port < low || port >= high {
				t.Errorf("port %d is outside %d–%d", port, low, high)
			}
			seen[port] = true
		}
	}
}

func TestPortsStayOutOfTheEphemeralRange(t *testing.T) {
	for _, tc := range []struct{ first, last, low, high int }{
		{32768, 60999, 19768, 32768},
		{15000, 60999, 10000, 15000},
		{11001, 60999, 10000, 11000},
		{1024, 60999, 61000, 65536},
		{1024, 65535, 20000, 32768},
	} {
		low, high := outside(tc.first, tc.last)
		if low != tc.low || high != tc.high {
			t.Errorf("outside(%d, %d) = %d, %d; want %d, %d", tc.first, tc.last, low, high, tc.low, tc.high)
		}
	}
}

func TestATakenPortIsNamedAsTheCause(t *testing.T) {
	for _, tc := range []struct {
		name string
		port func(ports) int
	}{
		{"mysql", func(p ports) int { return p.mysql }},
		{"group", func(p ports) int { return p.group }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newTestCluster(t, Options{Nodes: 1})
			l, err := net.Listen("tcp", addr(tc.port(c.Nodes[0].ports)))
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			err = c.startAll(t.Context())
			if !errors.Is(err, errPortTaken) || !strings.Contains(err.Error(), "the end of "+c.Nodes[0].errorLog()) {
				t.Errorf("startAll: %v; want %v with the end of the log", err, errPortTaken)
			}
		})
	}
}
