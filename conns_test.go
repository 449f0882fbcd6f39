package clustersql

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql/internal/health"
	"github.com/EnumApps/clustersql/internal/socket"

	"github.com/EnumApps/clustersql/internal/fakedb"
)

// The connections of a pipeConnector have a socket. Their statements hang on it
// while the node is told to hang.
type pipeConnector struct {
	node  driver.Connector
	hangs atomic.Bool
	track bool
	wrap  func(net.Conn) net.Conn // what the cluster gets to know as the socket; nil: the socket itself

	mu    sync.Mutex
	peers []net.Conn // of all conns made; closing one ends what hangs on it
}

// release ends everything that hangs.
func (c *pipeConnector) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.peers {
		p.Close()
	}
}

type pipeConn struct {
	*fakedb.Conn
	of   *pipeConnector
	here net.Conn
	peer net.Conn
}

func (c *pipeConnector) Driver() driver.Driver { return c.node.Driver() }

func (c *pipeConnector) Connect(ctx context.Context) (driver.Conn, error) {
	if c.hangs.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	conn, err := c.node.Connect(ctx)
	if err != nil {
		return nil, err
	}
	here, peer := net.Pipe()
	c.mu.Lock()
	c.peers = append(c.peers, peer)
	c.mu.Unlock()
	known := here
	if c.wrap != nil {
		known = c.wrap(here)
	}
	if c.track {
		TrackSocket(ctx, known)
	}
	return &pipeConn{conn.(*fakedb.Conn), c, here, peer}, nil
}

func (c *pipeConn) Close() error {
	c.here.Close()
	c.peer.Close()
	return c.Conn.Close()
}

func (c *pipeConn) Ping(ctx context.Context) error {
	if c.of.hangs.Load() {
		<-ctx.Done()
		return ctx.Err()
	}
	return c.Conn.Ping(ctx)
}

// ExecContext ignores its context, like a read without a deadline.
func (c *pipeConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if c.of.hangs.Load() {
		if _, err := c.here.Read(make([]byte, 1)); err != nil {
			return nil, err
		}
	}
	return c.Conn.ExecContext(ctx, query, args)
}

// usedConn takes a conn and uses it.
func usedConn(t *testing.T, db *sql.DB) *sql.Conn {
	t.Helper()
	conn, err := db.Conn(context.Background())
	if err == nil {
		err = conn.PingContext(context.Background())
	}
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func pipeCluster(t *testing.T, b *fakedb.Backend, track bool, opts ...Option) (Driver, *pipeConnector) {
	t.Helper()
	node, err := b.Driver().(driver.DriverContext).OpenConnector("n1")
	if err != nil {
		t.Fatal(err)
	}
	c := &pipeConnector{node: node, track: track}
	d := NewDriver(b.Driver(), t.Name(), append([]Option{quiet}, opts...)...)
	t.Cleanup(func() { d.Close() })
	if err := d.AddConnector("n1", c); err != nil {
		t.Fatal(err)
	}
	return d, c
}

// addFellow adds a node that is well and asked last. It proves that a silence
// of n1 is the node's own.
func addFellow(t *testing.T, d Driver) {
	t.Helper()
	if err := d.AddNode("n2", "n2", WithPriority(1)); err != nil {
		t.Fatal(err)
	}
}

// A statement that hangs on a silent node returns within the detection time,
// with the node's reason, although neither the statement nor its caller has a
// deadline.
func TestHungStatementIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		var log bytes.Buffer
		d, c := pipeCluster(t, b, true, WithStrategy(Ordered), WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
		addFellow(t, d)
		db := openDB(t, d)
		conns := make([]*sql.Conn, 3)
		for i := range conns {
			var err error
			if conns[i], err = db.Conn(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		if s := d.Status().Nodes[0]; s.OpenConns != 3 || s.Cuttable != 3 {
			t.Errorf("%d open, %d can be cut", s.OpenConns, s.Cuttable)
		}
		time.Sleep(time.Second)
		c.hangs.Store(true)
		began := time.Now()
		_, err := conns[0].ExecContext(context.Background(), "UPDATE t SET x = 1")
		if took := time.Since(began); took > 2400*time.Millisecond {
			t.Errorf("returned after %v", took)
		}
		for _, want := range []string{`node n1: connection lost: clustersql cut the connection (silent: `, "closed pipe"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v lacks %q", err, want)
			}
		}
		if !errors.Is(err, ErrUnknownOutcome) || errors.Is(err, driver.ErrBadConn) {
			t.Errorf("it was sent, and may have run: %v", err)
		}
		synctest.Wait()
		if n := strings.Count(log.String(), "connections cut"); n != 1 || !strings.Contains(log.String(), "count=3") {
			t.Errorf("one line for all:\n%s", &log)
		}
		for _, conn := range conns {
			conn.Close()
		}
		c.hangs.Store(false)
		time.Sleep(20 * time.Second)
		if _, err := db.Exec("again"); err != nil {
			t.Errorf("after the node's return: %v", err)
		}
	})
}

