package clustersql

import (
	"context"
	"crypto/x509"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql/internal/fakedb"
)

// A refused login is no evidence about sessions that are logged in. After the
// password has changed, they work on, as they would with a plain driver.
func TestRefusedLoginsKeepTheSessions(t *testing.T) {
	for _, refusal := range []error{
		&mysql.MySQLError{Number: 1045, Message: "Access denied for user 'app'@'h' (using password: YES)"},
		&mysql.MySQLError{Number: 1049, Message: "Unknown database 'db'"},
		&mysql.MySQLError{Number: 1129, Message: "Host 'h' is blocked because of many connection errors"},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := fakedb.New()
			d := fakeCluster(t, b, 3)
			db := openDB(t, d)
			synctest.Wait() // for the first probes
			fill(t, db, 4)
			before := b.Stats().Closes
			for i := range 3 {
				b.Node(nodeName(i)).Set(fakedb.Script{Err: refusal})
			}
			query := func() {
				t.Helper()
				for range 20 {
					if _, err := db.Exec("x"); err != nil {
						t.Errorf("a pooled session: %v", err)
					}
				}
			}
			query()
			// Five at once need one more than there are.
			var held []*sql.Conn
			refused := 0
			for range 5 {
				conn, err := db.Conn(t.Context())
				if err != nil {
					refused++
					continue
				}
				held = append(held, conn)
			}
			if refused != 1 {
				t.Errorf("%d of five were refused", refused)
			}
			for _, conn := range held {
				if err := conn.PingContext(t.Context()); err != nil {
					t.Errorf("a session in use: %v", err)
				}
				conn.Close()
			}
			time.Sleep(time.Minute) // probes too are refused
			query()
			if open := db.Stats().OpenConnections; open != 4 {
				t.Errorf("%d sessions in the pool", open)
			}
			for _, s := range d.Status().Nodes {
				if s.State == StateUp && s.Errors > 0 {
					t.Errorf("%s takes opens: %+v", s.Name, s)
				}
				if s.Generation != 0 {
					t.Errorf("%s has retired its sessions", s.Name)
				}
			}
			if closes := b.Stats().Closes - before; closes > int(3*d.Status().Nodes[0].Probes) {
				t.Errorf("%d connections closed", closes)
			}
		})
	}
}

// One session's end is no doubt about its node: the server may have ended it
// while it lay idle. Ordered stays on its first node.
func TestOneLostSessionChangesNoOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var events []Event
		b := fakedb.New()
		for i := range 2 {
			b.Node(nodeName(i)).SetMood(fakedb.Mood{})
		}
		d := fakeCluster(t, b, 2, WithStrategy(Ordered), WithOnEvent(func(e Event) {
			mu.Lock()
			defer mu.Unlock()
			events = append(events, e)
		}))
		db := openDB(t, d)
		synctest.Wait()
		for _, hidden := range []bool{false, true} {
			for range 10 {
				if err := db.Ping(); err != nil {
					t.Fatal(err)
				}
				probes := d.Status().Nodes[0].Probes
				breakPooled(t, db, hidden)
				node := ""
				for node == "" { // a hidden break costs one error, as with a plain driver
					if _, err := db.Exec("INSERT"); err == nil {
						node = holder(t, db)
					}
				}
				if node != "n1" {
					t.Errorf("hidden %v: the next statement went to %s", hidden, node)
				}
				time.Sleep(time.Second)
				if d.Status().Nodes[0].Probes == probes {
					t.Error("no probe followed")
				}
			}
		}
		mu.Lock()
		defer mu.Unlock()
		for _, e := range events {
			if e.Kind == EventState && e.From != StateUnknown {
				t.Errorf("%s went from %s to %s: %s", e.Node, e.From, e.To, e.Reason)
			}
		}
	})
}

