package clusterpgx

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// A stage is a primary and its standby.
type stage struct{ primary, standby *server }

// The DSNs lead to real servers. The standby stands first in their lists.
func TestPostgreSQL(t *testing.T) {
	primary, standby := startPair(t)
	s := stage{primary, standby}
	t.Run("the hosts are tried in order", s.inOrder)
	t.Run("read-write finds the primary", s.readWrite)
	t.Run("key=value and a socket", s.otherForms)
	t.Run("a file", s.file)
	t.Run("the errors are pgx's", s.errors)
	t.Run("a wrong password is not shown", s.wrongPassword)
	t.Run("COPY, LISTEN and named arguments", s.pgxItself)
	t.Run("what hangs on a frozen node is cut", s.cut)
	t.Run("writers follow a promotion", s.promotion)
}

// hosts is the list of the two servers, with the standby first.
func (s stage) hosts() string { return s.standby.addr() + "," + s.primary.addr() }

// open opens a cluster by a DSN, and waits until its nodes are judged.
func open(t *testing.T, dsn string, ready int) (clustersql.Driver, *sql.DB) {
	t.Helper()
	db, err := sql.Open("clustersql", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	d := db.Driver().(clustersql.Driver)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := d.WaitReady(ctx, ready); err != nil {
		t.Fatal(err)
	}
	return d, db
}

func wantPort(t *testing.T, db *sql.DB, port string) {
	t.Helper()
	var got string
	if err := db.QueryRow("SELECT coalesce(inet_server_port()::text, 'a socket')").Scan(&got); err != nil || got != port {
		t.Errorf("on port %s, want %s: %v", got, port, err)
	}
}

func (s stage) inOrder(t *testing.T) {
	d, db := open(t, uri(s.hosts(), ""), 2)
	wantPort(t, db, s.standby.port)
	for _, n := range d.Status().Nodes {
		if want := map[string]int{s.standby.addr(): 0, s.primary.addr(): 1}[n.Name]; n.Priority != want {
			t.Errorf("%s has priority %d", n.Name, n.Priority)
		}
	}
	_, db = open(t, uri(s.primary.addr()+","+s.standby.addr(), "&target_session_attrs=any"), 2)
	wantPort(t, db, s.primary.port)
}

func (s stage) readWrite(t *testing.T) {
	d, db := open(t, uri(s.hosts(), "&target_session_attrs=read-write"), 1)
	db.SetMaxIdleConns(0)
	for range 3 {
		wantPort(t, db, s.primary.port)
	}
	for _, n := range d.Status().Nodes {
		if n.Name == s.standby.addr() && n.State == clustersql.StateUp {
			t.Errorf("the standby is %s: %s", n.State, n.Reason)
		}
	}
	if _, err := db.Exec("CREATE TABLE IF NOT EXISTS note (id INT PRIMARY KEY, body TEXT)"); err != nil {
		t.Error(err)
	}
}

func (s stage) otherForms(t *testing.T) {
	_, db := open(t, fmt.Sprintf(`host=127.0.0.1,127.0.0.1 port=%s,%s user=app password='%s' dbname=postgres sslmode=disable target_session_attrs=read-write`,
		s.standby.port, s.primary.port, password), 1)
	wantPort(t, db, s.primary.port)
	_, db = open(t, uri("localhost:"+s.primary.port, ""), 1) // which may have an IPv6 address too
	wantPort(t, db, s.primary.port)
	_, db = open(t, uri(url.QueryEscape(s.primary.dir)+":"+s.primary.port, "&application_name=by+socket"), 1)
	wantPort(t, db, "a socket")
	var name string
	if err := db.QueryRow("SHOW application_name").Scan(&name); err != nil || name != "by+socket" {
		t.Errorf("%q, %v", name, err)
	}
}

// file opens a cluster of a config.toml, with one DSN for each node.
func (s stage) file(t *testing.T) {
	text := fmt.Sprintf("[[cluster]]\nname = \"pg\"\ndriver = %q\nrequire = \"read-write\"\n", Name)
	for _, p := range []*server{s.standby, s.primary} {
		text += fmt.Sprintf("[[cluster.node]]\nname = %q\ndsn = %q\n", p.port, uri(p.addr(), ""))
	}
	path := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := clustersql.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	d, _ := r.Driver("pg")
	db := sql.OpenDB(d.Connector())
	defer db.Close()
	wantPort(t, db, s.primary.port)
	for _, n := range d.Status().Nodes {
		if n.Name == s.primary.port && (n.OpenConns == 0 || n.Cuttable != n.OpenConns) {
			t.Errorf("%d of %d connections can be cut", n.Cuttable, n.OpenConns)
		}
	}
}

func (s stage) errors(t *testing.T) {
	_, db := open(t, uri(s.hosts(), "&target_session_attrs=read-write"), 1)
	var e *pgconn.PgError
	if _, err := db.Exec("SELECT 1/0"); !errors.As(err, &e) || e.Code != "22012" {
		t.Errorf("%v", err)
	}
	if err := db.QueryRow("SELECT missing FROM note WHERE id = $1", 1).Scan(new(int)); !errors.As(err, &e) || e.Code != "42703" || e.Position == 0 {
		t.Errorf("%v", err)
	}
}

func (s stage) wrongPassword(t *testing.T) {
	const wrong = "Hunter/23@all"
	db, err := sql.Open("clustersql", "postgres://"+url.UserPassword("app", wrong).String()+"@"+s.hosts()+"/postgres?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.Ping()
	var e *pgconn.PgError
	if !errors.As(err, &e) || e.Code != "28P01" {
		t.Errorf("%v", err)
	}
	status := fmt.Sprintf("%+v", db.Driver().(clustersql.Driver).Status())
	for _, text := range []string{fmt.Sprint(err), status} {
		if strings.Contains(text, "unter") {
			t.Errorf("the password is shown: %s", text)
		}
	}
}

// pgxItself uses what only pgx has.
func (s stage) pgxItself(t *testing.T) {
	d, db := open(t, uri(s.hosts(), "&target_session_attrs=read-write"), 1)
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	err = conn.Raw(func(c any) error {
		backend := c.(clustersql.Conn).Raw().(*stdlib.Conn).Conn()
		rows := [][]any{{1, "one"}, {2, "two"}}
		if n, err := backend.CopyFrom(t.Context(), pgx.Identifier{"note"}, []string{"id", "body"}, pgx.CopyFromRows(rows)); n != 2 {
			return fmt.Errorf("%d rows are copied: %w", n, err)
		}
		_, err := backend.Exec(t.Context(), "LISTEN news")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("NOTIFY news, 'hello'"); err != nil {
		t.Fatal(err)
	}
	err = conn.Raw(func(c any) error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		n, err := c.(clustersql.Conn).Raw().(*stdlib.Conn).Conn().WaitForNotification(ctx)
		if err == nil && (n.Channel != "news" || n.Payload != "hello") {
			err = fmt.Errorf("got %+v", n)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	var body string
	if err := db.QueryRow("SELECT body FROM note WHERE id = @id AND body <> @not", pgx.NamedArgs{"id": 2, "not": "one"}).Scan(&body); err != nil || body != "two" {
		t.Errorf("%q, %v", body, err)
	}
	for _, n := range d.Status().Nodes {
		if n.Name == s.primary.addr() && (n.OpenConns == 0 || n.Cuttable != n.OpenConns) {
			t.Errorf("%d of %d connections can be cut", n.Cuttable, n.OpenConns)
		}
	}
}

// cut freezes the node in use, while a statement runs on it.
func (s stage) cut(t *testing.T) {
	_, db := open(t, uri(s.hosts(), ""), 2)
	ended := make(chan error, 1)
	go func() {
		_, err := db.ExecContext(context.Background(), "SELECT pg_sleep(60)")
		ended <- err
	}()
	_, admin := open(t, uri(s.standby.addr(), ""), 1)
	asleep := 0
	for deadline := time.Now().Add(time.Minute); asleep == 0; time.Sleep(10 * time.Millisecond) {
		if err := admin.QueryRow("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'").Scan(&asleep); err != nil || time.Now().After(deadline) {
			t.Fatalf("%d asleep, %v", asleep, err)
		}
	}
	admin.Close()
	s.standby.freeze()
	defer s.standby.resume()
	began := time.Now()
	select {
	case err := <-ended:
		t.Logf("after %v: %v", time.Since(began).Round(time.Millisecond), err)
		if err == nil || !strings.Contains(err.Error(), "clustersql cut the connection (silent") || !errors.Is(err, clustersql.ErrUnknownOutcome) {
			t.Errorf("got %v", err)
		}
	case <-time.After(30 * time.Second): // the statement itself would take twice as long
		t.Fatal("it hangs")
	}
	wantPort(t, db, s.primary.port)
}

// promotion kills the primary and promotes the standby.
func (s stage) promotion(t *testing.T) {
	d, db := open(t, uri(s.hosts(), "&target_session_attrs=read-write"), 1)
	wantPort(t, db, s.primary.port)
	s.primary.kill()
	up := func(n clustersql.NodeStatus) bool { return n.State != clustersql.StateDown }
	for deadline := time.Now().Add(time.Minute); slices.ContainsFunc(d.Status().Nodes, up); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%+v", d.Status())
		}
	}
	s.standby.run(t, "pg_ctl", "promote", "-w", "-D", s.standby.data())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := db.ExecContext(ctx, "INSERT INTO note VALUES (3, 'three')"); err != nil {
		t.Error(err)
	}
	wantPort(t, db, s.standby.port)
}
