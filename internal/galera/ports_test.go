package galera

import (
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/EnumApps/clustersql/internal/throwaway"
)

func TestATakenPortIsNamedAsTheCause(t *testing.T) {
	for _, tc := range []struct {
		name string
		port func(ports) int
	}{
		{"mysql", func(p ports) int { return p.mysql() }},
		{"group", func(p ports) int { return p.group() }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newTestCluster(t, Options{Nodes: 1})
			l, err := net.Listen("tcp", throwaway.Addr(tc.port(c.Nodes[0].ports)))
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			err = c.startAll(t.Context())
			if !errors.Is(err, throwaway.ErrPortTaken) || !strings.Contains(err.Error(), "the end of "+c.Nodes[0].errorLog()) {
				t.Errorf("startAll: %v; want %v with the end of the log", err, throwaway.ErrPortTaken)
			}
		})
	}
}