// A node that refuses work is alive: what runs on it may finish.
func TestRefusingNodeIsNotCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d, _ := pipeCluster(t, b, true)
		db := openDB(t, d)
		conn, err := db.Conn(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		synctest.Wait() // the probe is connected, and is the witness
		b.Node("n1").SetHealth(errRefused, 0, false)
		time.Sleep(5 * time.Second)
		b.Node("n1").SetHealth(nil, 0, false)
		if s := d.Status().Nodes[0]; s.State != StateDown {
			t.Fatalf("%+v", s)
		}
		if _, err := conn.ExecContext(context.Background(), "work"); err != nil {
			t.Errorf("work under way: %v", err)
		}
	})
}

// A node that refuses work may fall silent later. What hangs on it then returns
// as it does on any other silent node.
func TestRefusingNodeThatFallsSilentIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d, c := pipeCluster(t, b, true, WithStrategy(Ordered))
		addFellow(t, d)
		db := openDB(t, d)
		conn, err := db.Conn(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		synctest.Wait() // the probe is connected, and is the witness
		b.Node("n1").SetHealth(errRefused, 0, false)
		time.Sleep(5 * time.Second)
		if s := d.Status().Nodes[0]; s.State != StateDown || s.OpenConns != 1 {
			t.Fatalf("%+v", s)
		}
		c.hangs.Store(true)
		b.Node("n1").SetHealth(nil, 0, true)
		began := time.Now()
		_, err = conn.ExecContext(context.Background(), "work")
		if err == nil || !errors.Is(err, errCut) {
			t.Errorf("got %v", err)
		}
		// Two probes that a down node has at most this far apart.
		if took, most := time.Since(began), 2*(DefaultConfig().AttemptTimeout+health.BackoffMost); took > most {
			t.Errorf("returned after %v, at most %v may pass", took, most)
		}
	})
}

// A conn whose socket is not known cannot be cut, and the cluster does not
// claim that it was.
func TestUnknownSocketIsNotCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d, c := pipeCluster(t, b, false)
		db := openDB(t, d)
		conn, err := db.Conn(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the probe is connected, and is the witness
		if s := d.Status().Nodes[0]; s.OpenConns != 1 || s.Cuttable != 0 {
			t.Errorf("%d open, %d can be cut", s.OpenConns, s.Cuttable)
		}
		c.hangs.Store(true)
		time.Sleep(5 * time.Second)
		c.hangs.Store(false)
		if _, err := conn.ExecContext(context.Background(), "work"); err != nil {
			t.Errorf("got %v", err)
		}
		conn.Close()
	})
}

// A connection that is on its way to database/sql when its node is cut is cut
// too.
func TestLateWinnerIsCut(t *testing.T) {
	d := fakeCluster(t, fakedb.New(), 1)
	n := (*d.m.nodes.Load())[0]
	n.generation.Add(1)
	n.cutOrder.Store(&cutOrder{below: 1, why: errCut})
	here, peer := net.Pipe()
	defer peer.Close()
	s := new(socket.Slot)
	TrackSocket(socket.With(context.Background(), s), here)
	n.applyCut(winner{socket: s, node: n, born: 0})
	if _, err := here.Write(nil); err == nil || !errors.Is(s.Cause(), errCut) {
		t.Errorf("not cut: %v", err)
	}
	if s.Cut(errCut) != nil {
		t.Error("cut twice")
	}
}

func TestDialOutsideOfAConnectIsPlain(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := Dial(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, ok := conn.(*net.TCPConn); !ok {
		t.Errorf("a %T", conn)
	}
	TrackSocket(t.Context(), nil)
}
