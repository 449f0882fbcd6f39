package integration

import (
	"context"
	"crypto/rand"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/galera"
	"github.com/go-sql-driver/mysql"
)

// oneNode returns a cluster of the first node alone, with the given DSN.
func oneNode(t *testing.T, dsn string, opts ...clustersql.Option) (clustersql.Driver, *sql.DB) {
	t.Helper()
	d := clustersql.NewDriver(mysql.MySQLDriver{}, t.Name(), opts...)
	t.Cleanup(func() { d.Close() })
	if err := d.AddNode("n1", dsn); err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(d.Connector())
	t.Cleanup(func() { db.Close() })
	waitFor(t, "the node to be up", func() bool { return d.Status().Nodes[0].State == clustersql.StateUp })
	return d, db
}

// A hanging is a call that hangs on a frozen node.
type hanging struct {
	what   string
	ended  chan error
	reason bool // the error must name the reason; an error of Rows is the backend's own
}

// frozenNodeIsCut freezes the only node of a cluster while statements hang on
// it: direct ones, prepared ones, in a transaction and in the middle of rows,
// over plain TCP, TLS and a unix socket. Neither the DSN nor the callers have a
// timeout. All calls return when the node is found to be silent.
func frozenNodeIsCut(t *testing.T, c *galera.Cluster) {
	cfg, err := mysql.ParseDSN(c.Nodes[0].DSN(""))
	if err != nil {
		t.Fatal(err)
	}
	unix := cfg.Clone()
	unix.Net, unix.Addr = "unix", c.Nodes[0].Socket()
	var hung []hanging
	frozen := make(chan struct{})
	for name, dsn := range map[string]string{"tcp": cfg.FormatDSN(), "tls": c.Nodes[0].DSN("tls=skip-verify"), "unix": unix.FormatDSN()} {
		d, db := oneNode(t, dsn)
		if name == "tls" {
			var variable, cipher string
			if err := db.QueryRow("SHOW STATUS LIKE 'Ssl_cipher'").Scan(&variable, &cipher); err != nil || cipher == "" {
				t.Fatalf("not encrypted: %q, %v", cipher, err)
			}
		}
		hung = append(hung, hangOn(t, name, c.Nodes[0], d, db, frozen)...)
		if s := d.Status().Nodes[0]; s.Cuttable != s.OpenConns || s.OpenConns != 4 {
			t.Errorf("%s: %d of %d connections can be cut", name, s.Cuttable, s.OpenConns)
		}
	}
	freeze(t, c)
	close(frozen)
	began := time.Now()
	for _, h := range hung {
		err := <-h.ended
		t.Logf("%s ended after %v: %v", h.what, time.Since(began).Round(time.Millisecond), err)
		if err == nil || h.reason && (!strings.Contains(err.Error(), "clustersql cut the connection (silent") || !errors.Is(err, clustersql.ErrUnknownOutcome)) {
			t.Errorf("%s: %v", h.what, err)
		}
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("all ended after %v", took)
	}
}

// hangOn starts calls that take a minute even on a healthy server, and calls
// that go on reading after the server is frozen.
func hangOn(t *testing.T, name string, n *galera.Node, d clustersql.Driver, db *sql.DB, frozen <-chan struct{}) []hanging {
	t.Helper()
	ctx := context.Background()
	begin := func(what string, reason bool, f func() error) hanging {
		h := hanging{name + ", " + what, make(chan error, 1), reason}
		go func() { h.ended <- f() }()
		return h
	}
	rows, err := db.QueryContext(ctx, "SELECT seq, REPEAT('x', 1000) FROM seq_1_to_1000000")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rows.Close() })
	if !rows.Next() {
		t.Fatal(rows.Err())
	}
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	stmt, err := db.Prepare("DO SLEEP(?)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stmt.Close() })
	// A prepared statement may have to be prepared again, on another connection.
	out := func() (statements int) {
		t.Helper()
		if err := n.AdminDB().QueryRow("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE STATE = 'User sleep'").Scan(&statements); err != nil {
			t.Fatal(err)
		}
		return statements
	}
	before := out()
	hung := []hanging{
		begin("a statement in a transaction", true, func() error {
			defer tx.Rollback()
			_, err := tx.ExecContext(ctx, "DO SLEEP(60)")
			return err
		}),
		begin("a prepared statement", true, func() error { _, err := stmt.ExecContext(ctx, 60); return err }),
		begin("a statement", true, func() error { _, err := db.ExecContext(ctx, "DO SLEEP(60)"); return err }),
	}
	waitFor(t, "the statements to be out", func() bool { return d.Status().Nodes[0].OpenConns == 4 && out() == before+3 })
	return append(hung, begin("rows", false, func() error {
		<-frozen
		for rows.Next() {
		}
		return rows.Err()
	}))
}

