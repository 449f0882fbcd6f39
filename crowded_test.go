package clustersql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql/internal/fakedb"
)

// A limited connector has places for so many connections. Others are refused
// with the error number of the server's limit.
type limited struct {
	driver.Connector
	places int64
	number uint16
	taken  atomic.Int64
	others atomic.Int64 // places that other programs have
	greedy atomic.Bool  // other programs take every place that becomes free
}

func (l *limited) Connect(ctx context.Context) (driver.Conn, error) {
	if l.taken.Add(1)+l.others.Load() > l.places {
		l.taken.Add(-1)
		return nil, &mysql.MySQLError{Number: l.number, Message: "no place"}
	}
	conn, err := l.Connector.Connect(ctx)
	if err != nil {
		l.taken.Add(-1)
		return nil, err
	}
	return limitedConn{conn.(*fakedb.Conn), l}, nil
}

type limitedConn struct {
	*fakedb.Conn
	of *limited
}

func (c limitedConn) Close() error {
	if c.of.greedy.Load() {
		c.of.others.Add(1)
	}
	defer c.of.taken.Add(-1)
	return c.Conn.Close()
}

// limitedCluster has three nodes with the given number of places on each.
func limitedCluster(t *testing.T, b *fakedb.Backend, places int64, number uint16, opts ...Option) (Driver, []*limited) {
	t.Helper()
	d := NewDriver(b.Driver(), t.Name(), append([]Option{quiet, seeded(t)}, opts...)...)
	t.Cleanup(func() { d.Close() })
	var all []*limited
	for i := range 3 {
		c, err := b.Driver().(driver.DriverContext).OpenConnector(nodeName(i))
		if err != nil {
			t.Fatal(err)
		}
		l := &limited{Connector: c, places: places, number: number}
		if err := d.AddConnector(nodeName(i), l); err != nil {
			t.Fatal(err)
		}
		all = append(all, l)
	}
	return d, all
}

// Three nodes have four places each, one of them the probe's. Twenty callers
// come at once, and no connection that lies idle stands in the way of those who
// wait.
func TestIdleConnectionsMakeRoomForOpensThatWait(t *testing.T) {
	for _, number := range []uint16{1040, 1203, 1226} {
		for _, strategy := range []Strategy{Race, Hedged, Balanced, Ordered} {
			t.Run(fmt.Sprint(number, strategy), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := fakedb.New()
					var told diary
					d, _ := limitedCluster(t, b, 4, number, WithStrategy(strategy), WithOnEvent(told.write))
					for i := range 3 {
						b.Node(nodeName(i)).SetHealth(nil, 10*time.Millisecond, false)
					}
					db := openDB(t, d)
					db.SetMaxIdleConns(20)
					time.Sleep(time.Second)
					began := time.Now()
					var work sync.WaitGroup
					for range 20 {
						work.Go(func() {
							if _, err := db.ExecContext(t.Context(), "work"); err != nil {
								t.Error(err)
							}
						})
					}
					work.Wait()
					if took := time.Since(began); took > 5*time.Second {
						t.Errorf("the last one was served after %v", took)
					}
					closed := 0
					for i := range 3 {
						for _, e := range told.of(nodeName(i), EventRetired) {
							closed += e.Conns
						}
					}
					if closed == 0 || closed > 20 {
						t.Errorf("%d connections made room", closed)
					}
					for _, s := range d.Status().Nodes {
						if s.State != StateUp {
							t.Errorf("%s is %v", s.Name, s.State)
						}
					}
					db.Close()
					d.Close()
					synctest.Wait()
					wantNothingLeft(t, b)
				})
			})
		}
	}
}

// The idle connections may be those of another sql.DB. Connections in use are
// left alone, and so are idle ones while nobody waits.
func TestRoomIsMadeOfIdleConnectionsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d, _ := limitedCluster(t, b, 4, 1226)
		first, second := openDB(t, d), openDB(t, d)
		time.Sleep(time.Second)
		fill(t, first, 9)
		var busy []*sql.Conn
		for range 8 {
			busy = append(busy, usedConn(t, first))
		}
		time.Sleep(10 * time.Second)
		if open := openConns(d); open[0]+open[1]+open[2] != 9 {
			t.Errorf("%v open, want all while nobody waits", open)
		}
		began := time.Now()
		conn, err := second.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("after %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := second.PingContext(ctx); err == nil {
			t.Error("there is no place and no idle connection")
		}
		for _, c := range busy {
			if _, err := c.ExecContext(t.Context(), "work"); err != nil {
				t.Errorf("a connection in use: %v", err)
			}
			c.Close()
		}
		conn.Close()
	})
}

// Where other programs take every place that becomes free, an open that waits
// costs one connection of each node, and not the whole pool.
func TestRoomThatOthersTakeCostsFewConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d, nodes := limitedCluster(t, b, 4, 1040)
		first, second := openDB(t, d), openDB(t, d)
		time.Sleep(time.Second)
		fill(t, first, 9)
		for _, n := range nodes {
			n.greedy.Store(true)
		}
		if _, err := second.Conn(t.Context()); err == nil {
			t.Error("there was no place")
		}
		for i, open := range openConns(d) {
			if open < 2 {
				t.Errorf("%d connections are left on %s", open, nodeName(i))
			}
		}
		// When there is a shortage again later, there is room again.
		for _, n := range nodes {
			n.greedy.Store(false)
		}
		time.Sleep(10 * time.Second)
		conn, err := second.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
	})
}
