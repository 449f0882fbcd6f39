package clustersql

import (
	"context"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql/internal/fakedb"
	"github.com/EnumApps/clustersql/internal/health"
	mysqldialect "github.com/EnumApps/clustersql/internal/mysql"
	"github.com/EnumApps/clustersql/internal/socket"
)

// A tokenTrouble is one way in which a token service that a backend asks in its
// Connect may fail. None is the node's.
type tokenTrouble struct {
	ask    func(ctx context.Context) error
	reason string
}

var tokenTroubles = map[string]tokenTrouble{
	"refused":         {fails(tokenDial(syscall.ECONNREFUSED)), "dial tcp 10.0.0.9:8200: connection refused"},
	"refused, HTTP":   {fails(tokenHTTP(tokenDial(syscall.ECONNREFUSED))), "connection refused"},
	"refused, bare":   {fails(fmt.Errorf("token: %w", syscall.ECONNREFUSED)), "token: connection refused"},
	"unreachable":     {fails(tokenHTTP(tokenDial(syscall.EHOSTUNREACH))), "no route to host"},
	"reset":           {fails(tokenHTTP(tokenRead(syscall.ECONNRESET))), "connection reset by peer"},
	"ended":           {fails(tokenHTTP(io.EOF)), "EOF"},
	"broken off":      {fails(fmt.Errorf("token: %w", io.ErrUnexpectedEOF)), "token: unexpected EOF"},
	"certificate":     {fails(tokenHTTP(x509.UnknownAuthorityError{})), "unknown authority"},
	"status":          {fails(errors.New("token: 503 Service Unavailable")), "503"},
	"no file":         {fails(&fs.PathError{Op: "open", Path: "token", Err: syscall.ENOENT}), "open token: no such file"},
	"no name":         {fails(tokenHTTP(&net.DNSError{Err: "no such host", Name: "token", IsNotFound: true})), "lookup token: no such host"},
	"no socket":       {fails(tokenSocket(syscall.ENOENT)), "dial unix /run/token.sock"},
	"socket, refused": {fails(tokenSocket(syscall.ECONNREFUSED)), "dial unix /run/token.sock"},
	"its timeout": {func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		defer cancel()
		<-ctx.Done()
		return tokenHTTP(ctx.Err())
	}, "deadline exceeded"},
	"silence": {func(ctx context.Context) error {
		<-ctx.Done()
		return tokenHTTP(ctx.Err())
	}, "silent: no answer"},
}

func fails(err error) func(context.Context) error {
	return func(context.Context) error { return err }
}

func tokenDial(err error) error {
	return &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 9), Port: 8200}, Err: err}
}

func tokenSocket(err error) error {
	return &net.OpError{Op: "dial", Net: "unix", Addr: &net.UnixAddr{Net: "unix", Name: "/run/token.sock"}, Err: err}
}

func tokenRead(err error) error { return &net.OpError{Op: "read", Net: "tcp", Err: err} }

func tokenHTTP(err error) error {
	return &url.Error{Op: "Get", URL: "http://10.0.0.9:8200/token", Err: err}
}

// Trouble of a token service is not the node's. Whatever it is, no new
// connection comes about, and those that are there work on: none is given up,
// none is cut.
func TestTroubleOfATokenServiceKeepsTheConnections(t *testing.T) {
	for name, trouble := range tokenTroubles {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { troubleOfATokenService(t, trouble) })
		})
	}
}

func troubleOfATokenService(t *testing.T, trouble tokenTrouble) {
	var mu sync.Mutex
	var events []Event
	b := fakedb.New()
	b.OnSocket(func(ctx context.Context, s net.Conn) { TrackSocket(ctx, s) })
	b.Node("n1").SetMood(fakedb.Mood{})
	c := &namedHost{Connector: connectorOf(t, b, "n1"), dial: trouble.ask}
	d := NewDriver(b.Driver(), t.Name(), quiet, seeded(t), WithOnEvent(func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		events = append(events, e)
	}))
	defer d.Close()
	if err := d.AddConnector("n1", c); err != nil {
		t.Fatal(err)
	}
	db := openDB(t, d)
	fill(t, db, 2)
	synctest.Wait()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	opened := b.Stats().Opens

	c.asks.Store(true)
	work := func() {
		t.Helper()
		if _, err := conn.ExecContext(t.Context(), "INSERT"); err != nil {
			t.Errorf("the connection in use: %v", err)
		}
		if _, err := db.Exec("INSERT"); err != nil {
			t.Errorf("the idle connection: %v", err)
		}
	}
	for range 3 {
		work()
		more, err := openThird(t, db)
		if err == nil {
			more.Close()
			t.Fatal("a connection without a token")
		}
		if !strings.Contains(err.Error(), trouble.reason) {
			t.Errorf("the reason is missing: %v", err)
		}
		time.Sleep(30 * time.Second)
		work()
	}
	s := d.Status().Nodes[0]
	if s.Generation != 0 || s.OpenConns != 2 || b.Stats().Opens > opened {
		t.Errorf("%d opened: %+v", b.Stats().Opens-opened, s)
	}
	mu.Lock()
	for _, e := range events {
		if e.Kind != EventState {
			t.Errorf("%v", e)
		}
	}
	mu.Unlock()
	c.asks.Store(false)
	time.Sleep(30 * time.Second)
	if s := d.Status().Nodes[0]; s.State != StateUp {
		t.Errorf("the service is back: %+v", s)
	}
	work()
}