// freeze freezes the first node until the test ends.
func freeze(t *testing.T, c *galera.Cluster) {
	t.Helper()
	if err := c.Nodes[0].Freeze(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Heal(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// A Commit that hangs because its node is frozen returns an error that says
// that it may have run.
func hungCommitIsCut(t *testing.T, c *galera.Cluster) {
	run(t, c, "DROP TABLE IF EXISTS app.commits", "CREATE TABLE app.commits (id INT PRIMARY KEY)")
	_, db := oneNode(t, c.Nodes[0].DSN(""))
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec("INSERT INTO commits VALUES (1)"); err != nil {
		t.Fatal(err)
	}
	freeze(t, c)
	began := time.Now()
	err = tx.Commit()
	t.Logf("Commit ended after %v: %v", time.Since(began).Round(time.Millisecond), err)
	if !errors.Is(err, clustersql.ErrUnknownOutcome) || !strings.Contains(err.Error(), "clustersql cut the connection (silent") || errors.Is(err, driver.ErrBadConn) {
		t.Errorf("got %v", err)
	}
}

// A network that the program has registered with go-sql-driver works, but its
// connections cannot be cut. Once its dial func makes its socket known, they
// can.
func customNetworkIsCutOnceTold(t *testing.T, c *galera.Cluster) {
	network := "custom" + rand.Text() // the driver keeps names for ever
	var dialled atomic.Int64
	var tells atomic.Bool
	mysql.RegisterDialContext(network, func(ctx context.Context, addr string) (net.Conn, error) {
		dialled.Add(1)
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err == nil && tells.Load() {
			clustersql.TrackSocket(ctx, conn)
		}
		return conn, err
	})
	t.Cleanup(func() { mysql.DeregisterDialContext(network) })
	dsn := strings.Replace(c.Nodes[0].DSN(""), "@tcp(", "@"+network+"(", 1)
	d, db := oneNode(t, dsn)
	if err := db.Ping(); err != nil {
		t.Fatal(err)
	}
	if s := d.Status().Nodes[0]; s.OpenConns != 1 || s.Cuttable != 0 || dialled.Load() < 2 {
		t.Errorf("%d of %d connections can be cut; dialled %d times", s.Cuttable, s.OpenConns, dialled.Load())
	}
	db.SetMaxIdleConns(0)
	tells.Store(true)
	ended := make(chan error, 1)
	go func() {
		_, err := db.ExecContext(context.Background(), "DO SLEEP(60)")
		ended <- err
	}()
	waitFor(t, "the statement to be out", func() bool { return d.Status().Nodes[0].Cuttable == 1 })
	freeze(t, c)
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "clustersql cut the connection (silent") {
		t.Errorf("got %v", err)
	}
}

// go-sql-driver recognises the sockets that clustersql dials. It turns TCP
// keepalive on, and its check of a pooled connection finds one that the server
// has closed. The next statement, also a write, therefore runs once and without
// an error.
func driverKnowsItsSockets(t *testing.T, c *galera.Cluster) {
	run(t, c, "DROP TABLE IF EXISTS app.checked", "CREATE TABLE app.checked (id INT PRIMARY KEY AUTO_INCREMENT, n INT)")
	_, db := oneNode(t, c.Nodes[0].DSN(""))
	db.SetMaxOpenConns(1)
	var id int
	for i := range 5 {
		if err := db.QueryRow("SELECT CONNECTION_ID()").Scan(&id); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Nodes[0].AdminDB().ExecContext(t.Context(), fmt.Sprint("KILL CONNECTION ", id)); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "the connection to be gone", func() bool {
			var n int
			err := c.Nodes[0].AdminDB().QueryRow("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE ID = ?", id).Scan(&n)
			return err == nil && n == 0
		})
		if _, err := db.Exec("INSERT INTO checked (n) VALUES (?)", i); err != nil {
			t.Errorf("a write after the server closed the connection: %v", err)
		}
	}
	var rows, distinct int
	if err := db.QueryRow("SELECT COUNT(*), COUNT(DISTINCT n) FROM checked").Scan(&rows, &distinct); err != nil || rows != 5 || distinct != 5 {
		t.Errorf("%d rows, %d of them distinct, %v", rows, distinct, err)
	}

	var made net.Conn
	ctx := context.WithValue(t.Context(), seenKey{}, &made)
	d := clustersql.NewDriver(nil, t.Name()+" keepalive")
	defer d.Close()
	if err := d.AddConnector("n1", keepaliveConnector(t, c.Nodes[0].DSN(""))); err != nil {
		t.Fatal(err)
	}
	conn, err := d.Connector().Connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if !keepsAlive(t, made) {
		t.Error("the driver has not turned keepalive on: it does not know the socket that Dial has made")
	}
}

type seenKey struct{}

// keepaliveConnector dials with clustersql.Dial and turns keepalive off.
// go-sql-driver turns it on if it finds a TCP connection.
func keepaliveConnector(t *testing.T, dsn string) driver.Connector {
	t.Helper()
	cfg, err := mysql.ParseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := clustersql.Dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		if made, ok := ctx.Value(seenKey{}).(*net.Conn); ok { // not that of a probe
			*made = conn
		}
		return conn, conn.(*net.TCPConn).SetKeepAlive(false)
	}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return connector
}