// breakPooled breaks the one connection in the pool, and no other.
func breakPooled(t *testing.T, db *sql.DB, hidden bool) {
	t.Helper()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Raw(func(c any) error {
		c.(Conn).Raw().(*fakedb.Conn).Lose(io.ErrUnexpectedEOF, hidden)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// holder is the node of the connection in the pool.
func holder(t *testing.T, db *sql.DB) (node string) {
	t.Helper()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Raw(func(c any) error {
		node = c.(Conn).Raw().(*fakedb.Conn).NodeName()
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return node
}

// A removed node drains for good, also where somebody undrains it at the same
// time: else its actor would never end.
func TestUndrainBesideDelNode(t *testing.T) {
	d := NewDriver(fakedb.New().Driver(), t.Name(), quiet)
	defer d.Close()
	for range rounds(50_000) {
		if err := d.AddNode("n1", "n1"); err != nil {
			t.Fatal(err)
		}
		n := (*d.m.nodes.Load())[0]
		if err := d.Drain("n1"); err != nil {
			t.Fatal(err)
		}
		var both sync.WaitGroup
		both.Go(func() { _ = d.Undrain("n1") })
		both.Go(func() { _ = d.DelNode("n1") })
		both.Wait()
		if !n.leaving.Load() || !n.draining.Load() {
			t.Fatalf("removed %v, draining %v", n.leaving.Load(), n.draining.Load())
		}
	}
}

// rounds is n, or a tenth in the short run.
func rounds(n int) int {
	if testing.Short() {
		return n / 10
	}
	return n
}

// After Close has returned nobody is given a connection, also one that was on
// its way by then.
func TestConnectBesideClose(t *testing.T) {
	b := fakedb.New()
	d := NewDriver(b.Driver(), t.Name(), quiet, WithMaxAge(time.Hour))
	if err := d.AddNode("n1", "n1"); err != nil {
		t.Fatal(err)
	}
	c := d.Connector().(*connector)
	release := d.m.draws.Hold() // where a winner draws the age at which it is given up
	answer := make(chan error, 1)
	go func() {
		conn, err := c.Connect(context.Background())
		if err == nil {
			conn.Close()
		}
		answer <- err
	}()
	for d.Status().Nodes[0].Won == 0 {
		time.Sleep(time.Millisecond)
	}
	d.Close()
	release()
	if err := <-answer; err != ErrClosed {
		t.Errorf("Connect after Close: %v", err)
	}
	wantNothingLeft(t, b)
}

// Whoever closes a cluster finds it ended, the second as well as the first, and
// what a removed node still does is a part of it.
func TestEveryCloseWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		b.Node("n1").Set(fakedb.Script{Delay: time.Hour, Deaf: true})
		d := fakeCluster(t, b, 1)
		c := d.Connector().(*connector)
		go func() { _, _ = c.Connect(context.Background()) }()
		time.Sleep(100 * time.Millisecond)
		if err := d.DelNode("n1"); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		took := make(chan time.Duration, 2)
		for range 2 {
			go func() {
				d.Close()
				took <- time.Since(began)
			}()
		}
		first, second := <-took, <-took
		if first != second || first == 0 {
			t.Errorf("one Close took %v, the other %v", first, second)
		}
		time.Sleep(2 * time.Hour)
		wantNothingLeft(t, b)
	})
}

// An error whose methods panic, as those of a typed nil do, is passed on; the
// cluster goes on.
func TestTypedNilErrorIsContained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d := fakeCluster(t, b, 1)
		db := openDB(t, d)
		if err := db.Ping(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		var nothing *mysql.MySQLError
		b.Node("n1").OnStatement(func(_ context.Context, query string, _ []driver.NamedValue) error {
			if query == "typed nil" {
				return nothing
			}
			return nil
		})
		for range 3 {
			if _, err := db.Exec("typed nil"); err != error(nothing) {
				t.Errorf("got %v", fmt.Sprintf("%T", err))
			}
		}
		if _, err := db.Exec("well"); err != nil {
			t.Error(err)
		}
		if s := d.Status().Nodes[0]; s.State != StateUp {
			t.Errorf("%+v", s)
		}
	})
}

