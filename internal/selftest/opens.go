package selftest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
)

// atOnce limits the load on a user's servers.
const atOnce = 30

// concurrentOpens holds many connections at once, and finds none afterwards.
func (c *cluster) concurrentOpens(t *testing.T) {
	db := sql.OpenDB(c.Connector())
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	conns := make(chan *sql.Conn, atOnce)
	var wg sync.WaitGroup
	for range atOnce {
		wg.Go(func() {
			conn, err := db.Conn(ctx)
			if err != nil {
				t.Error(err)
				return
			}
			if err := conn.PingContext(ctx); err != nil {
				t.Error(err)
			}
			conns <- conn
		})
	}
	wg.Wait()
	close(conns)
	t.Logf("%d connections at once", len(conns))
	for conn := range conns {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	for _, s := range c.Status().Nodes {
		if s.OpenConns != 0 || s.Attempts != 0 {
			t.Errorf("%s: %d connections and %d attempts are left", s.Name, s.OpenConns, s.Attempts)
		}
		t.Logf("%s: won %d, lost %d, failed %d, open latency %v (p99 %v)", s.Name, s.Won, s.Lost, s.Errors,
			s.OpenLatency.Mean().Round(10*time.Microsecond), s.OpenLatency.Percentile(0.99).Round(10*time.Microsecond))
	}
}

// masksRefused adds a node on whose port nobody listens. Opens must not notice
// it, and its error must be shown.
func (c *cluster) masksRefused(t *testing.T) {
	const refused = "clustersql-selftest-refused"
	if err := c.AddConnector(refused, refusingConnector{c.backend}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.DelNode(refused); err != nil {
			t.Error(err)
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	db := sql.OpenDB(c.Connector())
	defer db.Close()
	for range 3 {
		conn, err := db.Conn(ctx)
		if err != nil {
			t.Fatalf("a refused node was not masked: %v", err)
		}
		conn.Close()
	}
	for !c.shows(refused) {
		if err := db.PingContext(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

// shows reports whether the node is down and its error can be seen.
func (c *cluster) shows(node string) bool {
	for _, s := range c.Status().Nodes {
		if s.Name == node {
			return s.State == clustersql.StateDown && s.LastErrorMessage != ""
		}
	}
	return false
}

// A refusingConnector dials a loopback port on which nobody listens any more.
type refusingConnector struct{ backend driver.Driver }

func (refusingConnector) Connect(ctx context.Context) (driver.Conn, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l.Close()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
	if err == nil {
		conn.Close()
		err = errors.New("somebody took the port")
	}
	return nil, err
}

func (c refusingConnector) Driver() driver.Driver { return c.backend }