// A node that died is down at once also where nobody knows whose refusal it is.
// Its connections are lost themselves, and cost no error.
func TestDeadNodeOfAnUnknownDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		for i := range 2 {
			b.Node(nodeName(i)).SetMood(fakedb.Mood{})
		}
		d := fakeCluster(t, b, 2, WithStrategy(Ordered))
		db := openDB(t, d)
		synctest.Wait()
		fill(t, db, 4)
		b.Node("n1").SetMood(fakedb.Mood{Dial: tokenDial(syscall.ECONNREFUSED)})
		b.Node("n1").Break(io.ErrUnexpectedEOF, false)
		for range 20 {
			if _, err := db.Exec("INSERT"); err != nil {
				t.Error(err)
			}
		}
		if s := d.Status().Nodes[0]; s.State != StateDown {
			t.Errorf("%+v", s)
		}
	})
}

// openThird opens one connection while two are there.
func openThird(t *testing.T, db *sql.DB) (*sql.Conn, error) {
	t.Helper()
	idle, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	return db.Conn(t.Context())
}

// Where the node is known to be dialled with Dial, a refusal is the node's own
// only if Dial met it in this attempt. Such a node is down at once.
func TestWhoseRefusal(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	dial := func(ctx context.Context, addr net.Addr) error {
		conn, err := Dial(ctx, "tcp", addr.String())
		if err == nil {
			conn.Close()
		}
		return err
	}
	plain := func(addr net.Addr) error {
		conn, err := net.Dial("tcp", addr.String())
		if err == nil {
			conn.Close()
		}
		return err
	}
	for name, tc := range map[string]struct {
		fails func(ctx context.Context) error
		nodes bool
	}{
		"Dial":                     {func(ctx context.Context) error { return dial(ctx, dead.Addr()) }, true},
		"Dial, wrapped":            {func(ctx context.Context) error { return fmt.Errorf("connect: %w", dial(ctx, dead.Addr())) }, true},
		"another dial":             {func(context.Context) error { return plain(dead.Addr()) }, false},
		"Dial and then another":    {func(ctx context.Context) error { dial(ctx, listener.Addr()); return plain(dead.Addr()) }, false},
		"both refused":             {func(ctx context.Context) error { dial(ctx, dead.Addr()); return plain(dead.Addr()) }, false},
		"refused, and then served": {func(ctx context.Context) error { err := dial(ctx, dead.Addr()); dial(ctx, listener.Addr()); return err }, false},
	} {
		t.Run(name, func(t *testing.T) {
			d := dialer{dialect: mysqldialect.Dialect{}, known: new(dialerFacts)}
			d.known.dials.Store(true)
			ctx := socket.With(t.Context(), new(socket.Slot))
			failed := d.judge(ctx, tc.fails(ctx), health.Failed)
			if (failed.class == health.Refused) != tc.nodes {
				t.Errorf("%v: %v", failed.err, failed.class)
			}
		})
	}
}

// In tokens for each connection, BeforeConnect of the mysql driver asks the
// service before the driver dials. What it meets is not the node's, also where
// the node itself is dialled with Dial.
func TestBeforeConnectIsNotTheNodes(t *testing.T) {
	for name, trouble := range tokenTroubles {
		t.Run(name, func(t *testing.T) {
			cfg := mysql.NewConfig()
			cfg.Net, cfg.Addr, cfg.DialFunc = "tcp", "127.0.0.1:1", Dial
			if err := cfg.Apply(mysql.BeforeConnect(func(ctx context.Context, _ *mysql.Config) error { return trouble.ask(ctx) })); err != nil {
				t.Fatal(err)
			}
			c, err := mysql.NewConnector(cfg)
			if err != nil {
				t.Fatal(err)
			}
			d := dialer{recipes: newRecipes(recipe{connector: c}), dialect: mysqldialect.Dialect{}, known: new(dialerFacts)}
			d.known.dials.Store(true)
			ctx, cancel := context.WithTimeout(socket.With(t.Context(), new(socket.Slot)), 50*time.Millisecond)
			defer cancel()
			var r dialed
			d.open(ctx, nil, question{}, &r)
			var up health.Health
			up.Next(&health.Evidence{OK: true, Probe: true}, 2, 2, time.Now())
			for range 3 {
				e := r.failed.evidence()
				e.Probe = true
				if eff := up.Next(&e, 2, 2, time.Now()); eff.Raise || eff.Cut {
					t.Errorf("%v: %+v", r.failed.err, eff)
				}
			}
		})
	}
}