// A name service that is silent, or says that it has failed, says nothing about
// the node: the node stays up, and its sessions work on.
func TestSilentNameServiceIsNotTheNodes(t *testing.T) {
	ask, over := net.DefaultResolver, make(chan struct{})
	defer func() {
		net.DefaultResolver = ask
		close(over) // look-ups that are shared outlive their callers
	}()
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		<-over // nobody answers
		return nil, errors.New("the test is over")
	}}
	failed := &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "server misbehaving", Name: "db.invalid", IsTimeout: true, IsTemporary: true}}
	for name, dial := range map[string]func(ctx context.Context) error{
		"silent": func(ctx context.Context) error {
			_, err := Dial(ctx, "tcp", "db.invalid:3306")
			return err
		},
		"failing": func(context.Context) error { return failed },
	} {
		t.Run(name, func(t *testing.T) {
			b := fakedb.New()
			c := &namedHost{Connector: connectorOf(t, b, "n1"), dial: dial}
			d := NewDriver(b.Driver(), t.Name(), quiet, WithAttemptTimeout(time.Second), WithProbe(500*time.Millisecond, 500*time.Millisecond))
			defer d.Close()
			if err := d.AddConnector("n1", c); err != nil {
				t.Fatal(err)
			}
			db := openDB(t, d)
			held, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer held.Close()
			if err := d.WaitReady(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			c.asks.Store(true)
			for range 4 {
				conn, err := db.Conn(t.Context())
				if err == nil {
					conn.Close()
					t.Fatal("a connection without an address")
				}
				if text := err.Error(); !strings.Contains(text, "name service") && !strings.Contains(text, "db.invalid") {
					t.Errorf("the reason is missing: %v", err)
				}
			}
			if err := held.PingContext(t.Context()); err != nil {
				t.Errorf("the session in use: %v", err)
			}
			if s := d.Status().Nodes[0]; s.State != StateUp || s.Generation != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// A namedHost is a node whose address has to be asked for from some time on.
type namedHost struct {
	driver.Connector
	dial func(ctx context.Context) error
	asks atomic.Bool
}

func (c *namedHost) Connect(ctx context.Context) (driver.Conn, error) {
	if c.asks.Load() {
		if err := c.dial(ctx); err != nil {
			return nil, err
		}
	}
	return c.Connector.Connect(ctx)
}

func connectorOf(t *testing.T, b *fakedb.Backend, dsn string) driver.Connector {
	t.Helper()
	c, err := b.Driver().(driver.DriverContext).OpenConnector(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A host for which the name service gives no address takes no opens, with that reason,
// said once: it is not known, or has never been. Its actor alone goes on to ask.
func TestUnknownHostIsDown(t *testing.T) {
	for want, err := range map[string]error{
		"no such host":       &net.DNSError{Err: "no such host", Name: "db1", IsNotFound: true},
		"server misbehaving": &net.DNSError{Err: "server misbehaving", Name: "db1", IsTemporary: true},
		"i/o timeout":        &net.DNSError{Err: "i/o timeout", Name: "db1", IsTimeout: true, IsTemporary: true},
	} {
		t.Run(want, func(t *testing.T) { unknownHost(t, want, err) })
	}
}

func unknownHost(t *testing.T, want string, err error) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var downs []string
		b := fakedb.New()
		b.Node("n1").Set(fakedb.Script{Err: err})
		d := fakeCluster(t, b, 2, WithOnEvent(func(e Event) {
			mu.Lock()
			defer mu.Unlock()
			if e.Kind == EventState && e.To == StateDown {
				downs = append(downs, e.Reason)
			}
		}))
		db := openDB(t, d)
		time.Sleep(time.Second)
		db.SetMaxIdleConns(0)
		for range 20 {
			if err := db.Ping(); err != nil {
				t.Fatal(err)
			}
		}
		if s := d.Status().Nodes[0]; s.State != StateDown || s.Opens != 0 || !strings.Contains(s.Reason, want) {
			t.Errorf("%+v", s)
		}
		time.Sleep(time.Minute)
		mu.Lock()
		if len(downs) != 1 || !strings.Contains(downs[0], want) {
			t.Errorf("told %q", downs)
		}
		mu.Unlock()
		b.Node("n1").Set(fakedb.Script{})
		time.Sleep(10 * time.Second)
		if s := d.Status().Nodes[0]; s.State != StateUp {
			t.Errorf("the name is known again: %+v", s)
		}
	})
}

// An error about a file of this machine is the statement's own: it is passed on
// as it is, and nothing is sent again.
func TestMissingFileIsTheStatements(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d := fakeCluster(t, b, 2)
		db := openDB(t, d)
		if err := db.Ping(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		missing := &fs.PathError{Op: "open", Path: "rows.csv", Err: syscall.ENOENT}
		var sent atomic.Int64
		for i := range 2 {
			b.Node(nodeName(i)).OnStatement(func(_ context.Context, query string, _ []driver.NamedValue) error {
				if query != "LOAD DATA LOCAL INFILE 'rows.csv' INTO TABLE t" {
					return nil
				}
				sent.Add(1)
				return missing
			})
		}
		opened := b.Stats().Opens
		for _, ctx := range []context.Context{t.Context(), Idempotent(t.Context())} {
			if _, err := db.ExecContext(ctx, "LOAD DATA LOCAL INFILE 'rows.csv' INTO TABLE t"); err != error(missing) {
				t.Errorf("got %v", err)
			}
		}
		synctest.Wait()
		if sent.Load() != 2 || b.Stats().Opens != opened {
			t.Errorf("sent %d times, %d new connections", sent.Load(), b.Stats().Opens-opened)
		}
		for _, s := range d.Status().Nodes {
			if s.State != StateUp || !s.LastError.IsZero() {
				t.Errorf("%+v", s)
			}
		}
	})
}

// A sql.Conn whose transaction was cancelled, and whose connection that broke,
// says so once, and is gone: it holds no place in the pool any more. The
// Rollback that failed has ended the transaction.
func TestConnOfACancelledTransactionIsGone(t *testing.T) {
	next := map[string]func(ctx context.Context, c *sql.Conn, st *sql.Stmt) error{
		"BeginTx": func(ctx context.Context, c *sql.Conn, _ *sql.Stmt) error {
			_, err := c.BeginTx(ctx, nil)
			return err
		},
		"statement": func(ctx context.Context, _ *sql.Conn, st *sql.Stmt) error {
			_, err := st.ExecContext(ctx)
			return err
		},
	}
	for name, use := range next {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { connOfACancelledTransaction(t, use) })
		})
	}
}

func connOfACancelledTransaction(t *testing.T, use func(context.Context, *sql.Conn, *sql.Stmt) error) {
	b := fakedb.New()
	db := openDB(t, fakeCluster(t, b, 1))
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	st, err := conn.PrepareContext(t.Context(), "usual")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	b.Node("n1").OnStatement(func(ctx context.Context, query string, _ []driver.NamedValue) error {
		if query == "long" {
			<-ctx.Done()
		}
		return ctx.Err()
	})
	time.AfterFunc(time.Second, cancel)
	if _, err := tx.ExecContext(ctx, "long"); err == nil {
		t.Fatal("it ended well")
	}
	synctest.Wait()                  // database/sql rolls back
	err = use(t.Context(), conn, st) // database/sql tries a statement again itself
	if !errors.Is(err, driver.ErrBadConn) && !errors.Is(err, sql.ErrConnDone) {
		t.Errorf("the next use: %v", err)
	}
	if err := use(t.Context(), conn, st); !errors.Is(err, sql.ErrConnDone) {
		t.Errorf("the one after: %v", err)
	}
	if open := db.Stats().OpenConnections; open != 0 {
		t.Errorf("%d connections are open", open)
	}
}

// A certificate that has expired does not pass by itself: opens say so at once.
func TestBadCertificateIsToldAtOnce(t *testing.T) {
	for _, e := range []error{
		x509.CertificateInvalidError{Reason: x509.Expired},
		x509.UnknownAuthorityError{},
		x509.HostnameError{Host: "db1", Certificate: &x509.Certificate{DNSNames: []string{"db2"}}},
	} {
		t.Run(fmt.Sprintf("%T", e), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				d := fakeCluster(t, b, 2)
				db := openDB(t, d)
				time.Sleep(time.Second)
				fill(t, db, 1)
				conn, err := db.Conn(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				for i := range 2 {
					b.Node(nodeName(i)).Set(fakedb.Script{Err: fmt.Errorf("tls: failed to verify certificate: %w", e)})
				}
				for i := range 3 {
					began := time.Now()
					_, err := db.Exec("x")
					if took := time.Since(began); err == nil || took > time.Second {
						t.Errorf("open %d: after %v: %v", i, took, err)
					}
				}
				if err := conn.PingContext(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
